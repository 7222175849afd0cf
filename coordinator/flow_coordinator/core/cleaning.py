"""Removing temporary outputs that nobody needs any more, without ever racing with planning.

A planner that looks while a removal goes on could call an output complete that is gone a moment
later. So both exclude each other: a removal begins only when no planning request is open, and
while one is outstanding none is sent. Removals are few, small and asked for one at a time; what a
lost worker leaves unfinished is asked of another one, and what a worker cannot do is asked again
later, a few times. All of this is best effort: nothing is stored, and after a restart an output may
stay until its next run.
"""

from __future__ import annotations

from flow.wire.messages.shared import Stub
from flow.wire.messages.worker import Clean, Cleaned
from flow.wire.states import SATISFIED, TERMINAL, RunState
from flow_coordinator.core import programs, tally, twins
from flow_coordinator.core.records import RunRecord, TaskRecord, WorkerRecord
from flow_coordinator.core.state import State
from flow_coordinator.core.temporary import CleanRecord, is_due
from flow_coordinator.core.timers import Timer
from flow_coordinator.core.values import Instant

#: Tasks of one request.
TASKS_MAX = 100
#: Silence after which a request is said again; what failed is tried again after it. Seconds.
ASK_AGAIN_S = 5.0
#: Requests that workers could not see to, one after the other, after which outputs stay.
LOST_MAX = 3
#: How long planning goes first; then it waits for a removal, seconds.
PATIENCE_S = 10.0
#: How long a run stays open for the removal of what it made, seconds.
END_WAIT_S = 15.0
#: A worker ends a removal after 10 s; one that is not heard of may have just begun, seconds.
LINGER_S = 15.0


def turn(s: State) -> None:
    """Ask for a removal, if one is due and planning rests."""
    t = s.temporary
    if t.due and t.asked is None and not (s.stalled or s.stopping):
        _ask(s)
    for run in t.freed:
        if run.state == RunState.RUNNING:
            tally.changed(s, run)
    t.freed = []
    if t.settled:
        _forget_unowned(s)


def _forget_unowned(s: State) -> None:
    """Drop tasks whose runs have ended and which stayed in memory only for their needers."""
    t = s.temporary
    for task in t.settled:
        if task.runs or task in t.due or t.is_needed(task) or task.state not in TERMINAL:
            continue
        t.known.pop(task, None)
        twins.remove(s, task)
    t.settled = []


def _ask(s: State) -> None:
    t = s.temporary
    since = next(iter(t.due.values()))
    if t.unsure:
        t.unsure = [one for one in t.unsure if _may_run(s, one)]
    if s.plans or ((s.frontier or s.unresolved) and s.now < since + PATIENCE_S) or t.unsure:
        _wake(s, s.now + PATIENCE_S)
        return
    worker = next((one for one in s.workers.values() if one.accepting), None)
    if worker is None:
        # nobody can: runs end, and what is due stays due until somebody joins
        t.freed += t.awaited
        t.awaited.clear()
        return
    tasks = _take(s)
    if not tasks:
        if t.due:
            _wake(s, s.now + ASK_AGAIN_S)
        return
    program = tasks[0].program
    assert program is not None, "an output of which is not known how it was made is not taken"
    if worker.uid in program.barred or not programs.takes(worker, program):
        able = (one for one in s.workers.values() if one.accepting and programs.takes(one, program))
        worker = next((one for one in able if one.uid not in program.barred), worker)
    s.plan_seq += 1
    t.asked = CleanRecord(s.plan_seq, worker.uid, tasks, s.now)
    _say(s, worker, t.asked)


def _may_run(s: State, task: TaskRecord) -> bool:
    """Tell whether a task is in memory and not done: it, or a retry of it, has its needs."""
    return twins.is_known(s, task) and task.state not in SATISFIED


def _wake(s: State, at: Instant) -> None:
    """Have a turn then, without a timer for each turn until then."""
    if s.temporary.wake_at <= s.now:
        s.temporary.wake_at = at
        s.timer(at, Timer.CLEAN, None)


def holds_end(s: State, run: RunRecord) -> bool:
    """Tell whether a run that is over stays open for the removal of what it made."""
    t = s.temporary
    if run not in t.awaited:
        t.held.pop(run, None)
        return False
    since = t.held.get(run)
    if since is None:
        since = t.held[run] = s.now
        s.timer(since + END_WAIT_S, Timer.CLEAN_END, run)
    if s.now < since + END_WAIT_S:
        return True
    del t.awaited[run], t.held[run]
    return False


