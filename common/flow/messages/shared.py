"""Values that several messages carry."""

from __future__ import annotations

import enum

import msgspec

from flow.ids import Token

#: (major, minor). Another major is refused at HELLO; of two minors the smaller is spoken.
PROTOCOL = (1, 0)


class Value(msgspec.Struct, frozen=True, array_like=True):
    """A typed msgpack array without a number of its own."""


class Timing(Value, frozen=True):
    """The lease timing in force. Workers learn it in WELCOME. Source: lease protocol, section 3."""

    heartbeat_s: float = 5.0  #: H
    lease_s: float = 60.0  #: L
    kill_s: float = 5.0  #: G: SIGTERM, 3/5 of it later SIGKILL, reaped by its end
    margin_s: float = 2.0  #: M, at the coordinator only
    rate_error: float = 0.01  #: rho, bound on the relative clock rate error

    @property
    def term_s(self) -> float:
        """How long the coordinator keeps a silent worker's leases: L(1+rho)+M."""
        return self.lease_s * (1 + self.rate_error) + self.margin_s

    @property
    def fence_s(self) -> float:
        """When a worker starts to kill, counted from the send time of its last acked heartbeat."""
        return self.lease_s - self.kill_s

    @property
    def suspect_s(self) -> float:
        """Silence after which a worker gets no new work; nothing is killed."""
        return 3 * self.heartbeat_s


class Stub(Value, frozen=True):
    """A task as somebody names it, before it is planned."""

    task_id: str  #: ``Family_summary_hash`` as in Luigi
    module: str  #: importable name, or ``file:/abs/path.py`` for a script
    family: str
    params: bytes  #: msgpack map of str to str, all but private parameters, in declaration order


def pack_params(params: dict[str, str]) -> bytes:
    """Spell parameters as a ``Stub`` carries them."""
    return msgspec.msgpack.encode(params)


def unpack_params(params: bytes) -> dict[str, str]:
    """Read the parameters of a ``Stub`` or ``Grant`` for display."""
    return msgspec.msgpack.decode(params, type=dict[str, str])


def display(family: str, params: bytes, characters_max: int = 200) -> str:
    """Spell a task as people write it: ``Family(name=value, ...)``."""
    try:
        inner = ", ".join(f"{name}={value}" for name, value in unpack_params(params).items())
    except msgspec.MsgspecError:
        inner = "?"
    text = f"{family}({inner})"
    return text if len(text) <= characters_max else text[: characters_max - 2] + "…)"


class Policy(Value, frozen=True):
    """What a task asks for and how its failures are treated; shared by most tasks of a family."""

    priority: float = 0.0
    resources: dict[str, float] = {}
    retry_count: int | None = None  #: attempts that may fail before ``failed``; None: the setting
    retry_delay_s: float | None = None  #: first backoff; None: the setting
    disable_window_s: float | None = None  #: only failures this recent count; None: the setting
    timeout_s: float | None = None  #: ``worker_timeout``; None: the setting, 0: none
    disabled: bool = False
    on_lost: str = "retry"  #: or "hold"
    accepts_messages: bool = False
    #: parameters with a ``batch_method``, in declaration order; empty: runs alone
    batched: list[str] = []
    batch_max: int = 0  #: tasks joined into one at most; 0: no limit of its own
    owners: list[str] = []  #: who else gets mail
    temporary: bool = False  #: its artifacts go when every task that needs them is done
    given: bytes = b""  #: what the command line gave when it was planned; it runs with the same


class SpecStatus(enum.IntEnum):
    """What the planner found."""

    INCOMPLETE = 0
    COMPLETE = 1
    EXTERNAL = 2  #: an external task whose output does not exist


class Spec(Value, frozen=True):
    """One expanded task of a planning answer. ``index`` and ``policy`` point into that answer."""

    index: int
    status: SpecStatus
    policy: int


class PlanError(Value, frozen=True):
    """User code raised, or cannot be found, while a task was planned."""

    index: int
    kind: (
        str  #: "import" | "unknown_task" | "bad_parameter" | "requires" | "complete" | "too_large"
    )
    text: str  #: one line for people, own-code frame included
    trace: str = ""  #: bounded traceback


class PlanChunk(Value, frozen=True):
    """A piece of a planning answer. Indices count the stubs of the whole answer from 0.

    The first stubs of the answer are the requested items, in order (with their true task ids).
    ``edges`` pairs (task, its requirements) may come in several pieces, all before the task's
    ``Spec``. A stub with neither spec nor error at the end was not expanded: the coordinator asks
    again for what it needs.
    """

    stubs: list[Stub] = []
    edges: list[tuple[int, list[int]]] = []
    policies: list[Policy] = []
    specs: list[Spec] = []
    errors: list[PlanError] = []
    #: of an answer about roots: what of PLAN's ``given`` tasks take; the rest was the roots' own
    given: bytes | None = None


class Outcome(enum.IntEnum):
    """How an attempt (or the holding of a token) ended."""

    DONE = 0
    FAILED = 1  #: run() raised, outputs missing, result unreadable
    CRASHED = 2  #: the process died without being told to
    TIMEOUT = 3
    KILLED = 4  #: by KILL, kill list, fence, drain, cancel: uncounted
    RELEASED = 5  #: never started, or its parked generator was given up: uncounted
    REFUSED = 6  #: this worker cannot run it (import error, too little lease left)


class Report(Value, frozen=True):
    """The one report that ends a token at its worker; resent until acknowledged."""

    token: Token
    outcome: Outcome
    run_s: float = 0.0  #: wall time inside the runner, seconds
    error: str = ""  #: one line for people: type, message
    where: str = ""  #: own-code frame, ``path:line function()``
    trace: str = ""  #: bounded traceback
    tail: str = ""  #: last lines of the attempt's output
    skipped: bool = False  #: complete() was true before run(): nothing ran
    peak_bytes: int = 0


class Verdict(enum.IntEnum):
    """What the coordinator says of a report."""

    COMMITTED = 0
    STALE = 1


class Grant(Value, frozen=True):
    """One task handed to a worker under a token."""

    token: Token
    task_id: str
    module: str
    family: str
    params: bytes
    attempt: int
    timeout_s: float = 0.0  #: 0: none
    alone: bool = False  #: run with nothing else on the worker (blame isolation after a crash)
    accepts_messages: bool = False
    #: parameters of every task that this grant runs as one, the first one's included; empty: alone
    members: list[bytes] = []
    given: bytes = b""  #: of its policy
