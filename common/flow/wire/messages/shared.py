"""Values that several messages carry."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from flow.visible import escaped
from flow.wire.ids import Token
from flow.wire.names import BARE, TAKEN, TYPED, brief
from flow.wire.params import unpack_params
from flow.wire.states import PlanErrorKind

#: Of packed code; ``flow.usercode.shipping`` makes none that is larger.
PACKAGE_BYTES_MAX = 64 << 20
#: Of packed code in one message: what is urgent waits behind one of these at most.
PIECE_BYTES_MAX = 128 << 10
_DIGEST_CHARACTERS = 64
#: How many names of files that differ are told.
FILES_TOLD_MAX = 8
FILE_CHARS_MAX = 120
#: Of a path.
PATH_CHARS_MAX = 1_000

#: (major, minor). Another major is refused at HELLO; of two minors the smaller is spoken.
PROTOCOL = (1, 0)


class Value(msgspec.Struct, frozen=True, array_like=True):
    """A typed msgpack array without a number of its own."""


def is_package(text: str) -> bool:
    """Tell whether this names packed code: a SHA-256 in hex, so that it is a safe file name."""
    return len(text) == _DIGEST_CHARACTERS and all(each in "0123456789abcdef" for each in text)


def unicode(text: str) -> str:
    """Return text with what is not Unicode escaped: names of files may have lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def sendable(path: str) -> str:
    """Return a path as text that can be sent: short, and what is not Unicode escaped."""
    return unicode(path)[:PATH_CHARS_MAX]


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the names of files that differ or that one side lacks, few enough to be read."""
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    shown = [
        name if len(name) <= FILE_CHARS_MAX else f"…{name[-FILE_CHARS_MAX:]}"
        for name in names[:FILES_TOLD_MAX]
    ]
    if len(names) > FILES_TOLD_MAX:
        shown.append(f"and {len(names) - FILES_TOLD_MAX} more")
    return shown


class Timing(Value, frozen=True):
    """The lease timing in force. Workers learn it in WELCOME (rules W3 and C5)."""

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
    def suspect_s(self) -> float:
        """Silence after which a worker gets no new work; nothing is killed."""
        return 3 * self.heartbeat_s


class Stub(Value, frozen=True):
    """A task as somebody names it, before it is planned."""

    task_id: str  #: ``Family_summary_hash`` as in Luigi
    module: str  #: importable name, or ``file:/abs/path.py`` for a script
    family: str
    #: msgpack map of str to str, all but private parameters; see ``flow.parameters.packing``
    params: bytes


def readable_params(params: bytes) -> dict[str, str]:
    """Read the parameters of a ``Stub`` or ``Grant`` for display."""
    named = unpack_params(params)
    for name in (TYPED, TAKEN, BARE):
        named.pop(name, None)
    return named


def display(family: str, params: bytes, characters_max: int = 200) -> str:
    """Spell a task as people write it: ``Family(name=value, ...)``."""
    try:
        named = readable_params(params)
        inner = ", ".join(f"{name}={brief(value)}" for name, value in named.items())
    except msgspec.MsgspecError:
        inner = "?"
    text = f"{family}({inner})"
    return text if len(text) <= characters_max else text[: characters_max - 2] + "…)"


def shown(family: str, params: bytes) -> str:
    """Spell a task for a line of text: ``display``, with control characters escaped."""
    return escaped(display(family, params))


def shown_with(family: str, named: Mapping[str, str]) -> str:
    """Spell a task whose parameters are at hand, as ``shown`` does if they are short."""
    return escaped(f"{family}({', '.join(f'{name}={value}' for name, value in named.items())})")


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
    #: seconds after the first failure in which another may follow; None: the setting
    disable_hard_timeout_s: float | None = None


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
    kind: PlanErrorKind
    text: str  #: one line for people, own-code frame included
    trace: str = ""  #: bounded traceback
    tail: str = ""  #: the last lines that were printed before


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
    relative: str = ""  #: an output here whose path depends on where a worker was started
    printed: str = ""  #: lines that user code printed since the last chunk, bounded


class Outcome(enum.IntEnum):
    """How an attempt (or the holding of a token) ended."""

    DONE = 0
    FAILED = 1  #: run() raised, outputs missing, result unreadable
    CRASHED = 2  #: the process died without being told to
    TIMEOUT = 3
    KILLED = 4  #: by KILL, kill list, fence, drain, cancel: uncounted
    RELEASED = 5  #: never started, or its parked generator was given up: uncounted
    REFUSED = 6  #: this worker cannot run it (import error, too little lease left)


class Missing(Value, frozen=True):
    """An output of a requirement that is done, and is not where the attempt looked for it."""

    task_id: str  #: of the requirement
    family: str
    index: int  #: which of its outputs that have a path
    path: str  #: absolute; at most ``PATH_CHARS_MAX`` characters
    relative: str = ""  #: the same as the task has it, if that is a relative path


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
    missing: Missing | None = None


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
    program: int = 0  #: whose processes it runs in
    #: since a run wanted it, an attempt may have run to its end without anybody hearing of it
    maybe_done: bool = False


class Program(Value, frozen=True):
    """What the tasks of one run are executed in; messages name it by its number, the run's.

    It is imported once on each worker that works for the run, and shared with no other run.
    """

    number: int
    project: str
    modules: list[str]  #: of the run's roots: importable names, or ``file:/abs/path.py``
    given: bytes = b""  #: what the command line gives to tasks of any family, packed
    code: str = ""  #: identity of the code that the run was planned with; empty: any will do
    package: str = ""  #: SHA-256 of its packed code; empty: it is on the workers


class ProgramSeen(Value, frozen=True):
    """How a program stands on one worker, in its heartbeats."""

    number: int
    code: str = ""  #: identity of the code that was imported; empty: nothing yet
    import_s: float = -1.0  #: how long the import took; below 0: it is not over
    #: the sentence with which the import failed, or why its processes cannot be forked
    text: str = ""
    failed: bool = False  #: it cannot be imported here
    #: names and hashes of its files, the first ones; only until a heartbeat with them is acked
    files: dict[str, str] = {}
    given_up: bool = False  #: not for its import: its processes end, or do not start
