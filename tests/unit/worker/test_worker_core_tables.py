"""The transition tables of the worker: complete, and obeyed."""

from __future__ import annotations

from typing import Any

import pytest

from flow.wire.messages.shared import Outcome
from flow.wire.messages.worker import Resume
from flow.wire.moves import Go, Ignore, IllegalMove, Moves, Refuse
from flow_worker import channel
from flow_worker.core.records import Holding
from flow_worker.core.transitions import (
    HOLD_MOVES,
    LINK_MOVES,
    STAND_MOVES,
    Hold,
    HoldEvent,
    Link,
    LinkEvent,
    Stand,
    StandEvent,
)
from tests.support.worker_env import WorkerEnv, done, grant, stub, tok

TABLES: list[Moves[Any, Any]] = [LINK_MOVES, HOLD_MOVES, STAND_MOVES]
CELLS = [
    pytest.param(table, *pair, id=f"{table.name}-{pair[0].name}-{pair[1].name}")
    for table in TABLES
    for pair in table
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_table_gives_reasons_where_nothing_moves(table) -> None:
    for _, move in table.items():
        assert isinstance(move, Go) or move.why


def test_table_with_a_missing_or_a_foreign_pair_is_refused() -> None:
    cells = dict(LINK_MOVES.items())
    del cells[Link.JOINED, LinkEvent.LEFT]
    with pytest.raises(ValueError, match="the moves of a link do not cover"):
        Moves("link", Link, LinkEvent, cells)


def moved(env: WorkerEnv, table: Moves[Any, Any], state: Any, event: Any) -> Any:
    """Have one thing in this state, and this event happen to it; returns its state."""
    worker = env.worker
    if table is LINK_MOVES:
        worker.joining.state = state
        worker.joining._move(event)
        return worker.joining.state
    if table is HOLD_MOVES:
        holding = Holding(grant(1), worker.programs.use(1, env.now))
        holding.state = state
        worker.tokens._move(holding, event)
        return holding.state
    program = worker.programs.use(1, env.now)
    program.stand = state
    worker.templates._move(program, event)
    return program.stand


@pytest.mark.by_hand
@pytest.mark.parametrize(("table", "state", "event"), CELLS)
def test_funnel_does_what_the_cell_says(table, state, event) -> None:
    """A refusal raises for an event of our own; what others said is counted. Nothing changes."""
    env = WorkerEnv()
    counts = env.worker.refusals.counts
    move = table[state, event]
    if isinstance(move, Refuse) and event not in table.heard:
        with pytest.raises(IllegalMove, match=f"{event.name} in state {state.name} of .*"):
            moved(env, table, state, event)
        assert not counts
        return
    assert moved(env, table, state, event) == (move.state if isinstance(move, Go) else state)
    refused = {(table.name, state.name, event.name): 1} if isinstance(move, Refuse) else {}
    assert counts == refused
    assert isinstance(move, Go | Ignore | Refuse)


def test_bug_of_ours_raises_before_anything_changes() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    process = env.worker.processes.all[runner]
    holding = env.worker.tokens.holdings[tok(1)]
    before = (holding.state, holding.cost_s, process.load_s, env.worker.tokens.busy)
    with pytest.raises(IllegalMove, match=r"ASSIGNED in state RUNNING of .*: a process has it"):
        env.worker.tokens.assign(holding, process, 5.0)
    with pytest.raises(IllegalMove, match=r"CONTINUED in state RUNNING of .*: a process has it"):
        env.worker.tokens.continue_in(process, holding, env.now)
    assert before == (holding.state, holding.cost_s, process.load_s, env.worker.tokens.busy)


def _out_of_turn() -> tuple[WorkerEnv, int]:
    """A runner that runs task 1, with task 2 behind it."""
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.say(runner, channel.Finished([done(1, run_s=0.001)]))  # known to be small: they go together
    env.run(grant(2), grant(3))
    env.clear()
    assert [h.token for h in env.worker.processes.all[runner].batch] == [tok(2), tok(3)]
    return env, runner


@pytest.mark.unread("KillProcess")
@pytest.mark.parametrize(
    ("frame", "event", "why"),
    [
        (channel.Finished([done(3)]), "FINISHED", "another task of its batch comes first"),
        (channel.Parked(tok(3), 1, [stub(9)]), "YIELDED", "another task of its batch comes first"),
    ],
    ids=["finished", "yielded"],
)
def test_process_that_speaks_out_of_turn_is_refused_counted_and_killed(frame, event, why) -> None:
    env, runner = _out_of_turn()
    env.say(runner, frame)
    assert env.worker.refusals.counts == {("token", "ASSIGNED", event): 1}
    assert env.notes.count("refused what was said") == 1
    assert [number for number, _ in env.killed] == [runner]
    holdings = env.worker.tokens.holdings
    # nothing that it said counts: the one runs until it is gone, the other one never began
    assert [holdings[tok(n)].state for n in (2, 3)] == [Hold.KILLING, Hold.ASSIGNED]
    env.die(runner, signal=9)
    assert env.reports() == [(tok(2), Outcome.CRASHED)]
    assert why in holdings[tok(2)].reason
    assert holdings[tok(3)].state is Hold.QUEUED


@pytest.mark.unread("KillProcess", "Yield")
def test_process_that_gives_back_what_it_began_is_refused_and_not_dirty() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.say(runner, channel.Parked(tok(1), 1, [stub(9)]))
    env.say(runner, channel.Dirty("a thread", [tok(1)]))
    assert env.worker.refusals.counts == {("token", "PARKED", "RETURNED"): 1}
    assert env.worker.processes.all[runner].dirty == ""
    env.die(runner, signal=9)
    assert env.reports() == [(tok(1), Outcome.RELEASED)]


@pytest.mark.unread("Continue", "KillProcess", "Yield")
def test_process_that_gives_back_a_generator_that_it_continues_is_refused() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.say(runner, channel.Parked(tok(1), 1, [stub(9)]))
    env.turn(Resume(env.session, [(tok(1), 1)]))
    env.say(runner, channel.Dirty("a thread", [tok(1)]))
    assert env.worker.processes.all[runner].dirty == ""
    env.die(runner, signal=9)
    assert env.reports() == [(tok(1), Outcome.CRASHED)]
    assert not env.worker.tokens.queued


def test_refusals_are_said_when_their_count_doubles() -> None:
    env = WorkerEnv()
    program = env.worker.programs.use(7, env.now)
    for _ in range(20):
        env.worker._effects = []
        env.worker.templates._move(program, StandEvent.LOADED)
        for effect in env.worker._effects:
            env._do(effect)
    assert env.worker.refusals.counts == {("program", "NEW", "LOADED"): 20}
    assert env.notes.count("refused what was said") == 5


def test_template_that_says_loaded_again_changes_nothing() -> None:
    env = WorkerEnv()
    [program] = env.worker.programs.all.values()
    assert program.template is not None
    before = (program.code, program.quiet_until, program.memory_bytes, program.text)
    env.say(program.template.number, channel.Loaded("0ther", 9.0, memory_bytes=7, error="no"))
    assert before == (program.code, program.quiet_until, program.memory_bytes, program.text)
    assert not program.broken


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


def test_every_token_can_end_by_kill_and_by_the_death_of_its_process() -> None:
    for state in (Hold.ASSIGNED, Hold.RUNNING, Hold.PARKED, Hold.RESUMING, Hold.KILLING):
        assert HOLD_MOVES[state, HoldEvent.KILLED] == Go(Hold.KILLING)
    assert HOLD_MOVES[Hold.KILLING, HoldEvent.GONE] == Go(Hold.ENDED)
