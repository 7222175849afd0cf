"""What the coordinator core may ask its shell to do: a closed list. Effects compare with ``==``."""

from __future__ import annotations

import msgspec

from flow.wire.messages.client import Failure
from flow.wire.messages.worker import Piece
from flow_coordinator.core.values import Peer


class Effect(msgspec.Struct, frozen=True):
    """Base of every effect."""


class Send(Effect, frozen=True):
    """Send once everything changed up to now is durable (rules C1, C4)."""

    peer: Peer
    message: msgspec.Struct


class SendNow(Effect, frozen=True):
    """Send at once: says nothing that a crash could take back (heartbeat acks, questions)."""

    peer: Peer
    message: msgspec.Struct


class Alert(Effect, frozen=True):
    """Tell people that a task failed for good, or cannot be planned, once that is durable."""

    run: str
    name: str  #: of the run
    failure: Failure
    owners: list[str]  #: addresses that the task names itself


class PackageEffect(Effect, frozen=True):
    """Base of what is done to the files of packed code."""

    package: str


class WritePackage(PackageEffect, frozen=True):
    """Add a piece. Answered by ``PackageWritten`` or ``PackageRefused``.

    With the last one the whole is checked and made durable.
    """

    at_bytes: int
    size_bytes: int  #: of the whole
    body: bytes


class TouchPackage(PackageEffect, frozen=True):
    """Remember that it is used now."""


class RemovePackage(PackageEffect, frozen=True):
    """Remove it, or what there is of it."""


class SendPiece(PackageEffect, frozen=True):
    """Send a piece at once; its ``body`` is read from the file. May be lost."""

    peer: Peer
    message: Piece


class Note(Effect, frozen=True):
    """Log a constant phrase with fields."""

    phrase: str
    fields: dict[str, object] = {}
    level: str = "info"
