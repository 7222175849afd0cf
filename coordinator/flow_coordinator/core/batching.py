"""Batching: ready tasks that one attempt runs as one, under one lease.

Tasks of one family join when they differ only in parameters with a ``batch_method``. They are
indexed beside the ready queue by what they must share, so finding them costs O(log n) each; tasks
of other families cost nothing. Every member is granted, and ends, with the one token.

Limits: ``max_batch_size`` of the class, and what fits into one grant. What crashed runs alone
(somebody is to blame), and so does what a worker refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

import msgspec

from flow.wire.states import RunState
from flow_coordinator.core.records import Entry, LeaseRecord, RunRecord, TaskRecord

#: A task that may run as one with others waits this long at most for its run to be planned to the
#: end, so that they are known: seconds. luigi plans everything before it runs anything.
GATHER_S = 3.0
#: Tasks of one attempt: bounds a turn, and what is done again when it fails.
MEMBERS_MAX = 10_000
#: Parameters of all of them, packed: they travel in one message.
MEMBERS_BYTES_MAX = 512 << 10

#: (family number, number of the program, policy but for the priority, parameters not joined)
BatchKey = tuple[int, int, bytes, bytes]


class Kin:
    """Ready tasks that may run as one, in queue order. Entries fall out when they are met."""

    __slots__ = ("count", "heap", "run", "tag")

    def __init__(self) -> None:
        self.heap: list[Entry] = []
        #: fair share: the run, the tag, and how many of its tasks it has. A batch is one turn.
        self.run: RunRecord | None = None
        self.tag = 0.0
        self.count = 0

    def shares_tag(self, task: TaskRecord, run: RunRecord, served: float) -> bool:
        """Tell whether a task will go with the last ones of its run: it costs it no turn."""
        return self.run is run and self.tag > served and self.count < joined_max(task)

    def add(self, entry: Entry, run: RunRecord | None) -> None:
        """Queue a task."""
        heappush(self.heap, entry)
        if run is not None:
            self.count = self.count + 1 if entry.tag == self.tag and self.run is run else 1
            self.run, self.tag = run, entry.tag

    def prune(self) -> None:
        """Drop what is not ready any more from the top."""
        heap = self.heap
        while heap and heap[0].task.ticket != heap[0].ticket:
            heappop(heap)


class Kindred:
    """All of one group of the ready queue."""

    __slots__ = ("by_key",)

    def __init__(self) -> None:
        self.by_key: dict[BatchKey, Kin] = {}

    def of(self, task: TaskRecord) -> Kin:
        """Find those that a batchable task may run with, or begin with it."""
        key = key_of(task)
        kin = self.by_key.get(key)
        if kin is None:
            kin = self.by_key[key] = Kin()
        return kin

    @property
    def live(self) -> int:
        """Count the tasks that may be taken. Cost: O(all)."""
        return sum(e.task.ticket == e.ticket for kin in self.by_key.values() for e in kin.heap)

    def knows(self, task: TaskRecord) -> bool:
        """Tell whether a batch would find a task. Cost: O(those it may run with)."""
        kin = self.by_key.get(key_of(task))
        return kin is not None and any(e.ticket == task.ticket for e in kin.heap)

    def take(self, first: TaskRecord) -> Iterator[Entry]:
        """Pop those that go with a task just taken; each is taken before the next is given."""
        key = key_of(first)
        kin = self.by_key.get(key)
        if kin is None:
            return
        left, room_bytes = joined_max(first) - 1, MEMBERS_BYTES_MAX - len(first.params)
        kin.prune()
        while left and kin.heap and len(kin.heap[0].task.params) <= room_bytes:
            entry = heappop(kin.heap)
            left, room_bytes = left - 1, room_bytes - len(entry.task.params)
            yield entry
            kin.prune()
        if not kin.heap:
            del self.by_key[key]

    def forget(self, task: TaskRecord) -> None:
        """Let go of a task that left the queue without a grant."""
        key = key_of(task)
        kin = self.by_key.get(key)
        if kin is not None:
            kin.prune()
            if not kin.heap:
                del self.by_key[key]


def is_batchable(task: TaskRecord) -> bool:
    """Tell whether a task may run as one with others."""
    return task.policy is not None and task.policy.joins != b""


def still_comes(run: RunRecord) -> bool:
    """Tell whether tasks that could join others may still be named."""
    return bool(run.unplanned or run.unresolved) and run.state == RunState.RUNNING


def joined_max(task: TaskRecord) -> int:
    """Tell how many tasks one attempt may run."""
    assert task.policy is not None
    most = task.policy.policy.batch_max
    return min(most, MEMBERS_MAX) if most > 0 else MEMBERS_MAX


def key_of(task: TaskRecord) -> BatchKey:
    """Spell what tasks must share to run as one."""
    policy = task.policy
    assert policy is not None
    program = task.program.number if task.program is not None else 0
    try:
        named = msgspec.msgpack.decode(task.params, type=dict[str, str])
    except msgspec.MsgspecError:
        # whoever planned it sent no map: it has nothing that could be joined
        return (task.family.number, program, policy.joins, task.params)
    for name in policy.policy.batched:
        named.pop(name, None)
    return (task.family.number, program, policy.joins, msgspec.msgpack.encode(named))


def tasks_of(lease: LeaseRecord) -> tuple[TaskRecord, ...]:
    """List all that a lease runs, the first one first."""
    return (lease.task, *lease.members)


def spell_members(lease: LeaseRecord) -> list[bytes]:
    """Say the parameters of all members, as a grant carries them."""
    return [task.params for task in tasks_of(lease)] if lease.members else []
