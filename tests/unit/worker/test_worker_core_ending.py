"""Drain, stop, the loss of the supervisor; and a worker attached to one program."""

from __future__ import annotations

import pytest

from flow.wire.messages.shared import Outcome, Report
from flow.wire.messages.worker import Dispatch, Drain, Drained, Heartbeat, Hello, Kill
from flow_worker.channel import Abandon, Chunk, Finished, Parked, Up
from flow_worker.core import events
from flow_worker.core.events import StopKind
from tests.support.worker_env import WorkerEnv, done, grant, stub, tok


def stop(env: WorkerEnv, kind: StopKind) -> None:
    env.turn(events.StopRequested(kind))


def bury(env: WorkerEnv) -> None:
    """Every process that was killed is gone."""
    for process in dict(env.killed):
        if process in env.worker.processes.all:
            env.die(process, signal=9)


@pytest.mark.unread("KillProcess")
def test_drain_finishes_what_runs_gives_back_the_rest_and_leaves() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1), grant(2))
    env.clear()
    env.turn(Drain("1.1"))
    assert env.of(Heartbeat)[-1].draining is True
    assert env.reports() == [(tok(2), Outcome.RELEASED)]
    env.dispatch(grant(3))
    assert env.reports() == [(tok(3), Outcome.RELEASED)]
    env.rack(tok(2), tok(3))
    assert not env.killed
    env.say(runner, Finished([done(1)]))
    assert env.reports() == [(tok(1), Outcome.DONE)]
    assert not env.killed and env.exit is None
    env.rack(tok(1))
    assert dict(env.killed).keys() == env.worker.processes.all.keys()
    assert env.of(Drained) == []
    bury(env)
    assert env.of(Drained) == [Drained("1.1")]
    assert env.exit is not None and env.exit.code == 0
    assert env.worker.next_deadline() is None


@pytest.mark.unread("Abandon")
def test_drain_gives_up_generators() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.say(runner, Parked(tok(1), 1, [stub(1)]))
    env.clear()
    stop(env, StopKind.DRAIN)
    assert env.told == [(runner, Abandon([tok(1)]))]
    env.turn()
    assert len(env.told) == 1
    env.say(runner, Finished([Report(tok(1), Outcome.RELEASED)]))
    assert env.reports() == [(tok(1), Outcome.RELEASED)]


@pytest.mark.unread("KillProcess")
def test_drain_grace_ends_with_a_stop() -> None:
    env = WorkerEnv(drain_grace_s=600.0)
    runner = env.run(grant(1))
    stop(env, StopKind.DRAIN)
    env.run_for(599.0)
    assert not env.killed
    env.run_for(2.0)
    assert env.killed == [(runner, 5.0)]
    env.die(runner, signal=15)
    assert env.reports() == [(tok(1), Outcome.KILLED)]


@pytest.mark.unread("KillProcess")
def test_second_stop_kills_with_grace_and_still_reports() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    stop(env, StopKind.DRAIN)
    assert not env.killed
    stop(env, StopKind.NOW)
    assert env.killed == [(runner, 5.0)]
    stop(env, StopKind.DRAIN)
    env.die(runner, signal=15)
    assert env.reports() == [(tok(1), Outcome.KILLED)]
    env.rack(tok(1))
    bury(env)
    assert env.of(Drained) and env.exit is not None


@pytest.mark.unread("Drained", "KillProcess", "Results")
def test_unheard_reports_are_waited_for_a_bounded_time() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    stop(env, StopKind.NOW)
    env.die(runner, signal=15)
    env.run_for(4.9)
    bury(env)
    assert env.exit is None
    env.run_for(0.2)
    bury(env)
    assert env.exit is not None
    assert "leaving unheard" in env.notes


@pytest.mark.unread("Drained", "KillProcess", "Results")
def test_drain_waits_for_acks_as_long_as_the_lease() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    stop(env, StopKind.DRAIN)
    env.say(runner, Finished([done(1)]))
    env.run_for(30.0, acks=False)
    assert env.exit is None and len(env.killed) == 0
    env.run_for(40.0, acks=False)
    bury(env)
    assert env.exit is not None


@pytest.mark.unread("Drained", "KillProcess", "Results")
def test_owner_gone_kills_and_leaves_without_waiting_to_be_heard() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    stop(env, StopKind.GONE)
    assert env.killed == [(runner, 5.0)]
    env.die(runner, signal=15)
    bury(env)
    assert env.exit is not None and env.exit.code == 0


@pytest.mark.unread("Drained", "KillProcess", "Results")
def test_supervisor_gone_kills_at_once_and_exits_with_an_error() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.turn(events.GuardLost())
    assert env.killed[0] == (runner, 0.0)
    env.die(runner, signal=9)
    env.rack(tok(1))
    bury(env)
    assert not env.started
    assert env.exit is not None and env.exit.code == 70


@pytest.mark.unread("Drained", "KillProcess")
def test_nothing_is_said_or_done_after_the_exit() -> None:
    env = WorkerEnv()
    stop(env, StopKind.DRAIN)
    bury(env)
    assert env.exit is not None
    env.turn(Dispatch("1.1", [grant(1)]), events.Tick())


# ---------------------------------------------------------------- attached


def attached() -> WorkerEnv:
    env = WorkerEnv(joined=False, attached=True)
    env.advance(0)
    env.join()
    env.say(1, Up(1))
    env.clear()
    return env


@pytest.mark.unread("Expand", "Yield")
def test_attached_program_runs_and_plans_and_nothing_is_forked() -> None:
    from flow.wire.messages.worker import Plan, Planned

    env = attached()
    env.turn(Plan("1.1", 0, [stub(1)], 10, 1))
    env.say(1, Chunk(0, 0, True, b"x"))
    assert [m.body for m in env.of(Planned)] == [b"x"]
    env.dispatch(grant(1), grant(2))
    assert env.executed() == {1: [tok(1)]}
    env.say(1, Parked(tok(1), 1, [stub(1)]))
    assert env.executed() == {1: [tok(2)]}
    assert env.started == []


def test_attached_program_is_never_killed_and_unfit_until_its_task_ends() -> None:
    env = attached()
    env.dispatch(grant(1))
    env.turn(Kill("1.1", [tok(1)]))
    assert env.killed == []
    assert "attached program cannot be killed" in env.notes
    env.dispatch(grant(2))
    assert env.reports() == [(tok(2), Outcome.RELEASED)]
    env.say(1, Finished([Report(tok(1), Outcome.FAILED, 1.0, "x")]))
    assert env.reports() == [(tok(1), Outcome.KILLED)]
    env.executed()
    env.dispatch(grant(3))
    assert env.executed() == {1: [tok(3)]}


@pytest.mark.unread("Drained", "Execute")
def test_attached_program_that_ends_ends_the_worker() -> None:
    env = attached()
    env.dispatch(grant(1))
    env.die(1)
    assert env.reports() == [(tok(1), Outcome.CRASHED)]
    env.rack(tok(1))
    assert env.exit is not None and env.exit.code == 0
    assert env.of(Hello) == []
