"""The task before a task: the same one of the day, hour or interval before."""

from __future__ import annotations

import datetime
import logging
from typing import Any

from flow.parameters.base import Parameter
from flow.parameters.interval import DateIntervalParameter
from flow.parameters.temporal import (
    DateHourParameter,
    DateMinuteParameter,
    DateParameter,
    DateSecondParameter,
)

logger = logging.getLogger("flow.util")

#: Months and years too: a day less, cut to the month or year, is the one before.
_STEPS = (
    (DateParameter, datetime.timedelta(days=1)),
    (DateSecondParameter, datetime.timedelta(seconds=1)),
    (DateMinuteParameter, datetime.timedelta(minutes=1)),
    (DateHourParameter, datetime.timedelta(hours=1)),
)


def previous(task: Any) -> Any:
    """Return the task with its one date-like parameter a step back.

    A step is a day, hour, minute or second; of a date interval it is ``prev()``.

    Raises:
        NotImplementedError: The task has no such parameter, has several, or its value is None.
    """
    found = [(name, param) for name, param in task.get_params() if _is_dated(param)]
    if not found:
        raise NotImplementedError("No task parameter - can't determine previous task")
    if len(found) > 1:
        raise NotImplementedError(
            "Too many date-related task parameters - can't determine previous task"
        )
    name, param = found[0]
    value = getattr(task, name)
    if value is None:
        raise NotImplementedError(f"{task!r} has no {name} - can't determine previous task")
    return task.clone(**{name: _before(param, value)})


def get_previous_completed(task: Any, max_steps: int = 10) -> Any:
    """Return the nearest earlier task that is complete, or None within so many steps."""
    earlier = task
    for _ in range(max_steps):
        earlier = previous(earlier)
        logger.debug("Checking if %s is complete", earlier)
        if earlier.complete():
            return earlier
    return None


def _is_dated(param: Parameter[Any]) -> bool:
    return _is_interval(param) or isinstance(param, tuple(kind for kind, _ in _STEPS))


def _before(param: Parameter[Any], value: Any) -> Any:
    if _is_interval(param):
        return value.prev()
    return value - next(step for kind, step in _STEPS if isinstance(param, kind))


def _is_interval(param: Parameter[Any]) -> bool:
    return isinstance(param, DateIntervalParameter)
