"""The task processes of this worker: starting them, killing them, knowing that they are gone."""

from __future__ import annotations

import math
from collections.abc import Callable

from flow_worker.core.config import RESTART_MAX_S, RESTART_S
from flow_worker.core.effects import Effect, KillProcess, Note, StartProcess
from flow_worker.core.events import ProcessExited
from flow_worker.core.records import Process, ProcessState


class Processes:
    """Every process that exists or was asked for, by its never reused number."""

    def __init__(self, emit: Callable[[Effect], None], attached: bool) -> None:
        self._emit = emit
        self.all: dict[int, Process] = {}
        self.attached = attached
        self.dying = 0  #: how many are being killed (rule W5)
        self.stuck = 0  #: of those, how many do not go away
        self.closed = False  #: the worker ends: start nothing
        self._number = 0
        self._failures: dict[str, int] = {}  #: starts that failed in a row, by role
        self._not_before: dict[str, float] = {}
        #: called when a process that holds something is killed
        self.on_kill: Callable[[], None] = lambda: None
        if attached:
            self._number = 1
            self.all[1] = Process(1, "both")

    def count(self, role: str) -> int:
        """How many of a role exist, in whatever state."""
        return sum(process.role == role for process in self.all.values())

    def start(self, role: str, now: float) -> bool:
        """Ask for one more, unless its like keeps failing to start."""
        if self.attached or self.closed or now < self._not_before.get(role, -math.inf):
            return False
        self._number += 1
        self.all[self._number] = Process(self._number, role)
        self._emit(StartProcess(self._number, role))
        return True

    def up(self, number: int) -> Process | None:
        """A process says that it is ready. None: it is on its way out already."""
        process = self.all.get(number)
        if process is None or process.state is not ProcessState.STARTING:
            return None
        process.state = ProcessState.READY
        self._failures.pop(process.role, None)
        self._not_before.pop(process.role, None)
        return process

    def kill(self, process: Process, grace_s: float, now: float) -> None:
        """Kill a process and its tree; a second call can only make it sooner."""
        if process.role == "both":
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
        if process.role == "both" and process.stuck:
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
            failures = self._failures.get(process.role, 0) + 1
            self._failures[process.role] = failures
            delay_s = min(RESTART_S * 2 ** min(failures - 1, 16), RESTART_MAX_S)
            self._not_before[process.role] = now + delay_s
            fields: dict[str, object] = {
                "role": process.role,
                "failures": failures,
                "again_in_s": delay_s,
                "reason": death(event),
                "tail": event.tail[-500:],
            }
            self._emit(Note("process did not start", fields, "error"))
        return process

    def next_deadline(self, now: float) -> float:
        """When a role that kept failing may be started again; infinity: nothing waits."""
        return min((at for at in self._not_before.values() if at > now), default=math.inf)


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


def death(event: ProcessExited) -> str:
    """Say for people how a process ended."""
    if event.oom:
        return "out of memory: killed by the kernel"
    if event.signal:
        return f"killed by {_SIGNALS.get(event.signal, f'signal {event.signal}')}"
    if event.code == 0:
        return "exited with code 0 without a result"
    return f"exited with code {event.code}"
