"""Mutants of programs: processes belong to one run, and a task is executed where it was planned."""

from __future__ import annotations

from typing import Any

import msgspec
from pytest import MonkeyPatch

from flow.wire.messages.shared import Program as Definition
from flow_coordinator.core import graph, planning, programs
from flow_coordinator.core.records import PlanRecord, RunRecord, TaskRecord, WorkerRecord
from flow_coordinator.core.state import State
from flow_coordinator.shell import rows
from flow_worker.channel import Dirty
from flow_worker.core import templates
from flow_worker.core.placement import Placement
from flow_worker.core.processes import Processes
from flow_worker.core.programs import Programs
from flow_worker.core.records import LocalProgram, Process
from flow_worker.core.templates import Templates
from flow_worker.core.tokens import Tokens
from flow_worker.core.transitions import StandEvent
from tests.simulation.mutants.registry import mutant


@mutant("R1", "restarts")
def values_of_a_run_are_not_stored(patch: MonkeyPatch) -> None:
    """After a restart the command line of a run gives nothing."""
    real = rows.read_run

    def mutated(row: Any) -> rows.RunBlob:
        blob = real(row)
        blob.options = msgspec.structs.replace(blob.options, given=b"")
        return blob

    patch.setattr(rows, "read_run", mutated)


@mutant("R1", "restarts")
def task_runs_in_the_program_of_whoever_was_planned_first(patch: MonkeyPatch) -> None:
    """What is planned for one run is executed in the program of another."""
    real = planning._apply_spec

    def mutated(s: State, plan: PlanRecord, task: TaskRecord, spec: Any) -> None:
        real(s, plan, task, spec)
        task.program = next(iter(s.runs.values()))

    patch.setattr(planning, "_apply_spec", mutated)


@mutant("R1", "mixed")
def idle_runner_of_another_run_is_used(patch: MonkeyPatch) -> None:
    """A process is used again for another run."""

    def mutated(self: Placement, program: LocalProgram) -> list[Process]:
        return [p for p in self._processes.all.values() if p.executes]

    patch.setattr(Placement, "_runners", mutated)


@mutant("R2", "mixed")
def blank_process_takes_work_before_it_has_a_program(patch: MonkeyPatch) -> None:
    """A process that must import for itself is ready when it is up."""

    def mutated(self: Processes, number: int) -> None:
        self.up(number)

    patch.setattr(Processes, "heard_up", mutated)


@mutant("R3", "mixed")
def spare_template_that_died_is_never_replaced(patch: MonkeyPatch) -> None:
    """A blank process gets lost, and no program can begin any more."""
    real = Templates.prewarm

    def mutated(self: Templates, now: float) -> None:
        if self._processes._number < 3:
            real(self, now)

    patch.setattr(Templates, "prewarm", mutated)


@mutant("R1", "mixed")
def programs_that_are_over_stay(patch: MonkeyPatch) -> None:
    """A template outlives its run."""
    patch.setattr(Programs, "over", lambda self, numbers: None)


@mutant("R1", "mixed")
def program_ends_while_it_is_used(patch: MonkeyPatch) -> None:
    """A template ends before the last thing that needs it."""
    patch.setattr(LocalProgram, "in_use", property(lambda self: False))


@mutant("R4", "mixed")
def what_a_dirty_runner_gives_back_is_forgotten(patch: MonkeyPatch) -> None:
    """Grants that a runner did not begin stay with it."""

    def mutated(self: Tokens, process: Process, frame: Dirty, now: float) -> None:
        process.dirty = frame.reason

    patch.setattr(Tokens, "dirty", mutated)


@mutant("R4", "mixed")
def dirty_runner_is_offered_new_tasks(patch: MonkeyPatch) -> None:
    """One that gives all of it back gets it again, for as long as it keeps a generator."""
    real = Placement._takers

    def mutated(self: Placement, runners: list[Process]) -> Any:
        stained = {runner: runner.dirty for runner in runners}
        for runner in runners:
            runner.dirty = ""
        try:
            return real(self, runners)
        finally:
            for runner, reason in stained.items():
                runner.dirty = reason

    patch.setattr(Placement, "_takers", mutated)


@mutant("R4", "soiled")
def dirty_runners_keep_their_generators(patch: MonkeyPatch) -> None:
    """Where every runner is dirty and waits for what only a new one could run, nothing goes on."""
    patch.setattr(Tokens, "abandon_one_of_dirty", lambda self: None)


@mutant("R1", "mixed")
def definition_is_said_once_and_never_again(patch: MonkeyPatch) -> None:
    """A worker that lost the definition of a program asks in vain."""

    def mutated(s: State, worker: WorkerRecord, message: Any) -> list[int]:
        return [one.number for one in message.programs if one.number not in s.runs]

    patch.setattr(programs, "heard", mutated)


@mutant("R1", "mixed")
def definitions_are_mixed_up(patch: MonkeyPatch) -> None:
    """A program is told with what another run's command line gave."""
    real = programs.spell

    def mutated(run: RunRecord) -> Definition:
        return msgspec.structs.replace(real(run), given=b"\x81\xa1x\xa1y")

    patch.setattr(programs, "spell", mutated)


@mutant("R1", "mixed")
def shared_task_is_never_planned_for_another_run(patch: MonkeyPatch) -> None:
    """A task is granted in the program of a run that is over."""
    patch.setattr(graph, "plan_for_another", lambda s, task: None)


@mutant("R3", "mixed")
def import_may_take_for_ever(patch: MonkeyPatch) -> None:
    """Grants starve behind an import that hangs."""
    patch.setattr(Templates, "kill_overdue", lambda self, now: None)


@mutant("R1", "restarts")
def template_of_another_program_is_reused(patch: MonkeyPatch) -> None:
    """A template that is kept serves whatever run comes next."""
    patch.setattr(templates, "is_same", lambda one, other: True)


@mutant("R2", "mixed")
def stale_template_is_reused(patch: MonkeyPatch) -> None:
    """What a template says of files that have changed is not heard."""

    def mutated(self: Templates, program: LocalProgram, template: Process) -> None:
        self._move(program, StandEvent.LOADED)

    patch.setattr(Templates, "_part", mutated)
