"""Runs: counts, verdicts, summaries, watchers, keys, and what is forgotten."""

from __future__ import annotations

import pytest

from flow.wire.messages import client, codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import PROTOCOL, Outcome, PlanChunk, Policy, Stub
from flow.wire.params import pack_params
from flow.wire.states import RunState, TaskState
from flow_coordinator.core import graph, runs
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.events import PeerUnreachable
from tests.support.core_env import Env, Graph, stub

S = TaskState


def watch(env: Env, run: str = "r-1", peer: bytes = b"client-w", seen: int = 0) -> None:
    env.say(peer, client.Watch(7, run, seen))


def updates(env: Env, peer: bytes = b"client-w") -> list[client.RunUpdate]:
    return env.heard(peer, client.RunUpdate)


def totals(messages: list[client.RunUpdate]) -> dict[str, int]:
    """Counts of family T as a watcher knows them after these updates."""
    counts: dict[str, int] = {}
    for message in messages:
        for family in message.families:
            counts = family.counts
    return counts


@pytest.mark.unread("Dispatch")
def test_counts_follow_every_move() -> None:
    env = Env()
    env.graph = Graph({"a": ["b"], "b": []})
    worker = env.worker()
    env.submit("a")
    run = env.run()
    assert (run.open, run.unplanned, len(run.tasks)) == (2, 0, 2)
    (b,) = worker.take()
    worker.start(b)
    assert runs.counts(run.tallies["T"]) == {"pending": 1, "running": 1}
    worker.end(b)
    assert runs.counts(run.tallies["T"]) == {"leased": 1, "done": 1}
    env.check()


def test_verdict_is_the_largest_code_that_applies() -> None:
    env = Env()
    env.graph = Graph({"fails": [], "ext": [], "raises": [], "fine": []})
    env.graph.external.add("ext")
    env.graph.errors["", "raises"] = ("requires", "x")
    worker = env.worker(slots=4)
    env.submit("fails", "ext", "fine")
    fails, fine = sorted(worker.take(), key=lambda g: g.task_id)
    worker.end(fails, outcome=Outcome.FAILED, error="x")
    worker.end(fine)
    assert env.ended(1) == 30
    env.submit("ext", "raises")
    assert env.ended(2) == 35
    env.submit("ext")
    assert env.ended(3) == 20


def test_summary_names_every_category() -> None:
    env = Env(CoreConfig(crash_max=1))
    env.graph = Graph(
        {
            "top": ["fails", "ext", "raises", "off", "fine", "had"],
            **{name: [] for name in ("fails", "ext", "raises", "off", "fine", "crash")},
            "over_ext": ["ext"],
        },
        {"off": Policy(disabled=True)},
    )
    env.graph.external.add("ext")
    env.graph.complete.add("had")
    env.graph.errors["", "raises"] = ("requires", "ValueError: x")
    worker = env.worker(slots=4)
    env.submit("top", "over_ext", "crash")
    for grant in worker.take():
        outcome = {"T_fails": Outcome.FAILED, "T_crash": Outcome.CRASHED}.get(grant.task_id)
        worker.end(grant, outcome=outcome or Outcome.DONE, error="" if not outcome else "boom")
    summary = env.run().summary
    assert summary is not None
    counts = {category.name: category.count for category in summary.categories}
    assert counts == {
        "upstream_failed": 1,
        "upstream_missing": 2,
        "upstream_scheduling_error": 1,
        "failed": 1,
        "disabled": 2,
        "missing_external": 1,
        "scheduling_error": 1,
        "complete": 1,
        "ran": 1,
    }
    assert summary.exit_code == 35
    in_three = 2  # top counts in the category of each kind of requirement, as Luigi has it
    assert summary.scheduled == sum(counts.values()) - in_three
    assert (2, "boom", "") in summary.causes
    examples = {c.name: c.examples for c in summary.categories}["ran"]
    assert examples[0].params == [{"name": "fine"}]


