"""The DAG: naming tasks, edges, the order that keeps it acyclic, and what flows along edges.

A topological position per task (``order``; requirements are lower) makes the cycle check cost
nothing for an edge that agrees with it, which is nearly every edge because new tasks are placed
below everything. An edge that disagrees moves only the tasks between its two ends.

Source: Pearce and Kelly, "A dynamic topological sort algorithm for directed acyclic graphs", 2006.
"""

from __future__ import annotations

from collections.abc import Mapping

from flow.wire.messages.client import RootTask
from flow.wire.messages.shared import Stub, shown
from flow.wire.params import pack_params
from flow.wire.states import SATISFIED, TERMINAL, RunState, TaskState
from flow_coordinator.core import batching, programs, tally, twins
from flow_coordinator.core.doom import REPLACES, Doom
from flow_coordinator.core.ready import UNMET, GroupKey
from flow_coordinator.core.records import RunRecord, TaskRecord
from flow_coordinator.core.state import LOOK_S, State
from flow_coordinator.core.timers import Timer
from flow_coordinator.core.transitions import TaskEvent

#: Edges released in one go; a wider task releases the rest in later turns.
RELEASE_MAX = 2_000
#: Rough size of what a question has besides the text of a task.
STUB_BYTES = 64
#: Requirements that are done and still known of a task that yields more often than this.
DONE_KEPT_MAX = 1_000


def name_task(
    s: State, project: str, stub: Stub, runs: tuple[RunRecord, ...], priority: float
) -> TaskRecord:
    """Find or make the record of a task that somebody names, and count it in these runs.

    A task that ended in other runs is planned afresh: what is remembered never stands in for
    ``complete()``. One that is open elsewhere is joined, with everything it waits for.
    """
    task = twins.find(s, project, stub.task_id, stub.module)
    if task is None:
        family = s.family(project, stub.module, stub.family)
        s.lowest -= 1
        task = TaskRecord(s.next_task, stub.task_id, family, stub.params, s.lowest)
        s.next_task += 1
        task.since = s.now
        twins.add(s, task)
        s.changes.tasks[task] = None
    elif is_done_for(s, task, runs):
        return task
    elif task.state in TERMINAL and not any(run in task.runs for run in runs):
        start_over(s, task)
        task.params = stub.params  # what counts not for its id may be another now
    elif s.temporary.known and s.temporary.may_be_gone(task):
        look_again(s, task)
    for run in runs:
        if run not in task.runs:
            attach(s, task, run)
    if priority > 0:
        raise_priority(s, task, priority)
    return task


def is_done_for(s: State, task: TaskRecord, runs: tuple[RunRecord, ...]) -> bool:
    """Tell whether all these runs saw a task done, and others do it again: these go on.

    A temporary output may be gone since.
    """
    if not runs or task in s.temporary.known:
        return False
    return all(run.left and run.left.get(task) in SATISFIED for run in runs)


def in_force(s: State, runs: tuple[RunRecord, ...], deps: list[TaskRecord]) -> list[TaskRecord]:
    """Leave out the requirements that are done for all runs of what needs them."""
    return [dep for dep in deps if dep.runs == runs or not is_done_for(s, dep, runs)]


def root_stub(root: RootTask) -> Stub:
    """Say a root as the planner reads it: its task id is not known yet."""
    return Stub("", root.module, root.family, pack_params(root.params))


def root_stubs(run: RunRecord, first: int, count_max: int, bytes_max: int) -> list[Stub]:
    """Say the roots of a run from one on, as many as fit into a question; at least one."""
    stubs: list[Stub] = []
    size = 0
    for root in run.root_tasks[first : first + count_max]:
        stub = root_stub(root)
        size += len(stub.params) + len(stub.module) + STUB_BYTES
        if stubs and size > bytes_max:
            break
        stubs.append(stub)
    return stubs


def root_name(root: RootTask) -> str:
    """Name a root for people."""
    return shown(root.family, pack_params(root.params))


def start_over(s: State, task: TaskRecord) -> None:
    """Plan an ended task afresh for a new run; the runs that saw it end keep their counts."""
    if task.state not in SATISFIED:
        task.downstream = [one for one in task.downstream or () if is_wanted(one)]
        revived(s, task)
    for run in task.runs:
        tally.set_left(s, task, run, task.state)
    task.runs = ()
    task.failures = task.crashes = 0
    task.extra = None
    task.priority = 0.0
    plan_again(s, task)


def look_again(s: State, task: TaskRecord) -> None:
    """Plan a done task afresh whose output may be gone: for its runs that still can need it."""
    for run in task.runs:
        if run.state != RunState.RUNNING or run.cancelled:
            tally.set_left(s, task, run, task.state)
    task.runs = tuple(r for r in task.runs if r.state == RunState.RUNNING and not r.cancelled)
    plan_again(s, task)


