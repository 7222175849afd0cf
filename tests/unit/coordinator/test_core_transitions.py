"""The table of legal moves, and the one funnel that reads it."""

from __future__ import annotations

import re

import pytest

from flow.wire.moves import Go, IllegalMove, Refuse
from flow.wire.states import HELD, TERMINAL, TaskState
from flow_coordinator.core import graph, tally
from flow_coordinator.core.transitions import TABLE, TARGETS, TaskEvent
from tests.support.core_env import Env, Graph, stub

S = TaskState


def test_table_covers_every_pair_and_gives_a_reason_where_nothing_moves() -> None:
    assert set(TABLE) == {(state, event) for state in TaskState for event in TaskEvent}
    for (state, event), move in TABLE.items():
        if isinstance(move, Go):
            assert move.state != state, (state.name, event.name)
        else:
            assert move.why, (state.name, event.name)


def test_targets_agree_with_the_table() -> None:
    assert len(TARGETS) == len(TaskEvent)
    for (state, event), move in TABLE.items():
        assert TARGETS[event][state] == (move.state if isinstance(move, Go) else None)


def test_leases_begin_and_end_only_by_events_of_a_lease() -> None:
    ends = {
        TaskEvent.SUCCEED,
        TaskEvent.FIND_COMPLETE,
        TaskEvent.BACK_OFF,
        TaskEvent.FAIL,
        TaskEvent.CRASH_OUT,
        TaskEvent.GIVE_BACK,
        TaskEvent.HOLD,
        TaskEvent.CANCEL,
        TaskEvent.UPSTREAM_FAIL,
    }
    for (state, event), move in TABLE.items():
        if not isinstance(move, Go):
            continue
        if state not in HELD and move.state in HELD:
            assert event == TaskEvent.GRANT and state == S.READY
        if state in HELD and move.state not in HELD:
            assert event in ends, (state.name, event.name)


def test_terminal_states_are_left_only_by_a_retry_or_a_recheck() -> None:
    for (state, event), move in TABLE.items():
        if state in TERMINAL and isinstance(move, Go) and move.state not in TERMINAL:
            assert event in (TaskEvent.REVIVE, TaskEvent.RECHECK)


@pytest.mark.by_hand
@pytest.mark.unread("Plan")
@pytest.mark.parametrize("event", TaskEvent, ids=lambda event: event.name)
@pytest.mark.parametrize("state", TaskState, ids=lambda state: state.name)
def test_move_does_what_the_cell_says(state: TaskState, event: TaskEvent) -> None:
    """Every cell: it moves, or nothing changes; a refusal raises with its reason, besides."""
    env = Env()
    env.graph = Graph({"a": []})
    env.worker()
    env.plan_by_hand = True
    env.submit("a")
    task = graph.name_task(env.core.state, "default", stub("z"), (), 0.0)
    env.commit()
    task.state = state
    move = TABLE[state, event]
    if isinstance(move, Refuse):
        said = f"{event.name} in state {state.name} of {task.task_id}: {move.why}"
        with pytest.raises(IllegalMove, match=re.escape(said)):
            tally.move(env.core.state, task, event)
    else:
        assert tally.move(env.core.state, task, event) == isinstance(move, Go)
    assert task.state == (move.state if isinstance(move, Go) else state)
    assert isinstance(move, Go) or not env.core.state.changes


def test_refused_moves_exist_for_what_would_break_a_lease() -> None:
    for state in TaskState:
        if state != S.READY:
            assert isinstance(TABLE[state, TaskEvent.GRANT], Refuse), state.name
        if state not in HELD:
            assert isinstance(TABLE[state, TaskEvent.SUCCEED], Refuse), state.name
