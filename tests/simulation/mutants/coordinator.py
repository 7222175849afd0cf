"""One mutant for each further rule of the coordinator, C1-C9."""

from __future__ import annotations

from typing import Any

import msgspec
from pytest import MonkeyPatch

from flow.wire.messages.client import RootTask, Submit
from flow.wire.messages.shared import Verdict
from flow.wire.messages.worker import (
    Dispatch,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Join,
    Rack,
    Rejoin,
    Results,
)
from flow_coordinator.core import (
    dispatch,
    intake,
    leases,
    machine,
    outcomes,
    planning,
    workers,
)
from flow_coordinator.core.effects import Send, SendNow
from flow_coordinator.core.records import WorkerRecord
from flow_coordinator.core.state import State
from flow_coordinator.core.timers import Timer
from flow_coordinator.core.values import Peer
from flow_coordinator.shell.loop import Loop
from tests.simulation.mutants.registry import mutant

# ---------------------------------------------------------------- C1, C4, C9: disk and socket


@mutant("C1", "crashes")
def dispatch_before_commit(patch: MonkeyPatch) -> None:
    """A grant is sent before it is durable."""
    real = Loop._perform

    def mutated(self: Loop, effect: Any) -> None:
        if isinstance(effect, Send) and isinstance(effect.message, Dispatch):
            self._transmit(effect)
        else:
            real(self, effect)

    patch.setattr(Loop, "_perform", mutated)


@mutant("C1")
def unsent_grant_is_kept(patch: MonkeyPatch) -> None:
    """A DISPATCH that certainly was not queued keeps its leases."""
    patch.setattr(dispatch, "unreachable", lambda s, worker, message: None)


@mutant("C1")
def told_grant_is_released(patch: MonkeyPatch) -> None:
    """A DISPATCH that was not queued ends leases of which an earlier one was."""

    def mutated(s: State, worker: WorkerRecord, message: Dispatch) -> None:
        for grant in message.grants:
            lease = s.leases.get(grant.token)
            if lease is not None:
                leases.end(s, lease)
                outcomes.lost(s, lease.task, worker.name, False, "it could not be sent")

    patch.setattr(dispatch, "unreachable", mutated)


@mutant("C9")
def speaks_on_a_full_disk(patch: MonkeyPatch) -> None:
    """What could not be written is said all the same."""
    real = Loop._persist

    def mutated(self: Loop) -> None:
        real(self)
        if self._retry_at is not None:
            self._speak()

    patch.setattr(Loop, "_persist", mutated)


@mutant("C9")
def full_disk_drops_the_batch(patch: MonkeyPatch) -> None:
    """What the disk refused is forgotten."""
    real = Loop._persist

    def mutated(self: Loop) -> None:
        real(self)
        if self._retry_at is not None:
            self._unwritten.clear()

    patch.setattr(Loop, "_persist", mutated)


@mutant("C9")
def full_disk_stops_for_good(patch: MonkeyPatch) -> None:
    """When there is room again nothing is granted."""
    real = Loop._core_handle

    def mutated(self: Loop, event: Any) -> None:
        if type(event).__name__ != "StoreResumed":
            real(self, event)

    patch.setattr(Loop, "_core_handle", mutated)


@mutant("C9")
def heartbeats_wait_for_the_disk(patch: MonkeyPatch) -> None:
    """Heartbeats are answered when the turn is durable."""
    real = Loop._perform

    def mutated(self: Loop, effect: Any) -> None:
        if isinstance(effect, SendNow) and isinstance(effect.message, HeartbeatAck):
            effect = Send(effect.peer, effect.message)
        real(self, effect)

    patch.setattr(Loop, "_perform", mutated)


# ---------------------------------------------------------------- C2, C6: how a lease ends


def _join_as(patch: MonkeyPatch, **changes: Any) -> None:
    real = workers.join

    def mutated(s: State, peer: bytes, message: Join) -> None:
        real(s, peer, msgspec.structs.replace(message, **changes))

    patch.setattr(workers, "join", mutated)


@mutant("C2")
def join_keeps_what_it_does_not_list(patch: MonkeyPatch) -> None:
    """A worker that joins again keeps the leases that it does not know of."""
    real = workers.join

    def mutated(s: State, peer: bytes, message: Join) -> None:
        old = s.workers.get(message.uid)
        mine = [*s.orphans.get(message.uid, {}), *(old.held if old is not None else {})]
        real(s, peer, msgspec.structs.replace(message, reporting=[*message.reporting, *mine]))

    patch.setattr(workers, "join", mutated)


@mutant("C2")
def join_releases_what_it_reports(patch: MonkeyPatch) -> None:
    """A token whose report is under way ends with the JOIN."""
    _join_as(patch, reporting=[])


@mutant("C2", "crashes")
def join_forgets_predecessors(patch: MonkeyPatch) -> None:
    """Certified deaths release nothing."""
    _join_as(patch, predecessors=[])


@mutant("C2", "crashes")
def reboot_is_not_noticed(patch: MonkeyPatch) -> None:
    """Leases of a host's earlier boot wait for their expiry."""
    _join_as(patch, host_key="")


@mutant("C2", "crashes")
def silence_is_forgiven(patch: MonkeyPatch) -> None:
    """Leases of a silent worker never expire."""
    patch.setitem(machine._TIMER_HANDLERS, Timer.SILENCE, lambda s, worker: None)


@mutant("C2", "freezes")
def silence_before_reading(patch: MonkeyPatch) -> None:
    """A worker's silence is judged though its heartbeats may wait unread."""
    real = machine._timers
    patch.setattr(machine, "_timers", lambda s, drained: real(s, True))


