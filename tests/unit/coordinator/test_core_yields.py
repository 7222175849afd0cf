"""Tasks yielded from ``run()``: the generator waits where it is."""

from __future__ import annotations

import pytest

from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Grant, Outcome, Policy
from flow.wire.states import TaskState
from flow_coordinator.core import graph, yields
from flow_coordinator.core.config import CoreConfig
from tests.support.core_env import Env, FakeWorker, Graph, stub

S = TaskState


def generator(env: Env, edges: dict[str, list[str]], **policy: Policy) -> tuple[FakeWorker, Grant]:
    """A worker with one slot that runs ``gen``."""
    env.graph = Graph({"gen": [], **edges}, policy)
    worker = env.worker(slots=1)
    env.submit("gen")
    (grant,) = worker.take()
    worker.start(grant)
    return worker, grant


def resumes(env: Env, worker: FakeWorker) -> list[tuple[str, int]]:
    return [one for message in env.heard(worker.peer, wire.Resume) for one in message.yields]


def test_yield_frees_slot_and_resources_and_keeps_the_lease() -> None:
    env = Env(CoreConfig(limits={"db": 1}))
    db = Policy(resources={"db": 1})
    worker, gen = generator(env, {"dep": ["deeper"], "deeper": []}, gen=db, dep=db)
    worker.yields(gen, 1, "dep")
    assert env.state("gen") == S.SUSPENDED
    assert env.heard(worker.peer, wire.Rack)[-1].yields == [(gen.token, 1)]
    assert gen.token in env.core.state.leases
    assert worker.run() == ["deeper"]
    (dep,) = worker.take()
    env.check()
    assert not resumes(env, worker)
    worker.end(dep)
    assert resumes(env, worker) == [(gen.token, 1)]
    assert env.core.state.resources.used == {"db": 1.0}
    worker.resumed(gen, 1)
    worker.end(gen)
    assert env.ended() == 0
    assert env.run().attempts == 3, "the generator ran once"
    env.check()


def test_yield_resumes_at_the_worker_that_keeps_the_generator() -> None:
    env = Env()
    worker, gen = generator(env, {"dep": []})
    other = env.worker("b")
    worker.yields(gen, 1, "dep")
    ran = other.run() or worker.run()
    assert ran == ["dep"]
    assert resumes(env, worker) == [(gen.token, 1)]
    assert not other.take() and not resumes(env, other)


def test_yield_resume_waits_for_slot_and_resources() -> None:
    env = Env(CoreConfig(limits={"db": 1}))
    db = Policy(resources={"db": 1})
    worker, gen = generator(env, {"dep": [], "holder": []}, gen=db, holder=db)
    other = env.worker("b", slots=1)
    worker.yields(gen, 1, "dep")
    env.submit("holder")
    grants = worker.take() + other.take()
    dep = next(g for g in grants if g.task_id == "T_dep")
    holder = next(g for g in grants if g.task_id == "T_holder")
    at = {g.token: w for w in (worker, other) for g in w.grants}
    at[dep.token].end(dep)
    assert not resumes(env, worker), "the resource is in use"
    at[holder.token].end(holder)
    assert resumes(env, worker) == [(gen.token, 1)]
    env.check()


def test_yield_resume_is_not_starved_by_tasks_granted_ahead() -> None:
    env = Env()
    worker, gen = generator(env, {"dep": []})
    env.core.state.family("default", "mod", "T").mean_run_s = 0.0
    names = [f"n{i}" for i in range(900)]
    worker.yields(gen, 1, "dep")
    env.graph.edges.update({name: [] for name in names})
    env.submit(*names)
    ahead = worker.take()
    assert len(ahead) > 100
    for grant in ahead:
        worker.end(grant, run_s=0.0)
    assert resumes(env, worker) == [(gen.token, 1)]


def test_yield_repeated_is_acknowledged_and_changes_nothing() -> None:
    env = Env()
    worker, gen = generator(env, {"dep": []})
    worker.yields(gen, 1, "dep")
    waits = env.task("gen").waits
    worker.yields(gen, 1, "dep")
    assert [r.yields for r in env.heard(worker.peer, wire.Rack)] == [[(gen.token, 1)]] * 2
    assert env.task("gen").waits == waits == 1
    assert worker.run() == ["dep"]
    resumes(env, worker)
    worker.yields(gen, 1, "dep")
    assert env.state("gen") == S.RUNNING, "a late copy suspends nothing"
    env.check()


