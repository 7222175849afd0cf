"""Placement and dispatch: which ready task goes to which worker, once a turn, in batches.

Plain tasks (no demand) may be granted ahead of a free slot where their family is known to be
quick, so that a worker never waits for the network between tasks; never those that hold a
resource. What was granted ahead is taken back unstarted when another worker idles.

Cost: O(workers) a turn plus O(log workers + log tasks) a grant.
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import heapify, heappop, heappush

from flow.wire.ids import WorkerUid
from flow.wire.messages.shared import Grant
from flow.wire.messages.worker import Dispatch, Kill, Recall, Resume
from flow.wire.states import FailureKind, TaskState
from flow_coordinator.core import leases, outcomes, programs, tally
from flow_coordinator.core.ready import UNMET, Group
from flow_coordinator.core.records import (
    Entry,
    LeaseRecord,
    RunRecord,
    TaskRecord,
    WorkerRecord,
)
from flow_coordinator.core.resources import could_fit, exceeds
from flow_coordinator.core.state import State
from flow_coordinator.core.timers import Timer
from flow_coordinator.core.transitions import TaskEvent

#: Expected work granted ahead, per slot of a worker, seconds.
PREFETCH_S = leases.LONG_S
#: Tasks granted ahead, per slot of a worker (rule C8).
PREFETCH_MAX = 128
#: A quick task still costs its way through worker and runner, seconds.
OVERHEAD_S = 0.0002
#: Time expected of a family that was never measured, seconds: nothing is granted ahead.
UNKNOWN_S = 1.0
#: Grants in one DISPATCH.
DISPATCH_MAX = 500
#: Parameters in one DISPATCH; one grant alone may have more.
DISPATCH_FILL_BYTES = 256 << 10
#: Grants in one turn: bounds the turn, the next one follows at once.
GRANTS_MAX = 2_000
#: What was granted ahead this long ago is taken back when another worker idles, seconds.
RECALL_AFTER_S = 0.1

#: A worker with room, by how busy it is.
_Room = tuple[float, int, WorkerRecord]


def turn(s: State) -> bool:
    """Resume and grant all that fits. Tells whether more could be granted at once."""
    if s.stalled or s.stopping:
        return False
    for worker in s.workers.values():
        if worker.resumes:
            resume(s, worker)
    more = bool(s.ready.groups) and _grant_ready(s)
    if not more:
        recall_for_idle(s)
    for worker in s.workers.values():
        if worker.outbox:
            speak(s, worker)
    return more


def _rooms(s: State) -> list[_Room]:
    _free_reserved(s)
    rooms = [
        (_business(worker), at, worker)
        for at, worker in enumerate(s.workers.values())
        if worker.accepting and worker.slots
    ]
    heapify(rooms)
    return rooms


def _business(worker: WorkerRecord) -> float:
    """How busy a worker is: below 1 while a slot is free, above it by what was granted ahead."""
    slots = worker.slots
    if worker.used_slots < slots:
        return worker.used_slots / slots
    return 1.0 + (worker.load_s / (slots - worker.long) if slots > worker.long else 1.0)


def _grant_ready(s: State) -> bool:
    rooms = _rooms(s)
    granted = 0
    while granted < GRANTS_MAX:
        group = s.ready.best(s.now)
        if group is None:
            return False
        demand, solo, refused_by, _ = group.key
        if demand and _parked_for_resources(s, group):
            continue
        head = group.head()
        program = head.task.program if head is not None else None
        if demand or solo or refused_by or (program is not None and program.barred):
            granted += _grant_particular(s, group, rooms)
            continue
        count = _grant_plain(s, group, rooms)
        if not count:
            s.ready.park(group, leases.WORKER_ROOM)
            continue
        granted += count
    return True


def _grant_plain(s: State, group: Group, rooms: list[_Room]) -> int:
    """Grant from a group without demands; return how many (0: no room anywhere)."""
    head = group.head()
    # slots that come free at a worker with generators to continue are theirs
    while rooms and rooms[0][2].resumes and rooms[0][2].used_slots >= rooms[0][2].slots:
        heappop(rooms)
    if head is None or not rooms:
        return 0
    expects_s = expected_s(head.task)
    program = head.task.program
    cold = program is not None and not programs.is_warm(rooms[0][2], program)
    if cold and program is not None and not _choose_room(s, rooms, program, head):
        return 0
    _, at, worker = rooms[0]
    if worker.used_slots >= worker.slots:
        quick_slots = worker.slots - worker.long
        if (
            not s.config.prefetch
            or (program is not None and not programs.has_imported(worker, program))
            or worker.load_s + expects_s > PREFETCH_S * quick_slots
            or worker.used_slots - worker.long >= quick_slots * (1 + PREFETCH_MAX)
            or _better_waits(s, leases.WORKER_ROOM, head)
        ):
            return 0
    heappop(rooms)
    task = s.ready.take(group)
    members = s.ready.join(group, task)
    leases.grant(s, task, worker, expects_s, members)
    heappush(rooms, (_business(worker), at, worker))
    return 1 + len(members)


def expected_s(task: TaskRecord) -> float:
    """How long a task is expected to take, its way there included."""
    mean_s = task.family.mean_run_s
    return UNKNOWN_S if mean_s < 0 else mean_s + OVERHEAD_S


def _choose_room(s: State, rooms: list[_Room], program: RunRecord, head: Entry) -> bool:
    """Bring the best worker for a program to the front, where one is that has not imported it.

    First who has it and a free slot; then, if it pays or the task has waited as long as an import
    takes, who has a free slot; then who has it, and may be granted ahead. False: nobody should have
    it now. Cost: O(workers).
    """
    free = [room for room in rooms if room[2].used_slots < room[2].slots]
    warm = [room for room in rooms if programs.is_warm(room[2], program)]
    able = [room for room in free if room in warm]
    pays = not able and programs.cold_pays(s, program, expected_s(head.task))
    if pays or (not able and _has_waited(s, program, head)):
        able = [room for room in free if programs.takes(room[2], program)]
    able = able or warm
    if not able:
        return False
    best = min(able)
    rooms.remove(best)
    heapify(rooms)
    # in front of others that are as free: the heap's order is by business alone
    heappush(rooms, (-1.0, best[1], best[2]))
    return True


def _has_waited(s: State, program: RunRecord, head: Entry) -> bool:
    """Tell whether a task has waited so long that the import would be over by now.

    Who has the program may be busy for hours; nobody loses more than the import twice.
    """
    due = head.since + programs.cold_s(s.workers.values(), program)
    if s.now >= due:
        return True
    if program.cold_at <= s.now:
        program.cold_at = due
        s.timer(due, Timer.ROOM, None)
    return False


def _parked_for_resources(s: State, group: Group) -> bool:
    """Park a group whose demand lacks room, or would overtake a better group that waits for it."""
    demand = group.key[0]
    if is_unmet(s, group.key[0]):
        s.ready.park(group, UNMET)
        s.timer(s.now, Timer.UNMET, group.key)
        return True
    lacks = s.resources.lacking(demand)
    if lacks is None:
        head = group.head()
        lacks = next((n for n, _ in demand if head and _better_waits(s, n, head)), None)
    if lacks is None:
        return False
    s.ready.park(group, lacks)
    return True


def _better_waits(s: State, lacks: str, head: Entry, worker: WorkerRecord | None = None) -> bool:
    """Tell whether a task that comes before this one waits for the same (at this worker).

    What is kept for an isolated attempt does not wait for others: these wait for that attempt.
    """
    if s.ready.by_age:
        return False
    owed = s.ready.owed(lacks)
    for other in s.ready.parked.get(lacks, {}).values():
        first = other.head()
        if first is not None and (first < head or other is owed):
            demand, solo, refused_by, _ = other.key
            if worker is None or (
                demand
                and (solo or not worker.reserved)
                and worker.uid not in refused_by
                and could_fit(worker, demand, s.resources.of_workers)
            ):
                return True
    return False


def is_unmet(s: State, demand: tuple[tuple[str, float], ...]) -> bool:
    """Tell whether nothing there is could ever meet a demand."""
    for name, amount in demand:
        limit = s.resources.limit(name)
        if limit is not None and exceeds(amount, limit):
            return True
    if any(name in s.resources.of_workers for name, _ in demand):
        workers = s.workers.values()
        return not any(could_fit(worker, demand, s.resources.of_workers) for worker in workers)
    return False


def _grant_particular(s: State, group: Group, rooms: list[_Room]) -> int:
    """Grant what only some workers can take; park its group where none has room.

    Returns how many tasks were granted: one, or a batch.
    """
    demand, solo, _, _ = group.key
    head = group.head()
    program = head.task.program if head is not None else None
    refused_by = _kept_from(s, group, program)
    if refused_by is None:
        return 0
    shared = any(name in s.resources.of_workers for name, _ in demand)
    candidates = [room[2] for room in rooms]
    if solo:
        candidates += [worker for worker in s.workers.values() if worker.reserved]
    for worker in candidates:
        if worker.used_slots >= worker.slots or worker.uid in refused_by:
            continue
        if solo and worker.used_slots:
            continue
        if not leases.room_for(s, worker, demand):
            continue
        if shared and head and _better_waits(s, leases.WORKER_ROOM, head, worker):
            continue
        if program is not None and not programs.takes(worker, program):
            continue
        if program is not None and worker.uid in program.differing:
            programs.allow(s, worker, program)
        task = s.ready.take(group)
        members = s.ready.join(group, task)
        leases.grant(s, task, worker, expected_s(task), members)
        rooms[:] = [
            (_business(one) if one is worker else business, order, one)
            for business, order, one in rooms
            if one.accepting
        ]
        heapify(rooms)
        return 1 + len(members)
    if solo:
        _reserve(s, group, rooms)
    s.ready.park(group, leases.WORKER_ROOM)
    return 0


def _kept_from(s: State, group: Group, program: RunRecord | None) -> Collection[WorkerUid] | None:
    """Tell which workers must not have a group's tasks. None: they have just failed."""
    demand, _, refused_by, _ = group.key
    barred = program.barred if program is not None else {}
    refused = {**dict.fromkeys(refused_by), **dict.fromkeys(barred)}
    if not refused or not leases.refused_by_all(s, demand, refused):
        return refused
    if programs.others_may_return(s):
        return refused
    if program is not None and any(uid in s.workers for uid in program.differing):
        if program.options.strict_code:
            _fail_strictly(s, group, program)
            return None
        # whoever has other code is better than nobody
        return [uid for uid in refused if uid not in program.differing]
    # those who might have taken it are gone: asked again, a refusal is a failure
    return ()


