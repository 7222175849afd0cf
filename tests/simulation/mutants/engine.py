"""Mutants of what leases are for: requirements, resources, yields, retries, durable answers."""

from __future__ import annotations

from typing import Any

import msgspec
from pytest import MonkeyPatch

from flow.wire.messages.client import Submit
from flow.wire.messages.shared import Outcome
from flow.wire.messages.worker import Planned, Yield
from flow.wire.states import TaskState
from flow_coordinator.core import (
    dispatch,
    graph,
    leases,
    machine,
    outcomes,
    planning,
    runs,
    tally,
    yields,
)
from flow_coordinator.core.records import LeaseRecord, RunRecord, TaskRecord, WorkerRecord
from flow_coordinator.core.resources import ResourcePool
from flow_coordinator.core.state import State
from flow_coordinator.core.timers import Timer
from flow_coordinator.core.transitions import TaskEvent
from flow_coordinator.shell import recovery
from tests.simulation.mutants.registry import mutant

# ---------------------------------------------------------------- resources


@mutant("resources", "calm")
def resources_are_not_given_back(patch: MonkeyPatch) -> None:
    """A resource once taken is never free again."""
    patch.setattr(ResourcePool, "give", lambda self, demand: [])


@mutant("resources", "calm")
def resources_are_not_counted(patch: MonkeyPatch) -> None:
    """There is always enough."""
    patch.setattr(ResourcePool, "lacking", lambda self, demand: None)


@mutant("resources", "calm")
def capacities_are_not_counted(patch: MonkeyPatch) -> None:
    """A worker's own resources are always enough."""
    patch.setattr(leases, "room_for", lambda s, worker, demand: True)


@mutant("resources", "crashes")
def restart_frees_resources(patch: MonkeyPatch) -> None:
    """Leases of an earlier start hold nothing."""
    real = recovery._leases

    def mutated(s: State, snapshot: Any, tasks: dict[int, TaskRecord]) -> None:
        real(s, snapshot, tasks)
        s.resources.used.clear()

    patch.setattr(recovery, "_leases", mutated)


@mutant("resources")
def join_frees_capacities(patch: MonkeyPatch) -> None:
    """What a worker holds when it joins takes no slot and no capacity."""
    patch.setattr(leases, "_occupy", lambda worker, lease, demand: None)


@mutant("yield")
def suspended_keeps_its_slot(patch: MonkeyPatch) -> None:
    """A YIELD gives nothing back."""
    real = leases.let_go

    def mutated(s: State, lease: LeaseRecord) -> None:
        if lease.task.lease is None or lease.token not in s.leases or not lease.yielded:
            real(s, lease)

    patch.setattr(leases, "let_go", mutated)


# ---------------------------------------------------------------- requirements and yields


@mutant("requirements", "calm")
def planned_is_ready(patch: MonkeyPatch) -> None:
    """Tasks do not wait for their requirements."""
    real = graph.settle

    def mutated(s: State, task: TaskRecord) -> None:
        task.waits = 0
        real(s, task)

    patch.setattr(graph, "settle", mutated)


@mutant("requirements")
def failures_stay_alone(patch: MonkeyPatch) -> None:
    """What needs a failed task waits for ever."""
    patch.setattr(graph, "ended_badly", lambda s, task: [])


@mutant("planning", "network")
def any_chunk_is_applied(patch: MonkeyPatch) -> None:
    """A repeated piece of an answer counts as the next one."""
    real = planning.answer

    def mutated(s: State, worker: WorkerRecord, message: Planned, chunk: Any) -> None:
        plan = s.plans.get(message.request)
        if plan is not None:
            message = msgspec.structs.replace(message, chunk=plan.chunk)
        real(s, worker, message, chunk)

    patch.setattr(planning, "answer", mutated)


@mutant("planning", "network")
def lost_questions_stay_lost(patch: MonkeyPatch) -> None:
    """Nobody asks again."""
    patch.setitem(machine._TIMER_HANDLERS, Timer.PLAN, lambda s, number: None)


@mutant("planning")
def external_data_is_looked_for_once(patch: MonkeyPatch) -> None:
    """What appears later is never seen."""
    patch.setitem(machine._TIMER_HANDLERS, Timer.EXTERNAL, lambda s, task: None)


@mutant("yield", "crashes")
def yielded_tasks_are_not_stored(patch: MonkeyPatch) -> None:
    """What a generator waits for is forgotten with the coordinator."""
    real = graph.add_edges

    def mutated(s: State, task: TaskRecord, deps: list[TaskRecord]) -> None:
        known = task in s.changes.tasks
        real(s, task, deps)
        if task.state == TaskState.SUSPENDED and not known:
            s.changes.tasks.pop(task, None)

    patch.setattr(graph, "add_edges", mutated)


@mutant("yield", "network")
def repeated_yield_counts(patch: MonkeyPatch) -> None:
    """A copy of a YIELD suspends its task again."""
    real = yields.yielded

    def mutated(s: State, worker: WorkerRecord, message: Yield) -> None:
        lease = worker.held.get(message.token)
        if lease is not None:
            lease.yielded = min(lease.yielded, message.number - 1)
        real(s, worker, message)

    patch.setitem(machine._SESSION_HANDLERS, Yield, mutated)


# ---------------------------------------------------------------- retries


