"""Resources: what is held never passes a limit, what fits is not kept waiting, sums do not drift.

``Books`` compares the sums with exact fractions. ``Cluster`` drives the whole core and judges its
grants by what the fake workers hold, with rules of its own.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from itertools import count

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flow.wire.messages import client
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Grant, Outcome, Policy
from flow.wire.states import TaskState
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.records import Demand
from flow_coordinator.core.resources import UNDECLARED_LIMIT, ResourcePool
from tests.property.profiles import LONG_S_MAX, long, short
from tests.support.core_env import Env, FakeWorker

picks = st.integers(0, 200)
#: Amounts that binary fractions cannot spell, small as tokens and large as bytes.
SMALL = [0.1, 0.2, 0.3, 0.7, 1.0, 1.1, 3.0]
BYTES = [1_074_815_565.824, 8e9 / 7, 1e9 / 3, 5e10 / 9]
#: Part of a limit that rounding may hide.
TOLERANCE = Fraction(1, 10**8)


class Books(RuleBasedStateMachine):
    """Sums of floats against sums of fractions."""

    def __init__(self) -> None:
        super().__init__()
        self.resources = ResourcePool({"db": 3.0, "memory": 4e9})
        self.held: list[Demand] = []

    def exact(self, name: str) -> Fraction:
        amounts = (Fraction(a) for demand in self.held for n, a in demand if n == name)
        return sum(amounts, Fraction(0))

    @rule(db=st.sampled_from([0.0, *SMALL]), memory=st.sampled_from([0.0, *BYTES]))
    def take(self, db: float, memory: float) -> None:
        demand = tuple((n, a) for n, a in (("db", db), ("memory", memory)) if a)
        lacks = [
            name
            for name, amount in demand
            if self.exact(name) + Fraction(amount) > Fraction(self.resources.limits[name])
        ]
        said = self.resources.lacking(demand)
        if not lacks:
            assert said is None, f"{demand} fits beside {self.held}"
        if said is None:
            self.resources.take(demand)
            self.held.append(demand)
            for name, _ in demand:
                limit = Fraction(self.resources.limits[name])
                assert self.exact(name) <= limit * (1 + TOLERANCE), name

    @precondition(lambda self: self.held)
    @rule(which=picks)
    def give(self, which: int) -> None:
        demand = self.held.pop(which % len(self.held))
        assert self.resources.give(demand) == [name for name, _ in demand]

    @rule(order=st.permutations(range(6)), size=st.sampled_from(BYTES), rounds=st.integers(1, 300))
    def exercise(self, order: list[int], size: float, rounds: int) -> None:
        """Many come and go, in an order that makes rounding errors add up."""
        some = [(("memory", size * (at + 1) / 7),) for at in range(6)]
        for _ in range(rounds):
            for demand in some:
                self.resources.take(demand)
            for at in order:
                self.resources.give(some[at])

    @rule(db=st.sampled_from(SMALL), memory=st.sampled_from([*BYTES, 4e9]))
    def limits_change(self, db: float, memory: float) -> None:
        self.resources.limits.update(db=db, memory=memory)

    @precondition(lambda self: not self.held)
    @rule(size=st.sampled_from(BYTES))
    def all_of_it_is_free(self, size: float) -> None:
        """With nothing held, a demand of the whole limit fits."""
        before = self.resources.limits["memory"]
        self.resources.limits["memory"] = size
        assert self.resources.lacking((("memory", size),)) is None
        self.resources.limits["memory"] = before

    @invariant()
    def sums_agree(self) -> None:
        for name in ("db", "memory"):
            exact, used = self.exact(name), Fraction(self.resources.used.get(name, 0.0))
            assert abs(exact - used) <= TOLERANCE * max(exact, Fraction(1)), (
                name,
                float(exact),
                float(used),
            )


TestBooks = Books.TestCase
TestBooks.settings = short(80, 30)

#: Cluster limits at first; ``lock`` is declared by nobody, ``gpu`` and ``memory`` by workers.
LIMITS = {"db": 2.0, "share": 0.3}
CAPACITIES = [{}, {}, {"gpu": 1.0}, {"gpu": 2.0, "memory": 0.3}, {"memory": 0.7}]
DEMANDS = [
    {},
    {"db": 1.0},
    {"db": 2.0},
    {"share": 0.1},
    {"share": 0.2},
    {"lock": 1.0},
    {"lock": 2.0},
    {"gpu": 1.0},
    {"gpu": 2.0},
    {"memory": 0.1},
    {"memory": 0.6},
    {"db": 1.0, "gpu": 1.0},
    {"lock": 1.0, "memory": 0.2},
]


class Cluster(RuleBasedStateMachine):
    """One core, workers with capacities, and single tasks that ask for all kinds of things."""

    def __init__(self) -> None:
        super().__init__()
        self.env = Env(CoreConfig(limits=dict(LIMITS)))
        self.limits = dict(LIMITS)
        self.declared: set[str] = set()
        self.numbers = count(1)
        self.workers: dict[str, FakeWorker] = {}
        #: worker name -> what it holds
        self.held: dict[str, list[Grant]] = {}
        #: open tasks by name: what it asks, whether it waits where nothing can meet it
        self.asked: dict[str, dict[str, float]] = {}
        self.waits: dict[str, bool] = {}
        self.runs: dict[str, str] = {}

    # ------------------------------------------------------------ what may happen

    @precondition(lambda self: len(self.workers) < 4)
    @rule(slots=st.integers(1, 3), capacity=st.sampled_from(CAPACITIES))
    def worker_joins(self, slots: int, capacity: dict[str, float]) -> None:
        name = f"w{next(self.numbers)}"
        worker = self.workers[name] = FakeWorker(self.env, name, slots, dict(capacity))
        self.held[name] = []
        self.declared |= set(capacity)
        worker.join()

    @precondition(lambda self: self.workers)
    @rule(which=picks)
    def worker_leaves(self, which: int) -> None:
        name = sorted(self.workers)[which % len(self.workers)]
        worker = self.workers.pop(name)
        del self.held[name]
        worker.say(wire.Drained(worker.session))

    @rule(
        demand=st.sampled_from(DEMANDS),
        priority=st.sampled_from([0.0, 0.0, 2.0, 5.0]),
        wait_unmet=st.booleans(),
        copies=st.integers(1, 3),
    )
    def submit(
        self, demand: dict[str, float], priority: float, wait_unmet: bool, copies: int
    ) -> None:
        if len(self.asked) > 25:
            return
        for _ in range(copies):
            name = f"t{next(self.numbers)}"
            self.env.graph.edges[name] = []
            self.env.graph.policies[name] = Policy(priority=priority, resources=demand)
            self.asked[name] = demand
            self.waits[name] = wait_unmet
            self.runs[name] = self.env.submit(name, wait_unmet=wait_unmet)

    @precondition(lambda self: any(self.held.values()))
    @rule(which=picks, copies=st.integers(1, 3))
    def tasks_end(self, which: int, copies: int) -> None:
        busy = [name for name in sorted(self.held) if self.held[name]]
        name = busy[which % len(busy)]
        done, self.held[name] = self.held[name][:copies], self.held[name][copies:]
        for grant in done:
            del self.asked[grant.task_id[2:]]
        self.workers[name].end(*done)

    @precondition(lambda self: any(self.held.values()))
    @rule(which=picks)
    def task_is_given_back(self, which: int) -> None:
        busy = [name for name in sorted(self.held) if self.held[name]]
        name = busy[which % len(busy)]
        grant = self.held[name].pop()
        self.workers[name].end(grant, outcome=Outcome.RELEASED)

    @precondition(lambda self: self.asked)
    @rule(which=picks)
    def cancel_waiting(self, which: int) -> None:
        held = {g.task_id[2:] for grants in self.held.values() for g in grants}
        waiting = [name for name in sorted(self.asked) if name not in held]
        if waiting:
            name = waiting[which % len(waiting)]
            del self.asked[name]
            self.env.ask(lambda n: client.Cancel(n, self.runs[name]), client.Changed)

    @rule(
        name=st.sampled_from(["db", "share", "lock", "gpu"]),
        limit=st.sampled_from([0.0, 0.1, 0.3, 1.0, 2.0, 3.0]),
    )
    def limit_changes(self, name: str, limit: float) -> None:
        self.limits[name] = limit
        self.env.ask(lambda n: client.SetResource(n, name, limit), client.Changed)

    @rule()
    def time_passes(self) -> None:
        for worker in self.workers.values():
            worker.beat()
        self.env.wait(5.0)

    # ------------------------------------------------------------ what always holds

    def limit(self, name: str) -> float | None:
        """Say the cluster limit as the documentation does."""
        if name in self.limits:
            return self.limits[name]
        return None if name in self.declared else UNDECLARED_LIMIT

    def used(self, name: str, worker: str = "") -> float:
        grants = [g for w in self.held if worker in ("", w) for g in self.held[w]]
        return sum(self.asked[g.task_id[2:]].get(name, 0.0) for g in grants)

    def has_room(self, demand: dict[str, float], worker: str | None) -> bool:
        """Tell whether a worker (None: the cluster's limits) has room for a demand now."""
        for name, amount in demand.items():
            if worker is None:
                room = self.limit(name)
                used = self.used(name)
            else:
                own = self.workers[worker].capacity
                room = own.get(name, -1.0) if name in self.declared else None
                used = self.used(name, worker)
            if room is not None and used + amount > room + 1e-9:
                return False
        return True

    def is_unmet(self, demand: dict[str, float]) -> bool:
        """Tell whether nothing there could ever meet a demand."""
        limits = {name: self.limit(name) for name in demand}
        if any(top is not None and demand[name] > top for name, top in limits.items()):
            return True
        own = {name: amount for name, amount in demand.items() if name in self.declared}
        return bool(own) and not any(
            all(worker.capacity.get(name, -1.0) >= amount for name, amount in own.items())
            for worker in self.workers.values()
        )

    @invariant()
    def grants_fit(self) -> None:
        """What was granted in this step had room; the books agree with the workers'."""
        self.env.wait(0.001)
        self.env.check()
        for name, worker in self.workers.items():
            fresh = worker.take()
            worker.start(*fresh)
            self.held[name].extend(fresh)
            fresh_demands = [self.asked[g.task_id[2:]] for g in fresh]
            for resource in sorted({r for demand in fresh_demands for r in demand}):
                limit = self.limit(resource)
                assert limit is None or self.used(resource) <= limit + 1e-9, resource
                if resource in self.declared:
                    assert self.used(resource, name) <= worker.capacity[resource] + 1e-9
            assert not fresh or len(self.held[name]) <= worker.slots or not any(fresh_demands)
        used = self.env.core.state.resources.used
        for resource in sorted({*used, *(r for demand in DEMANDS for r in demand)}):
            assert abs(used.get(resource, 0.0) - self.used(resource)) < 1e-9, resource

    @invariant()
    def unmet_tasks_end_or_wait(self) -> None:
        """What nothing can meet ends where its run does not wait, and never otherwise."""
        tasks = self.env.core.state.tasks.get("default", {})
        for name in sorted(self.asked):
            task = tasks.get(f"T_{name}")
            if task is not None and task.state == TaskState.READY:
                assert self.waits[name] or not self.is_unmet(self.asked[name]), name
            elif task is None and not self.runs_unplanned(name):
                assert not self.waits[name], f"{name} ended though its run waits"
                assert self.is_unmet(self.asked[name]), f"{name} ended though it can be met"
                del self.asked[name]

    def runs_unplanned(self, name: str) -> bool:
        run = self.env.run(int(self.runs[name][2:]))
        return run.summary is None and run.unresolved > 0

    @invariant()
    def nobody_waits_for_room_that_is_there(self) -> None:
        """Who could start now has somebody better before it that waits for the same."""
        better: list[dict[str, float]] = []
        tasks = self.env.core.state.tasks.get("default", {})
        waiting = [n for n in self.asked if (t := tasks.get(f"T_{n}")) is not None and t.ticket]
        groups = self.env.core.state.ready.groups.values()
        # one group for each demand of each program
        for head, demand in sorted((e, dict(g.key[0])) for g in groups if (e := g.head())):
            assert head.task.task_id[2:] in waiting
            if self.is_unmet(demand):
                continue
            if not any(self.competes(demand, other) for other in better):
                able = [
                    name
                    for name, worker in self.workers.items()
                    if len(self.held[name]) < worker.slots and self.has_room(demand, name)
                ]
                if self.has_room(demand, None):
                    assert not able, f"{demand} could start at {able}; before it: {better}"
            better.append(demand)

    def competes(self, one: dict[str, float], other: dict[str, float]) -> bool:
        """Tell whether the second may keep the first waiting."""
        return bool(set(one) & set(other)) or bool(
            set(one) & self.declared and set(other) & self.declared
        )

    def teardown(self) -> None:
        """With enough of everything, everything ends."""
        if sys.exc_info()[0] is not None:
            return
        for name in ("db", "share", "lock", "gpu"):
            self.limit_changes(name, 4.0)
            self.grants_fit()
        capacity = {"gpu": 2.0, "memory": 0.7}
        worker = self.workers["big"] = FakeWorker(self.env, "big", 2, capacity)
        self.held["big"] = []
        self.declared |= set(capacity)
        worker.join()
        for _ in range(60):
            self.grants_fit()
            self.unmet_tasks_end_or_wait()
            self.nobody_waits_for_room_that_is_there()
            busy = [name for name in sorted(self.held) if self.held[name]]
            if not busy:
                break
            self.tasks_end(0, 3)
        assert not self.asked, f"never ran: {self.asked}"
        assert not self.env.core.state.resources.used


TestCluster = Cluster.TestCase
TestCluster.settings = short(150, 30)


@pytest.mark.long
@pytest.mark.timeout(LONG_S_MAX)
def test_resources_over_many_sums_never_drift() -> None:
    run_state_machine_as_test(Books, settings=long(300, 60))


@pytest.mark.long
@pytest.mark.timeout(LONG_S_MAX)
def test_resources_over_many_histories_are_shared_within_limits() -> None:
    run_state_machine_as_test(Cluster, settings=long(500, 50))
