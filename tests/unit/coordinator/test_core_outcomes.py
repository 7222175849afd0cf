"""What becomes of a task when an attempt ends: retries, crashes, cancels, upstream failures."""

from __future__ import annotations

import pytest

from flow.wire.messages import client, codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Grant, Outcome, Policy
from flow.wire.states import TaskState
from flow_coordinator.core import outcomes
from flow_coordinator.core.config import CoreConfig
from tests.support.core_env import Env, FakeWorker, Graph

S = TaskState


def fail_next(env: Env, worker: FakeWorker, error: str = "ValueError: x") -> None:
    """Fail what was dispatched."""
    worker.end(*worker.take(), outcome=Outcome.FAILED, error=error)


def await_backoff(env: Env, worker: FakeWorker, name: str = "a") -> float:
    """Wait until a task leaves its backoff; return how long that took."""
    extra = env.task(name).extra
    assert env.state(name) == S.BACKOFF and extra is not None
    delay_s = extra.again_at - env.now
    worker.beat()
    env.wait(delay_s - 0.001)
    assert env.state(name) == S.BACKOFF
    worker.beat()
    env.wait(0.002)
    assert env.state(name) != S.BACKOFF
    return delay_s


def test_failure_without_retries_ends_the_task_and_what_needs_it() -> None:
    env = Env()
    env.graph = Graph({"top": ["mid"], "mid": ["a"], "a": []})
    worker = env.worker()
    env.submit("top")
    fail_next(env, worker)
    assert env.ended() == 30
    assert env.run().tallies["T"][S.FAILED] == 1
    assert env.run().tallies["T"][S.UPSTREAM_FAILED] == 2


def test_retry_backoff_grows_is_capped_and_counts_attempts() -> None:
    config = CoreConfig(retry_count=6, retry_delay_s=10, retry_delay_max_s=50, retry_jitter=0)
    env = Env(config)
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    delays = []
    for _ in range(5):
        fail_next(env, worker)
        delays.append(round(await_backoff(env, worker)))
    assert delays == [10, 20, 40, 50, 50]
    (last,) = worker.take()
    assert last.attempt == 6
    worker.end(last)
    assert env.ended() == 0
    assert env.run().retried


def test_retry_jitter_stays_in_its_bounds_and_varies() -> None:
    env = Env(CoreConfig(retry_count=3, retry_delay_s=10, retry_jitter=0.2))
    names = [f"n{i}" for i in range(40)]
    env.graph = Graph({name: [] for name in names})
    worker = env.worker(slots=40)
    env.submit(*names)
    fail_next(env, worker)
    delays = []
    for name in names:
        extra = env.task(name).extra
        assert extra is not None
        delays.append(extra.again_at - env.now)
    assert 8 <= min(delays) < 9.5 and 10.5 < max(delays) <= 12
    assert len(set(delays)) > 30


@pytest.mark.parametrize(
    ("policy", "run", "setting", "attempts"),
    [(3, None, 1, 3), (None, 4, 1, 4), (2, 4, 1, 2), (None, None, 2, 2), (0, None, 5, 1)],
)
def test_retry_count_of_class_beats_run_beats_setting(
    policy: int | None, run: int | None, setting: int, attempts: int
) -> None:
    env = Env(CoreConfig(retry_count=setting, retry_delay_s=1, retry_jitter=0))
    env.graph = Graph({"a": []}, {"a": Policy(retry_count=policy)})
    worker = env.worker()
    env.submit("a", retry_count=run)
    for left in range(attempts, 0, -1):
        fail_next(env, worker)
        if left > 1:
            await_backoff(env, worker)
    assert env.ended() == 30
    assert env.run().attempts == attempts


@pytest.mark.unread("Dispatch")
def test_disable_window_forgets_old_failures() -> None:
    env = Env(CoreConfig(retry_count=2, retry_delay_s=100, retry_jitter=0))
    env.graph = Graph({"a": []}, {"a": Policy(disable_window_s=60)})
    worker = env.worker()
    env.submit("a")
    for _ in range(4):
        fail_next(env, worker)
        env.wait(30)
        worker.beat()
        env.wait(30)
        worker.beat()
        env.wait(41)
        worker.beat()
    assert env.task("a").failures == 1
    assert env.core.state.runs


