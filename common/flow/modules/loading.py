"""From names to task classes: importing modules and scripts, finding families, making tasks.

Called by planners and runners for what a message names, and by commands for what a user typed.
Which directories modules are found in is the business of the process that calls.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any, Final

from flow import registry, seam
from flow.errors import SchedulingError, UsageError
from flow.extras import DISTRIBUTION
from flow.modules import blame, origins, places, scripts
from flow.modules.places import FILE_PREFIX
from flow.parameters import errors, given
from flow.wire.states import PlanErrorKind

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
#: What an import may raise that ends more than the import: here, somebody typed Ctrl-C.
_passing: tuple[type[BaseException], ...] = (KeyboardInterrupt,)
#: Modules whose import failed for good in this process.
_broken: dict[str, ImportFailed] = {}
#: (module, family) -> (generation of the registry, class).
_found: dict[tuple[str, str], tuple[int, Any]] = {}
#: Class -> (generation of the registry, module) where it was found to be itself.
_homes: dict[Any, tuple[int, str]] = {}


class ImportFailed(SchedulingError):
    """A module cannot be found, or raised while it was imported.

    Attributes:
        where: The user's own frame, ``path:line  function()``, or empty.
        trace: Bounded traceback, or empty.
    """

    kind = PlanErrorKind.IMPORT

    def __init__(self, message: str, *, where: str = "", trace: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.where = where
        self.trace = trace


class OtherClass(SchedulingError):
    """Other processes would not find the class of a task, or would find another one."""

    kind = PlanErrorKind.REQUIRES


def enter_task_process(passing: tuple[type[BaseException], ...] = ()) -> None:
    """Be told that this process is there to plan or run tasks, before it loads any.

    Its ``__main__`` is the first script that it loads, and a task whose class no other process can
    find is refused where it is planned. Nobody types Ctrl-C here: whatever an import raises is its
    failure, except ``passing``, which ends this process.
    """
    global _passing
    _passing = passing
    scripts.take_for_main()
    places.shares = True


def inherit_program() -> None:
    """Be told that this process is a fork of a program, there to plan or run its tasks.

    Its ``__main__`` stays what it is; all classes that it has, ``places.made_by`` knows.
    """
    scripts.keep_main()
    places.shares = places.inherits = True


def is_loading() -> bool:
    """Tell whether user code is being imported right now: nothing should run from there."""
    return bool(_loading)


def remember_failure(name: str, failure: ImportFailed) -> None:
    """Have each further try fail in the same way, without running the module again."""
    _broken[name] = failure


def refusal(call: str) -> UsageError:
    """Make the error for what would start a run, as ``flow.build()``, while a module is loaded."""
    return UsageError(
        f'{call} was called while the module was imported: put it under  if __name__ == "__main__":'
    )


def load_module(name: str) -> ModuleType:
    """Import a module by name, or a script by ``file:/abs/path.py``; once per process.

    A script is known by its stem (see ``flow.modules.scripts``), and its ``if __name__ ==
    "__main__"`` part does not run. The script that this process itself runs is not loaded a second
    time. What would start a run while it is imported is refused. Of an origin with several modules
    all are imported, and the first is returned.

    Raises:
        ImportFailed: It does not exist or raised; the message has the user's own frame.
    """
    if name in _broken:
        raise _broken[name]
    module, held = origins.split(name)
    if held:
        loaded = load_module(module)
        for each in held:
            load_module(each)
        return loaded
    main = places.wire_name("__main__")
    if name == main:
        return sys.modules["__main__"]
    if name == "__main__":
        raise ImportFailed(
            "tasks of a notebook, a shell or python -c exist only in the process that defined them",
            hint="move them into a module or a script file",
        )
    if name.startswith(FILE_PREFIX):
        return _load_script(places.script_path(name))
    return _import(name)


def home_of(task: Any) -> str:
    """Return the origin of a task: the module from which another process gets its class.

    See ``flow.modules.origins``.

    Raises:
        OtherClass: There is none, or another class has that name there; only in task processes,
            whose tasks run elsewhere.
    """
    if not places.shares:
        return seam.module_of(task)
    cls = type(task)
    known = _homes.get(cls)
    if known is not None and known[0] == _generation():
        return seam.origin_in(known[1], task)
    module = seam.dialect_of(cls).home(task)
    _verify(module, cls)
    if not _is_brought(cls):  # a range is at home where the task that it repeats is
        _homes[cls] = _generation(), module
    return seam.origin_in(module, task)


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
    loaded = load_module(module)
    cls = _find(origins.split(module)[0], loaded, family)
    _found[key] = (_generation(), cls)
    return cls


def load_task(module: str, family: str, str_params: Mapping[str, Any]) -> Any:
    """Make a task from what a message or a command line says: texts, and tasks made already.

    Raises:
        ImportFailed, UnknownTask, AmbiguousTask: As ``load_task_class``.
        ParameterError: A parameter is missing, unknown, or has a value that cannot be read.
    """
    cls = load_task_class(module, family)
    before = registry.asked_of
    try:
        return make_task(cls, module, str_params)
    finally:
        registry.asked_of = before  # it may be a parameter of another task


def make_task(cls: Any, module: str, named: Mapping[str, Any]) -> Any:
    """Make a task of a loaded class, and be asked of ``module`` from now on.

    Raises:
        ParameterError: A parameter is missing, unknown, or has a value that cannot be read; or the
            constructor forgot ``super()``. And what a user's ``parse()`` or ``__init__`` raises.
    """
    dialect = seam.dialect_of(cls)
    dialect.check_names(cls, named)
    registry.asked_of = module
    task = dialect.make(cls, named)
    if not task.initialized():
        raise errors.not_initialized(cls)
    return task


def families_of(module: str) -> list[str]:
    """Return the families that a loaded module defines, in the order of definition."""
    found = registry.families_of(module)
    for other in seam.others():
        found += other.families_of(module)
    return list(dict.fromkeys(found))


def classes_of(family: str) -> list[Any]:
    """Return the classes of a family, of every library, in the order of definition."""
    found = list(registry.classes_of(family))
    for other in seam.others():
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
    return seam.dialect_of(cls).is_library(cls)


def _brought(classes: list[Any], own: list[Any]) -> list[Any]:
    """Of what libraries bring, return what the one brings that a module's own tasks are of."""
    kinds = {id(seam.dialect_of(cls)) for cls in own if not _is_brought(cls)}
    return [cls for cls in classes if id(seam.dialect_of(cls)) in kinds] or classes


