"""Leases: the only place where one is made or ended.

A grant takes a slot and the task's demand; the end of a lease, whatever ends it, gives them back
exactly once. Rules C1 and C2.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from flow.wire.ids import WorkerUid
from flow.wire.messages.shared import Grant
from flow_coordinator.core import batching, graph, tally
from flow_coordinator.core.records import Demand, LeaseRecord, TaskRecord, WorkerRecord
from flow_coordinator.core.resources import could_fit, fits
from flow_coordinator.core.state import State
from flow_coordinator.core.transitions import TaskEvent

#: Parking place of tasks that no worker has room for: a slot, or a capacity of its own.
WORKER_ROOM = "worker:"
#: A task expected to take longer keeps its slot: nothing is granted ahead behind it, seconds.
LONG_S = 0.04


def demand_of(task: TaskRecord) -> Demand:
    """Tell what a planned task takes besides a slot."""
    return task.policy.demand if task.policy is not None else ()


def held_demand(lease: LeaseRecord) -> Demand:
    """Tell what a lease takes besides a slot, less what its attempt has given back."""
    demand = demand_of(lease.task)
    if not demand or lease.task.extra is None:
        return demand
    words = lease.task.extra.words
    if words is None or words.token != lease.token or not words.decreased:
        return demand
    left = [(name, amount - words.decreased.get(name, 0.0)) for name, amount in demand]
    return tuple((name, amount) for name, amount in left if amount > 0)


def give_part(s: State, lease: LeaseRecord, before: Demand) -> None:
    """Free what a lease held ``before`` and does not hold any more."""
    after = dict(held_demand(lease))
    less = [(name, amount - after.get(name, 0.0)) for name, amount in before]
    freed = tuple((name, amount) for name, amount in less if amount > 0)
    if not freed or not lease.holds:
        return
    for name in s.resources.give(freed):
        s.ready.open_parked(name)
    worker = s.workers.get(lease.uid)
    if worker is not None:
        _free(worker, freed)
    s.ready.open_parked(WORKER_ROOM)


def grant(
    s: State,
    task: TaskRecord,
    worker: WorkerRecord,
    expected_s: float,
    members: Sequence[TaskRecord] = (),
) -> LeaseRecord:
    """Give a ready task to a worker under a new token, with others that it runs as one.

    An attempt is counted for each.
    """
    token = s.new_token()
    lease = LeaseRecord(token, task, worker.uid, s.now)
    lease.expected_s = expected_s
    if members:
        lease.members = {member: at for at, member in enumerate(members, 1)}
    s.leases[token] = lease
    worker.held[token] = lease
    hold(s, lease, worker)
    _hand_over(s, lease, task)
    for member in lease.members:
        _hand_over(s, lease, member)
    worker.outbox.append(lease)
    return lease


def _hand_over(s: State, lease: LeaseRecord, task: TaskRecord) -> None:
    task.lease = lease
    task.attempt += 1
    tally.move(s, task, TaskEvent.GRANT)
    for run in task.runs:
        run.attempts += 1
        run.workers[lease.uid] = None
    if s.twins.by_id:
        graph.keep_twins_back(s, task)


def confirm(s: State, lease: LeaseRecord) -> None:
    """Its worker has it: what it runs is running. Cost: O(members)."""
    lease.confirmed = True
    tally.move(s, lease.task, TaskEvent.START)
    for member in lease.members:
        tally.move(s, member, TaskEvent.START)


def hold(s: State, lease: LeaseRecord, worker: WorkerRecord | None) -> None:
    """Take slot and demand for a lease."""
    lease.holds = True
    demand = held_demand(lease)
    if demand:
        s.resources.take(demand)
    if worker is not None:
        _occupy(worker, lease, demand)


def _occupy(worker: WorkerRecord, lease: LeaseRecord, demand: Demand) -> None:
    """Take of a worker what a lease holds: a slot, capacities, or all of it."""
    worker.used_slots += 1
    if lease.expected_s >= LONG_S:
        worker.long += 1
    else:
        worker.load_s += lease.expected_s
    for name, amount in demand:
        if name in worker.used:
            worker.used[name] += amount
    extra = lease.task.extra
    if extra is not None and extra.solo:
        worker.alone = True
        worker.reserved = False


def _vacate(worker: WorkerRecord, lease: LeaseRecord, demand: Demand) -> None:
    """Give back what ``_occupy`` took."""
    worker.used_slots -= 1
    if lease.expected_s >= LONG_S:
        worker.long -= 1
    else:
        worker.load_s -= lease.expected_s
    if worker.used_slots == worker.long:
        worker.load_s = 0.0
    _free(worker, demand)
    extra = lease.task.extra
    if extra is not None and extra.solo:
        worker.alone = False


def _free(worker: WorkerRecord, demand: Demand) -> None:
    for name, amount in demand:
        if name in worker.used:
            worker.used[name] = max(0.0, worker.used[name] - amount)


def let_go(s: State, lease: LeaseRecord) -> None:
    """Give back slot and demand of a lease (it may live on, suspended)."""
    if not lease.holds:
        return
    lease.holds = False
    demand = held_demand(lease)
    if demand:
        for name in s.resources.give(demand):
            s.ready.open_parked(name)
    worker = s.workers.get(lease.uid)
    if worker is None:
        return
    _vacate(worker, lease, demand)
    if s.ready.parked:
        s.ready.open_parked(WORKER_ROOM)


def end(s: State, lease: LeaseRecord) -> None:
    """End a lease: its token is never current again."""
    let_go(s, lease)
    task = lease.task
    task.lease = None
    for member in lease.members:
        member.lease = None
    del s.leases[lease.token]
    if s.letters:
        s.unheard.extend(s.letters.pop(lease.token, {}).values())
    worker = s.workers.get(lease.uid)
    if worker is not None:
        worker.held.pop(lease.token, None)
        if worker.resumes and task in worker.resumes:
            worker.resumes.remove(task)
    orphans = s.orphans.get(lease.uid)
    if orphans is not None:
        orphans.pop(lease.token, None)
        if not orphans:
            del s.orphans[lease.uid]
            s.orphans_until.pop(lease.uid, None)
    if s.twins.by_id:
        for one in batching.tasks_of(lease):
            graph.let_twins_go(s, one)


def adopt(s: State, uid: WorkerUid, worker: WorkerRecord) -> None:
    """Hand the leases that a uid holds to its worker record (same uid, joined again)."""
    for token, lease in s.orphans.pop(uid, {}).items():
        worker.held[token] = lease
        if lease.holds:
            _occupy(worker, lease, held_demand(lease))
    s.orphans_until.pop(uid, None)


def room_for(s: State, worker: WorkerRecord, demand: Demand) -> bool:
    """Tell whether a worker's own capacities allow a demand now."""
    return not demand or fits(worker, demand, s.resources.of_workers)


def refused_by_all(s: State, demand: Demand, refused_by: Collection[WorkerUid]) -> bool:
    """Tell whether no worker is left that could ever run a task and has not refused it."""
    declared = s.resources.of_workers
    return all(
        uid in refused_by or not worker.slots or not could_fit(worker, demand, declared)
        for uid, worker in s.workers.items()
    )


def spell_grant(s: State, lease: LeaseRecord) -> Grant:
    """Say a grant as the worker reads it."""
    task = lease.task
    policy, extra = task.policy, task.extra
    assert policy is not None
    timeout_s = policy.policy.timeout_s
    family = task.family
    return Grant(
        lease.token,
        task.task_id,
        family.module,
        family.family,
        task.params,
        task.attempt,
        s.config.timeout_s if timeout_s is None else timeout_s,
        extra is not None and extra.solo,
        policy.policy.accepts_messages,
        batching.spell_members(lease),
        task.program.number if task.program is not None else 0,
        any(one.extra is not None and one.extra.maybe_done for one in batching.tasks_of(lease)),
    )