def plan_again(s: State, task: TaskRecord) -> None:
    """Ask ``complete()`` and ``requires()`` of a task again."""
    _unplan(s, task, TaskEvent.RECHECK)


def plan_for_another(s: State, task: TaskRecord) -> None:
    """The run for which a task was planned is over: plan it for one that still wants it.

    Nothing of what it was planned with holds any more. Only for what has no lease.
    """
    if task.ticket:
        s.ready.drop(task, group_key(task))
    _unplan(s, task, TaskEvent.REPLAN)


def _unplan(s: State, task: TaskRecord, event: TaskEvent) -> None:
    detach_upstream(s, task)
    tally.move(s, task, event)
    task.asked = 0
    # a stored task with a policy counts as planned after a restart
    task.policy = None
    task.program = None
    s.changes.tasks[task] = None
    s.frontier.append(task)


def is_wanted(task: TaskRecord) -> bool:
    """Tell whether a run that goes on counts a task."""
    return any(run.state == RunState.RUNNING for run in task.runs)


def detach_upstream(s: State, task: TaskRecord) -> None:
    """Forget the requirements of a task that is planned again, or leaves memory."""
    for at, (waiting, index) in enumerate(s.releasing):
        if task in waiting:
            left = [one for one in waiting[index:] if one is not task]
            s.releasing[at] = (left, 0)
    for dep in task.upstream:
        if dep.downstream and dep.state not in SATISFIED:
            dep.downstream = [waiter for waiter in dep.downstream if waiter is not task]
    task.upstream = ()
    task.waits = task.blocked = 0


def attach(s: State, task: TaskRecord, run: RunRecord) -> None:
    """Count a task, and everything open it waits for, in a run. Cost: O(newly counted)."""
    stack = [task]
    while stack:
        one = stack.pop()
        if run in one.runs:
            continue
        tally.enrol(s, one, run)
        _keep(s, one)
        if one.state not in TERMINAL or one.state == TaskState.UPSTREAM_FAILED:
            stack.extend(one.upstream)
            tally.link(one, one.upstream, (run,))


def _keep(s: State, task: TaskRecord) -> None:
    """A task that is being killed because others cancelled it runs again for those who want it."""
    extra = task.extra
    if extra is not None and extra.doom is not None and extra.doom[0] in REPLACES[Doom.AGAIN]:
        extra.doom = (Doom.AGAIN, extra.doom[1])
        s.changes.progress[task] = None
        for run in task.runs:
            if run.cancelled:
                tally.leave(s, task, run)


def raise_priority(s: State, task: TaskRecord, priority: float) -> None:
    """Let requirements inherit a positive priority. Cost: O(tasks raised)."""
    stack = [task]
    while stack:
        one = stack.pop()
        if one.priority >= priority or one.state in TERMINAL:
            continue
        one.priority = priority
        if one.ticket:
            s.ready.reorder(one, group_key(one))
        stack.extend(one.upstream)


def group_key(task: TaskRecord) -> GroupKey:
    """Tell what a ready task needs."""
    assert task.policy is not None
    extra = task.extra
    program = task.program.number if task.program is not None else 0
    if extra is None:
        return (task.policy.demand, False, (), program)
    return (task.policy.demand, extra.solo, tuple(extra.refused_by), program)


def find_cycle(task: TaskRecord, deps: list[TaskRecord]) -> list[TaskRecord] | None:
    """Make room for edges from a task to its requirements, or give the cycle they would close.

    Returns the path from the task back to itself. Changes positions, no edges. What waits for a
    batch that yielded waits for what its first task waits for.
    """
    lease = task.lease
    if lease is not None and lease.members:
        path = _path(task, deps, lease.members)
        if path is not None:
            return path
    for dep in deps:
        if dep.order >= task.order:
            path = _reorder(task, dep)
            if path is not None:
                return path
        lease = dep.lease
        if lease is not None and not lease.holds and lease.task is not dep:
            first = lease.task
            path = _reorder(task, first) if first.order >= task.order else None
            if path is not None:
                return [task, dep, *path[1:]]
    return None


def _path(
    task: TaskRecord, deps: list[TaskRecord], ends: Mapping[TaskRecord, int]
) -> list[TaskRecord] | None:
    """Find a way from a task over its requirements to one of ``ends``. Cost: O(what is above)."""
    low = min(end.order for end in ends)
    came: dict[TaskRecord, TaskRecord] = {dep: task for dep in deps if dep.order >= low}
    stack = list(came)
    while stack:
        one = stack.pop()
        if one in ends:
            path = [one]
            while path[-1] is not task:
                path.append(came[path[-1]])
            return path[::-1]
        for up in one.upstream:
            if up.order >= low and up not in came:
                came[up] = one
                stack.append(up)
    return None


