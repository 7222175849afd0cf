"""Mutants of batches: one lease for several tasks, and one end for all of them."""

from __future__ import annotations

from typing import Any

from pytest import MonkeyPatch

from flow.wire.messages.shared import Outcome
from flow_coordinator.core import batching, leases, outcomes
from flow_coordinator.core.ready import Group, ReadyQueue
from flow_coordinator.core.records import ALONE, LeaseRecord, TaskRecord, WorkerRecord
from flow_coordinator.core.state import State
from flow_coordinator.shell import recovery, rows
from tests.simulation.mutants.registry import mutant


@mutant("batch")
def member_keeps_its_ended_lease(patch: MonkeyPatch) -> None:
    """The end of a lease is told to its first task only."""
    real = leases.end

    def mutated(s: State, lease: LeaseRecord) -> None:
        lease.members, members = ALONE, lease.members
        real(s, lease)
        lease.members = members

    patch.setattr(leases, "end", mutated)


@mutant("batch")
def members_run_on_when_the_first_is_done(patch: MonkeyPatch) -> None:
    """Only the first task of a batch is done with it."""
    real = outcomes.report

    def mutated(s: State, worker: WorkerRecord, lease: LeaseRecord, report: Any) -> None:
        members = lease.members
        if report.outcome == Outcome.DONE:
            for member in members:
                member.lease = None
            lease.members = ALONE
        real(s, worker, lease, report)

    patch.setattr(outcomes, "report", mutated)


@mutant("batch")
def members_run_again_when_the_first_is_done(patch: MonkeyPatch) -> None:
    """The others of a batch are given back when it is done."""
    real = outcomes.report

    def mutated(s: State, worker: WorkerRecord, lease: LeaseRecord, report: Any) -> None:
        if report.outcome == Outcome.DONE and lease.members:
            leases.end(s, lease)
            outcomes.succeed(s, lease.task, report.skipped)
            for member in lease.members:
                outcomes.give_back(s, member)
        else:
            real(s, worker, lease, report)

    patch.setattr(outcomes, "report", mutated)


@mutant("batch")
def member_stays_in_the_queue(patch: MonkeyPatch) -> None:
    """A task that joins a batch can be granted once more."""
    real = ReadyQueue.join

    def mutated(self: ReadyQueue, group: Group, first: TaskRecord) -> list[TaskRecord]:
        joined = real(self, group, first)
        for task in joined[:1]:
            key = (task.policy.demand if task.policy is not None else (), False, (), 0)
            self.push(task, key, None, 0.0)
        return joined

    patch.setattr(ReadyQueue, "join", mutated)


@mutant("batch")
def demand_is_taken_for_each_member(patch: MonkeyPatch) -> None:
    """A batch holds its resources as often as it has tasks."""
    real = leases.grant

    def mutated(s: State, task: TaskRecord, worker: WorkerRecord, *rest: Any) -> LeaseRecord:
        lease = real(s, task, worker, *rest)
        for member in lease.members:
            s.resources.take(leases.demand_of(member))
        return lease

    patch.setattr(leases, "grant", mutated)


@mutant("batch")
def demand_of_a_batch_is_not_taken(patch: MonkeyPatch) -> None:
    """A batch holds no resources."""
    real = leases.grant

    def mutated(s: State, task: TaskRecord, worker: WorkerRecord, *rest: Any) -> LeaseRecord:
        lease = real(s, task, worker, *rest)
        if lease.members:
            s.resources.give(leases.demand_of(task))
        return lease

    patch.setattr(leases, "grant", mutated)


@mutant("batch")
def kinds_are_mixed(patch: MonkeyPatch) -> None:
    """All tasks of a family run as one, whatever they ask for."""
    patch.setattr(batching, "key_of", lambda task: (task.family.number, b"", b""))


@mutant("batch")
def size_is_not_limited(patch: MonkeyPatch) -> None:
    """``max_batch_size`` is ignored."""
    patch.setattr(batching, "joined_max", lambda task: batching.MEMBERS_MAX)


@mutant("crash")
def crashed_batch_runs_as_one_again(patch: MonkeyPatch) -> None:
    """Members of a batch that crashed are not told apart."""
    real = outcomes.crash

    def mutated(s: State, task: TaskRecord, worker: str, report: Any, *luck: Any) -> None:
        real(s, task, worker, report, *luck)
        task.more().solo = task.more().solo and not batching.is_batchable(task)

    patch.setattr(outcomes, "crash", mutated)


@mutant("batch", "restarts")
def restart_forgets_members(patch: MonkeyPatch) -> None:
    """After a restart only the first task of a batch is held."""
    real = recovery._leases

    def mutated(s: State, snapshot: Any, tasks: dict[int, TaskRecord]) -> None:
        real(s, snapshot, tasks)
        for lease in s.leases.values():
            for member in lease.members:
                member.lease = None
            lease.members = ALONE

    patch.setattr(recovery, "_leases", mutated)


@mutant("batch", "restarts")
def places_are_not_stored(patch: MonkeyPatch) -> None:
    """The store does not know which task of a batch is the first."""
    encode = rows._encode

    def without_place(value: Any) -> bytes:
        if isinstance(value, rows.ExtraBlob):
            value.place = 0
        return encode(value)

    patch.setattr(rows, "_encode", without_place)


@mutant("batch", "restarts")
def suspended_batch_holds_its_slot_after_a_restart(patch: MonkeyPatch) -> None:
    """A batch whose generator waits takes its demand again when the coordinator comes back."""
    real = recovery._lease

    def mutated(s: State, task: TaskRecord, *rest: Any) -> None:
        real(s, task, *rest)
        lease = task.lease
        if lease is not None and not lease.holds and batching.is_batchable(task):
            leases.hold(s, lease, None)

    patch.setattr(recovery, "_lease", mutated)
