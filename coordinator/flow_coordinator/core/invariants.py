"""Compare every index with every record; runs at the end of every test of the core."""

from __future__ import annotations

from collections import Counter

from flow.wire.states import HELD, SATISFIED, TERMINAL, RunState, TaskState
from flow_coordinator.core import batching, leases, letters, tally, twins
from flow_coordinator.core.records import TaskRecord
from flow_coordinator.core.resources import EPSILON
from flow_coordinator.core.state import State


class Broken(AssertionError):
    """An invariant does not hold."""


def check(s: State) -> None:
    """Recount everything. Raises ``Broken`` naming the first difference. Cost: O(everything)."""
    everything = list(twins.everything(s))
    waits, blocked = _edges_in_force(s, everything)
    for task in everything:
        _check_task(task, waits[task], blocked[task])
        _check_links(task)
    _check_leases(s)
    held = sum(1 for task in everything if task.state in HELD)
    ran = sum(1 + len(lease.members) for lease in s.leases.values())
    _expect(held == ran, "held tasks are run by one lease each", held, ran)
    _check_resources(s)
    _check_runs(s)
    _check_queue(s, everything)
    _check_twins(s)


def _expect(holds: bool, what: str, *details: object) -> None:
    if not holds:
        raise Broken(f"{what}: " + " ".join(map(repr, details)))


def _edges_in_force(
    s: State, everything: list[TaskRecord]
) -> tuple[Counter[TaskRecord], Counter[TaskRecord]]:
    """Count what each task waits for, and what of that ended badly.

    A requirement that was done once never counts again, whatever other runs make of it.
    """
    waits: Counter[TaskRecord] = Counter()
    blocked: Counter[TaskRecord] = Counter()
    for dep in everything:
        for waiter in dep.downstream or ():
            waits[waiter] += 1
            blocked[waiter] += dep.state in TERMINAL - SATISFIED
            if waiter.state not in TERMINAL:
                _expect(dep.order < waiter.order, "acyclic order", dep.task_id, waiter.task_id)
                _expect(dep in waiter.upstream, "edges", dep.task_id, waiter.task_id)
                _expect(dep.state not in SATISFIED, "released", dep.task_id, waiter.task_id)
    for waiting, at in s.releasing:
        waits.update(waiting[at:])
    return waits, blocked


def _check_task(task: TaskRecord, waits: int, blocked: int) -> None:
    state = task.state
    _expect((task.lease is not None) == (state in HELD), "lease iff held", task.task_id, state)
    _expect((task.ticket != 0) == (state == TaskState.READY), "queued iff ready", task.task_id)
    # of a task that is being killed it is decided what it becomes: a failed requirement may be
    # forgotten before, with the last run that asked for it
    if state not in TERMINAL and not task.doomed:
        _expect(task.waits == waits, "waits", task.task_id, state, task.waits, waits)
        _expect(task.blocked == blocked, "blocked", task.task_id, state, task.blocked, blocked)
    if state == TaskState.READY:
        _expect(task.waits == 0 and task.blocked == 0, "ready tasks wait for nothing", task.task_id)
    if state in (TaskState.LEASED, TaskState.RUNNING):
        _expect(task.waits == 0, "running tasks wait for nothing", task.task_id, task.waits)


def _check_links(task: TaskRecord) -> None:
    if task.state in TERMINAL:
        return
    for run in task.runs:
        for dep in task.upstream if len(run.links) < tally.LINKS_MAX else ():
            pair = (task.family.family, dep.family.family)
            _expect(pair in run.links, "families of an edge", run.id, pair)


