"""The states of a task and of a run; one vocabulary for code, wire, store and commands.

The legal moves, which the protocol page draws, live with the coordinator
(``flow_coordinator.core.transitions``); here are only the names.
"""

from __future__ import annotations

import enum


class TaskState(enum.IntEnum):
    """Where a task is. The numbers are stored: never renumber, only append."""

    UNPLANNED = 0
    PENDING = 1
    EXTERNAL = 2
    READY = 3
    BACKOFF = 4
    LEASED = 5
    RUNNING = 6
    SUSPENDED = 7
    COMPLETE = 8  #: found complete by ``complete()``; never ran here
    DONE = 9
    FAILED = 10
    DISABLED = 11
    LOST = 12
    CANCELLED = 13
    UPSTREAM_FAILED = 14
    PLAN_FAILED = 15  #: ``requires()``, ``complete()`` or the import raised
    MISSING = 16  #: external data that is not there, and nobody waits for it (any more)

    @property
    def label(self) -> str:
        """The word shown to people, e.g. ``upstream_failed``."""
        return self.name.lower()


#: States that satisfy a downstream task.
SATISFIED = frozenset({TaskState.COMPLETE, TaskState.DONE})
#: States that hold a lease.
HELD = frozenset({TaskState.LEASED, TaskState.RUNNING, TaskState.SUSPENDED})
#: States that end a task as far as its runs are concerned.
TERMINAL = frozenset(
    {
        TaskState.COMPLETE,
        TaskState.DONE,
        TaskState.FAILED,
        TaskState.DISABLED,
        TaskState.LOST,
        TaskState.CANCELLED,
        TaskState.UPSTREAM_FAILED,
        TaskState.PLAN_FAILED,
        TaskState.MISSING,
    }
)


class RunState(enum.IntEnum):
    """Where a run is. The numbers are stored: never renumber, only append."""

    RUNNING = 1
    SUCCEEDED = 2
    FAILED = 3
    CANCELLED = 4

    @property
    def label(self) -> str:
        """The word shown to people."""
        return self.name.lower()
