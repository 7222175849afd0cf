"""Mutants of twins: tasks of one id from several modules are several, and never run together."""

from __future__ import annotations

from pytest import MonkeyPatch

from flow_coordinator.core import graph, twins
from flow_coordinator.core.records import TaskRecord
from flow_coordinator.core.state import State
from tests.simulation.mutants.registry import mutant


@mutant("R7", "mixed")
def twins_are_granted_at_the_same_time(patch: MonkeyPatch) -> None:
    """A task does not wait for the lease of another that has the same id."""
    patch.setattr(twins, "keeps_waiting", lambda s, task: False)
    patch.setattr(graph, "keep_twins_back", lambda s, task: None)


@mutant("R7", "mixed")
def ready_twin_stays_ready_when_the_other_is_granted(patch: MonkeyPatch) -> None:
    """Only what becomes ready later waits for the lease of a twin."""
    patch.setattr(graph, "keep_twins_back", lambda s, task: None)


@mutant("*", "mixed")
def twin_is_never_told_that_the_lease_has_ended(patch: MonkeyPatch) -> None:
    """What waits for a lease waits for ever."""
    patch.setattr(graph, "let_twins_go", lambda s, task: None)


@mutant("*", "mixed")
def equal_ids_are_taken_for_equal_tasks(patch: MonkeyPatch) -> None:
    """Whoever comes second with an id is taken for the first."""

    def mutated(s: State, project: str, task_id: str, module: str) -> TaskRecord | None:
        return s.tasks.get(project, {}).get(task_id)

    patch.setattr(twins, "find", mutated)
