"""What is known of a watched run, and its words: shared by every way to show progress."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flow.client.summary import duration
from flow.errors import ExitCode
from flow.visible import printable
from flow.wire.states import FailureKind

if TYPE_CHECKING:
    from flow.wire.messages.client import Failure, Printed, RunUpdate

#: Lines of a failed attempt's output that are shown.
TAIL_LINES_MAX = 15
#: Finished tasks before a rate says anything about the future.
ETA_TASKS_MIN = 3
#: In the id of a task that could not be made, so that nobody knows its true id.
UNKNOWN_ID = "?"

DONE = ("done",)
RUNNING = ("running", "leased")
RETRYING = ("backoff",)
FAILED = ("failed", "disabled", "lost", "plan_failed")
SKIPPED = ("upstream_failed", "cancelled")

#: Failure kind: how it is said.
KINDS = {
    FailureKind.FAILED: "failed",
    FailureKind.CRASHED: "crashed",
    FailureKind.TIMEOUT: "ran into its time limit",
    FailureKind.LOST: "was lost with its worker",
    FailureKind.PLANNING: "cannot be planned",
    FailureKind.UNMET: "cannot run",
    FailureKind.CODE: "must not run",
    FailureKind.DISABLED: "failed and is disabled now",
}


class Board:
    """Counts per family and the totals, from the updates seen so far."""

    def __init__(self) -> None:
        self.families: dict[str, dict[str, int]] = {}
        self.last: RunUpdate | None = None
        self._updated_at = 0.0

    def take(self, update: RunUpdate) -> None:
        """Remember an update."""
        for each in update.families:
            self.families[each.family] = each.counts
        self.last = update
        self._updated_at = time.monotonic()

    def count(self, *labels: str, family: str = "") -> int:
        """Count tasks in these states, of all families or one."""
        chosen = [self.families.get(family, {})] if family else list(self.families.values())
        return sum(counts.get(label, 0) for counts in chosen for label in labels)

    @property
    def complete(self) -> int:
        """How many tasks were complete before."""
        return self.count("complete")

    @property
    def to_run(self) -> int:
        """How many tasks this run has to run, as far as it is planned."""
        return max(0, (self.last.total if self.last else 0) - self.complete)

    @property
    def elapsed_s(self) -> float:
        """Since the run was submitted."""
        if not self.last:
            return 0.0
        return self.last.elapsed_s + time.monotonic() - self._updated_at

    @property
    def eta_s(self) -> float | None:
        """A guess from the mean rate so far."""
        done = self.count(*DONE)
        if done < ETA_TASKS_MIN or not self.last or self.last.planning:
            return None
        left = self.to_run - done - self.count(*FAILED, *SKIPPED)
        return self.elapsed_s / done * max(0, left)

    def line(self) -> str:
        """One line of progress, as in logs."""
        words = [f"{self.count(*DONE)}/{self.to_run} done", f"{self.count(*RUNNING)} running"]
        words.append(f"{self.count(*FAILED)} failed")
        if self.last and self.last.planning:
            words.append("planning")
        if self.eta_s is not None:
            words.append(f"eta {self.eta_s:.0f}s")
        if self.last and self.last.waiting and not self.count(*RUNNING):
            words.append("waiting for: " + "; ".join(self.last.waiting))
        return " ".join(words)


def note_line(note: str) -> str:
    """Spell a sentence about a run's code on its workers, as told while it goes on."""
    return printable(f"! {note}")


def printed_lines(printed: Printed) -> str:
    """Spell what user code printed while it was planned, line by line."""
    mark = f"[planning on {printed.worker}]"
    return printable("\n".join(f"{mark} {line}" for line in printed.text.split("\n")))


def failure_lines(failure: Failure, *, hints: bool = True) -> list[str]:
    """Tell one failure: what, where, why, its last output, and what to type."""
    if failure.code == ExitCode.USAGE:
        # A typing mistake: nothing was tried, so there is nothing to tell but the mistake.
        first, *more = failure.error.splitlines() or [""]
        return [printable(each) for each in (f"error: {first}", *(f"       {m}" for m in more))]
    head = [f"✗ {failure.task}  {KINDS[failure.kind]}"]
    if failure.worker:
        head.append(f"on {failure.worker}")
    if failure.run_s:
        head.append(f"after {duration(failure.run_s)}")
    line = " ".join(head)
    if failure.attempt:
        limit = f" of {failure.attempts_max}" if failure.attempts_max else ""
        line += f", attempt {failure.attempt}{limit}"
    if failure.again_in_s >= 0:
        line += f", again in {duration(failure.again_in_s)}"
    lines = [line]
    first, *more = failure.error.splitlines() or [""]
    if first:
        lines.append(f"    {first}" + (f"     {failure.where}" if failure.where else ""))
    lines += [f"    {each}" for each in more]
    lines += [f"    | {each}" for each in failure.tail.splitlines()[-TAIL_LINES_MAX:]]
    if hints and failure.task_id and UNKNOWN_ID not in failure.task_id:
        lines.append(f"    flow why '{failure.task_id}'")
    return [printable(each) for each in lines]
