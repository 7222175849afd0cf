"""Suspended generators: parked, resumed, given up."""

from __future__ import annotations

import pytest

from flow.wire.messages.shared import Outcome, Report, Verdict
from flow.wire.messages.worker import Kill, Rack, Rejoin, Resume, Started, Yield
from flow_worker.channel import Abandon, Continue, Finished, Parked
from tests.support.worker_env import WorkerEnv, done, grant, stub, tok


def park(env: WorkerEnv, number: int, nth: int = 1, **fields: float) -> int:
    """Run a grant until it yields; returns its runner."""
    runner = env.run(grant(number, **fields))
    env.say(runner, Parked(tok(number), nth, [stub(1)]))
    return runner


def test_yield_is_said_and_frees_the_slot_at_once() -> None:
    env = WorkerEnv()
    env.dispatch(grant(1), grant(2))
    runner = env.runners()[0]
    env.clear()
    env.say(runner, Parked(tok(1), 1, [stub(1), stub(2)]))
    assert env.of(Yield) == [Yield("1.1", tok(1), 1, 0, 1, [stub(1), stub(2)])]
    [(other, role)] = env.started
    assert role == "runner"
    env.up_all()
    assert env.executed() == {other: [tok(2)]}


def test_yield_is_repeated_until_acked() -> None:
    env = WorkerEnv()
    park(env, 1)
    env.clear()
    env.run_for(1.5)
    assert [y.number for y in env.of(Yield)] == [1]
    env.turn(Rack("1.1", [], [(tok(1), 1)]))
    env.clear()
    env.run_for(100.0)
    assert env.of(Yield) == []


def test_yield_is_said_again_in_a_new_session_and_its_token_is_held() -> None:
    env = WorkerEnv()
    park(env, 1)
    env.turn(Rejoin("1.1"))
    env.clear()
    join = env.join("1.2")
    assert join.held == [tok(1)]
    assert [(y.session, y.token) for y in env.of(Yield)] == [("1.2", tok(1))]
    assert env.of(Started) == []


def test_large_yield_travels_in_parts() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.clear()
    env.say(runner, Parked(tok(1), 1, [stub(n) for n in range(12_000)]))
    parts = env.of(Yield)
    assert [(y.part, y.parts, len(y.stubs)) for y in parts] == [
        (0, 3, 5000),
        (1, 3, 5000),
        (2, 3, 2000),
    ]
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.say(runner, Parked(tok(1), 1, [stub(n, b"p" * 200_000) for n in range(5)]))
    assert len(env.of(Yield)) == 3


def test_yield_of_nothing_is_one_empty_part() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.say(runner, Parked(tok(1), 1, []))
    assert [(y.part, y.parts, y.stubs) for y in env.of(Yield)] == [(0, 1, [])]


@pytest.mark.unread("Continue")
def test_resume_continues_the_generator_in_its_runner() -> None:
    env = WorkerEnv()
    runner = park(env, 1)
    env.clear()
    env.turn(Resume("1.1", [(tok(1), 1)]))
    assert env.told == [(runner, Continue(tok(1), 1))]
    assert env.of(Started) == [Started("1.1", [tok(1)], [(tok(1), 1)])]
    env.say(runner, Parked(tok(1), 2, [stub(2)]))
    assert [y.number for y in env.of(Yield)] == [2]
    env.turn(Resume("1.1", [(tok(1), 2)]))
    env.say(runner, Finished([done(1)]))
    assert env.reports() == [(tok(1), Outcome.DONE)]


def test_copies_and_old_numbers_of_resume_continue_nothing_twice() -> None:
    env = WorkerEnv()
    runner = park(env, 1)
    env.clear()
    resume = Resume("1.1", [(tok(1), 1), (tok(5), 1)])
    env.turn(resume, resume)
    env.turn(resume)
    assert env.told == [(runner, Continue(tok(1), 1))]
    env.say(runner, Parked(tok(1), 2, [stub(2)]))
    env.clear()
    env.turn(resume)
    assert env.told == []


@pytest.mark.unread("Continue", "Results")
def test_resume_waits_for_a_slot_and_goes_before_new_grants() -> None:
    env = WorkerEnv()
    first = park(env, 1)
    env.dispatch(grant(2), grant(3))
    env.up_all()
    [(second, _)] = env.executed().items()
    env.clear()
    env.turn(Resume("1.1", [(tok(1), 1)]))
    assert env.told == []
    env.say(second, Finished([done(2)]))
    assert env.told == [(first, Continue(tok(1), 1))]


@pytest.mark.unread("Continue", "KillProcess", "Yield")
def test_timeout_clock_stands_still_while_parked() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1, timeout_s=30.0))
    env.run_for(20.0)
    env.say(runner, Parked(tok(1), 1, [stub(1)]))
    env.run_for(1000.0)
    assert not env.killed
    env.turn(Resume("1.1", [(tok(1), 1)]))
    env.run_for(9.9)
    assert not env.killed
    env.run_for(0.2)
    assert env.killed == [(runner, 5.0)]