def test_crash_runs_alone_next_and_the_third_disables() -> None:
    env = Env()
    env.graph = Graph({"a": [], "b": ["a"]})
    worker = env.worker()
    env.submit("b")
    for count in range(1, 4):
        (grant,) = worker.take()
        assert grant.alone == (count > 1)
        worker.end(grant, outcome=Outcome.CRASHED, error="killed by signal 9")
        if count < 3:
            assert env.task("a").crashes == count
            await_backoff(env, worker)
            worker.beat()
    assert env.ended() == 30
    assert [f.kind for f in env.run().failures] == ["crashed", "crashed", "disabled"]


@pytest.mark.parametrize(
    "outcome, told",
    [
        (Outcome.CRASHED, True),
        (Outcome.KILLED, True),
        (Outcome.FAILED, False),
        (Outcome.REFUSED, False),
        (Outcome.RELEASED, False),
    ],
)
def test_grant_says_whether_an_attempt_may_have_run_to_its_end_unheard(
    outcome: Outcome, told: bool
) -> None:
    env = Env(CoreConfig(retry_count=5))
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    (grant,) = worker.take()
    assert not grant.maybe_done
    worker.end(grant, outcome=outcome)
    env.restart()
    worker.join()
    again = next_grant(env, worker)
    assert again.maybe_done is told
    worker.end(again, outcome=Outcome.FAILED)
    third = next_grant(env, worker)
    assert third.maybe_done is told, "the first one may still have been it"
    worker.end(third)
    env.submit("a")  # what it made is gone: it is planned anew
    assert not next_grant(env, worker).maybe_done


def next_grant(env: Env, worker: FakeWorker) -> Grant:
    """Wait, through a backoff, for the only grant."""
    while not (grants := worker.take()):
        env.wait(1)
        worker.beat()
    (grant,) = grants
    return grant


def test_grant_after_a_worker_was_lost_says_that_the_work_may_be_done() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    worker = env.worker("one")
    env.submit("a")
    worker.take()
    other = FakeWorker(env, "two", 2)
    other.join(dead=[worker.uid])
    (again,) = other.take()
    assert again.maybe_done


def test_what_was_found_complete_under_its_lease_counts_as_complete() -> None:
    env = Env()
    env.graph = Graph({"a": [], "b": ["a"]})
    worker = env.worker()
    env.submit("b")
    worker.end(*worker.take(), skipped=True)
    worker.end(*worker.take())
    assert env.ended() == 0
    assert env.run().tallies["T"][S.COMPLETE] == 1
    assert env.run().tallies["T"][S.DONE] == 1


def test_crash_does_not_count_against_failures() -> None:
    env = Env(CoreConfig(retry_count=1))
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    worker.end(*worker.take(), outcome=Outcome.CRASHED, error="signal")
    assert (env.state("a"), env.task("a").failures) == (S.BACKOFF, 0)


def test_timeout_counts_as_a_failure_and_is_granted_with_its_limit() -> None:
    env = Env(CoreConfig(timeout_s=7))
    env.graph = Graph({"a": [], "b": []}, {"b": Policy(timeout_s=0)})
    worker = env.worker()
    env.submit("a", "b")
    a, b = sorted(worker.take(), key=lambda g: g.task_id)
    assert (a.timeout_s, b.timeout_s) == (7, 0)
    worker.end(a, outcome=Outcome.TIMEOUT, error="ran longer than 7 s")
    assert env.state("a") == S.FAILED
    assert env.run().failures[0].kind == "timeout"


@pytest.mark.unread("Dispatch")
@pytest.mark.parametrize("outcome", [Outcome.KILLED, Outcome.RELEASED])
def test_killed_and_released_attempts_count_as_nothing(outcome: Outcome) -> None:
    env = Env(CoreConfig(retry_count=1, crash_max=1))
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    for attempt in range(1, 5):
        (grant,) = worker.take()
        assert grant.attempt == attempt
        worker.end(grant, outcome=outcome)
    assert (env.task("a").failures, env.task("a").crashes) == (0, 0)
    assert not env.run().failures