@pytest.mark.unread("Dispatch")
def test_yield_in_parts_is_applied_whole_in_any_order() -> None:
    env = Env()
    names = ["a", "b", "c"]
    worker, gen = generator(env, {name: [] for name in names})
    worker.yields(gen, 1, "c", part=2, parts=3)
    worker.yields(gen, 1, "a", part=0, parts=3)
    worker.yields(gen, 1, "a", part=0, parts=3)
    assert env.state("gen") == S.RUNNING
    assert not env.heard(worker.peer, wire.Rack)
    worker.yields(gen, 1, "b", part=1, parts=3)
    assert env.state("gen") == S.SUSPENDED
    assert env.task("gen").upstream == tuple(env.task(name) for name in names)


@pytest.mark.unread("Dispatch")
def test_yield_parts_of_an_earlier_attempt_are_not_mixed_in() -> None:
    env = Env()
    worker, gen = generator(env, {name: [] for name in "abc"})
    worker.yields(gen, 1, "a", part=0, parts=2)
    worker.end(gen, outcome=Outcome.KILLED)
    (again,) = worker.take()
    worker.yields(again, 1, "c", part=1, parts=2)
    assert env.state("gen") == S.LEASED
    worker.yields(again, 1, "b", part=0, parts=2)
    assert env.task("gen").upstream == (env.task("b"), env.task("c"))


def test_yield_of_complete_tasks_continues_at_once() -> None:
    env = Env()
    worker, gen = generator(env, {"dep": ["never"]})
    env.graph.complete.add("dep")
    worker.yields(gen, 1, "dep")
    assert resumes(env, worker) == [(gen.token, 1)]
    assert "T_never" not in env.core.state.tasks["default"]
    worker.yields(gen, 2, "dep")
    assert resumes(env, worker) == [(gen.token, 2)], "known to be complete in this run"


def test_yield_of_nothing_continues_at_once() -> None:
    env = Env()
    worker, gen = generator(env, {})
    worker.yields(gen, 1)
    assert resumes(env, worker) == [(gen.token, 1)]


def test_yielded_task_that_fails_kills_the_generator() -> None:
    env = Env()
    worker, gen = generator(env, {"dep": []})
    worker.yields(gen, 1, "dep")
    worker.end(*worker.take(), outcome=Outcome.FAILED, error="x")
    env.wait(0)
    (kill,) = env.heard(worker.peer, wire.Kill)
    assert kill.tokens == [gen.token]
    worker.end(gen, outcome=Outcome.KILLED)
    assert env.ended() == 30
    assert env.run().tallies["T"][S.UPSTREAM_FAILED] == 1
    env.check()


def test_yield_of_a_task_that_failed_before_kills_the_generator() -> None:
    env = Env()
    env.graph = Graph({"gen": [], "bad": []})
    worker = env.worker(slots=2)
    env.submit("bad", "gen")
    bad, gen = sorted(worker.take(), key=lambda g: g.task_id)
    worker.end(bad, outcome=Outcome.FAILED, error="x")
    worker.yields(gen, 1, "bad")
    env.wait(0)
    assert [kill.tokens for kill in env.heard(worker.peer, wire.Kill)] == [[gen.token]]
    worker.end(gen, outcome=Outcome.KILLED)
    assert env.ended() == 30
    env.check()


@pytest.mark.unread("Kill")
def test_yield_that_closes_a_cycle_fails_with_the_path() -> None:
    env = Env()
    env.graph = Graph({"top": ["gen"], "gen": [], "mid": ["top"]})
    worker = env.worker(slots=1)
    env.submit("top")
    (gen,) = worker.take()
    worker.yields(gen, 1, "top")
    env.wait(0)
    worker.end(gen, outcome=Outcome.KILLED)
    assert env.ended() == 30
    (failure,) = env.run().failures
    assert "T(name=gen) -> T(name=top) -> T(name=gen)" in failure.error


@pytest.mark.unread("Kill")
def test_yield_of_itself_is_a_cycle() -> None:
    env = Env()
    worker, gen = generator(env, {})
    worker.yields(gen, 1, "gen")
    env.wait(0)
    worker.end(gen, outcome=Outcome.KILLED)
    assert "T(name=gen) -> T(name=gen)" in env.run().failures[0].error
    assert env.ended() == 30


