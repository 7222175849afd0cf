"""Planning requests and the chunks of their answers."""

from __future__ import annotations

import pytest

from flow.wire.messages.codec import decode_chunk
from flow.wire.messages.worker import Plan, PlanEnd, Planned, PlanNext, Rejoin
from flow_worker.channel import Chunk, Expand, More, Stop
from flow_worker.core import events
from tests.support.worker_env import WorkerEnv, stub


def plan(env: WorkerEnv, request: int = 0) -> int:
    """Ask for a plan; returns the planner that works on it."""
    env.turn(Plan("1.1", request, [stub(1)], 100, 1))
    env.up_all()
    return next(p for p, f in env.told if isinstance(f, Expand) and f.request == request)


@pytest.mark.unread("Expand")
def test_plan_goes_to_a_planner_and_chunk_0_comes_unasked() -> None:
    env = WorkerEnv()
    planner = plan(env)
    assert env.told == [(planner, Expand(0, [stub(1)], 100))]
    env.say(planner, Chunk(0, 0, True, b"body"))
    assert env.of(Planned) == [Planned("1.1", 0, 0, True, b"body", code="c0de")]


@pytest.mark.unread("Expand")
def test_code_that_could_not_be_imported_is_not_told_as_that_of_the_plan() -> None:
    env = WorkerEnv()
    planner = plan(env)
    (program,) = env.worker.programs.all.values()
    program.broken = True
    env.say(planner, Chunk(0, 0, True, b"errors"))
    assert env.of(Planned) == [Planned("1.1", 0, 0, True, b"errors", code="")]


@pytest.mark.unread("More")
def test_further_chunks_are_sent_when_asked_for_and_repeated() -> None:
    env = WorkerEnv()
    planner = plan(env)
    env.say(planner, Chunk(0, 0, False, b"a"), Chunk(0, 1, False, b"b"))
    assert [m.chunk for m in env.of(Planned)] == [0]
    env.clear()
    env.turn(PlanNext("1.1", 0, 0))
    assert [m.chunk for m in env.of(Planned)] == [0]
    assert env.told == []
    env.turn(PlanNext("1.1", 0, 1))
    env.turn(PlanNext("1.1", 0, 1))
    assert [m.body for m in env.of(Planned)] == [b"b", b"b"]
    assert env.told == [(planner, More(0, 1))]
    env.turn(PlanNext("1.1", 0, 2))
    assert env.of(Planned) == []
    env.say(planner, Chunk(0, 2, True, b"c"))
    assert [(m.chunk, m.last) for m in env.of(Planned)] == [(2, True)]


def test_chunk_that_was_passed_is_not_sent_again() -> None:
    env = WorkerEnv()
    planner = plan(env)
    env.say(planner, Chunk(0, 0, False, b"a"), Chunk(0, 1, True, b"b"))
    env.turn(PlanNext("1.1", 0, 1))
    env.clear()
    env.turn(PlanNext("1.1", 0, 0))
    assert env.of(Planned) == []


def test_copy_of_a_plan_says_the_wanted_chunk_again_and_plans_once() -> None:
    env = WorkerEnv()
    planner = plan(env)
    env.say(planner, Chunk(0, 0, True, b"a"))
    env.clear()
    env.turn(Plan("1.1", 0, [stub(1)], 100, 1))
    assert [m.body for m in env.of(Planned)] == [b"a"]
    assert env.told == []


def test_unknown_request_is_lost() -> None:
    env = WorkerEnv()
    env.turn(PlanNext("1.1", 9, 3))
    assert env.of(Planned) == [Planned("1.1", 9, 3, True, b"", True)]


@pytest.mark.unread("Expand")
def test_death_of_a_planner_loses_its_request_and_starts_another() -> None:
    env = WorkerEnv()
    planner = plan(env)
    env.die(planner, signal=11)
    (told,) = env.of(Planned)
    assert told.lost and decode_chunk(told.body).errors[0].text == "killed by SIGSEGV"
    assert plan(env, 1) != planner


@pytest.mark.unread("Expand", "Planned")
def test_requests_wait_for_a_planner_and_more_are_started_up_to_the_limit() -> None:
    env = WorkerEnv(planners=2)
    first = plan(env, 0)
    second = plan(env, 1)
    assert first != second
    env.clear()
    env.turn(Plan("1.1", 2, [stub(1)], 100, 1))
    assert env.told == [] and env.started == []
    env.say(first, Chunk(0, 0, True, b""))
    assert env.told == [(first, Expand(2, [stub(1)], 100))]


@pytest.mark.unread("Expand", "Stop")
def test_end_of_a_request_stops_its_planner() -> None:
    env = WorkerEnv()
    planner = plan(env)
    env.clear()
    env.turn(PlanEnd("1.1", 0))
    assert env.told == [(planner, Stop(0))]
    env.say(planner, Chunk(0, 0, True, b"late"))
    assert env.of(Planned) == []
    assert plan(env, 1) == planner


@pytest.mark.unread("Planned")
def test_ended_request_that_waited_is_never_planned() -> None:
    env = WorkerEnv()
    planner = plan(env, 0)
    env.turn(Plan("1.1", 1, [stub(1)], 100, 1), PlanEnd("1.1", 1))
    env.clear()
    env.say(planner, Chunk(0, 0, True, b""))
    assert env.told == []


@pytest.mark.unread("Stop")
def test_new_session_forgets_the_requests_of_the_old_one() -> None:
    env = WorkerEnv()
    planner = plan(env)
    env.turn(Rejoin("1.1"))
    env.clear()
    env.join("1.2")
    assert env.told == [(planner, Stop(0))]
    env.turn(PlanNext("1.2", 0, 0))
    assert [m.lost for m in env.of(Planned)] == [True]


def test_plan_at_a_draining_worker_is_lost_once_it_leaves() -> None:
    env = WorkerEnv()
    env.turn(events.StopRequested(events.StopKind.DRAIN))
    env.clear()
    env.turn(Plan("1.1", 0, [stub(1)], 100, 1))
    assert [m.lost for m in env.of(Planned)] == [True]
