"""The lease's end at the worker: rules W2 and W3, EXTEND."""

from __future__ import annotations

import pytest

from flow.wire.messages.shared import Outcome, Timing
from flow.wire.messages.worker import Extend, Extended, Heartbeat, HeartbeatAck, Rejoin
from flow_worker.channel import Parked
from flow_worker.core import events
from tests.support.worker_env import START_S, WorkerEnv, grant, stub, tok


@pytest.mark.unread("KillProcess")
def test_silence_kills_at_lease_minus_kill_budget_counted_from_the_join() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.run_for(START_S + 54.9 - env.now, acks=False)
    assert not env.killed
    env.run_for(0.2, acks=False)
    [(process, grace_s)] = env.killed
    assert process == runner
    assert 4.9 <= grace_s <= 5.0


def test_acked_heartbeats_keep_everything_alive() -> None:
    env = WorkerEnv()
    env.run(grant(1))
    env.run_for(1000.0)
    assert not env.killed


@pytest.mark.unread("KillProcess")
def test_fence_counts_from_the_send_time_of_the_acked_heartbeat_not_from_the_ack() -> None:
    """Rule W3: the ack of a heartbeat may be very late."""
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.run_for(20.0, acks=False)
    sent_at = env.now
    beat = [h.number for h in env.of(Heartbeat)][-1]
    sent_at = env.worker.lease._sent[beat]
    env.run_for(20.0, acks=False)
    env.turn(HeartbeatAck("1.1", beat))
    assert env.worker.lease.fence_at == sent_at + 55.0
    env.run_for(sent_at + 54.9 - env.now, acks=False)
    assert not env.killed
    env.run_for(0.2, acks=False)
    assert [process for process, _ in env.killed] == [runner]


def test_ack_of_an_older_heartbeat_takes_nothing_back() -> None:
    env = WorkerEnv()
    env.run_for(30.0, acks=False)
    beats = [h.number for h in env.of(Heartbeat)]
    env.turn(HeartbeatAck("1.1", beats[-1]))
    fence_at = env.worker.lease.fence_at
    env.turn(HeartbeatAck("1.1", beats[0]), HeartbeatAck("1.1", beats[-1]))
    assert env.worker.lease.fence_at == fence_at


@pytest.mark.unread("KillProcess")
@pytest.mark.parametrize("late_s", [1.5, 5.0, 100.0])
def test_fence_found_late_kills_at_once(late_s: float) -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.advance(START_S + 55.0 + late_s - env.now)
    assert env.killed == [(runner, 0.0)]


@pytest.mark.unread("Execute", "KillProcess", "Yield")
def test_fence_ends_every_kind_of_token_with_one_report() -> None:
    env = WorkerEnv(slots=2)
    env.dispatch(grant(1), grant(2), grant(3), grant(4))
    env.up_all()
    first, second = sorted(env.executed())
    env.say(first, Parked(tok(1), 1, [stub(1)]))
    env.up_all()
    env.run_for(56.0, acks=False)
    for process in dict(env.killed):
        env.die(process, signal=15)
    assert env.worker.tokens.live == 0
    ended = dict(env.reports())
    assert ended[tok(2)] is Outcome.KILLED
    assert ended[tok(4)] is Outcome.RELEASED
    assert set(ended) == {tok(n) for n in (1, 2, 3, 4)}
    assert second in dict(env.killed)


@pytest.mark.unread("Hello", "KillProcess")
def test_fence_holds_also_while_joining_again() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.run_for(20.0)
    env.turn(Rejoin("1.1"))
    end = env.worker.lease.fence_at
    env.run_for(end - env.now + 0.1)
    assert [process for process, _ in env.killed] == [runner]


def test_idle_worker_kills_nothing_at_the_fence() -> None:
    env = WorkerEnv()
    env.run_for(120.0, acks=False)
    assert not env.killed