def _reorder(task: TaskRecord, dep: TaskRecord) -> list[TaskRecord] | None:
    """Move ``dep`` and what it needs below ``task`` (and what needs it)."""
    if dep is task:
        return [task, task]
    low, high = task.order, dep.order
    came: dict[TaskRecord, TaskRecord | None] = {dep: None}
    stack = [dep]
    while stack:
        one = stack.pop()
        for up in one.upstream:
            if up is task:
                path = [task]
                step: TaskRecord | None = one
                while step is not None:
                    path.append(step)
                    step = came[step]
                return [task, *reversed(path[1:]), task]
            if up.order >= low and up not in came:
                came[up] = one
                stack.append(up)
    back: dict[TaskRecord, None] = {task: None}
    stack = [task]
    while stack:
        for down in stack.pop().downstream or ():
            if down.order <= high and down not in back:
                back[down] = None
                stack.append(down)
    movers = sorted(came, key=_order) + sorted(back, key=_order)
    places = sorted(one.order for one in movers)
    for one, place in zip(movers, places, strict=True):
        one.order = place
    return None


def _order(task: TaskRecord) -> int:
    return task.order


def add_edges(s: State, task: TaskRecord, deps: list[TaskRecord]) -> None:
    """Make a task wait for requirements (no cycle: ``find_cycle`` said so)."""
    if not deps:
        return
    waits = blocked = 0
    priority = task.priority
    for dep in deps:
        state = dep.state
        if state in SATISFIED:
            continue
        waits += 1
        if dep.downstream is None:
            dep.downstream = [task]
        else:
            dep.downstream.append(task)
        if state in TERMINAL:
            blocked += 1
        elif dep.priority < priority and priority > 0:
            raise_priority(s, dep, priority)
    task.upstream = (*task.upstream, *deps) if task.upstream else tuple(deps)
    tally.link(task, deps, task.runs)
    if s.temporary.known:
        s.temporary.needs(task, deps)
    task.waits += waits
    task.blocked += blocked
    s.changes.tasks[task] = None


def drop_done(s: State, task: TaskRecord) -> None:
    """Forget which tasks a generator had long ago: what it holds grows not with its yields.

    They are for display, but for temporary outputs: those stay for it, also after a restart.
    """
    if len(task.upstream) <= 2 * DONE_KEPT_MAX:
        return
    recent = len(task.upstream) - DONE_KEPT_MAX
    task.upstream = tuple(
        dep
        for at, dep in enumerate(task.upstream)
        if at >= recent or dep.state not in SATISFIED or dep in s.temporary.known
    )


def _gathers(s: State, task: TaskRecord, run: RunRecord) -> bool:
    """Let a task wait a moment for those that may run as one with it, if more are to come."""
    if run not in s.gathering:
        if not batching.still_comes(run):
            return False
        s.gathering[run] = (s.now + batching.GATHER_S, [])
        # only wakes the turn, which looks
        s.timer(s.now + batching.GATHER_S, Timer.GATHER, run)
    # behind those that wait already: in the order they were planned
    s.gathering[run][1].append(task)
    return True


def gathered(s: State) -> None:
    """Let those become ready whose run is planned, or that have waited long enough."""
    for run, (until, tasks) in list(s.gathering.items()):
        if s.now >= until or not batching.still_comes(run):
            del s.gathering[run]
            for task in tasks:
                settle(s, task, gathered=True)


def settle(s: State, task: TaskRecord, *, gathered: bool = False) -> None:
    """Let a pending task become ready, or fail for its requirements.

    ``gathered``: those that may run as one with it are known, as far as they ever will be.
    """
    if task.state != TaskState.PENDING:
        return
    if task.blocked:
        if tally.move(s, task, TaskEvent.UPSTREAM_FAIL):
            ended_badly(s, task)
    elif task.waits == 0:
        run = task.runs[0] if task.runs else None
        if run is None or (run.state != RunState.RUNNING and not is_wanted(task)):
            tally.move(s, task, TaskEvent.CANCEL)
            return
        if not programs.lives(task.program) and programs.run_for(task) is not None:
            plan_for_another(s, task)
            return
        if s.twins.by_id and twins.keeps_waiting(s, task):
            return
        if not gathered and batching.is_batchable(task) and _gathers(s, task, run):
            return
        tally.move(s, task, TaskEvent.UNBLOCK)
        key = group_key(task)
        s.ready.push(task, key, run, s.now)
        if s.ready.groups[key].parked == UNMET:
            s.timer(s.now, Timer.UNMET, key)


