"""The ready queue and dispatch: what is granted, where, and in which order."""

from __future__ import annotations

import pytest

from flow.wire.messages import client
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Outcome, Policy
from flow.wire.states import TaskState
from flow_coordinator.core import dispatch
from flow_coordinator.core.config import CoreConfig
from tests.support.core_env import Env, Graph

S = TaskState


def flat(env: Env, *names: str, **policies: Policy) -> None:
    """Roots without requirements."""
    env.graph = Graph({name: [] for name in names}, policies)


def measured(env: Env, run_s: float) -> None:
    """Make the family known as this quick."""
    env.core.state.family("default", "mod", "T").mean_run_s = run_s


def test_priority_higher_goes_first_and_negative_last() -> None:
    env = Env()
    flat(env, "a", "b", "c", a=Policy(priority=-1), c=Policy(priority=2))
    env.submit("a", "b", "c")
    worker = env.worker(slots=1)
    assert worker.run_all() == ["c", "b", "a"]
    env.check()


def test_priority_positive_waiter_raises_its_requirements() -> None:
    env = Env()
    env.graph = Graph(
        {"top": ["low"], "low": ["deep"], "other": []},
        {"top": Policy(priority=5), "low": Policy(priority=-3), "other": Policy(priority=1)},
    )
    env.submit("other", "top")
    worker = env.worker(slots=1)
    assert worker.run_all() == ["deep", "low", "top", "other"]


def test_priority_negative_waiter_lowers_nothing() -> None:
    env = Env()
    env.graph = Graph(
        {"top": ["low"], "low": [], "other": []},
        {"top": Policy(priority=-5), "low": Policy(priority=-3), "other": Policy(priority=-1)},
    )
    env.submit("other", "top")
    worker = env.worker(slots=1)
    assert worker.run_all() == ["other", "low", "top"]


def test_priority_of_later_waiter_reorders_what_is_ready() -> None:
    env = Env()
    env.graph = Graph(
        {"a": [], "b": [], "c": [], "top": ["c"]}, {"top": Policy(priority=5), "a": Policy()}
    )
    worker = env.worker(slots=1)
    env.submit("a", "b", "c")
    env.submit("top")
    (first,) = worker.take()
    assert first.task_id == "T_a"
    worker.end(first)
    assert worker.run_all() == ["c", "top", "b"]
    env.check()


@pytest.mark.unread("Dispatch")
def test_priority_of_one_item_does_not_leak_to_requirements_of_another() -> None:
    env = Env()
    env.graph = Graph({"a": ["a1"], "b": ["b1"]}, {"a": Policy(priority=9)})
    env.submit("a", "b")
    env.worker(slots=1)
    assert env.task("a1").priority == 9
    assert env.task("b1").priority == 0


@pytest.mark.unread("Dispatch")
def test_fair_share_small_run_does_not_wait_for_large_one() -> None:
    env = Env()
    big = [f"big{i}" for i in range(20)]
    small = [f"small{i}" for i in range(4)]
    flat(env, *big, *small)
    env.submit(*big)
    env.worker("planner", slots=1)
    env.submit(*small)
    worker = env.worker("b", slots=1)
    order: list[str] = []
    while more := worker.run():
        order.extend(more)
    assert max(order.index(name) for name in small) < 10
    env.check()


def test_age_decides_between_equals() -> None:
    env = Env()
    flat(env, "a", "b", "c")
    env.submit("a", "b", "c")
    assert env.worker(slots=1).run_all() == ["a", "b", "c"]


@pytest.mark.unread("Dispatch")
def test_queue_new_heads_leave_nothing_behind() -> None:
    env = Env()
    names = [f"n{i}" for i in range(50)]
    flat(env, "base", *names, **{name: Policy(priority=1) for name in names})
    env.worker("p", slots=0)
    env.submit("base")
    worker = env.worker(slots=1)
    (base,) = worker.take()
    flat(env, "base2", *names, **{name: Policy(priority=1) for name in names})
    env.submit("base2")
    for name in names:
        env.submit(name)
        if name == "n0":
            worker.end(base)
        worker.run()
    assert len(env.core.state.ready._open) < 10


