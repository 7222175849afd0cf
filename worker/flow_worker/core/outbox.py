"""What this worker must say until it is heard: reports and yields (rule W6), and STARTED once.

Reports of one turn leave in one message. Each message is a wave with one timer: what is not
acknowledged when it ends goes out again, later and later. Cost: O(1) per report and ack.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import msgspec

from flow.wire.ids import Session, Token
from flow.wire.messages.shared import PATH_CHARS_MAX, Report, Stub
from flow.wire.messages.worker import Results, Started, ToCoordinator, Yield
from flow_worker.core.config import (
    MESSAGE_FILL_BYTES,
    MESSAGE_ITEMS_MAX,
    REPORT_TEXT_MAX,
    RESEND_MAX_S,
    RESEND_S,
)
from flow_worker.core.records import Yielded
from flow_worker.core.speech import Speech

#: What a report weighs without its texts, and a stub without its parameters (bytes, rounded up).
_REPORT_BYTES = 128
#: What it says of a missing output: two paths, and two names.
_MISSING_CHARS = 4 * PATH_CHARS_MAX
_STUB_BYTES = 16
#: Bytes one character may take.
_UTF8_MAX = 4


class Outbox:
    """Unacknowledged reports and yields, and the timers that send them again."""

    def __init__(self, send: Callable[[ToCoordinator], None], speech: Speech) -> None:
        self._send = send
        self._speech = speech
        self.reports: dict[Token, Report] = {}  #: unacknowledged, oldest first
        self.yields: dict[Token, Yielded] = {}
        self._fresh: list[Token] = []
        self._again: list[Token] = []  #: asked for; they have their wave already
        self._started: list[Token] = []
        self._resumed: list[tuple[Token, int]] = []
        self._waves: list[tuple[float, int, float, list[Token]]] = []  #: heap by due time
        self._wave = 0
        self._yield_due = math.inf

    def __len__(self) -> int:
        return len(self.reports) + len(self.yields)

    def started(self, token: Token) -> None:
        """Say that a token was accepted; lost without a session (JOIN says it then)."""
        self._started.append(token)

    def resumed(self, token: Token, number: int) -> None:
        """Say that the RESUME of this yield arrived; repeated only when RESUME is."""
        self._started.append(token)
        self._resumed.append((token, number))

    def report(self, report: Report) -> None:
        """Say how a token ended, until acknowledged."""
        if len(report.trace) + len(report.tail) + len(report.error) > REPORT_TEXT_MAX:
            report = _clip(report)
        if self._speech.speakers:
            self._speech.ended(report.token)
        self.reports[report.token] = report
        self.yields.pop(report.token, None)
        self._fresh.append(report.token)

    def again(self, token: Token) -> None:
        """The coordinator asks about a token it should know the end of: repeat it once."""
        self._again.append(token)

    def yielded(self, token: Token, number: int, stubs: list[Stub]) -> None:
        """Say that a token waits for these tasks, until acknowledged."""
        self.yields[token] = Yielded(number, stubs)
        self._yield_due = -math.inf

    def rack(self, token: Token) -> bool:
        """Stop repeating a report. False: there is none."""
        return self.reports.pop(token, None) is not None

    def rack_yield(self, token: Token, number: int) -> None:
        """Stop repeating a yield."""
        pending = self.yields.get(token)
        if pending is not None and pending.number == number:
            del self.yields[token]

    def next_deadline(self) -> float:
        """When something goes out again; infinity: nothing waits."""
        due = self._waves[0][0] if self._waves else math.inf
        return min(due, self._yield_due)

    def joined(self, started: list[Token], resumed: list[tuple[Token, int]]) -> None:
        """A new session: everything goes out again in it."""
        self._waves.clear()
        self._started = started
        self._resumed = resumed
        self._fresh = list(self.reports)
        for pending in self.yields.values():
            pending.due = pending.delay_s = 0.0
        self._yield_due = -math.inf if self.yields else math.inf

    def flush(self, session: Session | None, now: float) -> None:
        """Say what is new or due; without a session everything waits for the next one."""
        if session is None:
            self._started.clear()
            self._resumed.clear()
            self._fresh.clear()
            self._again.clear()
            return
        if self._started:
            tokens, self._started = self._started, []
            resumed, self._resumed = self._resumed, []
            for at in range(0, len(tokens), MESSAGE_ITEMS_MAX):
                # Never more than tokens, so the same steps cover both.
                part = slice(at, at + MESSAGE_ITEMS_MAX)
                self._send(Started(session, tokens[part], resumed[part]))
        if self._yield_due <= now:
            self._flush_yields(session, now)
        if self._fresh:
            tokens, self._fresh = self._fresh, []
            self._send_wave(session, tokens, now, RESEND_S)
        if self._again:
            tokens, self._again = self._again, []
            self._send_reports(session, [t for t in dict.fromkeys(tokens) if t in self.reports])
        while self._waves and self._waves[0][0] <= now:
            _, _, delay_s, tokens = heapq.heappop(self._waves)
            self._send_wave(session, tokens, now, min(2 * delay_s, RESEND_MAX_S))

    def _send_wave(self, session: Session, tokens: list[Token], now: float, delay_s: float) -> None:
        unacked = self.reports
        live = [token for token in tokens if token in unacked]
        if live:
            self._wave += 1
            heapq.heappush(self._waves, (now + delay_s, self._wave, delay_s, live))
            self._send_reports(session, live)

    def _send_reports(self, session: Session, tokens: list[Token]) -> None:
        """Send unacknowledged reports in as few messages as their size allows."""
        batch: list[Report] = []
        fill = 0
        for token in tokens:
            report = self.reports[token]
            size = _REPORT_BYTES
            if report.error or report.tail or report.where:
                texts = len(report.error) + len(report.where) + len(report.trace) + len(report.tail)
                size += _UTF8_MAX * (texts + (_MISSING_CHARS if report.missing else 0))
            if batch and (fill + size > MESSAGE_FILL_BYTES or len(batch) >= MESSAGE_ITEMS_MAX):
                self._send(Results(session, batch))
                batch, fill = [], 0
            batch.append(report)
            fill += size
        if batch:
            self._send(Results(session, batch))

    def _flush_yields(self, session: Session, now: float) -> None:
        self._yield_due = math.inf
        for token, pending in self.yields.items():
            if pending.due <= now:
                pending.delay_s = min(2 * pending.delay_s, RESEND_MAX_S) or RESEND_S
                pending.due = now + pending.delay_s
                parts = _parts(pending.stubs)
                for part, stubs in enumerate(parts):
                    self._send(Yield(session, token, pending.number, part, len(parts), stubs))
            self._yield_due = min(self._yield_due, pending.due)


def _clip(report: Report) -> Report:
    """Bound the texts of a report, keeping the ends of trace and output."""
    share = REPORT_TEXT_MAX // 4
    return msgspec.structs.replace(
        report,
        error=report.error[:share],
        where=report.where[:share],
        trace=report.trace[-share:],
        tail=report.tail[-share:],
    )


def _parts(stubs: list[Stub]) -> list[list[Stub]]:
    """Cut the stubs of one yield into messages."""
    parts: list[list[Stub]] = []
    part: list[Stub] = []
    fill = 0
    for stub in stubs:
        names = len(stub.task_id) + len(stub.module) + len(stub.family)
        size = _STUB_BYTES + len(stub.params) + _UTF8_MAX * names
        if part and (fill + size > MESSAGE_FILL_BYTES or len(part) >= MESSAGE_ITEMS_MAX):
            parts.append(part)
            part, fill = [], 0
        part.append(stub)
        fill += size
    parts.append(part)
    return parts
