"""Mutants of what command lines give to tasks: of its own run, and still known after a restart."""

from __future__ import annotations

from typing import Any

import msgspec
from pytest import MonkeyPatch

from flow_coordinator.core import planning
from flow_coordinator.core.records import PlanRecord, TaskRecord
from flow_coordinator.core.state import State
from flow_coordinator.shell import rows
from tests.simulation.mutants.registry import mutant


@mutant("given", "restarts")
def requirements_are_planned_without_values(patch: MonkeyPatch) -> None:
    """Only the roots of a run are planned with what its command line gives."""
    real = PlanRecord.__init__

    def mutated(self: PlanRecord, *arguments: Any) -> None:
        real(self, *arguments)
        if self.run is None:
            self.given = b""

    patch.setattr(PlanRecord, "__init__", mutated)


@mutant("given", "restarts")
def values_of_a_run_are_not_stored(patch: MonkeyPatch) -> None:
    """After a restart the command line of a run gives nothing."""
    real = rows.read_run

    def mutated(row: Any) -> rows.RunBlob:
        blob = real(row)
        blob.options = msgspec.structs.replace(blob.options, given=b"")
        return blob

    patch.setattr(rows, "read_run", mutated)


@mutant("given", "restarts")
def values_of_runs_are_mixed(patch: MonkeyPatch) -> None:
    """What is planned for one run gets the values of another."""
    real = planning._apply_spec

    def mutated(s: State, plan: PlanRecord, task: TaskRecord, spec: Any) -> None:
        for record in s.policies.values():
            given = record.policy.given
            if given and given != plan.given:
                plan.policies[spec.policy] = s.policy(
                    msgspec.structs.replace(plan.policies[spec.policy].policy, given=given)
                )
                break
        real(s, plan, task, spec)

    patch.setattr(planning, "_apply_spec", mutated)
