"""The Task: one unit of work with parameters, requirements, an output and a ``run()``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

from flow import events, speech
from flow.dynamic import DynamicRequirements
from flow.identity import spell, task_id_str
from flow.parameters.base import Parameter, ParameterVisibility
from flow.parameters.errors import not_initialized
from flow.registry import Bases, Register, auto_namespace, define, namespace, wrapped
from flow.structure import flatten, getpaths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flow import parameters as kinds
    from flow.artifacts.artifact import Artifact
else:

    class _Kinds:
        """Only type checkers look at the kinds; a program imports those it uses."""

        def __getattr__(self, name: str) -> None:
            return None

    kinds = _Kinds()

__all__ = [
    "BulkCompleteNotImplementedError",
    "Config",
    "DynamicRequirements",
    "ExternalTask",
    "MixinNaiveBulkComplete",
    "Task",
    "WrapperTask",
    "auto_namespace",
    "externalize",
    "flatten",
    "flatten_output",
    "getpaths",
    "is_external",
    "namespace",
    "task_id_str",
]

_TaskT = TypeVar("_TaskT", bound="Task")
_warned: set[str] = set()


class BulkCompleteNotImplementedError(NotImplementedError):
    """The task family cannot answer for many parameters at once."""


class _OnFirstUse:
    """An attribute that is computed when first read and then an ordinary one.

    functools.cached_property takes a lock around this in Python 3.11.
    """

    def __init__(self, compute: Callable[[Any], Any]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        value = self._compute(instance)
        instance.__dict__[self._name] = value
        return value


@dataclass_transform(
    eq_default=False,
    order_default=False,
    kw_only_default=True,
    # Kinds that have a default of their own are left out: what is not named here is a default.
    field_specifiers=(
        kinds.ChoiceListParameter,
        kinds.ChoiceParameter,
        kinds.DateHourParameter,
        kinds.DateIntervalParameter,
        kinds.DateMinuteParameter,
        kinds.DateParameter,
        kinds.DateSecondParameter,
        kinds.DictParameter,
        kinds.EnumListParameter,
        kinds.EnumParameter,
        kinds.FloatParameter,
        kinds.IntParameter,
        kinds.ListParameter,
        kinds.MonthParameter,
        kinds.NumericalParameter,
        kinds.OptionalChoiceParameter,
        kinds.OptionalNumericalParameter,
        kinds.Parameter,
        kinds.PathParameter,
        kinds.StrParameter,
        kinds.TaskInstanceParameter,
        kinds.TaskParameter,
        kinds.TimeDeltaParameter,
        kinds.TupleParameter,
        kinds.YearParameter,
    ),
)
class Task(metaclass=Register):
    """Base of every task: override ``requires()``, ``output()`` and ``run()``.

    A task is identified by its family and its significant public parameters. Instances with equal
    parameters are one object as long as both are in use; a task that runs elsewhere is made there
    again from its parameters, so nothing but parameters and targets carries over.
    """

    #: Larger runs first; requirements inherit it from what waits for them.
    priority: Any = 0
    #: True: known, but never run.
    disabled: Any = False
    #: How much of which resource an attempt holds.
    resources: Any = {}
    #: Seconds an attempt may take; None: the setting, 0: no limit.
    worker_timeout: Any = None
    #: Failed attempts after which the task is failed; None: the setting.
    retry_count: Any = None
    #: Seconds before the second attempt; None: the setting.
    retry_delay: Any = None
    #: Only failures of the last so many seconds count; None: the setting.
    disable_window: Any = None
    #: A failure so many seconds after the first, or later, is the last; None: the setting.
    disable_hard_timeout: Any = None
    #: When its worker is lost in mid-run: "retry", or "hold" until somebody decides.
    on_lost: Any = "retry"
    #: True: ``run()`` finds a queue in ``scheduler_messages``.
    accepts_messages: Any = False
    #: Tasks joined into one by ``batch_method`` at most.
    max_batch_size: Any = float("inf")
    #: Who else gets mail: a comma-separated string or a list.
    owner_email: Any = None
    #: Beats ``namespace()``.
    task_namespace: Any = None
    #: True: ``artifact()`` has another path when one of a requirement's artifacts has.
    artifact_follows_requirements: Any = False
    #: Settings under ``[task.Family]`` that are no parameters but are wanted there.
    ignore_unconsumed: Any = frozenset()

    #: Functions while ``run()`` runs, None otherwise.
    set_tracking_url: Any = speech.During()
    set_status_message: Any = speech.During()
    set_progress_percentage: Any = speech.During()
    decrease_running_resources: Any = speech.During()
    scheduler_messages: Any = speech.During()

    _visible_in_registry: ClassVar[bool] = False
    _flow_root: ClassVar[bool] = True

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        signature = type(self)._flow_signature
        values = signature.bind(args, kwargs)
        self.__dict__.update(zip(signature.names, values, strict=True))
        self.__dict__["_flow_values"] = values
        signature.check_texts(values)

    # ------------------------------------------------------------------ to override

    def requires(self) -> Any:
        """Return the tasks which must be complete before this one: any nesting of them."""
        return []

    def output(self) -> Any:
        """Return the targets that exist when this task is complete: any nesting of them."""
        return []

    def run(self) -> Any:
        """Do the work. A generator may yield tasks and gets their targets back."""

    def complete(self) -> bool:
        """Tell whether there is nothing left to do: by default, whether all outputs exist."""
        outputs = flatten(self.output())
        if not outputs:
            self._warn_incomplete()
            return False
        return all(target.exists() for target in outputs)

    @classmethod
    def bulk_complete(cls, parameter_tuples: Iterable[Any]) -> Iterable[Any]:
        """Return those of many parameter values whose tasks are complete."""
        raise BulkCompleteNotImplementedError

    def process_resources(self) -> Any:
        """Return what an attempt holds; by default ``resources``."""
        return self.resources

    def on_success(self) -> Any:
        """Do something after ``run()``; an exception here fails the attempt."""

    def on_failure(self, exception: BaseException) -> Any:
        """Return text that explains the failure; by default the traceback."""
        import traceback  # only failures need it

        return "Runtime error:\n" + "".join(traceback.format_exception(exception))

    # ------------------------------------------------------------------ to call

    def _requires(self) -> list[Any]:
        """Return the required tasks as a list; a base class may add some that are no input."""
        return flatten(self.requires())

    def deps(self) -> list[Any]:
        """Return every task that must be complete before this one."""
        return flatten(self._requires())

    def input(self) -> Any:
        """Return the outputs of ``requires()`` in its shape."""
        return getpaths(self.requires())

    def artifact(self, name: str = ".json", *, temporary: bool = False) -> Artifact:
        """Return a target whose place follows from this task: a changed parameter, a new output.

        Its path is ``<storage.root>/<Family>/<summary>_<hash>/<name>``; the hash counts the family,
        every significant parameter (HIDDEN ones too, PRIVATE ones not), the class attribute
        ``version`` where there is one, and with ``artifact_follows_requirements = True`` all that
        of what ``requires()`` returns, as far as it follows in turn.

        Args:
            name: ``"report.csv"``, ``"parts/a.json"``, a directory ``"model/"``, or only a suffix,
                which is put behind the name of the class. The suffix says what ``dump()`` takes
                and ``load()`` returns: .txt .bin .json .jsonl .csv .parquet .pkl, each also
                with .gz behind it.
            temporary: Remove it when every task that requires this one is done.

        Raises:
            BadArtifactName: The name would lead out of this task's folder.
        """
        from flow.artifacts.artifact import artifact_of  # most tasks name their own paths

        return artifact_of(self, name, temporary)

    def clone(self, cls: type[_TaskT] | None = None, **kwargs: Any) -> Any:
        """Make a task of ``cls`` (default: the same) with this one's values where names agree."""
        target = cls or type(self)
        values = {}
        for name in target._flow_signature.names:
            if name in kwargs:
                values[name] = kwargs[name]
            elif hasattr(self, name):
                values[name] = getattr(self, name)
        return target(**values)

    def owner_list(self) -> list[str]:
        """Return the addresses of ``owner_email``."""
        owners = self.owner_email or []
        if isinstance(owners, str):
            owners = owners.split(",")
        return [owner.strip() for owner in owners]

    def initialized(self) -> bool:
        """Tell whether the constructor ran; false when an ``__init__`` forgot ``super()``."""
        return "_flow_values" in self.__dict__

    # ------------------------------------------------------------------ identity

    if TYPE_CHECKING:
        _flow_values: tuple[Any, ...]
        task_id: str
        param_kwargs: dict[str, Any]
    else:

        @_OnFirstUse
        def _flow_values(self) -> tuple[Any, ...]:
            # The constructor puts them in before anybody asks.
            raise not_initialized(type(self))

        @_OnFirstUse
        def task_id(self) -> str:
            """``Family_summary_hash`` of the significant public parameters."""
            signature = type(self)._flow_signature
            return spell(signature.family, signature.pairs(self._flow_values, self._flow_texts))

        @_OnFirstUse
        def param_kwargs(self) -> dict[str, Any]:
            """All parameters by name, as the constructor got them."""
            return dict(zip(type(self)._flow_signature.names, self._flow_values, strict=True))

    @property
    def param_args(self) -> tuple[Any, ...]:
        """All parameters by position. Deprecated, as in Luigi: use ``param_kwargs``."""
        warnings.warn("Use of param_args has been deprecated.", DeprecationWarning, stacklevel=2)
        return self._flow_values

    @property
    def disable_window_seconds(self) -> Any:
        """The old name of ``disable_window``. Deprecated, as in Luigi."""
        text = "Use of disable_window_seconds has been deprecated, it is disable_window now."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return self.disable_window

    @_OnFirstUse
    def _flow_texts(self) -> tuple[str, ...]:
        return type(self)._flow_signature.strings(self._flow_values)

    @property
    def task_family(self) -> str:
        """``Name``, or ``namespace.Name``."""
        return type(self)._flow_family

    @property
    def task_module(self) -> str:
        """What another process imports to get this class: a module, or ``file:/abs/path.py``."""
        cls: Any = type(self)
        return str(cls.task_module)

    @classmethod
    def get_task_namespace(cls) -> str:
        """Return the namespace: ``task_namespace``, or what ``namespace()`` said."""
        if cls.task_namespace is not None:
            return str(cls.task_namespace)
        return cls._flow_space

    @classmethod
    def get_task_family(cls) -> str:
        """Return ``Name``, or ``namespace.Name``. Read once, when the class is made."""
        space = cls.get_task_namespace()
        return f"{space}.{cls.__name__}" if space else cls.__name__

    @classmethod
    def get_params(cls) -> list[tuple[str, Parameter[Any]]]:
        """Return (name, parameter) in declaration order."""
        return list(cls._flow_signature.params)

    @classmethod
    def get_param_names(cls, include_significant: bool = False) -> list[str]:
        """Return the names of significant parameters, or of all."""
        params = cls._flow_signature.params
        return [name for name, param in params if include_significant or param.significant]

    @classmethod
    def batch_param_names(cls) -> list[str]:
        """Return the names of parameters with a ``batch_method``."""
        return list(cls._flow_signature.batched)

    @property
    def batchable(self) -> bool:
        """Whether several of these tasks can run as one."""
        return bool(type(self)._flow_signature.batched)

    def to_str_params(
        self, only_significant: bool = False, only_public: bool = False
    ) -> dict[str, str]:
        """Return the parameters as strings, private ones never."""
        signature = type(self)._flow_signature
        texts = self._flow_texts
        return {
            name: texts[index]
            for name, index in signature.sent
            if (signature.params[index][1].significant or not only_significant)
            and (
                not only_public
                or signature.params[index][1].visibility == ParameterVisibility.PUBLIC
            )
        }

    @classmethod
    def from_str_params(cls: type[_TaskT], params_str: Mapping[str, Any]) -> _TaskT:
        """Make a task from strings; unknown names are ignored, missing ones take defaults."""
        return cls(**cls._flow_signature.read(params_str))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(self) is type(other) and self.task_id == other.task_id

    def __hash__(self) -> int:
        return hash(self.task_id)

    def __repr__(self) -> str:
        signature = type(self)._flow_signature
        shown = [
            f"{name}={text}"
            for (name, param), text in zip(signature.params, self._flow_texts, strict=True)
            if param.significant
        ]
        return f"{self.task_family}({', '.join(shown)})"

    # ------------------------------------------------------------------ events

    @classmethod
    def event_handler(cls, event: str) -> Callable[[events.Handler], events.Handler]:
        """Decorate a function that is called for an event of this class and its subclasses."""

        def decorate(handler: events.Handler) -> events.Handler:
            events.add_handler(cls, event, handler)
            return handler

        return decorate

    @classmethod
    def remove_event_handler(cls, event: str, handler: events.Handler) -> None:
        """Take a handler out again."""
        events.remove_handler(cls, event, handler)

    def trigger_event(self, event: str, *args: Any, **kwargs: Any) -> None:
        """Call the handlers of an event."""
        events.fire(self, event, *args, **kwargs)

    @contextmanager
    def no_unpicklable_properties(self) -> Iterator[None]:
        """Take away, for a while, what exists only inside ``run()`` (if somebody put it there)."""
        names = [name for name in speech.NAMES if name in self.__dict__]
        held = {name: self.__dict__.pop(name) for name in names}
        try:
            yield
        finally:
            self.__dict__.update(held)

    def _warn_incomplete(self) -> None:
        if self.task_family not in _warned:
            _warned.add(self.task_family)
            warnings.warn(
                f"Task {self!r} without outputs has no custom complete() method",
                stacklevel=3,
            )


