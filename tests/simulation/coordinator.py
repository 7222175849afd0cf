"""The coordinator's process in the simulation: the real loop on a simulated socket and disk.

``flow_coordinator.shell.loop.Loop`` is turned by hand. Crashes are exceptions that come out of the
disk or the socket, so they hit between any two acts of the loop; what was not committed is gone.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from flow.wire.messages.codec import decode_at_coordinator
from flow.wire.messages.worker import (
    Challenge,
    Dispatch,
    Heard,
    Heartbeat,
    Hello,
    Join,
    Rack,
    Results,
    Welcome,
)
from flow_coordinator.core import events as ev
from flow_coordinator.core.effects import Send, SendNow
from flow_coordinator.core.machine import Coordinator
from flow_coordinator.shell.loop import Loop
from flow_coordinator.store.base import Batch
from tests.simulation.coordinatorjudge import CoordinatorJudge
from tests.simulation.cores import make_store, recover

if TYPE_CHECKING:
    from tests.simulation.world import World
    from tests.support.memory_store import MemoryStore

#: A turn begins this soon after something arrived, or after a deadline.
TURN_LATE_S = 0.002
#: Where a crash may come.
CRASH_POINTS = ("before a turn", "before commit", "after commit", "between sends")


class Crash(Exception):
    """Kill -9, here."""


class SimStore:
    """The disk, which may be full or the place of a crash."""

    def __init__(self, boss: SimCoordinator, memory: MemoryStore) -> None:
        self._boss = boss
        self._memory = memory

    def commit(self, batch: Batch) -> None:
        """Write, unless something is wrong."""
        boss = self._boss
        boss.reach("before commit")
        if boss.full_until > boss.kernel.now:
            boss.kernel.counts["fault: commit refused"] += 1
            self._memory.fail_next(1)
        self._memory.commit(batch)
        boss.world.committed(batch)
        boss.reach("after commit")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)


class SimRouter:
    """The socket: bytes in, bytes out."""

    def __init__(self, boss: SimCoordinator) -> None:
        self._boss = boss
        self.inbox: list[tuple[bytes, bytes]] = []
        self.drained = True
        self.left = False

    def recv_batch(self, most: int) -> list[tuple[bytes, bytes]]:
        """Take what has arrived."""
        batch, self.inbox = self.inbox[:most], self.inbox[most:]
        self.drained = not self.inbox
        return batch

    def send(self, peer: bytes, data: bytes) -> bool:
        """Say something; False: no such peer."""
        self.left = self._boss.world.network.send_down(peer, data)
        return self.left

    def close(self) -> None:
        """End."""


class SimLog:
    """Counts what the core notes."""

    def __init__(self, boss: SimCoordinator) -> None:
        self._boss = boss

    def say(self, level: str, phrase: str, **fields: object) -> None:
        """Note a phrase, and the coverage it proves."""
        kernel = self._boss.kernel
        kernel.note("coordinator", phrase, fields)
        counts = kernel.counts
        counts[f"coordinator: {phrase}"] += 1
        if phrase == "worker lost":
            counts["probe: expiry"] += 1
        elif phrase == "leases released":
            if "dead" in str(fields["why"]):
                counts["probe: fast release"] += 1
            elif "restart" in str(fields["why"]):
                counts["probe: expiry after restart"] += 1


class SimLoop(Loop):
    """The real loop, overheard."""

    boss: SimCoordinator

    def _core_handle(self, event: ev.Event) -> None:
        judge = self.boss.judge
        before = judge.before(event)
        if type(event) is ev.Received:
            self.boss.overhear(event)
        super()._core_handle(event)
        judge.after(event, before)

    def _transmit(self, effect: Send | SendNow) -> None:
        if type(effect) is Send:
            self.boss.reach("between sends")
        self.boss.saying(effect.peer, effect.message)
        super()._transmit(effect)
        self.boss.judge.said(effect.message, left=self.boss.router.left)


class SimCoordinator:
    """The process that may die, and what is left of it: a disk."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kernel = world.kernel
        self.memory = make_store()
        self.alive = False
        self.frozen_until = 0.0
        self.full_until = 0.0
        self.generation = 0
        self.crash_at = ""
        self.core: Coordinator
        self.loop: SimLoop
        self.router = SimRouter(self)
        self.judge = CoordinatorJudge(self)
        self.start()

    # ------------------------------------------------------------ life

    def clock(self) -> float:
        """Read the monotonic clock."""
        return self.kernel.now + 500.0

    def start(self) -> None:
        """Start from what the disk has."""
        self.alive = True
        self.generation += 1
        self._turn_at = float("inf")
        self._joins: dict[str, Join] = {}
        self._nonces: dict[str, str] = {}
        self._greeting: dict[bytes, str] = {}
        self._uids: dict[str, str] = {}  #: of every session of this epoch, also of lost workers
        self.router = SimRouter(self)
        self.judge.started()
        store = SimStore(self, self.memory)
        rng = random.Random(self.kernel.rng.getrandbits(32))
        self.core = recover(self.world, store, rng, self.clock())
        self.world.recovered(self.core)
        self.loop = SimLoop(
            self.core,
            store,
            self.router,  # type: ignore[arg-type]
            SimLog(self),  # type: ignore[arg-type]
            clock=self.clock,
        )
        self.loop.boss = self
        self.kernel.note("coordinator", "starts", f"epoch {self.core.state.epoch}")
        self._wake(0.0)

    def reach(self, point: str) -> None:
        """Die here, if that was drawn."""
        if self.crash_at == point and self.alive:
            if point == "between sends" and self.kernel.chance(0.5):
                return
            raise Crash(point)

    def crash(self, point: str = "between turns") -> None:
        """Kill -9."""
        self.kernel.counts[f"fault: coordinator crash {point}"] += 1
        self.kernel.note("coordinator", "crashes", point)
        self._end(self.kernel.rng.choice((0.1, 1.0, 5.0, 20.0, 80.0)))

    def _end(self, away_s: float) -> None:
        self.alive = False
        self.crash_at = ""
        self.memory = self.memory.reopen()
        self.kernel.after(away_s * (0.5 + self.kernel.rng.random()), self.start)

    def stop(self) -> None:
        """Planned restart: the workers are told to hold on, then the process ends."""
        if not self.alive or self.frozen_until > self.kernel.now:
            return
        self.kernel.counts["fault: coordinator restart"] += 1
        self.kernel.note("coordinator", "stops")
        try:
            self.loop._core_handle(ev.Stopping())
            self.loop.turn()
        except Crash as crash:
            self.crash(str(crash))
            return
        self._end(self.kernel.rng.choice((1.0, 20.0, 150.0)))

    def freeze(self, seconds: float) -> None:
        """SIGSTOP for a while; what arrives queues."""
        if self.alive:
            self.kernel.counts["fault: coordinator frozen"] += 1
            self.kernel.note("coordinator", "frozen", f"{seconds:.1f} s")
            self.frozen_until = max(self.frozen_until, self.kernel.now + seconds)

    # ------------------------------------------------------------ turns

    def arrived(self, peer: bytes, data: bytes) -> None:
        """The network brings something."""
        if self.alive:
            self.router.inbox.append((peer, data))
            self._wake(self.kernel.rng.random() * TURN_LATE_S)

    def _wake(self, delay_s: float) -> None:
        at = max(self.kernel.now + delay_s, self.frozen_until)
        if at < self._turn_at:
            self._turn_at = at
            self.kernel.at(at, self._turn, self.generation, at)

    def _turn(self, generation: int, at: float) -> None:
        if generation != self.generation or at != self._turn_at or not self.alive:
            return
        self._turn_at = float("inf")
        if self.frozen_until > self.kernel.now:
            self._wake(0.0)
            return
        try:
            self.reach("before a turn")
            self.loop.turn()
        except Crash as crash:
            self.crash(str(crash))
            return
        self.judge.turned()
        if self.router.inbox:
            self._wake(0.0)
        else:
            late = self.kernel.rng.random() * TURN_LATE_S
            self._wake(self.loop._timeout_s() + late)

    # ------------------------------------------------------------ for the judge

    @property
    def stalled(self) -> bool:
        """Whether something said waits for the disk."""
        return self.loop._retry_at is not None

    def uid_of(self, session: str) -> str:
        """Tell whose session it is; empty: of no session of this start."""
        return self._uids.get(session, "")

    def takes_nonce(self, join: Join) -> bool:
        """Whether a JOIN quotes the latest nonce of its uid (C6), which is then used up."""
        if self._nonces.get(join.uid) != join.nonce:
            self.kernel.counts["probe: old join ignored"] += 1
            return False
        del self._nonces[join.uid]
        return True

    def is_beat_of(self, uid: str, data: bytes) -> bool:
        """Whether unread bytes are a heartbeat of this worker's session."""
        message = decode_at_coordinator(data)
        return isinstance(message, Heartbeat) and self.uid_of(message.session) == uid

    def overhear(self, event: ev.Received) -> None:
        """See what arrives while which tokens are current."""
        message = event.message
        kind = type(message)
        self.kernel.events += 1
        self.kernel.note("coordinator", "gets", message)
        if kind is Results:
            leases = self.core.state.leases
            accepted = self.world.truth.accepted
            for report in message.reports:  # type: ignore[union-attr]
                if report.token in leases:
                    accepted.add(report.token)
        elif kind is Hello:
            self._greeting[event.peer] = message.uid  # type: ignore[union-attr]
        elif kind is Join:
            self._joins[message.nonce] = message  # type: ignore[union-attr, assignment]

    def saying(self, peer: bytes, message: Any) -> None:
        """See what leaves."""
        kind = type(message)
        truth = self.world.truth
        self.kernel.note("coordinator", "says", message)
        if kind is Dispatch:
            uid = self.uid_of(message.session)
            for grant in message.grants:
                truth.dispatched(grant, uid, self.core.state.epoch)
        elif kind is Rack:
            for token, verdict in message.verdicts:
                truth.judged(token, verdict)
        elif kind is Heard:
            for token, number in message.words:
                if token in self.core.state.leases:
                    truth_of = self.world.talk.acked
                    truth_of[token] = max(number, truth_of.get(token, 0))
        elif kind is Challenge:
            self._nonces[self._greeting.get(peer, "")] = message.nonce
        elif kind is Welcome:
            join = self._joins[message.nonce]
            self._uids[message.session] = join.uid
            self.world.welcomed(message, join.held)
