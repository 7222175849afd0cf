"""The coordinator's rules C1-C9, judged at every event that it handles and all it says.

How a lease may end is a closed list (C2); each that ends is held against the event that ended it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from flow.wire.messages.shared import Verdict
from flow.wire.messages.worker import (
    Dispatch,
    Drain,
    Drained,
    Extend,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Join,
    Kill,
    Rack,
    Rejoin,
    Results,
    Welcome,
    Yield,
)
from flow_coordinator.core import events as ev
from flow_coordinator.core.records import LeaseRecord
from tests.simulation.kernel import Kernel

if TYPE_CHECKING:
    from flow.wire.messages.worker import Message
    from tests.simulation.coordinator import SimCoordinator

#: Two readings of the same moment may differ by this, seconds.
CLOCK_ERROR_S = 1e-6


class CoordinatorJudge:
    """What every start of the coordinator promised."""

    def __init__(self, boss: SimCoordinator) -> None:
        self.boss = boss
        self.kernel: Kernel = boss.kernel
        self.timing = boss.world.profile.timing
        #: (session, number) of every heartbeat that some agent sent
        self.beats: set[tuple[str, int]] = set()
        #: lease length promised by EXTEND to workers that have not joined since
        self._promised: dict[str, float] = {}
        self._told: set[str] = set()  #: tokens of which some DISPATCH certainly left
        self._tries: Counter[str] = Counter()  #: how often each token was in a DISPATCH
        self._boots: dict[str, tuple[str, str]] = {}  #: uid -> its machine and that one's boot
        self.started()

    def started(self) -> None:
        """Another process begins."""
        self._booted_at = self.kernel.now
        self._heard: dict[str, float] = {}  #: uid -> its last JOIN or newest heartbeat
        self._number: dict[str, int] = {}  #: session -> newest heartbeat
        self._owed: dict[tuple[str, int], None] = {}  #: heartbeats to be answered this turn
        self._yields: dict[tuple[str, int], None] = {}  #: to be answered once that is durable
        self._committed: set[tuple[str, str]] = set()  #: (session, token)
        self._late_yields: set[str] = set()
        self.doomed: dict[str, float] = {}  #: since when a lease's end is known to be wanted
        self.kill_said: dict[str, float] = {}
        self._leaving: set[str] = set()  #: sessions that take nothing new
        self._asked: Join | None = None  #: the JOIN being handled, if it may take effect
        self._unreached: object = None  #: the message being handled that found nobody
        self._nonces: set[str] = set()  #: quoted by a JOIN while they were the latest
        self._welcomed: set[str] = set()  #: quoted by a JOIN that was answered

    def _broken(self, rule: str, story: str) -> None:
        self.boss.world.truth.broken(rule, f"the coordinator {story}")

    # ------------------------------------------------------------ what it hears

    def before(self, event: ev.Event) -> dict[str, LeaseRecord]:
        """Look at the leases before an event."""
        message = event.message if isinstance(event, ev.Received) else None
        self._asked = None
        self._unreached = None
        if isinstance(event, ev.PeerUnreachable) and event.peer in self.boss.core.state.by_peer:
            # a worker that connected anew meanwhile is told again instead
            self._unreached = event.message
        if isinstance(message, Heartbeat):
            self._beat(message)
        elif isinstance(message, Yield) and message.parts == 1:
            worker = self.boss.core.state.workers.get(self.boss.uid_of(message.session))
            if worker is not None and worker.session == message.session:
                self._yields[message.token, message.number] = None
            if message.token not in self.boss.core.state.leases:
                # a late copy of a yield is stale, however its task ended
                self._late_yields.add(message.token)
        elif isinstance(message, Join) and self.boss.takes_nonce(message):
            self._asked = message
            self._heard[message.uid] = self.kernel.now
            self._promised.pop(message.uid, None)
            self._nonces.add(message.nonce)
        return dict(self.boss.core.state.leases)

    def after(self, event: ev.Event, before: dict[str, LeaseRecord]) -> None:
        """Every lease that ended meanwhile must have had a reason to (C2)."""
        leases = self.boss.core.state.leases
        message = event.message if isinstance(event, ev.Received) else None
        for token, lease in before.items():
            if token not in leases and not self._may_end(lease, event, message):
                what = type(event).__name__ if message is None else type(message).__name__
                self._broken("C2", f"ends {token} of {lease.uid[:4]} because of {what}")
        for token, lease in leases.items():
            worker = self.boss.core.state.workers.get(lease.uid)
            if token not in before and worker is not None and worker.session in self._leaving:
                self._broken("drain", f"grants {token} to a worker that leaves")
        if isinstance(message, Hello) and len(leases) != len(before):
            self._broken("C6", "changes leases because of HELLO")
        if isinstance(message, Join) and self._asked is message:
            self._adopted(message, leases)
            self._boots[message.uid] = (message.host_key, message.boot_id)
        elif isinstance(self._unreached, Dispatch):
            for grant in self._unreached.grants:
                token = grant.token
                if token in leases and token not in self._told and self._tries[token] == 1:
                    self._broken("C1", f"keeps {grant.token}, which certainly was never sent")

    def _may_end(self, lease: LeaseRecord, event: ev.Event, message: object) -> bool:
        uid, token = lease.uid, lease.token
        if isinstance(message, Results):
            mine = self.boss.uid_of(message.session) == uid
            return mine and any(report.token == token for report in message.reports)
        if isinstance(message, Join):
            if message.uid == uid:
                return token not in message.held and token not in message.reporting
            host_key, boot_id = self._boots.get(uid, ("", ""))
            rebooted = host_key == message.host_key and boot_id != message.boot_id
            return uid in message.predecessors or rebooted
        if isinstance(message, Drained):
            return self.boss.uid_of(message.session) == uid
        if isinstance(event, ev.TurnEnded):
            return self._is_over(uid)
        if isinstance(event, ev.PeerUnreachable) and isinstance(event.message, Dispatch):
            return token not in self._told
        return False

    def _is_over(self, uid: str) -> bool:
        """Whether a worker's silence has lasted its term (C5), with nothing of it unread."""
        since = self._heard.get(uid, self._booted_at)
        lease_s = self._promised.get(uid, 0.0) if uid not in self._heard else 0.0
        lease_s = max(lease_s, self.timing.lease_s)
        term_s = lease_s * (1 + self.timing.rate_error) + self.timing.margin_s
        unread = any(self.boss.is_beat_of(uid, data) for _, data in self.boss.router.inbox)
        return self.kernel.now - since >= term_s - CLOCK_ERROR_S and not unread

    def _beat(self, message: Heartbeat) -> None:
        session = message.session
        uid = self.boss.uid_of(session)
        worker = self.boss.core.state.workers.get(uid)
        if worker is None or worker.session != session:
            self._owed[session, message.number] = None
        elif message.number > self._number.get(session, 0):
            self._number[session] = message.number
            self._heard[uid] = self.kernel.now
            self._owed[session, message.number] = None
            if message.draining:
                self._leaving.add(session)

    def _repeats_kill(self, lease: LeaseRecord) -> None:
        """What must die is told so again while its worker is heard (W7)."""
        worker = self.boss.core.state.workers.get(lease.uid)
        doomed = any(task.doomed for task in (lease.task, *lease.members))
        if worker is None or not doomed or self.boss.stalled:
            return
        known_at = self.doomed.setdefault(lease.token, worker.heard_at)
        last = max(known_at, lease.granted_at, self.kill_said.get(lease.token, 0.0))
        if worker.heard_at > last + 2.5 * self.timing.heartbeat_s:
            self._broken("W7", f"does not say again that {lease.token} must die")

    def _adopted(self, message: Join, leases: dict[str, LeaseRecord]) -> None:
        """A JOIN took effect: what it certifies dead holds nothing any more (C2)."""
        claimed = {*message.held, *message.reporting}
        for token, lease in leases.items():
            gone = lease.uid == message.uid and token not in claimed
            host_key, boot_id = self._boots.get(lease.uid, ("", ""))
            rebooted = host_key == message.host_key and boot_id != message.boot_id
            if gone or rebooted or lease.uid in message.predecessors:
                self._broken("C2", f"keeps {token} of {lease.uid[:4]}, certainly dead")

    # ------------------------------------------------------------ what it says

    def said(self, message: Message, *, left: bool) -> None:
        """A message was given to the socket; ``left``: there was somebody to send it to."""
        if isinstance(message, HeartbeatAck):
            key = (message.session, message.number)
            self._owed.pop(key, None)
            if key not in self.beats:
                self._broken("C7", f"acknowledges {key}, which nobody sent")
        elif isinstance(message, Welcome):
            self.kill_said.update(dict.fromkeys(message.kill, self.boss.clock()))
            if message.nonce not in self._nonces:
                self._broken("C6", f"welcomes a JOIN that quotes {message.nonce}")
            if message.nonce in self._welcomed:
                self._broken("C6", f"welcomes a second JOIN that quotes {message.nonce}")
            self._welcomed.add(message.nonce)
        elif isinstance(message, Rejoin):
            self._owed = {key: None for key in self._owed if key[0] != message.session}
        elif isinstance(message, Dispatch):
            for grant in message.grants:
                self._tries[grant.token] += 1
                if left:
                    self._told.add(grant.token)
        elif isinstance(message, Kill):
            self.kill_said.update(dict.fromkeys(message.tokens, self.boss.clock()))
        elif isinstance(message, Rack):
            self._racked(message)
        elif isinstance(message, Drain):
            self._leaving.add(message.session)
        elif isinstance(message, Extend):
            self._promised[self.boss.uid_of(message.session)] = message.lease_s

    def _racked(self, message: Rack) -> None:
        for number in message.yields:
            self._yields.pop(number, None)
        for token, verdict in message.verdicts:
            key = (message.session, token)
            if verdict == Verdict.COMMITTED:
                self._committed.add(key)
            elif key in self._committed and token not in self._late_yields:
                self._broken("C3", f"calls {token} stale after it was committed")
            else:
                self._yields = {key: None for key in self._yields if key[0] != token}

    def turned(self) -> None:
        """A turn is over: heartbeats were answered, on a full disk too (C7, C9)."""
        if self._owed:
            known = all(self.boss.uid_of(session) for session, _ in self._owed)
            self._broken("C9" if known else "C7", f"does not answer heartbeats {list(self._owed)}")
        for lease in self.boss.core.state.leases.values():
            self._repeats_kill(lease)
        if self._yields and not self.boss.stalled:
            self._broken("C4", f"does not acknowledge yields {list(self._yields)}")
