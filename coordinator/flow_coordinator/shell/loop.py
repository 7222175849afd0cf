"""The coordinator's one loop, in one thread: drain, decide, persist, speak.

Nothing is said before it is durable; what needs no durability (heartbeat acks, questions to
planners) goes before the commit, so that a slow disk starves nobody. On a full disk nothing is
granted or acknowledged until a commit succeeds again (rule C9); any other disk error ends the
process at once, and the next start recovers from what is on disk.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from flow.errors import ExitCode, ProtocolError, StoreFull
from flow.logs import Log
from flow.wire.messages import codec
from flow.wire.messages.client import Failed, Reply, Submit
from flow.wire.messages.worker import Dispatch
from flow.wire.transport import Poller, Router
from flow_coordinator.core.effects import (
    Alert,
    Effect,
    Note,
    PackageEffect,
    RemovePackage,
    Send,
    SendNow,
    SendPiece,
    TouchPackage,
    WritePackage,
)
from flow_coordinator.core.events import (
    Event,
    PackageRefused,
    PeerUnreachable,
    Received,
    RunRecalled,
    Stopping,
    StoreResumed,
    StoreStalled,
    TurnEnded,
)
from flow_coordinator.core.machine import Coordinator
from flow_coordinator.shell import recovery, rows
from flow_coordinator.store.base import Batch, Store

if TYPE_CHECKING:
    from flow_coordinator.notify import Notifier
    from flow_coordinator.shell.packages import PackageFiles

#: Messages handled before the turn is committed.
TURN_MESSAGES_MAX = 512
#: Pause between attempts to commit on a full disk, seconds.
RETRY_COMMIT_S = 0.5
#: Durable messages kept while the disk is full; later ones are dropped and asked for again.
UNSAID_MAX = 20_000
#: How often history is pruned, and how many rows at once.
PRUNE_S = 5.0
PRUNE_ROWS_MAX = 2_000
#: Longest sleep: the loop looks at its world at least this often.
SLEEP_S_MAX = 5.0
#: How long an ending coordinator waits until every worker knows that it ends on purpose.
FAREWELL_S = 2.0
#: Few, large collections: records are freed by counting, cycles are rare.
GC_THRESHOLDS = (100_000, 50, 100)


class Loop:
    """Drives a core with a socket and a store."""

    def __init__(
        self,
        core: Coordinator,
        store: Store,
        router: Router,
        log: Log,
        *,
        history_runs_max: int = 1000,
        parent_fd: int = -1,
        clock: Callable[[], float] = time.monotonic,
        notifier: Notifier | None = None,
        packages: PackageFiles | None = None,
    ) -> None:
        self._core = core
        self._store = store
        self._router = router
        self._log = log
        self._history_runs_max = history_runs_max
        self._parent_fd = parent_fd
        self._clock = clock
        self._inbox: list[Event] = []
        #: durable effects whose commit has not succeeded yet
        self._unsaid: list[Send] = []
        self._unwritten: list[Batch] = []
        self._notifier = notifier
        self._packages = packages
        #: failures to be told when they are durable
        self._untold: list[Alert] = []
        self._retry_at: float | None = None
        self._prune_at = clock() + PRUNE_S
        self._malformed = 0
        self._stopping = False
        self._poller = Poller()

    def run(self) -> int:
        """Serve until told to stop; return the exit code."""
        gc.set_threshold(*GC_THRESHOLDS)
        gc.freeze()
        wake, waker = socket.socketpair()
        for end in (wake, waker):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._poller.register(self._router, "router")
        self._poller.register(wake, "signal")
        if self._parent_fd >= 0:
            self._poller.register(self._parent_fd, "parent")
        while not self._stopping:
            ready = self._poller.poll(self._timeout_s())
            if "signal" in ready:
                wake.recv(4096)
            if "parent" in ready and not os.read(self._parent_fd, 1):
                self._stopping = True
            self.turn()
        self._poller.unregister(wake)
        self._poller.unregister(self._parent_fd)
        self._take_leave()
        self._router.close()
        self._store.close()
        if self._packages is not None:
            self._packages.close()
        if self._notifier is not None:
            self._notifier.close()
        return 0

    def _take_leave(self) -> None:
        """Have the workers know that they should wait for the next coordinator."""
        self._core_handle(Stopping())
        self.turn()
        until = self._clock() + FAREWELL_S
        while not self._core.may_end and (left_s := until - self._clock()) > 0:
            self._poller.poll(min(left_s, self._timeout_s()))
            self.turn()

    def _on_signal(self, number: int, frame: object) -> None:
        self._stopping = True

    def _timeout_s(self) -> float:
        if self._inbox or not self._router.drained:
            return 0.0
        deadline = self._core.next_deadline()
        now = self._clock()
        limits = [SLEEP_S_MAX, self._prune_at - now]
        if deadline is not None and not self._unwritten:
            limits.append(deadline - now)
        if self._retry_at is not None:
            limits.append(self._retry_at - now)
        return max(0.0, min(limits))

    def turn(self) -> None:
        """Drain, decide, persist, speak: once."""
        inbox, self._inbox = self._inbox, []
        for event in inbox:
            self._core_handle(event)
        for peer, data in self._router.recv_batch(TURN_MESSAGES_MAX):
            try:
                message = codec.decode_at_coordinator(data)
            except ProtocolError as error:
                self._count_malformed(error)
                continue
            if isinstance(message, Submit):
                self._recall(message.key)
            self._core_handle(Received(peer, message))
        self._core_handle(TurnEnded(self._router.drained))
        self._persist()
        if self._retry_at is None:
            self._speak()
        self._prune()

    def _recall(self, key: str) -> None:
        """Hand an ended run to the core that is asked for and only stored: it never starts twice.

        Cost: one look into an index, some 20 us.
        """
        if self._core.knows(key):
            return
        late = [row for batch in self._unwritten for row in batch.runs if row[1] == key]
        row = late[-1] if late else self._store.run_by_key(key)
        if row is not None:
            self._core_handle(RunRecalled(recovery.ended_run(row, self._clock(), time.time())))

    def _core_handle(self, event: Event) -> None:
        for effect in self._core.handle(event, self._clock()):
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            if len(self._unsaid) < UNSAID_MAX or self._retry_at is None:
                self._unsaid.append(effect)
        elif isinstance(effect, SendNow):
            self._transmit(effect)
        elif isinstance(effect, Alert):
            if self._notifier is not None and len(self._untold) < UNSAID_MAX:
                self._untold.append(effect)
        elif isinstance(effect, Note):
            self._log.say(effect.level, effect.phrase, **effect.fields)
        elif isinstance(effect, PackageEffect):
            self._ship(effect)

    def _ship(self, effect: PackageEffect) -> None:
        files = self._packages
        if files is None:
            self._inbox.append(PackageRefused(effect.package, "this coordinator keeps no code"))
        elif isinstance(effect, WritePackage):
            self._inbox.append(files.write(effect))
        elif isinstance(effect, SendPiece):
            try:
                body = files.read(effect.package, effect.message.at_bytes)
            except OSError as error:
                reason = f"code {effect.package[:12]} cannot be read: {error.strerror}"
                self._inbox.append(PackageRefused(effect.package, reason))
                return  # the worker asks again, and learns that there is none
            piece = msgspec.structs.replace(effect.message, body=body)
            self._transmit(SendNow(effect.peer, piece))
        elif isinstance(effect, TouchPackage):
            files.touch(effect.package)
        elif isinstance(effect, RemovePackage):
            files.remove(effect.package)

    def _persist(self) -> None:
        """Write everything that changed; on a full disk keep it and try again later."""
        changes = self._core.take_changes()
        now = self._clock()
        if changes:
            self._unwritten.append(rows.batch_of(changes, now, time.time()))
        if not self._unwritten or (self._retry_at is not None and now < self._retry_at):
            return
        while self._unwritten:
            try:
                self._store.commit(self._unwritten[0])
            except StoreFull as error:
                if self._retry_at is None:
                    self._log.say("error", "disk full", detail=error, hint=error.hint)
                    why = f"the coordinator's disk is full ({error.where})"
                    self._inbox.append(StoreStalled(why))
                self._retry_at = self._clock() + RETRY_COMMIT_S
                return
            del self._unwritten[0]
        if self._retry_at is not None:
            self._retry_at = None
            self._log.say("info", "disk has room again")
            self._inbox.append(StoreResumed())

    def _speak(self) -> None:
        unsaid, self._unsaid = self._unsaid, []
        for effect in unsaid:
            self._transmit(effect)
        if self._untold and self._notifier is not None:
            self._notifier.tell(self._untold)
            self._untold = []

    def _transmit(self, effect: Send | SendNow) -> None:
        message = effect.message
        try:
            data = codec.encode(message)
        except ProtocolError as error:
            self._log.say("error", "message too large", detail=error)
            if not isinstance(message, Reply):
                return
            # whoever asked must not wait for ever
            text = f"the answer is too large to be sent: {error}"
            data = codec.encode(Failed(message.request, int(ExitCode.INTERNAL), text))
        if not self._router.send(effect.peer, data) and isinstance(message, Dispatch):
            self._inbox.append(PeerUnreachable(effect.peer, message))

    def _count_malformed(self, error: ProtocolError) -> None:
        self._malformed += 1
        # the first few tell what it is; a flood must not fill the log's disk
        if self._malformed <= 10 or self._malformed % 10_000 == 0:
            self._log.say("warning", "malformed message", count=self._malformed, detail=error)

    def _prune(self) -> None:
        now = self._clock()
        if now >= self._prune_at and self._retry_at is None:
            deleted = self._store.prune(self._history_runs_max, PRUNE_ROWS_MAX)
            self._prune_at = now + (0.0 if deleted >= PRUNE_ROWS_MAX else PRUNE_S)