def test_fail_fast_stops_what_has_not_ended() -> None:
    env = Env()
    env.graph = Graph({"a": [], "b": [], "c": ["b"]})
    worker = env.worker(slots=2)
    env.submit("a", "c", fail_fast=True)
    a, b = sorted(worker.take(), key=lambda g: g.task_id)
    worker.end(a, outcome=Outcome.FAILED, error="x")
    env.wait(0.1)
    (kill,) = env.heard(worker.peer, wire.Kill)
    assert kill.tokens == [b.token]
    worker.end(b, outcome=Outcome.KILLED)
    assert env.ended() == 30


def test_fail_fast_waits_while_the_failed_task_is_tried_again() -> None:
    env = Env(CoreConfig(retry_count=2))
    env.graph = Graph({"a": [], "b": []})
    worker = env.worker(slots=2)
    env.submit("a", "b", fail_fast=True)
    a, _b = sorted(worker.take(), key=lambda g: g.task_id)
    worker.end(a, outcome=Outcome.FAILED, error="x")
    env.wait(0.1)
    assert not env.heard(worker.peer, wire.Kill)


# ---------------------------------------------------------------- cancel


def cancel(env: Env, target: str) -> client.Changed:
    return env.ask(lambda n: client.Cancel(n, target), client.Changed)


def test_cancel_of_a_ready_task_takes_it_from_the_queue() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    env.worker("p", slots=0)
    env.submit("a")
    assert env.state("a") == S.READY
    assert cancel(env, "r-1").count == 1
    assert env.ended() == 50
    env.check()
    assert not env.worker().take()


def test_cancel_of_an_unplanned_run_ends_it_at_once() -> None:
    env = Env()
    env.graph = Graph({"a": ["b"]})
    env.submit("a")
    cancel(env, "r-1")
    assert env.ended() == 50
    env.worker()
    assert not env.core.state.tasks.get("default")


def test_cancel_while_its_roots_are_asked_leaves_nothing_behind() -> None:
    env = Env()
    env.graph = Graph({"a": ["b"], "b": []})
    env.plan_by_hand = True
    worker = env.worker()
    env.submit("a")
    cancel(env, "r-1")
    assert env.ended() == 50
    env.plan_by_hand = False
    env.turn()
    assert not env.core.state.tasks.get("default")
    assert not env.core.state.plans
    assert env.heard(worker.peer, wire.PlanEnd)


@pytest.mark.parametrize("started", [False, True])
def test_cancel_of_a_held_task_kills_it_first(started: bool) -> None:
    env = Env()
    env.graph = Graph({"a": [], "b": ["a"]})
    worker = env.worker()
    env.submit("b")
    (grant,) = worker.take()
    if started:
        worker.start(grant)
    cancel(env, "r-1")
    env.wait(0)
    assert env.run().summary is None
    (kill,) = env.heard(worker.peer, wire.Kill)
    assert kill.tokens == [grant.token]
    env.wait(6)
    worker.beat()
    assert env.heard(worker.peer, wire.Kill), "said again until it is reported"
    worker.end(grant, outcome=Outcome.KILLED)
    assert env.ended() == 50
    env.check()


@pytest.mark.unread("Kill")
def test_cancel_too_late_counts_the_result() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    (grant,) = worker.take()
    cancel(env, "T_a")
    worker.end(grant)
    assert env.ended() == 0


def test_cancel_of_a_suspended_task_kills_its_generator_and_drops_its_yield() -> None:
    env = Env()
    env.graph = Graph({"gen": [], "dep": []})
    worker = env.worker(slots=1)
    env.submit("gen")
    (grant,) = worker.take()
    worker.yields(grant, 1, "dep")
    (dep,) = worker.take()
    cancel(env, "r-1")
    env.wait(0)
    tokens = [t for kill in env.heard(worker.peer, wire.Kill) for t in kill.tokens]
    assert sorted(tokens) == sorted([grant.token, dep.token])
    worker.end(grant, dep, outcome=Outcome.KILLED)
    assert env.ended() == 50
    env.check()


def test_cancel_of_a_task_in_backoff_ends_it() -> None:
    env = Env(CoreConfig(retry_count=3))
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    fail_next(env, worker)
    cancel(env, "r-1")
    assert env.ended() == 50
    env.wait(20)
    env.check()


