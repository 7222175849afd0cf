"""Ways to show a run while it goes on: lines in a log, JSON events, or almost nothing.

The live block of a terminal is in ``live.py``, because it alone needs rich.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Protocol

from flow.client.board import RUNNING, Board, failure_lines, note_line, printed_lines
from flow.client.output import plain, print_json, say

if TYPE_CHECKING:
    from flow.wire.messages.client import RunSummary, RunUpdate

#: Between two progress lines where no terminal shows a live block.
LINE_EVERY_S = 10.0
#: A run that waits and does nothing for this long deserves a line at once.
WAITS_S = 1.0


class View(Protocol):
    """What ``follow`` shows a run with."""

    def accepted(self, run: str, name: str) -> None:
        """The run is stored."""

    def update(self, update: RunUpdate) -> None:
        """News."""

    def tick(self) -> None:
        """Nothing new; a little time has passed."""

    def say(self, text: str) -> None:
        """A sentence for the person."""

    def output(self, task_id: str, text: str) -> None:
        """What an attempt printed."""

    def close(self) -> None:
        """Leave the screen as it is to stay. Called before the summary, and on any error."""

    def ended(self, summary: RunSummary) -> None:
        """The run ended; the summary in text follows separately."""


class PlainView:
    """Lines on stderr: each failure, and progress now and then."""

    def __init__(self, *, quiet: bool = False, hints: bool = True, library: bool = False) -> None:
        self._board = Board()
        self._quiet = quiet
        self._hints = hints
        self._library = library
        self._run = ""
        self._line_at = time.monotonic() + LINE_EVERY_S
        self._waits_since: float | None = None
        self._told: list[str] = []

    def accepted(self, run: str, name: str) -> None:
        self._run = run
        if not self._quiet:
            say(f"Run {run}  {name}".rstrip())

    def update(self, update: RunUpdate) -> None:
        self._board.take(update)
        for note in update.notes:
            say(note_line(note))
        for each in update.printed:
            self.say(printed_lines(each))
        for failure in update.failures:
            say("\n".join(failure_lines(failure, hints=self._hints)))
        self.tick()

    def tick(self) -> None:
        now = time.monotonic()
        if self._quiet or not self._board.last or not self._due(now):
            return
        self._line_at = now + LINE_EVERY_S
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        say(f"{stamp} {self._run} {self._board.line()}")

    def _due(self, now: float) -> bool:
        """Whether it is time for a line: regularly, and when a new reason to wait stays."""
        last = self._board.last
        waiting = last.waiting if last and last.workers and not last.ended else []
        if not waiting or self._board.count(*RUNNING):
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since >= WAITS_S and waiting != self._told:
            self._told = waiting
            return True
        return now >= self._line_at

    def say(self, text: str) -> None:
        if not self._quiet:
            say(text)

    def output(self, task_id: str, text: str) -> None:
        self.say(f"── {task_id}")
        print(text, file=sys.stderr if self._library else sys.stdout, flush=True)

    def close(self) -> None:
        pass

    def ended(self, summary: RunSummary) -> None:
        pass


class JsonView:
    """One JSON object per event on stdout, the result last; sentences stay on stderr."""

    def accepted(self, run: str, name: str) -> None:
        print_json({"event": "submitted", "run": run, "name": name})

    def update(self, update: RunUpdate) -> None:
        for note in update.notes:
            print_json({"event": "note", "run": update.run, "text": note})
        for each in update.printed:
            print_json({"event": "planning", "run": update.run, **plain(each)})
        for failure in update.failures:
            print_json({"event": "failure", "run": update.run, **plain(failure)})
        fields = plain(update)
        fields["families"] = {each.family: each.counts for each in update.families}
        del fields["failures"], fields["ended"], fields["notes"], fields["printed"]
        print_json({"event": "progress", **fields})

    def tick(self) -> None:
        pass

    def say(self, text: str) -> None:
        say(text)

    def output(self, task_id: str, text: str) -> None:
        print_json({"event": "output", "task_id": task_id, "text": text})

    def close(self) -> None:
        pass

    def ended(self, summary: RunSummary) -> None:
        print_json({"event": "result", **plain(summary)})


def choose(
    *,
    json: bool,
    quiet: bool,
    color: bool,
    hints: bool,
    library: bool = False,
    live: bool = True,
) -> View:
    """Pick the view; ``live``: it may move what it has shown."""
    if json:
        return JsonView()
    if live and not quiet and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from flow.client.live import LiveView

        return LiveView(color=color, hints=hints)
    return PlainView(quiet=quiet, hints=hints, library=library)
