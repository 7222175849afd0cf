"""What the agent and its task processes say to each other, over one socket pair per process.

Frames are a 4-byte little-endian length and a msgpack array that starts with the message's number.
Both ends are the same installation, so the types are decoded directly; a process that sends
anything else is treated as crashed.
"""

from __future__ import annotations

import enum
import struct

import msgspec

from flow.wire.ids import Token
from flow.wire.messages import codec
from flow.wire.messages.shared import Grant, Program, Report, Stub
from flow.wire.messages.speech import Fate, Letter, Words

#: One frame between agent and task process.
FRAME_BYTES_MAX = 64 << 20
_LENGTH = struct.Struct("<I")


class Role(enum.StrEnum):
    """What a process of a worker is there for."""

    TEMPLATE = "template"  #: imports a program once, then only forks
    RUNNER = "runner"  #: executes tasks
    PLANNER = "planner"  #: expands tasks
    BOTH = "both"  #: does both, in the process of a program that no other can import


class Frame(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Base of every message on this channel."""


# ---------------------------------------------------------------- agent -> process


class Execute(Frame, frozen=True, tag=1):
    """Run these one after the other, in this order."""

    grants: list[Grant]


class Continue(Frame, frozen=True, tag=2):
    """Everything this generator yielded is done: send it the targets and go on."""

    token: Token
    number: int


class Abandon(Frame, frozen=True, tag=3):
    """Close these parked generators; answered with RELEASED reports."""

    tokens: list[Token]


class Expand(Frame, frozen=True, tag=4):
    """Plan these tasks; see ``flow.wire.messages.shared.PlanChunk``."""

    request: int
    stubs: list[Stub]
    expand_max: int
    where: bool = False  #: only say where the outputs are


class More(Frame, frozen=True, tag=5):
    """Chunk ``chunk`` was asked for: the planner may work one chunk ahead of it."""

    request: int
    chunk: int


class Stop(Frame, frozen=True, tag=6):
    """Forget this planning request."""

    request: int


class Remove(Frame, frozen=True, tag=50):
    """Remove the temporary artifacts of these tasks; answered with ``Removed``."""

    request: int
    stubs: list[Stub]


class Leave(Frame, frozen=True, tag=7):
    """Finish what runs and exit."""


class Load(Frame, frozen=True, tag=9):
    """Be this program's: import it; answered with ``Loaded``."""

    program: Program
    archive: str = ""  #: path of its packed code, if that was sent along with the run


class LoadAgain(Frame, frozen=True, tag=10):
    """Be the template of another run of the program that was imported; answered with ``Loaded``."""


class Deliver(Frame, frozen=True, tag=8):
    """Put this into the queue of its attempt; answered with Taken."""

    letter: Letter


# ---------------------------------------------------------------- process -> agent


class Up(Frame, frozen=True, tag=32):
    """Ready for work."""

    pid: int


class Finished(Frame, frozen=True, tag=33):
    """These tokens ended, in the order they ran; the next queued one has begun."""

    reports: list[Report]


class Parked(Frame, frozen=True, tag=34):
    """``run()`` yielded incomplete tasks; the generator is kept. ``number`` counts from 1."""

    token: Token
    number: int
    stubs: list[Stub]
    run_s: float = 0.0


class Chunk(Frame, frozen=True, tag=35):
    """A piece of a planning answer, encoded as ``PlanChunk``."""

    request: int
    chunk: int
    last: bool
    body: bytes


class Says(Frame, frozen=True, tag=36):
    """All that an attempt has said, and its new replies: (letter id, text)."""

    words: Words
    replies: list[tuple[str, str]] = []


class Taken(Frame, frozen=True, tag=37):
    """What became of a letter here."""

    token: Token
    letter: str
    fate: Fate


class Removed(Frame, frozen=True, tag=60):
    """The first ``done`` tasks of a ``Remove`` were seen to; for the rest the time was over."""

    request: int
    done: int
    errors: list[str]


class Loaded(Frame, frozen=True, tag=38):
    """The program is imported here, as far as that is possible."""

    code: str  #: identity of what was imported
    import_s: float
    alone: str = ""  #: why this process must not be forked; empty: it may be
    error: str = ""  #: the sentence with which the import failed
    refused: bool = False  #: its code cannot be unpacked: nothing of it can run here
    files: dict[str, str] = {}  #: what the identity is of: names and hashes, the first ones
    memory_bytes: int = 0  #: proportional set size of a template; 0: not known
    stale: bool = False  #: of ``LoadAgain``: its files are not what was imported


class Dirty(Frame, frozen=True, tag=39):
    """This runner takes no new task any more; ``returned`` were not begun here."""

    reason: str  #: what a task left behind that cannot be put back
    returned: list[Token]


ToProcess = (
    Execute
    | Continue
    | Abandon
    | Expand
    | More
    | Stop
    | Leave
    | Deliver
    | Remove
    | Load
    | LoadAgain
)
FromProcess = Up | Finished | Parked | Chunk | Says | Taken | Removed | Loaded | Dirty

_at_process: msgspec.msgpack.Decoder[ToProcess] = msgspec.msgpack.Decoder(ToProcess)
_at_agent: msgspec.msgpack.Decoder[FromProcess] = msgspec.msgpack.Decoder(FromProcess)


def pack(frame: Frame) -> bytes:
    """Spell one frame with its length."""
    body = codec.spell(frame)
    return _LENGTH.pack(len(body)) + body


class Splitter:
    """Cut a byte stream into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes; return every whole frame. Raises ``ValueError`` over the limit."""
        rest = self._rest
        rest += data
        frames: list[bytes] = []
        at = 0
        while len(rest) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(rest, at)
            if size > FRAME_BYTES_MAX:
                raise ValueError(f"frame of {size} bytes is over the limit {FRAME_BYTES_MAX}")
            if len(rest) - at - _LENGTH.size < size:
                break
            at += _LENGTH.size
            frames.append(bytes(rest[at : at + size]))
            at += size
        del rest[:at]
        return frames


def unpack_at_process(frame: bytes) -> ToProcess:
    """Read one frame in a task process."""
    return _at_process.decode(frame)


def unpack_at_agent(frame: bytes) -> FromProcess:
    """Read one frame in the agent. Raises ``msgspec.MsgspecError``."""
    return _at_agent.decode(frame)
