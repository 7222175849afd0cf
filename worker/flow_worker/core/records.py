"""What the core remembers: slotted records, changed in place."""

from __future__ import annotations

import enum
import math
from collections import deque

from flow.wire.ids import Token
from flow.wire.messages import shared
from flow.wire.messages.shared import Grant, Outcome, Stub
from flow_worker.channel import Chunk, Role
from flow_worker.core.transitions import Hold, Stand

#: Planning requests are counted from 0 or more.
NO_REQUEST = -1


class Holding:
    """One token this worker accepted and whose report is not acknowledged yet."""

    __slots__ = (
        "abandoned",
        "cost_s",
        "grant",
        "number",
        "outcome",
        "process",
        "program",
        "reason",
        "state",
        "token",
        "used_s",
    )

    def __init__(self, grant: Grant, program: LocalProgram) -> None:
        self.token: Token = grant.token
        self.grant = grant
        self.program = program
        self.state = Hold.QUEUED
        self.process = 0  #: 0 exactly while QUEUED
        self.number = 0  #: of its last yield
        self.used_s = 0.0  #: run time before the last park; the timeout counts it
        self.cost_s = 0.0  #: its share of its runner's batch
        self.outcome = Outcome.KILLED  #: of the report, where KILLING ends without a better one
        self.reason = ""
        self.abandoned = False  #: its runner was told to give the generator up


class LocalProgram:
    """What one run's tasks are executed in, as this worker has it."""

    __slots__ = (
        "archive",
        "broken",
        "code",
        "codeless",
        "deaths",
        "definition",
        "files",
        "holdings",
        "import_s",
        "inherits",
        "load_by",
        "memory_bytes",
        "not_before",
        "number",
        "prepare",
        "processes",
        "queue",
        "queued",
        "quiet_until",
        "requests",
        "stand",
        "template",
        "text",
        "unknown",
        "used_at",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.definition: shared.Program | None = None  #: None: it was asked for
        self.stand = Stand.NEW
        self.archive = ""  #: where its packed code is, once that is here
        self.template: Process | None = None
        self.processes: dict[int, Process] = {}  #: all of it, the template included
        self.queue: deque[Holding] = deque()  #: may contain entries that are not QUEUED any more
        self.queued = 0
        self.holdings = 0  #: its holdings that are not ENDED
        self.requests = 0  #: planning and removal requests that are open
        self.deaths = 0  #: templates in a row whose processes did nothing before they died
        self.not_before = -math.inf  #: of the next template
        self.load_by = math.inf  #: when its import takes too long
        self.quiet_until = -math.inf  #: until then its first question and task go before the rest
        self.code = ""
        self.import_s = -1.0
        self.memory_bytes = 0  #: of its template
        self.files: dict[str, str] = {}  #: until a heartbeat with them is acknowledged
        self.text = ""  #: why it cannot be imported, or not be forked
        self.codeless = False  #: its code cannot be had, or not be unpacked
        self.broken = False  #: its import fails
        self.inherits = False  #: its template is a fork of the calling program: there is no other
        self.unknown = False  #: nobody can define it any more
        self.prepare = False  #: to be imported though nothing here uses it yet, if there is room
        self.used_at = 0.0

    @property
    def cannot_run(self) -> bool:
        """Whether nothing of it can run here."""
        return self.broken or self.stand is Stand.FAILED

    @property
    def is_foreign(self) -> bool:
        """Whether its code here is another than its run insists on."""
        wanted = self.definition.code if self.definition is not None else ""
        return bool(wanted and self.code) and self.code != wanted

    @property
    def in_use(self) -> bool:
        """Whether something here needs it."""
        return self.holdings > 0 or self.requests > 0


class ProcessState(enum.IntEnum):
    """Where a task process is in its life."""

    STARTING = 0
    READY = 1
    LEAVING = 2  #: told to exit
    DYING = 3  #: being killed


class Process:
    """One task process. A runner's ``batch`` runs in order; its head is running."""

    __slots__ = (
        "batch",
        "begun_at",
        "dirty",
        "done",
        "executes",
        "expands",
        "grace_end",
        "idle_since",
        "load_s",
        "number",
        "parent",
        "parked",
        "peak_bytes",
        "program",
        "request",
        "role",
        "state",
        "stuck",
    )

    def __init__(self, number: int, role: Role) -> None:
        self.number = number
        self.role = role
        self.executes = role in (Role.RUNNER, Role.BOTH)
        self.expands = role in (Role.PLANNER, Role.BOTH)
        #: none: of a spare template and of an attached program
        self.program: LocalProgram | None = None
        self.parent = 0  #: the template that forked it; 0: the supervisor
        self.state = ProcessState.STARTING
        self.batch: deque[Holding] = deque()
        self.parked: dict[Token, Holding] = {}  #: suspended generators, oldest first
        self.load_s = 0.0  #: expected work in the batch
        self.begun_at = 0.0  #: of the head of the batch
        self.idle_since = 0.0
        self.done = 0  #: tasks since its start
        self.dirty = ""  #: why it takes no new task
        self.peak_bytes = 0
        self.request = NO_REQUEST  #: the planning request it works on
        self.stuck = False  #: killed and not gone
        self.grace_end = 0.0  #: while DYING


class Yielded:
    """A yield that is not acknowledged yet."""

    __slots__ = ("delay_s", "due", "number", "stubs")

    def __init__(self, number: int, stubs: list[Stub]) -> None:
        self.number = number
        self.stubs = stubs
        self.due = 0.0
        self.delay_s = 0.0


class PlanRequest:
    """A planning request and the pieces of its answer that may be asked for again."""

    __slots__ = (
        "asked",
        "chunks",
        "complete",
        "expand_max",
        "number",
        "process",
        "program",
        "stubs",
        "wanted",
        "wanted_at",
        "where",
    )

    def __init__(
        self,
        number: int,
        stubs: list[Stub],
        expand_max: int,
        program: LocalProgram,
        now: float,
        *,
        where: bool = False,
    ) -> None:
        self.number = number
        self.where = where  #: it asks for the places of outputs, not for a plan
        self.program = program
        self.stubs = stubs
        self.expand_max = expand_max
        self.wanted_at = now  #: when the coordinator last asked for any of it
        self.process = 0  #: 0: waits for a planner, or its planner is done with it
        self.chunks: dict[int, Chunk] = {}  #: from ``wanted`` on
        self.wanted = 0  #: the chunk the coordinator waits for
        self.asked = 0  #: the last chunk the planner was told of
        self.complete = False  #: the last chunk has arrived