@pytest.mark.unread("KillProcess")
def test_extend_postpones_the_fence() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.turn(Extend("1.1", 300.0))
    assert env.of(Extended) == [Extended("1.1")]
    env.run_for(294.0, acks=False)
    assert not env.killed
    env.run_for(2.0, acks=False)
    assert [process for process, _ in env.killed] == [runner]


@pytest.mark.unread("Extended", "Hello")
def test_new_session_ends_the_extension() -> None:
    env = WorkerEnv()
    env.run(grant(1))
    env.turn(Extend("1.1", 300.0))
    env.turn(Rejoin("1.1"))
    env.join("2.1")
    assert env.worker.lease.fence_at == env.now + 55.0


@pytest.mark.unread("Extended", "Hello", "Join", "KillProcess")
def test_join_without_an_answer_ends_the_extension_a_lease_later() -> None:
    """The coordinator may have heard it, and counts a plain lease from then on."""
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.turn(Extend("1.1", 300.0))
    env.turn(Rejoin("1.1"))
    env.run_for(30.0)
    env.challenge("nonce of 2.1")
    env.run_for(54.0)
    assert not env.killed
    env.run_for(2.0)
    assert [process for process, _ in env.killed] == [runner]


def test_nothing_starts_with_too_little_lease_left_and_starts_after_an_ack() -> None:
    """Rule W2: less than G+H left."""
    env = WorkerEnv()
    env.run_for(50.5, acks=False)
    beat = env.of(Heartbeat)[-1].number
    env.dispatch(grant(1))
    assert not env.executed()
    env.turn(HeartbeatAck("1.1", beat))
    assert list(env.executed().values()) == [[tok(1)]]


def test_nothing_starts_after_the_fence_until_an_ack() -> None:
    env = WorkerEnv()
    env.run_for(58.0, acks=False)
    beat = env.of(Heartbeat)[-1].number
    env.dispatch(grant(1))
    env.run_for(20.0, acks=False)
    assert not env.executed()
    env.turn(HeartbeatAck("1.1", beat))
    assert list(env.executed().values()) == [[tok(1)]]


@pytest.mark.unread("Expand", "Hello", "KillProcess", "Planned")
def test_fast_profile_fences_at_eight_seconds() -> None:
    env = WorkerEnv(joined=False)
    env.advance(0)
    env.join(timing=Timing(1.0, 10.0, 2.0, 1.0))
    env.up_all()
    env.warm_up()
    runner = env.run(grant(1))
    env.run_for(7.9, acks=False)
    assert not env.killed
    env.run_for(0.2, acks=False)
    assert [process for process, _ in env.killed] == [runner]


def test_stuck_process_makes_the_worker_unfit_until_it_is_gone() -> None:
    """Rule W9."""
    env = WorkerEnv(slots=2)
    env.dispatch(grant(1, timeout_s=1.0), grant(2), grant(3))
    env.up_all()
    [runner] = [p for p, tokens in env.executed().items() if tok(1) in tokens]
    env.advance(1.5)
    env.clear()
    env.turn(events.ProcessStuck(runner))
    assert env.of(Heartbeat)[-1].fit is False
    assert env.reports() == [(tok(3), Outcome.RELEASED)]
    env.dispatch(grant(4))
    assert env.reports() == [(tok(4), Outcome.RELEASED)]
    env.die(runner, signal=9)
    assert env.of(Heartbeat)[-1].fit is True
    assert env.reports() == [(tok(1), Outcome.TIMEOUT)]
    env.dispatch(grant(5))
    env.up_all()
    assert [tok(5)] in env.executed().values()


@pytest.mark.unread("Abandon", "KillProcess", "Yield")
def test_fence_kills_a_process_that_only_holds_several_generators() -> None:
    env = WorkerEnv()
    limit = env.worker.config.processes_max
    for number in range(1, limit + 2):
        env.dispatch(grant(number))
        env.up_all()
        [(runner, _)] = env.executed().items()
        env.say(runner, Parked(tok(number), 1, [stub(1)]))
    env.run_for(56.0, acks=False)
    assert sorted(dict(env.killed)) == sorted(env.runners())