def _fail_strictly(s: State, group: Group, program: RunRecord) -> None:
    """No worker has the code that a run insists on: end what waits for one."""
    why = programs.why_strict(program)
    for entry in list(group.heap):
        task = entry.task
        if task.ticket == entry.ticket:
            outcomes.nobody_may(s, task, group.key, FailureKind.CODE, why)


def _reserve(s: State, group: Group, rooms: list[_Room]) -> None:
    """Keep the least busy able worker free of new work until an isolated attempt can have it."""
    demand, _, refused_by, _ = group.key
    if any(worker.reserved for worker in s.workers.values()):
        return
    for _, _, worker in sorted(rooms):
        if worker.uid not in refused_by and could_fit(worker, demand, s.resources.of_workers):
            worker.reserved = True
            rooms[:] = [room for room in rooms if room[2] is not worker]
            heapify(rooms)
            return


def _free_reserved(s: State) -> None:
    """Reserve no longer where no isolated attempt is left, or the worker cannot take it."""
    for worker in s.workers.values():
        if worker.reserved and (
            not worker.fit
            or worker.draining
            or worker.suspect
            or not any(solo for _, solo, _, _ in s.ready.groups)
        ):
            worker.reserved = False
            s.ready.open_parked(leases.WORKER_ROOM)