@pytest.mark.unread("Yield")
def test_runner_with_generators_gets_new_work_only_at_the_process_limit() -> None:
    env = WorkerEnv()
    limit = env.worker.config.processes_max
    runners = [park(env, n) for n in range(1, limit + 1)]
    assert len(set(runners)) == limit
    env.dispatch(grant(50))
    assert not env.started
    [(shared, tokens)] = env.executed().items()
    assert shared in runners and tokens == [tok(50)]


@pytest.mark.unread("Results")
def test_worn_runners_go_on_while_every_one_keeps_a_generator() -> None:
    """A worn one cannot leave before its generator, which waits for what is new."""
    env = WorkerEnv(runner_tasks_max=1)
    limit = env.worker.config.processes_max
    for n in range(1, limit + 1):
        park(env, n)
    for n in range(50, 50 + 2 * limit):
        env.clear()
        env.dispatch(grant(n))
        [(shared, tokens)] = env.executed().items()
        assert tokens == [tok(n)]
        env.say(shared, Finished([done(n)]))


@pytest.mark.unread("Abandon", "Yield")
def test_too_many_generators_give_up_the_oldest() -> None:
    env = WorkerEnv(parked_max=2)
    oldest = park(env, 1)
    park(env, 2)
    env.clear()
    park(env, 3)
    assert (oldest, Abandon([tok(1)])) in env.told
    env.say(oldest, Finished([Report(tok(1), Outcome.RELEASED)]))
    assert env.reports() == [(tok(1), Outcome.RELEASED)]


@pytest.mark.unread("Yield")
def test_death_of_a_runner_releases_its_generators() -> None:
    env = WorkerEnv()
    runner = park(env, 1)
    env.die(runner, signal=9)
    assert env.reports() == [(tok(1), Outcome.RELEASED)]


def test_crash_of_one_task_releases_the_generators_parked_beside_it() -> None:
    env = WorkerEnv()
    limit = env.worker.config.processes_max
    runners = {park(env, n): n for n in range(1, limit + 1)}
    env.dispatch(grant(50))
    [shared] = env.executed()
    env.clear()
    env.die(shared, signal=11)
    assert sorted(env.reports()) == [
        (tok(runners[shared]), Outcome.RELEASED),
        (tok(50), Outcome.CRASHED),
    ]


@pytest.mark.unread("Abandon", "Results", "Yield")
def test_kill_of_a_parked_token_closes_its_generator() -> None:
    env = WorkerEnv()
    runner = park(env, 1)
    env.turn(Kill("1.1", [tok(1)]))
    assert env.told[-1] == (runner, Abandon([tok(1)])) and not env.killed
    env.say(runner, Finished([Report(tok(1), Outcome.RELEASED)]))
    assert env.reports() == [(tok(1), Outcome.KILLED)]
    env.run_for(10.0)
    assert not env.killed


@pytest.mark.unread("Abandon", "KillProcess", "Yield")
def test_kill_of_a_parked_token_whose_generator_does_not_close_kills_its_process() -> None:
    env = WorkerEnv()
    runner = park(env, 1)
    env.turn(Kill("1.1", [tok(1)]))
    env.run_for(4.9)
    assert not env.killed
    env.run_for(0.2)
    assert env.killed == [(runner, 0.0)]
    env.die(runner, signal=9)
    assert env.reports() == [(tok(1), Outcome.KILLED)]


@pytest.mark.unread("Abandon")
def test_kill_of_a_parked_token_beside_a_running_one_only_gives_it_up() -> None:
    env = WorkerEnv()
    limit = env.worker.config.processes_max
    runners = {park(env, n): n for n in range(1, limit + 1)}
    env.dispatch(grant(50))
    [shared] = env.executed()
    victim = tok(runners[shared])
    env.clear()
    env.turn(Kill("1.1", [victim]))
    assert not env.killed
    assert env.told == [(shared, Abandon([victim]))]
    env.say(shared, Finished([done(50)]), Finished([Report(victim, Outcome.RELEASED)]))
    assert sorted(env.reports()) == sorted([(tok(50), Outcome.DONE), (victim, Outcome.KILLED)])


def test_stale_yield_kills_the_generator() -> None:
    env = WorkerEnv()
    runner = park(env, 1)
    env.turn(Rack("1.1", [(tok(1), Verdict.STALE)]))
    assert env.killed == [(runner, 0.0)]
    env.clear()
    env.run_for(50.0)
    assert env.of(Yield) == []


@pytest.mark.unread("Yield")
def test_resume_is_confirmed_with_its_number_again_in_a_new_session() -> None:
    """A late copy of an older STARTED must not pass for the confirmation of a lost RESUME."""
    env = WorkerEnv()
    runner = park(env, 1)
    env.turn(Resume("1.1", [(tok(1), 1)]))
    env.turn(Rejoin("1.1"))
    env.clear()
    env.join("1.2")
    assert env.of(Started) == [Started("1.2", [tok(1)], [(tok(1), 1)])]
    env.say(runner, Parked(tok(1), 2, [stub(2)]))
    env.turn(Rejoin("1.2"))
    env.clear()
    env.join("1.3")
    assert env.of(Started) == []