def _check_leases(s: State) -> None:
    for token, lease in s.leases.items():
        for task in batching.tasks_of(lease):
            _expect(task.lease is lease, "lease of its task", token, task.task_id)
        for member in lease.members:
            running = member.state in (TaskState.LEASED, TaskState.RUNNING)
            _expect(running, "only the first of a batch is suspended", token, member.task_id)
            _expect(_may_join(lease.task, member), "a batch is of one kind", member.task_id)
        places = list(lease.members.values())
        _expect(places == list(range(1, len(places) + 1)), "places in a batch", token, places)
        worker = s.workers.get(lease.uid)
        if worker is not None:
            _expect(worker.held.get(token) is lease, "held by its worker", token)
        else:
            held = s.orphans.get(lease.uid, {})
            _expect(held.get(token) is lease, "kept for an absent worker", token)
    for token, waiting in s.letters.items():
        _expect(token in s.leases, "letters go to current attempts", token)
        _expect(0 < len(waiting) <= letters.WAITING_MAX, "senders that wait", token, len(waiting))
    count = sum(len(worker.held) for worker in s.workers.values())
    count += sum(len(held) for held in s.orphans.values())
    _expect(count == len(s.leases), "leases are held once", count, len(s.leases))
    for worker in s.workers.values():
        used = sum(1 for lease in worker.held.values() if lease.holds)
        _expect(used == worker.used_slots, "slots", worker.name, used, worker.used_slots)
    for lease in s.leases.values():
        suspended = lease.task.state == TaskState.SUSPENDED
        _expect(lease.holds != suspended, "a suspended lease holds nothing", lease.token)


def _may_join(first: TaskRecord, member: TaskRecord) -> bool:
    return batching.is_batchable(first) and batching.key_of(first) == batching.key_of(member)


def _check_resources(s: State) -> None:
    used: dict[str, float] = {}
    for lease in s.leases.values():
        if lease.holds:
            for name, amount in leases.held_demand(lease):
                used[name] = used.get(name, 0.0) + amount
    for name in sorted({*used, *s.resources.used}):
        mine, theirs = used.get(name, 0.0), s.resources.used.get(name, 0.0)
        off = abs(mine - theirs)
        _expect(off < EPSILON * max(1.0, mine), "resource use", name, mine, theirs)


def _check_runs(s: State) -> None:
    for run in s.runs.values():
        _expect(run.state == RunState.RUNNING, "open runs are running", run.id)
        for task in run.left:
            _expect(task in s.kept, "what a run has left stays in memory", run.id, task.task_id)
        totals = [0] * len(TaskState)
        for numbers in run.tallies.values():
            for state, count in enumerate(numbers):
                _expect(count >= 0, "counts", run.id, numbers)
                totals[state] += count
        _expect(sum(totals) == len(run.tasks), "tasks of a run", run.id, sum(totals))
        _expect({*run.roots} == {*run.rooted}, "places of the roots", run.id, len(run.roots))
        left = run.unresolved if not run.cancelled else len(run.root_tasks) - len(run.roots)
        _expect(len(run.roots) + left == run.root_count, "roots of a run", run.id, run.unresolved)
        still = sum(count for state, count in enumerate(totals) if TaskState(state) not in TERMINAL)
        _expect(still == run.open, "open tasks", run.id, still, run.open)
        _expect(totals[TaskState.UNPLANNED] == run.unplanned, "unplanned tasks", run.id)


def _check_queue(s: State, everything: list[TaskRecord]) -> None:
    ready = sum(1 for task in everything if task.state == TaskState.READY)
    _expect(len(s.ready) == ready, "ready queue", len(s.ready), ready)
    for key, group in s.ready.groups.items():
        if group.kindred is not None:
            alike = [e.task for e in group.heap if e.task.ticket == e.ticket]
            alike = [task for task in alike if batching.is_batchable(task)]
            for task in alike:
                _expect(group.kindred.knows(task), "a batch finds who may join", task.task_id, key)
            _expect(group.kindred.live == len(alike), "who may join a batch is ready", key)
    for lacks, groups in s.ready.parked.items():
        for group in groups.values():
            _expect(group.parked == lacks and group.live > 0, "parked groups", lacks, group.key)


def _check_twins(s: State) -> None:
    for (project, task_id), listed in s.twins.by_id.items():
        _expect(len(listed) > 1, "twins are several", project, task_id)
        _expect(s.tasks[project][task_id] is listed[0], "the first of twins is found by its id")
        origins = {task.family.module for task in listed}
        _expect(len(origins) == len(listed), "twins differ by origin", task_id, origins)
        named = {(task.family.project, task.task_id) for task in listed}
        _expect(named == {(project, task_id)}, "twins have one id", task_id, named)
        held = [task for task in listed if task.lease is not None]
        _expect(len(held) <= 1, "twins never hold leases at the same time", task_id)
        for task in listed:
            if held and task is not held[0]:
                _expect(task.state != TaskState.READY, "no twin of a held task is ready", task_id)
    for task in s.twins.waiting:
        _expect(twins.is_known(s, task), "who waits for a twin is known", task.task_id)
