"""Programs: what the tasks of one run are executed in, told to workers before they use it.

A program is named by the number of its run. A task is executed in the program of the run for which
it was planned, also where other runs wait for it, because what it is (its defaults, the code behind
it) was read there. When that run is over before the task is granted, the task is planned anew, for
the oldest run that still wants it.

Workers list their programs in heartbeats. What they lack is defined (again), and which of theirs
are over is said with each acknowledgement: neither depends on a message that may get lost.

Rule R1.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from flow.wire.ids import WorkerUid
from flow.wire.messages.shared import Program, ProgramSeen, differing
from flow.wire.messages.worker import Define, Heartbeat
from flow.wire.states import RunState
from flow_coordinator.core.records import OtherCode, RunRecord, TaskRecord, WorkerRecord
from flow_coordinator.core.state import State

#: Bytes of root modules in one definition; what a program does not name is imported on demand.
MODULES_BYTES_MAX = 64 << 10
#: Definitions in one message.
DEFINE_MAX = 4
#: Sentences kept about the program of a run, and their length.
NOTES_MAX = 20
NOTE_CHARS_MAX = 600
#: Names in one of them.
NAMES_MAX = 5
#: Other codes remembered of one run, and workers named that ran with one of them.
CODES_MAX = 20
WORKERS_MAX = 20
#: What beginning with a program costs a worker besides its import, seconds.
COLD_S = 0.05


def lives(run: RunRecord | None) -> bool:
    """Tell whether tasks may still be granted in a run's program."""
    return run is not None and run.state == RunState.RUNNING and not run.cancelled


def define(
    s: State, worker: WorkerRecord, runs: Iterable[RunRecord], *, prepare: bool = False
) -> None:
    """Tell a worker what it has not been told in this session: before it is told to use it."""
    new = [run for run in dict.fromkeys(runs) if run.number not in worker.programs]
    for at in range(0, len(new), DEFINE_MAX):
        piece = new[at : at + DEFINE_MAX]
        worker.programs.update(dict.fromkeys(run.number for run in piece))
        told = [_spell_for(worker, run) for run in piece]
        s.send(worker.peer, Define(worker.session, told, prepare))


def prepare(s: State, run: RunRecord, width: int, expected_s: float) -> None:
    """Have as many workers import a run's program as ``width`` tasks at a time need, if that pays.

    Otherwise they would begin with that when its widest part can begin. Nothing depends on it.
    """
    if not lives(run):
        return
    slots = sum(one.slots for one in s.workers.values() if is_warm(one, run))
    cold = [one for one in s.workers.values() if one.accepting and not is_warm(one, run)]
    for worker in sorted(cold, key=_business):
        if slots >= width or not cold_pays(s, run, expected_s):
            return
        if worker.roomy and worker.uid not in run.barred:
            define(s, worker, [run], prepare=True)
            slots += worker.slots


def _business(worker: WorkerRecord) -> tuple[float, str]:
    return worker.used_slots / worker.slots, worker.name


def _spell_for(worker: WorkerRecord, run: RunRecord) -> Program:
    program = spell(run)
    return msgspec.structs.replace(program, code="") if worker.uid in run.allowed else program


def spell(run: RunRecord) -> Program:
    """Say what a program is."""
    named: dict[str, None] = {}
    left_bytes = MODULES_BYTES_MAX
    for root in run.root_tasks:
        if root.module not in named and len(root.module) <= left_bytes:
            named[root.module] = None
            left_bytes -= len(root.module)
    return Program(
        run.number, run.project, list(named), run.options.given, run.code, run.options.package
    )


def heard(s: State, worker: WorkerRecord, message: Heartbeat) -> list[int]:
    """Compare what a worker has with what it was told; return which of its programs are over."""
    has = {one.number for one in message.programs}
    over = [number for number in (*has, *message.wanted) if number not in s.runs]
    for one in message.programs:
        run = s.runs.get(one.number)
        if run is not None:
            learn(s, worker, run, one)
    worker.seen = {one.number: one for one in message.programs}
    if message.room and not worker.roomy:
        s.ready.open_all()
    worker.roomy = message.room
    # what it has let go is told again when it is used again
    worker.programs = {number: None for number in worker.programs if number in has}
    asked = [s.runs.get(number) or s.ended.get(number) for number in message.wanted]
    define(s, worker, [run for run in asked if run is not None])
    return sorted(over)


def run_for(task: TaskRecord) -> RunRecord | None:
    """Choose the run whose program answers for a task that is to be planned: the oldest."""
    wanting = [run for run in task.runs if lives(run)]
    return min(wanting, key=_number) if wanting else None


def _number(run: RunRecord) -> int:
    return run.number


def learn(s: State, worker: WorkerRecord, run: RunRecord, seen: ProgramSeen) -> None:
    """Compare how a program stands on a worker with what its run was planned with."""
    if seen.failed:
        run.differing.pop(worker.uid, None)
        first = seen.text.partition("\n")[0]
        verb = "run" if seen.given_up else "import"
        # of the only worker the failure itself is shown
        told = len(s.workers) > 1
        _bar(s, run, worker, f"{worker.name} cannot {verb} {modules(run)}: {first}", told)
    elif seen.code and not run.code:
        fix_code(s, run, seen.code)
        run.files = seen.files
    elif seen.code and seen.code != run.code:
        if run.differing.get(worker.uid) != seen.code:
            _differs(s, worker, run, seen)
    elif seen.code:
        if seen.files and not run.files:
            run.files = seen.files
        if run.barred.pop(worker.uid, None) is not None:
            run.differing.pop(worker.uid, None)
            run.allowed.pop(worker.uid, None)
            s.ready.open_all()


