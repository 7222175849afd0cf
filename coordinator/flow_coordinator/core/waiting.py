"""Records of what is not answered yet because more has to come first."""

from __future__ import annotations

from flow.wire.messages.client import RootTask
from flow.wire.messages.shared import Missing
from flow_coordinator.core.records import WorkerRecord
from flow_coordinator.core.values import Instant, Peer


class Intake:
    """The roots of one run that are here so far."""

    __slots__ = ("heard_at", "roots", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.roots: list[RootTask] = []
        self.heard_at: Instant = 0.0


class SenderRecord:
    """A sender that is owed an answer."""

    __slots__ = ("asked_at", "peer", "request", "session", "taken", "until")

    def __init__(self, now: Instant, wait_s: float) -> None:
        self.peer: Peer = b""
        self.request = 0
        self.asked_at = now
        #: it waits for a reply until then; 0: only for the delivery
        self.until = now + wait_s if wait_s > 0 else 0.0
        #: session in which the letter was taken: it need not be passed on again in it
        self.session = ""
        self.taken = False


class Question:
    """A worker is asked where an output is that it made. See ``locating``."""

    __slots__ = ("answer", "missing", "name", "number", "uid", "until")

    def __init__(self, number: int, maker: WorkerRecord, missing: Missing, until: Instant) -> None:
        #: of the request; 0: nobody is asked any more
        self.number = number
        self.uid = maker.uid
        self.name = maker.name
        self.missing = missing
        #: when the report that waits for it counts all the same
        self.until = until
        #: an absolute path; empty: nobody knows
        self.answer = ""
