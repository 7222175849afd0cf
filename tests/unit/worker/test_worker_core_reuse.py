"""Templates of runs that are over serve equal runs, where a worker is set to ``reuse = "code"``."""

from __future__ import annotations

import msgspec
import pytest

from flow.wire.messages.shared import Program
from flow.wire.messages.worker import Heartbeat, HeartbeatAck, Plan, PlanEnd
from flow_worker import channel
from tests.support.worker_env import WorkerEnv

ONE = Program(21, "p", ["mod"], b"")


def use(env: WorkerEnv, program: Program) -> None:
    """Ask something of a program."""
    env.define(program)
    env.turn(Plan(env.session, program.number, [], 1, program.number))


def finish(env: WorkerEnv, *, stale: bool = False) -> list[str]:
    """Have everything come up, answer and end; name what templates were told."""
    told: list[str] = []
    while env.started or env.told:
        for process, _ in env.take_started():
            env.say(process, channel.Up(process))
        frames, env.told = env.told, []
        for process, frame in frames:
            if isinstance(frame, channel.Load | channel.LoadAgain):
                told.append(type(frame).__name__)
                old = stale and isinstance(frame, channel.LoadAgain)
                env.say(process, channel.Loaded("" if old else "c0de", 0.1, stale=old))
            elif isinstance(frame, channel.Leave):
                env.die(process)
            elif isinstance(frame, channel.Expand):
                env.say(process, channel.Chunk(frame.request, 0, True, b""))
    return told


def over(env: WorkerEnv, program: Program) -> None:
    """Its run is over, and nothing here uses it any more."""
    env.turn(PlanEnd(env.session, program.number))
    env.run_for(10.0, acks=False)
    beat = env.of(Heartbeat)[-1]
    env.turn(HeartbeatAck(env.session, beat.number, [program.number]))
    finish(env)


def template_of(env: WorkerEnv, program: Program) -> int:
    """Return the number of its template, 0: it has none."""
    template = env.worker.programs.all[program.number].template
    return template.number if template is not None else 0


def after_one(**config: bool) -> tuple[WorkerEnv, int]:
    """A worker on which the first run is over, and the template that it had."""
    env = WorkerEnv(slots=2, **config)
    use(env, ONE)
    assert finish(env) == ["Load"]
    template = template_of(env, ONE)
    over(env, ONE)
    return env, template


@pytest.mark.unread("Planned")
def test_template_of_an_equal_run_that_is_over_serves_the_next() -> None:
    env, template = after_one(reuse_code=True)
    two = msgspec.structs.replace(ONE, number=22)
    use(env, two)
    assert finish(env) == ["LoadAgain"]
    assert template_of(env, two) == template
    (planner,) = [p for p in env.worker.processes.all.values() if p.role == "planner"]
    assert planner.parent == template and planner.program is env.worker.programs.all[22]
    over(env, two)
    use(env, msgspec.structs.replace(ONE, number=23))
    assert finish(env) == ["LoadAgain"]


@pytest.mark.unread("Planned", "SeekPackage")
@pytest.mark.parametrize(
    "other",
    [
        {"given": b"\x81\xa1a\xa1b"},
        {"modules": ["mod", "more"]},
        {"project": "q"},
        {"code": "another"},
        {"package": "a" * 64},
    ],
    ids=lambda other: next(iter(other)),
)
def test_run_of_anything_else_gets_a_template_of_its_own(other: dict[str, object]) -> None:
    env, template = after_one(reuse_code=True)
    use(env, msgspec.structs.replace(ONE, number=22, **other))
    assert "LoadAgain" not in finish(env)
    assert template in env.worker.processes.all, "it waits for an equal one"


@pytest.mark.unread("Planned")
def test_without_the_setting_no_template_serves_another_run() -> None:
    env, template = after_one()
    assert template not in env.worker.processes.all
    use(env, msgspec.structs.replace(ONE, number=22))
    assert finish(env) == ["Load"]


@pytest.mark.unread("Planned")
def test_template_whose_files_have_changed_goes_and_the_program_is_imported_anew() -> None:
    env, template = after_one(reuse_code=True)
    two = msgspec.structs.replace(ONE, number=22)
    use(env, two)
    assert finish(env, stale=True) == ["LoadAgain", "Load"]
    assert template_of(env, two) not in (0, template)
    assert template not in env.worker.processes.all


@pytest.mark.unread("Planned")
def test_template_that_dies_while_it_is_kept_is_missed_by_nobody() -> None:
    env, template = after_one(reuse_code=True)
    env.die(template, signal=9)
    finish(env)
    assert not env.worker.programs.resting
    use(env, msgspec.structs.replace(ONE, number=22))
    assert finish(env) == ["Load"]


@pytest.mark.unread("Planned")
def test_kept_templates_make_room_for_others() -> None:
    env = WorkerEnv(slots=2, reuse_code=True)
    for number in range(21, 40):
        program = Program(number, "p", [f"mod{number}"], b"")
        use(env, program)
        assert finish(env) == ["Load"]
        over(env, program)
        assert env.worker.programs.room
    kept = [one.number for one in env.worker.programs.resting]
    assert len(kept) <= env.worker.config.programs_max
    assert kept[-1] == 39 and 21 not in kept


@pytest.mark.unread("Planned")
def test_history_that_changed_keeps_no_template() -> None:
    env, template = after_one(reuse_code=True)
    env.worker.programs.history_changed()
    env.advance(1.0)
    finish(env)
    assert template not in env.worker.processes.all
