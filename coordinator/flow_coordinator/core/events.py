"""What may happen to the coordinator core: a closed list. No other input exists."""

from __future__ import annotations

import msgspec

from flow.wire.messages.client import Request
from flow.wire.messages.worker import ToCoordinator
from flow_coordinator.core.records import RunRecord
from flow_coordinator.core.values import Peer


class Event(msgspec.Struct, frozen=True):
    """Base of every event."""


class Received(Event, frozen=True):
    """A message from a worker or a command."""

    peer: Peer
    message: ToCoordinator | Request


class RunRecalled(Event, frozen=True):
    """A run that is not in memory any more is asked for again, by its submit key: here it is."""

    run: RunRecord


class PeerUnreachable(Event, frozen=True):
    """A message was certainly not queued: its peer is gone or full (rule C1)."""

    peer: Peer
    message: msgspec.Struct


class TurnEnded(Event, frozen=True):
    """All input of this loop turn was handled: grant, plan and acknowledge now, in batches."""

    #: the socket was drained empty: only then may silence be judged (no expiry before queued
    #: heartbeats are read, e.g. when the coordinator itself was stopped for a while)
    drained: bool = True


class StoreStalled(Event, frozen=True):
    """The disk is full (rule C9): grant and acknowledge nothing until resumed."""

    #: for people: what is full
    why: str = "the coordinator's disk is full"


class StoreResumed(Event, frozen=True):
    """Commits succeed again."""


class PackageWritten(Event, frozen=True):
    """A piece of packed code is kept; the whole is checked and durable, if this was the last."""

    package: str
    have_bytes: int


class PackageRefused(Event, frozen=True):
    """Packed code cannot be kept, or read any more: there is none of it now."""

    package: str
    reason: str


class Stopping(Event, frozen=True):
    """The coordinator is asked to end: tell the workers to hold on."""