@pytest.mark.unread("Kill")
def test_cancel_of_a_lost_workers_task_ends_when_its_lease_does() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    worker.take()
    cancel(env, "r-1")
    env.wait(100)
    assert env.ended() == 50


def test_cancel_leaves_what_another_run_needs() -> None:
    env = Env()
    env.graph = Graph({"a": ["shared"], "b": ["shared"], "shared": []})
    worker = env.worker()
    env.submit("a")
    env.submit("b")
    cancel(env, "r-1")
    assert env.ended(1) == 50
    summary = env.run(1).summary
    assert summary is not None and {c.name: c.count for c in summary.categories} == {"cancelled": 2}
    assert worker.run_all() == ["shared", "b"]
    assert env.ended(2) == 0
    env.check()


@pytest.mark.unread("Kill")
def test_cancel_of_a_task_that_a_later_run_joined_runs_it_again() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    (grant,) = worker.take()
    cancel(env, "r-1")
    env.submit("a")
    assert env.ended(1) == 50, "the cancelled run does not wait for it"
    worker.end(grant, outcome=Outcome.KILLED)
    assert worker.run() == ["a"]
    assert env.ended(2) == 0
    env.check()


def test_cancel_of_one_task_fails_what_needs_it() -> None:
    env = Env()
    env.graph = Graph({"top": ["a", "b"], "a": [], "b": []})
    worker = env.worker(slots=1)
    env.submit("top")
    (first,) = worker.take()
    other = "b" if first.task_id == "T_a" else "a"
    assert cancel(env, f"T_{other}").count == 1
    worker.end(first)
    assert env.ended() == 50


# ---------------------------------------------------------------- retry and revival


def retry(env: Env, target: str) -> client.Changed:
    return env.ask(lambda n: client.Retry(n, target), client.Changed)


def hold_open(env: Env) -> FakeWorker:
    """A run with a failed task ``a`` under ``b``, kept open by ``long``."""
    env.graph = Graph({"b": ["a"], "a": [], "long": []})
    worker = env.worker(slots=2)
    env.submit("b", "long")
    a, _long = sorted(worker.take(), key=lambda g: g.task_id)
    worker.end(a, outcome=Outcome.FAILED, error="x")
    assert env.state("b") == S.UPSTREAM_FAILED
    return worker


def test_retry_of_a_task_revives_what_failed_because_of_it() -> None:
    env = Env()
    worker = hold_open(env)
    assert retry(env, "T_a").count == 1
    assert env.task("a").failures == 0
    assert worker.run_all() == ["a", "b"]
    env.check()


def test_retry_of_an_open_run_runs_what_failed() -> None:
    env = Env()
    worker = hold_open(env)
    assert retry(env, "r-1").count == 1
    assert worker.run_all() == ["a", "b"]
    assert retry(env, "r-1").count == 0


def test_retry_of_an_ended_run_starts_its_roots_as_a_new_one() -> None:
    env = Env()
    env.graph = Graph({"b": ["a"], "a": []})
    worker = env.worker()
    env.submit("b")
    fail_next(env, worker)
    assert env.ended(1) == 30
    retry(env, "r-1")
    assert worker.run_all() == ["a", "b"]
    assert env.ended(2) == 0


def test_retry_forgives_backoff() -> None:
    env = Env(CoreConfig(retry_count=3, retry_delay_s=500))
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    fail_next(env, worker)
    assert retry(env, "T_a").count == 1
    assert worker.run() == ["a"]


def test_retry_in_backoff_revives_nobody_whose_other_requirement_failed() -> None:
    env = Env(CoreConfig(retry_delay_s=500))
    env.graph = Graph(
        {"top": ["a", "b"], "a": [], "b": []},
        {"a": Policy(retry_count=1), "b": Policy(retry_count=5)},
    )
    worker = env.worker()
    env.submit("top")
    fail_next(env, worker)
    assert (env.state("a"), env.state("b")) == (S.FAILED, S.BACKOFF)
    retry(env, "T_b")
    assert env.state("top") == S.UPSTREAM_FAILED
    assert worker.run() == ["b"]
    assert env.ended() == 30


