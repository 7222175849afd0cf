"""Which code a program has here, and programs whose processes do not come up."""

from __future__ import annotations

import pytest

from flow.wire.messages.shared import Outcome, Program, ProgramSeen
from flow.wire.messages.worker import Heartbeat, Plan, Planned, Results
from flow_worker.channel import Chunk, Expand, Finished
from flow_worker.core.config import STARTS_FAILED_MAX
from tests.support.worker_env import PROGRAM, WorkerEnv, done, grant, stub, tok

#: As PROGRAM, by whom it was planned. What ``WorkerEnv.up_all`` imports is called "c0de".
SAME = Program(1, "default", ["mod"], code="c0de")
OTHER = Program(1, "default", ["mod"], code="0ther")


def fail_starts(env: WorkerEnv, count: int) -> None:
    """Have so many processes die before they are up, with what they say last."""
    for _ in range(count):
        while not env.started:
            env.run_for(0.1)
        (process, _) = env.take_started()[0]
        env.die(process, code=1, tail="Traceback ...\nOSError: no space left on device\n\n")


def seen(env: WorkerEnv) -> ProgramSeen:
    """Return how the program stands by the last heartbeat."""
    return env.of(Heartbeat)[-1].programs[0]


def test_grants_of_a_run_with_other_code_go_back_unstarted() -> None:
    env = WorkerEnv()
    env.define(OTHER)
    env.dispatch(grant(1))
    assert env.reports() == [(tok(1), Outcome.RELEASED)] and not env.executed()


def test_grants_of_a_program_that_turns_out_to_be_other_code_go_back_after_it_was_told() -> None:
    env = WorkerEnv(joined=False)
    env.advance(0)
    env.join()
    env.up_all()
    env.define(OTHER)
    env.dispatch(grant(1), grant(2))
    env.sent.clear()
    env.up_all()
    # whom it is given to next is decided by what the heartbeat says
    kinds = [type(message) for message in env.sent if type(message) in (Heartbeat, Results)]
    assert kinds[-1] is Results and Heartbeat in kinds
    assert seen(env).code == "c0de"
    assert env.reports() == [(tok(1), Outcome.RELEASED), (tok(2), Outcome.RELEASED)]


def test_code_of_the_run_and_any_code_run() -> None:
    for definition in (SAME, PROGRAM):
        env = WorkerEnv()
        env.define(definition)
        env.dispatch(grant(1))
        assert list(env.executed().values()) == [[tok(1)]]


def test_definition_that_lets_any_code_run_comes_later_and_counts() -> None:
    env = WorkerEnv()
    env.define(OTHER)
    env.define(PROGRAM)
    env.dispatch(grant(1))
    assert list(env.executed().values()) == [[tok(1)]]


def test_questions_of_a_run_with_other_code_are_asked_elsewhere() -> None:
    env = WorkerEnv()
    env.define(OTHER)
    env.turn(Plan(env.session, 7, [stub(1)], 100, 1))
    (answer,) = env.of(Planned)
    assert (answer.request, answer.lost, answer.body) == (7, True, b"")
    assert not [frame for _, frame in env.told if isinstance(frame, Expand)]


def test_program_whose_processes_do_not_start_is_given_up_and_says_why() -> None:
    env = WorkerEnv()
    env.die(env.runners()[0], code=1)
    env.dispatch(grant(1))
    fail_starts(env, STARTS_FAILED_MAX)
    why = "5 of its processes in a row did not start, the last one exited with code 1"
    why += ": OSError: no space left on device"
    stands = seen(env)
    assert (stands.failed, stands.given_up, stands.text) == (True, True, why)
    (report,) = [one for message in env.of(Results) for one in message.reports]
    assert (report.token, report.outcome, report.error) == (tok(1), Outcome.REFUSED, why)
    assert "program given up" in env.notes
    env.run_for(60.0)
    assert env.take_started() == [], "it is not tried again and again"
    env.rack(tok(1))
    env.reports()
    env.dispatch(grant(2))
    assert env.reports() == [(tok(2), Outcome.REFUSED)]


@pytest.mark.unread("Expand")
def test_program_that_is_given_up_ends_what_it_runs_and_plans() -> None:
    env = WorkerEnv(slots=2)
    runner = env.run(grant(1))
    planner = env.planners()[0]
    env.turn(Plan(env.session, 7, [stub(1)], 100, 1))
    env.dispatch(grant(2))
    fail_starts(env, STARTS_FAILED_MAX)
    assert env.reports() == [(tok(2), Outcome.REFUSED)]
    env.say(runner, Finished([done(1)]))
    env.say(planner, Chunk(7, 0, True, b"body"))
    assert env.reports() == [(tok(1), Outcome.DONE)]
    assert [(one.request, one.lost) for one in env.of(Planned)] == [(7, False)]


@pytest.mark.unread("Results")
def test_starts_that_fail_less_often_or_not_in_a_row_give_nothing_up() -> None:
    env = WorkerEnv()
    env.die(env.runners()[0], code=1)
    env.dispatch(grant(1))
    fail_starts(env, STARTS_FAILED_MAX - 1)
    env.run_for(5.0)
    env.up_all()
    (runner,) = env.executed()
    env.die(runner, code=1)
    env.dispatch(grant(2))
    fail_starts(env, STARTS_FAILED_MAX - 1)
    assert "program given up" not in env.notes and not seen(env).failed


@pytest.mark.unread("Hello")
def test_program_is_given_up_where_no_template_starts() -> None:
    env = WorkerEnv(joined=False)
    env.advance(0)
    env.join()
    env.define(PROGRAM)
    env.dispatch(grant(1))
    fail_starts(env, STARTS_FAILED_MAX)
    assert env.reports() == [(tok(1), Outcome.REFUSED)]
    assert "OSError: no space left" in seen(env).text
