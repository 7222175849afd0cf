"""A coordinator that starts again from its store (rule C5)."""

from __future__ import annotations

import msgspec
import pytest

from flow.wire.messages import client, codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Grant, Outcome, Policy, Timing, Verdict
from flow.wire.states import RunState, TaskState
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.events import Stopping
from tests.support.core_env import Env, FakeWorker, Graph

S = TaskState
TERM_S = Timing().term_s


def one_running(env: Env, name: str = "a", **policy: object) -> tuple[FakeWorker, Grant]:
    """A worker that runs one task."""
    env.graph = Graph({name: []}, {name: Policy(**policy)} if policy else None)  # type: ignore[arg-type]
    worker = env.worker()
    env.submit(name)
    (grant,) = worker.take()
    worker.start(grant)
    return worker, grant


def test_restart_grants_nothing_again_before_the_term_is_over() -> None:
    env = Env()
    worker, _ = one_running(env)
    env.restart()
    other = env.worker("b")
    env.wait(TERM_S - 0.01)
    assert not other.take()
    assert env.state("a") == S.LEASED
    other.beat()
    env.wait(0.02)
    (again,) = other.take()
    assert again.attempt == 2
    assert worker.uid not in env.store.disk.workers
    env.check()


def test_restart_releases_at_once_what_a_joining_worker_does_not_hold() -> None:
    env = Env()
    worker, old = one_running(env)
    env.restart()
    worker.join()
    (again,) = worker.take()
    assert again.token != old.token and again.token.split(".")[1] == "2"
    env.check()


def test_restart_adopts_what_its_worker_still_runs() -> None:
    env = Env()
    worker, grant = one_running(env)
    env.restart()
    welcome = worker.join(held=[grant.token])
    assert welcome.kill == []
    assert env.state("a") == S.RUNNING
    assert not worker.take()
    worker.end(grant)
    assert env.ended() == 0
    env.check()


def test_restart_accepts_a_report_that_waited_for_it() -> None:
    env = Env()
    worker, grant = one_running(env)
    env.restart()
    worker.join(reporting=[grant.token])
    worker.end(grant)
    (rack,) = env.heard(worker.peer, wire.Rack)
    assert rack.verdicts == [(grant.token, Verdict.COMMITTED)]
    assert env.ended() == 0


def test_restart_does_not_start_again_what_was_acknowledged() -> None:
    env = Env()
    env.graph = Graph({"a": ["b"], "b": []})
    worker = env.worker()
    env.submit("a")
    assert worker.run() == ["b"]
    env.restart()
    assert env.state("b") == S.DONE
    worker.join()
    assert worker.run_all() == ["a"]
    assert env.ended() == 0


def test_restart_keeps_a_longer_term_until_its_leases_are_over() -> None:
    env = Env(CoreConfig(extend_s=300))
    one_running(env)
    env.handle(Stopping())
    env.turn()
    assert [m.lease_s for m in env.heard(b"peer-a", wire.Extend)] == [300]
    for _ in range(2):
        env.restart()
        env.wait(200)
        assert env.state("a") == S.LEASED
    env.wait(300 * 1.01 + 2 - 200 + 0.1)
    assert env.state("a") == S.READY
    assert float(env.store.disk.meta["term_s"]) == pytest.approx(TERM_S)
    env.restart()
    env.check()


def test_restart_with_a_shorter_profile_waits_for_the_stored_term() -> None:
    env = Env()
    one_running(env)
    env.restart(CoreConfig(timing=Timing(1, 10, 2, 1)))
    env.wait(TERM_S - 0.1)
    assert env.state("a") == S.LEASED
    env.wait(0.2)
    assert env.state("a") == S.READY
    assert float(env.store.disk.meta["term_s"]) == pytest.approx(11.1)


def test_restart_with_a_shorter_profile_keeps_the_stored_term_until_the_worker_knows() -> None:
    """WELCOME may be lost: a worker whose JOIN arrived may still count on the longer lease."""
    short = CoreConfig(timing=Timing(1, 10, 2, 1))
    env = Env()
    worker, grant = one_running(env)
    env.restart(short)
    worker.join(held=[grant.token])
    env.restart(short)
    worker.join(held=[grant.token])
    env.wait(TERM_S - 0.1)
    assert env.state("a") == S.RUNNING
    env.wait(0.2)
    assert env.state("a") == S.READY
    env.check()


