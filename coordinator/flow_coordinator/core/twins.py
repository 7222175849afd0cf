"""Twins: tasks of one project that have one id and are different, because different code is behind.

A task is (project, origin, id). The origin is the module of its family, as task processes name it
(``flow.modules.origins``). Ids are what people see and what paths use, so twins may write the same
files: **they never hold leases at the same time**, suspended ones included. Who could be granted
while a twin holds one waits (pending, in ``waiting``) and is looked at again when that lease ends.

Memory keeps tasks by id, since nearly every id has one origin; only where there are more, all of
them are listed here as well. A generator that waits, directly or through others, for its own twin
would wait for ever: while somebody waits for a suspended one, that is looked for now and then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from flow.wire.states import TERMINAL, TaskState
from flow_coordinator.core.records import LeaseRecord, TaskRecord
from flow_coordinator.core.timers import Timer

if TYPE_CHECKING:
    from flow_coordinator.core.state import State

#: At the latest it is looked then again whether twins wait for each other, seconds.
LOOK_MAX_S = 60.0
#: How many of those that wait are looked at in one go.
LOOK_TASKS_MAX = 100


def find(s: State, project: str, task_id: str, module: str) -> TaskRecord | None:
    """Find a task of an origin in memory."""
    task = s.tasks.get(project, {}).get(task_id)
    if task is None or task.family.module == module:
        return task
    others = s.twins.by_id.get((project, task_id), ())
    return next((one for one in others if one.family.module == module), None)


def of(s: State, project: str, task_id: str) -> Sequence[TaskRecord]:
    """List all tasks in memory that have an id."""
    task = s.tasks.get(project, {}).get(task_id)
    if task is None:
        return ()
    return s.twins.by_id.get((project, task_id), (task,))


def everything(s: State) -> Iterator[TaskRecord]:
    """List all tasks in memory. Cost: O(tasks)."""
    for tasks in s.tasks.values():
        yield from tasks.values()
    for listed in s.twins.by_id.values():
        yield from listed[1:]


def is_known(s: State, task: TaskRecord) -> bool:
    """Tell whether this very record is what memory has for its task."""
    return find(s, task.family.project, task.task_id, task.family.module) is task


def add(s: State, task: TaskRecord) -> None:
    """Let a task be found from now on; one of the same id and origin is found no more."""
    project, task_id = task.family.project, task.task_id
    tasks = s.tasks.setdefault(project, {})
    first = tasks.get(task_id)
    if first is None or first.family.module == task.family.module:
        tasks[task_id] = task
    listed = s.twins.by_id.get((project, task_id)) or ([first] if first is not None else [])
    same = [at for at, one in enumerate(listed) if one.family.module == task.family.module]
    if same:
        listed[same[0]] = task
    elif listed:
        s.twins.by_id[project, task_id] = [*listed, task]


def remove(s: State, task: TaskRecord) -> None:
    """Let a task be found no more. Does nothing for one that is not found anyway."""
    project, task_id = task.family.project, task.task_id
    tasks = s.tasks.get(project, {})
    listed = s.twins.by_id.get((project, task_id))
    s.twins.waiting.pop(task, None)
    if listed is None:
        if tasks.get(task_id) is task:
            del tasks[task_id]
        return
    left = [one for one in listed if one is not task]
    if len(left) < 2:
        del s.twins.by_id[project, task_id]
    else:
        s.twins.by_id[project, task_id] = left
    tasks[task_id] = left[0]


def others(s: State, task: TaskRecord) -> list[TaskRecord]:
    """List the twins of a task."""
    listed = s.twins.by_id.get((task.family.project, task.task_id), ())
    return [one for one in listed if one is not task]


def holder(s: State, task: TaskRecord) -> TaskRecord | None:
    """Find the twin whose lease keeps a task from being granted."""
    return next((one for one in others(s, task) if one.lease is not None), None)


def keeps_waiting(s: State, task: TaskRecord) -> bool:
    """Tell whether a task that could be ready waits for a twin's lease; note that it does."""
    one = holder(s, task)
    if one is None:
        s.twins.waiting.pop(task, None)
        return False
    s.twins.waiting[task] = None
    look_later(s)
    return True


def look_later(s: State) -> None:
    """See to it that twins which wait for each other are found."""
    t = s.twins
    if not t.look_at and t.waiting:
        t.look_at = s.now + t.pause_s
        s.timer(t.look_at, Timer.TWINS, None)


def waits_in_circle(s: State) -> tuple[LeaseRecord, TaskRecord] | None:
    """Find a suspended lease that a twin of its own keeps from going on, and that twin.

    Cost: O(tasks that some suspended generators with waiting twins wait for).
    """
    waiting = s.twins.waiting
    for task in list(islice(waiting, LOOK_TASKS_MAX)):
        del waiting[task]
        one = holder(s, task)
        lease = one.lease if one is not None else None
        if lease is None or task.state != TaskState.PENDING or task.waits:
            continue  # cancelled, planned anew, or on its way
        waiting[task] = None  # behind the others, whose turn is next time
        if not lease.holds and not lease.doomed and _needs(s, lease, task):
            return lease, task
    return None


def _needs(s: State, lease: LeaseRecord, wanted: TaskRecord) -> bool:
    """Tell whether a suspended lease cannot go on before a task is done."""
    seen: dict[TaskRecord, None] = {lease.task: None}
    stack = [lease.task]
    while stack:
        one = stack.pop()
        below = list(one.upstream)
        if one.lease is not None:
            if one.lease.doomed:
                continue  # it ends soon
            # a member of a batch waits for what its first waits for
            below += [] if one.lease.holds else [one.lease.task]
        if one in s.twins.waiting:
            kept_by = holder(s, one)
            below += [kept_by] if kept_by is not None else []
        for dep in below:
            if dep is wanted:
                return True
            if dep not in seen and dep.state not in TERMINAL:
                seen[dep] = None
                stack.append(dep)
    return False


def called(task: TaskRecord) -> str:
    """Name a task and where it is from, for people who could mean either."""
    return f"{task.name} of {task.family.module}"


def shown(s: State, task: TaskRecord) -> str:
    """Name a task for people; with its module where it has twins."""
    return called(task) if s.twins.by_id and others(s, task) else task.name


def typed(s: State, task: TaskRecord) -> str:
    """Spell what somebody may type for a task, and for no other."""
    twin = s.twins.by_id and others(s, task)
    return f"{task.task_id} of {task.family.module}" if twin else task.task_id


def names(tasks: list[TaskRecord]) -> list[str]:
    """Name tasks so that no two read the same.

    Where their parameters do not tell them apart their modules do, and then their projects.
    """
    plain = Counter(task.name for task in tasks)
    whole = Counter(called(task) for task in tasks)
    found = []
    for task in tasks:
        text = task.name if plain[task.name] == 1 else called(task)
        same = plain[task.name] > 1 and whole[text] > 1
        found.append(f"{text} (project {task.family.project})" if same else text)
    return found


def reason(s: State, task: TaskRecord) -> str:
    """Say for which twin a task waits; empty: for none."""
    one = holder(s, task) if task in s.twins.waiting else None
    if one is None or task.state != TaskState.PENDING:
        return ""
    return (
        f"waits for the other {one.family.family} of module {one.family.module}, "
        "which may write the same files"
    )
