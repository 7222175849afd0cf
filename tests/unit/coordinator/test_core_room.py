"""Room that comes, goes or was never there: who waits is told at once."""

from __future__ import annotations

import pytest

from flow.wire.messages import client
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Outcome, Policy
from flow.wire.states import TaskState
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.resources import ResourcePool
from tests.support.core_env import Env, Graph

S = TaskState


def flat(env: Env, *names: str, **policies: Policy) -> None:
    """Let the planner know independent tasks."""
    env.graph = Graph({name: [] for name in names}, policies)


def test_sums_of_bytes_leave_nothing_behind() -> None:
    third = 1e10 / 3
    resources = ResourcePool({"memory": third})
    for _ in range(1_000):
        resources.take((("memory", third / 7),))
        resources.take((("memory", third / 3),))
        resources.give((("memory", third / 7),))
        resources.give((("memory", third / 3),))
    assert resources.used == {}
    assert resources.lacking((("memory", third),)) is None


def test_resource_that_a_worker_declares_waits_for_no_cluster_limit() -> None:
    env = Env()
    flat(env, "a", "b", **dict.fromkeys("ab", Policy(resources={"gpu": 1})))
    first = env.worker("first", slots=4)
    env.submit("a", "b")
    assert len(first.take()) == 1, "nobody declares it: there is one"
    second = env.worker("second", slots=4, capacity={"gpu": 1})
    assert len(second.take()) == 1
    env.check()


@pytest.mark.unread("Dispatch")
def test_demand_above_a_lowered_limit_is_unmet_though_workers_are_busy() -> None:
    env = Env()
    flat(env, "busy", "a", a=Policy(resources={"db": 1}))
    env.worker(slots=1)
    env.submit("busy")
    env.submit("a", wait_unmet=False)
    assert env.state("a") == S.READY
    env.ask(lambda n: client.SetResource(n, "db", 0), client.Changed)
    env.wait(0.1)
    assert env.run(2).summary is not None, "its run does not wait for another limit"


def test_group_goes_on_when_what_came_before_it_is_cancelled_and_more_of_that_waits() -> None:
    env = Env(CoreConfig(limits={"db": 3}))
    two = {"db": 2.0}
    flat(
        env,
        *("run", "big", "later", "small"),
        run=Policy(resources=two),
        big=Policy(resources=two, priority=2),
        later=Policy(resources=two),
        small=Policy(resources={"db": 1}, priority=1),
    )
    worker = env.worker(slots=8)
    env.submit("run")
    worker.take()
    for name in ("big", "later", "small"):
        env.submit(name)
    assert not worker.take()
    env.ask(lambda n: client.Cancel(n, "T_big"), client.Changed)
    assert [g.task_id for g in worker.take()] == ["T_small"]


def test_task_refused_by_the_only_worker_with_its_resource_fails() -> None:
    env = Env(CoreConfig(retry_count=1))
    flat(env, "a", a=Policy(resources={"gpu": 1}))
    worker = env.worker("able", slots=1, capacity={"gpu": 1})
    env.worker("other", slots=1)
    env.worker("planner", slots=0, capacity={"gpu": 1})
    env.submit("a")
    (grant,) = worker.take()
    worker.end(grant, outcome=Outcome.REFUSED, error="ImportError: no module named cuda")
    env.wait(10)
    assert env.run().summary is not None, "the others cannot take it: it waits for nobody"


def test_task_whose_other_able_worker_left_is_offered_again_to_who_refused_it() -> None:
    env = Env(CoreConfig(retry_count=1))
    flat(env, "a", a=Policy(resources={"gpu": 1}))
    worker = env.worker("able", slots=1, capacity={"gpu": 1})
    spare = env.worker("spare", slots=0, capacity={"gpu": 1})
    env.worker("other", slots=1)
    env.submit("a")
    (grant,) = worker.take()
    spare.slots = 1
    spare.join()
    worker.end(grant, outcome=Outcome.REFUSED, error="ImportError: no module named cuda")
    env.wait(2)
    assert [g.task_id for g in spare.take()] == ["T_a"]
    spare.say(wire.Drained(spare.session))
    assert [g.task_id for g in worker.take()] == ["T_a"]
    env.check()
