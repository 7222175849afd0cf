"""The ready queue: grouped by what tasks need, each group a heap.

Order within a group: priority, then fair share over runs (start-time fair queueing: each run's
tasks get tags one apart, so that two runs alternate whatever their sizes), then age. The task that
waited longest, of all groups, goes first once in ``AGING_EVERY`` grants if that is longer than
``AGING_S``, so that nothing starves under a stream of higher priorities. If it does not fit, what
it lacks is kept for it: nobody else takes of that before (``owed``).

Groups that do not fit are parked under the one thing they lack and cost nothing until that is
given back; 100,000 tasks that wait for one resource are one parked group.

Tasks that may run as one are indexed a second time, see ``batching``. A batch is one turn of its
run, and goes when its first task does.

Cost: O(log n) to add and to take, n the tasks of one group.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from math import inf

from flow.wire.ids import WorkerUid
from flow_coordinator.core.batching import Kindred, is_batchable
from flow_coordinator.core.records import Demand, Entry, RunRecord, TaskRecord
from flow_coordinator.core.values import Instant

#: Waiting longer than this lets a task overtake higher priorities, now and then.
AGING_S = 300.0
#: One grant in so many looks at age first.
AGING_EVERY = 8

#: Demand that nothing can ever meet is parked here until a limit or a worker changes.
UNMET = "unmet"

#: (demand, isolated attempt, workers that refused it, number of the program)
GroupKey = tuple[Demand, bool, tuple[WorkerUid, ...], int]
#: Where an open group stands among the others: the order of its head, and the group.
_Place = tuple[float, float, int, "Group"]


class Group:
    """Ready tasks that need the same."""

    __slots__ = ("by_age", "heap", "key", "kindred", "live", "parked", "place", "raised")

    def __init__(self, key: GroupKey) -> None:
        self.key = key
        self.heap: list[Entry] = []
        self.by_age: deque[Entry] = deque()
        #: entries made later than their age says: (since, ticket, entry)
        self.raised: list[tuple[Instant, int, Entry]] = []
        #: valid entries
        self.live = 0
        #: what it waits for; None: it may be tried
        self.parked: str | None = None
        #: its one valid entry among the open groups
        self.place: _Place | None = None
        #: those that may run as one; None: what crashed or was refused runs alone
        self.kindred = None if key[1] or key[2] else Kindred()

    def add(self, entry: Entry) -> None:
        """Queue a task."""
        heappush(self.heap, entry)
        if self.by_age and entry.since < self.by_age[-1].since:
            heappush(self.raised, (entry.since, entry.ticket, entry))
        else:
            self.by_age.append(entry)
        self.live += 1

    def head(self) -> Entry | None:
        """Look at the best valid entry; drop the invalid ones above it."""
        heap = self.heap
        while heap:
            entry = heap[0]
            if entry.task.ticket == entry.ticket:
                return entry
            heappop(heap)
        self.by_age.clear()
        self.raised.clear()
        return None

    def oldest(self) -> Entry | None:
        """Look at the valid entry that waits longest."""
        by_age, raised = self.by_age, self.raised
        while by_age and by_age[0].task.ticket != by_age[0].ticket:
            by_age.popleft()
        while raised and raised[0][2].task.ticket != raised[0][1]:
            heappop(raised)
        first = by_age[0] if by_age else None
        if raised and (first is None or raised[0][:2] < (first.since, first.ticket)):
            return raised[0][2]
        return first

    def take(self, entry: Entry) -> TaskRecord:
        """Remove and return the task of a valid entry."""
        self.live -= 1
        entry.task.ticket = 0
        if self.heap[0] is entry:
            heappop(self.heap)
        if len(self.by_age) + len(self.raised) > 2 * self.live + 64:
            self.by_age = deque(e for e in self.by_age if e.task.ticket == e.ticket)
            self.raised = [one for one in self.raised if one[2].task.ticket == one[1]]
            heapify(self.raised)
        return entry.task


class ReadyQueue:
    """All ready tasks."""

    def __init__(self) -> None:
        self.groups: dict[GroupKey, Group] = {}
        #: groups that may be tried, by their head; an entry counts while it is its group's place
        self._open: list[_Place] = []
        self.parked: dict[str, dict[GroupKey, Group]] = {}
        self._ticket = 0
        #: fair share: tag of the last task taken
        self._served = 0.0
        #: grants since age decided one
        self._grants = 0
        #: nobody in an open group has waited for ``AGING_S`` before this
        self._aging_at = inf
        #: who ``best`` chose for its age
        self._aged: Entry | None = None
        #: what is lacked, and the group and its old task that have it next
        self._owed: dict[str, tuple[Group, Entry]] = {}

    def __len__(self) -> int:
        return sum(group.live for group in self.groups.values())

    def push(self, task: TaskRecord, key: GroupKey, run: RunRecord | None, now: Instant) -> None:
        """Queue a ready task. Its run decides its fair share."""
        self._ticket += 1
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(key)
        kin = group.kindred.of(task) if group.kindred is not None and is_batchable(task) else None
        tag = self._served
        if run is not None:
            if kin is not None and kin.shares_tag(task, run, self._served):
                tag = kin.tag
            else:
                run.last_tag = tag = max(self._served, run.last_tag) + 1.0
        task.ticket = self._ticket
        entry = Entry(-task.priority, tag, self._ticket, task, now)
        group.add(entry)
        if kin is not None:
            kin.add(entry, run)
        self._refresh(group)

    def reorder(self, task: TaskRecord, key: GroupKey) -> None:
        """Queue a ready task again under its new priority, keeping its age."""
        group = self.groups[key]
        self._ticket += 1
        task.ticket = self._ticket
        group.live -= 1
        entry = Entry(-task.priority, self._served, self._ticket, task, task.since)
        group.add(entry)
        if group.kindred is not None and is_batchable(task):
            group.kindred.of(task).add(entry, None)
        self._refresh(group)

    def drop(self, task: TaskRecord, key: GroupKey) -> None:
        """Forget a ready task (cancelled, failed before it was granted)."""
        if task.ticket:
            group = self.groups[key]
            head = group.head()
            task.ticket = 0
            group.live -= 1
            if group.kindred is not None and is_batchable(task):
                group.kindred.forget(task)
            lacks = group.parked
            if not group.live:
                self._forget(group)
            elif lacks and lacks != UNMET and head is not None and head.task is task:
                # others may have waited only because this task came first
                self.open_parked(lacks)

    def best(self, now: Instant) -> Group | None:
        """Give the open group of the task that comes first, or None."""
        self._aged = None
        if self._owed:
            self._owed = {k: o for k, o in self._owed.items() if o[1].task.ticket == o[1].ticket}
            for group, entry in self._owed.values():
                if group.parked is None:
                    self._aged = entry
                    return group
        if self._grants >= AGING_EVERY - 1 and now > self._aging_at:
            aged = self._oldest(now)
            if aged is not None:
                return aged
        heap = self._open
        while heap:
            place = heap[0]
            group = place[3]
            if group.place is place:
                head = group.head()
                if head is not None and head.ticket == place[2]:
                    return group
                heappop(heap)
                if head is None:
                    self._forget(group)
                else:
                    self._put(group, head)
            else:
                heappop(heap)
        return None

    def _oldest(self, now: Instant) -> Group | None:
        """Give the open group of who waits longest, if that is too long. Cost: O(groups)."""
        first: Entry | None = None
        found: Group | None = None
        for group in self.groups.values():
            entry = group.oldest() if group.parked is None else None
            if entry is not None and (
                first is None or (entry.since, entry.ticket) < (first.since, first.ticket)
            ):
                first, found = entry, group
        self._aging_at = inf if first is None else first.since + AGING_S
        if now <= self._aging_at:
            return None
        self._aged = first
        return found

    @property
    def by_age(self) -> bool:
        """Whether ``best`` chose for age: no better task comes before that one."""
        return self._aged is not None

    def owed(self, lacks: str) -> Group | None:
        """Give the group that waits for this and has it next, because of its age."""
        group, entry = self._owed.get(lacks, (None, None))
        if group is None or entry is None or entry.task.ticket != entry.ticket:
            return None
        return group if group.parked == lacks else None

    def take(self, group: Group) -> TaskRecord:
        """Remove the next task of the group that ``best`` just gave."""
        entry, self._aged = self._aged, None
        if entry is not None:
            self._pay(entry)
            # its tag may be far ahead: it says nothing about how far the others are served
            self._grants = 0
        else:
            entry = group.head()
            assert entry is not None
            self._served = max(self._served, entry.tag)
            self._grants += 1
        task = group.take(entry)
        if not group.live:
            self._forget(group)
        return task

    def join(self, group: Group, first: TaskRecord) -> list[TaskRecord]:
        """Remove what may run as one with a task just taken, in queue order. O(log n) each."""
        if group.kindred is None or not is_batchable(first):
            return []
        joined = [group.take(entry) for entry in group.kindred.take(first)]
        if joined and not group.live:
            self._forget(group)
        return joined

    def park(self, group: Group, lacks: str) -> None:
        """Set the group that ``best`` just gave aside until ``open_parked(lacks)``."""
        if self._aged is not None:
            self._pay(self._aged)
            if lacks != UNMET and self.owed(lacks) is None:
                self._owed[lacks] = group, self._aged
        group.parked = lacks
        group.place = None
        self.parked.setdefault(lacks, {})[group.key] = group

    def _pay(self, entry: Entry) -> None:
        for lacks in [lacks for lacks, (_, one) in self._owed.items() if one is entry]:
            del self._owed[lacks]

    def open_parked(self, lacks: str) -> None:
        """What these groups lacked may be there now."""
        for group in self.parked.pop(lacks, {}).values():
            group.parked = None
            self._refresh(group)

    def open_all(self) -> None:
        """What there is has changed: every group may be tried. Cost: O(groups)."""
        for lacks in list(self.parked):
            self.open_parked(lacks)

    def _refresh(self, group: Group) -> None:
        """Put a group where its head belongs; a new head wakes a parked group."""
        head = group.head()
        if head is None:
            return
        if group.parked is not None:
            if head.ticket != self._ticket or group.parked == UNMET:
                return
            self._unpark(group)
        if group.place is None or group.place[2] != head.ticket:
            self._put(group, head)

    def _put(self, group: Group, head: Entry) -> None:
        group.place = (head.urgency, head.tag, head.ticket, group)
        heappush(self._open, group.place)
        oldest = group.oldest()
        if oldest is not None:
            self._aging_at = min(self._aging_at, oldest.since + AGING_S)

    def _unpark(self, group: Group) -> None:
        lacks = group.parked
        assert lacks is not None
        group.parked = None
        waiting = self.parked[lacks]
        del waiting[group.key]
        if not waiting:
            del self.parked[lacks]

    def _forget(self, group: Group) -> None:
        lacks = group.parked
        if lacks is not None:
            self._unpark(group)
            # others may have waited only because this one came first
            self.open_parked(lacks)
        group.place = None
        self.groups.pop(group.key, None)