def test_restart_with_a_shorter_profile_ends_the_stored_term_with_a_heartbeat() -> None:
    env = Env()
    worker, grant = one_running(env)
    env.restart(CoreConfig(timing=Timing(1, 10, 2, 1)))
    worker.join(held=[grant.token])
    worker.beat()
    assert float(env.store.disk.meta["plain_term_s"]) == pytest.approx(11.1)
    env.wait(11.2)
    assert env.state("a") == S.READY
    env.check()


def test_stop_is_said_until_every_worker_knows_it() -> None:
    """What is said last may be lost with the connection."""
    env = Env()
    told, deaf = env.worker("told"), env.worker("deaf")
    env.handle(Stopping())
    env.turn()
    told.say(wire.Extended(told.session))
    assert not env.core.may_end
    told.beat()
    deaf.beat()
    assert len(env.heard(told.peer, wire.Extend)) == 1
    assert len(env.heard(deaf.peer, wire.Extend)) == 2
    late = env.worker("late")
    assert len(env.heard(late.peer, wire.Extend)) == 1
    late.say(wire.Extended(late.session))
    assert not env.core.may_end
    deaf.say(wire.Drained(deaf.session))
    assert env.core.may_end


@pytest.mark.unread("Extend")
def test_restart_grants_nothing_while_stopping() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.handle(Stopping())
    env.submit("a")
    assert not worker.take()


def test_restart_keeps_counts_waits_order_and_resources() -> None:
    env = Env(CoreConfig(limits={"db": 1}))
    policy = Policy(resources={"db": 1})
    env.graph = Graph(
        {"top": ["x", "y"], "x": ["deep"], "y": ["deep"], "deep": [], "other": []},
        {"deep": policy, "other": policy},
    )
    worker = env.worker(slots=4)
    env.submit("top", "other")
    (held,) = worker.take()
    before = {r.id: r.tallies for r in env.core.state.runs.values()}
    env.restart()
    after = {r.id: r.tallies for r in env.core.state.runs.values()}
    assert after == before
    assert env.core.state.resources.used == {"db": 1.0}
    assert env.task("top").waits == 2 and env.task("x").waits == 1
    other = env.worker("b", slots=4)
    assert not other.take(), "the resource is held by the stored lease"
    worker.join(held=[held.token])
    worker.end(held)
    ran = worker.run_all() + other.run_all() + worker.run_all() + other.run_all()
    assert sorted([held.task_id[2:], *ran]) == ["deep", "other", "top", "x", "y"]
    assert env.ended() == 0
    env.check()


def test_restart_keeps_priorities_of_tasks_and_runs() -> None:
    env = Env()
    env.graph = Graph(
        {"top": ["low"], "low": [], "a": [], "b": []},
        {"top": Policy(priority=5), "b": Policy(priority=-1)},
    )
    env.worker("p", slots=0)
    env.submit("a")
    env.submit("b", "top", priority=2)
    env.restart()
    assert {n: env.task(n).priority for n in ("top", "low", "a", "b")} == {
        "top": 7,
        "low": 7,
        "a": 0,
        "b": 1,
    }
    assert env.worker(slots=1).run_all() == ["low", "top", "b", "a"]


def test_restart_keeps_limits_and_names_that_workers_declare() -> None:
    env = Env(CoreConfig(limits={"db": 1}))
    env.ask(lambda n: client.SetResource(n, "db", 3), client.Changed)
    env.worker("gpu", capacity={"gpu": 1})
    env.restart()
    assert env.core.state.resources.limit("db") == 3
    assert env.core.state.resources.limit("gpu") is None, "not one for the whole cluster"


