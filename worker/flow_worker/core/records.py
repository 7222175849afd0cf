"""What the core remembers: slotted records, changed in place."""

from __future__ import annotations

import enum
from collections import deque

from flow.ids import Token
from flow.messages.shared import Grant, Outcome, Stub
from flow_worker.core.transitions import Hold
from flow_worker.process.channel import Chunk

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
        "reason",
        "state",
        "token",
        "used_s",
    )

    def __init__(self, grant: Grant) -> None:
        self.token: Token = grant.token
        self.grant = grant
        self.state = Hold.QUEUED
        self.process = 0  #: 0 exactly while QUEUED
        self.number = 0  #: of its last yield
        self.used_s = 0.0  #: run time before the last park; the timeout counts it
        self.cost_s = 0.0  #: its share of its runner's batch
        self.outcome = Outcome.KILLED  #: of the report, where KILLING ends without a better one
        self.reason = ""
        self.abandoned = False  #: its runner was told to give the generator up


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
        "done",
        "executes",
        "expands",
        "grace_end",
        "load_s",
        "number",
        "parked",
        "peak_bytes",
        "request",
        "role",
        "state",
        "stuck",
    )

    def __init__(self, number: int, role: str) -> None:
        self.number = number
        self.role = role
        self.executes = role != "planner"
        self.expands = role != "runner"
        self.state = ProcessState.STARTING
        self.batch: deque[Holding] = deque()
        self.parked: dict[Token, Holding] = {}  #: suspended generators, oldest first
        self.load_s = 0.0  #: expected work in the batch
        self.begun_at = 0.0  #: of the head of the batch
        self.done = 0  #: tasks since its start
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
        "given",
        "number",
        "process",
        "stubs",
        "wanted",
        "wanted_at",
    )

    def __init__(
        self, number: int, stubs: list[Stub], expand_max: int, given: bytes, now: float
    ) -> None:
        self.number = number
        self.given = given
        self.stubs = stubs
        self.expand_max = expand_max
        self.wanted_at = now  #: when the coordinator last asked for any of it
        self.process = 0  #: 0: waits for a planner, or its planner is done with it
        self.chunks: dict[int, Chunk] = {}  #: from ``wanted`` on
        self.wanted = 0  #: the chunk the coordinator waits for
        self.asked = 0  #: the last chunk the planner was told of
        self.complete = False  #: the last chunk has arrived
