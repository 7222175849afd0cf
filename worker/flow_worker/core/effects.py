"""What the worker core may ask its shell to do: a closed list. Effects compare with ``==``."""

from __future__ import annotations

import msgspec

from flow.wire.messages.worker import ToCoordinator
from flow_worker.channel import Role, ToProcess


class Effect(msgspec.Struct, frozen=True):
    """Base of every effect."""


class Send(Effect, frozen=True):
    """Send to the coordinator; never blocks, may be lost."""

    message: ToCoordinator


class StartProcess(Effect, frozen=True):
    """Fork a task process. Answered by its ``Up`` (or ProcessExited)."""

    process: int  #: chosen by the core, never reused
    role: Role
    parent: int = 0  #: the template that forks it; 0: the supervisor


class Tell(Effect, frozen=True):
    """Send a frame to a task process."""

    process: int
    frame: ToProcess


class KillProcess(Effect, frozen=True):
    """Kill the process and its whole tree; answered by ProcessExited (or ProcessStuck).

    ``grace_s`` 0: SIGKILL at once. Else the whole budget: SIGTERM now, SIGKILL after 3/5 of it,
    everything reaped by its end. A second one for the same process can only make it sooner.
    """

    process: int
    grace_s: float = 0.0


class SeekPackage(Effect, frozen=True):
    """Look whether packed code is here. Answered by ``PackageAt``; it stays, if it is."""

    package: str


class KeepPiece(Effect, frozen=True):
    """Write a piece; check the whole with the last one. Answered by ``PackageAt``."""

    package: str
    at_bytes: int
    size_bytes: int  #: of the whole
    body: bytes


class LetGo(Effect, frozen=True):
    """No program here needs this package: it, or what there is of it, may be removed."""

    package: str


class Exit(Effect, frozen=True):
    """End the agent (all processes are gone). ``code`` 0: ended as asked."""

    code: int
    reason: str


class Note(Effect, frozen=True):
    """Log a constant phrase with fields."""

    phrase: str
    fields: dict[str, object] = {}
    level: str = "info"
