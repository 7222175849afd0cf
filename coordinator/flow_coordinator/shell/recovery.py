"""From the store back to memory: every stored lease is kept for a full term (rule C5)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from flow.wire.messages.client import Failure
from flow.wire.states import HELD, SATISFIED, TERMINAL, RunState, TaskState
from flow_coordinator.core import (
    cleaning,
    dispatch,
    graph,
    leases,
    outcomes,
    programs,
    runs,
    tally,
    twins,
    words,
    workers,
)
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.doom import Doom
from flow_coordinator.core.machine import Coordinator
from flow_coordinator.core.packages import PackageRecord
from flow_coordinator.core.records import LeaseRecord, PolicyRecord, RunRecord, TaskRecord
from flow_coordinator.core.state import State
from flow_coordinator.core.timers import Timer
from flow_coordinator.core.values import Instant
from flow_coordinator.shell import rows
from flow_coordinator.store.base import RootsRow, RunRow, Snapshot

#: Stored states that a start derives: planned if it has a policy, ready if it waits for nothing.
_DERIVED = frozenset({TaskState.UNPLANNED, TaskState.PENDING, TaskState.READY})
_WORKER_RESOURCE = "worker_resource:"


def restore(
    snapshot: Snapshot,
    ended: list[RunRow],
    config: CoreConfig,
    random: Random,
    now: Instant,
    utc_s: float,
    packages: Sequence[tuple[str, int, float]] = (),
) -> Coordinator:
    """Build a coordinator from what was stored.

    ``ended`` runs are for display, newest first; of ``packages`` there are hash, bytes and time.
    """
    core = Coordinator(config, snapshot.lineage, snapshot.epoch, random, now)
    s = core.state
    s.next_task, s.next_run = snapshot.next_task, snapshot.next_run
    s.next_family, s.next_policy = snapshot.next_family, snapshot.next_policy
    for name, limit in snapshot.resources:
        s.resources.limits[name] = limit
    declared = [k for k in snapshot.meta if k.startswith(_WORKER_RESOURCE)]
    s.resources.declare([name.removeprefix(_WORKER_RESOURCE) for name in sorted(declared)])
    tasks = _tasks(s, snapshot)
    _leases(s, snapshot, tasks)
    for uid, name, host_key, boot_id, _ in snapshot.workers:
        if uid in s.orphans:
            workers.remember(s, uid, name, host_key, boot_id)
        else:
            s.changes.workers_gone[uid] = None
    _order(s, list(tasks.values()))
    for row in reversed(ended):
        runs.keep(s, ended_run(row, now, utc_s))
    roots: dict[int, list[RootsRow]] = {}
    for more in snapshot.roots:
        roots.setdefault(more[0], []).append(more)
    for row in snapshot.runs:
        _run(s, row, roots.get(row[0], []), tasks, utc_s)
    _unreached(s, snapshot, tasks)
    _programs(s, snapshot, tasks)
    for run in s.runs.values():
        _failures(s, run)
    _edges(list(tasks.values()))
    cleaning.rebuild(s, list(tasks.values()))
    _continue(s, list(tasks.values()))
    _term(s, snapshot)
    for package, size_bytes, used in packages:
        s.packages.kept[package] = PackageRecord(size_bytes, now - (utc_s - used))
    return core


def _tasks(s: State, snapshot: Snapshot) -> dict[int, TaskRecord]:
    families = {row[0]: s.family(*row[1:]) for row in snapshot.families}
    for row in snapshot.families:
        families[row[0]].number = row[0]
    policies: dict[int, PolicyRecord] = {}
    for number, blob in snapshot.policies:
        policy = rows.read_policy(blob)
        record = PolicyRecord(number, policy)
        policies[number] = s.policies[msgspec.msgpack.encode(policy)] = record
    s.next_family, s.next_policy = snapshot.next_family, snapshot.next_policy
    s.changes.families.clear()
    tasks: dict[int, TaskRecord] = {}
    for number, _run_number, family, policy_number, task_id, params, _ in snapshot.tasks:
        task = TaskRecord(number, task_id, families[family], params, 0)
        task.policy = policies.get(policy_number)
        task.state = TaskState.PENDING if task.policy is not None else TaskState.UNPLANNED
        if task.policy is not None:
            task.priority = task.policy.policy.priority
        task.since = s.now
        tasks[number] = task
        twins.add(s, task)
    for task_row in snapshot.tasks:
        numbers = rows.unpack_numbers(task_row[6])
        task = tasks[task_row[0]]
        task.upstream = tuple(tasks[n] for n in numbers if n in tasks)
        if len(task.upstream) < len(numbers):
            s.temporary.unsure.append(task)
    return tasks


def _leases(s: State, snapshot: Snapshot, tasks: dict[int, TaskRecord]) -> None:
    members: dict[str, list[tuple[int, TaskRecord]]] = {}
    for row in snapshot.progress:
        number, state, attempt, failures, crashes, token, uid, _, blob = row
        task = tasks.get(number)
        if task is None:
            continue
        if state not in _DERIVED:
            task.state = TaskState(state)
        task.attempt, task.failures, task.crashes = attempt, failures, crashes
        stored = rows.read_extra(blob)
        rare = stored.solo or stored.why or stored.retried or stored.doom or stored.failure
        if rare or stored.words or stored.code or stored.maybe_done:
            extra = task.more()
            extra.code, extra.maybe_done = stored.code, stored.maybe_done
            extra.solo, extra.why, extra.retried = stored.solo, stored.why, stored.retried
            extra.doom, extra.failure = stored.doom, stored.failure
            extra.words = stored.words
        if failures:
            task.more().failed_at = [s.now] * failures
        if failures or crashes:
            task.more().first_failed_at = s.now
        if task.state in HELD and token is not None and uid is not None:
            if stored.place:
                members.setdefault(token, []).append((stored.place, task))
            else:
                _lease(s, task, token, uid, stored)
    for token, joined in members.items():
        # written in one transaction with the first of them, like all that becomes of it
        lease = s.leases[token]
        joined.sort(key=lambda one: one[0])
        lease.members = {task: place for place, task in joined}
        for task in lease.members:
            task.lease = lease


def _lease(s: State, task: TaskRecord, token: str, uid: str, stored: rows.ExtraBlob) -> None:
    lease = LeaseRecord(token, task, uid, s.now)
    lease.holds = task.state != TaskState.SUSPENDED
    lease.yielded, lease.resumed = stored.yielded, stored.resumed
    lease.sent = 1
    lease.expected_s = dispatch.UNKNOWN_S
    task.lease = lease
    s.leases[token] = lease
    s.orphans.setdefault(uid, {})[token] = lease
    if lease.holds:
        s.resources.take(leases.held_demand(lease))


def _order(s: State, tasks: list[TaskRecord]) -> None:
    """Number tasks so that requirements come first (the stored graph has no cycle)."""
    done: dict[TaskRecord, None] = {}
    for root in tasks:
        stack = [(root, 0)]
        while stack:
            task, at = stack.pop()
            if task in done:
                continue
            if at < len(task.upstream):
                stack.append((task, at + 1))
                if task.upstream[at] not in done:
                    stack.append((task.upstream[at], 0))
            else:
                done[task] = None
                task.order = len(done)
    s.lowest = 0


def ended_run(row: RunRow, now: Instant, utc_s: float) -> RunRecord:
    """Read an ended run: what is shown of it, and the first row of its roots."""
    run = _run_record(row, now, utc_s)
    blob = rows.read_run(row)
    run.tallies = {family: rows.read_counts(counts) for family, counts in blob.counts.items()}
    run.links = dict.fromkeys(blob.links)
    run.ended_at = now - (utc_s - (row[5] or row[4]))
    run.unresolved = 0
    return run


def _run_record(row: RunRow, now: Instant, utc_s: float) -> RunRecord:
    number, key, project, state, submitted, _ended, _roots, _blob = row
    blob = rows.read_run(row)
    run = RunRecord(number, key, project, blob.roots, blob.options, now - (utc_s - submitted))
    run.root_count = blob.root_count or len(blob.roots)
    run.name, run.cancelled, run.summary = blob.name, blob.cancelled, blob.summary
    run.failures, run.words = blob.failures, blob.words
    run.code, run.notes, run.codes = blob.code, blob.notes, blob.codes
    run.state = RunState(state)
    return run


def _run(
    s: State, row: RunRow, more: list[RootsRow], tasks: dict[int, TaskRecord], utc_s: float
) -> None:
    run = _run_record(row, s.now, utc_s)
    for one in more:
        run.root_tasks += rows.read_roots(one)
    packed = (row[6], *(one[2] for one in more))
    numbers = [number for each in packed for number in rows.unpack_numbers(each)]
    run.roots = [tasks[number] for number in numbers if number in tasks]
    for index, task in enumerate(run.roots):
        run.rooted.setdefault(task, index)
    run.unresolved = 0 if run.cancelled else len(run.root_tasks) - len(run.roots)
    s.runs[run.number] = run
    s.keys[run.key] = run.number
    if run.unresolved:
        s.unresolved.append(run)
    seen: dict[TaskRecord, None] = {}
    stack = list(reversed(run.roots))
    while stack:
        task = stack.pop()
        if task in seen:
            continue
        seen[task] = None
        tally.enrol(s, task, run)
        tally.link(task, task.upstream, (run,))
        stack.extend(reversed(task.upstream))
    tally.changed(s, run)


def _failures(s: State, run: RunRecord) -> None:
    failures: list[Failure] = []
    for task in run.tasks:
        run.attempts += task.attempt
        if task.extra is not None and task.extra.failure is not None:
            failures.append(task.extra.failure)
        if task.extra is not None and task.extra.words is not None:
            words.keep(run, task, task.extra.words)
    run.failures = sorted(failures, key=lambda one: one.number)[-outcomes.FAILURES_MAX :]
    s.failure_seq = max(s.failure_seq, *(one.number for one in failures), 0)


def _unreached(s: State, snapshot: Snapshot, tasks: dict[int, TaskRecord]) -> None:
    """Sort what the requirements of no run lead to.

    What needs such a task was being planned, so it belongs to the run it is stored under. Without
    that run it is forgotten, and its lease ended: nobody would ever do that otherwise.
    """
    for number, run_number, *_ in snapshot.tasks:
        task, run = tasks[number], s.runs.get(run_number)
        if task.runs:
            continue
        if run is not None:
            graph.attach(s, task, run)
            continue
        task.upstream = ()
        if task.lease is None:
            del tasks[number]
            twins.remove(s, task)
        elif not task.doomed:
            graph.doom(s, task, Doom.CANCEL, "no run needs it any more")


def _programs(s: State, snapshot: Snapshot, tasks: dict[int, TaskRecord]) -> None:
    """Know in whose program tasks are executed. What was planned for no open run is planned anew.

    What is held was told already; if that was lost, another program does. What is done may still
    have an output to be removed, for which the definition of its program is enough.
    """
    for number, run_number, *_ in snapshot.tasks:
        task = tasks.get(number)
        if task is not None and task.policy is not None:
            task.program = s.runs.get(run_number)
            if task.program is None and task.held:
                task.program = programs.run_for(task)
            elif task.program is None:
                task.program = s.ended.get(run_number)


def _edges(tasks: list[TaskRecord]) -> None:
    for task in tasks:
        if task.state in SATISFIED:
            task.upstream = ()
        if task.state in (TaskState.LEASED, TaskState.RUNNING):
            # all it requires was done when it was granted, though another run may do it again now
            continue
        for dep in task.upstream:
            if dep.state in SATISFIED:
                continue
            task.waits += 1
            if dep.state in TERMINAL:
                task.blocked += 1
            if dep.downstream is None:
                dep.downstream = [task]
            else:
                dep.downstream.append(task)


def _continue(s: State, tasks: list[TaskRecord]) -> None:
    in_order = sorted(tasks, key=lambda one: one.order)
    for task in in_order:
        if task.policy is not None and task.runs:
            task.priority += max(run.options.priority for run in task.runs)
    for task in reversed(in_order):
        if task.priority > 0 and task.state not in TERMINAL:
            for dep in task.upstream:
                graph.raise_priority(s, dep, task.priority)
    for task in in_order:
        state = task.state
        if state == TaskState.UNPLANNED:
            s.frontier.append(task)
        elif state == TaskState.PENDING:
            graph.settle(s, task)
        elif state == TaskState.BACKOFF:
            extra = task.more()
            extra.again_at = s.now + outcomes.backoff_s(s, task, task.failures or 1)
            s.timer(extra.again_at, Timer.BACKOFF, task)
        elif state == TaskState.EXTERNAL:
            s.timer(s.now + s.config.external_check_s, Timer.EXTERNAL, task)
    for run in s.runs.values():
        if run.cancelled:
            runs.drop_open(s, run, run.cancelled)
        elif run.options.fail_fast and any(one.again_in_s < 0 for one in run.failures):
            run.failed_fast = True
            s.timer(s.now, Timer.FAIL_FAST, run)


def _term(s: State, snapshot: Snapshot) -> None:
    """Keep stored leases for the longest of the stored and the configured terms.

    One was promised with EXTEND, and is over with JOIN; one was configured before, and is over
    with the first heartbeat.
    """
    mine_s = s.config.timing.term_s
    known = {name: float(snapshot.meta.get(name, mine_s)) for name in ("term_s", "plain_term_s")}
    s.unknowing_term_s = max(mine_s, known["plain_term_s"])
    term_s = max(s.unknowing_term_s, known["term_s"])
    s.term_kept = term_s > mine_s
    for name, stored_s in known.items():
        if stored_s < mine_s or name not in snapshot.meta:
            s.changes.meta[name] = repr(mine_s)
    for uid in s.orphans:
        s.orphans_until[uid] = s.now + term_s
        s.timer(s.now + term_s, Timer.ORPHANS, uid)