def test_restart_finds_ready_tasks_again_that_were_given_back() -> None:
    env = Env()
    env.graph = Graph({"a": [], "b": []})
    worker = env.worker(slots=1)
    env.submit("a", "b")
    (grant,) = worker.take()
    worker.end(grant, outcome=Outcome.RELEASED)
    env.restart()
    env.check()
    worker.join()
    ran = [name for _ in range(3) for name in worker.run()]
    assert sorted(set(ran)) == ["a", "b"]


def test_restart_before_planning_plans_again() -> None:
    env = Env()
    env.graph = Graph({"a": ["b"], "b": []})
    env.submit("a")
    env.restart()
    assert env.worker().run_all() == ["b", "a"]
    assert env.ended() == 0


def test_restart_between_answers_asks_for_what_was_only_named() -> None:
    env = Env()
    env.graph = Graph({"a": ["b"], "b": ["c"], "c": []})
    env.plan_by_hand = True
    worker = env.worker()
    env.submit("a")
    (plan,) = env.heard(worker.peer, wire.Plan)
    few = msgspec.structs.replace(plan, expand_max=1)
    body = codec.encode_chunk(env.graph.answer(few, worker.uid))
    worker.say(wire.Planned(worker.session, plan.request, 0, False, body))
    env.restart()
    env.plan_by_hand = False
    worker.join()
    assert worker.run_all() == ["c", "b", "a"]


def test_restart_of_a_task_planned_afresh_does_not_double_its_requirements() -> None:
    env = Env()
    env.graph = Graph({"a": ["b"], "b": []})
    worker = env.worker()
    env.submit("a", "keep")
    env.graph.edges["keep"] = []
    worker.end(*worker.take())
    worker.end(*worker.take())
    env.submit("a")
    env.restart()
    assert env.task("a").upstream == (env.task("b"),)
    worker.join()
    worker.run_all()
    assert env.ended(2) == 0


def test_restart_keeps_failures_backoff_and_what_is_left_of_the_budget() -> None:
    env = Env(CoreConfig(retry_count=3, retry_delay_s=10, retry_jitter=0))
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    worker.end(*worker.take(), outcome=Outcome.FAILED, error="ValueError: one", trace="x" * 100)
    env.wait(10.1)
    worker.beat()
    worker.end(*worker.take(), outcome=Outcome.FAILED, error="ValueError: two")
    env.restart()
    assert (env.state("a"), env.task("a").failures) == (S.BACKOFF, 2)
    worker.join()
    env.wait(19.9)
    worker.beat()
    assert not worker.take()
    env.wait(0.2)
    (third,) = worker.take()
    assert third.attempt == 3
    worker.end(third, outcome=Outcome.FAILED, error="ValueError: three")
    assert env.ended() == 30


def test_restart_counts_disable_hard_timeout_from_its_own_start() -> None:
    env = Env(CoreConfig(retry_delay_s=30, retry_delay_max_s=30, retry_jitter=0))
    worker, grant = one_running(env, retry_count=9, disable_hard_timeout_s=20)
    worker.end(grant, outcome=Outcome.FAILED, error="boom")
    env.restart()
    worker.join()
    env.wait(31)
    worker.beat()
    (grant,) = worker.take()
    worker.end(grant, outcome=Outcome.FAILED, error="boom")
    assert env.ended() == 30


def test_restart_keeps_the_verdict_of_what_failed_before() -> None:
    env = Env(CoreConfig(crash_max=1))
    env.graph = Graph({"bad": [], "good": []})
    worker = env.worker(slots=2)
    env.submit("bad", "good")
    bad, good = sorted(worker.take(), key=lambda g: g.task_id)
    worker.end(bad, outcome=Outcome.CRASHED, error="signal 11")
    env.restart()
    worker.join(held=[good.token])
    worker.end(good)
    assert env.ended() == 30
    summary = env.run().summary
    assert summary is not None and summary.causes == [(1, "signal 11", "")]


def test_restart_isolates_a_crashed_attempt_still() -> None:
    env = Env()
    env.graph = Graph({"bad": [], "x": []})
    worker = env.worker(slots=2)
    env.submit("bad")
    worker.end(*worker.take(), outcome=Outcome.CRASHED, error="signal 11")
    env.wait(3)
    worker.beat()
    (alone,) = worker.take()
    assert alone.alone
    env.restart()
    worker.join(held=[alone.token])
    env.submit("x")
    assert not worker.take(), "nothing else beside the isolated attempt"
    worker.end(alone)
    assert worker.run() == ["x"]


