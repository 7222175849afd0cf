"""The end of every test of a core tells what is broken in it, and what nobody read."""

from __future__ import annotations

import pytest

from flow.wire.messages.worker import Dispatch
from flow.wire.states import TaskState
from flow_coordinator.core.invariants import Broken
from tests.support.core_env import Env, Graph
from tests.support.watched import judge
from tests.support.worker_env import WorkerEnv, grant


def test_message_that_nobody_read_is_named_with_what_to_write() -> None:
    env = Env()
    worker = env.worker()
    env.graph = Graph({"a": []})
    env.submit("a")
    with pytest.raises(AssertionError, match=r'@pytest.mark.unread\("Dispatch"\)'):
        judge([env], set())
    judge([env], {"Dispatch"})
    assert env.heard(worker.peer, Dispatch)
    judge([env], set())


def test_kill_that_nobody_read_is_named() -> None:
    env = WorkerEnv()
    env.run(grant(1))
    env.run_for(100.0, acks=False)
    with pytest.raises(AssertionError, match="KillProcess"):
        judge([env], {"Hello"})
    env.clear()


def test_broken_invariant_is_told() -> None:
    env = Env()
    env.worker()
    env.graph = Graph({"a": [], "b": ["a"]})
    env.submit("b")
    before = env.state("b")
    env.task("b").state = TaskState.READY
    with pytest.raises(Broken):
        judge([env], {"Dispatch"})
    env.task("b").state = before
    env.said.clear()
