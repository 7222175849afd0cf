"""Removals of temporary artifacts: once, never late, and not under another session."""

from __future__ import annotations

import pytest

from flow.wire.messages.worker import Clean, Cleaned, Rejoin
from flow_worker.channel import Remove, Removed
from flow_worker.core.cleaning import CLEAN_MAX_S
from tests.support.worker_env import WorkerEnv, stub


def clean(env: WorkerEnv, request: int = 5) -> int:
    """Ask for a removal; returns the process that works on it."""
    env.turn(Clean("1.1", request, [stub(1), stub(2)], 1))
    env.up_all()
    return next(p for p, f in env.told if isinstance(f, Remove) and f.request == request)


def test_removal_goes_to_a_planner_and_is_answered_once() -> None:
    env = WorkerEnv()
    planner = clean(env)
    env.turn(Clean("1.1", 5, [stub(1), stub(2)], 1))
    assert env.of(Cleaned) == []
    env.say(planner, Removed(5, 2, ["no"]))
    answer = Cleaned("1.1", 5, 2, ["no"])
    assert env.of(Cleaned) == [answer]
    env.clear()
    env.turn(Clean("1.1", 5, [stub(1), stub(2)], 1))
    env.turn(Clean("1.1", 4, [stub(1)], 1))
    assert env.of(Cleaned) == [answer, answer]
    assert env.told == [], "what was answered is not removed again"


@pytest.mark.unread("Remove")
def test_removal_of_a_process_that_dies_is_lost() -> None:
    env = WorkerEnv()
    planner = clean(env)
    env.die(planner)
    assert env.of(Cleaned) == [Cleaned("1.1", 5, lost=True)]


@pytest.mark.unread("Hello", "KillProcess", "Remove")
def test_removal_of_another_session_is_killed_and_not_answered() -> None:
    env = WorkerEnv()
    planner = clean(env)
    env.turn(Rejoin("1.1"))
    env.join("1.2")
    assert (planner, 0.0) in env.killed
    env.say(planner, Removed(5, 2, []))
    assert env.of(Cleaned) == []


@pytest.mark.unread("KillProcess", "Remove")
def test_removal_that_takes_too_long_is_killed() -> None:
    env = WorkerEnv()
    planner = clean(env)
    env.run_for(CLEAN_MAX_S + 0.1)
    assert (planner, 0.0) in env.killed


@pytest.mark.unread("KillProcess", "Remove")
def test_removal_ends_with_the_lease() -> None:
    env = WorkerEnv()
    planner = clean(env)
    env.advance(env.worker.lease.fence_at - env.now)
    assert (planner, 0.0) in env.killed
    env.turn(Clean("1.1", 6, [stub(1)], 1))
    assert not [frame for _, frame in env.told if isinstance(frame, Remove) and frame.request == 6]
