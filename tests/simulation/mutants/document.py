"""The mutants of the model that came before the code, and what it found."""

from __future__ import annotations

import math
from typing import Any

from pytest import MonkeyPatch

from flow.wire.messages.shared import Grant, Timing
from flow.wire.messages.worker import Heartbeat, Join, Results
from flow_coordinator.core import leases, machine, outcomes, workers
from flow_coordinator.core.effects import Send
from flow_coordinator.core.records import LeaseRecord, TaskRecord, WorkerRecord
from flow_coordinator.core.state import State
from flow_coordinator.core.timers import Timer
from flow_coordinator.shell import recovery
from flow_coordinator.shell.loop import Loop
from flow_worker.core import events as ev
from flow_worker.core.joining import Joining
from flow_worker.core.lease import Lease
from flow_worker.core.machine import Worker
from flow_worker.core.records import Holding
from flow_worker.core.tokens import Tokens
from flow_worker.core.transitions import Hold
from tests.simulation.mutants.registry import mutant


@mutant("C5")
def no_wait_after_restart(patch: MonkeyPatch) -> None:
    """Stored leases end as soon as the coordinator is back."""
    real = recovery._term

    def mutated(s: State, snapshot: Any) -> None:
        real(s, snapshot)
        for uid in s.orphans:
            s.orphans_until[uid] = s.now
            s.timer(s.now, Timer.ORPHANS, uid)

    patch.setattr(recovery, "_term", mutated)


@mutant("W1", "network")
def no_dedup_of_dispatch(patch: MonkeyPatch) -> None:
    """A grant that comes twice is queued twice."""
    real = Tokens.dispatch

    def mutated(self: Tokens, grants: list[Grant], accepting: bool, now: float) -> None:
        for grant in grants:
            known = self.holdings.get(grant.token)
            if known is not None and known.state is Hold.RUNNING:
                again = Holding(grant, known.program)
                known.program.queue.append(again)
                known.program.queued += 1
                self.queued += 1
        real(self, grants, accepting, now)

    patch.setattr(Tokens, "dispatch", mutated)


@mutant("C3")
def no_token_check_at_commit(patch: MonkeyPatch) -> None:
    """A report counts for its task's lease of now, whatever token it has."""
    grant, results = leases.grant, workers.results
    owners: dict[str, TaskRecord] = {}

    def remember(
        s: State, task: TaskRecord, worker: WorkerRecord, expected_s: float, members: Any
    ) -> LeaseRecord:
        lease = grant(s, task, worker, expected_s, members)
        owners[lease.token] = task
        return lease

    def mutated(s: State, worker: WorkerRecord, message: Results) -> None:
        for report in message.reports:
            task = owners.get(report.token)
            lease = task.lease if task is not None else None
            if report.token not in worker.held and lease is not None and lease.token in s.leases:
                outcomes.report(s, worker, lease, report)
                worker.recent[report.token] = None
        results(s, worker, message)

    patch.setattr(leases, "grant", remember)
    patch.setitem(machine._SESSION_HANDLERS, Results, mutated)


@mutant("C4", "crashes")
def ack_before_commit(patch: MonkeyPatch) -> None:
    """Everything is said at once, nothing waits for the disk."""
    real = Loop._perform

    def mutated(self: Loop, effect: Any) -> None:
        if isinstance(effect, Send):
            self._transmit(effect)
        else:
            real(self, effect)

    patch.setattr(Loop, "_perform", mutated)


@mutant("W2", "mixed")
def no_session_check(patch: MonkeyPatch) -> None:
    """The worker does what messages of any session say."""

    def mutated(self: Worker, event: ev.Received) -> None:
        message = event.message
        handler = self._on_session.get(type(message)) or self._on_joining[type(message)]
        handler(message)

    patch.setattr(Worker, "_received", mutated)


@mutant("C6", "network")
def no_nonce(patch: MonkeyPatch) -> None:
    """A JOIN with an old nonce counts."""
    real = workers.join

    def mutated(s: State, peer: bytes, message: Join) -> None:
        s.nonces[message.uid] = message.nonce
        real(s, peer, message)

    patch.setattr(workers, "join", mutated)


@mutant("W3", "network")
def no_self_fence(patch: MonkeyPatch) -> None:
    """A worker without acknowledgements runs on."""
    patch.setattr(Lease, "must_fence", lambda self, now: False)
    patch.setattr(Lease, "next_fence", lambda self: math.inf)


