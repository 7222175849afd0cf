"""The ready queue against a list: whatever happens in whatever order, both serve the same task.

The model keeps every waiting task in one plain list and looks through all of it each time. It
knows the rules of the queue (priority, fair share over runs, age, parking) and none of its tricks
(heaps, lazy deletion, one entry a group).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flow.wire.messages.client import SubmitOptions
from flow_coordinator.core.ready import AGING_EVERY, AGING_S, UNMET, Group, GroupKey, ReadyQueue
from flow_coordinator.core.records import FamilyRecord, RunRecord, TaskRecord
from tests.property.profiles import LONG_S_MAX, long, short

KEYS: list[GroupKey] = [
    ((), False, (), 0),
    ((("db", 1.0),), False, (), 0),
    ((("db", 2.0),), True, (), 3),
    ((), False, ("uid-a",), 0),
]
LACKS = ["db", "worker:", UNMET]
#: Where a number picks one of a changing list: any number does.
picks = st.integers(0, 200)
priorities = st.sampled_from([0.0, 0.0, 1.0, 5.0, -3.0])


@dataclass
class Waiting:
    """One waiting task as the model sees it."""

    task: TaskRecord
    key: GroupKey
    tag: float
    ticket: int
    since: float

    @property
    def order(self) -> tuple[float, float, int]:
        return (-self.task.priority, self.tag, self.ticket)


class Model:
    """The queue as one list, searched from end to end."""

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self.parked: dict[GroupKey, str] = {}
        self.grants = 0  #: since age decided one
        self.aged = False  #: age decided what ``best`` said last
        self.owed: dict[str, Waiting] = {}  #: by what it lacks
        self.tags: dict[int, float] = {}
        self.served = 0.0
        self.tickets = count(1)

    def of(self, key: GroupKey) -> list[Waiting]:
        return [one for one in self.waiting if one.key == key]

    def head(self, key: GroupKey) -> Waiting:
        return min(self.of(key), key=lambda one: one.order)

    def push(self, task: TaskRecord, key: GroupKey, run: RunRecord | None, now: float) -> None:
        tag = self.served
        if run is not None:
            tag = self.tags[run.number] = max(self.tags.get(run.number, 0.0), self.served) + 1.0
        self._add(Waiting(task, key, tag, next(self.tickets), now))

    def reorder(self, task: TaskRecord) -> None:
        (old,) = (one for one in self.waiting if one.task is task)
        self.waiting.remove(old)
        self._add(Waiting(task, old.key, self.served, next(self.tickets), old.since))

    def _add(self, new: Waiting) -> None:
        self.waiting.append(new)
        if self.head(new.key) is new and self.parked.get(new.key) != UNMET:
            self.parked.pop(new.key, None)

    def remove(self, one: Waiting) -> None:
        was_head = self.head(one.key) is one
        self.waiting.remove(one)
        lacks = self.parked.get(one.key)
        if not self.of(one.key):
            self.parked.pop(one.key, None)
        elif not was_head or lacks == UNMET:
            return
        if lacks is not None:
            self.open(lacks)

    def open(self, lacks: str) -> None:
        self.parked = {key: why for key, why in self.parked.items() if why != lacks}

    def is_owed(self, one: Waiting, lacks: str) -> bool:
        return one in self.waiting and self.parked.get(one.key) == lacks

    def park(self, key: GroupKey, lacks: str, now: float) -> None:
        first = self.best(now)
        if self.aged and first is not None:
            self.owed = {name: one for name, one in self.owed.items() if one is not first}
            known = self.owed.get(lacks)
            if lacks != UNMET and (known is None or not self.is_owed(known, lacks)):
                self.owed[lacks] = first
        self.parked[key] = lacks

    def best(self, now: float) -> Waiting | None:
        self.aged = True
        self.owed = {name: one for name, one in self.owed.items() if one in self.waiting}
        for one in self.owed.values():
            if one.key not in self.parked:
                return one
        able = [one for one in self.waiting if one.key not in self.parked]
        aged = [one for one in able if now - one.since > AGING_S]
        if aged and self.grants >= AGING_EVERY - 1:
            return min(aged, key=lambda one: (one.since, one.ticket))
        self.aged = False
        return min(able, key=lambda one: one.order, default=None)

    def take(self, now: float) -> TaskRecord:
        first = self.best(now)
        assert first is not None
        self.owed = {name: one for name, one in self.owed.items() if one is not first}
        self.grants = 0 if self.aged else self.grants + 1
        if not self.aged:
            self.served = max(self.served, first.tag)
        self.remove(first)
        return first.task


class Queues(RuleBasedStateMachine):
    """Do the same to both."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = ReadyQueue()
        self.model = Model()
        self.now = 100.0
        self.numbers = count(1)
        self.family = FamilyRecord(1, "default", "mod", "T")
        self.runs: list[RunRecord] = []
        #: every task pushed, and how often it came out again
        self.pushed: dict[TaskRecord, int] = {}

    # ------------------------------------------------------------ what may happen

    @rule()
    def run_joins(self) -> None:
        if len(self.runs) < 5:
            number = next(self.numbers)
            self.runs.append(RunRecord(number, "", "default", [], SubmitOptions(), self.now))

    @precondition(lambda self: self.runs)
    @rule(which=picks)
    def run_leaves(self, which: int) -> None:
        """Its tasks are cancelled."""
        run = self.runs.pop(which % len(self.runs))
        for one in [one for one in self.model.waiting if run in one.task.runs]:
            self._drop(one)

    @rule(key=st.sampled_from(KEYS), which=picks, priority=priorities, copies=st.integers(1, 12))
    def push(self, key: GroupKey, which: int, priority: float, copies: int) -> None:
        run = self.runs[which % len(self.runs)] if self.runs else None
        for _ in range(copies):
            number = next(self.numbers)
            task = TaskRecord(number, f"T_{number}", self.family, b"", -number)
            task.runs = () if run is None else (run,)
            task.priority = priority
            self.pushed[task] = 0
            self._push(task, key, run)

    def _push(self, task: TaskRecord, key: GroupKey, run: RunRecord | None) -> None:
        task.since = self.now
        self.queue.push(task, key, run, self.now)
        self.model.push(task, key, run, self.now)

    @rule(which=picks, key=st.sampled_from(KEYS))
    def push_again(self, which: int, key: GroupKey) -> None:
        """What was taken once failed, and is ready again."""
        out = [task for task in self.pushed if not task.ticket]
        if out:
            task = out[which % len(out)]
            self.pushed[task] = 0
            self._push(task, key, task.runs[0] if task.runs else None)

    @precondition(lambda self: self.model.waiting)
    @rule(which=picks, priority=priorities)
    def reprioritise(self, which: int, priority: float) -> None:
        one = self.model.waiting[which % len(self.model.waiting)]
        one.task.priority = priority
        self.queue.reorder(one.task, one.key)
        self.model.reorder(one.task)

    @precondition(lambda self: self.model.waiting)
    @rule(which=picks)
    def drop(self, which: int) -> None:
        self._drop(self.model.waiting[which % len(self.model.waiting)])

    def _drop(self, one: Waiting) -> None:
        self.queue.drop(one.task, one.key)
        self.model.remove(one)

    @rule(times=st.integers(1, 20))
    def take(self, times: int) -> None:
        for _ in range(times):
            group = self._best()
            if group is None:
                return
            task = self.queue.take(group)
            expected = self.model.take(self.now)
            assert task is expected, f"took {task.task_id}, not {expected.task_id}"
            self.pushed[task] += 1
            assert self.pushed[task] == 1 and not task.ticket

    def _best(self) -> Group | None:
        group, first = self.queue.best(self.now), self.model.best(self.now)
        assert (group and group.key) == (first and first.key)
        return group

    @rule(lacks=st.sampled_from(LACKS))
    def park(self, lacks: str) -> None:
        group = self._best()
        if group is not None:
            self.queue.park(group, lacks)
            self.model.park(group.key, lacks, self.now)

    @rule(lacks=st.sampled_from([*LACKS, "nothing lacks this"]))
    def unpark(self, lacks: str) -> None:
        self.queue.open_parked(lacks)
        self.model.open(lacks)

    @rule(seconds=st.sampled_from([0.1, 10.0, AGING_S / 2, AGING_S + 1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    # ------------------------------------------------------------ what always holds

    @invariant()
    def sizes_agree(self) -> None:
        assert len(self.queue) == len(self.model.waiting)
        sizes = {key: group.live for key, group in self.queue.groups.items()}
        assert sizes == Counter(one.key for one in self.model.waiting)

    @invariant()
    def parked_groups_agree(self) -> None:
        parked = {key: lacks for lacks, keys in self.queue.parked.items() for key in keys}
        assert parked == self.model.parked

    @invariant()
    def tickets_tell_who_waits(self) -> None:
        waiting = {one.task for one in self.model.waiting}
        assert {task for task in self.pushed if task.ticket} == waiting

    def teardown(self) -> None:
        """All come out, in the model's order, once each."""
        for lacks in LACKS:
            self.unpark(lacks)
        self.take(len(self.model.waiting) + 1)
        assert len(self.queue) == 0 and not self.queue.groups and not self.queue.parked
        assert self.queue.best(self.now) is None


TestQueues = Queues.TestCase
TestQueues.settings = short(300, 40)


@pytest.mark.long
@pytest.mark.timeout(LONG_S_MAX)
def test_ready_queue_over_many_histories_serves_as_a_list_would() -> None:
    run_state_machine_as_test(Queues, settings=long(1_500, 60))


@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=5),
    late=st.integers(0, 20),
    keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=4),
)
@short(60)
def test_ready_queue_of_several_runs_serves_them_in_turn(
    sizes: list[int], late: int, keys: list[GroupKey]
) -> None:
    """While two runs both wait, neither gets more than one task ahead of the other.

    Two after another one joined: it comes into a round of which the others may have had a part.
    """
    queue = ReadyQueue()
    family = FamilyRecord(1, "default", "mod", "T")
    runs = [RunRecord(n, "", "default", [], SubmitOptions(), 0.0) for n in range(len(sizes))]
    left = dict.fromkeys(range(len(sizes)), 0)
    numbers = count(1)

    def submit(at: int) -> None:
        for index in range(sizes[at]):
            task = TaskRecord(next(numbers), "", family, b"", 0)
            task.runs = (runs[at],)
            queue.push(task, keys[index % len(keys)], runs[at], 0.0)
            left[at] += 1

    for at in range(1, len(sizes)):
        submit(at)
    got = dict.fromkeys(range(1, len(sizes)), 0)
    served = 0
    while (group := queue.best(0.0)) is not None:
        if served == late and 0 not in got:
            # one more joins: it neither catches up on the past nor waits for its end
            submit(0)
            got = dict.fromkeys(range(len(sizes)), 0)
            group = queue.best(0.0)
            assert group is not None
        task = queue.take(group)
        served += 1
        at = task.runs[0].number
        got[at] += 1
        left[at] -= 1
        both = [got[one] for one in got if left[one]]
        assert not both or max(both) - min(both) <= (2 if 0 in got else 1), (got, left)
