"""Planning: chunks, lost planners, errors, cycles, sharing between runs, external data."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from flow.wire.messages import client, codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import PlanChunk, PlanError, Policy, Spec, SpecStatus
from flow.wire.states import TaskState
from flow_coordinator.core import planning
from flow_coordinator.core.config import CoreConfig
from tests.support.core_env import Env, FakeWorker, Graph, stub

S = TaskState


def by_hand(edges: dict[str, list[str]]) -> tuple[Env, FakeWorker]:
    """An environment whose planning questions the test answers."""
    env = Env()
    env.graph = Graph(edges)
    env.plan_by_hand = True
    return env, env.worker()


def asked(env: Env, worker: FakeWorker) -> wire.Plan:
    (plan,) = env.heard(worker.peer, wire.Plan)
    return plan


def answer(
    env: Env, worker: FakeWorker, plan: wire.Plan, chunk: PlanChunk, at: int = 0, last: bool = True
) -> None:
    body = codec.encode_chunk(chunk)
    worker.say(wire.Planned(worker.session, plan.request, at, last, body))


def pieces(env: Env, plan: wire.Plan, worker: FakeWorker) -> list[PlanChunk]:
    """An answer of one spec a chunk: each with the stubs and edges that it needs."""
    whole = env.graph.answer(plan, worker.uid)
    edges = dict(whole.edges)
    said = 0
    chunks = []
    for spec in whole.specs:
        need = max([spec.index, *edges.get(spec.index, [])]) + 1
        stubs = whole.stubs[said : max(said, need)]
        said = max(said, need)
        policies = whole.policies if not chunks else []
        mine = [(spec.index, edges[spec.index])] if spec.index in edges else []
        chunks.append(PlanChunk(stubs, mine, policies, [spec], []))
    return chunks


# ---------------------------------------------------------------- chunks


def test_chunks_are_asked_for_one_by_one_and_applied_in_order() -> None:
    env, worker = by_hand({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []})
    env.submit("a")
    plan = asked(env, worker)
    chunks = pieces(env, plan, worker)
    assert len(chunks) == 4
    answer(env, worker, plan, chunks[1], 1, False)
    assert "default" not in env.core.state.tasks, "a chunk out of order is ignored"
    for at, chunk in enumerate(chunks):
        last = at == len(chunks) - 1
        answer(env, worker, plan, chunk, at, last)
        answer(env, worker, plan, chunk, at, last)
        wanted = [m.chunk for m in env.heard(worker.peer, wire.PlanNext)]
        assert wanted == ([] if last else [at + 1]), "a repeated chunk asks for nothing"
    assert env.heard(worker.peer, wire.PlanEnd)
    assert [t.waits for t in (env.task("a"), env.task("b"), env.task("d"))] == [2, 1, 0]
    assert worker.run_all() == ["d", "b", "c", "a"]
    env.check()


@pytest.mark.unread("PlanNext")
def test_nothing_starts_while_its_requirements_are_still_being_named() -> None:
    env, worker = by_hand({"a": ["b"], "b": []})
    env.submit("a")
    plan = asked(env, worker)
    answer(env, worker, plan, pieces(env, plan, worker)[0], 0, False)
    assert (env.state("a"), env.state("b")) == (S.PENDING, S.UNPLANNED)
    assert not worker.take()
    env.check()


def test_missing_chunk_is_asked_for_again() -> None:
    env, worker = by_hand({"a": ["b"], "b": []})
    env.submit("a")
    plan = asked(env, worker)
    env.wait(planning.ASK_AGAIN_S + 0.1)
    assert asked(env, worker) == plan
    answer(env, worker, plan, pieces(env, plan, worker)[0], 0, False)
    env.heard(worker.peer, wire.PlanNext)
    env.wait(planning.ASK_AGAIN_S + 0.1)
    (again,) = env.heard(worker.peer, wire.PlanNext)
    assert again.chunk == 1


@pytest.mark.unread("PlanNext")
def test_question_a_planner_lost_is_asked_again() -> None:
    env, worker = by_hand({"a": ["b"], "b": []})
    env.submit("a")
    plan = asked(env, worker)
    answer(env, worker, plan, pieces(env, plan, worker)[0], 0, False)
    worker.say(wire.Planned(worker.session, plan.request, 1, True, b"", True))
    again = asked(env, worker)
    assert again.request != plan.request
    assert [one.task_id for one in again.stubs] == ["T_b"], "what was settled is not asked again"
    answer(env, worker, again, env.graph.answer(again, worker.uid))
    assert worker.run_all() == ["b", "a"]


def test_question_of_a_worker_that_is_lost_goes_to_another() -> None:
    env, worker = by_hand({"a": []})
    env.submit("a")
    plan = asked(env, worker)
    other = env.worker("b")
    worker.say(wire.Drained(worker.session))
    again = asked(env, other)
    answer(env, other, plan, env.graph.answer(plan, other.uid))
    assert "default" not in env.core.state.tasks, "an answer to somebody else's question"
    answer(env, other, again, env.graph.answer(again, other.uid))
    assert other.run_all() == ["a"]
    assert env.ended() == 0


@pytest.mark.unread("Plan")
def test_question_of_a_silent_worker_goes_to_another() -> None:
    env, worker = by_hand({"a": []})
    env.submit("a")
    asked(env, worker)
    env.wait(30)
    other = env.worker("b")
    for _ in range(5):
        env.wait(10)
        other.beat()
    assert env.heard(other.peer, wire.Plan)


@pytest.mark.unread("Dispatch")
def test_wide_graph_is_planned_in_pieces() -> None:
    names = [f"n{i}" for i in range(5_000)]
    env, worker = by_hand({"top": names, **{name: [] for name in names}})
    env.submit("top")
    plan = asked(env, worker)
    few = msgspec.structs.replace(plan, expand_max=1)
    answer(env, worker, plan, env.graph.answer(few, worker.uid))
    assert env.task("top").waits == 5_000
    env.plan_by_hand = False
    questions = []
    while True:
        plans = env.heard(worker.peer, wire.Plan)
        if not plans:
            break
        for one in plans:
            questions.append(len(one.stubs))
            answer(env, worker, one, env.graph.answer(one, worker.uid))
    env.turn()
    assert max([*questions, 1]) <= planning.ASK_TASKS_MAX
    assert env.core.state.runs[1].unplanned == 0
    env.check()


def test_planning_of_many_tasks_is_spread_over_workers() -> None:
    names = [f"n{i}" for i in range(planning.EXPAND_SHARED_MAX + 1)]
    env, worker = by_hand({"top": names})
    other = env.worker("b")
    env.submit("top")
    plan = (env.heard(worker.peer, wire.Plan) or env.heard(other.peer, wire.Plan))[0]
    asker = worker if plan.session == worker.session else other
    few = msgspec.structs.replace(plan, expand_max=1)
    answer(env, asker, plan, env.graph.answer(few, asker.uid))
    assert env.heard(worker.peer, wire.Plan) and env.heard(other.peer, wire.Plan)


def test_frontier_never_names_a_task_twice_in_one_question() -> None:
    env, worker = by_hand({"gen": [], "dep": []})
    env.plan_by_hand = False
    env.submit("dep")
    assert worker.run_all() == ["dep"]
    env.submit("keep", "gen")
    grants = worker.take()
    gen = next(g for g in grants if g.task_id == "T_gen")
    env.plan_by_hand = True
    worker.yields(gen, 1, "dep", "dep")
    assert [one.task_id for one in asked(env, worker).stubs] == ["T_dep"]


# ---------------------------------------------------------------- what complete() says


def test_complete_task_is_not_expanded_further() -> None:
    env = Env()
    env.graph = Graph({"a": ["b", "c"], "b": ["deep"], "c": []})
    env.graph.complete.add("b")
    env.submit("a")
    worker = env.worker()
    assert worker.run_all() == ["c", "a"]
    assert "deep" not in env.graph.expanded
    assert env.ended() == 0


def test_complete_root_ends_its_run_at_once() -> None:
    env = Env()
    env.graph = Graph({"a": ["b"]})
    env.graph.complete.add("a")
    env.submit("a")
    assert not env.worker().take()
    assert env.ended() == 0


def test_task_done_in_an_ended_run_is_asked_again_for_a_new_one() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    assert worker.run_all() == ["a"]
    env.submit("a")
    assert env.graph.expanded["a"] == 2
    assert worker.run_all() == ["a"], "its output is gone: it runs again"
    env.graph.complete.add("a")
    env.submit("a")
    assert not worker.take()
    assert env.ended(3) == 0


def test_task_done_in_an_open_run_is_asked_again_for_another() -> None:
    env = Env()
    env.graph = Graph({"top": ["a", "long"], "a": [], "long": [], "b": ["a"]})
    worker = env.worker()
    env.submit("top")
    assert worker.run("a") == ["a"]
    env.graph.complete.add("a")
    env.submit("b")
    assert env.graph.expanded["a"] == 2
    assert [g.task_id for g in worker.take()] == ["T_b"]
    env.check()


def test_task_done_and_gone_runs_again_without_touching_who_had_it() -> None:
    env = Env()
    env.graph = Graph({"top": ["a", "long"], "a": [], "long": [], "b": ["a"]})
    worker = env.worker()
    env.submit("top")
    _a, long = sorted(worker.take(), key=lambda g: g.task_id)
    worker.end(_a)
    env.submit("b")
    env.check()
    assert env.task("top").waits == 1
    worker.end(long)
    assert sorted(worker.run_all()) == ["a", "b", "top"]
    assert (env.ended(1), env.ended(2)) == (0, 0)
    summary = env.run(1).summary
    assert summary is not None and {c.name: c.count for c in summary.categories} == {"ran": 3}
    env.check()


def test_task_of_two_runs_is_joined_and_runs_once() -> None:
    env = Env()
    env.graph = Graph({"a": ["s"], "b": ["s"], "s": ["deep"], "deep": []})
    worker = env.worker(slots=1)
    env.submit("a")
    (deep,) = worker.take()
    env.submit("b")
    assert env.task("s").runs == env.task("deep").runs == (env.run(1), env.run(2))
    worker.end(deep)
    assert sorted(worker.run_all()) == ["a", "b", "s"]
    assert (env.ended(1), env.ended(2)) == (0, 0)
    env.check()


@pytest.mark.unread("Submitted")
def test_projects_do_not_share_tasks() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    worker = env.worker()
    for number, project in enumerate(("one", "two")):
        root = client.RootTask("mod", "T", {"name": "a"})
        message = client.Submit(number, project, project, [root], client.SubmitOptions())
        env.say(b"client", message)
    assert len(worker.take()) == 2


def test_disabled_class_is_not_run_and_says_so() -> None:
    env = Env()
    env.graph = Graph({"top": ["off"], "off": ["dep"]}, {"off": Policy(disabled=True)})
    env.submit("top")
    assert env.worker().run_all() == ["dep"], "what it requires is scheduled, as in Luigi"
    assert env.ended() == 25
    summary = env.run().summary
    assert summary is not None
    assert "disabled" in {category.name for category in summary.categories}


# ---------------------------------------------------------------- errors


def test_unknown_root_ends_with_the_code_of_wrong_usage() -> None:
    env = Env()
    env.graph = Graph({})
    env.graph.errors["", "a"] = ("unknown_task", "no task T in mod")
    env.submit("a")
    env.worker()
    assert env.ended() == 2
    assert env.run().failures[0].error == "no task T in mod"


def test_unknown_requirement_is_a_scheduling_error() -> None:
    env = Env()
    env.graph = Graph({"a": ["b"]})
    env.graph.errors["", "b"] = ("unknown_task", "no task T in mod")
    env.submit("a")
    env.worker()
    assert env.ended() == 35


def test_requires_that_raises_ends_the_run_and_what_needs_it() -> None:
    env = Env()
    env.graph = Graph({"top": ["a", "b"], "a": [], "b": []})
    env.graph.errors["", "a"] = ("requires", "ValueError: no such day")
    worker = env.worker()
    env.submit("top")
    assert worker.run_all() == ["b"]
    assert env.ended() == 35
    summary = env.run().summary
    assert summary is not None
    counts = {category.name: category.count for category in summary.categories}
    assert counts == {"scheduling_error": 1, "upstream_scheduling_error": 1, "ran": 1}


@pytest.mark.unread("Dispatch")
def test_import_error_is_tried_on_another_worker_first() -> None:
    env = Env()
    env.graph = Graph({"top": ["a"], "a": []})
    env.graph.errors["uid-bad", "a"] = ("import", "ModuleNotFoundError: x")
    bad = env.worker("bad")
    good = env.worker("good")
    env.submit("top")
    assert env.state("a") == S.LEASED
    assert not bad.take(), "what it cannot import it is not given"
    assert good.run_all() == ["a"]


def test_import_error_of_a_root_finds_its_id_on_another_worker() -> None:
    env = Env()
    env.graph = Graph({"a": ["b"], "b": []})
    env.graph.errors["uid-bad", "a"] = ("import", "ModuleNotFoundError: x")
    bad = env.worker("bad", slots=0)
    env.submit("a")
    assert env.ended() == 35, "nobody else could"
    env.plan_by_hand = True
    env.submit("a")
    plan = asked(env, bad)
    good = env.worker("good", slots=1)
    answer(env, bad, plan, env.graph.answer(plan, bad.uid))
    env.plan_by_hand = False
    env.turn()
    assert list(env.core.state.tasks["default"]) == ["T_a", "T_b"]
    assert good.run_all() == ["b", "a"]
    assert env.ended(2) == 0
    env.check()


def test_import_error_of_a_root_that_another_run_has_joins_it() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    bad = env.worker("bad", slots=0)
    good = env.worker("good", slots=1)
    env.submit("a")
    (held,) = good.take()
    env.graph.errors["uid-bad", "a"] = ("import", "ModuleNotFoundError: x")
    env.plan_by_hand = True
    env.submit("a")
    plan = asked(env, bad)
    answer(env, bad, plan, env.graph.answer(plan, bad.uid))
    env.plan_by_hand = False
    env.turn()
    assert list(env.core.state.tasks["default"]) == ["T_a"]
    assert env.task("a").runs == (env.run(1), env.run(2))
    assert not bad.take()
    good.end(held)
    assert (env.ended(1), env.ended(2)) == (0, 0)
    env.check()


def test_import_error_everywhere_ends_the_run() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    env.graph.errors["", "a"] = ("import", "ModuleNotFoundError: x")
    env.worker("one")
    env.worker("two")
    env.submit("a")
    assert env.ended() == 35
    assert [failure.worker for failure in env.run().failures] == ["two"]


def test_import_error_waits_for_nobody_who_has_left() -> None:
    env, worker = by_hand({"top": ["a"]})
    env.graph.errors["", "a"] = ("import", "ModuleNotFoundError: x")
    other = env.worker("b", slots=0)
    other.say(wire.Heartbeat(other.session, 1, False, 0.0, 0, False))
    env.submit("top")
    plan = asked(env, worker)
    answer(env, worker, plan, env.graph.answer(plan, worker.uid))
    assert not env.heard(worker.peer, wire.Plan), "the other one may be able to"
    other.say(wire.Drained(other.session))
    env.plan_by_hand = False
    env.turn()
    assert env.ended() == 35


# ---------------------------------------------------------------- cycles


def test_cycle_is_printed_as_a_path_and_ends_the_run() -> None:
    env = Env()
    env.graph = Graph({"a": ["b"], "b": ["c"], "c": ["a"]})
    env.submit("a")
    assert not env.worker().take()
    assert env.ended() == 35
    (failure,) = env.run().failures
    path = failure.error.partition(": ")[2].split(" -> ")
    assert path[0] == path[-1] and sorted(path[1:]) == [f"T(name={n})" for n in "abc"]
    steps = list(pairwise(path))
    for one, two in steps:
        assert two[7] in env.graph.edges[one[7]], steps


def test_cycle_of_one_task_is_found() -> None:
    env = Env()
    env.graph = Graph({"a": ["a"]})
    env.submit("a")
    env.worker()
    assert env.ended() == 35
    assert "T(name=a) -> T(name=a)" in env.run().failures[0].error


def test_cycle_over_several_answers_is_found() -> None:
    env, worker = by_hand({"a": ["b"], "b": ["c"], "c": ["a"]})
    env.submit("a")
    for _ in range(3):
        plan = asked(env, worker)
        few = msgspec.structs.replace(plan, expand_max=1)
        answer(env, worker, plan, env.graph.answer(few, worker.uid))
    assert env.ended() == 35
    assert "cycle" in env.run().failures[0].error


def test_order_survives_edges_that_disagree_with_it() -> None:
    env = Env()
    env.graph = Graph({"a": [], "b": [], "c": ["d"], "d": ["a", "b"], "e": ["c", "a"], "x": ["e"]})
    env.worker("p", slots=0)
    for name in ("e", "a", "d", "x", "c", "b"):
        env.submit(name)
        env.check()
    worker = env.worker(slots=1)
    order = worker.run_all()
    for name, deps in env.graph.edges.items():
        assert all(order.index(dep) < order.index(name) for dep in deps)


# ---------------------------------------------------------------- external data


def test_external_data_missing_ends_with_its_own_code() -> None:
    env = Env()
    env.graph = Graph({"a": ["ext"]})
    env.graph.external.add("ext")
    env.submit("a")
    env.worker()
    assert env.ended() == 20
    summary = env.run().summary
    assert summary is not None
    counts = {category.name: category.count for category in summary.categories}
    assert counts == {"missing_external": 1, "upstream_missing": 1}


def test_external_data_that_appears_while_a_run_waits_is_found() -> None:
    env = Env(CoreConfig(external_check_s=10))
    env.graph = Graph({"a": ["ext"]})
    env.graph.external.add("ext")
    worker = env.worker()
    env.submit("a", wait_external_s=100)
    for _ in range(3):
        env.wait(10)
        worker.beat()
    assert env.state("ext") == S.EXTERNAL
    assert env.graph.expanded["ext"] >= 3
    env.check()
    env.graph.external.clear()
    env.graph.complete.add("ext")
    env.wait(11)
    assert worker.run() == ["a"]
    assert env.ended() == 0


def test_external_data_is_waited_for_no_longer_than_asked() -> None:
    env = Env(CoreConfig(external_check_s=10))
    env.graph = Graph({"a": ["ext"]})
    env.graph.external.add("ext")
    worker = env.worker()
    env.submit("a", wait_external_s=25)
    for _ in range(4):
        env.wait(10)
        worker.beat()
    assert env.ended() == 20


def test_external_check_goes_on_after_a_restart() -> None:
    env = Env(CoreConfig(external_check_s=10))
    env.graph = Graph({"a": ["ext"]})
    env.graph.external.add("ext")
    worker = env.worker()
    env.submit("a", wait_external_s=1e9)
    env.restart()
    worker.join()
    env.graph.external.clear()
    env.graph.complete.add("ext")
    env.wait(11)
    assert worker.run() == ["a"]


@pytest.mark.unread("PlanNext")
def test_answer_about_roots_that_another_run_took_over_names_nothing_new() -> None:
    env = Env()
    env.graph = Graph({"top": ["a", "b"], "a": [], "b": []})
    worker = env.worker(slots=1)
    env.plan_by_hand = True
    env.submit("top")
    first = asked(env, worker)
    stubs = [stub("top"), stub("a")]
    policy = Policy()
    failed = PlanError(0, "requires", "half of it raised")
    chunk = PlanChunk(
        stubs, policies=[policy], specs=[Spec(1, SpecStatus.INCOMPLETE, 0)], errors=[failed]
    )
    answer(env, worker, first, chunk, last=False)
    (held,) = worker.take()
    other = env.worker("other", slots=0)
    env.submit("top")
    second = asked(env, other)
    answer(env, other, second, PlanChunk([stub("top")]), last=False)
    assert env.task("top").runs == (env.run(2),)
    env.ask(lambda n: client.Cancel(n, "r-2"), client.Changed)
    env.turn()
    late = PlanChunk([stub("b")], policies=[policy], specs=[Spec(2, SpecStatus.INCOMPLETE, 0)])
    answer(env, worker, first, late, at=1)
    assert "T_b" not in env.core.state.tasks["default"]
    worker.end(held)
    assert env.ended(1) == 35
    env.check()