def test_cluster_resource_limits_what_runs_at_once() -> None:
    env = Env(CoreConfig(limits={"db": 2}))
    names = ["a", "b", "c"]
    flat(env, *names, **dict.fromkeys(names, Policy(resources={"db": 1})))
    worker = env.worker(slots=10)
    env.submit(*names)
    grants = worker.take()
    assert len(grants) == 2
    env.check()
    worker.end(grants[0])
    assert len(worker.take()) == 1
    env.check()


def test_undeclared_resource_has_a_limit_of_one() -> None:
    env = Env()
    flat(env, "a", "b", a=Policy(resources={"x": 1}), b=Policy(resources={"x": 1}))
    worker = env.worker(slots=4)
    env.submit("a", "b")
    assert len(worker.take()) == 1


def test_worker_capacity_is_taken_where_it_is_declared() -> None:
    env = Env()
    flat(env, "a", "b", "c", **dict.fromkeys("abc", Policy(resources={"gpu": 1})))
    env.worker("plain", slots=4)
    gpu = env.worker("gpu", slots=4, capacity={"gpu": 2})
    env.submit("a", "b", "c")
    first = gpu.take()
    assert len(first) == 2
    gpu.end(first[0])
    assert len(gpu.take()) == 1
    assert not env.heard(b"peer-plain", wire.Dispatch)
    env.check()


def test_resource_of_cluster_and_worker_takes_from_both() -> None:
    env = Env(CoreConfig(limits={"gpu": 3}))
    names = list("abcdef")
    flat(env, *names, **dict.fromkeys(names, Policy(resources={"gpu": 1})))
    one = env.worker("one", slots=4, capacity={"gpu": 2})
    two = env.worker("two", slots=4, capacity={"gpu": 2})
    env.submit(*names)
    assert len(one.take()) + len(two.take()) == 3


def test_worker_capacity_waits_for_a_slot_that_a_plain_task_holds() -> None:
    env = Env()
    flat(env, "plain", "gpu", gpu=Policy(resources={"gpu": 1}))
    worker = env.worker(slots=1, capacity={"gpu": 1})
    env.submit("plain")
    (plain,) = worker.take()
    env.submit("gpu")
    assert not worker.take()
    worker.end(plain)
    assert worker.run() == ["gpu"]


def test_worker_capacity_waits_for_the_second_resource_it_names() -> None:
    env = Env()
    flat(
        env,
        "one",
        "both",
        one=Policy(resources={"gpu": 1}),
        both=Policy(resources={"a": 1, "gpu": 1}),
    )
    worker = env.worker(slots=4, capacity={"a": 1, "gpu": 1})
    env.submit("one")
    (one,) = worker.take()
    env.submit("both")
    assert not worker.take()
    worker.end(one)
    assert worker.run() == ["both"]


def test_bigger_demand_is_not_starved_by_smaller_ones() -> None:
    env = Env(CoreConfig(limits={"db": 2}))
    small = [f"s{i}" for i in range(6)]
    one = Policy(resources={"db": 1})
    flat(
        env, "big", *small, big=Policy(resources={"db": 2}, priority=1), **dict.fromkeys(small, one)
    )
    worker = env.worker(slots=8)
    env.submit("s0", "s1")
    a, b = worker.take()
    env.submit("big", *small[2:])
    worker.end(a)
    assert not worker.take()
    worker.end(b)
    assert [g.task_id for g in worker.take()] == ["T_big"]
    env.check()


def test_bigger_demand_of_a_worker_is_not_starved_by_smaller_ones() -> None:
    env = Env()
    small = [f"s{i}" for i in range(6)]
    one = Policy(resources={"gpu": 1})
    flat(
        env,
        "big",
        *small,
        big=Policy(resources={"gpu": 2}, priority=1),
        **dict.fromkeys(small, one),
    )
    worker = env.worker("two", slots=8, capacity={"gpu": 2})
    env.submit("s0", "s1")
    a, b = worker.take()
    env.submit("big", *small[2:])
    worker.end(a)
    assert not worker.take()
    other = env.worker("one", slots=8, capacity={"gpu": 1})
    assert len(other.take()) == 1, "a worker that could never take the big one is not kept free"
    worker.end(b)
    assert [g.task_id for g in worker.take()] == ["T_big"]


