"""The legal moves of a task: a table that covers every (state, event) pair.

The machine (``tally.move``) and its tests read this same table; what its cells mean is said in
``flow.wire.moves``. Every event is the coordinator's own decision, so each refusal is a bug of the
caller: the coordinator stops rather than continue wrong.

Drawn in the protocol page, "A task's life".
"""

from __future__ import annotations

import enum

from flow.wire.moves import Go, Ignore, Move, Moves, Refuse
from flow.wire.states import HELD, TERMINAL, TaskState

S = TaskState


class TaskEvent(enum.IntEnum):
    """What may happen to a task."""

    PLAN_INCOMPLETE = 0
    PLAN_COMPLETE = 1
    PLAN_EXTERNAL = 2
    PLAN_ERROR = 3
    PLAN_DISABLED = 4  #: its class says ``disabled``, or nothing can ever meet its demand
    UNBLOCK = 5  #: no unsatisfied requirement is left
    GRANT = 6
    START = 7
    SUSPEND = 8
    RESUME = 9
    SUCCEED = 10
    BACK_OFF = 11
    FAIL = 12
    CRASH_OUT = 13
    GIVE_BACK = 14  #: lease ended without a verdict on the task: it runs again
    HOLD = 15  #: lease lost and the task says ``on_lost = "hold"``
    CANCEL = 16
    UPSTREAM_FAIL = 17
    BACKOFF_END = 18
    REVIVE = 19  #: an operator's retry, or a failed upstream came back
    RECHECK = 20  #: ask ``complete()`` again: a new run, or external data on a timer
    GIVE_UP = 21  #: external data is not waited for (any more)
    REPLAN = 22  #: the run for which it was planned is over before it was granted
    YIELD_TO_TWIN = 23  #: a task of the same id was granted: both may write the same files
    FIND_COMPLETE = 24  #: its ``complete()`` was true under the lease: nothing ran


def _cells(
    go: dict[TaskState, TaskState], ignore: dict[TaskState, str], refuse: str
) -> dict[TaskState, Move[TaskState]]:
    cells: dict[TaskState, Move[TaskState]] = {state: Refuse(refuse) for state in TaskState}
    cells.update({state: Ignore(why) for state, why in ignore.items()})
    cells.update({state: Go(to) for state, to in go.items()})
    return cells


def _all(states: frozenset[TaskState], to: TaskState) -> dict[TaskState, TaskState]:
    return dict.fromkeys(sorted(states), to)


_OPEN = frozenset(TaskState) - TERMINAL
_LATE = dict.fromkeys(TaskState, "planned meanwhile by another answer")
_UNSATISFIED = TERMINAL - {S.COMPLETE, S.DONE}
_NO_LEASE = "a task without a lease cannot end one"

_ROWS: dict[TaskEvent, dict[TaskState, Move[TaskState]]] = {
    TaskEvent.PLAN_INCOMPLETE: _cells({S.UNPLANNED: S.PENDING}, _LATE, ""),
    TaskEvent.PLAN_COMPLETE: _cells({S.UNPLANNED: S.COMPLETE}, _LATE, ""),
    TaskEvent.PLAN_EXTERNAL: _cells({S.UNPLANNED: S.EXTERNAL}, _LATE, ""),
    TaskEvent.PLAN_ERROR: _cells({S.UNPLANNED: S.PLAN_FAILED}, _LATE, ""),
    TaskEvent.PLAN_DISABLED: _cells(
        {S.UNPLANNED: S.DISABLED, S.PENDING: S.DISABLED, S.READY: S.DISABLED}, _LATE, ""
    ),
    TaskEvent.UNBLOCK: _cells({S.PENDING: S.READY}, {}, "only a pending task becomes ready"),
    TaskEvent.GRANT: _cells({S.READY: S.LEASED}, {}, "only a ready task is granted"),
    TaskEvent.START: _cells(
        {S.LEASED: S.RUNNING},
        {S.RUNNING: "told twice", S.SUSPENDED: "told late"},
        "only a granted task starts",
    ),
    TaskEvent.SUSPEND: _cells(
        _all(HELD - {S.SUSPENDED}, S.SUSPENDED),
        {S.SUSPENDED: "yielded again after a restart forgot that it was resumed"},
        "only a granted task yields",
    ),
    TaskEvent.RESUME: _cells({S.SUSPENDED: S.RUNNING}, {}, "only a suspended task is resumed"),
    TaskEvent.SUCCEED: _cells(_all(HELD, S.DONE), {}, _NO_LEASE),
    TaskEvent.FIND_COMPLETE: _cells(_all(HELD, S.COMPLETE), {}, _NO_LEASE),
    TaskEvent.BACK_OFF: _cells(_all(HELD, S.BACKOFF), {}, _NO_LEASE),
    TaskEvent.FAIL: _cells(_all(HELD, S.FAILED), {}, _NO_LEASE),
    TaskEvent.CRASH_OUT: _cells(_all(HELD, S.DISABLED), {}, _NO_LEASE),
    TaskEvent.GIVE_BACK: _cells(_all(HELD, S.PENDING), {}, _NO_LEASE),
    TaskEvent.HOLD: _cells(_all(HELD, S.LOST), {}, _NO_LEASE),
    TaskEvent.CANCEL: _cells(
        _all(_OPEN, S.CANCELLED), dict.fromkeys(TERMINAL, "ended already"), ""
    ),
    TaskEvent.UPSTREAM_FAIL: _cells(
        {S.PENDING: S.UPSTREAM_FAILED, **_all(HELD, S.UPSTREAM_FAILED)},
        dict.fromkeys(TaskState, "decided when it is planned, or ended already"),
        "",
    ),
    TaskEvent.BACKOFF_END: _cells(
        {S.BACKOFF: S.PENDING}, dict.fromkeys(TaskState, "left backoff meanwhile"), ""
    ),
    TaskEvent.REVIVE: _cells(
        # what ended by itself is planned afresh (it may never have been, and its data or its code
        # may have changed); what only waited for it still knows its requirements
        _all(_UNSATISFIED, S.UNPLANNED) | {S.UPSTREAM_FAILED: S.PENDING, S.BACKOFF: S.PENDING},
        dict.fromkeys(TaskState, "not failed"),
        "",
    ),
    TaskEvent.RECHECK: _cells(
        _all(TERMINAL | {S.EXTERNAL}, S.UNPLANNED),
        dict.fromkeys(_OPEN, "still open in another run: joined"),
        "",
    ),
    TaskEvent.REPLAN: _cells(
        {S.PENDING: S.UNPLANNED, S.READY: S.UNPLANNED},
        dict.fromkeys(TaskState, "granted, ended, or planned anew already"),
        "",
    ),
    TaskEvent.YIELD_TO_TWIN: _cells(
        {S.READY: S.PENDING}, dict.fromkeys(TaskState, "not about to be granted"), ""
    ),
    TaskEvent.GIVE_UP: _cells(
        {S.EXTERNAL: S.MISSING}, dict.fromkeys(TaskState, "appeared meanwhile"), ""
    ),
}

TABLE = Moves(
    "task",
    TaskState,
    TaskEvent,
    {(state, event): cells[state] for event, cells in _ROWS.items() for state in TaskState},
)


def _target(move: Move[TaskState]) -> TaskState | None:
    return move.state if type(move) is Go else None


#: The table as flat rows for the hot path: ``TARGETS[event][state]`` is a state or None.
TARGETS: tuple[tuple[TaskState | None, ...], ...] = tuple(
    tuple(_target(TABLE[state, event]) for state in TaskState) for event in TaskEvent
)
