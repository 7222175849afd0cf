"""Age: what has waited long comes first now and then, whatever else is ready."""

from __future__ import annotations

from flow.wire.messages.shared import Grant, Policy
from flow_coordinator.core import ready
from flow_coordinator.core.config import CoreConfig
from tests.support.core_env import Env, FakeWorker, Graph


def flat(env: Env, *names: str, **policies: Policy) -> None:
    """Let the planner know independent tasks."""
    env.graph = Graph({name: [] for name in names}, policies)


def test_aging_old_task_overtakes_a_stream_of_higher_priorities() -> None:
    env = Env()
    many = [f"h{i}" for i in range(30)]
    flat(env, "old", *many, **{name: Policy(priority=9) for name in many})
    env.submit("old")
    worker = FakeWorker(env, "a", 1)
    planner = env.worker("p", slots=0)
    env.wait(ready.AGING_S + 1)
    planner.join()
    env.submit(*many)
    worker.join()
    order = worker.run_all()
    assert order.index("old") < ready.AGING_EVERY


def served_before(env: Env, worker: FakeWorker, name: str, stream: list[str]) -> int:
    """Submit and run a stream one at a time, the next always waiting; count how many pass."""
    env.submit(stream[0])
    for passed, following in enumerate(stream[1:]):
        env.submit(following)
        for grant in worker.take():
            if grant.task_id == f"T_{name}":
                return passed
            worker.end(grant)
    raise AssertionError(f"{name} starves: {env.state(name)!r}")


def test_aging_old_task_overtakes_a_stream_of_another_group() -> None:
    env = Env()
    many = [f"h{i}" for i in range(30)]
    policies = dict.fromkeys(many, Policy(priority=9))
    flat(env, "old", *many, old=Policy(resources={"db": 1}), **policies)
    planner = env.worker("p", slots=0)
    env.submit("old")
    env.wait(ready.AGING_S + 1)
    planner.join()
    worker = FakeWorker(env, "a", 1)
    env.submit("h29")
    worker.join()
    assert served_before(env, worker, "old", many[:-1]) <= ready.AGING_EVERY
    env.check()


def test_aging_a_raised_task_keeps_its_age() -> None:
    env = Env()
    many = [f"h{i}" for i in range(30)]
    high, low = Policy(priority=9), ["l1", "l2"]
    flat(env, "old", *low, *many, **dict.fromkeys(many, high))
    planner = env.worker("p", slots=0)
    env.submit("old")
    env.wait(ready.AGING_S + 1)
    planner.join()
    env.submit(*low)
    env.submit("old", priority=1.0)
    worker = FakeWorker(env, "a", 1)
    env.submit("h29")
    worker.join()
    assert served_before(env, worker, "old", many[:-1]) <= ready.AGING_EVERY
    env.check()


def stream(env: Env, worker: FakeWorker, many: list[str]) -> int:
    """Keep three quick ones ready or running all the time; count what runs before ``old``."""
    todo = list(many)
    for _ in range(3):
        env.submit(todo.pop())
    running: list[Grant] = []
    for passed in range(len(many)):
        running += worker.take()
        if any(grant.task_id == "T_old" for grant in running):
            return passed
        worker.end(running.pop(0), run_s=0.001)
        env.submit(todo.pop())
    raise AssertionError(f"old starves: {env.state('old')!r}")


def test_aging_old_task_that_needs_all_of_a_resource_overtakes_a_stream_of_small_ones() -> None:
    env = Env(CoreConfig(limits={"db": 2}))
    many = [f"h{i}" for i in range(40)]
    small = Policy(priority=9, resources={"db": 1})
    flat(env, "old", *many, old=Policy(resources={"db": 2}), **dict.fromkeys(many, small))
    planner = env.worker("p", slots=0)
    env.submit("old")
    env.wait(ready.AGING_S + 1)
    planner.join()
    env.submit(many.pop())
    worker = FakeWorker(env, "a", 8)
    worker.join()
    assert stream(env, worker, many) <= ready.AGING_EVERY + 2
    env.check()


def test_aging_old_task_that_needs_a_capacity_overtakes_a_stream_that_fills_the_slots() -> None:
    env = Env()
    many = [f"h{i}" for i in range(40)]
    old = Policy(resources={"gpu": 1})
    flat(env, "old", *many, old=old, **dict.fromkeys(many, Policy(priority=9)))
    planner = env.worker("p", slots=0)
    env.submit("old")
    env.wait(ready.AGING_S + 1)
    planner.join()
    worker = FakeWorker(env, "a", 1, {"gpu": 1})
    env.submit(many.pop())
    worker.join()
    assert stream(env, worker, many) <= ready.AGING_EVERY + 2
    env.check()
