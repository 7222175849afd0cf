"""Read what tasks wrote (``ledger_writer``) and find what must never be there."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.support import ledger_writer


class Line(NamedTuple):
    """One line of the ledger."""

    word: str
    task: str
    token: str
    attempt: str
    pid: int
    at_ns: int  #: CLOCK_BOOTTIME
    detail: str


class Execution(NamedTuple):
    """One execution of ``run()``; ``ended_ns`` is None when it was killed or raised."""

    task: str
    token: str
    attempt: int
    pid: int
    started_ns: int
    ended_ns: int | None


class Ledger:
    """The ledger beside a task module."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "ledger"
        self._gates = directory / "gates"
        self._gates.mkdir(parents=True, exist_ok=True)
        shutil.copy(ledger_writer.__file__, directory / "ledger_writer.py")

    def open_gate(self, name: str) -> None:
        """Let the tasks that wait for this gate continue."""
        (self._gates / name).touch()

    def lines(self, word: str = "", task: str = "") -> list[Line]:
        """Return the lines so far, in the order they were written."""
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return []
        found = []
        for line in text.splitlines():
            fields = line.split("\t")
            assert len(fields) == len(Line._fields), f"torn line in the ledger: {line!r}"
            one = Line(*fields[:4], int(fields[4]), int(fields[5]), fields[6])  # type: ignore[arg-type]
            if (not word or one.word == word) and (not task or one.task == task):
                found.append(one)
        return found

    def executions(self, task: str = "") -> list[Execution]:
        """Pair starts with their ends, by token, process and order."""
        open_ones: dict[tuple[str, str, int], Line] = {}
        found: list[Execution] = []

        def close(start: Line, ended_ns: int | None) -> None:
            found.append(
                Execution(
                    start.task,
                    start.token,
                    _number(start.attempt),
                    start.pid,
                    start.at_ns,
                    ended_ns,
                )
            )

        for line in self.lines(task=task):
            key = (line.task, line.token, line.pid)
            if line.word == "start":
                if key in open_ones:
                    close(open_ones.pop(key), None)
                open_ones[key] = line
            elif line.word == "end":
                close(open_ones.pop(key), line.at_ns)
        for start in open_ones.values():
            close(start, None)
        return sorted(found, key=lambda one: one.started_ns)

    def started(self) -> list[str]:
        """Return the tasks that started, once for each execution, in order."""
        return [line.task for line in self.lines("start")]

    def ended(self) -> set[str]:
        """Return the tasks that reached their end at least once."""
        return {line.task for line in self.lines("end")}

    def overlaps(self) -> list[str]:
        """Describe every moment at which one task executed twice."""
        found = [f"{line.task}: lock taken at {line.at_ns}" for line in self.lines("overlap")]
        by_task: dict[str, list[Execution]] = {}
        for one in self.executions():
            by_task.setdefault(one.task, []).append(one)
        for task, executions in by_task.items():
            for before, after in itertools.pairwise(executions):
                if before.ended_ns is not None and before.ended_ns > after.started_ns:
                    found.append(f"{task}: {before} and {after}")
        return found

    def most_at_once(self, tasks: Iterable[str]) -> int:
        """Return how many of these executed at the same time at most (all must have ended)."""
        wanted = set(tasks)
        moments: list[tuple[int, int]] = []
        for one in self.executions():
            if one.task in wanted:
                assert one.ended_ns is not None, f"no end: {one}"
                moments += [(one.started_ns, 1), (one.ended_ns, -1)]
        return max(itertools.accumulate(step for _, step in sorted(moments)), default=0)

    def check(self, done: Iterable[str] = (), once: bool = False) -> None:
        """Fail on an overlap, on a done task without end, on a token used twice.

        Args:
            done: Tasks that were reported done.
            once: Each of them executed exactly one time.
        """
        assert not self.overlaps(), self.overlaps()
        wanted = list(done)
        missing = sorted(set(wanted) - self.ended())
        assert not missing, f"reported done, never ended: {missing[:20]} ({len(missing)})"
        starts = [(line.task, line.token) for line in self.lines("start") if line.token != "-"]
        twice = [one for one, count in Counter(starts).items() if count > 1]
        assert not twice, f"one token started twice: {twice[:10]}"
        if once:
            started = self.started()
            assert sorted(started) == sorted(wanted), _difference(started, wanted)


def _difference(started: list[str], wanted: list[str]) -> str:
    more, fewer = Counter(started) - Counter(wanted), Counter(wanted) - Counter(started)
    return f"started too often: {dict(more)}; too seldom: {dict(fewer)}"


def _number(attempt: str) -> int:
    return int(attempt) if attempt.isdecimal() else 0