def test_group_that_waited_for_a_better_one_goes_on_when_that_is_cancelled() -> None:
    env = Env(CoreConfig(limits={"db": 3}))
    flat(
        env,
        *("run", "big", "small"),
        run=Policy(resources={"db": 2}),
        big=Policy(resources={"db": 2}, priority=1),
        small=Policy(resources={"db": 1}),
    )
    worker = env.worker(slots=8)
    env.submit("run")
    worker.take()
    env.submit("big")
    env.submit("small")
    assert not worker.take()
    env.ask(lambda n: client.Cancel(n, "T_big"), client.Changed)
    assert [g.task_id for g in worker.take()] == ["T_small"]


def test_urgent_task_of_a_waiting_group_overtakes_what_it_waited_for() -> None:
    env = Env(CoreConfig(limits={"db": 3}))
    flat(
        env,
        *("run", "big", "small", "now"),
        run=Policy(resources={"db": 2}),
        big=Policy(resources={"db": 2}, priority=1),
        small=Policy(resources={"db": 1}),
        now=Policy(resources={"db": 1}, priority=9),
    )
    worker = env.worker(slots=8)
    env.submit("run")
    worker.take()
    env.submit("big")
    env.submit("small")
    env.submit("now")
    assert [g.task_id for g in worker.take()] == ["T_now"]


def test_limit_set_live_opens_what_waited() -> None:
    env = Env()
    flat(env, "a", "b", **dict.fromkeys("ab", Policy(resources={"x": 1})))
    worker = env.worker(slots=4)
    env.submit("a", "b")
    assert len(worker.take()) == 1
    env.ask(lambda n: client.SetResource(n, "x", 2), client.Changed)
    assert len(worker.take()) == 1
    assert env.store.disk.resources == {"x": 2.0}
    env.check()


def test_limit_set_live_counts_what_workers_hold_already() -> None:
    env = Env()
    flat(env, *"abc", **dict.fromkeys("abc", Policy(resources={"gpu": 1})))
    worker = env.worker(slots=4, capacity={"gpu": 2})
    env.submit(*"abc")
    held = worker.take()
    assert len(held) == 2
    env.ask(lambda n: client.SetResource(n, "gpu", 2), client.Changed)
    env.check()
    other = env.worker("b", slots=4, capacity={"gpu": 2})
    assert not other.take()
    worker.end(held[0])
    assert len(worker.take()) + len(other.take()) == 1
    env.check()


def test_unmet_demand_is_said_at_once_and_ends_where_nobody_waits() -> None:
    env = Env(CoreConfig(limits={"db": 2}))
    flat(env, "a", a=Policy(resources={"db": 3}))
    env.worker()
    env.submit("a")
    env.say(b"client-w", client.Watch(1, "r-1"))
    update = env.heard(b"client-w", client.RunUpdate)[-1]
    assert any("limit is 2" in line for line in update.waiting), update.waiting
    assert env.state("a") == S.READY
    env.submit("a", wait_unmet=False)
    env.wait(1)
    assert env.state("a") == S.READY, "the first run waits for a change"
    flat(env, "b", b=Policy(resources={"db": 4}))
    env.submit("b", wait_unmet=False)
    env.wait(1)
    assert env.ended(3) == 25
    env.check()


def test_unmet_demand_joins_a_parked_group_and_still_ends() -> None:
    env = Env(CoreConfig(limits={"db": 2}))
    flat(env, "a", "b", **dict.fromkeys("ab", Policy(resources={"db": 3})))
    env.worker()
    env.submit("a")
    env.submit("b", wait_unmet=False)
    env.wait(1)
    assert env.ended(2) == 25
    assert env.state("a") == S.READY
    env.ask(lambda n: client.SetResource(n, "db", 3), client.Changed)
    assert env.heard(b"peer-a", wire.Dispatch)


