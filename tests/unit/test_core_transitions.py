"""The table of legal moves, and the one funnel that reads it."""

from __future__ import annotations

import pytest

from flow.states import HELD, TERMINAL, TaskState
from flow_coordinator.core import graph, tally
from flow_coordinator.core.transitions import TABLE, TARGETS, TaskEvent
from tests.support.core_env import Env, Graph, stub

S = TaskState


def test_table_covers_every_pair_and_gives_a_reason_where_nothing_moves() -> None:
    assert set(TABLE) == {(state, event) for state in TaskState for event in TaskEvent}
    for (state, event), move in TABLE.items():
        if move.to is None:
            assert move.why, (state.name, event.name)
        else:
            assert not move.refused and move.to != state, (state.name, event.name)


def test_targets_agree_with_the_table() -> None:
    assert len(TARGETS) == len(TaskEvent)
    for (state, event), move in TABLE.items():
        assert TARGETS[event][state] == move.to


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
        if move.to is None:
            continue
        if state not in HELD and move.to in HELD:
            assert event == TaskEvent.GRANT and state == S.READY
        if state in HELD and move.to not in HELD:
            assert event in ends, (state.name, event.name)


def test_terminal_states_are_left_only_by_a_retry_or_a_recheck() -> None:
    for (state, event), move in TABLE.items():
        if state in TERMINAL and move.to is not None and move.to not in TERMINAL:
            assert event in (TaskEvent.REVIVE, TaskEvent.RECHECK)


@pytest.mark.unread("Plan")
@pytest.mark.parametrize("event", [e for e in TaskEvent if TABLE[S.UNPLANNED, e].refused])
def test_move_refused_raises_and_changes_nothing(event: TaskEvent) -> None:
    env = Env()
    env.graph = Graph({"a": []})
    env.worker()
    env.plan_by_hand = True
    env.submit("a")
    task = graph.name_task(env.core.state, "default", stub("z"), (env.run(),), 0.0)
    env.commit()
    with pytest.raises(tally.IllegalMove, match="T_z"):
        tally.move(env.core.state, task, event)
    assert task.state == S.UNPLANNED
    assert not env.core.state.changes


def test_refused_moves_exist_for_what_would_break_a_lease() -> None:
    for state in TaskState:
        if state != S.READY:
            assert TABLE[state, TaskEvent.GRANT].refused, state.name
        if state not in HELD:
            assert TABLE[state, TaskEvent.SUCCEED].refused, state.name