def resume(s: State, worker: WorkerRecord) -> None:
    """Continue generators whose yields are done, as far as slots and resources allow."""
    ready: list[tuple[str, int]] = []
    waiting: list[TaskRecord] = []
    for task in worker.resumes:
        lease = task.lease
        if lease is None or task.state != TaskState.SUSPENDED:
            continue
        demand = leases.held_demand(lease)
        if (
            worker.used_slots >= worker.slots
            or worker.alone
            or (demand and s.resources.lacking(demand) is not None)
            or not leases.room_for(s, worker, demand)
        ):
            waiting.append(task)
            continue
        lease.resumed = lease.yielded
        lease.confirmed = False
        leases.hold(s, lease, worker)
        tally.move(s, task, TaskEvent.RESUME)
        ready.append((lease.token, lease.yielded))
    worker.resumes = waiting
    if ready:
        s.send(worker.peer, Resume(worker.session, ready))


def speak(s: State, worker: WorkerRecord) -> None:
    """Send what was granted to a worker this turn (unless that ended again meanwhile)."""
    spoken, worker.outbox = worker.outbox, []
    grants: list[Grant] = []
    fill_bytes = 0
    for lease in spoken:
        if lease.task.lease is not lease:
            continue
        lease.sent += 1
        if lease.task.program is not None and lease.task.program.number not in worker.programs:
            programs.define(s, worker, [lease.task.program])
        grant = leases.spell_grant(s, lease)
        size_bytes = len(grant.params)
        if lease.members:
            size_bytes += sum(map(len, grant.members))
        if grants and (
            len(grants) >= DISPATCH_MAX or fill_bytes + size_bytes > DISPATCH_FILL_BYTES
        ):
            s.send(worker.peer, Dispatch(worker.session, grants))
            grants, fill_bytes = [], 0
        grants.append(grant)
        fill_bytes += size_bytes
    if grants:
        s.send(worker.peer, Dispatch(worker.session, grants))


