"""Tell the event handlers of the program that started a run what it learns about its tasks.

Handlers run in the process that plans or runs a task. The program that waits for the run hears how
tasks fared, and calls its own handlers too: for what no process of the task could tell (that it was
killed), and because a handler that only this program has would otherwise never be called.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flow import events, registry
from flow.errors import FlowError
from flow.events import Event
from flow.modules.loading import classes_of
from flow.seam import NATIVE, dialect_of, others
from flow.wire.states import FailureKind, SummaryCategory

if TYPE_CHECKING:
    from flow.wire.messages.client import Failure, RunSummary

logger = logging.getLogger("flow.events")

#: Category of the summary: what its tasks' handlers are told.
_ENDED: Final = {
    SummaryCategory.RAN: Event.SUCCESS,
    SummaryCategory.COMPLETE: Event.DEPENDENCY_PRESENT,
    SummaryCategory.MISSING_EXTERNAL: Event.DEPENDENCY_MISSING,
}


class _Told(NamedTuple):
    event: str
    as_exception: bool  #: handlers get one, or only a message
    in_its_process: bool = False  #: the process of the task called its own handlers, too


#: Of all kinds. What no process of the task could notice is said by this program alone.
_FAILED: Final = {
    FailureKind.FAILED: _Told(Event.FAILURE, True, in_its_process=True),
    FailureKind.DISABLED: _Told(Event.FAILURE, True),
    FailureKind.PLANNING: _Told(Event.BROKEN_TASK, True, in_its_process=True),
    FailureKind.TIMEOUT: _Told(Event.TIMEOUT, False),
    FailureKind.CRASHED: _Told(Event.PROCESS_FAILURE, False),
    FailureKind.LOST: _Told(Event.PROCESS_FAILURE, False),
    FailureKind.UNMET: _Told(Event.BROKEN_TASK, True),
    FailureKind.CODE: _Told(Event.BROKEN_TASK, True),
}


class TaskFailure(FlowError):
    """What another process said about a failure, as the exception that handlers get.

    Attributes:
        where: The user's own frame, ``path:line  function()``, or empty.
        trace: The traceback, or empty.
        tail: The last lines that the attempt wrote, or empty.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error)
        self.where = failure.where
        self.trace = failure.trace
        self.tail = failure.tail


class Observer:
    """Calls handlers for one run. ``here``: the tasks ran in this process, and it was told."""

    def __init__(self, *, here: bool) -> None:
        self._here = here

    def failed(self, failures: Iterable[Failure]) -> None:
        """These attempts, or the planning of these tasks, failed."""
        if not _any_handlers():
            return
        for failure in failures:
            told = _FAILED[failure.kind]
            if self._here and told.in_its_process:
                continue
            task = _made(failure.family, failure.params)
            if task is not None:
                said: Any = TaskFailure(failure) if told.as_exception else failure.error
                _tell(task, told.event, said)

    def ended(self, summary: RunSummary | None) -> None:
        """The run ended like this; a summary names a bounded number of tasks."""
        if summary is None or self._here or not _any_handlers():
            return
        for category in summary.categories:
            event = _ENDED.get(category.name)
            for example in category.examples if event else ():
                for params in example.params:
                    task = _made(example.family, params)
                    if task is not None:
                        _tell(task, str(event))


def _any_handlers() -> bool:
    return any(each.any_handlers() for each in (NATIVE, *others()))


def _made(family: str, params: Mapping[str, str]) -> Any:
    """Make the task if this program has exactly one class of the family; None: it has not."""
    classes = classes_of(family) if family else []
    if not classes:
        return None
    try:
        cls = registry.choose(family, classes)
        return dialect_of(cls).make(cls, params)
    except Exception as error:  # parameters and constructors are user code
        logger.debug("cannot make %s again for its handlers: %s", family, error)
        return None


def _tell(task: Any, event: str, *more: Any) -> None:
    with events.observing():
        task.trigger_event(event, task, *more)
