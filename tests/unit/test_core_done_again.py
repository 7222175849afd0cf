"""What one run has done another run may do again: the first goes on all the same."""

from __future__ import annotations

from flow.messages.shared import Outcome
from flow.states import TaskState
from tests.support.core_env import Env, Graph

S = TaskState


def test_requirement_that_another_run_does_again_and_fails_blocks_nobody() -> None:
    env = Env()
    env.graph = Graph({"top": ["a", "b"], "a": [], "b": []})
    worker = env.worker(slots=2)
    env.submit("top", retry_count=1)
    a, b = worker.take()
    worker.end(b)
    env.submit("b", retry_count=1)
    (again,) = worker.take()
    worker.end(again, outcome=Outcome.FAILED)
    env.check()
    assert env.state("top") == S.PENDING
    worker.end(a)
    assert [g.task_id for g in worker.take()] == ["T_top"]
    env.check()


def test_restart_while_a_requirement_is_done_again_leaves_what_runs_alone() -> None:
    env = Env()
    env.graph = Graph({"top": ["a"], "a": []})
    worker = env.worker(slots=1)
    env.submit("top")
    worker.run("a")
    (top,) = worker.take()
    env.submit("a")
    env.restart()
    worker.join(held=[top.token])
    worker.end(top)
    assert env.state("top") == S.DONE
    worker.run("a")
    assert env.ended(1) == env.ended(2) == 0
    env.check()


def test_task_told_done_while_suspended_forgets_what_it_yielded() -> None:
    env = Env()
    env.graph = Graph({"top": [], "slow": [], "new": []})
    worker = env.worker(slots=3)
    env.submit("top")
    (top,) = worker.take()
    worker.start(top)
    worker.yields(top, 1, "slow")
    (slow,) = worker.take()
    worker.end(top)
    assert env.state("top") == S.DONE
    env.submit("slow")
    env.graph.edges["top"] = ["new"]
    env.submit("top")
    (new,) = worker.take()
    worker.end(slow)
    env.check()
    assert env.state("top") == S.PENDING, "it waits for what it requires now"
    worker.end(new)
    assert [g.task_id for g in worker.take()] == ["T_top"]
    env.check()
