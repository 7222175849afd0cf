"""A task that kills the planner that looks at it must not be asked about for ever."""

from __future__ import annotations

import pytest

from flow.wire.messages import codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import PlanChunk, PlanError
from flow.wire.states import TaskState
from tests.support.core_env import Env, FakeWorker

_DIED = codec.encode_chunk(PlanChunk(errors=[PlanError(0, "died", "killed by SIGSEGV")]))


def _answer(env: Env, worker: FakeWorker, deadly: str) -> list[int]:
    """Answer every question, or die if it walks over ``deadly``; return the deadly sizes."""
    sizes = []
    while plans := env.heard(worker.peer, wire.Plan):
        for plan in plans:
            chunk = env.graph.answer(plan, worker.uid)
            expanded = {chunk.stubs[spec.index].task_id for spec in chunk.specs}
            if f"T_{deadly}" in expanded:
                sizes.append(plan.expand_max)
                said = wire.Planned(worker.session, plan.request, 0, True, _DIED, True)
            else:
                body = codec.encode_chunk(chunk)
                said = wire.Planned(worker.session, plan.request, 0, True, body)
            worker.say(said)
    return sizes


def _env() -> tuple[Env, FakeWorker]:
    env = Env()
    env.plan_by_hand = True
    return env, env.worker("w", slots=1)


def test_root_that_kills_planners_fails_after_three_of_them() -> None:
    env, worker = _env()
    env.graph.edges["a"] = []
    env.submit("a")
    assert len(_answer(env, worker, "a")) == 3
    assert env.ended() == 35
    assert not env.core.state.planner_deaths
    env.check()


@pytest.mark.unread("Dispatch")
def test_task_deep_in_the_graph_that_kills_planners_is_found_and_blamed_alone() -> None:
    env, worker = _env()
    env.graph.edges.update({"a": ["b", "c"], "b": ["d"], "c": [], "d": []})
    env.submit("a")
    sizes = _answer(env, worker, "d")
    assert sizes[-1] == 1 and len(sizes) <= 6, sizes
    assert env.state("d") is TaskState.PLAN_FAILED
    assert env.state("c") is TaskState.READY or env.state("c") is TaskState.LEASED
    env.check()


@pytest.mark.unread("Dispatch")
def test_question_that_is_merely_unknown_blames_nobody() -> None:
    env, worker = _env()
    env.graph.edges["a"] = []
    env.submit("a")
    for _ in range(5):
        (plan,) = env.heard(worker.peer, wire.Plan)
        worker.say(wire.Planned(worker.session, plan.request, 0, True, b"", True))
    assert not env.core.state.planner_deaths
    assert _answer(env, worker, "nothing") == []
    env.check()