def test_watcher_hears_at_most_four_times_a_second_and_the_end_at_once() -> None:
    env = Env()
    names = [f"n{i}" for i in range(40)]
    env.graph = Graph({name: [] for name in names})
    worker = env.worker(slots=40)
    env.submit(*names)
    watch(env)
    grants = worker.take()
    assert len(updates(env)) == 1, "the first has everything"
    heard = []
    for grant in grants[:-1]:
        worker.end(grant)
        env.wait(0.05)
        heard += updates(env)
    assert 39 * 0.05 * 2 <= len(heard) <= 39 * 0.05 * 4 + 1
    worker.end(grants[-1])
    (last,) = updates(env)
    assert last.ended is not None and last.ended.exit_code == 0
    assert totals([last]) == {"done": 40}
    worker.beat()
    assert not updates(env)


@pytest.mark.unread("Dispatch")
def test_watcher_is_told_only_what_changed() -> None:
    env = Env()
    env.graph = Graph({"a": [], "b": []})
    env.worker(slots=1)
    env.submit("a", "b")
    watch(env)
    updates(env)
    env.wait(10)
    assert not updates(env), "no news"


def test_watcher_of_an_ended_run_hears_its_summary() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    worker.run()
    watch(env)
    (update,) = updates(env)
    assert update.ended is not None


@pytest.mark.unread("RunUpdate")
def test_watcher_gets_every_failure_in_pieces() -> None:
    env = Env()
    names = [f"n{i}" for i in range(50)]
    env.graph = Graph({**{name: [] for name in names}, "long": []})
    worker = env.worker(slots=60)
    env.submit(*names, "long")
    watch(env)
    updates(env)
    grants = [g for g in worker.take() if g.task_id != "T_long"]
    worker.end(*grants, outcome=Outcome.FAILED, error="x")
    env.wait(2)
    heard = updates(env)
    assert all(len(one.failures) <= runs.UPDATE_FAILURES_MAX for one in heard)
    numbers = [failure.number for one in heard for failure in one.failures]
    assert numbers == sorted(set(numbers)) and len(numbers) == 50
    watch(env, peer=b"client-2", seen=numbers[-2])
    (first,) = updates(env, b"client-2")
    assert [failure.number for failure in first.failures] == numbers[-1:]


@pytest.mark.unread("Plan")
def test_watcher_gets_every_family_in_pieces() -> None:
    env = Env()
    env.plan_by_hand = True
    env.worker()
    env.submit("a")
    for i in range(runs.UPDATE_FAMILIES_MAX + 50):
        other = Stub(f"F{i}_x", "mod", f"F{i}", pack_params({}))
        graph.name_task(env.core.state, "default", other, (env.run(),), 0.0)
    watch(env)
    env.wait(2)
    heard = updates(env)
    assert max(len(one.families) for one in heard) == runs.UPDATE_FAMILIES_MAX
    families = {family.family for one in heard for family in one.families}
    assert len(families) == runs.UPDATE_FAMILIES_MAX + 50


@pytest.mark.unread("Dispatch", "RunUpdate")
def test_watcher_that_is_gone_is_forgotten() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    env.worker()
    env.submit("a")
    watch(env)
    watch(env, peer=b"client-2")
    (update, *_) = updates(env)
    env.handle(PeerUnreachable(b"client-w", update))
    env.say(b"client-2", client.Unwatch(8, "r-1"))
    assert not env.run().watchers


def test_submit_with_the_same_key_starts_one_run() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    worker = env.worker()
    assert env.submit("a") == "r-1"
    env.request = 0
    assert env.submit("a") == "r-1"
    worker.run()
    env.request = 0
    assert env.submit("a") == "r-1", "also when it has ended"
    assert not worker.take()


def test_submit_is_answered_only_when_it_is_durable() -> None:
    env = Env()
    env.submit("a")
    assert env.store.disk.runs[1][1] == "key-1"


def test_submit_without_roots_or_with_another_protocol_is_refused() -> None:
    env = Env()
    root = client.RootTask("m", "T", {})
    for roots, protocol, at, total, code in (
        ([], PROTOCOL, 0, 0, 2),
        ([root], (PROTOCOL[0] + 1, 0), 0, 0, 61),
        ([root], PROTOCOL, 0, client.ROOTS_MAX + 1, 2),
        ([root, root], PROTOCOL, 0, 1, 2),
        ([root, root], PROTOCOL, 4, 5, 2),
        ([root], PROTOCOL, -1, 5, 2),
    ):
        options = client.SubmitOptions()
        message = client.Submit(1, "k", "default", roots, options, protocol, at, total)
        env.say(b"client", message)
        assert env.heard(b"client", client.Failed)[-1].code == code
    assert not env.core.state.runs