@mutant("W3", "network")
def fence_counted_from_receipt(patch: MonkeyPatch) -> None:
    """The lease counts from when the acknowledgement came, not from when the heartbeat left."""
    real = Lease.acknowledge

    def mutated(self: Lease, number: int, now: float) -> None:
        if number in self._sent:
            self._sent[number] = now
        real(self, number, now)

    patch.setattr(Lease, "acknowledge", mutated)


@mutant("C5", "network")
def term_too_short(patch: MonkeyPatch) -> None:
    """The coordinator grants again after L-G-3 of silence, not after L(1+rho)+M."""
    patch.setattr(Timing, "term_s", property(lambda self: self.lease_s - self.kill_s - 3.0))


@mutant("W3", "freezes")
def soft_kill_after_a_freeze(patch: MonkeyPatch) -> None:
    """A fence that is found late still asks nicely first."""
    patch.setattr(Lease, "fence_grace_s", lambda self, now: self.timing.kill_s)


@mutant("W4+W7", "freezes")
def messages_before_deadlines(patch: MonkeyPatch) -> None:
    """The fence is looked at when nothing else is to be done, and the kill list is patient."""
    _fence_last(patch)
    _kill_softly(patch)


@mutant("W4", "freezes")
def fence_after_messages(patch: MonkeyPatch) -> None:
    """The fence is looked at when nothing else is to be done."""
    _fence_last(patch)


@mutant("W7", "crashes")
def soft_kill_list(patch: MonkeyPatch) -> None:
    """What WELCOME and KILL say must die is asked nicely first."""
    _kill_softly(patch)


def _fence_last(patch: MonkeyPatch) -> None:
    handle, must_fence = Worker.handle, Lease.must_fence
    patch.setattr(Lease, "must_fence", lambda self, now: False)

    def mutated(self: Worker, event: ev.Event, now: float) -> list[Any]:
        quiet = getattr(self, "_quiet", True)
        if type(event) is ev.TurnEnded:
            self._quiet = True  # type: ignore[attr-defined]
            if quiet and must_fence(self.lease, now):
                self._now = now
                self._effects = []
                self._fence(now)
                return self._effects + handle(self, event, now)
        elif type(event) is not ev.Tick:
            self._quiet = False  # type: ignore[attr-defined]
        return handle(self, event, now)

    patch.setattr(Worker, "handle", mutated)


def _kill_softly(patch: MonkeyPatch) -> None:
    real = Tokens.kill

    def mutated(
        self: Tokens, tokens: list[str], grace_s: float, now: float, *, at_once: bool
    ) -> None:
        real(self, tokens, self.kill_s, now, at_once=at_once)

    patch.setattr(Tokens, "kill", mutated)


@mutant("W6")
def killed_is_not_reported(patch: MonkeyPatch) -> None:
    """What was killed ends without a report."""
    real = Tokens._gone

    def mutated(self: Tokens, holding: Holding, told: bool, event: ev.ProcessExited) -> None:
        killing = holding.state is Hold.KILLING
        real(self, holding, told, event)
        if killing:
            self._outbox.reports.pop(holding.token, None)
            self.holdings.pop(holding.token, None)

    patch.setattr(Tokens, "_gone", mutated)


@mutant("W5", "restarts")
def fence_between_join_and_welcome(patch: MonkeyPatch) -> None:
    """A kill after JOIN does not void it: its WELCOME adopts what is dead."""
    patch.setattr(Joining, "kill_begun", lambda self: None)


@mutant("W2", equivalent="a session names its epoch; a JOIN to an older one gets nothing from it")
def no_epoch_check(patch: MonkeyPatch) -> None:
    """The worker follows a coordinator of the past."""
    real = Joining.challenge

    def mutated(self: Joining, message: Any) -> bool:
        self.epoch = -1
        return real(self, message)

    patch.setattr(Joining, "challenge", mutated)


@mutant("C7", equivalent="an old heartbeat only makes the coordinator wait longer")
def no_heartbeat_order(patch: MonkeyPatch) -> None:
    """A heartbeat that was overtaken renews, too."""
    real = workers.heartbeat

    def mutated(s: State, worker: WorkerRecord, message: Heartbeat) -> None:
        worker.heartbeat = 0
        real(s, worker, message)

    patch.setitem(machine._SESSION_HANDLERS, Heartbeat, mutated)
