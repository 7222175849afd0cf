"""HELLO to WELCOME, heartbeats, REJOIN, DENIED; rules W4 and W5."""

from __future__ import annotations

import itertools

import pytest

from flow.wire.messages.shared import Outcome, Timing
from flow.wire.messages.worker import (
    Challenge,
    Denied,
    Dispatch,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Join,
    Rejoin,
    Started,
    Welcome,
)
from flow_worker.channel import Finished
from flow_worker.core import events
from flow_worker.core.transitions import Link
from tests.support.worker_env import LINEAGE, TIMING, UID, WorkerEnv, done, grant, tok


def test_start_says_hello_and_repeats_it_ever_later() -> None:
    env = WorkerEnv(joined=False)
    env.advance(0)
    [hello] = env.of(Hello)
    assert (hello.uid, hello.protocol) == (UID, (1, 0))
    times = []
    for _ in range(20):
        due = env.worker.next_deadline()
        assert due is not None
        env.advance(due - env.now)
        times.append(due)
        assert len(env.of(Hello)) == 1
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps[0] < 0.2 and 4.0 < gaps[-1] < 6.0


@pytest.mark.unread("Hello")
def test_challenge_is_answered_with_join_and_welcome_makes_a_session() -> None:
    env = WorkerEnv(joined=False, slots=3, planners=2, capacity={"gpu": 1.0}, predecessors=["old"])
    env.advance(0)
    env.challenge("n1")
    [join] = [m for m in env.sent if isinstance(m, Join)]
    assert (join.nonce, join.held, join.reporting) == ("n1", [], [])
    assert (join.slots, join.planners, join.predecessors) == (3, 2, ["old"])
    assert join.capacity == {"gpu": 1.0}
    env.welcome("1.1")
    assert env.worker.joining.session == "1.1"
    assert [h.number for h in env.of(Heartbeat)] == [1]


def test_join_without_answer_starts_over_with_hello() -> None:
    env = WorkerEnv(joined=False)
    env.advance(0)
    env.challenge("n1")
    env.clear()
    env.run_for(6.0)
    assert env.of(Hello)
    env.challenge("n2")
    assert env.of(Join)[-1].nonce == "n2"


@pytest.mark.unread("Hello", "Join")
def test_welcome_of_an_older_join_is_ignored() -> None:
    env = WorkerEnv(joined=False)
    env.advance(0)
    env.challenge("n1")
    env.challenge("n2")
    env.turn(Welcome("n1", "1.1", TIMING, []))
    assert env.worker.joining.session is None
    env.turn(Welcome("n2", "1.2", TIMING, []))
    assert env.worker.joining.session == "1.2"


def test_repeated_welcome_does_not_renew_anything() -> None:
    env = WorkerEnv()
    nonce = "nonce of 1.1"
    end = env.worker.lease.end
    env.now += 30
    env.turn(Welcome(nonce, "1.1", TIMING, []))
    assert env.worker.lease.end == end


def test_heartbeats_come_at_their_pace_with_jitter() -> None:
    env = WorkerEnv()
    start = env.now
    env.run_for(500.0)
    beats = env.of(Heartbeat)
    assert [h.number for h in beats] == list(range(beats[0].number, beats[0].number + len(beats)))
    assert 500 / (5.0 * 1.1) - 1 <= len(beats) <= 500 / (5.0 * 0.9) + 1
    assert env.now == start + 500.0


def test_rejoin_of_this_session_says_hello_and_kills_nothing() -> None:
    env = WorkerEnv()
    env.run(grant(1))
    env.turn(Rejoin("1.1"))
    assert env.of(Hello) and not env.killed
    join = env.join("1.2")
    assert join.held == [tok(1)]
    assert not env.killed
    assert env.of(Started)[-1].tokens == [tok(1)]


def test_rejoin_of_another_session_is_ignored() -> None:
    env = WorkerEnv()
    env.turn(Rejoin("1.0"))
    assert not env.of(Hello)
    assert env.worker.joining.state is Link.JOINED


def test_challenge_with_a_lower_epoch_is_ignored() -> None:
    env = WorkerEnv(joined=False)
    env.advance(0)
    env.challenge("n1", epoch=5)
    env.welcome("5.1")
    env.turn(Rejoin("5.1"))
    env.clear()
    env.challenge("n2", epoch=4)
    assert not env.of(Join)
    env.challenge("n3", epoch=5)
    assert env.of(Join)


@pytest.mark.unread("Hello", "KillProcess", "Leave")
def test_challenge_of_another_lineage_kills_all_that_is_held_before_join() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1), grant(2))
    env.turn(Rejoin("1.1"))
    env.challenge("n2", lineage="cd" * 8)
    assert (runner, 0.0) in env.killed
    assert not env.of(Join)
    env.die(runner, signal=9)
    [join] = env.of(Join)
    assert join.held == []
    assert sorted(join.reporting) == [tok(1), tok(2)]


