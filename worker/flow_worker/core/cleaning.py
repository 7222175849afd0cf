"""Removing temporary artifacts for the coordinator: one request at a time, in a planner process.

The coordinator plans nothing while a removal is outstanding, so this worker must never remove
anything later than it was asked to: not under another session, not when its lease may be over, and
not again for a request that was answered. A removal that takes long is killed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from flow.wire.messages.worker import Clean, Cleaned, ToCoordinator
from flow_worker.channel import Remove, Removed, Role
from flow_worker.core.effects import Effect, Tell
from flow_worker.core.processes import Processes
from flow_worker.core.programs import Programs
from flow_worker.core.records import NO_REQUEST, LocalProgram, Process, ProcessState
from flow_worker.core.transitions import Stand

#: A removal that takes longer is killed. The process itself stops well before.
CLEAN_MAX_S = 10.0


class Cleaning:
    """The removal this session was asked for."""

    def __init__(
        self,
        processes: Processes,
        programs: Programs,
        planners_max: int,
        emit: Callable[[Effect], None],
        send: Callable[[ToCoordinator], None],
    ) -> None:
        self._planners_max = planners_max
        self._processes = processes
        self._programs = programs
        self._emit = emit
        self._send = send
        self.wanted: Clean | None = None
        self._program: LocalProgram | None = None  #: of the wanted one
        self._process = 0  #: that works on it; 0: it waits for one
        self._kill_at = math.inf
        self._answer: Cleaned | None = None  #: the last one, said again where it was lost

    @property
    def waits(self) -> bool:
        """Whether a request waits for a planner process."""
        return self.wanted is not None and not self._process

    def clean(self, message: Clean, now: float) -> None:
        """Take a request; a repeated one is answered as the first time."""
        if self._answer is not None and message.request <= self._answer.request:
            self._send(self._answer)
        elif self._processes.closed:
            self._say(Cleaned(message.session, message.request, lost=True))
        elif self.wanted is None or message.request > self.wanted.request:
            self._drop(now)
            self.wanted = message
            self._program = self._programs.use(message.program, now)
            self._program.requests += 1

    def place(self, now: float) -> None:
        """Give a waiting request to an idle planner. Called while the lease is valid (W2)."""
        if not self.waits:
            return
        assert self.wanted is not None and self._program is not None
        program = self._program
        own = self._processes.all if self._processes.attached else program.processes
        planners = [process for process in own.values() if process.expands]
        for process in planners:
            if process.request == NO_REQUEST and process.state is ProcessState.READY:
                process.request = self.wanted.request
                self._process = process.number
                self._kill_at = now + CLEAN_MAX_S
                frame = Remove(self.wanted.request, self.wanted.stubs)
                self._emit(Tell(process.number, frame))
                return
        ready = program.stand in (Stand.READY, Stand.ALONE)
        if not planners and ready and self._processes.planner_may_start(self._planners_max):
            self._processes.start(Role.PLANNER, now, program)

    def refuse(self, program: LocalProgram) -> None:
        """No planner of this program will ever be here."""
        if self.waits and self._program is program:
            assert self.wanted is not None
            self._say(Cleaned(self.wanted.session, self.wanted.request, lost=True))

    def removed(self, process: Process, frame: Removed) -> None:
        """A process has seen to its removal."""
        if self.wanted is None or process.number != self._process:
            return
        process.request = NO_REQUEST
        self._say(Cleaned(self.wanted.session, frame.request, frame.done, frame.errors))

    def exited(self, process: Process) -> None:
        """A process is gone; with it, maybe, its removal."""
        if self.wanted is not None and process.number == self._process:
            self._say(Cleaned(self.wanted.session, self.wanted.request, lost=True))

    def _say(self, answer: Cleaned) -> None:
        self._answer = answer
        self._send(answer)
        self._forget()

    def _forget(self) -> None:
        if self._program is not None:
            self._program.requests -= 1
            self._program = None
        self.wanted = None
        self._process = 0
        self._kill_at = math.inf

    def session_changed(self, now: float) -> None:
        """What was asked for in another session must not happen any more."""
        self._drop(now)
        self._answer = None

    def fence(self, now: float) -> None:
        """The lease ends: nothing is removed beyond it."""
        self._drop(now)

    def kill_overdue(self, now: float) -> None:
        """Kill a removal that takes too long."""
        if now >= self._kill_at:
            self._kill_at = math.inf
            self._kill(now)

    def next_deadline(self) -> float:
        """When ``kill_overdue`` has something to do."""
        return self._kill_at

    def _drop(self, now: float) -> None:
        if self._process:
            self._kill(now)
        self._forget()

    def _kill(self, now: float) -> None:
        process = self._processes.all.get(self._process)
        # A program that serves its own tasks cannot be killed for this.
        if process is not None and process.role != Role.BOTH:
            self._processes.kill(process, 0.0, now)
