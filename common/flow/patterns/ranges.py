"""What tasks that repeat over time have in common: a range requires those that are missing.

A range is a wrapper: it requires, of all the moments between ``start`` and ``stop``, the instances
of another task that are not complete, oldest first, at most ``task_limit`` of them.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from flow.events import Event
from flow.parameters.base import Parameter
from flow.parameters.container import DictParameter
from flow.parameters.errors import ParameterError
from flow.parameters.scalar import BoolParameter, IntParameter
from flow.parameters.task import TaskParameter
from flow.task import MixinNaiveBulkComplete, Task, WrapperTask
from flow.usercode.completeness import Checker

logger = logging.getLogger("flow.range")

#: A default of None, for parameters of a type that has none.
NOTHING: Any = None
#: Instances of one range that are required at the same time.
TASK_LIMIT: Final = 50
_HERE: Final = "flow.patterns."
_MINUTE: Final = "%Y-%m-%d %H:%M"
_NAIVE: Final = tuple(vars(cls)["bulk_complete"].__func__ for cls in (Task, MixinNaiveBulkComplete))


class RangeEvent(Event):
    """What a range tells when it looks for what is missing: (family of the task, number)."""

    COMPLETE_COUNT: Final = "event.tools.range.complete.count"  #: complete ones
    COMPLETE_FRACTION: Final = "event.tools.range.complete.fraction"  #: 0 to 1
    DELAY: Final = "event.tools.range.delay"  #: from the first missing one to the end, in tasks


class RangeBase(WrapperTask):
    """Requires the missing ones of a task that repeats. Subclasses say in which steps.

    ``start`` is the first moment, ``stop`` the one after the last. Without ``stop`` the range ends
    now; without ``start`` it begins a while ago, and then it must be ``reverse``.
    """

    _visible_in_registry = False

    of = TaskParameter(description="the task to repeat; it takes one date or moment")
    of_params = DictParameter(default={}, description="its other parameters")
    start: Any = Parameter()
    stop: Any = Parameter()
    reverse = BoolParameter(
        default=False,
        description="begin with the newest missing one, not the oldest",
    )
    task_limit = IntParameter(
        default=TASK_LIMIT,
        description="so many are required at once, at most",
    )
    now = IntParameter(default=NOTHING, description="seconds since 1970, instead of the clock")
    param_name = Parameter(
        default=NOTHING,
        positional=False,
        description="the parameter of the task that takes the moment, if not the first",
    )

    @property
    def of_cls(self) -> Any:
        """The task to repeat. Luigi's old name for ``of``."""
        return self.of

    @property
    def task_module(self) -> str:
        """Where the repeated task is: a process that imports flow alone does not know it."""
        module = super().task_module
        return str(self.of.task_module) if type(self).__module__.startswith(_HERE) else module

    # ------------------------------------------------------------------ for subclasses to define

    def datetime_to_parameter(self, dt: datetime) -> Any:
        """Return the value of the task's parameter for a moment."""
        raise NotImplementedError

    def parameter_to_datetime(self, p: Any) -> datetime:
        """Return the moment that a value of the parameter means."""
        raise NotImplementedError

    def moving_start(self, now: datetime) -> datetime:
        """Return where to begin at the earliest."""
        raise NotImplementedError

    def moving_stop(self, now: datetime) -> datetime:
        """Return where to end at the latest."""
        raise NotImplementedError

    def finite_datetimes(self, finite_start: datetime, finite_stop: datetime) -> list[datetime]:
        """Return all moments in [finite_start, finite_stop), in order."""
        raise NotImplementedError

    def datetime_to_parameters(self, dt: datetime) -> dict[str, Any]:
        """Return all parameters of the task for a moment."""
        return self._task_parameters(self.datetime_to_parameter(dt))

    def parameters_to_datetime(self, p: dict[str, Any]) -> datetime:
        """Return the moment that all parameters of the task mean."""
        return self.parameter_to_datetime(p[self._param_name])

    def missing_datetimes(self, finite_datetimes: list[datetime]) -> Iterable[datetime]:
        """Return the moments whose task is not complete. All are asked, slow ones in parallel."""
        tasks = [self._task(moment) for moment in finite_datetimes]
        missing = []
        for moment, answer in zip(finite_datetimes, Checker().level(tasks), strict=True):
            if isinstance(answer, BaseException):
                raise answer
            if not answer:
                missing.append(moment)
        return missing

    # ------------------------------------------------------------------ what a range does

    def requires(self) -> Any:
        """Return the missing tasks; found once per instance, as it may take a while."""
        if "_cached_requires" not in self.__dict__:
            self.__dict__["_cached_requires"] = self._missing_tasks()
        return self.__dict__["_cached_requires"]

    def _missing_tasks(self) -> list[Task]:
        start, stop = _window(self)
        moments = self.finite_datetimes(start, stop) if start <= stop else []
        if not moments:
            _say_empty(self, start, stop)
        missing = sorted(self._find_missing(moments)) if moments else []
        logger.debug("%s: %d of %d are missing", self.of.task_family, len(missing), len(moments))
        self._emit_metrics(missing, start, stop)
        if self.reverse:
            chosen = missing[-self.task_limit :] if self.task_limit else []
            chosen.reverse()
        else:
            chosen = missing[: self.task_limit]
        return [self._task(moment) for moment in chosen]

    def _find_missing(self, moments: list[datetime]) -> Iterable[datetime]:
        """Call ``missing_datetimes``, which in old subclasses takes the task as well."""
        find: Any = self.missing_datetimes
        try:
            inspect.signature(find).bind(moments)
        except TypeError:
            warnings.warn(
                f"{type(self).__name__}.missing_datetimes() should take the moments alone",
                DeprecationWarning,
                stacklevel=2,
            )
            return find(self.of, moments)  # type: ignore[no-any-return]
        return find(moments)  # type: ignore[no-any-return]

    def _emit_metrics(
        self, missing: Sequence[datetime], finite_start: datetime, finite_stop: datetime
    ) -> None:
        """Tell the handlers of this range how far it is, over all from its start to its stop."""
        if self.start is not None:
            finite_start = min(finite_start, self.parameter_to_datetime(self.start))
        if self.stop is not None:
            finite_stop = max(finite_stop, self.parameter_to_datetime(self.stop))
        moments = self.finite_datetimes(finite_start, finite_stop)
        family = self.of.task_family
        delay = len(moments) - moments.index(missing[0]) if moments and missing else 0
        complete = len(moments) - len(missing)
        self.trigger_event(RangeEvent.DELAY, family, delay)
        self.trigger_event(RangeEvent.COMPLETE_COUNT, family, complete)
        fraction = complete / len(moments) if moments else 1
        self.trigger_event(RangeEvent.COMPLETE_FRACTION, family, fraction)

    @property
    def _param_name(self) -> str:
        if self.param_name is not None:
            return str(self.param_name)
        for name, param in self.of.get_params():
            if param.positional:
                return str(name)
        raise ParameterError(
            f"{self.of.task_family} has no positional parameter that could take the moment",
            hint="name the parameter: --param-name NAME",
        )

    def _task_parameters(self, value: Any) -> dict[str, Any]:
        return {**self.of_params, self._param_name: value}

    def _task(self, moment: datetime) -> Any:
        return self.of(**self._task_parameters(self.datetime_to_parameter(moment)))


