"""Cluster-wide limits and what leases hold of them.

A resource is taken from whoever declares it: the cluster (``[resources]``, ``flow resources set``)
or a worker (``--resources``), or both. One that nobody declares has a cluster limit of 1, as in
Luigi. What a worker once declared stays a worker's resource when the worker is gone: its tasks
wait for such a worker, they do not start on another.
"""

from __future__ import annotations

from flow.wire.resources import AMOUNT_MAX
from flow_coordinator.core.records import Demand, WorkerRecord

#: Limit of a resource that nobody declares. Source: Luigi.
UNDECLARED_LIMIT = 1.0
#: Sums of amounts like 0.1 may be off by less than this, relative to a limit above 1.
EPSILON = 1e-9


class ResourcePool:
    """Limits and use."""

    def __init__(self, limits: dict[str, float]) -> None:
        self.limits = dict(sorted(limits.items()))
        self.used: dict[str, float] = {}
        #: names that some worker declared, ever
        self.of_workers: dict[str, None] = {}

    def limit(self, name: str) -> float | None:
        """Tell the cluster limit; None: only workers declare it."""
        declared = self.limits.get(name)
        if declared is not None:
            return declared
        return None if name in self.of_workers else UNDECLARED_LIMIT

    def lacking(self, demand: Demand) -> str | None:
        """Name the first resource without enough room, or None."""
        for name, amount in demand:
            limit = self.limit(name)
            if limit is not None and exceeds(self.used.get(name, 0.0) + amount, limit):
                return name
        return None

    def take(self, demand: Demand) -> None:
        """Hold a demand; ``lacking`` was None (or a recovered lease holds it already).

        What only workers declare is counted too: a cluster limit may be set while it is held.
        """
        for name, amount in demand:
            self.used[name] = self.used.get(name, 0.0) + amount

    def give(self, demand: Demand) -> list[str]:
        """Give a demand back; tell which names now have more room."""
        freed = []
        for name, amount in demand:
            held = self.used.get(name)
            if held is not None:
                left = held - amount
                if exceeds(left, 0.0, held):
                    self.used[name] = left
                else:
                    del self.used[name]
                freed.append(name)
        return freed

    def declare(self, names: list[str]) -> list[str]:
        """Remember names that a worker declares; tell which are new."""
        new = [name for name in names if name not in self.of_workers]
        self.of_workers.update(dict.fromkeys(new))
        return new


def exceeds(amount: float, limit: float, scale: float = 1.0) -> bool:
    """Tell whether an amount is above a limit by more than what rounding may do at this scale."""
    return amount > limit + EPSILON * max(1.0, limit, scale)


def fits(worker: WorkerRecord, demand: Demand, of_workers: dict[str, None]) -> bool:
    """Tell whether a worker has room for the part of a demand that workers declare."""
    for name, amount in demand:
        if name in of_workers:
            capacity = worker.capacity.get(name)
            if capacity is None:
                return False
            if exceeds(worker.used[name] + amount, capacity):
                return False
    return True


def could_fit(worker: WorkerRecord, demand: Demand, of_workers: dict[str, None]) -> bool:
    """Tell whether a worker would have room if nothing ran on it."""
    return all(
        not exceeds(amount, worker.capacity.get(name, -AMOUNT_MAX))
        for name, amount in demand
        if name in of_workers
    )
