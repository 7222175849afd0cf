"""What may happen to the worker core: a closed list. No other input exists."""

from __future__ import annotations

import enum

import msgspec

from flow.wire.messages.worker import ToWorker
from flow_worker.channel import FromProcess


class StopKind(enum.Enum):
    """How a worker was asked to end."""

    DRAIN = "drain"  #: finish what runs, take nothing new, then leave
    NOW = "now"  #: kill what runs, report it, then leave
    GONE = "gone"  #: who started this worker is gone: as NOW, without waiting to be heard


class Event(msgspec.Struct, frozen=True):
    """Base of every event."""


class Received(Event, frozen=True):
    """A message from the coordinator."""

    message: ToWorker


class ProcessSaid(Event, frozen=True):
    """A frame from a task process."""

    process: int
    frame: FromProcess


class ProcessExited(Event, frozen=True):
    """A task process *and its whole tree* are gone and reaped."""

    process: int
    signal: int = 0  #: it died of this signal; 0: it exited
    code: int = 0
    oom: bool = False
    tail: str = ""  #: last lines of its current attempt's output
    #: ``token_seq`` of the last task it began; -1: unknown, then it is the first one unreported
    began: int = -1


class ProcessStuck(Event, frozen=True):
    """A tree that should be dead is not (uninterruptible sleep): the worker is unfit."""

    process: int


class PackageAt(Event, frozen=True):
    """How far packed code is here."""

    package: str
    have_bytes: int = 0  #: so much of it is kept
    archive: str = ""  #: path of its file, or of where that was: it is here, whole and checked
    error: str = ""  #: it cannot be kept here: why, for people


class GuardLost(Event, frozen=True):
    """The supervisor is gone; nobody would fence this agent any more."""


class StopRequested(Event, frozen=True):
    """SIGTERM/SIGINT or a drain command."""

    kind: StopKind


class Tick(Event, frozen=True):
    """A deadline passed, or may have."""


class Measured(Event, frozen=True):
    """Load of the host, for heartbeats."""

    cpu: float
    memory_bytes: int


class TurnEnded(Event, frozen=True):
    """All input of this loop turn was handled: place tasks and say what is new, in batches."""