class BulkRange(RangeBase):
    """A range that asks the task's own ``bulk_complete`` for all moments at once, if it has one."""

    _visible_in_registry = False

    def missing_datetimes(self, finite_datetimes: list[datetime]) -> Iterable[datetime]:
        """Return the moments whose task is not complete."""
        ask = getattr(self.of.bulk_complete, "__func__", None)
        if ask in _NAIVE:
            return super().missing_datetimes(finite_datetimes)
        values = [self.datetime_to_parameter(moment) for moment in finite_datetimes]
        try:
            if self.of_params and ask is not None:
                # As in Luigi: the class it is called with has the other parameters already.
                complete = ask(functools.partial(self.of, **self.of_params), values)
            else:
                complete = self.of.bulk_complete(values)
            done = {self.parameter_to_datetime(value) for value in complete}
        except NotImplementedError:
            return super().missing_datetimes(finite_datetimes)
        return [moment for moment in finite_datetimes if moment not in done]


def say_if_empty(one: Any) -> None:
    """Say of a range of luigi's own, which has a look of its own, why nothing is in it."""
    start, stop = _window(one)
    if not (start <= stop and one.finite_datetimes(start, stop)):
        _say_empty(one, start, stop)


def _say_empty(one: Any, start: datetime, stop: datetime) -> None:
    logger.warning("%s: %s", one.task_family, _why_empty(one, start, stop))


def _window(one: Any) -> tuple[datetime, datetime]:
    """Return (first moment, moment after the last)."""
    if not one.start and not one.stop:
        raise ParameterError("At least one of start and stop needs to be specified")
    if not one.start and not one.reverse:
        raise ParameterError("Either start needs to be specified or reverse needs to be True")
    if one.start and one.stop and one.start > one.stop:
        raise ParameterError(f"Can't have start > stop: {one.start} > {one.stop}")
    seconds = time.time() if one.now is None else one.now
    now = datetime.fromtimestamp(seconds, tz=UTC).replace(tzinfo=None)
    start, stop = one.moving_start(now), one.moving_stop(now)
    if one.start is not None:
        start = max(one.parameter_to_datetime(one.start), start)
    if one.stop is not None:
        stop = min(one.parameter_to_datetime(one.stop), stop)
    return start, stop


def _why_empty(one: Any, start: datetime, stop: datetime) -> str:
    """Say why nothing is in range, and what to give to have something there."""
    nothing = f"nothing of {one.of.task_family} is in range"
    # Where the limits decide, and not what was given.
    back = one.start is None or one.parameter_to_datetime(one.start) < start
    forward = one.stop is None or one.parameter_to_datetime(one.stop) > stop
    if back and (start >= stop or not forward):
        return f"{nothing}: {_limit(one, 'back')} leaves out all before {start:{_MINUTE}}"
    if forward:
        return f"{nothing}: {_limit(one, 'forward')} leaves out all from {stop:{_MINUTE}} on"
    return f"{nothing}: it begins at {start:{_MINUTE}} and ends before {stop:{_MINUTE}}"


def _limit(one: Any, direction: str) -> str:
    """Name the parameter that limits the range in a direction, as it can be given."""
    names = [name for name, _ in one.get_params() if name.endswith(f"_{direction}")]
    limits = ", ".join(f"--{name.replace('_', '-')} {getattr(one, name)}" for name in names)
    return limits or f"its limit {direction}"
