"""What people are told of programs: which code ran what, and where work waits for one.

The same data as the decisions (``programs``, ``dispatch``, ``planning``) use, as sentences. A grant
that waits has a reason here, or in ``explain``; what is not decided by programs says nothing.
"""

from __future__ import annotations

from itertools import islice

from flow.wire.messages.client import WorkerProgram
from flow.wire.messages.shared import ProgramSeen
from flow_coordinator.core import programs
from flow_coordinator.core.ready import Group
from flow_coordinator.core.records import LeaseRecord, RunRecord, TaskRecord, WorkerRecord
from flow_coordinator.core.state import State

#: Workers named, or looked at, in one sentence.
NAMES_MAX = 4
LOOKED_AT_MAX = 200
#: Programs of one worker in a listing.
PROGRAMS_MAX = 50


def code_line(s: State, task: TaskRecord) -> str:
    """Say which code a task runs with, or its last attempt ran with. Empty: nothing is known."""
    run = task.program
    if run is None or not run.code:
        return ""
    if task.lease is not None:
        return _held_code(s, run, task.lease)
    code = task.extra.code if task.extra is not None else ""
    failure = task.extra.failure if task.extra is not None else None
    if not code:
        return f"{run.code} on {failure.worker}" if failure and failure.worker else run.code
    other = run.codes.get(code)
    where = f" on {', '.join(other.workers)}" if other is not None and other.workers else ""
    files = f"; they differ in {', '.join(other.files)}" if other and other.files else ""
    return f"{code}{where}; its run was planned with {run.code}{files}"


def _held_code(s: State, run: RunRecord, lease: LeaseRecord) -> str:
    worker = s.workers.get(lease.uid)
    name = worker.name if worker is not None else lease.uid[:8]
    code = run.differing.get(lease.uid, "")
    if code:
        sentence = run.barred.get(lease.uid, "")
        return f"{code} on {name}; its run was planned with {run.code}: {sentence}"
    return f"{run.code} on {name}"


def importing(worker: WorkerRecord, run: RunRecord | None) -> str:
    """Say that a worker still imports a program. Empty: it does not."""
    seen = worker.seen.get(run.number) if run is not None else None
    if run is None or seen is None or seen.import_s >= 0 or seen.failed:
        return ""
    return f"the import of {programs.modules(run)} on {worker.name}"


def kept_from(s: State, worker: WorkerRecord, task: TaskRecord) -> str:
    """Say what of its program keeps a task from a worker whatever room there is."""
    run = task.program
    if run is not None and worker.uid in run.barred and not _goes_on(s, run, worker):
        return run.barred[worker.uid].removeprefix(f"{worker.name} ")
    if task.extra is not None and worker.uid in task.extra.refused_by:
        return "could not run it before: others come first"
    if run is not None and not programs.takes(worker, run):
        return "has no room for another program: all that it has are in use"
    return ""


def _goes_on(s: State, run: RunRecord, worker: WorkerRecord) -> bool:
    """Tell whether a run has only workers with other code left, and goes on with this one."""
    return worker.uid in run.allowed and all(uid in run.barred for uid in s.workers)


def is_too_cold(s: State, worker: WorkerRecord, task: TaskRecord, expected_s: float) -> str:
    """Say that importing a program for a task does not pay on a worker that has room."""
    run = task.program
    if run is None or programs.is_warm(worker, run) or programs.cold_pays(s, run, expected_s):
        return ""
    return f"would import {programs.modules(run)} first, which does not pay yet"


def waits_for_program(s: State, group: Group, expected_s: float) -> str:
    """Say why nobody with a free slot takes the first task of a group. Cost: O(workers)."""
    head = group.head()
    if head is None:
        return ""
    demand, solo, refused_by, _ = group.key
    plain = not (demand or solo or refused_by)
    for worker in islice(s.workers.values(), LOOKED_AT_MAX):
        if not worker.accepting or worker.used_slots >= worker.slots:
            continue
        why = kept_from(s, worker, head.task)
        if not why and plain:
            why = is_too_cold(s, worker, head.task, expected_s)
        if why:
            return f"{worker.name} {why}"
    return ""


def imports(s: State, run: RunRecord) -> list[str]:
    """List the imports that a run waits for: none once a worker has imported it."""
    found: list[str] = []
    for worker in islice(s.workers.values(), LOOKED_AT_MAX):
        seen = worker.seen.get(run.number)
        if seen is not None and seen.import_s >= 0 and not seen.failed:
            return []
        text = importing(worker, run)
        if text:
            found.append(text)
    return found[:1]


def planning(s: State, run: RunRecord, asked: int = 0) -> str:
    """Say what the planning of a run, or of a task of it, waits for, as far as programs decide."""
    plan = s.plans.get(asked)
    if plan is not None:
        worker = s.workers.get(plan.uid)
        text = importing(worker, plan.program) if worker is not None else ""
        return f"waits for {text}" if text else "a planner expands it now"
    joined = [one for one in islice(s.workers.values(), LOOKED_AT_MAX) if one.accepting]
    able = [one for one in joined if one.uid not in run.barred]
    if joined and not able:
        return f"waits for another worker: {run.barred[joined[0].uid]}"
    if able and not any(programs.takes(one, run) for one in able):
        return f"{able[0].name} has no room for another program: all that it has are in use"
    home = s.workers.get(run.home)
    if home is not None and home in able and len(home.plans) >= max(1, home.planners):
        return f"waits for the planner of {home.name}, which plans this run while it is small"
    return ""


def rows(s: State, worker: WorkerRecord) -> list[WorkerProgram]:
    """List the programs of a worker, the newest ones, for ``flow workers``."""
    newest = sorted(worker.seen.values(), key=lambda one: -one.number)[:PROGRAMS_MAX]
    return [_row(s, worker, seen) for seen in newest]


def _row(s: State, worker: WorkerRecord, seen: ProgramSeen) -> WorkerProgram:
    run = s.runs.get(seen.number)
    state = "ready"
    if seen.failed:
        state = "failed"
    elif seen.import_s < 0:
        state = "importing"
    elif seen.text:
        state = "alone"
    barred = run.barred.get(worker.uid, "") if run is not None else ""
    differs = run is not None and worker.uid in run.differing
    text = barred or seen.text.partition("\n")[0]
    return WorkerProgram(f"r-{seen.number}", seen.code, seen.import_s, state, text, differs)


def run_notes(run: RunRecord) -> list[str]:
    """Say what is to be known about the programs of a run: what was told, and what ran."""
    ran = ran_with(run)
    return [*run.notes, ran] if ran else list(run.notes)


def ran_with(run: RunRecord) -> str:
    """Say where attempts of a run had other code than it was planned with. Empty: nowhere."""
    other = [
        f"{code} on {', '.join(one.workers)}" for code, one in run.codes.items() if one.workers
    ]
    if not other:
        return ""
    return f"not all of it ran with the code it was planned with ({run.code}): {'; '.join(other)}"