def keep_twins_back(s: State, task: TaskRecord) -> None:
    """A task was granted: let no twin be granted until its lease ends."""
    for other in twins.others(s, task):
        if other.state == TaskState.READY:
            s.ready.drop(other, group_key(other))
            tally.move(s, other, TaskEvent.YIELD_TO_TWIN)
            twins.keeps_waiting(s, other)


def let_twins_go(s: State, task: TaskRecord) -> None:
    """The lease of a task ended: its twins may be granted."""
    for other in twins.others(s, task):
        if other in s.twins.waiting:
            del s.twins.waiting[other]
            settle(s, other)


def part_twins(s: State, _: None = None) -> None:
    """Fail generators that wait, directly or through others, for a twin of their own.

    Their twins wait for them. As often as that is looked for, a longer pause comes before the next
    time: what they wait for may be many tasks.
    """
    t = s.twins
    t.look_at = 0.0
    found = twins.waits_in_circle(s)
    t.pause_s = min(2 * t.pause_s, twins.LOOK_MAX_S) if t.waiting and not found else LOOK_S
    if found is not None:
        lease, twin = found
        one = twins.holder(s, twin) or lease.task
        why = (
            f"{twins.called(one)} waits for what it yielded, which needs {twins.called(twin)}, and "
            "that waits for it: tasks with one id may write the same files, so they never run at "
            "the same time. Rename one of the classes, or give it a task_namespace"
        )
        doom(s, lease.task, Doom.FAIL, why)
    twins.look_later(s)


def satisfied(s: State, task: TaskRecord) -> None:
    """Tell everything that waits for a task that it is done."""
    if s.temporary.known:
        s.temporary.satisfied(task, s.now)
    waiting = task.downstream
    if task.waits:
        # told done while suspended: what it yielded must not count down what it is planned for next
        detach_upstream(s, task)
    task.upstream = ()
    if waiting:
        task.downstream = None
        if len(waiting) <= RELEASE_MAX and not s.releasing:
            release(s, waiting, 0, len(waiting))
        else:
            s.releasing.append((waiting, 0))


def release(s: State, waiting: list[TaskRecord], start: int, stop: int) -> None:
    """Count down the waits of some tasks."""
    for at in range(start, stop):
        task = waiting[at]
        task.waits -= 1
        if task.waits == 0:
            if task.state == TaskState.PENDING:
                settle(s, task)
            elif task.state == TaskState.SUSPENDED:
                resume_later(s, task)


def resume_later(s: State, task: TaskRecord) -> None:
    """Queue a suspended task, all of whose yields are done, at the worker that keeps it."""
    lease = task.lease
    if lease is None or lease.doomed or lease.resumed >= lease.yielded:
        return
    worker = s.workers.get(lease.uid)
    if worker is not None and task not in worker.resumes:
        worker.resumes.append(task)


def ended_badly(s: State, task: TaskRecord) -> list[TaskRecord]:
    """Fail what waits for a task that ended without being satisfied.

    Returns suspended tasks that can never continue: their generators are to be killed. Cost:
    O(tasks failed).
    """
    stuck: list[TaskRecord] = []
    stack = [task]
    while stack:
        one = stack.pop()
        for waiter in one.downstream or ():
            waiter.blocked += 1
            if waiter.blocked > 1:
                continue
            if waiter.state == TaskState.PENDING:
                tally.move(s, waiter, TaskEvent.UPSTREAM_FAIL)
                stack.append(waiter)
            elif waiter.state == TaskState.SUSPENDED:
                stuck.append(waiter)
    for waiter in stuck:
        doom(s, waiter, Doom.UPSTREAM, "a task that it yielded ended badly")
    return stuck


def doom(s: State, task: TaskRecord, verdict: Doom, why: str) -> None:
    """Decide what a held task becomes and have its worker kill it. See ``outcomes.settle_doom``."""
    extra = task.more()
    if extra.doom is None or extra.doom[0] in REPLACES[verdict]:
        extra.doom = (verdict, why)
        s.changes.progress[task] = None
    lease = task.lease
    if lease is not None and lease.killed_at != s.now:
        lease.killed_at = s.now
        s.timer(s.now, Timer.KILL, lease.token)


def revived(s: State, task: TaskRecord) -> None:
    """A task that had ended badly is open again: so is what had failed because of it."""
    stack = [task]
    while stack:
        one = stack.pop()
        for waiter in one.downstream or ():
            if waiter.blocked:
                waiter.blocked -= 1
            if not waiter.blocked and waiter.state == TaskState.UPSTREAM_FAILED:
                tally.move(s, waiter, TaskEvent.REVIVE)
                stack.append(waiter)
