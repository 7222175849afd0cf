"""The task processes of this worker: starting them, killing them, knowing that they are gone."""

from __future__ import annotations

import math
from collections.abc import Callable

from flow_worker.channel import Leave, Load, Role
from flow_worker.core.config import ADOPTED_PROCESS, RESTART_MAX_S, RESTART_S, WorkerConfig
from flow_worker.core.effects import Effect, KillProcess, Note, StartProcess, Tell
from flow_worker.core.events import ProcessExited
from flow_worker.core.records import NO_REQUEST, LocalProgram, Process, ProcessState
from flow_worker.core.transitions import Stand

#: Whose starts fail, and as what: the number of a program, or 0 for spare templates.
_Kind = tuple[int, str]


class Processes:
    """Every process that exists or was asked for, by its never reused number."""

    def __init__(self, config: WorkerConfig, emit: Callable[[Effect], None]) -> None:
        self._emit = emit
        self.all: dict[int, Process] = {}
        self.attached = config.attached
        self.dying = 0  #: how many are being killed (rule W5)
        self.stuck = 0  #: of those, how many do not go away
        self.closed = False  #: the worker ends: start nothing
        self._number = 0
        self._failures: dict[_Kind, int] = {}  #: starts that failed in a row
        self._not_before: dict[_Kind, float] = {}
        #: called when a process that holds something is killed
        self.on_kill: Callable[[], None] = lambda: None
        if config.attached or config.adopted:
            self._number = ADOPTED_PROCESS
            role = Role.BOTH if config.attached else Role.TEMPLATE
            self.all[ADOPTED_PROCESS] = Process(ADOPTED_PROCESS, role)

    def start(self, role: Role, now: float, program: LocalProgram | None = None) -> bool:
        """Ask for one more, unless its like keeps failing to start.

        A process of a program is forked from its template, which must be READY, or imports for
        itself where it is ALONE.
        """
        not_before = self._not_before.get(_kind(program, role), -math.inf)
        if self.attached or self.closed or now < not_before:
            return False
        self._number += 1
        process = self.all[self._number] = Process(self._number, role)
        process.idle_since = now
        if program is not None:
            self.belong(process, program)
            if program.stand is Stand.READY and program.template is not None:
                process.parent = program.template.number
        self._emit(StartProcess(self._number, role, process.parent))
        return True

    def belong(self, process: Process, program: LocalProgram) -> None:
        """Make a process one of a program, for good."""
        process.program = program
        program.processes[process.number] = process

    def heard_up(self, number: int) -> None:
        """A process says that it runs: it is ready, unless it has a program to import first."""
        process = self.all.get(number)
        if process is None or process.state is not ProcessState.STARTING:
            return
        program = process.program
        if program is not None and not process.parent and program.definition is not None:
            self._emit(Tell(number, Load(program.definition, program.archive)))
        else:
            self.up(number)

    def up(self, number: int) -> Process | None:
        """A process is ready for work. None: it is on its way out already."""
        process = self.all.get(number)
        if process is None or process.state is not ProcessState.STARTING:
            return None
        process.state = ProcessState.READY
        kind = _kind(process.program, process.role)
        self._failures.pop(kind, None)
        self._not_before.pop(kind, None)
        return process

    def starts_failed(self, role: Role, program: LocalProgram | None = None) -> int:
        """How many starts in a row of such a process have failed."""
        return self._failures.get(_kind(program, role), 0)

    def planner_may_start(self, most: int) -> bool:
        """Tell whether one more planner may exist; have an idle one make room for it."""
        planners = [p for p in self.all.values() if p.role == Role.PLANNER]
        if len(planners) < most:
            return True
        idle = [p for p in planners if p.request == NO_REQUEST and p.state is ProcessState.READY]
        if idle and all(p.state is not ProcessState.LEAVING for p in planners):
            self.leave(min(idle, key=lambda p: p.idle_since))
        return False

    def forget(self, program: LocalProgram) -> None:
        """No process of this program will be started again."""
        for kind in [one for one in self._failures if one[0] == program.number]:
            del self._failures[kind]
            self._not_before.pop(kind, None)

    def leave(self, process: Process) -> None:
        """Have a process end by itself once it is ready; nothing waits for it."""
        if process.state is ProcessState.READY:
            process.state = ProcessState.LEAVING
            self._emit(Tell(process.number, Leave()))

    def kill(self, process: Process, grace_s: float, now: float) -> None:
        """Kill a process and its tree; a second call can only make it sooner."""
        if process.role == Role.BOTH:
            self._cannot_kill(process)
            return
        if process.state is ProcessState.DYING:
            if now + grace_s >= process.grace_end:
                return
        else:
            process.state = ProcessState.DYING
            self.dying += 1
        process.grace_end = now + grace_s
        self._emit(KillProcess(process.number, grace_s))
        if process.batch or process.parked:
            self.on_kill()

    def _cannot_kill(self, process: Process) -> None:
        if not process.stuck:
            process.stuck = True
            self.stuck += 1
            fields: dict[str, object] = {"process": process.number}
            self._emit(Note("attached program cannot be killed", fields, "error"))

    def got_stuck(self, number: int) -> None:
        """A killed process does not go away: the worker is unfit until it does."""
        process = self.all.get(number)
        if process is not None and not process.stuck:
            process.stuck = True
            self.stuck += 1
            fields: dict[str, object] = {"process": number}
            self._emit(Note("process cannot be killed", fields, "error"))

    def freed(self, process: Process) -> None:
        """An attached process that should have died has ended its task by itself."""
        if process.role == Role.BOTH and process.stuck:
            process.stuck = False
            self.stuck -= 1

    def exited(self, event: ProcessExited, now: float) -> Process | None:
        """A process and its tree are gone. Returns its record, as it was."""
        process = self.all.pop(event.process, None)
        if process is None:
            return None
        self.dying -= process.state is ProcessState.DYING
        self.stuck -= process.stuck
        if process.state is ProcessState.STARTING:
            kind = _kind(process.program, process.role)
            failures = self._failures.get(kind, 0) + 1
            self._failures[kind] = failures
            delay_s = min(RESTART_S * 2 ** min(failures - 1, 16), RESTART_MAX_S)
            self._not_before[kind] = now + delay_s
            fields: dict[str, object] = {
                "role": process.role,
                "program": kind[0],
                "failures": failures,
                "again_in_s": delay_s,
                "reason": death(event),
                "tail": event.tail[-500:],
            }
            self._emit(Note("process did not start", fields, "error"))
        return process

    def next_deadline(self, now: float) -> float:
        """When what kept failing may be started again; infinity: nothing waits."""
        return min((at for at in self._not_before.values() if at > now), default=math.inf)


def _kind(program: LocalProgram | None, role: Role) -> _Kind:
    return (program.number if program is not None else 0, role)


_SIGNALS = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    5: "SIGTRAP",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    10: "SIGUSR1",
    11: "SIGSEGV",
    12: "SIGUSR2",
    13: "SIGPIPE",
    14: "SIGALRM",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
    31: "SIGSYS",
}


def why_not_started(event: ProcessExited) -> str:
    """Say for people why a process ended before it was up: how, and the last it printed."""
    lines = [line for line in event.tail.splitlines() if line.strip()]
    return ": ".join([death(event), *(line.strip() for line in lines[-1:])])


def death(event: ProcessExited) -> str:
    """Say for people how a process ended."""
    if event.oom:
        return "out of memory: killed by the kernel"
    if event.signal:
        return f"killed by {_SIGNALS.get(event.signal, f'signal {event.signal}')}"
    if event.code == 0:
        return "exited with code 0 without a result"
    return f"exited with code {event.code}"
