"""Tasks of one id from several modules: each is a task, and they never run at the same time."""

from __future__ import annotations

import pytest

from flow.wire.messages import client
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Outcome, Policy
from flow.wire.states import TaskState
from flow_coordinator.core import twins
from flow_coordinator.core.records import TaskRecord
from tests.support.core_env import Env, FakeWorker, Graph, name_of

S = TaskState


def of(env: Env, name: str) -> list[TaskRecord]:
    return list(twins.of(env.core.state, "default", f"T_{name}"))


def granted(worker: FakeWorker) -> list[str]:
    return [name_of(grant) for grant in worker.take()]


def why(env: Env, piece: str) -> client.WhyAnswer:
    return env.ask(lambda n: client.Why(n, piece), client.WhyShown).answer


def test_runs_of_two_modules_do_both_their_own_work() -> None:
    env = Env()
    env.graph = Graph({"r": ["e"], "r@b": ["e@b"]})
    worker = env.worker()
    env.submit("r")
    env.submit("r@b")
    ran = worker.run_all()
    assert sorted(ran) == ["e", "e@b", "r", "r@b"]
    assert env.ended(1) == env.ended(2) == 0
    env.check()


def test_graph_with_twins_runs_both_one_after_the_other() -> None:
    env = Env()
    env.graph = Graph({"m": ["e", "e@b"]})
    worker = env.worker(slots=4)
    env.submit("m")
    (first,) = worker.take()
    env.check()
    worker.start(first)
    assert worker.take() == []
    worker.end(first)
    (second,) = worker.take()
    assert {name_of(first), name_of(second)} == {"e", "e@b"}
    assert first.task_id == second.task_id
    worker.start(second)
    worker.end(second)
    assert worker.run_all() == ["m"]
    assert env.ended() == 0


def test_twin_that_fails_lets_the_other_go_and_both_alternate() -> None:
    env = Env()
    env.graph = Graph({"m": ["e", "e@b"]}, {"e": Policy(retry_count=2, retry_delay_s=1.0)})
    worker = env.worker(slots=4)
    env.submit("m")
    (first,) = worker.take()
    worker.start(first)
    worker.end(first, outcome=Outcome.FAILED, error="no")
    env.check()
    assert granted(worker) == ["e@b"]
    env.wait(5)
    assert env.state("e") == S.PENDING
    assert worker.take() == []


def test_twins_of_several_demands_and_a_lost_worker_never_overlap() -> None:
    env = Env()
    policies = {"e@b": Policy(resources={"gpu": 1.0}), "e@c": Policy(priority=3.0)}
    env.graph = Graph({"m": ["e", "e@b", "e@c"]}, policies)
    first, second = env.worker("a"), env.worker("b", capacity={"gpu": 1.0})
    env.submit("m")
    seen = []
    while env.run().summary is None:
        env.check()
        grants = [(one, grant) for one in (first, second) for grant in one.take()]
        assert len(grants) == 1
        ((one, grant),) = grants
        seen.append(name_of(grant))
        one.start(grant)
        if seen.count("e@c") == 1 and name_of(grant) == "e@c":
            one.say(wire.Drained(one.session))
            one.join()
            continue
        one.end(grant)
    assert seen[0] == "e@c"
    assert sorted(seen) == ["e", "e@b", "e@c", "e@c", "m"]


def test_batches_never_hold_twins_at_the_same_time() -> None:
    env = Env()
    joins = Policy(batched=["name"])
    names = ["a", "b", "a@x", "b@x", "c@x"]
    env.graph = Graph({"m": names}, dict.fromkeys(names, joins))
    worker = env.worker(slots=4)
    env.submit("m")
    batch, alone = worker.take()
    env.check()
    assert (name_of(batch), len(batch.members)) == ("a", 2)
    assert (name_of(alone), len(alone.members)) == ("c@x", 0)
    worker.start(batch)
    worker.end(batch)
    env.check()
    (later,) = worker.take()
    assert (name_of(later), len(later.members)) == ("a@x", 2)
    worker.start(alone, later)
    worker.end(alone, later)
    worker.run_all()
    assert env.ended() == 0


def test_suspended_twin_keeps_the_other_waiting() -> None:
    env = Env()
    env.graph = Graph({"m": ["e", "e@b"], "y": []}, {"e": Policy(priority=1.0)})
    worker = env.worker(slots=4)
    env.submit("m")
    (grant,) = worker.take()
    worker.start(grant)
    worker.yields(grant, 1, "y")
    assert granted(worker) == ["y"]
    assert env.state("e") == S.SUSPENDED
    assert env.state("e@b") == S.PENDING
    env.check()
    shown = why(env, "T_e of b")
    assert ("twin", "waits for the other T of module mod, which may write the same files") in (
        shown.lines
    )
    assert (
        "the other T of module mod, which may write the same files"
        in env.ask(lambda n: client.Watch(n, "last"), client.RunUpdate).waiting
    )


