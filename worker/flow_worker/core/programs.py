"""The programs of this worker: one for each run that it works for, as messages name them.

Messages name a program by its number. One that is not defined here is asked for in heartbeats,
which also list what there is; their acknowledgement says which of those are over. So nothing here
depends on a message that may get lost. What a program is imported in is in ``core.templates``.

Rules R1-R3.
"""

from __future__ import annotations

import math

from flow.wire.messages import shared
from flow.wire.messages.shared import ProgramSeen
from flow_worker.core.config import WorkerConfig
from flow_worker.core.processes import Processes
from flow_worker.core.records import LocalProgram
from flow_worker.core.transitions import Stand

_SAME = ("project", "modules", "given", "package")


class Programs:
    """Every program that is used here, or was and is not over."""

    def __init__(self, config: WorkerConfig, processes: Processes) -> None:
        self._config = config
        self._processes = processes
        self.all: dict[int, LocalProgram] = {}
        #: not in ``all`` any more; their processes are on their way out
        self.ending: dict[LocalProgram, None] = {}
        #: of runs that are over: their templates may serve another run of the same program
        self.resting: dict[LocalProgram, None] = {}
        #: the last heartbeat that told of files, if it is not acknowledged
        self._files_told_in = math.inf
        #: something that heartbeats tell has changed
        self.news = False

    # ------------------------------------------------------------ from the coordinator

    def use(self, number: int, now: float) -> LocalProgram:
        """Find the program that a message names; one that is not defined is asked for."""
        program = self.all.get(number)
        if program is None:
            program = self._begin(number, now)
        program.used_at = now
        return program

    def _begin(self, number: int, now: float) -> LocalProgram:
        program = self.all[number] = LocalProgram(number)
        program.used_at = now
        self.news = True
        return program

    def define(
        self, definitions: list[shared.Program], now: float, *, prepare: bool = False
    ) -> None:
        """Learn what programs are. The number of a lost history may come again for another one."""
        for definition in definitions:
            program = self.all.get(definition.number)
            if program is None:
                program = self._begin(definition.number, now)
            known = program.definition
            if known is not None and not is_same(known, definition):
                self.end(program)
                program = self._begin(definition.number, now)
            program.definition = definition
            program.prepare = prepare and program.stand is Stand.NEW
            program.unknown = False
            if self._processes.attached:
                program.import_s = 0.0  # what there is has imported it

    def over(self, numbers: list[int]) -> None:
        """Nobody needs these any more: they end once nothing here uses them."""
        for number in numbers:
            program = self.all.get(number)
            if program is None:
                continue
            if not program.in_use:
                rests = self._config.reuse_code and program.stand is Stand.READY
                rests = rests and not program.inherits  # what that has nobody imports again
                self._leave(program, self.resting if rests else self.ending)
            elif program.definition is None:
                program.unknown = True

    def history_changed(self) -> None:
        """Another history counts its runs anew."""
        for program in list(self.all.values()):
            self.end(program)
        for program in list(self.resting):
            self.end_rest(program)

    def end_rest(self, program: LocalProgram) -> None:
        """No other run will use what this one has imported."""
        del self.resting[program]
        self.ending[program] = None

    def end(self, program: LocalProgram) -> None:
        """Have a program leave, as soon as nothing of it is used."""
        self._leave(program, self.ending)

    def _leave(self, program: LocalProgram, where: dict[LocalProgram, None]) -> None:
        del self.all[program.number]
        where[program] = None
        self.news = True

    # ------------------------------------------------------------ what heartbeats tell

    def seen(self) -> list[ProgramSeen]:
        """Say how every program stands."""
        return [
            ProgramSeen(
                one.number,
                one.code,
                one.import_s,
                one.text,
                one.cannot_run,
                one.files,
                one.stand is Stand.FAILED,
            )
            for one in self.all.values()
            if one.definition is not None
        ]

    def heard(self, number: int) -> None:
        """Heartbeat ``number`` arrived: what it told of files need not be told again."""
        if number >= self._files_told_in:
            self._files_told_in = math.inf
            for program in self.all.values():
                program.files = {}

    def told(self, number: int) -> None:
        """Heartbeat ``number`` says how everything stands now."""
        self.news = False
        if any(one.files for one in self.all.values()):
            self._files_told_in = number

    def wanted(self) -> list[int]:
        """List what must be defined."""
        return [one.number for one in self.all.values() if one.definition is None]

    @property
    def room(self) -> bool:
        """Whether another program could have a template now."""
        used = sum(one.in_use for one in self.all.values())
        if used >= self._config.programs_max:
            return False
        idle = (one for one in self.all.values() if one.template is not None and not one.in_use)
        return not self._is_heavy() or bool(self.resting) or any(idle)

    def _is_heavy(self) -> bool:
        """Whether templates take as much memory as they may. One that is alone may take more."""
        most = self._config.templates_bytes_max
        known = (*self.all.values(), *self.resting)
        sizes = [one.memory_bytes for one in known if one.template is not None]
        return most > 0 and sum(sizes) >= most

    def is_roomy(self) -> bool:
        """Whether one more program can have a template without another one's going."""
        count = len(self.with_templates()) + len(self.resting)
        return count < self._config.programs_max and not self._is_heavy()

    def with_templates(self) -> list[LocalProgram]:
        """Return those that have a template, or will have one in a moment."""
        return [one for one in self.all.values() if one.stand in (Stand.LOADING, Stand.READY)]


def is_same(one: shared.Program, other: shared.Program) -> bool:
    """Tell whether two definitions are of one program: which code will do may change."""
    return all(getattr(one, name) == getattr(other, name) for name in _SAME)
