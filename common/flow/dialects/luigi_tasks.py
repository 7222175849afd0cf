"""Tasks of the real ``luigi`` package, seen by the engine. Loaded once a process imported luigi.

luigi itself makes them, names them and asks them; nothing of it is patched. ``luigi.cfg`` is read
by luigi as always, in the process that plans or runs, from the directory where that was started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import luigi.configuration
import luigi.parameter
import luigi.task
import luigi.task_register

from flow import registry
from flow.dialects import gokart_tasks, luigi_markers
from flow.dialects.luigi_policy import WORKER_MARK, LuigiPolicy, as_bool, configured, set_up_logging
from flow.errors import FlowError
from flow.modules import blame, origins, places
from flow.modules.places import MAIN, wire_name
from flow.parameters import errors, held
from flow.parameters.base import NO_VALUE
from flow.parameters.defaults import given
from flow.parameters.packing import pack_checked
from flow.parameters.parts import Made, Parts
from flow.registry import newest_of_each
from flow.seam import Dialect
from flow.settings.luigi_files import ADDED

#: Packages whose task classes every module may name without importing them.
_LIBRARIES: Final = frozenset({"luigi", "gokart"})
# luigi's own types are incomplete.
Register: Any = luigi.task_register.Register
_get_config: Any = luigi.configuration.get_config
_add_config_path: Any = luigi.configuration.add_config_path
_NO_VALUE: Final = luigi.parameter._no_value
_PRIVATE: Final = luigi.parameter.ParameterVisibility.PRIVATE
_PUBLIC: Final = luigi.parameter.ParameterVisibility.PUBLIC
_NAIVE: Final = tuple(
    vars(cls)["bulk_complete"].__func__
    for cls in (luigi.task.Task, luigi.task.MixinNaiveBulkComplete)
)


class LuigiDialect(Dialect):
    """How luigi's tasks are found, made, named and judged."""

    task = luigi.task.Task
    wrapper = luigi.task.WrapperTask
    dynamic: type = luigi.task.DynamicRequirements

    def __init__(self) -> None:
        #: Classes of scripts -> what other processes import to get them.
        self._script_classes: dict[Any, str] = {}
        #: How many classes there were when the import of a program began.
        self._before_import = 0
        self._modules: dict[str, str] = {}
        #: Class -> names of its parameters that take any value and read text as it is.
        self._plain: dict[Any, list[str]] = {}
        self._surviving: dict[Any, bool] = {}
        self._params: dict[Any, list[tuple[str, Any]]] = {}
        self._holders: dict[Any, tuple[str, ...]] = {}
        self._ready = False
        #: What luigi was told of the command line, how many classes there were, how to undo it.
        self._told: Mapping[str, str] = {}
        self._told_at = -1
        self._undo: list[Callable[[], None]] = []
        for path in filter(None, os.environ.get(ADDED, "").split(os.pathsep)):
            _add_config_path(path)

    # ------------------------------------------------------------------ classes

    def generation(self) -> int:
        return len(Register._reg)

    def every_class(self) -> list[Any]:
        return list(Register._reg)

    def classes_of(self, family: str) -> list[Any]:
        return [cls for cls in _visible() if cls.get_task_family() == family]

    def families_of(self, module: str) -> list[str]:
        own = [cls.get_task_family() for cls in _visible() if self.module(cls) == module]
        return list(dict.fromkeys(own))

    def families(self) -> list[str]:
        return [cls.get_task_family() for cls in _visible() if not self.is_library(cls)]

    def module(self, cls: Any) -> str:
        return places.home_of(cls, self._script_classes.get(cls) or self._wire_name(cls.__module__))

    def _wire_name(self, name: str) -> str:
        if name == MAIN:
            return wire_name(name)
        return self._modules.get(name) or self._modules.setdefault(name, wire_name(name))

    def is_library(self, cls: Any) -> bool:
        return str(cls.__module__).partition(".")[0] in _LIBRARIES

    def importing(self) -> None:
        self._before_import = len(Register._reg)

    def imported(self) -> None:
        places.remember(Register._reg[self._before_import :])

    def on_script(self, name: str, wire_name: str) -> None:
        # Its classes say what they would in `python script.py`: gokart makes paths of it. In a task
        # process the script is __main__, so that they can be pickled.
        for cls in Register._reg:
            if cls.__module__ == name:
                cls.__module__ = MAIN
                self._script_classes[cls] = wire_name
                places.modules_of_main[cls] = name

    # ------------------------------------------------------------------ making and naming

    def names(self, cls: Any) -> Sequence[str]:
        return [name for name, _ in cls.get_params()]

    def owner_of(self, qualified: str) -> tuple[str, str] | None:
        for cls in _visible():
            family = cls.get_task_family()
            name = qualified.removeprefix(f"{family}_")
            if name != qualified and name in self.names(cls):
                return family, name
        return None

    def _obey_command_line(self) -> None:
        """Have luigi find ``--Family-param`` of this run where it finds configured values."""
        values = given()
        if not (values or self._undo):
            return
        if values is self._told and self._told_at == self.generation():
            return
        while self._undo:
            self._undo.pop()()
        self._told, self._told_at = values, self.generation()
        config = _get_config()
        for qualified, text in values.items():
            owner = self.owner_of(qualified)
            if owner is not None:
                self._undo.append(_configure(config, *owner, text))

    def make(self, cls: Any, named: Mapping[str, Any]) -> Any:
        """Make a task from strings, naming the parameter if one is to blame."""
        share_mocks()
        gokart_tasks.keep_texts()
        values = _held(cls, named)
        texts = {name: text for name, text in named.items() if name not in values}
        self._obey_command_line()
        try:
            return _construct(cls, texts, values)
        except FlowError:
            raise
        except luigi.task_register.TaskClassAmbigiousException:
            # Modules of one program may have one family. This one's own are meant.
            return self._among_its_own(cls, texts, values)
        except Exception as error:  # parameters and constructors are user code
            _blame_parameter(cls, texts, values, error)
            raise

    def _among_its_own(self, cls: Any, texts: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
        """Make a task while only those classes are registered that its module can know."""
        from flow.modules.loading import load_module, reachable_from  # loading asks dialects

        everything = Register._reg
        home = self.module(cls)
        names = reachable_from(load_module(home).__name__)
        _, held = origins.split(registry.asked_of)
        meant = {each.get_task_family(): each for each in everything if self.module(each) in held}
        Register._reg = [
            each
            for each in newest_of_each(everything)
            if (each.get_task_family() in meant and self.module(each) in held)
            or (
                each.get_task_family() not in meant
                and (
                    places.module_of(each) in names
                    or self.module(each) == home
                    or self.is_library(each)
                )
            )
        ]
        try:
            return _construct(cls, texts, values)
        finally:
            Register._reg = everything

    def strings(self, task: Any) -> dict[str, str]:
        parts = self.parts(task)
        texts = {name: held.write(tasks, packed=True) for name, tasks in parts.held.items()}
        if not texts:
            return parts.texts
        named = {**parts.texts, **texts}
        return {name: named[name] for name, _ in self._params[type(task)] if name in named}

    def parts(self, task: Any) -> Parts:
        cls = type(task)
        params = self._params.get(cls)
        if params is None:  # luigi looks through the whole class each time
            params = self._params[cls] = cls.get_params()
        tasks: dict[str, list[Any]] = {}
        for name, param in params:
            value = task.param_kwargs[name]
            if gokart_tasks.holds(param) and value is not None and param.visibility != _PRIVATE:
                tasks[name] = list(value) if isinstance(value, list | tuple) else [value]
        named = _texts(task, params, tasks)
        for name, param in params:
            if name not in named:
                continue
            value = task.param_kwargs[name]
            same = type(value) is type(param._default) and value == param._default
            if same and not self._survives(param):
                # IntParameter(default=None): "None" is no number. What is not named is the default.
                del named[name]
                continue
            if not isinstance(named[name], str):
                reason = f"serialize() returned {errors.shown(named[name])}, not text"
                raise errors.bad(task.task_family, name, reason, type(param).__name__)
        return Parts(named, tasks)

    def home(self, task: Any) -> str:
        """A range of the library is made where the task it repeats is known."""
        repeated = getattr(task, "of", None)
        if self.is_library(type(task)) and isinstance(repeated, Register):
            return self.module(repeated)
        return self.module(type(task))

    def _survives(self, param: Any) -> bool:
        """Tell whether the default of a parameter can be written as text and read again."""
        known = self._surviving.get(param)
        if known is None:
            default = param._default
            try:
                # The strings of a batch must all have the same names; luigi reads them as they are.
                known = (
                    param._batch_method is not None
                    or default == _NO_VALUE
                    or (
                        param.normalize(param.parse(param.serialize(default)))
                        == param.normalize(default)
                    )
                )
            except Exception:  # parse() and serialize() may be a user's
                known = False
            self._surviving[param] = bool(known)
        return bool(known)

    def holders(self, cls: Any) -> Sequence[str]:
        known = self._holders.get(cls)
        if known is None:
            known = self._holders[cls] = tuple(
                name
                for name, param in cls.get_params()
                if param.significant
                and param.visibility == _PUBLIC
                and (isinstance(param, luigi.parameter.TaskParameter) or not _is_luigis(param))
            )
        return known

    def packed(self, task: Any) -> bytes:
        return pack_checked(self.strings(task), task.task_family, self.untyped(task))

    def is_flag(self, param: Any) -> bool:
        return isinstance(param, luigi.BoolParameter)

    def untyped(self, task: Any) -> dict[str, Any]:
        cls = type(task)
        names = self._plain.get(cls)
        if names is None:
            params = cls.get_params()
            names = self._plain[cls] = [name for name, param in params if _is_untyped(param)]
        kwargs = task.param_kwargs
        values = {name: kwargs[name] for name in names if type(kwargs[name]) is not str}
        if not values:
            return values
        # what is not named is the default, and empty text is nothing
        named = self.parts(task).texts
        return {
            name: value
            for name, value in values.items()
            if name in named and (value is not None or named[name])
        }

    def policy(self, task: Any) -> Any:
        return LuigiPolicy(task)

    # ------------------------------------------------------------------ judging

    def as_answer(self, value: Any) -> bool | None:
        """Take what equals True or False, as luigi does: 1, ``numpy.bool_``."""
        return bool(value) if value in (True, False) else None

    def answers_in_bulk(self, cls: Any) -> bool:
        # luigi itself calls it only for one varying parameter; what is written for that may take
        # tuples of several for something else.
        if getattr(cls.bulk_complete, "__func__", None) in _NAIVE:
            return False
        return len(cls.get_params()) == 1

    def outputs_checked(self) -> bool:
        return configured("worker", "check_complete_on_run", as_bool) is not False

    # ------------------------------------------------------------------ running

    def planning(self) -> None:
        # gokart's rerun=True is forgotten by an instance once it was asked; a new plan is new.
        self.forget()

    def given_changed(self) -> None:
        self.forget()
        self._obey_command_line()

    def planning_elsewhere(self) -> None:
        share_mocks()

    def enter(self, task: Any) -> None:
        if not self._ready:
            set_up_logging()
            self._ready = True
        gokart_tasks.settle(task)

    def nothing_required(self, wrapper: Any) -> None:
        ranges: Any = sys.modules.get("luigi.tools.range")
        base = getattr(ranges, "RangeBase", None)
        if base is not None and type(wrapper).requires is base.requires:
            from flow.patterns.ranges import say_if_empty  # few pipelines have any

            say_if_empty(wrapper)

    def prepare(self, task: Any) -> None:
        luigi_markers.create(task)

    def ask_again(self, error: Exception) -> bool:
        return luigi_markers.was_creating(error)

    def process_context(self) -> str:
        return configured("worker", "task_process_context", str) or ""

    def any_handlers(self) -> bool:
        return bool(luigi.task.Task._event_callbacks)

    def forget(self) -> None:
        if WORKER_MARK not in os.environ:
            return  # in a program of the user's own they are the user's
        if getattr(Register, "_Register__instance_cache", None) is not None:
            Register.clear_instance_cache()
        simulate: Any = sys.modules.get("luigi.contrib.simulate")
        if simulate is not None:
            # "Done" is meant for one run of a pipeline, and takes this process for its whole life.
            simulate.RunAnywayTarget.unique.value = 0

    # ------------------------------------------------------------------ describing

    def default_of(self, cls: Any, name: str, param: Any) -> tuple[str, Any]:
        family = cls.get_task_family()
        config = _get_config()
        if config.has_option(family, name):
            return f"[{family}] of luigi's configuration", str(config.get(family, name))
        missing = param._default == _NO_VALUE
        return "", NO_VALUE if missing else param._default

    def what(self, param: Any) -> str:
        return ""


def share_mocks() -> None:
    """Keep what luigi's ``MockTarget`` holds where all processes of a run see it.

    luigi itself has a process for that, which its forks inherit, and other processes cannot find.
    """
    mock: Any = sys.modules.get("luigi.mock")
    if mock is None or mock.MockFileSystem._data.__class__.__module__.startswith("flow."):
        return
    from flow.targets.mock import MockFileSystem  # few pipelines use it

    contents = MockFileSystem().get_all_data()
    contents.update(mock.MockFileSystem._data or {})
    mock.MockFileSystem._data = contents


def _configure(config: Any, section: str, option: str, text: str) -> Callable[[], None]:
    """Set an option of luigi's configuration; return how to undo it."""
    interpolates = isinstance(config, luigi.configuration.LuigiConfigParser)
    sections = config._sections if interpolates else config.data
    known = section in sections
    before = dict(sections.get(section, {}))
    config.set(section, option, text.replace("%", "%%") if interpolates else text)

    def undo() -> None:
        # What the section holds by now may be read from a file meanwhile: only ours is undone.
        now = (config._sections if interpolates else config.data).get(section, {})
        if option in before:
            now[option] = before[option]
        else:
            now.pop(option, None)
        if not known and not now and interpolates:
            config.remove_section(section)
        elif not known and not now:
            config.data.pop(section, None)

    return undo


def _held(cls: Any, named: Mapping[str, Any]) -> dict[str, Any]:
    """Make what parameters hold of which the tasks were written, or made already."""
    values = {}
    for name, param in cls.get_params():
        text = named.get(name)
        if isinstance(text, Made):
            values[name] = gokart_tasks.made(param, text.tasks)
        elif isinstance(text, str) and held.is_written(text) and gokart_tasks.holds(param):
            values[name] = gokart_tasks.made(param, held.read(text))
    return values


def _construct(cls: Any, texts: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """Make a task from strings and values, as luigi does from strings alone."""
    if not values:
        return cls.from_str_params(texts)
    parsed = {
        name: param._parse_list(texts[name])
        if isinstance(texts[name], list)
        else param.parse(texts[name])
        for name, param in cls.get_params()
        if name in texts
    }
    return cls(**values, **parsed)


def _texts(task: Any, params: list[tuple[str, Any]], left_out: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of a task, without those of some parameters, which may be huge."""
    if not left_out:
        return dict(task.to_str_params())
    return {
        name: param.serialize(task.param_kwargs[name])
        for name, param in params
        if name not in left_out and param.visibility != _PRIVATE
    }


def _is_luigis(param: Any) -> bool:
    return bool(type(param).__module__ == luigi.parameter.__name__)


def _is_untyped(param: Any) -> bool:
    """Tell whether a parameter takes any value, and reads text as it is."""
    cls: Any = type(param)
    if cls in (luigi.OptionalParameter, luigi.parameter.OptionalStrParameter):
        return True
    plain: Any = luigi.Parameter
    return cls.parse is plain.parse and cls.serialize is plain.serialize


def _visible() -> list[Any]:
    return [cls for cls in Register._reg if cls._visible_in_registry]


def _blame_parameter(
    cls: Any, named: Mapping[str, Any], values: Mapping[str, Any], error: Exception
) -> None:
    """Raise a ``ParameterError`` if the error is about one parameter; return if it is not."""
    family = cls.get_task_family()
    for name, param in cls.get_params():
        kind = type(param).__name__
        if name in values:
            continue
        if name in named:
            text = named[name]
            try:
                param.normalize(
                    param._parse_list(text) if isinstance(text, list) else param.parse(text)
                )
            except Exception as own:  # parse() may be a user's
                reason = str(own) if isinstance(own, ValueError) else errors.shown(own)
                found = errors.bad(family, name, reason, kind)
                # luigi converts no value that a constructor is given: who gave it is gone
                found.where = blame.declared(cls, name)
                raise found from error
            continue
        try:
            given = param.has_task_value(family, name)
        except Exception as own:  # the same, of what luigi.cfg says
            raise errors.bad(family, name, str(own), kind, source="its default") from error
        if not given and isinstance(error, luigi.parameter.MissingParameterException):
            if param.visibility == _PRIVATE:
                raise errors.BadParameter(
                    f"{family} {errors.flag(name)}: private values do not leave the process that "
                    f"has them, and it has no default here ({kind})",
                    hint=f"set [{family}] {name} in luigi.cfg on the workers",
                ) from error
            raise errors.missing(family, name, "a value", kind) from error


#: What the seam takes from here.
DIALECT: Final = LuigiDialect()
