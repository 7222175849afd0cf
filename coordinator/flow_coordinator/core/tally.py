"""The one funnel of state changes: the table decides, counts of runs follow."""

from __future__ import annotations

from collections.abc import Iterable

from flow.wire.states import HELD, TERMINAL, TaskState
from flow_coordinator.core.records import RunRecord, TaskRecord
from flow_coordinator.core.state import State
from flow_coordinator.core.transitions import TABLE, TARGETS, TaskEvent

#: Pairs of families remembered of one run.
LINKS_MAX = 5_000

_STATES = len(TaskState)
_TERMINAL = tuple(state in TERMINAL for state in TaskState)
#: States whose beginning and end are written to the store (the others are derived at a start).
_DURABLE = tuple(
    state in TERMINAL | HELD | {TaskState.BACKOFF, TaskState.EXTERNAL} for state in TaskState
)


def move(s: State, task: TaskRecord, event: TaskEvent) -> bool:
    """Apply an event; tell whether the task moved. Raises ``IllegalMove`` where refused."""
    old = task.state
    new = TARGETS[event][old]
    if new is None:
        TABLE.check(old, event, task.task_id)
        return False
    task.state = new
    task.since = s.now
    s.moves.append((s.now, task.task_id, event, new))
    # the step from leased to running is soft: memory only
    if (_DURABLE[new] or _DURABLE[old]) and event != TaskEvent.START:
        s.changes.progress[task] = None
    for run in task.runs:
        tally = run.tallies[task.family.family]
        tally[old] -= 1
        tally[new] += 1
        if _TERMINAL[new] != _TERMINAL[old]:
            run.open += 1 if _TERMINAL[old] else -1
        if old == TaskState.UNPLANNED:
            run.unplanned -= 1
        elif new == TaskState.UNPLANNED:
            run.unplanned += 1
        if not run.changed or not run.open:
            changed(s, run)
    return True


def leave(s: State, task: TaskRecord, run: RunRecord) -> None:
    """Stop counting an open task in a cancelled run: others go on with it."""
    part(s, task, run)
    set_left(s, task, run, TaskState.CANCELLED)
    numbers = run.tallies[task.family.family]
    numbers[task.state] -= 1
    numbers[TaskState.CANCELLED] += 1
    run.open -= 1
    if task.state == TaskState.UNPLANNED:
        run.unplanned -= 1
    changed(s, run)


def set_left(s: State, task: TaskRecord, run: RunRecord, state: TaskState) -> None:
    """Remember what a task counts as in a run that others go on without; it stays in memory."""
    if task not in run.left:
        s.kept[task] = s.kept.get(task, 0) + 1
    run.left[task] = state


def let_go(s: State, task: TaskRecord) -> None:
    """A run that had left a task counts it again, or leaves memory itself."""
    count = s.kept[task] - 1
    if count:
        s.kept[task] = count
    else:
        del s.kept[task]


def part(s: State, task: TaskRecord, run: RunRecord) -> None:
    """Count a task in a run no more; it is stored under the first of those that are left."""
    first = task.runs[0]
    task.runs = tuple(other for other in task.runs if other is not run)
    if task.runs and first is run:
        s.changes.tasks[task] = None


def withdraw(task: TaskRecord, run: RunRecord) -> None:
    """Forget that an open task was ever counted in a run. Cost: O(tasks of the run)."""
    run.tasks.remove(task)
    numbers = run.tallies[task.family.family]
    numbers[task.state] -= 1
    run.open -= 1
    if task.state == TaskState.UNPLANNED:
        run.unplanned -= 1


def changed(s: State, run: RunRecord) -> None:
    """Remember that a run has news (for its end, and for those who watch)."""
    run.changed = True
    s.news[run.number] = run


def enrol(s: State, task: TaskRecord, run: RunRecord) -> None:
    """Count a task in a run, once: what it counted as before it was left does not count on."""
    task.runs = (*task.runs, run)
    tally = run.tallies.get(task.family.family)
    if tally is None:
        tally = run.tallies[task.family.family] = [0] * _STATES
    left = run.left.pop(task, None) if run.left else None
    if left is None:
        run.tasks.append(task)
    else:  # it comes back
        tally[left] -= 1
        let_go(s, task)
    tally[task.state] += 1
    if not _TERMINAL[task.state]:
        run.open += 1
    if task.state == TaskState.UNPLANNED:
        run.unplanned += 1
    changed(s, run)


def link(task: TaskRecord, deps: Iterable[TaskRecord], runs: tuple[RunRecord, ...]) -> None:
    """Remember in these runs which families the family of a task requires. Cost: O(deps).

    Edges go when a task is done; which families they joined stays, to be shown.
    """
    last = None
    for dep in deps:
        family = dep.family
        if family is not last:  # mostly they are of one
            last = family
            pair = (task.family.family, family.family)
            for run in runs:
                if pair not in run.links and len(run.links) < LINKS_MAX:
                    run.links[pair] = None
