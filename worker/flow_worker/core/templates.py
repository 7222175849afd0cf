"""Templates: each imports one program and then only forks its runners and planners.

So no process ever serves two runs. What cannot be forked (``Stand.ALONE``) is imported by each
process for itself. A spare template is kept ready for the next program, and where
``reuse = "code"`` is set, that of a run that is over may serve the next run of an equal program.

Where a program's code was sent along with its run, that is brought here (``core.fetching``) before
a template is told to import it.

Rules R1-R3.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from flow.wire.messages.shared import Program as Definition
from flow.wire.moves import Go
from flow_worker.channel import Load, LoadAgain, Loaded, Role
from flow_worker.core.config import (
    ADOPTED_PROCESS,
    IMPORT_DEATHS_MAX,
    QUIET_S,
    RESTART_MAX_S,
    RESTART_S,
    SEEN_TEXT_MAX,
    STARTS_FAILED_MAX,
    WorkerConfig,
)
from flow_worker.core.effects import Effect, Note, Tell
from flow_worker.core.events import ProcessExited
from flow_worker.core.fetching import Fetching
from flow_worker.core.processes import Processes, death, why_not_started
from flow_worker.core.programs import Programs, is_same
from flow_worker.core.records import LocalProgram, Process, ProcessState
from flow_worker.core.refusals import Refusals
from flow_worker.core.transitions import STAND_MOVES, Stand, StandEvent

_UNKNOWN = "its program is over"


class Templates:
    """Has the programs that are used here imported, and ended when they are over."""

    def __init__(
        self,
        config: WorkerConfig,
        processes: Processes,
        programs: Programs,
        fetching: Fetching,
        refusals: Refusals,
        emit: Callable[[Effect], None],
    ) -> None:
        self._config = config
        self._processes = processes
        self._programs = programs
        self._fetching = fetching
        self._refusals = refusals
        self._emit = emit
        #: why the last spare template that did not start did not; empty: the last one did
        self._no_template = ""
        #: used, and what can have no template now, with the reason
        self.hopeless: dict[LocalProgram, str] = {}
        #: why no process has what the calling program had set, where one should; empty: it is fine
        self.lost = ""
        if config.inherits and not config.adopted:
            self.lost = _lost("its worker agent was started again")

    # ------------------------------------------------------------ importing

    def place(self, now: float) -> None:
        """Give a template to each program that is used and has none."""
        if self._processes.attached:
            return
        self.hopeless = {one: _UNKNOWN for one in self._programs.all.values() if one.unknown}
        self._fetch()
        loading = sum(one.stand is Stand.LOADING for one in self._programs.all.values())
        for program in list(self._programs.all.values()):
            if program.stand is not Stand.NEW or program.definition is None:
                continue
            if not program.in_use and not (program.prepare and self._programs.is_roomy()):
                continue
            if loading >= self._config.imports_max or now < program.not_before:
                continue
            if self._take_over(program, now):
                loading += 1
                continue
            if not self._make_room(now):
                self.hopeless[program] = "no room for another program"
                continue
            if self.lost:
                self._give_up(program, self.lost)
                continue
            template = self._spare()
            if template is None:
                failed = self._processes.starts_failed(Role.TEMPLATE)
                if failed >= STARTS_FAILED_MAX:
                    self._give_up(program, _not_started(failed, self._no_template))
                    continue
                return  # it is being forked
            self._load(program, template, Load(program.definition, program.archive), now)
            loading += 1

    def _take_over(self, program: LocalProgram, now: float) -> bool:
        """Ask the template of an equal program whose run is over to serve this one."""
        assert program.definition is not None
        resting = self._programs.resting
        kept = next((one for one in resting if _may_serve(one, program.definition)), None)
        if kept is None:
            return False
        template, kept.template = kept.template, None
        assert template is not None
        self._programs.end_rest(kept)
        kept.processes.pop(template.number)
        self._load(program, template, LoadAgain(), now)
        return True

    def _is_beginning(self, now: float) -> bool:
        """Whether somebody waits for an import or a fork: nothing else should go on beside it.

        Nor beside the first question and the first task of a program.
        """
        if any(
            one.stand is Stand.LOADING or now < one.quiet_until
            for one in self._programs.all.values()
        ):
            return True
        return any(
            one.state is ProcessState.STARTING and one.program is not None
            for one in self._processes.all.values()
        )

    def _fetch(self) -> None:
        """Have the code of each program brought here that is used and needs it."""
        for program in self._programs.all.values():
            package = program.definition.package if program.definition is not None else ""
            if not package or program.archive or not (program.in_use or program.prepare):
                continue
            self._move(program, StandEvent.FETCH)
            if program.stand is not Stand.FETCHING:
                continue
            self._fetching.want(package)
            why = self._fetching.failed.get(package)
            program.archive = self._fetching.archives.get(package, "")
            if why is not None:
                text = f"the code of {_named(program)} cannot be had: {why}"
                self._give_up(program, text, codeless=True)
            elif program.archive:
                self._move(program, StandEvent.FETCHED)

    def tidy(self, now: float) -> None:
        """Have what is over end. Called last: whoever waits for a fork goes first."""
        if not self._is_beginning(now) or len(self._programs.ending) > self._config.programs_max:
            for program in list(self._programs.ending):
                self._wind_up(program, now)
            for program in self._programs.resting:
                self._send_away(program)
        known = (*self._programs.all.values(), *self._programs.ending, *self._programs.resting)
        alive = [one for one in known if one.stand is not Stand.FAILED]
        needed = [one.definition.package for one in alive if one.definition is not None]
        self._fetching.forget_all_but(needed)

    def prewarm(self, now: float) -> None:
        """Keep one template ready for the next program; where one was adopted, none is expected.

        Called last, as ``tidy``.
        """
        if self._processes.attached:
            return
        waits = any(
            one.stand is Stand.NEW and (one.in_use or one.prepare)
            for one in self._programs.all.values()
        )
        if not waits and (self._config.inherits or self._is_beginning(now)):
            return
        templates = [p for p in self._processes.all.values() if p.role == Role.TEMPLATE]
        if all(template.program is not None for template in templates):
            self._processes.start(Role.TEMPLATE, now)

    def _spare(self) -> Process | None:
        for process in self._processes.all.values():
            if (
                process.role == Role.TEMPLATE
                and process.program is None
                and process.state is ProcessState.READY
            ):
                return process
        return None

    def _load(
        self, program: LocalProgram, template: Process, frame: Load | LoadAgain, now: float
    ) -> None:
        self._move(program, StandEvent.LOAD)
        program.prepare = False
        program.template = template
        program.inherits = template.number == ADOPTED_PROCESS and self._config.adopted
        program.load_by = now + self._config.import_timeout_s
        self._processes.belong(template, program)
        self._emit(Tell(template.number, frame))

    def _make_room(self, now: float) -> bool:
        """Evict what was idle longest where templates are as many, or as large, as they may be.

        Those of runs that are over go first.
        """
        programs = self._programs
        while not programs.is_roomy():
            idle = list(programs.resting)
            idle = idle or [one for one in programs.with_templates() if not one.in_use]
            if not idle:
                return False
            oldest = min(idle, key=lambda one: one.used_at)
            if oldest in programs.resting:
                programs.end_rest(oldest)
            else:
                programs.end(oldest)
            self._wind_up(oldest, now)
        return True

    def _wind_up(self, program: LocalProgram, now: float) -> None:
        """Have the processes of a program leave, its template last; forget it after them."""
        if program.in_use:
            return
        template = program.template
        if template is not None and program.stand is Stand.LOADING:
            self._processes.kill(template, 0.0, now)
            return
        if self._send_away(program):
            return
        if template is not None:
            self._processes.leave(template)
        else:
            del self._programs.ending[program]
            self._processes.forget(program)

    def _send_away(self, program: LocalProgram) -> bool:
        """Have all processes of a program leave but its template; tell whether there are any."""
        left = [one for one in program.processes.values() if one is not program.template]
        for process in left:
            self._processes.leave(process)
        return bool(left)

    # ------------------------------------------------------------ from processes

    def loaded(self, process: Process, frame: Loaded, now: float) -> None:
        """A process has imported its program. Nothing else of it counts, nor a second time."""
        program = process.program
        if program is None:
            return
        is_template = process is program.template
        if frame.stale:
            if is_template:
                self._part(program, process)
            return
        if not is_template:
            if self._processes.up(process.number) is not None:
                self._learn(program, frame)
            return
        if not self._move(program, StandEvent.FOUND_ALONE if frame.alone else StandEvent.LOADED):
            return
        self._learn(program, frame)
        program.load_by = math.inf
        if frame.refused:
            self._give_up(program, frame.error, codeless=True)
            program.template = None
            self._processes.leave(process)
            return
        program.quiet_until = now + QUIET_S
        if program.stand is Stand.ALONE:
            fields: dict[str, object] = {"program": program.number, "why": frame.alone}
            self._emit(Note("program cannot be forked", fields, "warning"))
            program.template = None
            self._processes.leave(process)

    def _learn(self, program: LocalProgram, frame: Loaded) -> None:
        program.code, program.import_s, program.files = frame.code, frame.import_s, frame.files
        program.text = (frame.error or frame.alone)[:SEEN_TEXT_MAX]
        program.broken = bool(frame.error)
        program.memory_bytes = frame.memory_bytes
        self._programs.news = True

    def served(self, process: Process) -> None:
        """A process has done something of its program, so its template is of use."""
        if process.program is not None:
            process.program.deaths = 0

    def _part(self, program: LocalProgram, template: Process) -> None:
        """A template of an earlier run has other files than there are now: it goes."""
        self._move(program, StandEvent.GONE)
        program.template = None
        program.load_by = math.inf
        self._processes.leave(template)

    def exited(self, process: Process, event: ProcessExited, now: float) -> None:
        """A process is gone; with a template, all that it had forked must go."""
        program = process.program
        if program is None:
            if process.state is ProcessState.STARTING:
                self._no_template = why_not_started(event)
            if process.number == ADOPTED_PROCESS and self._config.adopted:
                self.lost = _lost(death(event))
            return
        program.processes.pop(process.number, None)
        if process is not program.template:
            failed = self._processes.starts_failed(process.role, program)
            if process.state is ProcessState.STARTING and failed >= STARTS_FAILED_MAX:
                self._give_up(program, _not_started(failed, why_not_started(event)))
            return
        program.template = None
        if program in self._programs.resting:
            self._programs.end_rest(program)
        loading = program.stand is Stand.LOADING
        self._move(program, StandEvent.GONE)
        for child in list(program.processes.values()):
            if child.parent == process.number:
                self._processes.kill(child, 0.0, now)
        program.load_by = math.inf
        if program.inherits:
            # An import would give the rest of the run other values than its first tasks had.
            self._give_up(program, _lost(death(event)))
            return
        program.deaths += 1
        ended = "ended its process" if loading else "left a process that ended"
        text = f"the import of {_named(program)} {ended}: {why_not_started(event)}"
        program.text = text[:SEEN_TEXT_MAX]
        self._programs.news = True
        if program.deaths >= IMPORT_DEATHS_MAX:
            self._give_up(program, text)
        else:
            delay_s = min(RESTART_S * 2 ** (program.deaths - 1), RESTART_MAX_S)
            program.not_before = now + delay_s

    def _give_up(self, program: LocalProgram, text: str, *, codeless: bool = False) -> None:
        """Nothing more of it begins here: others must take its work.

        ``codeless``: its code cannot be had or used, which is told as an import that fails.
        """
        self._move(program, StandEvent.GIVE_UP)
        program.codeless = codeless
        program.text = text[:SEEN_TEXT_MAX]
        self._programs.news = True
        fields: dict[str, object] = {"program": program.number, "why": program.text}
        self._emit(Note("program given up", fields, "error"))

    def kill_overdue(self, now: float) -> None:
        """Kill templates whose import takes too long."""
        for program in self._programs.all.values():
            if program.load_by <= now and program.template is not None:
                program.load_by = math.inf
                limit = self._config.import_timeout_s
                fields: dict[str, object] = {"program": program.number, "limit_s": limit}
                self._emit(Note("import takes too long, killed", fields, "error"))
                self._processes.kill(program.template, 0.0, now)

    def next_deadline(self, now: float) -> float:
        """When an import takes too long, its quiet ends, or a template may be started again."""
        due = math.inf
        for program in self._programs.all.values():
            due = min(due, program.load_by)
            if program.quiet_until > now:
                due = min(due, program.quiet_until)
            if program.stand is Stand.NEW and program.in_use and program.not_before > now:
                due = min(due, program.not_before)
        return due

    def _move(self, program: LocalProgram, event: StandEvent) -> bool:
        """Apply an event; tell whether it moved. Raises ``IllegalMove`` for a bug of ours."""
        move = STAND_MOVES[program.stand, event]
        if type(move) is not Go:
            self._refusals.check(STAND_MOVES, program.stand, event, f"program {program.number}")
            return False
        program.stand = move.state
        return True


def _may_serve(kept: LocalProgram, definition: Definition) -> bool:
    """Tell whether what one run has imported is what another one wants, as far as is known here."""
    assert kept.definition is not None
    return is_same(kept.definition, definition) and definition.code in ("", kept.code)


def _lost(reason: str) -> str:
    return (
        "the process that has what the calling program had set is gone "
        f"({reason}): run the program again"
    )


def _named(program: LocalProgram) -> str:
    assert program.definition is not None
    return ", ".join(program.definition.modules[:3])


def _not_started(count: int, why: str) -> str:
    return f"{count} of its processes in a row did not start, the last one {why}"