@mutant("retry")
def one_failure_more(patch: MonkeyPatch) -> None:
    """The retry budget is one failure too large."""
    real = outcomes.attempts_max
    patch.setattr(outcomes, "attempts_max", lambda s, task: real(s, task) + 1)


@mutant("retry")
def one_failure_less(patch: MonkeyPatch) -> None:
    """The retry budget is one failure too small."""
    real = outcomes.attempts_max
    patch.setattr(outcomes, "attempts_max", lambda s, task: max(1, real(s, task) - 1))


@mutant("retry", "crashes")
def restart_forgives_failures(patch: MonkeyPatch) -> None:
    """Failures are counted from the coordinator's start."""
    real = recovery._leases

    def mutated(s: State, snapshot: Any, tasks: dict[int, TaskRecord]) -> None:
        real(s, snapshot, tasks)
        for task in tasks.values():
            if task.extra is not None:
                task.extra.failed_at = []

    patch.setattr(recovery, "_leases", mutated)


@mutant("retry")
def lost_attempts_count_as_crashes(patch: MonkeyPatch) -> None:
    """A task is blamed for the death of its worker."""

    def mutated(s: State, task: TaskRecord, worker: str, started: bool, why: str) -> None:
        if task.extra is not None and task.extra.doom is not None:
            real(s, task, worker, started, why)
        else:
            report = outcomes.Report("", Outcome.CRASHED, error=why)
            outcomes.crash(s, task, worker, report)

    real = outcomes.lost
    patch.setattr(outcomes, "lost", mutated)


@mutant("crash")
def second_crash_disables(patch: MonkeyPatch) -> None:
    """Two deaths are enough."""
    real = outcomes.crash

    def mutated(s: State, task: TaskRecord, worker: str, report: Any, *luck: Any) -> None:
        task.crashes = max(task.crashes, 1)
        real(s, task, worker, report, *luck)

    patch.setattr(outcomes, "crash", mutated)


@mutant("crash")
def crashed_task_gets_company(patch: MonkeyPatch) -> None:
    """The attempt after a crash runs beside others."""
    real = outcomes.crash

    def mutated(s: State, task: TaskRecord, worker: str, report: Any, *luck: Any) -> None:
        real(s, task, worker, report, *luck)
        task.more().solo = False

    patch.setattr(outcomes, "crash", mutated)


# ---------------------------------------------------------------- answers and ends


@mutant("drain", "restarts")
def grants_to_leaving_workers(patch: MonkeyPatch) -> None:
    """Who leaves gets more work."""
    accepting = property(lambda self: self.fit and not (self.suspect or self.alone))
    patch.setattr(WorkerRecord, "accepting", accepting)


@mutant("C4", "crashes")
def cancel_is_not_stored(patch: MonkeyPatch) -> None:
    """A cancelled run goes on after a restart."""
    real = runs.cancel

    def mutated(s: State, run: RunRecord, message: Any) -> int:
        count = real(s, run, message)
        s.changes.runs.pop(run, None)
        return count

    patch.setattr(runs, "cancel", mutated)


@mutant("C4", "crashes")
def submit_is_not_stored(patch: MonkeyPatch) -> None:
    """A run is stored when its roots are planned."""
    real = runs.submit

    def mutated(s: State, peer: bytes, message: Submit) -> None:
        known = message.key in s.keys
        real(s, peer, message)
        if not known:
            s.changes.runs.pop(s.runs[s.keys[message.key]], None)

    patch.setattr(runs, "submit", mutated)


@mutant("C4", "crashes")
def done_is_not_stored(patch: MonkeyPatch) -> None:
    """That a task is done is kept in memory only."""
    real = tally.move

    def mutated(s: State, task: TaskRecord, event: TaskEvent) -> bool:
        moved = real(s, task, event)
        if event == TaskEvent.SUCCEED:
            s.changes.progress.pop(task, None)
        return moved

    patch.setattr(tally, "move", mutated)


@mutant("cancel")
def kill_is_said_once(patch: MonkeyPatch) -> None:
    """A KILL that gets lost is not said again."""
    real = dispatch.repeat

    def mutated(s: State, worker: WorkerRecord) -> None:
        held = worker.held
        worker.held = {
            token: lease
            for token, lease in held.items()
            if lease.task.extra is None or lease.task.extra.doom is None
        }
        real(s, worker)
        worker.held = held

    patch.setattr(dispatch, "repeat", mutated)


@mutant("L4", "soiled")
def isolated_attempt_waits_for_what_waits_for_it(patch: MonkeyPatch) -> None:
    """A worker is kept for it, and it does not overtake what may not run there meanwhile."""
    real = dispatch._better_waits

    def mutated(s: State, lacks: str, head: Any, worker: WorkerRecord | None = None) -> bool:
        reserved = worker is not None and worker.reserved
        if worker is not None:
            worker.reserved = False
        try:
            return real(s, lacks, head, worker)
        finally:
            if worker is not None:
                worker.reserved = reserved

    patch.setattr(dispatch, "_better_waits", mutated)


@mutant("R7", "mixed")
def nobody_tells_that_the_work_may_be_done(patch: MonkeyPatch) -> None:
    """A task that crashed after its last line is done again."""
    real = leases.spell_grant

    def mutated(s: State, lease: LeaseRecord) -> Any:
        return msgspec.structs.replace(real(s, lease), maybe_done=False)

    patch.setattr(leases, "spell_grant", mutated)
