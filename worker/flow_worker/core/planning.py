"""Planning requests: one planner process works on one of them; answers travel in chunks on demand.

Chunk 0 is sent unasked, each further one when asked for. A chunk is kept until a later one is
asked for, so that a lost message costs nothing but a repeat.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from flow.ids import Session
from flow.messages.codec import encode_chunk
from flow.messages.shared import PlanChunk, PlanError
from flow.messages.worker import Plan, Planned, PlanNext, ToCoordinator
from flow_worker.core.config import REQUEST_SILENCE_S, WorkerConfig
from flow_worker.core.effects import Effect, Tell
from flow_worker.core.processes import Processes
from flow_worker.core.records import NO_REQUEST, PlanRequest, Process, ProcessState
from flow_worker.process.channel import Chunk, Expand, More, Stop


class Planning:
    """The requests of this session."""

    def __init__(
        self,
        config: WorkerConfig,
        processes: Processes,
        emit: Callable[[Effect], None],
        send: Callable[[ToCoordinator], None],
    ) -> None:
        self._config = config
        self._processes = processes
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
        self._forget_silent(now)
        request = self.requests.get(message.request)
        if request is not None:
            request.wanted_at = now
            self._say(request)
            return
        if self._processes.closed:
            self._lost(message.request, 0)
            return
        self.requests[message.request] = PlanRequest(
            message.request, message.stubs, message.expand_max, message.given, now
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
        request = self.requests.pop(number, None)
        if request is not None and request.process:
            self._emit(Tell(request.process, Stop(number)))
            self._processes.all[request.process].request = NO_REQUEST

    def _forget_silent(self, now: float) -> None:
        """Free the planners of requests whose end was lost."""
        silent = [n for n, r in self.requests.items() if now - r.wanted_at > REQUEST_SILENCE_S]
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

    def exited(self, process: Process, reason: str) -> None:
        """A planner is gone: its request must be asked again, and what it says killed it."""
        request = self.requests.pop(process.request, None)
        if request is not None:
            told = encode_chunk(PlanChunk(errors=[PlanError(0, "died", reason)]))
            self._lost(request.number, request.wanted, told)

    # ------------------------------------------------------------ inside

    def _say(self, request: PlanRequest) -> None:
        chunk = request.chunks.get(request.wanted)
        if chunk is not None and self._session is not None:
            self._send(Planned(self._session, request.number, chunk.chunk, chunk.last, chunk.body))

    def _lost(self, number: int, chunk: int, told: bytes = b"") -> None:
        if self._session is not None:
            self._send(Planned(self._session, number, chunk, True, told, True))

    def place(self, now: float) -> None:
        """Give waiting requests to idle planners; have more planners where there are few."""
        if not self.waiting:
            return
        self._forget_silent(now)
        idle = [
            p
            for p in self._processes.all.values()
            if p.expands and p.request == NO_REQUEST and p.state is ProcessState.READY
        ]
        for process in idle:
            request = self._next_waiting()
            if request is None:
                return
            process.request = request.number
            request.process = process.number
            frame = Expand(request.number, request.stubs, request.expand_max, request.given)
            request.stubs = []
            self._emit(Tell(process.number, frame))
        planners = [p for p in self._processes.all.values() if p.role == "planner"]
        starting = sum(p.state is ProcessState.STARTING for p in planners)
        missing = min(len(self.waiting) - starting, self._config.planners - len(planners))
        for _ in range(missing):
            if not self._processes.start("planner", now):
                return

    def _next_waiting(self) -> PlanRequest | None:
        while self.waiting:
            request = self.requests.get(self.waiting.popleft())
            if request is not None and not request.process and not request.complete:
                return request
        return None

    def prewarm(self, now: float) -> None:
        """Keep one planner ready."""
        if self._config.planners and not self._processes.count("planner"):
            self._processes.start("planner", now)
