"""Messages to running attempts: from a command, through a worker, into a task's queue.

A sender asks for the attempt first and then writes to its token, under an id of its own. So a
letter can reach one attempt only, and because that attempt's worker remembers the ids, asking
again (which a sender does until it is answered, whatever restarts meanwhile) never delivers twice.
What is kept here are the senders that wait for an answer, no letters.
"""

from __future__ import annotations

from collections.abc import Iterable

from flow.errors import ExitCode
from flow.wire.ids import Token
from flow.wire.messages.client import Failed, LetterSent, SendLetter
from flow.wire.messages.speech import (
    LETTER_CHARACTERS_MAX,
    LETTER_ID_CHARACTERS_MAX,
    REPLY_CHARACTERS_MAX,
    Fate,
    Letter,
)
from flow.wire.messages.worker import Letters, LettersAck
from flow.wire.states import TaskState
from flow_coordinator.core.records import WorkerRecord
from flow_coordinator.core.refusal import Refusal
from flow_coordinator.core.state import State
from flow_coordinator.core.timers import Timer
from flow_coordinator.core.values import Peer
from flow_coordinator.core.waiting import SenderRecord

#: Senders that wait because of one attempt.
WAITING_MAX = 1_000
#: A sender that has not asked again for so long is gone, seconds.
SILENT_S = 30.0
#: Longest time a sender may wait for a reply, seconds.
WAIT_S_MAX = 86_400.0


def send(s: State, peer: Peer, message: SendLetter) -> None:
    """Pass a letter on, and remember who asked. Asked again, it is passed on again."""
    lease = s.leases.get(message.token)
    if lease is None or lease.task.doomed:
        raise _refusal(Fate.GONE)
    _check(message)
    waiting = s.letters.setdefault(message.token, {})
    one = waiting.get(message.id)
    if one is None or bool(one.until) != (message.wait_s > 0):
        if one is None and len(waiting) >= WAITING_MAX:
            _forget_gone(s, waiting)
        if one is None and len(waiting) >= WAITING_MAX:
            error = f"{WAITING_MAX:,} messages to this attempt wait to be taken already"
            raise Refusal(error, "try later", code=ExitCode.REFUSED)
        one = waiting[message.id] = SenderRecord(s.now, min(message.wait_s, WAIT_S_MAX))
        if one.until:
            s.timer(one.until, Timer.LETTER, (message.token, message.id))
    one.peer, one.request, one.asked_at = peer, message.request, s.now
    worker = s.workers.get(lease.uid)
    # until STARTED came its worker may not know the token: the sender asks again
    started = lease.task.state != TaskState.LEASED
    if worker is not None and started and one.session != worker.session:
        letter = Letter(message.token, message.id, message.content, message.payload)
        s.send_now(worker.peer, Letters(worker.session, [letter]))


def _check(message: SendLetter) -> None:
    size = len(message.content) + sum(len(k) + len(v) for k, v in message.payload.items())
    if size > LETTER_CHARACTERS_MAX:
        most = f"{LETTER_CHARACTERS_MAX:,} characters"
        raise Refusal(f"a message may have {most}, this one has {size:,}")
    if not 0 < len(message.id) <= LETTER_ID_CHARACTERS_MAX:
        raise Refusal(f"the id of a message has 1 to {LETTER_ID_CHARACTERS_MAX} characters")


def _forget_gone(s: State, waiting: dict[str, SenderRecord]) -> None:
    for letter in [one for one, each in waiting.items() if s.now - each.asked_at > SILENT_S]:
        del waiting[letter]


def acked(s: State, worker: WorkerRecord, message: LettersAck) -> None:
    """Answer the senders of letters whose fate is known."""
    for token, letter, fate in message.fates:
        waiting = s.letters.get(token, {})
        one = waiting.get(letter)
        if one is None:
            continue
        if fate is not Fate.TAKEN:
            _drop(s, token, letter)
            _refuse(s, one, fate)
        elif one.until:
            one.taken = True
            one.session = worker.session
        else:
            _drop(s, token, letter)
            s.send_now(one.peer, LetterSent(one.request))


def replied(s: State, token: Token, letter: str, text: str) -> None:
    """Answer the sender that waits for this reply; nobody else hears it."""
    one = s.letters.get(token, {}).get(letter)
    if one is not None and one.until:
        _drop(s, token, letter)
        text = text[:REPLY_CHARACTERS_MAX]
        s.send_now(one.peer, LetterSent(one.request, replied=True, reply=text))


def overdue(s: State, which: tuple[Token, str]) -> None:
    """A sender has waited as long as it wanted to (or an old timer fired)."""
    token, letter = which
    one = s.letters.get(token, {}).get(letter)
    if one is not None and one.until and one.until <= s.now:
        _drop(s, token, letter)
        error = "no reply came in time; the message is in the task's queue"
        if not one.taken:
            error = "it is not known yet whether the task got the message"
        s.send_now(one.peer, Failed(one.request, int(ExitCode.TIMEOUT), error))


def lease_ended(s: State, waiting: Iterable[SenderRecord]) -> None:
    """Tell everybody who wrote to an attempt that has ended."""
    for one in waiting:
        if one.taken:
            error = "the attempt got the message and ended without a reply"
            s.send(one.peer, Failed(one.request, int(ExitCode.NOT_RUN), error))
        else:
            _refuse(s, one, Fate.GONE)


def turn(s: State) -> None:
    """Answer what leases that ended in this turn left behind."""
    unheard, s.unheard = s.unheard, []
    lease_ended(s, unheard)


def _drop(s: State, token: Token, letter: str) -> None:
    waiting = s.letters[token]
    del waiting[letter]
    if not waiting:
        del s.letters[token]


_REASONS = {
    Fate.GONE: (ExitCode.NOT_RUN, "nobody hears it: the attempt has ended", "flow status TASK"),
    Fate.DEAF: (ExitCode.USAGE, "the task does not accept messages", "accepts_messages = True"),
    Fate.FULL: (
        ExitCode.REFUSED,
        "the task does not read its messages: its queue is full",
        "try later, or cancel it",
    ),
}


def _refusal(fate: Fate) -> Refusal:
    code, error, hint = _REASONS[fate]
    return Refusal(error, hint, code=code)


def _refuse(s: State, one: SenderRecord, fate: Fate) -> None:
    """Tell a sender that waited."""
    no = _refusal(fate)
    s.send(one.peer, Failed(one.request, int(no.code), str(no), no.hint))
