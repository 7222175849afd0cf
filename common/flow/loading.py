"""From names to task classes: importing modules and scripts, finding families, making tasks.

Called by planners and runners for what a message names, and by commands for what a user typed.
Which directories modules are found in is the business of the process that calls.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from types import FunctionType, ModuleType
from typing import Any, Final

from flow import blame, dialects, given, registry
from flow.errors import SchedulingError
from flow.extras import DISTRIBUTION
from flow.packing import unpack_params
from flow.parameters import errors
from flow.registry import FILE_PREFIX

_SCRIPT_MODULE_PREFIX: Final = "_flow_script_"
_SCRIPT_HASH_CHARS: Final = 12
#: Top-level packages in which no task of a user is looked for.
_NOT_TASKS: Final = frozenset(sys.stdlib_module_names) | {"flow_worker", "flow_coordinator"}

#: Libraries that pipelines are written with -> what installs them.
_LIBRARIES: Final = {
    "luigi": f"'{DISTRIBUTION}[luigi]'",
    "gokart": f"'{DISTRIBUTION}[luigi]' gokart",
}

#: Families that every module offers, and where they are.
_BROUGHT: Final = frozenset(
    {
        *("RangeDaily", "RangeDailyBase", "RangeHourly", "RangeHourlyBase"),
        *("RangeByMinutes", "RangeByMinutesBase", "RangeMonthly"),
    }
)
_BROUGHT_BY: Final = "flow.patterns.calendar_ranges"

#: Modules being imported right now, the innermost last.
_loading: list[str] = []
#: (module, family) -> (generation of the registry, class).
_found: dict[tuple[str, str], tuple[int, Any]] = {}


class ImportFailed(SchedulingError):
    """A module cannot be found, or raised while it was imported.

    Attributes:
        where: The user's own frame, ``path:line  function()``, or empty.
        trace: Bounded traceback, or empty.
    """

    kind = "import"

    def __init__(self, message: str, *, where: str = "", trace: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.where = where
        self.trace = trace


def is_loading() -> bool:
    """Tell whether user code is being imported right now: nothing should run from there."""
    return bool(_loading)


def load_module(name: str) -> ModuleType:
    """Import a module by name, or a script by ``file:/abs/path.py``; once per process.

    A script gets a private name, so its ``if __name__ == "__main__"`` part does not run. The script
    that this process itself runs is not loaded a second time.

    Raises:
        ImportFailed: It does not exist or raised; the message has the user's own frame.
    """
    main = registry.wire_name("__main__")
    if name == main:
        return sys.modules["__main__"]
    if name == "__main__":
        raise ImportFailed(
            "tasks of a notebook, a shell or python -c exist only in the process that defined them",
            hint="move them into a module or a script file",
        )
    _loading.append(name)
    try:
        if name.startswith(FILE_PREFIX):
            return _load_script(os.path.abspath(name[len(FILE_PREFIX) :]))
        return _import(name)
    finally:
        _loading.pop()


def load_task_class(module: str, family: str) -> Any:
    """Import a module and return the task class of a family.

    The class may be defined there, imported there by name, or be defined in a module that this one
    imports.

    Raises:
        ImportFailed: The module does not exist or raised.
        UnknownTask: It has no such task; the message names what is near and what there is.
        AmbiguousTask: Several classes have that family.
    """
    key = (module, family)
    found = _found.get(key)
    if found is not None and found[0] == _generation():
        return found[1]
    cls = _find(module, load_module(module), family)
    _found[key] = (_generation(), cls)
    return cls


def load_task(module: str, family: str, str_params: Mapping[str, str]) -> Any:
    """Make a task from what a message or a command line says.

    Raises:
        ImportFailed, UnknownTask, AmbiguousTask: As ``load_task_class``.
        ParameterError: A parameter is missing, unknown, or has a value that cannot be read.
    """
    cls = load_task_class(module, family)
    dialect = dialects.dialect_of(cls)
    dialect.check_names(cls, str_params)
    registry.asked_of = module
    task = dialect.make(cls, str_params)
    if not task.initialized():
        raise errors.BadDeclaration(
            f"{family} is not initialized: did you override __init__ and forget to call super()?"
        )
    return task


def load_packed_task(module: str, family: str, packed: bytes) -> Any:
    """Make a task from the packed parameters of a message."""
    return load_task(module, family, unpack_params(packed))


def families_of(module: str) -> list[str]:
    """Return the families that a loaded module defines, in the order of definition."""
    found = registry.families_of(module)
    for other in dialects.others():
        found += other.families_of(module)
    return list(dict.fromkeys(found))


def classes_of(family: str) -> list[Any]:
    """Return the classes of a family, of every library, in the order of definition."""
    found = list(registry.classes_of(family))
    for other in dialects.others():
        found += other.classes_of(family)
    return found


def named_classes(family: str) -> list[Any]:
    """Return ``classes_of``; a family that flow brings itself is loaded for it."""
    if family not in _BROUGHT:
        return classes_of(family)
    brought = getattr(importlib.import_module(_BROUGHT_BY), family)
    found = classes_of(family)
    # A test that brought the registry back may have forgotten it.
    return found if brought in found else [brought, *found]


def _is_brought(cls: Any) -> bool:
    return dialects.dialect_of(cls).is_library(cls)


def _brought(classes: list[Any], own: list[Any]) -> list[Any]:
    """Of what libraries bring, return what the one brings that a module's own tasks are of."""
    kinds = {id(dialects.dialect_of(cls)) for cls in own if not _is_brought(cls)}
    return [cls for cls in classes if id(dialects.dialect_of(cls)) in kinds] or classes


