"""Mutants of temporary outputs: who needs them, and what planning and removals owe each other.

That plans wait for removals, and that what was removed is not believed, only ``test_core_cleaning``
notices: removals take a few milliseconds, and planning rests anyway when they begin.
"""

from __future__ import annotations

from pytest import MonkeyPatch

from flow.wire.messages.worker import Clean
from flow_coordinator.core import cleaning
from flow_coordinator.core import temporary as needs
from flow_coordinator.core.records import TaskRecord
from flow_coordinator.core.state import State
from flow_worker.core.cleaning import Cleaning
from tests.simulation.mutants.registry import mutant


@mutant("temporary", "calm")
def first_needer_removes_the_output(patch: MonkeyPatch) -> None:
    """One task that needs an output is done: it is removed, whoever else waits for it."""
    real = needs.is_due

    def mutated(task: TaskRecord, need: needs.Need) -> bool:
        held, need.needers = need.needers, {}
        due = real(task, need)
        need.needers = held
        return due

    patch.setattr(needs, "is_due", mutated)
    patch.setattr(cleaning, "is_due", mutated)


@mutant("temporary", "network")
def removals_do_not_wait_for_plans(patch: MonkeyPatch) -> None:
    """Outputs are removed while planners look."""
    real = cleaning._ask

    def mutated(s: State) -> None:
        plans, s.plans = s.plans, {}
        try:
            real(s)
        finally:
            s.plans = plans

    patch.setattr(cleaning, "_ask", mutated)


@mutant("temporary", "mixed")
def removals_are_repeated(patch: MonkeyPatch) -> None:
    """A late copy of a request that was answered removes again."""
    real = Cleaning.clean

    def mutated(self: Cleaning, message: Clean, now: float) -> None:
        self._answer = None
        real(self, message, now)

    patch.setattr(Cleaning, "clean", mutated)


@mutant("temporary", "restarts")
def restart_forgets_who_needs_what(patch: MonkeyPatch) -> None:
    """After a restart only what is planned from then on counts as needing an output."""

    def rebuilt(s: State, tasks: list[TaskRecord]) -> None:
        for task in tasks:
            if task.policy is not None and task.policy.policy.temporary:
                s.temporary.known.setdefault(task, needs.Need()).was_needed = True

    patch.setattr(cleaning, "rebuild", rebuilt)
