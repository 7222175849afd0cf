"""Templates that die after the import: again and again without a use, or now and then."""

from __future__ import annotations

import pytest

from flow.wire.messages.shared import Program
from flow.wire.messages.worker import Dispatch
from flow_worker import channel
from flow_worker.core.config import IMPORT_DEATHS_MAX, RESTART_MAX_S
from flow_worker.core.transitions import Stand
from tests.support.worker_env import WorkerEnv, grant

FIRST = 21


def used() -> WorkerEnv:
    """A worker that is to run a task of a program."""
    env = WorkerEnv(slots=1)
    env.define(Program(FIRST, "p", ["mod"], b""))
    env.turn(Dispatch(env.session, [grant(1, program=FIRST)]))
    return env


def template_of(env: WorkerEnv) -> int:
    """Have the program imported; return its template."""
    for _ in range(3):
        for process, _role in env.take_started():
            env.say(process, channel.Up(process))
        told, env.told = env.told, []
        for process, frame in told:
            if isinstance(frame, channel.Load):
                env.say(process, channel.Loaded("c0de", 0.1))
        env.run_for(RESTART_MAX_S)
    template = env.worker.programs.all[FIRST].template
    assert template is not None
    return template.number


@pytest.mark.unread("KillProcess")
def test_program_whose_templates_die_before_they_are_of_use_is_given_up() -> None:
    env = used()
    for _ in range(IMPORT_DEATHS_MAX):
        env.die(template_of(env), code=70, tail="RuntimeError: no such luck")
    program = env.worker.programs.all[FIRST]
    assert program.stand is Stand.FAILED
    assert "the import of mod left a process that ended: exited with code 70" in program.text
    assert program.text.endswith("RuntimeError: no such luck")


@pytest.mark.unread("KillProcess", "Results")
def test_template_that_was_of_use_is_replaced_however_often_it_dies() -> None:
    env = used()
    for at in range(2 * IMPORT_DEATHS_MAX):
        env.turn(Dispatch(env.session, [grant(2 + at, program=FIRST)]))
        template = template_of(env)
        (runner,) = [p for p in env.worker.processes.all.values() if p.parent == template]
        env.say(runner.number, channel.Finished([]))
        env.die(template)
        env.die(runner.number)
    assert env.worker.programs.all[FIRST].stand is not Stand.FAILED
