"""A worker whose first process is a template that was forked from the calling program."""

from __future__ import annotations

import pytest

from flow.wire.messages.shared import Outcome
from flow.wire.messages.worker import Heartbeat
from flow_worker.channel import Load, Loaded, Up
from flow_worker.core.config import ADOPTED_PROCESS
from tests.support.worker_env import PROGRAM, WorkerEnv, grant, tok


def adopting(**config: bool) -> WorkerEnv:
    env = WorkerEnv(joined=False, inherits=True, **config)
    env.advance(0)
    env.join()
    return env


def loaded() -> WorkerEnv:
    """Have the first program in the template, and a grant of it queued."""
    env = adopting(adopted=True)
    env.say(ADOPTED_PROCESS, Up(7))
    env.define(PROGRAM)
    env.dispatch(grant(1))
    assert (ADOPTED_PROCESS, Load(PROGRAM)) in env.told
    env.say(ADOPTED_PROCESS, Loaded("c0de", 0.0))
    return env


def texts(env: WorkerEnv) -> list[str]:
    return [one.text for one in env.of(Heartbeat)[-1].programs]


@pytest.mark.unread("Hello", "Load")
def test_adopted_template_is_that_of_the_first_program_and_no_other_is_started() -> None:
    env = loaded()
    assert {role for _, role in env.started} <= {"runner", "planner"}
    assert env.worker.processes.all[env.runners()[0]].parent == ADOPTED_PROCESS


@pytest.mark.unread("Hello", "Load")
def test_adopted_template_that_is_not_up_yet_is_waited_for() -> None:
    env = adopting(adopted=True)
    env.define(PROGRAM)
    env.dispatch(grant(1))
    assert not env.started
    assert not env.told
    env.say(ADOPTED_PROCESS, Up(7))
    assert env.told == [(ADOPTED_PROCESS, Load(PROGRAM))]


@pytest.mark.unread("KillProcess")
def test_adopted_template_that_dies_fails_its_program_with_a_sentence() -> None:
    env = loaded()
    env.clear()
    env.die(ADOPTED_PROCESS, signal=9)
    for process in list(env.killed):
        env.die(process[0], signal=9)
    assert env.reports() == [(tok(1), Outcome.REFUSED)]
    assert "is gone (killed by SIGKILL): run the program again" in texts(env)[0]
    assert "template" not in {role for _, role in env.started}


@pytest.mark.unread("Hello")
def test_adopted_template_that_dies_before_its_program_comes_fails_that() -> None:
    env = adopting(adopted=True)
    env.die(ADOPTED_PROCESS, code=70)
    env.define(PROGRAM)
    env.dispatch(grant(1))
    assert env.reports() == [(tok(1), Outcome.REFUSED)]
    assert "is gone (exited with code 70" in texts(env)[0]


@pytest.mark.unread("Hello")
def test_agent_that_starts_again_does_not_import_what_only_the_caller_had() -> None:
    env = adopting()
    env.define(PROGRAM)
    env.dispatch(grant(1))
    assert env.reports() == [(tok(1), Outcome.REFUSED)]
    assert "its worker agent was started again" in texts(env)[0]


@pytest.mark.unread("Load")
def test_second_program_beside_an_adopted_one_imports_for_itself() -> None:
    env = loaded()
    env.clear()
    other = type(PROGRAM)(2, "default", ["other"])
    env.define(other)
    env.dispatch(grant(2, program=2))
    [template] = [number for number, role in env.started if role == "template"]
    env.say(template, Up(8))
    assert (template, Load(other)) in env.told