def repeat(s: State, worker: WorkerRecord) -> None:
    """Say again what a worker has not confirmed (lost with a connection); idempotent there."""
    late: list[LeaseRecord] = []
    kills: list[str] = []
    resumes: list[tuple[str, int]] = []
    for lease in worker.held.values():
        if s.now - lease.granted_at < s.config.timing.heartbeat_s:
            break
        if lease.doomed:
            kills.append(lease.token)
        elif not lease.confirmed and lease.holds:
            if lease.resumed:
                resumes.append((lease.token, lease.resumed))
            else:
                late.append(lease)
    if kills:
        s.send(worker.peer, Kill(worker.session, kills))
    if resumes:
        s.send(worker.peer, Resume(worker.session, resumes))
    worker.outbox.extend(late[:DISPATCH_MAX])


def recall_for_idle(s: State) -> None:
    """Take back what was granted ahead and waits, when another worker has nothing to do."""
    if len(s.workers) < 2:
        return
    idle = [one for one in s.workers.values() if one.accepting and one.used_slots < one.slots]
    if not idle:
        return
    for worker in s.workers.values():
        ahead = worker.used_slots - worker.slots
        if ahead <= 0 or s.now - worker.recalled_at < RECALL_AFTER_S:
            continue
        newest = [
            lease.token
            for lease in list(worker.held.values())[-ahead:]
            if lease.holds
            and s.now - lease.granted_at > RECALL_AFTER_S
            and _may_move(s, lease, idle)
        ]
        if newest:
            worker.recalled_at = s.now
            s.send(worker.peer, Recall(worker.session, newest[-(len(newest) + 1) // 2 :]))


def _may_move(s: State, lease: LeaseRecord, idle: list[WorkerRecord]) -> bool:
    """Tell whether one of the idle workers should have what a lease was granted ahead for."""
    program = lease.task.program
    if program is None:
        return True
    able = [one for one in idle if one.uid not in program.barred]
    if any(programs.is_warm(one, program) for one in able):
        return True
    return bool(able) and programs.cold_pays(s, program, lease.expected_s)


def kill(s: State, token: str) -> None:
    """Tell the worker of a doomed lease."""
    lease = s.leases.get(token)
    if lease is None:
        return
    worker = s.workers.get(lease.uid)
    if worker is not None:
        s.send(worker.peer, Kill(worker.session, [token]))


def unreachable(s: State, worker: WorkerRecord, message: Dispatch) -> None:
    """DISPATCH was certainly not queued: release at once what was never said before (rule C1)."""
    worker.suspect = True
    for grant in message.grants:
        lease = s.leases.get(grant.token)
        if lease is not None and lease.sent == 1 and lease.uid == worker.uid:
            outcomes.release(s, lease, worker.name, False, "it could not be sent")