def test_yielded_requirement_that_needs_the_generator_is_a_cycle() -> None:
    env = Env()
    worker, gen = generator(env, {"dep": ["gen"]})
    worker.yields(gen, 1, "dep")
    env.wait(0)
    assert env.state("dep") == S.PLAN_FAILED
    (kill,) = env.heard(worker.peer, wire.Kill)
    worker.end(gen, outcome=Outcome.KILLED)
    assert kill.tokens == [gen.token]
    assert env.ended() == 35
    assert "cycle" in env.run().failures[0].error


def test_yield_of_too_many_tasks_fails_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    env = Env()
    worker, gen = generator(env, {})
    monkeypatch.setattr(yields, "YIELD_TASKS_MAX", 5)
    stubs = [stub(f"d{i}") for i in range(6)]
    worker.say(wire.Yield(worker.session, gen.token, 1, 0, 3, stubs))
    env.wait(0)
    assert env.heard(worker.peer, wire.Kill)
    worker.end(gen, outcome=Outcome.KILLED)
    assert env.ended() == 30
    assert "may yield" in env.run().failures[0].error


def one_by_one(env: Env, monkeypatch: pytest.MonkeyPatch, count: int, **policy: Policy) -> None:
    """A generator yields so many tasks after each other, and goes on."""
    monkeypatch.setattr(graph, "DONE_KEPT_MAX", 10)
    worker, gen = generator(env, {f"d{n}": [] for n in range(1, count + 1)}, **policy)
    for number in range(1, count + 1):
        worker.yields(gen, number, f"d{number}")
        assert worker.run() == [f"d{number}"]
        assert resumes(env, worker) == [(gen.token, number)]
        worker.resumed(gen, number)
        env.check()


def test_yields_one_by_one_take_no_more_and_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    env = Env()
    one_by_one(env, monkeypatch, 50)
    known = [dep.task_id for dep in env.task("gen").upstream]
    assert 10 < len(known) <= 21
    assert known == [f"T_d{n}" for n in range(51 - len(known), 51)]


def test_yields_of_temporary_outputs_stay_known_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    env = Env()
    one_by_one(env, monkeypatch, 50, d7=Policy(temporary=True))
    known = [dep.task_id for dep in env.task("gen").upstream]
    assert known[0] == "T_d7" and len(known) <= 22
    assert not env.core.state.temporary.due


@pytest.mark.unread("Dispatch")
def test_generator_whose_worker_is_lost_runs_again_after_its_yield() -> None:
    env = Env()
    worker, gen = generator(env, {"dep": []})
    worker.yields(gen, 1, "dep")
    worker.say(wire.Drained(worker.session))
    assert env.state("gen") == S.PENDING
    other = env.worker("b", slots=1)
    assert other.run() == ["dep"]
    (again,) = other.take()
    assert (again.task_id, again.attempt) == ("T_gen", 2)
    other.yields(again, 1, "dep")
    assert resumes(env, other) == [(again.token, 1)]
    env.check()


def test_generator_released_by_its_worker_waits_for_its_yield_and_starts_over() -> None:
    env = Env()
    worker, gen = generator(env, {"dep": []})
    worker.yields(gen, 1, "dep")
    worker.end(gen, outcome=Outcome.RELEASED)
    assert env.state("gen") == S.PENDING
    assert worker.run_all() == ["dep", "gen"]
    assert env.ended() == 0


def test_resume_is_said_again_until_it_is_confirmed() -> None:
    env = Env()
    worker, gen = generator(env, {"dep": []})
    worker.yields(gen, 1, "dep")
    worker.run()
    assert resumes(env, worker) == [(gen.token, 1)]
    env.wait(6)
    worker.beat()
    assert resumes(env, worker) == [(gen.token, 1)]
    worker.start(gen)
    env.wait(6)
    worker.beat()
    assert resumes(env, worker) == [(gen.token, 1)], "that was a late copy of an older STARTED"
    worker.resumed(gen, 1)
    env.wait(6)
    worker.beat()
    assert not resumes(env, worker)


def test_resume_unconfirmed_is_said_again_after_joining() -> None:
    env = Env()
    worker, gen = generator(env, {"dep": []})
    worker.yields(gen, 1, "dep")
    worker.run()
    resumes(env, worker)
    worker.join(held=[gen.token])
    env.wait(6)
    worker.beat()
    assert resumes(env, worker) == [(gen.token, 1)]
    env.check()
