"""The live block at the bottom of a terminal: a bar per family, failures scrolling above."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from flow.client.board import (
    DONE,
    FAILED,
    RETRYING,
    RUNNING,
    SKIPPED,
    Board,
    failure_lines,
    note_line,
    printed_lines,
)
from flow.client.summary import duration

if TYPE_CHECKING:
    from flow.wire.messages.client import RunSummary, RunUpdate

BAR_CHARS = 20
FAMILIES_MAX = 12
FAMILY_CHARS_MAX = 30
#: Between two drawings when nothing changed.
DRAW_EVERY_S = 0.5


class LiveView:
    """A block that is redrawn in place on stderr and vanishes before the summary."""

    def __init__(self, *, color: bool = True, hints: bool = True) -> None:
        self._console = Console(stderr=True, no_color=not color or None, highlight=False)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._board = Board()
        self._hints = hints
        self._planned = False
        self._drawn_at = 0.0

    def accepted(self, run: str, name: str) -> None:
        self._console.print(Text.assemble("Run ", (run, "bold"), f"  {name}"))
        self._live.start()

    def update(self, update: RunUpdate) -> None:
        board = self._board
        board.take(update)
        if not self._planned and not update.planning and update.total:
            self._planned = True
            found = f"{update.total} tasks: {board.complete} already complete, "
            self.say(f"{found}{board.to_run} to run")
        for note in update.notes:
            self._console.print(Text(note_line(note), "yellow"), soft_wrap=True)
        for each in update.printed:
            self.say(printed_lines(each))
        for failure in update.failures:
            first, *more = failure_lines(failure, hints=self._hints)
            self._console.print(Text(first, "red"))
            for line in more:
                self._console.print(Text(line), soft_wrap=True)
        self._draw()

    def tick(self) -> None:
        if self._board.last and time.monotonic() - self._drawn_at >= DRAW_EVERY_S:
            self._draw()

    def say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def output(self, task_id: str, text: str) -> None:
        self._console.print(Text(f"── {task_id}", style="dim"), soft_wrap=True)
        if sys.stdout.isatty():
            self._console.print(Text(text), soft_wrap=True)
        else:
            print(text, flush=True)

    def close(self) -> None:
        self._live.stop()

    def ended(self, summary: RunSummary) -> None:
        pass

    def _draw(self) -> None:
        if not self._live.is_started:
            return
        self._drawn_at = time.monotonic()
        self._live.update(Group(*self._block()), refresh=True)

    def _block(self) -> list[Text]:
        names = self._shown()
        width = min(FAMILY_CHARS_MAX, max((len(name) for name in names), default=0))
        lines = [self._family(name, width) for name in names]
        more = len(self._board.families) - len(names)
        if more > 0:
            lines.append(Text(f"  … and {more} more families", "dim"))
        lines.append(Text("  " + "─" * 62, "dim"))
        lines.append(self._total())
        for each in lines:
            each.no_wrap, each.overflow = True, "ellipsis"
        return lines

    def _shown(self) -> list[str]:
        """Families with something to run; those where something happens first, if many."""
        board = self._board
        names = [
            name
            for name, counts in board.families.items()
            if sum(counts.values()) > counts.get("complete", 0)
        ]
        room = max(1, min(FAMILIES_MAX, self._console.height - 4))
        if len(names) <= room:
            return names

        def quiet(name: str) -> int:
            return -board.count(*RUNNING, *RETRYING, *FAILED, family=name)

        busy = set(sorted(names, key=quiet)[:room])
        return [name for name in names if name in busy]

    def _family(self, name: str, width: int) -> Text:
        board = self._board
        total = sum(board.families[name].values()) - board.count("complete", family=name)
        done = board.count(*DONE, family=name)
        full = done * BAR_CHARS // total if total else BAR_CHARS
        words = [
            f"{count} {word}"
            for labels, word in (
                (RUNNING, "running"),
                (RETRYING, "retrying"),
                (FAILED, "failed"),
                (SKIPPED, "skipped"),
            )
            if (count := board.count(*labels, family=name))
        ]
        failed = board.count(*FAILED, family=name)
        return Text.assemble(
            f"  {name[:FAMILY_CHARS_MAX].ljust(width)}  ",
            ("█" * full, "red" if failed else "green"),
            ("░" * (BAR_CHARS - full), "dim"),
            f"  {done:>4}/{total:<6}",
            "  ".join(words) or ("" if done == total else "waiting"),
        )

    def _total(self) -> Text:
        board, last = self._board, self._board.last
        assert last is not None
        words = [f"  {board.count(*DONE)} of {board.to_run} done   {duration(board.elapsed_s)}"]
        if last.planning:
            words.append("planning …")
        elif board.eta_s is not None:
            words.append(f"ETA {duration(board.eta_s)}")
        if last.slots:
            words.append(f"{last.busy}/{last.slots} slots")
        if last.waiting:
            words.append("waiting for: " + "; ".join(last.waiting))
        return Text("   ".join(words))