def all_families() -> list[str]:
    """Return the families that this process knows, sorted; what libraries bring left out."""
    found = set(registry.Register.task_names())
    for other in seam.others():
        found.update(other.families())
    return sorted(found)


def _generation() -> int:
    found = registry.generation
    for other in seam.others():
        found += other.generation()
    return found


def _find(module: str, loaded: ModuleType, family: str) -> Any:
    if module.startswith(FILE_PREFIX):
        module = places.script_name(places.script_path(module))
    classes = [cls for cls in named_classes(family) if not places.is_lost(cls)]
    own = [cls for cls in classes if _module(cls) == module]
    if own:
        return registry.choose(family, [cls for cls in own if places.is_held(cls)] or own)
    named = [value for value in vars(loaded).values() if seam.is_task_class(value)]
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


def _verify(module: str, cls: Any) -> None:
    """Raise unless module and family mean this very class wherever the program is imported."""
    family = cls.get_task_family()
    if places.is_lost(cls):
        raise OtherClass(
            f"task {family}: its class {places.described(cls)} was made after the import of its "
            "program, so no other process has it: define it at module level, or make it while the "
            "module is imported"
        )
    try:
        found = load_task_class(module, family)
    except registry.UnknownTask as error:  # what was asked for is fine; this requirement is not
        raise OtherClass(str(error), hint=error.hint) from error
    if found is not cls:
        name, other = places.described(cls), places.described(found)
        other = f"a later class {other}" if name == other else other
        raise OtherClass(
            f"task {family}: its class is {name}, but other processes find {other} "
            "by that name: rename one of them, or give it a task_namespace"
        )


def _module(cls: Any) -> str:
    return seam.dialect_of(cls).module(cls)


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


@contextlib.contextmanager
def _importing(name: str) -> Iterator[None]:
    """Have what is made meanwhile known as this import's, and nothing run meanwhile."""
    _loading.append(name)
    try:
        # What a module keeps is for all runs that it will be used in.
        with given.using(b""):
            if len(_loading) > 1:
                yield
            else:
                with seam.refusing_runs(refusal), _made_by(name):
                    yield
    finally:
        _loading.pop()


@contextlib.contextmanager
def _made_by(name: str) -> Iterator[None]:
    places.importing = name
    for other in seam.others():
        other.importing()
    try:
        yield
    finally:
        for other in seam.others():
            other.imported()
        places.importing = ""


def _import(name: str) -> ModuleType:
    known = sys.modules.get(name)
    if known is not None:
        return known
    # A process may look for a module that was written after it listed the directory.
    importlib.invalidate_caches()
    try:
        with _importing(name):
            return importlib.import_module(name)
    except _passing:
        raise
    except BaseException as error:  # importing runs user code
        if isinstance(error, ModuleNotFoundError) and _is_part(error.name, name):
            raise _not_found(name, error) from error
        raise _failed(name, error) from error


def _load_script(path: str) -> ModuleType:
    known = scripts.loaded(path)
    if known is not None:
        return known
    name = places.script_name(path)
    if not os.path.isfile(path):
        raise ImportFailed(f"there is no file {path}", hint="check the path of the script")
    try:
        with _importing(name):
            module = scripts.run(path)
    except _passing:
        raise
    except BaseException as error:  # importing runs user code
        raise _failed(name, error) from error
    for other in seam.others():
        other.on_script(module.__name__, name)
    return module


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
