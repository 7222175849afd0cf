"""Packed code on its way from the coordinator: one package at a time, one piece at a time.

Each piece is asked for when the one before it is kept, and asked for again after silence, so that
no more than one is ever under way: it is the only bulk on this connection. The shell knows what is
here already, writes, and checks the whole by its hash; a package that is at hand stays here until
it is let go.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable

from flow.wire.ids import Session
from flow.wire.messages.shared import PACKAGE_BYTES_MAX, is_package
from flow.wire.messages.worker import Fetch, Piece, ToCoordinator
from flow_worker.core.config import FETCH_RESEND_MAX_S, FETCH_RESEND_S
from flow_worker.core.effects import Effect, KeepPiece, LetGo, SeekPackage
from flow_worker.core.events import PackageAt


class Step(enum.Enum):
    """What a package waits for."""

    SHELL = "shell"  #: to look for it, or to write
    PIECE = "piece"  #: from the coordinator


class Way:
    """A package that is not here yet."""

    __slots__ = ("delay_s", "due", "have_bytes", "size_bytes", "step")

    def __init__(self) -> None:
        self.step = Step.SHELL
        self.have_bytes = 0
        self.size_bytes = 0  #: of the whole, once the first piece is here
        self.due = math.inf  #: when to ask (again); only with ``Step.PIECE``
        self.delay_s = FETCH_RESEND_S


class Fetching:
    """Every package that a program here needs."""

    def __init__(
        self, emit: Callable[[Effect], None], send: Callable[[ToCoordinator], None]
    ) -> None:
        self._emit = emit
        self._send = send
        self._session: Session | None = None
        #: not here yet; the first one is asked for
        self.ways: dict[str, Way] = {}
        #: at hand: where it is
        self.archives: dict[str, str] = {}
        #: cannot be had: why
        self.failed: dict[str, str] = {}

    def want(self, package: str) -> None:
        """Have a package brought here, unless it is here or on its way."""
        if package in self.archives or package in self.ways or package in self.failed:
            return
        if not is_package(package):
            self.failed[package] = f"{package[:12]!r} is not the name of packed code"
            return
        self.ways[package] = Way()
        self._emit(SeekPackage(package))

    def forget_all_but(self, needed: Iterable[str]) -> None:
        """Let go of what no program needs."""
        keep = set(needed)
        for package in [one for one in (*self.ways, *self.archives) if one not in keep]:
            self.ways.pop(package, None)
            self.archives.pop(package, None)
            self._emit(LetGo(package))
        self.failed = {one: why for one, why in self.failed.items() if one in keep}

    def session_changed(self, session: Session, now: float) -> None:
        """Ask the coordinator of this session at once."""
        self._session = session
        for way in self.ways.values():
            if way.step is Step.PIECE:
                self._ask_at(way, now)

    def _ask_at(self, way: Way, now: float) -> None:
        way.step = Step.PIECE
        way.due = now
        way.delay_s = FETCH_RESEND_S

    # ------------------------------------------------------------ answers

    def piece(self, message: Piece) -> None:
        """Take a piece, if it is the one that was asked for."""
        way = self.ways.get(message.package)
        if way is None or way.step is not Step.PIECE or message.at_bytes != way.have_bytes:
            return None
        if message.error:
            return self._fail(message.package, message.error)
        size_bytes = message.size_bytes
        end = message.at_bytes + len(message.body)
        changed = way.size_bytes not in (0, size_bytes)
        if changed or not message.body or end > size_bytes or size_bytes > PACKAGE_BYTES_MAX:
            text = f"what the coordinator sends as code {message.package[:12]} makes no sense"
            return self._fail(message.package, text)
        way.size_bytes = size_bytes
        way.step = Step.SHELL
        way.due = math.inf
        self._emit(KeepPiece(message.package, way.have_bytes, size_bytes, message.body))
        return None

    def at(self, event: PackageAt, now: float) -> None:
        """The shell says how far a package is."""
        way = self.ways.get(event.package)
        if way is None:
            return
        if event.error:
            self._fail(event.package, event.error)
        elif event.archive:
            del self.ways[event.package]
            self.archives[event.package] = event.archive
        else:
            way.have_bytes = event.have_bytes
            self._ask_at(way, now)

    def _fail(self, package: str, why: str) -> None:
        del self.ways[package]
        self.failed[package] = why
        self._emit(LetGo(package))

    # ------------------------------------------------------------ questions

    def _first(self) -> tuple[str, Way] | None:
        return next(iter(self.ways.items()), None)

    def ask(self, session: Session | None, now: float) -> None:
        """Ask for the next piece of the first package, if it is time to."""
        first = self._first()
        if first is None or session is None or session != self._session or now < first[1].due:
            return
        package, way = first
        self._send(Fetch(session, package, way.have_bytes))
        way.due = now + way.delay_s
        way.delay_s = min(2 * way.delay_s, FETCH_RESEND_MAX_S)

    def next_deadline(self) -> float:
        """When to ask again; only while there is a session."""
        first = self._first()
        return first[1].due if first is not None else math.inf