def _differs(s: State, worker: WorkerRecord, run: RunRecord, seen: ProgramSeen) -> None:
    """Bar a worker from a run whose code it has not, and say in which files they differ."""
    other = run.codes.get(seen.code)
    names = differing(run.files, seen.files) if run.files and seen.files else []
    if not names and other is not None:
        names = other.files
    if other is None and len(run.codes) < CODES_MAX:
        run.codes[seen.code] = OtherCode(names)
        s.changes.runs[run] = None
    home = s.workers.get(run.home)
    if home is worker:
        text = f"{worker.name} has other code than when it planned"
    else:
        planner = home.name if home is not None else "the run was planned with"
        text = f"{worker.name} has other code than {planner}"
    run.differing[worker.uid] = seen.code
    run.allowed.pop(worker.uid, None)
    _bar(s, run, worker, f"{text}: {', '.join(names)}" if names else text, True)


def fix_code(s: State, run: RunRecord, code: str) -> None:
    """The first code that a run is planned with is the code of the run, for all that have it."""
    if code and not run.code:
        run.code = code
        s.changes.runs[run] = None
        for worker in s.workers.values():
            if run.number in worker.programs:
                s.send(worker.peer, Define(worker.session, [spell(run)]))


def ran(s: State, run: RunRecord, uid: WorkerUid, name: str) -> str:
    """Note that an attempt ended which ran in this program; return its code if it is another."""
    code = run.differing.get(uid, "")
    other = run.codes.get(code)
    if other is not None and name not in other.workers and len(other.workers) < WORKERS_MAX:
        other.workers = [*other.workers, name]
        s.changes.runs[run] = None
    return code


def gone(s: State, uid: WorkerUid) -> None:
    """A worker is gone for good: what it has says nothing any more. Cost: O(runs)."""
    for run in s.runs.values():
        if run.barred.pop(uid, None) is not None:
            run.differing.pop(uid, None)
            run.allowed.pop(uid, None)


def _bar(s: State, run: RunRecord, worker: WorkerRecord, text: str, told: bool) -> None:
    if run.barred.get(worker.uid) == text:
        return
    run.barred[worker.uid] = text
    if told:
        note(s, run, text)
    # what only this worker was to have may wait for nobody now
    s.ready.open_all()


def note(s: State, run: RunRecord, text: str) -> None:
    """Tell those who follow a run, and its summary, something about its program."""
    text = text[:NOTE_CHARS_MAX]
    if text not in run.notes and len(run.notes) < NOTES_MAX:
        run.notes.append(text)
        s.changes.runs[run] = None
        run.changed = True
        s.news[run.number] = run


def takes(worker: WorkerRecord, run: RunRecord) -> bool:
    """Tell whether a worker has a program, or room for it."""
    return worker.roomy or run.number in worker.seen


def has_imported(worker: WorkerRecord, run: RunRecord) -> bool:
    """Tell whether a worker's grants need not wait for an import: it has planned, or said so."""
    seen = worker.seen.get(run.number)
    return worker.uid == run.home or (seen is not None and seen.import_s >= 0)


def is_warm(worker: WorkerRecord, run: RunRecord) -> bool:
    """Tell whether a worker has imported a program, or is about to."""
    return run.number in worker.programs


def cold_pays(s: State, run: RunRecord, expected_s: float) -> bool:
    """Tell whether a run has so much left to do that one more worker should import it."""
    warm = [one for one in s.workers.values() if is_warm(one, run) and one.accepting]
    slots = sum(one.slots for one in warm)
    if not slots:
        return True
    return run.open * expected_s / slots > cold_s(warm, run)


def cold_s(workers: Iterable[WorkerRecord], run: RunRecord) -> float:
    """How long one more worker would take to begin with a program, as far as these know."""
    seen = (one.seen.get(run.number) for one in workers)
    import_s = max((one.import_s for one in seen if one is not None), default=-1.0)
    return max(import_s, COLD_S)


def allow(s: State, worker: WorkerRecord, run: RunRecord) -> None:
    """No worker is left that has the code of a run: let this one go on with what it has."""
    if worker.uid not in run.allowed:
        run.allowed[worker.uid] = None
        text = "no worker is left that has the code of the run: it goes on with that of"
        note(s, run, f"{text} {worker.name}")
        worker.programs.pop(run.number, None)
    define(s, worker, [run])


def others_may_return(s: State) -> bool:
    """Tell whether workers from before a restart may still join: they may have what others lack."""
    return bool(s.known) and s.now < s.started_at + s.config.timing.term_s


def why_strict(run: RunRecord) -> str:
    """Say why nobody may go on with a run that insists on its code."""
    why = "no worker is left that has the code of the run, and strict_code is set"
    texts = [run.barred[uid] for uid in run.differing if uid in run.barred]
    return "; ".join([why, *texts[:NAMES_MAX]])


def modules(run: RunRecord) -> str:
    """Name what a run imports, the first ones."""
    return ", ".join(dict.fromkeys(root.module for root in run.root_tasks[:NAMES_MAX]))