def test_ended_runs_leave_memory_with_their_tasks() -> None:
    env = Env()
    edges = {f"n{i}": [f"n{i + 1}"] for i in range(20)}
    env.graph = Graph({**edges, "n20": []})
    worker = env.worker()
    env.submit("n0")
    worker.run_all()
    s = env.core.state
    assert env.ended() == 0
    assert s.tasks == {"default": {}} and not s.runs and not s.leases and not s.forgetting
    assert not s.ready.groups and not s.plans and not s.news and not s.frontier
    assert env.run().tasks == [] and env.run().roots == []


def test_failed_run_leaves_memory_with_its_tasks() -> None:
    env = Env()
    env.graph = Graph({"top": ["a", "b"], "a": [], "b": []})
    env.graph.errors["", "b"] = ("requires", "x")
    worker = env.worker()
    env.submit("top")
    worker.end(*worker.take(), outcome=Outcome.FAILED, error="x")
    assert env.ended() == 35
    assert env.core.state.tasks == {"default": {}}


def test_forgetting_is_bounded_a_turn_and_goes_on() -> None:
    env = Env()
    names = [f"n{i}" for i in range(5)]
    env.graph = Graph({name: [] for name in names})
    old, runs.FORGET_MAX = runs.FORGET_MAX, 2
    try:
        worker = env.worker(slots=5)
        env.submit(*names)
        worker.run()
        assert env.core.state.tasks == {"default": {}}
    finally:
        runs.FORGET_MAX = old


def test_forgetting_keeps_what_another_run_needs() -> None:
    env = Env()
    env.graph = Graph({"a": ["s"], "b": ["s", "long"], "s": [], "long": []})
    worker = env.worker()
    env.submit("b")
    env.submit("a")
    worker.run("s")
    worker.run("a")
    assert env.ended(2) == 0
    assert set(env.core.state.tasks["default"]) == {"T_b", "T_s", "T_long"}
    env.check()


def test_ended_runs_kept_for_display_are_bounded() -> None:
    env = Env(CoreConfig(ended_runs_max=3))
    env.graph = Graph({"a": []})
    worker = env.worker()
    for _ in range(6):
        env.submit("a")
        worker.run()
    assert list(env.core.state.ended) == [4, 5, 6]
    assert sorted(env.core.state.keys) == ["key-4", "key-5", "key-6"]


def test_released_edges_of_a_wide_task_are_spread_over_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graph, "RELEASE_MAX", 10)
    env = Env()
    names = [f"n{i}" for i in range(35)]
    env.graph = Graph({"base": [], **{name: ["base"] for name in names}})
    worker = env.worker(slots=1)
    env.submit(*names)
    assert sorted(worker.run_all()) == sorted(["base", *names])
    assert env.ended() == 0
    env.check()


def test_run_cancelled_is_so_in_the_store() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    env.worker(slots=0)
    env.submit("a")
    env.ask(lambda n: client.Cancel(n, "r-1", "not today"), client.Changed)
    assert env.store.disk.runs[1][3] == RunState.CANCELLED
    assert env.ended() == 50


@pytest.mark.unread("PlanNext")
def test_run_resolved_partly_is_resolved_whole_after_its_planner_is_lost() -> None:
    env = Env()
    env.graph = Graph({"a": [], "b": []})
    env.plan_by_hand = True
    worker = env.worker()
    env.submit("a", "b")
    (plan,) = env.heard(worker.peer, wire.Plan)
    body = codec.encode_chunk(PlanChunk([stub("a")], [], [], [], []))
    worker.say(wire.Planned(worker.session, plan.request, 0, False, body))
    assert env.run().unresolved == 1
    env.plan_by_hand = False
    worker.say(wire.Planned(worker.session, plan.request, 1, True, b"", True))
    assert env.run().unresolved == 0
    assert sorted(worker.run_all()) == ["a", "b"]
    assert env.ended() == 0
