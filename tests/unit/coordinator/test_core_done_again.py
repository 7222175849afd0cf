"""What one run has done another run may do again: the first goes on all the same."""

from __future__ import annotations

import pytest

from flow.wire.messages import client
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Outcome, Policy
from flow.wire.states import TaskState
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


@pytest.mark.unread("Kill")
def test_requirement_that_another_run_does_again_is_still_done_for_what_comes_later() -> None:
    env = Env()
    env.graph = Graph({"top": ["a"], "a": [], "later": ["a"]})
    worker = env.worker(slots=3)
    env.submit("top")
    worker.run("a")
    (top,) = worker.take()
    worker.start(top)
    env.submit("a")
    (again,) = worker.take()
    worker.yields(top, 1, "later", "a")
    (later,) = worker.take()
    assert later.task_id == "T_later", "it waits for nothing that is done in its run"
    assert env.task("a").runs == (env.run(2),)
    env.check()
    env.ask(lambda n: client.Cancel(n, env.run(2).id), client.Changed)
    worker.end(again, outcome=Outcome.KILLED)
    worker.end(later)
    assert env.heard(worker.peer, wire.Resume)
    worker.end(top)
    assert env.ended(1) == 0
    summary = env.run(1).summary
    assert summary is not None and {c.name: c.count for c in summary.categories} == {"ran": 3}
    env.check()


@pytest.mark.unread("Resume")
def test_task_that_comes_back_to_a_run_counts_once() -> None:
    env = Env()
    edges = {"top": ["b", "long"], "b": ["t"], "t": [], "long": [], "late": ["t"], "other": ["t"]}
    env.graph = Graph(edges, {"t": Policy(temporary=True)})
    worker = env.worker(slots=3)
    env.submit("top")
    worker.run("t")
    worker.run("b")
    (long,) = [grant for grant in worker.grants if grant.task_id == "T_long"]
    worker.start(long)
    (asked,) = env.heard(worker.peer, wire.Clean)
    worker.say(wire.Cleaned(worker.session, asked.request, 1))
    env.submit("other")
    assert env.task("t").runs == (env.run(2),), "what was removed is made again for the new run"
    worker.yields(long, 1, "late")
    env.check()
    assert [task.task_id for task in env.run(1).tasks].count("T_t") == 1
    worker.run("t")
    worker.run("late", "other")
    worker.end(long)
    worker.run("top")
    for clean in env.heard(worker.peer, wire.Clean):
        worker.say(wire.Cleaned(worker.session, clean.request, len(clean.stubs)))
    assert (env.ended(1), env.ended(2)) == (0, 0)
    summary = env.run(1).summary
    assert summary is not None and {c.name: c.count for c in summary.categories} == {"ran": 5}
    env.check()


@pytest.mark.unread("Resume")
def test_what_a_run_had_done_is_known_also_when_the_run_that_did_it_again_is_forgotten() -> None:
    env = Env()
    env.graph = Graph({"top": ["a", "gen"], "a": [], "gen": [], "later": ["a"]})
    worker = env.worker(slots=3)
    env.submit("top")
    worker.run("a")
    (gen,) = [grant for grant in worker.grants if grant.task_id == "T_gen"]
    worker.start(gen)
    env.graph.errors["", "a"] = ("requires", "it cannot be planned")
    env.submit("a")
    assert env.ended(2) == 35
    env.wait(5.0)
    env.check()
    env.graph.errors.clear()
    worker.yields(gen, 1, "later")
    assert [grant.task_id for grant in worker.take()] == ["T_later"]
    worker.end(worker.grants[-1])
    worker.end(gen)
    worker.run("top")
    assert env.ended(1) == 0
    env.wait(5.0)
    assert not env.core.state.kept and not env.core.state.tasks.get("default")
    env.check()