def test_restart_while_suspended_continues_the_generator() -> None:
    env = Env()
    env.graph = Graph({"gen": [], "dep": []})
    worker = env.worker(slots=1)
    env.submit("gen")
    (gen,) = worker.take()
    worker.start(gen)
    worker.yields(gen, 1, "dep")
    env.restart()
    assert env.state("gen") == S.SUSPENDED
    assert worker.join(held=[gen.token]).kill == []
    assert worker.run() == ["dep"]
    (resume,) = env.heard(worker.peer, wire.Resume)
    assert resume.yields == [(gen.token, 1)]
    env.restart()
    worker.join(held=[gen.token])
    assert env.core.state.workers[worker.uid].used_slots == 1
    env.wait(6)
    worker.beat()
    assert env.heard(worker.peer, wire.Resume)[-1].yields == [(gen.token, 1)]
    worker.yields(gen, 1, "dep")
    assert env.heard(worker.peer, wire.Rack)[-1].yields == [(gen.token, 1)]
    worker.end(gen)
    assert env.ended() == 0
    env.check()


def test_restart_of_a_released_generator_runs_again_from_the_top() -> None:
    env = Env()
    env.graph = Graph({"gen": [], "dep": []})
    worker = env.worker(slots=1)
    env.submit("gen")
    (gen,) = worker.take()
    worker.yields(gen, 1, "dep")
    env.restart()
    worker.join()
    assert env.state("gen") == S.PENDING
    assert worker.run() == ["dep"]
    (again,) = worker.take()
    assert (again.task_id, again.attempt) == ("T_gen", 2)


def test_restart_keeps_a_cancel_of_what_was_running() -> None:
    env = Env()
    worker, grant = one_running(env)
    env.ask(lambda n: client.Cancel(n, "r-1"), client.Changed)
    env.restart()
    assert worker.join(held=[grant.token]).kill == [grant.token]
    worker.end(grant, outcome=Outcome.KILLED)
    assert env.ended() == 50
    assert env.run().state == RunState.CANCELLED


def test_restart_keeps_a_cancel_of_one_running_task() -> None:
    env = Env()
    worker, grant = one_running(env)
    env.ask(lambda n: client.Cancel(n, "T_a"), client.Changed)
    env.restart()
    assert worker.join(held=[grant.token]).kill == [grant.token]
    worker.end(grant, outcome=Outcome.KILLED)
    assert env.ended() == 50


def test_restart_keeps_a_possible_start_of_a_task_that_is_held_when_lost() -> None:
    env = Env()
    one_running(env, on_lost="hold")
    env.restart()
    env.worker("b")
    env.wait(TERM_S + 0.1)
    assert env.ended() == 30
    (failure,) = env.run().failures
    assert failure.kind == "lost"


@pytest.mark.unread("Dispatch")
def test_restart_grants_nothing_ahead_behind_an_adopted_attempt() -> None:
    env = Env()
    worker, grant = one_running(env)
    env.restart()
    worker.join(held=[grant.token])
    env.core.state.family("default", "mod", "T").mean_run_s = 0.0
    names = [f"n{i}" for i in range(50)]
    env.graph = Graph({name: [] for name in names})
    env.submit(*names)
    assert env.core.state.workers[worker.uid].long == 1


def test_restart_remembers_only_workers_that_hold_something() -> None:
    env = Env()
    one_running(env)
    env.worker("idle")
    env.restart()
    env.turn()
    assert list(env.core.state.known) == ["uid-a"]
    assert list(env.store.disk.workers) == ["uid-a"]


def test_restart_shows_ended_runs_and_knows_their_keys() -> None:
    env = Env()
    worker, grant = one_running(env)
    worker.end(grant)
    env.restart()
    (row,) = env.ask(lambda n: client.ListRuns(n), client.Runs).runs
    assert (row.run, row.state, row.done) == ("r-1", "succeeded", 1)
    env.request = 0
    env.submit("a")
    assert len(env.store.disk.runs) == 1, "the same key starts no second run"


