"""Ready tasks that run as one: who joins, what they hold, and that every end is everybody's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from flow.messages import client, codec
from flow.messages import worker as wire
from flow.messages.shared import Grant, Outcome, PlanChunk, Policy, unpack_params
from flow.states import TaskState
from flow_coordinator.core import batching
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.events import Unreachable
from tests.support.core_env import Env, FakeWorker, Graph, stub

S = TaskState
#: No backoff: what failed is ready again at once.
AT_ONCE = CoreConfig(retry_count=3, retry_delay_s=0.0)


def names(grant: Grant) -> list[str]:
    """Tell what a grant runs."""
    return [unpack_params(params)["name"] for params in grant.members or [grant.params]]


def batchable(*members: str, **fields: Any) -> Graph:
    """Make a top that requires tasks which may run as one."""
    policy = Policy(batched=["name"], **fields)
    graph = Graph({"top": list(members)}, dict.fromkeys(members, policy))
    graph.external.add("never")
    return graph


def submit_open(env: Env, *roots: str) -> None:
    """Submit a run that stays open, so that its tasks can be looked at when they ended."""
    env.submit(*roots, "never", wait_external_s=1e6)


def granted(env: Env, *members: str, slots: int = 1, **fields: Any) -> tuple[FakeWorker, Grant]:
    """Have these granted as one."""
    worker = env.worker(slots=slots)
    env.graph = batchable(*members, **fields)
    submit_open(env, "top")
    (grant,) = worker.take()
    assert names(grant) == list(members)
    env.check()
    return worker, grant


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


def test_tasks_of_two_runs_join_and_count_in_their_own() -> None:
    env = Env()
    env.worker(slots=0)
    env.graph = batchable("a", "b")
    env.submit("a")
    env.submit("b")
    worker = env.worker("w", slots=1)
    (grant,) = worker.take()
    assert names(grant) == ["a", "b"]
    assert [env.run(number).attempts for number in (1, 2)] == [1, 1]
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
    for name in "abc":
        env.submit(name)
    env.ask(lambda n: client.Cancel(n, "r-2"), client.Changed)
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


def test_batch_does_not_wait_for_a_slow_planner() -> None:
    env = Env()
    worker, say_rest = in_halves(env, *"abcdef")
    env.wait(batching.GATHER_S + 0.1)
    (grant,) = worker.take()
    assert names(grant) == ["a", "b"]
    env.check()
    say_rest()
    assert [names(one) for one in worker.take()] == [["c", "d", "e", "f"]]


def test_cancelled_while_others_are_planned_is_not_granted() -> None:
    env = Env()
    worker, _ = in_halves(env, *"abcdef")
    env.ask(lambda n: client.Cancel(n, "r-1"), client.Changed)
    env.wait(batching.GATHER_S + 0.1)
    assert worker.take() == []
    assert env.core.state.gathering == {}
    env.check()


# ---------------------------------------------------------------- what it holds


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


# ---------------------------------------------------------------- how it ends


def test_failure_counts_for_each_and_they_return_as_one() -> None:
    env = Env(CoreConfig(retry_count=2, retry_delay_s=10.0, retry_jitter=0.5))
    worker, grant = granted(env, "a", "b", "c")
    worker.end(grant, outcome=Outcome.FAILED, error="ValueError: no")
    assert [env.state(name) for name in "abc"] == [S.BACKOFF] * 3
    assert "one attempt ran 3 tasks" in env.run().failures[0].error
    env.check()
    env.wait(4.0)
    assert worker.take() == []
    while not (grants := worker.take()):
        worker.beat()
        env.wait(1.0)
    assert [names(one) for one in grants] == [["a", "b", "c"]]
    worker.end(*grants, outcome=Outcome.FAILED, error="ValueError: no")
    assert [env.state(name) for name in "abc"] == [S.FAILED] * 3
    assert env.state("top") == S.UPSTREAM_FAILED


def test_failures_are_counted_by_task_not_by_batch() -> None:
    env = Env(AT_ONCE)
    worker, grant = granted(env, "a")
    worker.end(grant, outcome=Outcome.FAILED, error="no")
    env.graph.edges["more"] = ["b"]
    env.graph.policies["b"] = env.graph.policies["a"]
    env.submit("more")
    env.wait(1.0)
    grants = worker.take()
    while len(names(grants[0])) == 1:
        worker.end(*grants, outcome=Outcome.KILLED)
        grants = worker.take()
    worker.end(*grants, outcome=Outcome.FAILED, error="no")
    assert [env.task(name).failures for name in "ab"] == [2, 1]


def test_crash_isolates_every_member() -> None:
    env = Env(AT_ONCE)
    worker, grant = granted(env, "a", "b", "c", slots=4)
    worker.end(grant, outcome=Outcome.CRASHED, error="SIGSEGV")
    env.wait(1.0)
    seen = []
    while grants := worker.take():
        (one,) = grants
        assert one.members == []
        assert one.alone == (one.task_id != "T_top")
        seen.append(one.task_id[2:])
        worker.end(one)
        env.check()
    assert seen == ["a", "b", "c", "top"]


def test_refused_members_are_offered_alone_elsewhere() -> None:
    env = Env()
    worker, grant = granted(env, "a", "b")
    other = env.worker("other", slots=2)
    worker.end(grant, outcome=Outcome.REFUSED, error="ImportError: no such module")
    env.wait(2.0)
    assert sorted(names(one) for one in other.take()) == [["a"], ["b"]]
    env.check()


def test_killed_released_and_recalled_batches_run_again_uncounted() -> None:
    env = Env()
    worker, grant = granted(env, "a", "b")
    for outcome in (Outcome.KILLED, Outcome.RELEASED):
        worker.end(grant, outcome=outcome)
        (grant,) = worker.take()
        assert names(grant) == ["a", "b"]
    assert [(env.task(n).failures, env.task(n).crashes) for n in "ab"] == [(0, 0)] * 2
    assert [env.task(n).attempt for n in "ab"] == [3, 3]


def test_hold_on_lost_holds_every_member() -> None:
    env = Env()
    worker, grant = granted(env, "a", "b", on_lost="hold")
    worker.start(grant)
    env.wait(100.0)
    assert [env.state(name) for name in "ab"] == [S.LOST] * 2


def test_stale_report_changes_no_member() -> None:
    env = Env()
    worker, grant = granted(env, "a", "b")
    worker.end(grant, outcome=Outcome.KILLED)
    (again,) = worker.take()
    other = FakeWorker(env, "z", 1)
    other.join()
    other.end(grant)
    assert [env.state(name) for name in "ab"] == [S.LEASED] * 2
    worker.end(again)
    assert [env.state(name) for name in "ab"] == [S.DONE] * 2


# ---------------------------------------------------------------- cancel


def two_runs(env: Env) -> tuple[FakeWorker, Grant]:
    """Grant one batch of a task of run 1 and one of run 2."""
    env.worker(slots=0)
    env.graph = batchable("a", "b")
    submit_open(env, "a")
    submit_open(env, "b")
    worker = env.worker("w", slots=1)
    (grant,) = worker.take()
    worker.start(grant)
    return worker, grant


@pytest.mark.parametrize(("cancelled", "left"), [(1, "b"), (2, "a")])
def test_cancel_of_one_member_kills_the_attempt_and_the_others_run_again(
    cancelled: int, left: str
) -> None:
    env = Env()
    worker, grant = two_runs(env)
    env.ask(lambda n: client.Cancel(n, f"r-{cancelled}"), client.Changed)
    assert [kill.tokens for kill in env.heard(worker.peer, wire.Kill)] == [[grant.token]]
    worker.end(grant, outcome=Outcome.KILLED)
    env.check()
    assert env.run(cancelled).summary is not None
    (again,) = worker.take()
    assert names(again) == [left]
    assert env.task(left).failures == 0
    worker.end(again)
    assert env.state(left) == S.DONE


def test_cancel_of_all_says_one_kill() -> None:
    env = Env()
    worker, grant = granted(env, *"abcdefgh")
    members = [env.task(name) for name in "abcdefgh"]
    worker.start(grant)
    env.ask(lambda n: client.Cancel(n, "r-1"), client.Changed)
    assert [kill.tokens for kill in env.heard(worker.peer, wire.Kill)] == [[grant.token]]
    worker.end(grant, outcome=Outcome.KILLED)
    assert {member.state for member in members} == {S.CANCELLED}


def test_kill_of_a_member_is_repeated_and_is_on_the_kill_list() -> None:
    env = Env()
    worker, grant = two_runs(env)
    env.ask(lambda n: client.Cancel(n, "r-2"), client.Changed)
    env.heard(worker.peer, wire.Kill)
    env.wait(6.0)
    worker.beat()
    assert env.heard(worker.peer, wire.Kill)
    assert worker.join(held=[grant.token]).kill == [grant.token]
    env.restart()
    env.check()
    b = env.task("b")
    assert worker.join(held=[grant.token]).kill == [grant.token]
    worker.end(grant, outcome=Outcome.KILLED)
    assert b.state == S.CANCELLED
    assert env.state("a") == S.LEASED


def test_done_before_the_kill_counts_for_all() -> None:
    env = Env()
    worker, grant = two_runs(env)
    b = env.task("b")
    env.ask(lambda n: client.Cancel(n, "r-2"), client.Changed)
    worker.end(grant)
    assert (env.state("a"), b.state) == (S.DONE, S.DONE)


# ---------------------------------------------------------------- leases and restarts


def test_silent_worker_loses_all_members() -> None:
    env = Env()
    worker, grant = granted(env, "a", "b")
    worker.start(grant)
    env.wait(100.0)
    assert [env.state(name) for name in "ab"] == [S.READY] * 2
    env.check()
    worker.join(held=[grant.token])
    (again,) = worker.take()
    assert names(again) == ["a", "b"] and again.token != grant.token


def test_join_without_the_token_gives_all_members_back() -> None:
    env = Env()
    worker, grant = granted(env, "a", "b")
    worker.join()
    env.check()
    (again,) = worker.take()
    assert names(again) == ["a", "b"] and again.token != grant.token


def test_unsent_dispatch_gives_all_members_back() -> None:
    env = Env()
    worker, grant = granted(env, "a", "b")
    s = env.core.state
    session = s.workers[worker.uid].session
    env.handle(Unreachable(worker.peer, wire.Dispatch(session, [grant])))
    assert [env.state(name) for name in "ab"] == [S.READY] * 2
    env.check()


@pytest.mark.parametrize("started", [False, True])
def test_restarted_coordinator_adopts_the_whole_batch(started: bool) -> None:
    env = Env(CoreConfig(limits={"db": 1.0}))
    worker, grant = granted(env, "a", "b", "c", resources={"db": 1.0})
    if started:
        worker.start(grant)
    env.restart()
    lease = env.core.state.leases[grant.token]
    assert [task.task_id for task in batching.tasks_of(lease)] == ["T_a", "T_b", "T_c"]
    assert env.core.state.resources.used == {"db": 1.0}
    worker.join(held=[grant.token])
    env.check()
    assert [env.state(name) for name in "abc"] == [S.RUNNING] * 3
    worker.end(grant)
    assert [env.state(name) for name in "abc"] == [S.DONE] * 3
    env.check()
    assert worker.run_all() == ["top"]


def test_batch_repeated_after_a_restart_says_the_same_members() -> None:
    env = Env()
    worker, grant = granted(env, "a", "b", "c")
    env.restart()
    again = env.core.state.leases[grant.token]
    assert batching.spell_members(again) == grant.members
    worker.join(reporting=[grant.token])
    worker.end(grant)
    assert worker.run_all() == ["top"]


# ---------------------------------------------------------------- yields


def suspended(env: Env, **edges: list[str]) -> tuple[FakeWorker, Grant]:
    """Have a batch of a and b yield x."""
    worker, grant = granted(env, "a", "b", slots=2)
    env.graph.edges.update(edges)
    worker.start(grant)
    worker.yields(grant, 1, "x")
    return worker, grant


def test_yield_of_a_batch_frees_its_slot_and_resumes_with_it() -> None:
    env = Env()
    worker, grant = suspended(env)
    assert (env.state("a"), env.state("b")) == (S.SUSPENDED, S.RUNNING)
    assert env.core.state.workers[worker.uid].used_slots == 1
    env.check()
    assert worker.run() == ["x"]
    assert [m.yields for m in env.heard(worker.peer, wire.Resume)] == [[(grant.token, 1)]]
    assert (env.state("a"), env.state("b")) == (S.RUNNING, S.RUNNING)
    env.check()
    worker.resumed(grant, 1)
    worker.end(grant)
    assert (env.state("a"), env.state("b")) == (S.DONE, S.DONE)
    env.check()


def test_suspended_batch_survives_a_restart() -> None:
    env = Env()
    worker, grant = suspended(env)
    (x,) = worker.take()
    env.restart()
    assert env.state("a") == S.SUSPENDED
    worker.join(held=[grant.token, x.token])
    env.check()
    assert (env.state("a"), env.state("b")) == (S.SUSPENDED, S.RUNNING)
    worker.end(x)
    assert env.heard(worker.peer, wire.Resume)
    worker.resumed(grant, 1)
    worker.end(grant)
    assert (env.state("a"), env.state("b")) == (S.DONE, S.DONE)
    env.check()


def test_failure_of_what_a_batch_yielded_fails_every_member_until_it_comes_back() -> None:
    env = Env()
    worker, grant = suspended(env)
    (x,) = worker.take()
    worker.end(x, outcome=Outcome.FAILED, error="no")
    assert env.heard(worker.peer, wire.Kill)
    worker.end(grant, outcome=Outcome.KILLED)
    assert (env.state("a"), env.state("b")) == (S.UPSTREAM_FAILED, S.UPSTREAM_FAILED)
    env.check()
    assert not worker.take()
    env.ask(lambda n: client.Retry(n, "T_x"), client.Changed)
    env.check()
    assert (env.state("a"), env.state("b")) == (S.PENDING, S.PENDING)
    assert worker.run() == ["x"]
    (again,) = worker.take()
    assert names(again) == ["a", "b"]


def test_what_a_batch_yielded_comes_back_before_the_kill_is_reported() -> None:
    env = Env()
    worker, grant = suspended(env)
    (x,) = worker.take()
    worker.end(x, outcome=Outcome.FAILED, error="no")
    env.ask(lambda n: client.Retry(n, "T_x"), client.Changed)
    worker.end(grant, outcome=Outcome.KILLED)
    env.check()
    assert (env.state("a"), env.state("b")) == (S.PENDING, S.LEASED)
    worker.run_all()
    assert (env.state("a"), env.state("b")) == (S.DONE, S.DONE)


def test_cancelled_member_of_a_suspended_batch_kills_it() -> None:
    env = Env()
    worker, grant = two_runs(env)
    worker.yields(grant, 1, "x")
    b = env.task("b")
    assert env.state("a") == S.SUSPENDED
    env.ask(lambda n: client.Cancel(n, "r-2"), client.Changed)
    assert [kill.tokens for kill in env.heard(worker.peer, wire.Kill)] == [[grant.token]]
    worker.end(grant, outcome=Outcome.KILLED)
    env.check()
    assert b.state == S.CANCELLED
    worker.run_all()
    assert env.state("a") == S.DONE


@pytest.mark.parametrize("known", [False, True])
def test_yielded_task_that_requires_a_member_is_a_cycle(known: bool) -> None:
    env = Env()
    if known:
        # something else has asked for it before: its edges are there when the batch yields
        env.graph = batchable("a", "b")
        env.graph.edges.update({"x": ["b"], "all": ["top", "x"]})
        worker = env.worker(slots=2)
        submit_open(env, "all")
        (grant,) = worker.take()
        worker.start(grant)
        worker.yields(grant, 1, "x")
    else:
        worker, grant = suspended(env, x=["b"])
    assert env.heard(worker.peer, wire.Kill)
    worker.end(grant, outcome=Outcome.KILLED)
    env.check()
    assert not worker.take()
    assert env.state("a") in (S.FAILED, S.UPSTREAM_FAILED)
    assert env.state("top") == S.UPSTREAM_FAILED
    assert any("cycle" in failure.error for failure in env.run().failures)


# ---------------------------------------------------------------- what people see


def test_why_names_those_it_runs_with() -> None:
    env = Env()
    granted(env, *"abcdefgh")
    answer = env.ask(lambda n: client.Why(n, "T_b"), client.WhyShown).answer
    lines = dict(answer.lines)
    assert lines["batch"].startswith("runs as one with 7 others: T(name=a) · T(name=c)")
    assert lines["batch"].endswith("and 3 more")
