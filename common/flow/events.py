"""What can happen to a task, as names that handlers are registered for.

A handler is called in the process where the event happens: a planner's for what planning finds, the
task's own for what running brings. The program that waits for the run (``flow.build``,
``flow.run``) calls its own handlers too, on a task made again from its parameters, for what it
hears: FAILURE, TIMEOUT, PROCESS_FAILURE and BROKEN_TASK
(also of a task that nothing can ever run) at once, SUCCESS, DEPENDENCY_PRESENT and
DEPENDENCY_MISSING when the run has ended, for at most as many tasks as its summary names. A handler
that both processes have is so called in both; ``is_observing()`` is true in the second case.
What a handler raises is logged, ``sys.exit()`` too: it is not the task's end.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Final

Handler = Callable[..., Any]


class Event:
    """Names of the events flow fires; any other string works too. Same strings as Luigi's."""

    DEPENDENCY_DISCOVERED: Final = "event.core.dependency.discovered"  #: (task, dependency)
    DEPENDENCY_MISSING: Final = "event.core.dependency.missing"  #: (task)
    DEPENDENCY_PRESENT: Final = "event.core.dependency.present"  #: (task)
    BROKEN_TASK: Final = "event.core.task.broken"  #: (task, exception)
    START: Final = "event.core.start"  #: (task)
    PROGRESS: Final = "event.core.progress"  #: only user code fires it
    FAILURE: Final = "event.core.failure"  #: (task, exception)
    SUCCESS: Final = "event.core.success"  #: (task)
    PROCESSING_TIME: Final = "event.core.processing_time"  #: (task, seconds)
    TIMEOUT: Final = "event.core.timeout"  #: (task, message)
    PROCESS_FAILURE: Final = "event.core.process_failure"  #: (task, message)


#: class -> event -> handlers, in the order they were added.
_handlers: dict[type, dict[str, list[Handler]]] = {}


_observing = ContextVar("observing", default=False)


def is_observing() -> bool:
    """Tell a handler whether it is called by a program that only heard of the event."""
    return _observing.get()


@contextlib.contextmanager
def observing() -> Iterator[None]:
    """Make ``is_observing()`` true for the handlers called inside."""
    token = _observing.set(True)
    try:
        yield
    finally:
        _observing.reset(token)


def any_handlers() -> bool:
    """Tell whether this process has any handler at all."""
    return bool(_handlers)


def add_handler(cls: type, event: str, handler: Handler) -> None:
    """Call this handler for the event of every instance of the class and its subclasses."""
    _handlers.setdefault(cls, {}).setdefault(event, []).append(handler)


def remove_handler(cls: type, event: str, handler: Handler) -> None:
    """Take a handler out again; nothing happens when it is not there."""
    registered = _handlers.get(cls, {}).get(event, [])
    if handler in registered:
        registered.remove(handler)


def keep() -> Callable[[], None]:
    """Return a function that brings back the handlers registered now, and no others."""
    kept = {
        cls: {event: list(handlers) for event, handlers in by_event.items()}
        for cls, by_event in _handlers.items()
    }

    def restore() -> None:
        _handlers.clear()
        _handlers.update(kept)

    return restore


def fire(instance: object, event: str, *args: Any, **kwargs: Any) -> None:
    """Call every handler; what one raises is logged and the next is called."""
    if not _handlers:
        return
    pid = os.getpid()
    for cls in type(instance).__mro__:
        for handler in tuple(_handlers.get(cls, {}).get(event, ())):
            try:
                handler(*args, **kwargs)
            except (Exception, SystemExit) as error:  # a handler is user code, not the task's
                if isinstance(error, SystemExit) and not _is_only_said(error, pid):
                    raise
                import logging  # only a failing handler needs it

                logging.getLogger("flow.events").exception("handler of %s failed", event)


def _is_only_said(error: SystemExit, pid: int) -> bool:
    """Tell whether a handler called ``sys.exit()`` in the process that it was called in.

    A signal that ends this program raises a kind of its own, and what a handler forked shall end.
    """
    return type(error) is SystemExit and os.getpid() == pid
