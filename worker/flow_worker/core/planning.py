"""Planning requests: one planner process works on one of them; answers travel in chunks on demand.

Chunk 0 is sent unasked, each further one when asked for. A chunk is kept until a later one is
asked for, so that a lost message costs nothing but a repeat.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from flow.wire.ids import Session
from flow.wire.messages.codec import encode_chunk
from flow.wire.messages.shared import PlanChunk, PlanError
from flow.wire.messages.worker import Plan, Planned, PlanNext, ToCoordinator
from flow.wire.states import PlanErrorKind
from flow_worker.channel import Chunk, Expand, More, Role, Stop
from flow_worker.core.config import (
    MESSAGE_FILL_BYTES,
    REFUSED_STUBS_MAX,
    REQUEST_SILENCE_S,
    WorkerConfig,
)
from flow_worker.core.effects import Effect, Tell
from flow_worker.core.processes import Processes
from flow_worker.core.programs import Programs
from flow_worker.core.records import NO_REQUEST, LocalProgram, PlanRequest, Process, ProcessState
from flow_worker.core.transitions import Stand


class Planning:
    """The requests of this session."""

    def __init__(
        self,
        config: WorkerConfig,
        processes: Processes,
        programs: Programs,
        emit: Callable[[Effect], None],
        send: Callable[[ToCoordinator], None],
    ) -> None:
        self._config = config
        self._processes = processes
        self._programs = programs
        self._emit = emit
        self._send = send
        self._session: Session | None = None
        self.requests: dict[int, PlanRequest] = {}
        self.waiting: deque[int] = deque()  #: may contain numbers that were stopped

    def session_changed(self, session: Session | None) -> None:
        """Requests belong to a session: forget the old ones."""
        for number in list(self.requests):
            self.end(number)
        self.waiting.clear()
        self._session = session

    # ------------------------------------------------------------ from the coordinator

    def plan(self, message: Plan, now: float) -> None:
        """Queue a request; a repeated one gets its chunk again."""
        self.forget_silent(now)
        request = self.requests.get(message.request)
        if request is not None:
            request.wanted_at = now
            self._say(request)
            return
        if self._processes.closed:
            self._lost(message.request, 0)
            return
        program = self._programs.use(message.program, now)
        program.requests += 1
        self.requests[message.request] = PlanRequest(
            message.request, message.stubs, message.expand_max, program, now, where=message.where
        )
        self.waiting.append(message.request)

    def next_chunk(self, message: PlanNext, now: float) -> None:
        """Send a chunk (again), or have it made."""
        request = self.requests.get(message.request)
        if request is None:
            self._lost(message.request, message.chunk)
            return
        request.wanted_at = now
        if message.chunk < request.wanted:
            return
        for passed in [n for n in request.chunks if n < message.chunk]:
            del request.chunks[passed]
        request.wanted = message.chunk
        if request.process and request.asked < message.chunk:
            request.asked = message.chunk
            self._emit(Tell(request.process, More(request.number, message.chunk)))
        self._say(request)

    def end(self, number: int) -> None:
        """Forget a request."""
        request = self._pop(number)
        if request is not None and request.process:
            process = self._processes.all[request.process]
            self._emit(Tell(request.process, Stop(number)))
            process.request = NO_REQUEST

    def _pop(self, number: int) -> PlanRequest | None:
        request = self.requests.pop(number, None)
        if request is not None:
            request.program.requests -= 1
        return request

    def refuse(self, program: LocalProgram, reason: str) -> None:
        """No further planner of this program is to be had: others must be asked what waits."""
        for request in [one for one in self.requests.values() if one.program is program]:
            if not request.complete and not request.process:
                self._pop(request.number)
                if program.codeless and self._say_failed(request, reason):
                    continue
                told = encode_chunk(PlanChunk(errors=[PlanError(0, PlanErrorKind.DIED, reason)]))
                self._lost(request.number, request.wanted, told if reason else b"")

    def _say_failed(self, request: PlanRequest, reason: str) -> bool:
        """Answer as a planner would that cannot import; what finds no room is asked again."""
        if self._session is None or request.wanted or not request.stubs:
            return False
        stubs = request.stubs[:REFUSED_STUBS_MAX]
        errors = [PlanError(index, PlanErrorKind.IMPORT, reason) for index in range(len(stubs))]
        body = encode_chunk(PlanChunk(stubs=stubs, errors=errors))
        if len(body) > MESSAGE_FILL_BYTES:
            return False
        self._send(Planned(self._session, request.number, 0, True, body))
        return True

    def next_deadline(self) -> float:
        """When a request counts as ended because nobody asks about it."""
        oldest = min((one.wanted_at for one in self.requests.values()), default=math.inf)
        return oldest + REQUEST_SILENCE_S

    def forget_silent(self, now: float) -> None:
        """Free planner and program of requests whose end was lost."""
        silent = [n for n, r in self.requests.items() if now >= r.wanted_at + REQUEST_SILENCE_S]
        for number in silent:
            self.end(number)

    # ------------------------------------------------------------ from processes

    def chunk(self, process: Process, frame: Chunk) -> None:
        """A planner made a piece of an answer."""
        request = self.requests.get(frame.request)
        if request is None or request.process != process.number:
            return  # stopped meanwhile
        if frame.chunk >= request.wanted:
            request.chunks[frame.chunk] = frame
        if frame.last:
            request.complete = True
            request.process = 0
            process.request = NO_REQUEST
        if frame.chunk == request.wanted:
            self._say(request)

    def exited(self, process: Process, reason: str, tail: str) -> None:
        """A planner is gone: its request must be asked again, and what it says killed it.

        ``tail``: the last lines that it printed.
        """
        request = self._pop(process.request)
        if request is not None:
            error = PlanError(0, PlanErrorKind.DIED, reason, tail=tail)
            told = encode_chunk(PlanChunk(errors=[error]))
            self._lost(request.number, request.wanted, told)

    # ------------------------------------------------------------ inside

    def _say(self, request: PlanRequest) -> None:
        chunk = request.chunks.get(request.wanted)
        if chunk is not None and self._session is not None:
            program = request.program
            self._send(
                Planned(
                    self._session,
                    request.number,
                    chunk.chunk,
                    chunk.last,
                    chunk.body,
                    # what could not be imported is the code of nothing
                    code="" if program.cannot_run else program.code,
                )
            )

    def _lost(self, number: int, chunk: int, told: bytes = b"") -> None:
        if self._session is not None:
            self._send(Planned(self._session, number, chunk, True, told, True))

    def place(self, now: float) -> None:
        """Give waiting requests to idle planners; have more planners where there are few."""
        if not self.waiting:
            return
        self.forget_silent(now)
        for number in list(self.waiting):
            request = self.requests.get(number)
            if request is None or request.process or request.complete:
                self.waiting.remove(number)
                continue
            process = self._idle_planner(request.program)
            if process is not None:
                self.waiting.remove(number)
                self._hand_over(request, process)
        self._start_missing(now)

    def _idle_planner(self, program: LocalProgram) -> Process | None:
        own = self._processes.all if self._processes.attached else program.processes
        for process in own.values():
            if (
                process.expands
                and process.request == NO_REQUEST
                and process.state is ProcessState.READY
            ):
                return process
        return None

    def _hand_over(self, request: PlanRequest, process: Process) -> None:
        process.request = request.number
        request.process = process.number
        frame = Expand(request.number, request.stubs, request.expand_max, request.where)
        request.stubs = []
        self._emit(Tell(process.number, frame))

    def _start_missing(self, now: float) -> None:
        """Have a planner for each waiting question, as far as there may be so many."""
        wanted: dict[LocalProgram, int] = {}
        for number in self.waiting:
            program = self.requests[number].program
            wanted[program] = wanted.get(program, 0) + 1
        for program, count in wanted.items():
            if program.stand not in (Stand.READY, Stand.ALONE):
                continue
            own = [p for p in program.processes.values() if p.role == Role.PLANNER]
            missing = count - sum(p.state is ProcessState.STARTING for p in own)
            while missing > 0 and self._processes.planner_may_start(self._config.planners):
                if not self._processes.start(Role.PLANNER, now, program):
                    break
                missing -= 1
