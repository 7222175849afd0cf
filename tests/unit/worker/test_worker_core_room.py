"""How many programs a worker keeps imported: by number, and by the memory of their templates."""

from __future__ import annotations

import pytest

from flow.wire.messages.shared import Program
from flow.wire.messages.worker import (
    Define,
    Dispatch,
    Heartbeat,
    HeartbeatAck,
    Plan,
    PlanEnd,
    Results,
)
from flow_worker import channel
from tests.support.worker_env import WorkerEnv, grant

MB = 1 << 20
FIRST = 21


def imported(env: WorkerEnv, number: int, memory_bytes: int) -> None:
    """Have the worker import one more program, and be done with it."""
    env.define(Program(number, "p", ["mod"], b""))
    env.turn(Plan(env.session, number, [], 1, number))
    finish(env, memory_bytes)
    for process, frame in list(env.told):
        if isinstance(frame, channel.Expand) and frame.request == number:
            env.say(process, channel.Chunk(number, 0, True, b""))
    env.turn(PlanEnd(env.session, number))
    finish(env, memory_bytes)


def finish(env: WorkerEnv, memory_bytes: int) -> None:
    """Have every process come up, import, and end where it is told to."""
    while env.started or env.told:
        for process, _ in env.take_started():
            env.say(process, channel.Up(process))
        told, env.told = env.told, []
        for process, frame in told:
            if isinstance(frame, channel.Load):
                env.say(process, channel.Loaded("c0de", 0.1, memory_bytes=memory_bytes))
            elif isinstance(frame, channel.Leave):
                env.die(process)
            elif isinstance(frame, channel.Expand):
                env.say(process, channel.Chunk(frame.request, 0, True, b""))


def numbers(env: WorkerEnv) -> list[int]:
    """Name the programs that have a template."""
    return [one.number for one in env.worker.programs.all.values() if one.template is not None]


@pytest.mark.unread("Planned")
def test_templates_that_take_too_much_memory_make_room_oldest_first() -> None:
    env = WorkerEnv(slots=2, templates_bytes_max=100 * MB)
    for number in (FIRST, FIRST + 1, FIRST + 2):
        imported(env, number, 60 * MB)
    assert FIRST not in numbers(env)
    assert numbers(env)[-2:] == [FIRST + 1, FIRST + 2]


@pytest.mark.unread("Planned")
def test_templates_within_their_memory_stay() -> None:
    env = WorkerEnv(slots=2, templates_bytes_max=100 * MB)
    for number in range(FIRST, FIRST + 4):
        imported(env, number, 20 * MB)
    assert numbers(env)[-4:] == list(range(FIRST, FIRST + 4))


@pytest.mark.unread("Planned")
def test_one_program_may_be_larger_than_all_together_may_be() -> None:
    env = WorkerEnv(slots=2, templates_bytes_max=100 * MB)
    imported(env, FIRST, 500 * MB)
    imported(env, FIRST + 1, 500 * MB)
    assert numbers(env)[-1:] == [FIRST + 1]
    assert FIRST not in numbers(env)


@pytest.mark.unread("Leave", "Results")
def test_without_an_idle_template_a_heavy_worker_has_no_room_and_says_so() -> None:
    env = WorkerEnv(slots=2, templates_bytes_max=100 * MB)
    env.define(Program(FIRST, "p", ["mod"], b""))
    env.turn(Dispatch(env.session, [grant(1, program=FIRST)]))
    finish(env, 200 * MB)
    env.clear()
    env.define(Program(FIRST + 1, "p", ["mod"], b""))
    env.turn(Dispatch(env.session, [grant(2, program=FIRST + 1)]))
    finish(env, 200 * MB)
    (report,) = [one for message in env.of(Results) for one in message.reports]
    assert "no room for another program" in report.error
    env.run_for(3.0)
    assert not env.of(Heartbeat)[-1].room


def prepare(env: WorkerEnv, number: int) -> None:
    """Have a program imported that nothing uses yet."""
    env.turn(Define(env.session, [Program(number, "p", ["mod"], b"")], prepare=True))


def loads(env: WorkerEnv) -> list[int]:
    """Take the programs that templates were told to import."""
    found = [frame.program.number for _, frame in env.told if isinstance(frame, channel.Load)]
    env.told.clear()
    return found


def test_program_is_imported_ahead_and_ends_when_it_is_over() -> None:
    env = WorkerEnv(slots=2)
    prepare(env, FIRST)
    env.up_all()
    assert FIRST in numbers(env)
    assert not [p for p in env.worker.programs.all[FIRST].processes.values() if p.executes]
    env.clear()
    env.run_for(30.0, acks=False)
    beat = env.of(Heartbeat)[-1]
    assert FIRST in [one.number for one in beat.programs]
    env.turn(HeartbeatAck(env.session, beat.number, [FIRST]))
    finish(env, 0)
    assert FIRST not in numbers(env)


@pytest.mark.unread("Planned")
def test_nothing_goes_for_what_is_imported_ahead() -> None:
    env = WorkerEnv(slots=2, templates_bytes_max=100 * MB)
    imported(env, FIRST, 150 * MB)
    prepare(env, FIRST + 1)
    assert loads(env) == []
    assert FIRST in numbers(env)
    env.turn(Plan(env.session, 5, [], 1, FIRST + 1))
    finish(env, 1)
    assert numbers(env)[-1] == FIRST + 1