@pytest.mark.unread("Hello", "KillProcess")
def test_join_waits_until_everything_being_killed_is_reaped() -> None:
    """Rule W5, first half."""
    env = WorkerEnv(slots=2)
    env.dispatch(grant(1, timeout_s=1.0), grant(2))
    env.up_all()
    [runner] = [p for p, tokens in env.executed().items() if tok(1) in tokens]
    env.advance(1.5)
    assert env.killed == [(runner, 5.0)]
    env.turn(Rejoin("1.1"))
    env.challenge("n2")
    assert not env.of(Join)
    env.die(runner, signal=15)
    [join] = env.of(Join)
    assert join.held == [tok(2)]
    assert join.reporting == [tok(1)]


@pytest.mark.unread("KillProcess")
def test_kill_after_join_voids_it() -> None:
    """Rule W5, second half: the WELCOME of a JOIN that listed a killed token is not taken."""
    env = WorkerEnv()
    runner = env.run(grant(1, timeout_s=10.0))
    env.turn(Rejoin("1.1"))
    env.challenge("n2")
    [join] = env.of(Join)
    assert join.held == [tok(1)]
    env.advance(11.0)
    assert env.killed == [(runner, 5.0)]
    env.turn(Welcome("n2", "1.2", TIMING, []))
    assert env.worker.joining.session is None
    env.run_for(0.1)
    assert env.of(Hello)
    env.die(runner, signal=15)
    env.challenge("n3")
    [join] = env.of(Join)
    assert (join.held, join.reporting) == ([], [tok(1)])


@pytest.mark.unread("Hello", "KillProcess")
def test_kill_list_of_welcome_kills_hard() -> None:
    """Rule W7."""
    env = WorkerEnv()
    runner = env.run(grant(1), grant(2))
    env.turn(Rejoin("1.1"))
    env.challenge("n2")
    env.welcome("1.2", tok(1), tok(2))
    assert env.killed == [(runner, 0.0)]
    env.die(runner, signal=9)
    assert env.reports() == [(tok(2), Outcome.KILLED), (tok(1), Outcome.KILLED)]


@pytest.mark.unread("Hello", "KillProcess")
def test_denied_exits_with_78() -> None:
    env = WorkerEnv(joined=False)
    env.advance(0)
    env.turn(Denied("speaks another protocol"))
    for process in list(env.worker.processes.all):
        env.die(process, signal=9)
    assert env.exit is not None
    assert (env.exit.code, env.exit.reason) == (78, "speaks another protocol")
    assert "refused by the coordinator" in env.notes


@pytest.mark.unread("KillProcess")
def test_deadline_comes_before_the_message_that_wakes_a_frozen_worker() -> None:
    """Rule W4: without it the late ack would renew the lease of a copy that must be dead."""
    env = WorkerEnv()
    runner = env.run(grant(1))
    [beat] = [h.number for h in env.of(Heartbeat)][-1:] or [env.worker.lease._number]
    env.now += 100.0
    env.turn(HeartbeatAck("1.1", beat))
    assert env.killed == [(runner, 0.0)]


@pytest.mark.unread("Hello", "KillProcess")
def test_deadline_comes_before_a_rejoin_handshake() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.turn(Rejoin("1.1"))
    env.now += 100.0
    env.turn(Challenge(1, LINEAGE, "n2"), Welcome("n2", "1.2", TIMING, []))
    assert env.killed == [(runner, 0.0)]
    assert not env.of(Join)
    env.die(runner, signal=9)
    [join] = env.of(Join)
    assert join.held == []


@pytest.mark.unread("Hello")
def test_result_survives_a_new_session_and_is_said_in_it() -> None:
    """Rule W6."""
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.turn(Rejoin("1.1"))
    env.say(runner, Finished([done(1)]))
    assert env.reports() == []
    env.challenge("n2")
    join = env.welcome("1.2")
    assert (join.held, join.reporting) == ([], [tok(1)])
    assert env.reports() == [(tok(1), Outcome.DONE)]


@pytest.mark.parametrize("session", ["1.0", "2.1", ""])
def test_dispatch_of_another_session_starts_nothing(session: str) -> None:
    """Rule W2."""
    env = WorkerEnv()
    env.turn(Dispatch(session, [grant(1)]))
    env.run_for(1.0)
    assert not env.executed() and not env.of(Started)
    assert not env.worker.tokens.holdings


@pytest.mark.unread("Hello")
def test_dispatch_while_not_joined_starts_nothing() -> None:
    env = WorkerEnv()
    env.turn(Rejoin("1.1"))
    env.turn(Dispatch("1.1", [grant(1)]))
    assert not env.worker.tokens.holdings


def test_timing_of_the_welcome_is_in_force() -> None:
    env = WorkerEnv(joined=False)
    env.advance(0)
    env.join(timing=Timing(1.0, 10.0, 2.0, 1.0))
    env.clear()
    env.run_for(10.0)
    assert 8 <= len(env.of(Heartbeat)) <= 12


@pytest.mark.unread("Hello", "KillProcess")
def test_stop_before_any_join_leaves_at_once() -> None:
    env = WorkerEnv(joined=False)
    env.advance(0)
    env.turn(events.StopRequested(events.StopKind.DRAIN))
    for process in list(env.worker.processes.all):
        env.die(process, signal=9)
    assert env.exit is not None and env.exit.code == 0
