"""Yields: what a running task asks for on its way becomes part of the graph, and it waits for it.

A yield comes in parts, is numbered, and counts once however often it is said. With the last part
its task is suspended: it keeps its lease, and gives back its slot.
"""

from __future__ import annotations

from flow.wire.messages.shared import Verdict
from flow.wire.messages.worker import Rack, Yield
from flow.wire.states import TaskState
from flow_coordinator.core import batching, graph, leases, tally
from flow_coordinator.core.doom import Doom
from flow_coordinator.core.records import LeaseRecord, TaskRecord, WorkerRecord
from flow_coordinator.core.state import State
from flow_coordinator.core.transitions import TaskEvent

#: Tasks one ``yield`` may name.
YIELD_TASKS_MAX = 100_000


def yielded(s: State, worker: WorkerRecord, message: Yield) -> None:
    """Suspend a task until what it yielded is done."""
    lease = worker.held.get(message.token)
    if lease is None:
        s.send(worker.peer, Rack(worker.session, [(message.token, Verdict.STALE)]))
        return
    if message.number > lease.yielded and not _collect(s, lease, message):
        return
    s.send(worker.peer, Rack(worker.session, [], [(message.token, message.number)]))


def _collect(s: State, lease: LeaseRecord, message: Yield) -> bool:
    """Keep a part of a yield; with the last one, apply it. Tells whether it is whole."""
    task = lease.task
    extra = task.more()
    if extra.collecting != (lease.token, message.number):
        extra.collecting, extra.parts = (lease.token, message.number), {}
    extra.parts[message.part] = message.stubs
    stubs = [stub for part in sorted(extra.parts) for stub in extra.parts[part]]
    if len(extra.parts) < message.parts and len(stubs) <= YIELD_TASKS_MAX:
        return False
    extra.parts = {}
    if len(stubs) > YIELD_TASKS_MAX:
        graph.doom(s, task, Doom.FAIL, f"run() may yield {YIELD_TASKS_MAX:,} tasks at once")
        return True
    if message.number > graph.DONE_KEPT_MAX:
        graph.drop_done(s, task)
    lease.yielded = message.number
    leases.confirm(s, lease)
    leases.let_go(s, lease)
    tally.move(s, task, TaskEvent.SUSPEND)
    s.changes.progress[task] = None
    deps = []
    everybody = batching.tasks_of(lease)
    runs = tuple(dict.fromkeys(run for one in everybody for run in one.runs))
    priority = max(0.0, *(one.priority for one in everybody))
    for stub in stubs:
        dep = graph.name_task(s, task.family.project, stub, runs, priority)
        if dep.state == TaskState.UNPLANNED and not dep.asked:
            s.frontier.append(dep)
        deps.append(dep)
    _wait_for(s, task, graph.in_force(s, runs, list(dict.fromkeys(deps))))
    return True


def _wait_for(s: State, task: TaskRecord, deps: list[TaskRecord]) -> None:
    cycle = graph.find_cycle(task, deps)
    if cycle is not None:
        path = " -> ".join(one.name for one in cycle)
        graph.doom(s, task, Doom.FAIL, f"yielded tasks form a cycle: {path}")
        return
    graph.add_edges(s, task, deps)
    for member in task.lease.members if task.lease is not None else ():
        tally.link(member, deps, member.runs)
    if task.blocked:
        graph.doom(s, task, Doom.UPSTREAM, "a task that it yielded ended badly")
    elif task.waits == 0:
        graph.resume_later(s, task)
