"""The queues that attempts read their messages from, and who puts them there.

While an attempt that accepts messages runs, a thread reads the agent's socket for it; whatever
else arrives meanwhile keeps its order for the main loop.
"""

from __future__ import annotations

import queue
from collections.abc import Callable

from flow.speech import SchedulerMessage
from flow.wire.ids import Token
from flow.wire.messages.speech import Fate, Letter
from flow_worker.channel import Deliver, Frame, Taken
from flow_worker.process.voice import AttemptVoice

#: Messages that wait for one attempt to read them.
UNREAD_MAX = 1_000


class Mailbox(queue.Queue[SchedulerMessage]):
    """What a task reads: ``get()``, ``get(timeout=...)``, ``get_nowait()``, ``empty()`` ..."""

    def __init__(self) -> None:
        super().__init__(UNREAD_MAX)


class Mail:
    """The mailboxes of one process. ``deliver`` may be called from the reading thread."""

    def __init__(self, send: Callable[[Frame], None]) -> None:
        self._send = send
        self._open: dict[Token, tuple[AttemptVoice, Mailbox]] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def open(self, voice: AttemptVoice) -> None:
        """An attempt accepts messages from now on."""
        box = voice.scheduler_messages = Mailbox()
        self._open[voice.token] = (voice, box)

    def close(self, token: Token) -> None:
        """It is over."""
        self._open.pop(token, None)

    def deliver(self, frame: Deliver) -> None:
        """Put a letter into its queue and say what became of it."""
        letter = frame.letter
        self._send(Taken(letter.token, letter.id, self._fate(letter)))

    def _fate(self, letter: Letter) -> Fate:
        found = self._open.get(letter.token)
        if found is None:
            return Fate.GONE
        voice, box = found
        message = SchedulerMessage(
            letter.content, letter.payload, lambda text: voice.reply(letter.id, text)
        )
        try:
            box.put_nowait(message)
        except queue.Full:
            return Fate.FULL
        return Fate.TAKEN