def holds_planning(s: State) -> bool:
    """Tell whether no planning request may be sent now."""
    t = s.temporary
    if t.asked is not None or s.now < t.linger_until:
        return True
    return bool(t.due) and s.now >= next(iter(t.due.values())) + PATIENCE_S and bool(s.workers)


def _take(s: State) -> list[TaskRecord]:
    """Take what is still due. What is being planned by its run waits: more may need it."""
    t = s.temporary
    tasks: list[TaskRecord] = []
    for task, since in list(t.due.items())[: 2 * TASKS_MAX]:
        if not _is_still_due(s, task):
            t.drop(task)
        elif task.program is None:
            _stays(s, task, "what it was made with is forgotten")
        elif since > s.now or (
            s.now < since + PATIENCE_S and any(run.unplanned for run in task.runs)
        ):
            continue
        else:
            if tasks and task.program is not tasks[0].program:
                continue  # in a request of their own
            del t.due[task]
            tasks.append(task)
            if task in t.known:
                t.known[task].gone = True
            if len(tasks) == TASKS_MAX:
                break
    return tasks


def _is_still_due(s: State, task: TaskRecord) -> bool:
    need = s.temporary.known.get(task)
    if need is not None:
        return is_due(task, need)
    # its runs have ended and it left memory; whoever names it, or a twin, now has another record
    return task.task_id not in s.tasks.get(task.family.project, {})


def _say(s: State, worker: WorkerRecord, record: CleanRecord) -> None:
    stubs = [Stub(t.task_id, t.family.module, t.family.family, t.params) for t in record.tasks]
    # where its outputs are may depend on what it was planned with
    program = record.tasks[0].program
    assert program is not None
    programs.define(s, worker, [program])
    s.send(worker.peer, Clean(worker.session, record.number, stubs, program.number))
    s.timer(s.now + ASK_AGAIN_S, Timer.CLEAN, record.number)


def ask_again(s: State, number: int | None) -> None:
    """A timer fired: say the request again that was not answered."""
    record = s.temporary.asked
    if record is not None and record.number == number:
        worker = s.workers.get(record.uid)
        if worker is not None:
            _say(s, worker, record)


def cleaned(s: State, worker: WorkerRecord, message: Cleaned) -> None:
    """A removal was done, or as much of it as there was time for."""
    t = s.temporary
    record = t.asked
    if record is None or record.number != message.request or record.uid != worker.uid:
        return
    t.asked = None
    for error in message.errors:
        s.note("temporary output not removed", "warning", worker=worker.name, error=error)
    if message.lost:
        _lost(s, record.tasks)
        return
    for task in record.tasks[: message.done]:
        t.over(task)
    _again(s, record.tasks[message.done :])


def _lost(s: State, tasks: list[TaskRecord]) -> None:
    """Nobody could remove these there and then. What fails for a reason fails again, at once."""
    t = s.temporary
    again: list[TaskRecord] = []
    for task in tasks:
        t.lost[task] = t.lost.get(task, 0) + 1
        if t.lost[task] < LOST_MAX:
            again.append(task)
        else:
            _stays(s, task, f"no worker could remove it, tried {LOST_MAX} times")
    _again(s, again, ASK_AGAIN_S)


def _stays(s: State, task: TaskRecord, why: str) -> None:
    t = s.temporary
    t.due.pop(task, None)
    t.over(task)
    s.note("temporary output stays", "warning", task=task.task_id, why=why)


def lose(s: State, uid: str) -> None:
    """A worker is gone, or joined again: what it was asked for is asked of another one."""
    t = s.temporary
    record = t.asked
    if record is None or record.uid != uid:
        return
    t.asked = None
    t.linger_until = s.now + LINGER_S
    s.timer(t.linger_until, Timer.CLEAN, None)
    _again(s, record.tasks)


def _again(s: State, tasks: list[TaskRecord], later_s: float = 0.0) -> None:
    """Ask for these once more."""
    t = s.temporary
    for task in tasks:
        t.due[task] = s.now + later_s


def rebuild(s: State, tasks: list[TaskRecord]) -> None:
    """Know again, after a restart, who needs what. A removal of before may still go on."""
    t = s.temporary
    for task in tasks:
        if task.policy is not None and task.policy.policy.temporary:
            t.found(task)
    if not t.known:
        return
    for task in tasks:
        t.needs(task, list(task.upstream))
    for task, need in t.known.items():
        need.gone = task.state in SATISFIED and not need.needers
    t.linger_until = s.now + LINGER_S
    s.timer(t.linger_until, Timer.CLEAN, None)
