"""Ready tasks that run as one: who joins, what they hold, and what people see of it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from flow.wire.messages import client, codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import PlanChunk, Policy
from flow.wire.states import TaskState
from flow_coordinator.core import batching
from flow_coordinator.core.config import CoreConfig
from tests.support.batches import batchable, granted, names, submit_open
from tests.support.core_env import Env, FakeWorker, Graph, stub

S = TaskState
#: No backoff: what failed is ready again at once.
AT_ONCE = CoreConfig(retry_count=3, retry_delay_s=0.0)


# ---------------------------------------------------------------- who joins


def test_ready_tasks_of_one_kind_are_one_grant_in_queue_order() -> None:
    env = Env()
    worker, grant = granted(env, "a", "b", "c", slots=4)
    assert grant.task_id == "T_a"
    tokens = {env.task(name).lease.token for name in "abc"}  # type: ignore[union-attr]
    assert tokens == {grant.token}
    worker.start(grant)
    assert [env.state(name) for name in "abc"] == [S.RUNNING] * 3
    worker.end(grant)
    assert [env.state(name) for name in "abc"] == [S.DONE] * 3
    env.check()
    assert worker.run_all() == ["top"]


def test_max_batch_size_cuts_what_is_ready() -> None:
    env = Env()
    worker = env.worker(slots=3)
    env.graph = batchable(*"abcde", batch_max=2)
    env.submit("top")
    assert [names(grant) for grant in worker.take()] == [["a", "b"], ["c", "d"], ["e"]]
    env.check()


def test_batch_of_one_and_max_batch_size_one_are_plain_grants() -> None:
    env = Env()
    worker = env.worker(slots=3)
    env.graph = batchable("a", "b", batch_max=1)
    env.submit("top")
    assert [grant.members for grant in worker.take()] == [[], []]
    env.graph = batchable("c")
    env.submit("c")
    (grant,) = worker.take()
    assert grant.members == []


def test_other_parameters_policies_and_families_do_not_join() -> None:
    env = Env()
    worker = env.worker(slots=9)
    same = Policy(batched=["name"])
    env.graph = Graph(
        {"top": list("abcdef")},
        {
            "a": same,
            "b": Policy(batched=["name"], timeout_s=9.0),
            "c": Policy(),
            "d": Policy(batched=["other"]),
            "e": Policy(batched=["other"]),  # differs in ``name``, which is not joined
            "f": same,
        },
    )
    env.submit("top")
    assert sorted(map(names, worker.take())) == [["a", "f"], ["b"], ["c"], ["d"], ["e"]]
    env.check()


def test_higher_priority_goes_first_in_the_batch_of_all() -> None:
    env = Env()
    worker = env.worker(slots=1)
    graph = batchable("a", "b", "c")
    graph.policies["c"] = Policy(batched=["name"], priority=5.0)
    env.graph = graph
    env.submit("top")
    (grant,) = worker.take()
    assert names(grant) == ["c", "a", "b"]


def test_raised_priority_keeps_a_task_in_the_batch() -> None:
    env = Env()
    env.worker(slots=0)
    env.graph = batchable("a", "b", "c")
    env.submit("top")
    env.graph.edges["urgent"] = ["b"]
    env.graph.policies["urgent"] = Policy(priority=7.0)
    env.submit("urgent")
    env.check()
    worker = env.worker("w", slots=1)
    assert [names(grant) for grant in worker.take()] == [["b", "a", "c"]]


def test_task_that_two_runs_want_joins_those_it_was_planned_with_and_counts_in_both() -> None:
    env = Env()
    env.worker(slots=0)
    env.graph = batchable("a", "b")
    env.submit("a", "b")
    env.submit("b")
    worker = env.worker("w", slots=1)
    (grant,) = worker.take()
    assert names(grant) == ["a", "b"]
    assert [env.run(number).attempts for number in (1, 2)] == [2, 1]
    worker.end(grant)
    assert (env.ended(1), env.ended(2)) == (0, 0)


def test_batch_is_one_turn_of_its_run_in_the_fair_share() -> None:
    env = Env()
    env.worker(slots=0)
    graph = batchable("a", "b", "c", "d", batch_max=2)
    graph.edges.update({"other": ["x", "y", "z"]})
    env.graph = graph
    env.submit("top")
    env.submit("other")
    worker = env.worker("w", slots=1)
    order = []
    while grants := worker.take():
        for grant in grants:
            order.append(names(grant))
            worker.end(grant, run_s=9.0)
    assert order[:5] == [["a", "b"], ["x"], ["c", "d"], ["y"], ["z"]]


def test_cancelled_ready_task_is_left_out() -> None:
    env = Env()
    env.worker(slots=0)
    env.graph = batchable("a", "b", "c")
    env.submit(*"abc")
    env.ask(lambda n: client.Cancel(n, "T_b"), client.Changed)
    env.check()
    worker = env.worker("w", slots=1)
    assert [names(grant) for grant in worker.take()] == [["a", "c"]]
    env.check()


def test_bytes_of_one_grant_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MEMBERS_BYTES_MAX", 2 * len(stub("a").params))
    env = Env()
    worker = env.worker(slots=2)
    env.graph = batchable("a", "b", "c")
    env.submit("top")
    assert [names(grant) for grant in worker.take()] == [["a", "b"], ["c"]]


def test_members_of_one_grant_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MEMBERS_MAX", 2)
    env = Env()
    worker = env.worker(slots=2)
    env.graph = batchable("a", "b", "c", batch_max=100)
    env.submit("top")
    assert [names(grant) for grant in worker.take()] == [["a", "b"], ["c"]]


def in_halves(env: Env, *members: str) -> tuple[FakeWorker, Callable[[], None]]:
    """Submit members of which the planner has told half; what returns tells of the others."""
    worker = env.worker()
    env.graph = batchable(*members)
    env.plan_by_hand = True
    submit_open(env, "top")
    (plan,) = env.heard(worker.peer, wire.Plan)
    whole = env.graph.answer(plan, worker.uid)
    half = len(whole.specs) // 2

    def say(chunk: PlanChunk, at: int) -> None:
        body = codec.encode_chunk(chunk)
        worker.say(wire.Planned(worker.session, plan.request, at, at == 1, body))

    say(msgspec.structs.replace(whole, specs=whole.specs[:half]), 0)
    rest = PlanChunk(specs=whole.specs[half:])
    return worker, lambda: say(rest, 1)


@pytest.mark.unread("PlanNext")
def test_batch_waits_until_its_run_is_planned() -> None:
    env = Env()
    worker, say_rest = in_halves(env, *"abcdef")
    assert worker.take() == []
    env.check()
    answer = env.ask(lambda n: client.Why(n, "T_a"), client.WhyShown).answer
    assert "its run to be planned" in dict(answer.lines)["batch"]
    say_rest()
    assert [names(grant) for grant in worker.take()] == [list("abcdef")]
    assert env.core.state.gathering == {}


@pytest.mark.unread("PlanNext")
def test_batch_does_not_wait_for_a_slow_planner() -> None:
    env = Env()
    worker, say_rest = in_halves(env, *"abcdef")
    env.wait(batching.GATHER_S + 0.1)
    (grant,) = worker.take()
    assert names(grant) == ["a", "b"]
    env.check()
    say_rest()
    assert [names(one) for one in worker.take()] == [["c", "d", "e", "f"]]


@pytest.mark.unread("PlanNext")
def test_cancelled_while_others_are_planned_is_not_granted() -> None:
    env = Env()
    worker, _ = in_halves(env, *"abcdef")
    env.ask(lambda n: client.Cancel(n, "r-1"), client.Changed)
    env.wait(batching.GATHER_S + 0.1)
    assert worker.take() == []
    assert env.core.state.gathering == {}
    env.check()


# ---------------------------------------------------------------- what it holds


@pytest.mark.unread("Dispatch")
def test_demand_and_slot_are_taken_once() -> None:
    env = Env(CoreConfig(limits={"db": 3.0}))
    worker, grant = granted(env, "a", "b", "c", resources={"db": 2.0})
    s = env.core.state
    assert s.resources.used == {"db": 2.0}
    assert s.workers[worker.uid].used_slots == 1
    worker.end(grant)
    assert s.resources.used == {}
    env.check()


def test_attempts_are_counted_for_each_task() -> None:
    env = Env(AT_ONCE)
    worker, grant = granted(env, "a", "b")
    assert [env.task(name).attempt for name in "ab"] == [1, 1]
    assert env.run().attempts == 2
    env.restart()
    assert env.run().attempts == 2
    worker.join(held=[grant.token])


# ---------------------------------------------------------------- what people see


def test_why_names_those_it_runs_with() -> None:
    env = Env()
    granted(env, *"abcdefgh")
    answer = env.ask(lambda n: client.Why(n, "T_b"), client.WhyShown).answer
    lines = dict(answer.lines)
    assert lines["batch"].startswith("runs as one with 7 others: T(name=a) · T(name=c)")
    assert lines["batch"].endswith("and 3 more")
