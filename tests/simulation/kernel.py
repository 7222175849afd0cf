"""Virtual time: a heap of (time, order, action), one random generator, one event log."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

#: Lines of the log kept for a violation's report.
STORY_LINES = 400


class Violation(Exception):
    """A promise was broken. ``rule`` is its name in PROTOCOL.md, e.g. ``S3``."""

    def __init__(self, rule: str, story: str) -> None:
        super().__init__(f"{rule}: {story}")
        self.rule = rule


class Kernel:
    """One world's time, chance and memory of what happened."""

    def __init__(self, seed: int, *, keep_log: bool = False) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)
        #: actions taken from the heap, and what the cores were told
        self.steps = 0
        self.events = 0
        self.counts: Counter[str] = Counter()
        self.log: list[str] | None = [] if keep_log else None
        self.recent: deque[tuple[float, str, str, object]] = deque(maxlen=STORY_LINES)
        self._digest = hashlib.blake2b(digest_size=16)
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0

    def at(self, when: float, action: Callable[..., None], *args: object) -> None:
        """Call ``action(*args)`` at true time ``when`` (now, if that has passed)."""
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, action, args))

    def after(self, delay_s: float, action: Callable[..., None], *args: object) -> None:
        """Call ``action(*args)`` after ``delay_s``."""
        self._order += 1
        heapq.heappush(self._heap, (self.now + delay_s, self._order, action, args))

    def step(self) -> bool:
        """Run the next action; False when none is left."""
        if not self._heap:
            return False
        when, _, action, args = heapq.heappop(self._heap)
        if when > self.now:
            self.now = when
        self.steps += 1
        action(*args)
        return True

    @property
    def next_at(self) -> float | None:
        """When the next action is due."""
        return self._heap[0][0] if self._heap else None

    def chance(self, probability: float) -> bool:
        """Draw once."""
        return self.rng.random() < probability

    def note(self, who: str, what: str, detail: object = "", data: bytes = b"") -> None:
        """Add one line to the log; ``data`` enters the digest, ``detail`` is only shown."""
        self._digest.update(f"{self.now!r} {who} {what} ".encode() + data)
        self.recent.append((self.now, who, what, detail))
        if self.log is not None:
            self.log.append(render_line(self.now, who, what, detail))

    def digest(self) -> str:
        """Fingerprint of everything noted so far."""
        return self._digest.copy().hexdigest()

    def story(self, lines: int = 60, about: str = "") -> list[str]:
        """Read the last lines, optionally only those that mention ``about``."""
        rendered = [render_line(*line) for line in self.recent]
        return [line for line in rendered if about in line][-lines:]


def render_line(when: float, who: str, what: str, detail: object) -> str:
    """Spell one line of the log for people."""
    return f"{when:12.4f} {who:14s} {what:16s} {str(detail)[:600]}"
