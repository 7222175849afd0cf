"""What attempts of this worker say, on its way to the coordinator; and letters on theirs.

Words are whole and numbered, so only the newest of each token is kept: said when it is new, at most
every ``SAY_S``, and again until HEARD. Letters go to a token once for each id: whoever sends one
repeats it until it knows its fate, so nothing is resent here. Only tokens that say or hear
something are known here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from flow.wire.ids import Session, Token
from flow.wire.messages.speech import Fate, Letter, Words
from flow.wire.messages.worker import Heard, LettersAck, Said, ToCoordinator
from flow_worker.channel import Deliver, Says, Taken
from flow_worker.core.config import (
    LETTERS_MAX,
    MESSAGE_FILL_BYTES,
    MESSAGE_ITEMS_MAX,
    REFUSED_LETTERS_MAX,
    REPLIES_KEPT_MAX,
    RESEND_MAX_S,
    RESEND_S,
    SAY_S,
)
from flow_worker.core.effects import Effect, Tell
from flow_worker.core.records import Holding
from flow_worker.core.transitions import Hold

#: Holdings whose process may read its letters.
_HEARS = (Hold.RUNNING, Hold.PARKED, Hold.RESUMING)
#: ... and those that will soon, if the sender asks again.
_WILL_HEAR = (Hold.QUEUED, Hold.ASSIGNED)


class _Speaker:
    """One token that said or heard something."""

    __slots__ = ("delay_s", "due", "fates", "refused", "replies", "said_at", "unheard", "words")

    def __init__(self, token: Token) -> None:
        self.words = Words(token, 0)
        self.due = math.inf
        self.delay_s = RESEND_S
        self.said_at = -math.inf
        self.unheard: dict[str, None] = {}  #: letters whose replies are to be said
        self.replies: dict[str, str] = {}  #: by letter id, the newest
        self.fates: dict[str, Fate | None] = {}  #: of every letter handed on; None: not known yet
        self.refused: dict[str, Fate] = {}  #: the newest that were not taken


class Speech:
    """Everything that tokens of this worker said and heard."""

    def __init__(
        self, emit: Callable[[Effect], None], send: Callable[[ToCoordinator], None]
    ) -> None:
        self._emit = emit
        self._send = send
        self.speakers: dict[Token, _Speaker] = {}
        self._parting: list[_Speaker] = []  #: of tokens that ended, to be said once more
        self._fates: list[tuple[Token, str, Fate]] = []
        self._due = math.inf

    def _speaker(self, token: Token) -> _Speaker:
        speaker = self.speakers.get(token)
        if speaker is None:
            speaker = self.speakers[token] = _Speaker(token)
        return speaker

    # ------------------------------------------------------------ from processes

    def says(self, holding: Holding | None, frame: Says, now: float) -> None:
        """A process told all that one of its attempts has said."""
        if holding is None or holding.state is Hold.ENDED:
            return
        speaker = self._speaker(holding.token)
        given_back = frame.words.decreased != speaker.words.decreased
        if frame.words.number > 0:
            number = speaker.words.number + 1
            speaker.words = msgspec.structs.replace(frame.words, number=number)
        for letter, text in frame.replies:
            if letter in speaker.fates and letter not in speaker.replies:
                speaker.replies[letter] = text
                speaker.unheard[letter] = None
                while len(speaker.replies) > REPLIES_KEPT_MAX:
                    oldest = next(iter(speaker.replies))
                    del speaker.replies[oldest]
                    speaker.unheard.pop(oldest, None)
        speaker.delay_s = RESEND_S
        urgent = given_back or frame.replies
        self._say_at(speaker, now if urgent else max(now, speaker.said_at + SAY_S))

    def taken(self, holding: Holding | None, frame: Taken) -> None:
        """A process put a letter into its queue, or could not."""
        speaker = self.speakers.get(frame.token)
        if holding is None or speaker is None or frame.letter not in speaker.fates:
            return
        if frame.fate is Fate.TAKEN:
            speaker.fates[frame.letter] = Fate.TAKEN
        else:
            del speaker.fates[frame.letter]
            self._refuse(speaker, frame.letter, frame.fate)
        self._fates.append((frame.token, frame.letter, frame.fate))

    def _refuse(self, speaker: _Speaker, letter: str, fate: Fate) -> None:
        speaker.refused[letter] = fate
        if len(speaker.refused) > REFUSED_LETTERS_MAX:
            del speaker.refused[next(iter(speaker.refused))]

    def returned(self, token: Token) -> None:
        """A runner gave a token back before it began: its letters must be handed on again."""
        speaker = self.speakers.get(token)
        if speaker is not None:
            speaker.fates = {one: fate for one, fate in speaker.fates.items() if fate is not None}

    def ended(self, token: Token) -> None:
        """A token ended: its last words go out before its report, once."""
        speaker = self.speakers.pop(token, None)
        if speaker is not None and (speaker.due < math.inf or speaker.unheard):
            self._parting.append(speaker)

    # ------------------------------------------------------------ from the coordinator

    def deliver(self, letter: Letter, holding: Holding | None, now: float) -> None:
        """Hand a letter to its attempt, if it never was; tell its fate where that is known."""
        if holding is None or (holding.state not in _HEARS and holding.state not in _WILL_HEAR):
            self._fates.append((letter.token, letter.id, Fate.GONE))
            return
        if not holding.grant.accepts_messages:
            self._fates.append((letter.token, letter.id, Fate.DEAF))
            return
        if holding.state in _WILL_HEAR:
            return
        speaker = self._speaker(letter.token)
        if letter.id in speaker.fates:
            self._again(speaker, letter, now)
        elif letter.id in speaker.refused:
            self._fates.append((letter.token, letter.id, speaker.refused[letter.id]))
        elif len(speaker.fates) >= LETTERS_MAX:
            self._fates.append((letter.token, letter.id, Fate.FULL))
        else:
            speaker.fates[letter.id] = None
            self._emit(Tell(holding.process, Deliver(letter)))

    def _again(self, speaker: _Speaker, letter: Letter, now: float) -> None:
        """A letter came before: whoever asks again may have missed its fate and its reply."""
        fate = speaker.fates[letter.id]
        if fate is not None:
            self._fates.append((letter.token, letter.id, fate))
        if letter.id in speaker.replies:
            speaker.unheard[letter.id] = None
            self._say_at(speaker, now)

    def heard(self, message: Heard) -> None:
        """Words are durable, replies arrived: say them no more."""
        for token, letter in message.replies:
            speaker = self.speakers.get(token)
            if speaker is not None:
                speaker.unheard.pop(letter, None)
        for token, number in message.words:
            speaker = self.speakers.get(token)
            if speaker is not None and number == speaker.words.number and not speaker.unheard:
                speaker.due = math.inf

    # ------------------------------------------------------------ to the coordinator

    def joined(self, now: float) -> None:
        """A new session: everything is said again in it."""
        self._fates.clear()
        for speaker in self.speakers.values():
            speaker.delay_s = RESEND_S
            self._say_at(speaker, now)

    def _say_at(self, speaker: _Speaker, at: float) -> None:
        speaker.due = min(speaker.due, at)
        self._due = min(self._due, at)

    def next_deadline(self) -> float:
        """When something is to be said; infinity: nothing."""
        return self._due

    def flush(self, session: Session | None, now: float) -> None:
        """Say what is due. Cost: O(1) while nothing is, else O(tokens that said something)."""
        if not self._parting and not self._fates and self._due > now:
            return
        if session is None:
            self._parting.clear()
            self._fates.clear()
            self._due = math.inf
            return
        if self._fates:
            fates, self._fates = self._fates, []
            for at in range(0, len(fates), MESSAGE_ITEMS_MAX):
                self._send(LettersAck(session, fates[at : at + MESSAGE_ITEMS_MAX]))
        due, self._parting = self._parting, []
        if self._due <= now:
            self._due = math.inf
            for speaker in self.speakers.values():
                if speaker.due <= now:
                    due.append(speaker)
                    speaker.said_at = now
                    speaker.due = now + speaker.delay_s
                    speaker.delay_s = min(2 * speaker.delay_s, RESEND_MAX_S)
                self._due = min(self._due, speaker.due)
        self._say(session, due)

    def _say(self, session: Session, speakers: list[_Speaker]) -> None:
        """Say words and replies in as few messages as their size allows."""
        words: list[Words] = []
        replies: list[tuple[Token, str, str]] = []
        fill = 0
        for speaker in speakers:
            mine = [(speaker.words.token, one, speaker.replies[one]) for one in speaker.unheard]
            size = _bytes_of(speaker.words)
            for reply in mine:
                if fill > MESSAGE_FILL_BYTES:
                    self._send(Said(session, words, replies))
                    words, replies, fill = [], [], 0
                replies.append(reply)
                fill += _UTF8_MAX * len(reply[2]) + _FIXED_BYTES
            if fill + size > MESSAGE_FILL_BYTES:
                self._send(Said(session, words, replies))
                words, replies, fill = [], [], 0
            words.append(speaker.words)
            fill += size
        if words:
            self._send(Said(session, words, replies))


#: Bytes one character may take, and what words and replies weigh besides their texts.
_UTF8_MAX = 4
_FIXED_BYTES = 128


def _bytes_of(words: Words) -> int:
    texts = len(words.status) + len(words.tracking_url)
    texts += sum(len(name) + len(text) for name, text in words.statistics.items())
    texts += sum(len(name) + 8 for name in words.decreased)
    return _UTF8_MAX * texts + _FIXED_BYTES
