"""How this agent gets and keeps a session: HELLO, CHALLENGE, JOIN, WELCOME, heartbeats, REJOIN.

Rule W5 lives here: JOIN certifies what is alive, so it is said only when nothing is being killed,
and a kill after it voids it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from flow.wire.ids import Session, Token
from flow.wire.messages.shared import ProgramSeen, Timing
from flow.wire.messages.worker import (
    Challenge,
    Denied,
    Heartbeat,
    Hello,
    Join,
    Rejoin,
    ToCoordinator,
    Welcome,
)
from flow.wire.moves import Go
from flow_worker.core.config import HELLO_RETRY_MAX_S, HELLO_RETRY_S, JITTER, WorkerConfig
from flow_worker.core.effects import Effect, Note
from flow_worker.core.lease import Lease
from flow_worker.core.transitions import LINK_MOVES, Link, LinkEvent

#: While nothing answers, people hear about it at the first and then at every so manieth HELLO.
NOTE_EVERY = 20


class Joining:
    """The link's state and its timers."""

    def __init__(
        self,
        config: WorkerConfig,
        rng: Random,
        lease: Lease,
        emit: Callable[[Effect], None],
        send: Callable[[ToCoordinator], None],
    ) -> None:
        self._config = config
        self._rng = rng
        self._lease = lease
        self._emit = emit
        self._send = send
        self.state = Link.OFFLINE
        self.session: Session | None = None  #: set exactly while JOINED
        self.epoch = -1  #: highest seen of this lineage
        self.lineage = ""
        self.nonce = ""  #: of the last CHALLENGE
        self._join_nonce = ""  #: of the last JOIN that is not void
        self._join_sent_at = 0.0
        self._due = -math.inf
        self._delay_s = HELLO_RETRY_S
        self._tries = 0
        self._heartbeat_due = math.inf

    def _move(self, event: LinkEvent) -> bool:
        move = LINK_MOVES[self.state, event]
        if type(move) is not Go:  # the table refuses nothing: whoever is heard may be late
            return False
        if self.state is Link.JOINED and move.state is not Link.JOINED:
            self.session = None
            self._heartbeat_due = math.inf
        self.state = move.state
        return True

    def _later(self, now: float) -> None:
        self._due = now + self._delay_s * self._rng.uniform(1 - JITTER, 1 + JITTER)
        self._delay_s = min(2 * self._delay_s, HELLO_RETRY_MAX_S)

    def _hello(self, now: float) -> None:
        self._send(Hello(self._config.uid, self._config.protocol, self._config.version))
        self._tries += 1
        if self._tries % NOTE_EVERY == 0:
            self._emit(Note("no answer from the coordinator", {"hellos": self._tries}, "warning"))
        self._later(now)

    def _soon(self, now: float) -> None:
        self._delay_s = HELLO_RETRY_S
        self._hello(now)

    # ------------------------------------------------------------ timers

    def next_deadline(self) -> float:
        """When something must be said."""
        if self.state is Link.JOINED:
            return self._heartbeat_due
        return math.inf if self.state is Link.ENDED else self._due

    def retry(self, now: float) -> None:
        """Say HELLO (again) where an answer did not come in time."""
        if self.state is Link.JOINED or self.state is Link.ENDED or now < self._due:
            return
        event = LinkEvent.STARTED if self.state is Link.OFFLINE else LinkEvent.RETRY
        if self._move(event):
            self._hello(now)

    def heartbeat_due(self, now: float) -> bool:
        """Tell whether it is time for a heartbeat."""
        return now >= self._heartbeat_due

    def heartbeat(
        self,
        load: tuple[float, int],
        draining: bool,
        fit: bool,
        programs: tuple[list[ProgramSeen], list[int], bool],
        now: float,
    ) -> int:
        """Say a heartbeat now, and when the next one is due; return its number, 0: not said."""
        if self.session is None:
            return 0
        cpu, memory_bytes = load
        number = self._lease.heartbeat(now)
        self._send(Heartbeat(self.session, number, draining, cpu, memory_bytes, fit, *programs))
        interval_s = self._lease.timing.heartbeat_s
        self._heartbeat_due = now + interval_s * self._rng.uniform(1 - JITTER, 1 + JITTER)
        return number

    # ------------------------------------------------------------ messages

    def challenge(self, message: Challenge) -> bool:
        """Take the nonce to quote. Returns True where all held tokens are of a lost history."""
        same = message.lineage == self.lineage
        if same and message.epoch < self.epoch:
            fields: dict[str, object] = {"epoch": message.epoch, "seen": self.epoch}
            self._emit(Note("ignored a coordinator of the past", fields, "warning"))
            return False
        if not self._move(LinkEvent.CHALLENGE):
            return False
        lost = bool(self.lineage) and not same
        self.lineage = message.lineage
        self.epoch = message.epoch
        self.nonce = message.nonce
        self._join_nonce = ""
        return lost

    def join(self, held: list[Token], reporting: list[Token], now: float) -> None:
        """Say JOIN, if a CHALLENGE waits for it and nothing is being killed (rule W5)."""
        if self.state is not Link.KILLING or not self._move(LinkEvent.REAPED):
            return
        config = self._config
        self._join_nonce = self.nonce
        self._join_sent_at = now
        self._lease.joining(now)
        self._send(
            Join(
                uid=config.uid,
                nonce=self.nonce,
                held=held,
                reporting=reporting,
                predecessors=config.predecessors,
                name=config.name,
                host=config.host,
                host_key=config.host_key,
                boot_id=config.boot_id,
                slots=config.slots,
                capacity=config.capacity,
                pid=config.pid,
                python=config.python,
                code=config.code,
                planners=config.planners,
                folder=config.folder,
            )
        )
        self._later(now)

    def kill_begun(self) -> None:
        """Something that holds a token is being killed: a JOIN under way is void (rule W5)."""
        self._join_nonce = ""
        if self._move(LinkEvent.KILL_BEGUN):
            self._due = -math.inf  # HELLO again at once

    def welcome(self, message: Welcome) -> bool:
        """Take the session. Returns False where no JOIN waits for this WELCOME."""
        if not self._join_nonce or message.nonce != self._join_nonce:
            return False
        if not self._move(LinkEvent.WELCOME):
            return False
        self._join_nonce = ""
        self._lease.begin(message.timing, self._join_sent_at)
        self.session = message.session
        self._tries = 0
        self._delay_s = HELLO_RETRY_S
        self._heartbeat_due = -math.inf
        return True

    @property
    def timing(self) -> Timing:
        """The lease timing in force."""
        return self._lease.timing

    def rejoin(self, message: Rejoin, now: float) -> None:
        """The session is not current any more: start over; nothing is killed for it."""
        if message.session == self.session and self._move(LinkEvent.REJOIN):
            self._soon(now)

    def denied(self, message: Denied) -> bool:
        """Refused for good."""
        if not self._move(LinkEvent.DENIED):
            return False
        fields: dict[str, object] = {"reason": message.reason}
        self._emit(Note("refused by the coordinator", fields, "error"))
        return True

    def leave(self) -> None:
        """Say nothing any more."""
        self._move(LinkEvent.LEFT)
