"""The states of a task and of a run, and how things fail: one vocabulary for all that speak of it.

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


class FailureKind(enum.StrEnum):
    """How an attempt failed, or why there was none. The texts are stored and sent."""

    FAILED = "failed"  #: ``run()`` raised, or what it should have made is not there
    TIMEOUT = "timeout"
    CRASHED = "crashed"  #: its process died; there will be another attempt
    DISABLED = "disabled"  #: its process died for the last time
    LOST = "lost"  #: its worker died, and ``on_lost`` is "hold"
    PLANNING = "planning"  #: its planning raised, or killed the planner
    UNMET = "unmet"  #: no worker can ever have what it asks for
    CODE = "code"  #: nobody has the code that its run insists on


class PlanErrorKind(enum.StrEnum):
    """What a planner could not do with a task. The texts are sent."""

    IMPORT = "import"
    UNKNOWN_TASK = "unknown_task"
    BAD_PARAMETER = "bad_parameter"
    REQUIRES = "requires"
    COMPLETE = "complete"
    TOO_LARGE = "too_large"
    DIED = "died"  #: the planner itself, of this task
    WHERE = "where"  #: no error: the answer to where the outputs are


class SummaryCategory(enum.StrEnum):
    """Where a task stands in the execution summary. The texts are stored and sent."""

    COMPLETE = "complete"  #: ``complete()`` was true when it was planned
    RAN = "ran"
    FAILED = "failed"
    DISABLED = "disabled"  #: failed too often, or the class says so
    LOST = "lost"  #: its worker died and ``on_lost`` is "hold"
    SCHEDULING_ERROR = "scheduling_error"  #: requires(), complete() or the import raised
    MISSING_EXTERNAL = "missing_external"
    UPSTREAM_FAILED = "upstream_failed"
    UPSTREAM_MISSING = "upstream_missing"  #: waits for missing external data
    UPSTREAM_SCHEDULING_ERROR = "upstream_scheduling_error"
    CANCELLED = "cancelled"
    NOT_RUN = "not_run"  #: could have run, and was not


#: Categories of what was tried, and failed for good.
FAILED_CATEGORIES = (SummaryCategory.FAILED, SummaryCategory.DISABLED, SummaryCategory.LOST)