class ExternalTask(Task):
    """A task that something else does; flow only waits for its output."""

    _visible_in_registry = False
    run = None  # type: ignore[assignment]


class WrapperTask(Task):
    """A task that only requires others, and is complete when they are."""

    _visible_in_registry = False

    def complete(self) -> bool:
        """Tell whether every requirement is complete."""
        return all(task.complete() for task in flatten(self.requires()))


class Config(Task):
    """Settings of a pipeline, as parameters; values come from the section of that name."""

    _visible_in_registry = False


class MixinNaiveBulkComplete:
    """Answers ``bulk_complete`` by asking one task after the other."""

    @classmethod
    def bulk_complete(cls, parameter_tuples: Iterable[Any]) -> list[Any]:
        """Return the items whose task is complete: tuples, lists, dicts or single values."""
        done = []
        for item in parameter_tuples:
            if isinstance(item, (list, tuple)):
                task: Any = cls(*item)
            elif isinstance(item, dict):
                task = cls(**item)
            else:
                task = cls(item)  # type: ignore[call-arg]
            if task.complete():
                done.append(item)
        return done


_NAIVE: Any = (Task.bulk_complete, MixinNaiveBulkComplete.bulk_complete)
define(Bases(Task, WrapperTask, tuple(each.__func__ for each in _NAIVE)))


def is_external(task: Task) -> bool:
    """Tell whether nothing here can run the task."""
    return task.run is None or task.run is NotImplemented


def externalize(taskclass_or_taskobject: Any) -> Any:
    """Return a copy of a task, or of a task class, that flow only waits for."""
    if isinstance(taskclass_or_taskobject, type):
        body: dict[str, Any] = {"_visible_in_registry": False, "run": None}
        return wrapped(taskclass_or_taskobject, body)
    import copy  # rarely needed

    task = copy.copy(taskclass_or_taskobject)
    task.run = None
    return task


def flatten_output(task: Task) -> list[Any]:
    """Return the outputs of the nearest tasks that have any, through wrapper tasks."""
    from flow.seam import key_of  # those ask here

    outputs = []
    seen = {key_of(task)}
    queue = [task]
    for current in queue:
        found = flatten(current.output())
        if found:
            outputs.extend(found)
            continue
        for required in flatten(current.requires()):
            if (key := key_of(required)) not in seen:
                seen.add(key)
                queue.append(required)
    return outputs