@mutant("C6")
def hello_releases(patch: MonkeyPatch) -> None:
    """HELLO ends the leases of its uid."""
    real = workers.hello

    def mutated(s: State, peer: bytes, message: Hello) -> None:
        workers.release_all(s, message.uid, "it says hello")
        real(s, peer, message)

    patch.setattr(workers, "hello", mutated)


@mutant("C6", "network")
def nonce_counts_twice(patch: MonkeyPatch) -> None:
    """A nonce is not used up by its JOIN."""
    real = workers.join

    def mutated(s: State, peer: bytes, message: Join) -> None:
        latest = s.nonces.get(message.uid, "")
        real(s, peer, message)
        s.nonces[message.uid] = latest

    patch.setattr(workers, "join", mutated)


# ---------------------------------------------------------------- C3: verdicts


@mutant("C3")
def stale_is_called_committed(patch: MonkeyPatch) -> None:
    """Every report is acknowledged as committed."""
    real = workers.results

    def mutated(s: State, worker: WorkerRecord, message: Results) -> None:
        worker.recent.update((report.token, None) for report in message.reports)
        real(s, worker, message)

    patch.setitem(machine._SESSION_HANDLERS, Results, mutated)


@mutant("C3", "network")
def repeated_is_called_stale(patch: MonkeyPatch) -> None:
    """A repeated report of a committed token is refused."""
    real = workers.results

    def mutated(s: State, worker: WorkerRecord, message: Results) -> None:
        worker.recent, worker.recent_before = {}, {}
        real(s, worker, message)

    patch.setitem(machine._SESSION_HANDLERS, Results, mutated)


@mutant("C4")
def yields_are_not_acknowledged(patch: MonkeyPatch) -> None:
    """A YIELD gets no answer until its tasks are done."""
    real = State.send

    def mutated(self: State, peer: bytes, message: msgspec.Struct) -> None:
        if not isinstance(message, Rack) or not message.yields:
            real(self, peer, message)

    patch.setattr(State, "send", mutated)


@mutant("C4")
def results_are_not_acknowledged(patch: MonkeyPatch) -> None:
    """Nobody hears that a report is durable."""
    real = State.send

    def mutated(self: State, peer: bytes, message: msgspec.Struct) -> None:
        if isinstance(message, Rack):
            kept = [one for one in message.verdicts if one[1] != Verdict.COMMITTED]
            message = msgspec.structs.replace(message, verdicts=kept)
        real(self, peer, message)

    patch.setattr(State, "send", mutated)


# ---------------------------------------------------------------- C5, C7, C8


@mutant("C5", "crashes")
def extension_is_not_stored(patch: MonkeyPatch) -> None:
    """EXTEND promises more than the next start will keep."""
    real = workers.stop

    def mutated(s: State) -> None:
        real(s)
        s.changes.meta.pop("term_s", None)

    patch.setattr(workers, "stop", mutated)


@mutant("C7")
def wrong_session_is_ignored(patch: MonkeyPatch) -> None:
    """Nobody is told to join again."""
    real = State.send_now

    def mutated(self: State, peer: bytes, message: msgspec.Struct) -> None:
        if not isinstance(message, Rejoin):
            real(self, peer, message)

    patch.setattr(State, "send_now", mutated)


@mutant("C7", "network")
def any_session_counts(patch: MonkeyPatch) -> None:
    """Who is known by its connection may speak in an old session."""
    real = workers.current

    def mutated(s: State, peer: bytes, session: str) -> WorkerRecord | None:
        return s.by_peer.get(peer) or real(s, peer, session)

    patch.setattr(workers, "current", mutated)


@mutant("C7", "network")
def heartbeat_keeps_the_newest_waiting(patch: MonkeyPatch) -> None:
    """The order of heartbeats is taken the wrong way round: only old ones renew."""
    real = workers.heartbeat

    def mutated(s: State, worker: WorkerRecord, message: Heartbeat) -> None:
        if message.number <= worker.heartbeat + 1:
            worker.heartbeat = min(worker.heartbeat, message.number - 1)
            real(s, worker, message)

    patch.setitem(machine._SESSION_HANDLERS, Heartbeat, mutated)


@mutant("C8")
def grants_without_bound(patch: MonkeyPatch) -> None:
    """Workers get whatever is ready."""
    patch.setattr(dispatch, "PREFETCH_S", float("inf"))
    patch.setattr(leases, "LONG_S", float("inf"))


@mutant("C8")
def questions_without_bound(patch: MonkeyPatch) -> None:
    """A worker is asked more than its planners can work on."""
    real = planning.turn

    def mutated(s: State) -> None:
        for worker in s.workers.values():
            worker.planners += 3
        real(s)
        for worker in s.workers.values():
            worker.planners -= 3

    patch.setattr(planning, "turn", mutated)


@mutant("C8")
def lost_grant_is_not_repeated(patch: MonkeyPatch) -> None:
    """What a worker has not confirmed is not said again."""
    patch.setattr(dispatch, "repeat", lambda s, worker: None)


# ---------------------------------------------------------------- submission in parts


@mutant("submit")
def run_starts_with_its_first_part(patch: MonkeyPatch) -> None:
    """A run that is said in parts starts with what came first."""
    patch.setattr(intake, "take", lambda s, peer, message: message.roots)


@mutant("submit")
def part_said_again_counts_again(patch: MonkeyPatch) -> None:
    """A part is taken wherever it belongs."""
    real = intake.take

    def mutated(s: State, peer: Peer, message: Submit) -> list[RootTask] | None:
        held = s.intakes.get(message.key)
        at = len(held.roots) if held is not None else 0
        return real(s, peer, msgspec.structs.replace(message, at=at))

    patch.setattr(intake, "take", mutated)