def test_retry_of_a_task_cancelled_before_it_was_planned_plans_it() -> None:
    env = Env()
    env.graph = Graph({"top": ["mid", "long"], "mid": ["low"], "low": [], "long": []})
    env.plan_by_hand = True
    worker = env.worker()
    env.submit("top")
    (plan,) = env.heard(worker.peer, wire.Plan)
    few = wire.Plan(plan.session, plan.request, plan.stubs, 1)
    body = codec.encode_chunk(env.graph.answer(few, worker.uid))
    worker.say(wire.Planned(worker.session, plan.request, 0, True, body))
    assert env.state("mid") == S.UNPLANNED
    cancel(env, "T_mid")
    env.plan_by_hand = False
    retry(env, "T_mid")
    assert sorted(worker.run_all()) == ["long", "low", "mid", "top"]
    assert env.ended() == 0


def test_retry_of_what_succeeded_does_nothing() -> None:
    env = Env()
    env.graph = Graph({"a": [], "b": ["a"]})
    worker = env.worker()
    env.submit("b")
    worker.run()
    assert retry(env, "T_a").count == 0
    assert worker.run_all() == ["b"]


def test_upstream_failed_task_of_another_run_is_revived_by_its_new_plan() -> None:
    env = Env()
    worker = hold_open(env)
    env.submit("a")
    assert env.state("b") == S.PENDING
    assert worker.run_all() == ["a", "b"]
    env.check()


def test_failures_kept_are_bounded() -> None:
    env = Env()
    names = [f"n{i}" for i in range(outcomes.FAILURES_MAX + 20)]
    env.graph = Graph({name: [] for name in names})
    worker = env.worker(slots=len(names))
    env.submit(*names)
    for grant in worker.take():
        worker.end(grant, outcome=Outcome.FAILED, error="e" * 20_000, trace="t" * 20_000)
    run = env.run()
    assert len(run.failures) == outcomes.FAILURES_MAX
    assert len(run.failures[0].error) == outcomes.TRACE_CHARACTERS_MAX
    assert len(run.failures[0].trace) == outcomes.TRACE_CHARACTERS_MAX


@pytest.mark.parametrize(
    ("of_the_class", "setting", "failures"),
    [(None, None, 5), (60.0, None, 3), (None, 60.0, 3), (60.0, 1000.0, 3), (0.0, None, 1)],
)
def test_disable_hard_timeout_ends_what_fails_so_long_after_the_first_time(
    of_the_class: float | None, setting: float | None, failures: int
) -> None:
    config = CoreConfig(
        retry_delay_s=30, retry_delay_max_s=30, retry_jitter=0, disable_hard_timeout_s=setting
    )
    env = Env(config)
    policy = Policy(retry_count=5, disable_hard_timeout_s=of_the_class)
    env.graph = Graph({"a": []}, {"a": policy})
    worker = env.worker()
    env.submit("a")
    for left in range(failures, 0, -1):
        fail_next(env, worker)
        if left > 1:
            await_backoff(env, worker)
    assert env.ended() == 30
    (failure,) = [one for one in env.run().failures if one.again_in_s < 0]
    assert failure.kind == "failed"
    assert ("no more attempts: 60 s since the first" in failure.error) == (failures == 3)


def test_disable_hard_timeout_counts_from_the_first_crash_too_and_again_after_a_retry() -> None:
    env = Env(CoreConfig(crash_max=9, retry_delay_s=30, retry_jitter=0))
    env.graph = Graph({"a": []}, {"a": Policy(disable_hard_timeout_s=20)})
    worker = env.worker()
    env.submit("a")
    for again in (True, False):
        (grant,) = worker.take()
        worker.end(grant, outcome=Outcome.CRASHED, error="killed by signal 9")
        if again:
            await_backoff(env, worker)
            worker.beat()
    assert env.ended() == 30
    assert "disable_hard_timeout = 20" in env.run().failures[-1].error
    env.submit("a")
    (grant,) = worker.take()
    worker.end(grant, outcome=Outcome.CRASHED, error="killed by signal 9")
    assert env.state("a") == S.BACKOFF
