"""What attempts say on its way out of a task process, without ever holding a task up.

A task's thread only writes down what is new; one thread of this process carries it to the agent,
the newest of each attempt at most every ``PAUSE_S``. It exists once something was said.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

from flow.wire.ids import Token
from flow.wire.messages.shared import unicode
from flow.wire.messages.speech import (
    DECREASED_NAMES_MAX,
    REPLY_CHARACTERS_MAX,
    STATISTIC_CHARACTERS_MAX,
    STATISTICS_MAX,
    STATUS_CHARACTERS_MAX,
    URL_CHARACTERS_MAX,
    Words,
)
from flow_worker.channel import Frame, Says
from flow_worker.guard.kill import own_pid

#: Between two frames about the words of the same process.
PAUSE_S = 0.1
#: Replies that wait to be carried away; a task that answers faster waits for this thread.
REPLIES_MAX = 256


class AttemptVoice:
    """One attempt's words. See ``flow.speech.Voice`` for what the functions mean."""

    def __init__(self, token: Token, speech: ProcessSpeech) -> None:
        self.token = token
        self._speech = speech
        #: A ``Mailbox``, where its class accepts messages.
        self.scheduler_messages: Any = None
        self.closed = False
        self.number = 0
        self.status = ""
        self.progress = -1.0
        self.tracking_url = ""
        self.decreased: dict[str, float] = {}
        self.statistics: dict[str, str] = {}
        self.replies: list[tuple[str, str]] = []

    def set_tracking_url(self, tracking_url: str | None) -> None:
        """Show where the work can be watched."""
        self._set("tracking_url", _text(tracking_url, URL_CHARACTERS_MAX))

    def set_status_message(self, message: str | None) -> None:
        """Show in words how far it is."""
        self._set("status", _text(message, STATUS_CHARACTERS_MAX))

    def set_progress_percentage(self, percentage: float) -> None:
        """Show how far it is, 0 to 100. Raises ``ValueError`` for what is no number."""
        progress = float(percentage)
        if math.isnan(progress):
            raise ValueError("set_progress_percentage() needs a number from 0 to 100, not nan")
        self._set("progress", min(100.0, max(0.0, progress)))

    def decrease_running_resources(self, decrease_resources: Mapping[str, float]) -> None:
        """Give back so much of what this attempt holds. Raises ``ValueError`` for less than 0."""
        amounts = {str(name): float(each) for name, each in decrease_resources.items()}
        for name, amount in amounts.items():
            if not (math.isfinite(amount) and amount >= 0):
                wrong = f"cannot give back {amount:g} of the resource {name!r}"
                raise ValueError(f"decrease_running_resources() {wrong}: say how much, from 0")
        with self._speech.changing(self) as may:
            if may:
                total = dict(self.decreased)
                for name, amount in amounts.items():
                    if name in total or len(total) < DECREASED_NAMES_MAX:
                        total[name] = total.get(name, 0.0) + amount
                self.decreased = total

    def report_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Show numbers that measure the attempt, by name."""
        with self._speech.changing(self) as may:
            if may:
                total = dict(self.statistics)
                for name, value in statistics.items():
                    if name in total or len(total) < STATISTICS_MAX:
                        total[_text(name, STATISTIC_CHARACTERS_MAX)] = _text(
                            value, STATISTIC_CHARACTERS_MAX
                        )
                self.statistics = total

    def reply(self, letter: str, text: str) -> None:
        """Answer a letter."""
        with self._speech.changing(self) as may:
            if may:
                self.replies.append((letter, _text(text, REPLY_CHARACTERS_MAX)))

    def _set(self, name: str, value: Any) -> None:
        with self._speech.changing(self) as may:
            if may:
                setattr(self, name, value)

    def take(self) -> Says:
        """Spell all of it."""
        replies, self.replies = self.replies, []
        return Says(
            Words(
                self.token,
                self.number,
                self.status,
                self.progress,
                self.tracking_url,
                self.decreased,
                self.statistics,
            ),
            replies,
        )


class ProcessSpeech:
    """The voices of one process. ``send`` may be called from any thread."""

    def __init__(self, send: Callable[[Frame], None]) -> None:
        self._send = send
        self._pid = own_pid()
        self._changed = threading.Condition(threading.Lock())
        #: held while words are taken and sent, so that a flush leaves nothing behind it
        self._sending = threading.Lock()
        self._new: dict[Token, AttemptVoice] = {}
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    @property
    def pending(self) -> bool:
        """Whether something was ever said here, so that ``flush`` is worth a call."""
        return self._thread is not None

    @contextlib.contextmanager
    def changing(self, voice: AttemptVoice) -> Any:
        """Hold what a voice says together; yields False where nobody hears it any more.

        That is after the attempt, and in processes that the task forked.
        """
        if own_pid() != self._pid:
            yield False
            return
        with self._changed:
            if len(voice.replies) >= REPLIES_MAX:
                self._changed.wait_for(lambda: voice.closed or len(voice.replies) < REPLIES_MAX)
            if voice.closed:
                yield False
                return
            yield True
            voice.number += 1
            self._new[voice.token] = voice
            if self._thread is None:
                self._thread = threading.Thread(target=self._carry, name="flow-words", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self, voice: AttemptVoice) -> None:
        """The attempt is over: what it said stays said, nothing more is heard."""
        with self._changed:
            voice.closed = True
            self._changed.notify_all()

    def flush(self) -> None:
        """Send what is new now, before what the caller sends next."""
        with self._sending:
            self._send_new()

    def stop(self) -> None:
        """End the thread, where a process outlives its serving."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def _carry(self) -> None:
        while not self._stopped.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._new or self._stopped.is_set())
            with self._sending, contextlib.suppress(OSError):
                self._send_new()
            self._stopped.wait(PAUSE_S)

    def _send_new(self) -> None:
        with self._changed:
            frames = [voice.take() for voice in self._new.values()]
            self._new.clear()
            self._changed.notify_all()
        for frame in frames:
            self._send(frame)


def _text(value: object, characters_max: int) -> str:
    text = "" if value is None else str(value)
    text = unicode(text)
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"
