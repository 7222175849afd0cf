"""Mutants of what attempts say and hear: words count once stored, letters arrive once."""

from __future__ import annotations

from typing import Any

import msgspec
from pytest import MonkeyPatch

from flow.wire.messages.client import LetterSent, SendLetter
from flow_coordinator.core import leases, letters, machine, words
from flow_coordinator.core.effects import Send, SendNow
from flow_coordinator.core.queries import answers
from flow_coordinator.core.records import LeaseRecord, TaskRecord
from flow_coordinator.core.state import State
from flow_worker.core.speech import Speech
from tests.simulation.mutants.registry import mutant


@mutant("words", "crashes")
def words_are_not_stored(patch: MonkeyPatch) -> None:
    """What was said is acknowledged and kept in memory only."""
    real = words._hear

    def mutated(s: State, lease: LeaseRecord, said: Any) -> None:
        before = dict(s.changes.progress)
        real(s, lease, said)
        s.changes.progress = before

    patch.setattr(words, "_hear", mutated)


@mutant("words", "crashes")
def words_are_heard_before_commit(patch: MonkeyPatch) -> None:
    """HEARD leaves before what it says is durable."""
    real = words.said

    def mutated(s: State, worker: Any, message: Any) -> None:
        real(s, worker, message)
        heard = s.effects.pop()
        assert isinstance(heard, Send)
        s.effects.append(SendNow(heard.peer, heard.message))

    handlers = dict(machine._SESSION_HANDLERS)
    patch.setattr(machine, "_SESSION_HANDLERS", handlers)
    for kind, handler in handlers.items():
        if handler is real:
            handlers[kind] = mutated


@mutant("words", "network")
def older_words_count(patch: MonkeyPatch) -> None:
    """Words that were overtaken replace newer ones."""
    real = words._hear

    def mutated(s: State, lease: LeaseRecord, said: Any) -> None:
        extra = lease.task.extra
        if extra is not None and extra.words is not None:
            extra.words = msgspec.structs.replace(extra.words, number=-1)
        real(s, lease, said)

    patch.setattr(words, "_hear", mutated)


@mutant("resources", "crashes")
def given_back_for_ever(patch: MonkeyPatch) -> None:
    """What one attempt gave back is missing from the next attempt's hold, too."""

    def mutated(lease: LeaseRecord) -> Any:
        demand = leases.demand_of(lease.task)
        said = lease.task.extra.words if lease.task.extra is not None else None
        if said is None:
            return demand
        left = [(name, amount - said.decreased.get(name, 0.0)) for name, amount in demand]
        return tuple((name, amount) for name, amount in left if amount > 0)

    patch.setattr(leases, "held_demand", mutated)


@mutant("resources")
def given_back_twice(patch: MonkeyPatch) -> None:
    """What was given back is given back again at the end of the lease."""
    real = leases.give_part
    patch.setattr(leases, "held_demand", lambda lease: leases.demand_of(lease.task))

    def mutated(s: State, lease: LeaseRecord, before: Any) -> None:
        said = lease.task.extra.words if lease.task.extra is not None else None
        if said is not None and lease.holds:
            s.resources.give(tuple(said.decreased.items()))
        real(s, lease, before)

    patch.setattr(leases, "give_part", mutated)


@mutant("S12", "network")
def letters_are_delivered_again(patch: MonkeyPatch) -> None:
    """The worker does not remember which letters it handed on."""
    real = Speech.deliver

    def mutated(self: Speech, letter: Any, holding: Any, now: float) -> None:
        speaker = self.speakers.get(letter.token)
        if speaker is not None:
            speaker.fates.pop(letter.id, None)
        real(self, letter, holding, now)

    patch.setattr(Speech, "deliver", mutated)


@mutant("S12", "crashes")
def letters_follow_their_task(patch: MonkeyPatch) -> None:
    """Who wrote to an attempt that has ended is not told: its letter goes to the next one."""
    real = letters.send
    tasks: dict[str, TaskRecord] = {}

    def mutated(s: State, peer: bytes, message: SendLetter) -> None:
        lease = s.leases.get(message.token)
        if lease is not None:
            tasks[message.token] = lease.task
        elif message.token in tasks and (now := tasks[message.token].lease) is not None:
            message = msgspec.structs.replace(message, token=now.token)
        real(s, peer, message)

    handlers = {**answers._HANDLERS, SendLetter: mutated}
    patch.setattr(answers, "_HANDLERS", handlers)
    patch.setattr(letters, "lease_ended", lambda s, waiting: None)


@mutant("S12", "network")
def letters_are_answered_when_passed_on(patch: MonkeyPatch) -> None:
    """A sender is told that its letter arrived as soon as it left the coordinator."""

    def mutated(s: State, peer: bytes, message: SendLetter) -> None:
        letters.send(s, peer, message)
        if message.token in s.letters:
            s.send_now(peer, LetterSent(message.request))

    handlers = {**answers._HANDLERS, SendLetter: mutated}
    patch.setattr(answers, "_HANDLERS", handlers)


@mutant("S12", equivalent="a sender asks again, and is told then that the attempt has ended")
def ended_lease_forgets_its_senders(patch: MonkeyPatch) -> None:
    """Who waits because of an attempt that ends is not told."""
    patch.setattr(letters, "lease_ended", lambda s, waiting: None)