def test_restart_never_gives_out_a_token_or_number_again() -> None:
    env = Env()
    worker, first = one_running(env)
    worker.end(first)
    env.restart()
    worker.join()
    env.graph = Graph({"z": []})
    env.submit("z")
    (second,) = worker.take()
    assert second.token != first.token
    assert env.task("z").number > 1
    assert env.run(2).number == 2


def slow_under_failed_top(env: Env) -> tuple[FakeWorker, Grant]:
    """``top`` has failed because of ``bad`` while ``slow``, which it needs too, still runs."""
    env.graph = Graph({"top": ["bad", "slow"], "bad": [], "slow": []})
    worker = env.worker(slots=2)
    env.submit("top", retry_count=0)
    bad, slow = sorted(worker.take(), key=lambda grant: grant.task_id)
    worker.start(slow)
    worker.end(bad, outcome=Outcome.FAILED)
    assert env.state("top") == S.UPSTREAM_FAILED
    return worker, slow


def test_restart_while_a_task_is_planned_again_keeps_what_it_needed() -> None:
    env = Env()
    worker, slow = slow_under_failed_top(env)
    env.plan_by_hand = True
    env.submit("top")
    (plan,) = env.heard(worker.peer, wire.Plan)
    named = msgspec.structs.replace(env.graph.answer(plan, worker.uid), specs=[], edges=[])
    body = codec.encode_chunk(named)
    worker.say(wire.Planned(worker.session, plan.request, 0, False, body))
    assert env.state("top") == S.UNPLANNED
    env.restart()
    assert env.state("top") == S.UNPLANNED
    assert env.state("slow") == S.LEASED
    env.plan_by_hand = False
    assert worker.join(held=[slow.token]).kill == []
    worker.end(slow)
    assert worker.run_all() == ["bad", "top"]
    assert env.ended(2) == 0
    env.check()


def test_restart_while_planning_keeps_what_is_done_and_what_failed() -> None:
    """``a`` and ``b`` run before the answer that says who needs them is complete."""
    env = Env()
    env.graph = Graph({"top": ["a", "b"], "a": [], "b": []}, {"b": Policy(retry_count=3)})
    worker = env.worker(slots=2)
    env.plan_by_hand = True
    env.submit("top")
    (plan,) = env.heard(worker.peer, wire.Plan)
    whole = env.graph.answer(plan, worker.uid)
    early = [spec for spec in whole.specs if spec.index > 0]
    part = msgspec.structs.replace(whole, specs=early, edges=[])
    worker.say(wire.Planned(worker.session, plan.request, 0, False, codec.encode_chunk(part)))
    a, b = sorted(worker.take(), key=lambda grant: grant.task_id)
    worker.end(a)
    worker.end(b, outcome=Outcome.FAILED)
    env.restart()
    assert (env.state("a"), env.state("b")) == (S.DONE, S.BACKOFF)
    assert env.task("b").failures == 1
    env.plan_by_hand = False
    worker.join()
    while env.state("b") == S.BACKOFF:
        env.wait(1.0)
        worker.beat()
    assert worker.run_all() == ["b", "top"]
    assert env.ended() == 0
    env.check()


def test_restart_ends_the_lease_of_a_task_without_a_run() -> None:
    env = Env()
    worker, slow = slow_under_failed_top(env)
    rows = env.store.disk.tasks
    for number, row in rows.items():
        rows[number] = (row[0], 99, *row[2:6], b"")
    env.restart()
    assert worker.join(held=[slow.token]).kill == [slow.token]
    worker.end(slow, outcome=Outcome.KILLED)
    assert worker.run_all() == []
    env.check()


def test_task_is_stored_under_a_run_that_goes_on() -> None:
    env = Env()
    one_running(env)
    env.submit("a")
    number = env.task("a").number
    assert env.store.disk.tasks[number][1] == 1
    env.ask(lambda n: client.Cancel(n, "r-1"), client.Changed)
    assert env.store.disk.tasks[number][1] == 2