@pytest.mark.parametrize("through", [["e@b"], ["z"]])
def test_generator_that_waits_for_its_twin_fails_and_names_both(through: list[str]) -> None:
    env = Env()
    env.graph = Graph({"e": [], "z": ["z2"], "z2": ["e@b"]})
    worker = env.worker(slots=4)
    env.submit("e")
    (grant,) = worker.take()
    worker.start(grant)
    worker.yields(grant, 1, *through)
    assert worker.take() == []
    env.wait(10)
    (kill,) = env.heard(worker.peer, wire.Kill)
    assert kill.tokens == [grant.token]
    worker.end(grant, outcome=Outcome.KILLED)
    env.wait(1)
    failure = env.run().failures[0]
    assert "T(name=e) of mod" in failure.error
    assert "T(name=e) of b" in failure.error
    assert "task_namespace" in failure.error
    worker.run_all()
    env.check()
    assert env.ended() == 30


@pytest.mark.unread("Resume")
def test_two_generators_that_wait_for_each_others_twins_do_not_hang() -> None:
    env = Env()
    env.graph = Graph({"p": [], "q": []})
    worker = env.worker(slots=4)
    env.submit("p", "q")
    first, second = worker.take()
    worker.start(first, second)
    worker.yields(first, 1, f"{name_of(second)}@b")
    worker.yields(second, 1, f"{name_of(first)}@b")
    env.wait(10)
    killed = [token for kill in env.heard(worker.peer, wire.Kill) for token in kill.tokens]
    (grant,) = [grant for grant in (first, second) if grant.token in killed]
    worker.end(grant, outcome=Outcome.KILLED)
    worker.run_all()
    other = second if grant is first else first
    assert env.state(name_of(other)) == S.RUNNING
    worker.end(other)
    worker.run_all()
    env.check()
    assert env.ended() == 30


@pytest.mark.unread("Dispatch")
def test_looking_for_circles_becomes_rare_while_a_twin_simply_takes_long() -> None:
    env = Env()
    env.graph = Graph({"m": ["e", "e@b"], "y": []})
    worker = env.worker(slots=4)
    env.submit("m")
    (grant,) = worker.take()
    worker.start(grant)
    worker.yields(grant, 1, "y")
    looks = 0
    for _ in range(600):
        before = env.core.state.twins.look_at
        env.wait(1)
        worker.beat()
        looks += env.core.state.twins.look_at != before
    assert 8 < looks < 25
    assert env.heard(worker.peer, wire.Kill) == []


def test_restart_keeps_twins_apart() -> None:
    env = Env()
    env.graph = Graph({"m": ["e", "e@b"]})
    worker = env.worker(slots=4)
    env.submit("m")
    (grant,) = worker.take()
    worker.start(grant)
    env.restart()
    assert len(of(env, "e")) == 2
    worker.join(held=[grant.token])
    env.check()
    assert worker.take() == []
    worker.end(grant)
    assert [name_of(one) for one in worker.take()] == (["e@b"] if name_of(grant) == "e" else ["e"])


def test_ended_runs_leave_nothing_of_twins_behind() -> None:
    env = Env()
    env.graph = Graph({"m": ["e", "e@b", "e@c"], "k": ["e@b"]})
    worker = env.worker()
    env.submit("m")
    env.submit("k")
    worker.run_all()
    assert env.ended(1) == env.ended(2) == 0
    env.wait(1)
    s = env.core.state
    assert not list(twins.everything(s))
    assert not s.twins.by_id
    assert not s.twins.waiting


@pytest.mark.unread("Dispatch")
def test_root_is_at_home_where_its_planner_says() -> None:
    env = Env()
    env.graph = Graph({"a": [], "a@b": []})
    env.graph.errors["uid-w", "a@b"] = ("import", "not here")
    env.worker("w")
    env.submit("a@b")
    env.submit("a")
    assert env.ended(1) == 10 or env.run(1).summary is not None
    assert env.state("a") == S.LEASED


@pytest.mark.unread("Dispatch")
def test_commands_list_twins_with_their_modules_and_take_one_of_them() -> None:
    env = Env()
    env.graph = Graph({"m": ["e", "e@pkg.b"]})
    env.worker(slots=4)
    env.submit("m")
    asked = (
        lambda n: client.Why(n, "T_e"),
        lambda n: client.Why(n, "T(name=e)"),
        lambda n: client.Cancel(n, "T_e"),
        lambda n: client.Retry(n, "T_e"),
    )
    for ask in asked:
        failed = env.ask(ask, client.Failed)
        assert sorted(failed.matches) == ["T(name=e) of mod", "T(name=e) of pkg.b"]
    rows = env.ask(lambda n: client.ListTasks(n, "T_e"), client.Tasks).tasks
    assert sorted(row.task for row in rows) == ["T(name=e) of mod", "T(name=e) of pkg.b"]
    for piece, module in (
        ("T_e of pkg.b", "pkg.b"),
        ("T(name=e) of b", "pkg.b"),
        ("T_e of mod", "mod"),
    ):
        assert ("module", module) in why(env, piece).lines
    changed = env.ask(lambda n: client.Cancel(n, "T_e of pkg.b"), client.Changed)
    assert changed.text.startswith("T(name=e) of pkg.b: cancelled")


@pytest.mark.unread("Submitted")
def test_twins_of_two_projects_are_no_twins() -> None:
    env = Env()
    env.graph = Graph({"e": [], "e@b": []})
    worker = env.worker(slots=4)
    env.submit("e")
    root = client.RootTask("b", "T", {"name": "e"})
    env.say(b"client", client.Submit(9, "other", "elsewhere", [root], client.SubmitOptions()))
    assert sorted(granted(worker)) == ["e", "e@b"]
    assert not env.core.state.twins.by_id
