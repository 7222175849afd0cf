"""Tell the event handlers of the program that started a run what it learns about its tasks.

Handlers run in the process that plans or runs a task. The program that waits for the run hears how
tasks fared, and calls its own handlers too: for what no process of the task could tell (that it was
killed), and because a handler that only this program has would otherwise never be called.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from flow import events, registry
from flow.errors import FlowError
from flow.events import Event
from flow.loading import classes_of
from flow.seam import NATIVE, dialect_of, others
from flow.summary import COMPLETE, MISSING_EXTERNAL, RAN

if TYPE_CHECKING:
    from flow.messages.client import Failure, RunSummary

logger = logging.getLogger("flow.events")

#: Category of the summary: what its tasks' handlers are told.
_ENDED: Final = {
    RAN: Event.SUCCESS,
    COMPLETE: Event.DEPENDENCY_PRESENT,
    MISSING_EXTERNAL: Event.DEPENDENCY_MISSING,
}
#: Kind of failure: the event, and whether it carries an exception or only a message.
_FAILED: Final = {
    "failed": (Event.FAILURE, True),
    "disabled": (Event.FAILURE, True),
    "planning": (Event.BROKEN_TASK, True),
    "timeout": (Event.TIMEOUT, False),
    "crashed": (Event.PROCESS_FAILURE, False),
    "lost": (Event.PROCESS_FAILURE, False),
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
            event, as_exception = _FAILED.get(failure.kind, ("", False))
            if not event or (self._here and as_exception):
                continue
            task = _made(failure.family, failure.params)
            if task is not None:
                said: Any = TaskFailure(failure) if as_exception else failure.error
                _tell(task, event, said)

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