def all_families() -> list[str]:
    """Return the families that this process knows, sorted; what libraries bring left out."""
    found = set(registry.Register.task_names())
    for other in dialects.others():
        found.update(other.families())
    return sorted(found)


def _generation() -> int:
    found = registry.generation
    for other in dialects.others():
        found += other.generation()
    return found


def _find(module: str, loaded: ModuleType, family: str) -> Any:
    if module.startswith(FILE_PREFIX):
        module = FILE_PREFIX + os.path.abspath(module[len(FILE_PREFIX) :])
    classes = named_classes(family)
    own = [cls for cls in classes if _module(cls) == module]
    if own:
        return registry.choose(family, own)
    named = [value for value in vars(loaded).values() if dialects.is_task_class(value)]
    offered = [cls for cls in named if cls.get_task_family() == family]
    if offered:
        return registry.choose(family, offered)
    near = _brought([cls for cls in classes if _is_brought(cls)], named)
    if classes and not near:
        reachable = _reachable(loaded)
        near = [cls for cls in classes if cls.__module__ in reachable]
    if near:
        return registry.choose(family, near)
    known = dict.fromkeys(cls.get_task_family() for cls in named)
    families = [*families_of(module), *[each for each in known if classes_of(each)]]
    elsewhere = ", ".join(_module(cls) for cls in classes)
    raise registry.unknown_task(
        f"module {module} has no task",
        family,
        list(dict.fromkeys(families)),
        hint=f"there is one in {elsewhere}" if elsewhere else "",
    )


def _module(cls: Any) -> str:
    return dialects.dialect_of(cls).module(cls)


def reachable_from(module: str) -> dict[str, None]:
    """Return the names of the modules that a loaded module imports, directly or not."""
    return _reachable(sys.modules[module])


def _reachable(loaded: ModuleType) -> dict[str, None]:
    """Return the names of the modules which a module imports, and those import, and so on."""
    names = {loaded.__name__: None}
    queue = [loaded]
    for module in queue:
        for value in list(vars(module).values()):
            if isinstance(value, ModuleType):
                name = value.__name__
            elif isinstance(value, (type, FunctionType)):
                name = value.__module__
            else:
                continue
            if name in names or name.partition(".")[0] in _NOT_TASKS:
                continue
            names[name] = None
            imported = sys.modules.get(name)
            if imported is not None:
                queue.append(imported)
    return names


def _import(name: str) -> ModuleType:
    known = sys.modules.get(name)
    if known is not None:
        return known
    # A warm process may look for a module that was written after it listed the directory.
    importlib.invalidate_caches()
    try:
        with given.using(b""):  # what a module keeps is for all runs that it will be used in
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # importing runs user code
        if isinstance(error, ModuleNotFoundError) and _is_part(error.name, name):
            raise _not_found(name, error) from error
        raise _failed(name, error) from error


def _load_script(path: str) -> ModuleType:
    private = private_name(path)
    known = sys.modules.get(private)
    if known is not None:
        return known
    name = FILE_PREFIX + path
    if not os.path.isfile(path):
        raise ImportFailed(f"there is no file {path}", hint="check the path of the script")
    loader = SourceFileLoader(private, path)
    module = ModuleType(private)
    module.__file__ = path
    module.__loader__ = loader
    module.__spec__ = importlib.util.spec_from_file_location(private, path, loader=loader)
    registry.script_names[private] = name
    sys.modules[private] = module
    if os.path.dirname(path) not in sys.path:
        # As for any script: what lies beside it can be imported.
        sys.path.insert(0, os.path.dirname(path))
    try:
        with given.using(b""):
            loader.exec_module(module)
    except (Exception, SystemExit) as error:  # importing runs user code
        del sys.modules[private]
        raise _failed(name, error) from error
    for other in dialects.others():
        other.on_script(private, name)
    return module


def private_name(path: str) -> str:
    """Return what a script is called in ``sys.modules`` of the processes that load it."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{_SCRIPT_MODULE_PREFIX}{digest[:_SCRIPT_HASH_CHARS]}"


def _failed(name: str, error: BaseException) -> ImportFailed:
    where = blame.own_frame(error, name.partition(".")[0])
    text = f"module {name} cannot be imported: {blame.describe(error)}"
    return ImportFailed(
        f"{text}  ({where})" if where else text,
        where=where,
        trace=blame.bounded_trace(error),
        hint=_installing(error),
    )


def _installing(error: BaseException) -> str:
    """Return what to type if what is missing is a library that pipelines are written with."""
    missing = (getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or missing not in _LIBRARIES:
        return ""
    return f"where tasks run: pip install {_LIBRARIES[missing]}"


def _not_found(name: str, error: ModuleNotFoundError) -> ImportFailed:
    hint = "flow run looks into the current directory, flow-worker into what --path names"
    if name.endswith(".py"):
        hint = f"to run a script, give its path: {FILE_PREFIX}/path/to/{name}"
    return ImportFailed(f"module {name} cannot be imported: {blame.describe(error)}", hint=hint)


def _is_part(missing: str | None, name: str) -> bool:
    """Tell whether what is missing is the module itself or a package around it."""
    return missing is not None and (name == missing or name.startswith(missing + "."))