def test_demand_only_a_lost_worker_met_is_unmet_at_once() -> None:
    env = Env()
    flat(env, "a", "b", **dict.fromkeys("ab", Policy(resources={"gpu": 1})))
    gpu = env.worker("gpu", capacity={"gpu": 1})
    env.worker("plain")
    env.submit("a", "b")
    (held,) = gpu.take()
    gpu.end(held)
    gpu.take()
    gpu.say(wire.Drained(gpu.session))
    env.turn()
    (row,) = env.ask(lambda n: client.ListRuns(n), client.Runs).runs
    assert row.running == 0
    env.say(b"client-w", client.Watch(1, "r-1"))
    update = env.heard(b"client-w", client.RunUpdate)[-1]
    assert any("no worker has that much" in line for line in update.waiting), update.waiting


def test_blocked_tasks_cost_nothing_while_another_family_runs() -> None:
    env = Env(CoreConfig(limits={"db": 1}))
    blocked = [f"b{i}" for i in range(3_000)]
    plain = [f"p{i}" for i in range(50)]
    flat(env, *blocked, *plain, **dict.fromkeys(blocked, Policy(resources={"db": 1})))
    worker = env.worker(slots=2)
    env.graph.edges["all"] = blocked
    env.submit("all")
    worker.take()
    group = env.core.state.ready.parked["db"][(("db", 1.0),), False, (), 1]
    looks = []
    head = group.head
    object.__getattribute__(group, "heap")
    before = list(group.heap)
    env.submit(*plain)
    for _ in range(50):
        looks.append(worker.run(*plain))
    assert sum(map(len, looks)) == 50
    assert group.heap == before and group.parked == "db"
    assert head() is not None


def test_outstanding_grants_are_bounded_by_slots_and_prefetch() -> None:
    env = Env()
    names = [f"n{i}" for i in range(900)]
    flat(env, *names)
    measured(env, 0.0)
    worker = env.worker(slots=2)
    env.submit(*names)
    record = env.core.state.workers[worker.uid]
    assert 2 < len(worker.take()) == record.used_slots <= 2 * (1 + dispatch.PREFETCH_MAX)
    env.check()


def test_unmeasured_family_is_not_granted_ahead() -> None:
    env = Env()
    flat(env, *"abcd")
    worker = env.worker(slots=2)
    env.submit(*"abcd")
    assert len(worker.take()) == 2


def test_demanding_tasks_are_never_granted_ahead() -> None:
    env = Env(CoreConfig(limits={"db": 100}))
    names = [f"n{i}" for i in range(20)]
    flat(env, *names, **dict.fromkeys(names, Policy(resources={"db": 1})))
    measured(env, 0.0)
    worker = env.worker(slots=2)
    env.submit(*names)
    assert len(worker.take()) == 2


def test_demanding_task_is_not_starved_by_a_stream_granted_ahead() -> None:
    env = Env(CoreConfig(limits={"db": 1}))
    names = [f"n{i}" for i in range(900)]
    flat(env, *names, "db", db=Policy(resources={"db": 1}, priority=1))
    measured(env, 0.0)
    worker = env.worker(slots=1)
    env.submit(*names)
    ahead = worker.take()
    env.submit("db")
    for grant in ahead:
        worker.end(grant)
    assert "T_db" in {g.task_id for g in worker.take()}


def test_recall_takes_back_what_was_granted_ahead_when_another_worker_idles() -> None:
    env = Env()
    names = [f"n{i}" for i in range(40)]
    flat(env, *names)
    measured(env, 0.0)
    busy = env.worker("busy", slots=1)
    env.submit(*names)
    grants = busy.take()
    assert len(grants) == 40
    idle = env.worker("idle", slots=1)
    env.wait(1)
    busy.beat()
    (recall,) = env.heard(busy.peer, wire.Recall)
    assert recall.tokens and set(recall.tokens) <= {g.token for g in grants[1:]}
    back = [g for g in grants if g.token in recall.tokens]
    busy.end(*back, outcome=Outcome.RELEASED)
    assert idle.take()
    env.check()


