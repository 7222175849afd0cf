"""The end of the attempt that runs several tasks is the end of each of them."""

from __future__ import annotations

import pytest

from flow.wire.messages import client
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Grant, Outcome
from flow.wire.states import TaskState
from flow_coordinator.core import batching
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.events import PeerUnreachable
from tests.support.batches import batchable, granted, names, submit_open
from tests.support.core_env import Env, FakeWorker

S = TaskState
#: No backoff: what failed is ready again at once.
AT_ONCE = CoreConfig(retry_count=3, retry_delay_s=0.0)


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


@pytest.mark.unread("Dispatch")
def test_failures_are_counted_by_task_not_by_batch() -> None:
    env = Env(AT_ONCE)
    env.worker(slots=0)
    env.graph = batchable("a", "b")
    env.graph.edges["b"] = ["first"]
    submit_open(env, "top")
    worker = env.worker("w", slots=2)
    a, first = sorted(worker.take(), key=lambda one: one.task_id)
    env.core.state.stopping = True  # until both are ready
    worker.end(a, outcome=Outcome.FAILED, error="no")
    worker.end(first)
    env.core.state.stopping = False
    env.wait(1.0)
    (grant,) = worker.take()
    assert sorted(names(grant)) == ["a", "b"]
    worker.end(grant, outcome=Outcome.FAILED, error="no")
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


@pytest.mark.unread("Dispatch")
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
    """Grant one batch of two tasks of run 1, one of which run 2 wants as well."""
    env.worker(slots=0)
    env.graph = batchable("a", "b")
    submit_open(env, "a", "b")
    submit_open(env, "b")
    worker = env.worker("w", slots=1)
    (grant,) = worker.take()
    worker.start(grant)
    return worker, grant


@pytest.mark.parametrize(("cancelled", "left"), [("r-1", "b"), ("T_b", "a")])
def test_cancel_of_one_member_kills_the_attempt_and_the_others_run_again(
    cancelled: str, left: str
) -> None:
    env = Env()
    worker, grant = two_runs(env)
    env.ask(lambda n: client.Cancel(n, cancelled), client.Changed)
    assert [kill.tokens for kill in env.heard(worker.peer, wire.Kill)] == [[grant.token]]
    worker.end(grant, outcome=Outcome.KILLED)
    env.check()
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


@pytest.mark.unread("Dispatch")
def test_kill_of_a_member_is_repeated_and_is_on_the_kill_list() -> None:
    env = Env()
    worker, grant = two_runs(env)
    env.ask(lambda n: client.Cancel(n, "T_b"), client.Changed)
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


@pytest.mark.unread("Kill")
def test_done_before_the_kill_counts_for_all() -> None:
    env = Env()
    worker, grant = two_runs(env)
    b = env.task("b")
    env.ask(lambda n: client.Cancel(n, "T_b"), client.Changed)
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
    env.handle(PeerUnreachable(worker.peer, wire.Dispatch(session, [grant])))
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


@pytest.mark.unread("Dispatch")
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


@pytest.mark.unread("Dispatch")
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


@pytest.mark.unread("Kill")
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
    env.ask(lambda n: client.Cancel(n, "T_b"), client.Changed)
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
