"""The transition tables of the worker: complete, and obeyed."""

from __future__ import annotations

import itertools

import pytest

from flow_worker.core.transitions import (
    HOLD_MOVES,
    LINK_MOVES,
    STAND_MOVES,
    Go,
    Hold,
    HoldEvent,
    Ignore,
    Link,
    LinkEvent,
    Refuse,
    Stand,
    StandEvent,
)


@pytest.mark.parametrize(
    ("table", "states", "events"),
    [(LINK_MOVES, Link, LinkEvent), (HOLD_MOVES, Hold, HoldEvent)],
    ids=["link", "token"],
)
def test_table_covers_every_pair_and_gives_reasons(table, states, events) -> None:
    assert set(table) == set(itertools.product(states, events))
    for move in table.values():
        assert isinstance(move, Go | Ignore | Refuse)
        if isinstance(move, Go):
            assert move.state in states
        else:
            assert move.why


def reachable(table, start) -> set:
    seen = {start}
    while True:
        more = {m.state for (s, _), m in table.items() if s in seen and isinstance(m, Go)} - seen
        if not more:
            return seen
        seen |= more


def test_every_state_of_the_link_is_reachable_and_its_end_is_final() -> None:
    assert reachable(LINK_MOVES, Link.OFFLINE) == set(Link)
    assert reachable(LINK_MOVES, Link.ENDED) == {Link.ENDED}


def test_every_state_of_a_token_is_reachable_and_none_leaves_its_end() -> None:
    assert reachable(HOLD_MOVES, Hold.QUEUED) == set(Hold)
    assert reachable(HOLD_MOVES, Hold.ENDED) == {Hold.ENDED, Hold.ACKED}
    assert reachable(HOLD_MOVES, Hold.ACKED) == {Hold.ACKED}


@pytest.mark.parametrize("state", [h for h in Hold if h is not Hold.ACKED])
def test_no_token_that_was_in_a_process_starts_again(state: Hold) -> None:
    """Rule W1: only what never began may go back to the queue.

    The head of a batch counts as running until its runner says that it has not begun it.
    """
    moves = {event: HOLD_MOVES[state, event] for event in HoldEvent}
    back = {e for e, m in moves.items() if isinstance(m, Go) and m.state is Hold.QUEUED}
    allowed = {
        Hold.ASSIGNED: {HoldEvent.GONE, HoldEvent.RETURNED},
        Hold.RUNNING: {HoldEvent.RETURNED},
    }
    assert back == allowed.get(state, set())


def test_every_stand_of_a_program_is_reachable_and_giving_up_is_final() -> None:
    assert reachable(STAND_MOVES, Stand.NEW) == set(Stand)
    assert reachable(STAND_MOVES, Stand.FAILED) == {Stand.FAILED}
    assert set(STAND_MOVES) == {(state, event) for state in Stand for event in StandEvent}


def test_every_token_can_end_by_kill_and_by_the_death_of_its_process() -> None:
    for state in (Hold.ASSIGNED, Hold.RUNNING, Hold.PARKED, Hold.RESUMING, Hold.KILLING):
        assert HOLD_MOVES[state, HoldEvent.KILLED] == Go(Hold.KILLING)
    assert HOLD_MOVES[Hold.KILLING, HoldEvent.GONE] == Go(Hold.ENDED)