def test_isolated_attempt_runs_alone_and_others_follow() -> None:
    env = Env()
    names = [f"n{i}" for i in range(6)]
    flat(env, "bad", *names)
    worker = env.worker(slots=2)
    env.submit("bad")
    (bad,) = worker.take()
    worker.end(bad, outcome=Outcome.CRASHED, error="signal 11")
    env.submit(*names)
    running = worker.take()
    assert len(running) == 2
    env.wait(3)
    worker.beat()
    worker.end(running[0])
    assert not worker.take(), "kept free for the isolated attempt"
    worker.end(running[1])
    (alone,) = worker.take()
    assert (alone.task_id, alone.alone, alone.attempt) == ("T_bad", True, 2)
    env.check()
    worker.end(alone)
    assert len(worker.take()) == 2
    env.check()


def test_isolated_attempt_does_not_wait_for_a_task_before_it_that_waits_for_it() -> None:
    env = Env()
    bad = Policy(resources={"gpu": 1}, priority=-1)
    flat(env, "bad", "first", "long", bad=bad, first=Policy(resources={"gpu": 1}))
    worker = env.worker(slots=1, capacity={"gpu": 1})
    env.submit("bad")
    worker.end(*worker.take(), outcome=Outcome.CRASHED, error="signal 11")
    env.submit("long")
    (running,) = worker.take()
    worker.start(running)
    env.submit("first")
    env.wait(10)
    worker.beat()
    assert not worker.take(), "kept free for the isolated attempt"
    worker.end(running)
    (alone,) = worker.take()
    assert alone.task_id == "T_bad"
    worker.end(alone)
    assert worker.run() == ["first"]
    env.check()


def test_isolated_attempt_cancelled_while_a_worker_is_kept_free_frees_it() -> None:
    env = Env()
    names = [f"n{i}" for i in range(6)]
    flat(env, "bad", *names)
    worker = env.worker(slots=2)
    env.submit("bad")
    worker.end(*worker.take(), outcome=Outcome.CRASHED, error="signal 11")
    env.submit(*names)
    running = worker.take()
    env.wait(3)
    worker.beat()
    assert env.core.state.workers[worker.uid].reserved
    env.ask(lambda n: client.Cancel(n, "T_bad"), client.Changed)
    worker.end(*running)
    assert len(worker.take()) == 2


@pytest.mark.unread("Dispatch")
def test_isolated_attempt_finds_another_worker_when_the_kept_one_leaves() -> None:
    env = Env()
    names = [f"n{i}" for i in range(3)]
    flat(env, "bad", *names)
    worker = env.worker("a", slots=2)
    env.submit("bad")
    worker.end(*worker.take(), outcome=Outcome.CRASHED, error="signal 11")
    other = env.worker("b", slots=1)
    env.submit(*names)
    env.wait(3)
    kept = next(w for w in env.core.state.workers.values() if w.reserved)
    stays = other if kept.uid == worker.uid else worker
    leaves = worker if stays is other else other
    leaves.say(wire.Drained(leaves.session))
    ran = []
    for _ in range(10):
        ran += stays.run()
    assert sorted(ran) == ["bad", *names]


def test_refused_task_is_offered_to_another_worker_only() -> None:
    env = Env()
    flat(env, "a")
    one = env.worker("one")
    env.submit("a")
    (grant,) = one.take()
    two = env.worker("two")
    one.end(grant, outcome=Outcome.REFUSED, error="ImportError: no module")
    env.wait(2)
    assert not one.take()
    assert [g.attempt for g in two.take()] == [2]
    assert env.task("a").failures == 0
    env.check()


def test_refused_by_every_worker_is_a_failure() -> None:
    env = Env()
    flat(env, "a")
    one, two = env.worker("one"), env.worker("two")
    env.submit("a")
    for _ in range(2):
        for worker in (one, two):
            for grant in worker.take():
                worker.end(grant, outcome=Outcome.REFUSED, error="ImportError: no module")
        env.wait(2)
    assert env.ended() == 30


def test_refused_by_the_only_worker_left_is_a_failure_not_a_hang() -> None:
    env = Env()
    flat(env, "a")
    one, two = env.worker("one"), env.worker("two", slots=0)
    env.submit("a")
    one.end(*one.take(), outcome=Outcome.REFUSED, error="ImportError: no module")
    two.say(wire.Drained(two.session))
    env.wait(2)
    for grant in one.take():
        one.end(grant, outcome=Outcome.REFUSED, error="ImportError: no module")
    assert env.ended() == 30
