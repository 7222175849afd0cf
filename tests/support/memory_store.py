"""The reference store: plain dicts, with the crash semantics of a real one.

What ``commit`` accepted is there after ``reopen``; what it refused never was. The simulation uses
it in place of a disk, so a commit is nothing but dict updates.
"""

from __future__ import annotations

from array import array

import msgspec

from flow.errors import StoreError, StoreFull
from flow.wire.ids import new_lineage
from flow.wire.states import RunState
from flow_coordinator.store.base import (
    Batch,
    FamilyRow,
    PolicyRow,
    ProgressRow,
    RootsRow,
    RunRow,
    Snapshot,
    TaskRow,
    WorkerRow,
)


class Disk(msgspec.Struct):
    """What survives a crash."""

    lineage: str
    epoch: int = 0
    families: dict[int, FamilyRow] = {}
    policies: dict[int, PolicyRow] = {}
    tasks: dict[int, TaskRow] = {}
    progress: dict[int, ProgressRow] = {}
    runs: dict[int, RunRow] = {}
    roots: dict[tuple[int, int], RootsRow] = {}
    workers: dict[str, WorkerRow] = {}
    resources: dict[str, float] = {}
    meta: dict[str, str] = {}
    next_task: int = 1
    next_run: int = 1


class MemoryStore:
    """``Store`` in memory. ``lineage`` is given where a run must repeat exactly."""

    def __init__(self, disk: Disk | None = None, *, lineage: str = "") -> None:
        self.disk = disk or Disk(lineage=lineage or new_lineage())
        self.commits = 0  #: accepted so far, by this opening
        self._full_left = 0
        self._broken = False
        self._open = True

    def reopen(self) -> MemoryStore:
        """Crash: this store is dead from now on, and a new one has what was committed."""
        self._open = False
        return MemoryStore(self.disk)

    def fail_next(self, commits: int) -> None:
        """Refuse this many commits with ``StoreFull``, nothing written."""
        self._full_left = commits

    def break_disk(self) -> None:
        """Refuse everything with ``StoreError`` from now on."""
        self._broken = True

    def _check(self) -> None:
        if not self._open:
            raise AssertionError("this store was closed")
        if self._broken:
            raise StoreError("simulated I/O error")

    def commit(self, batch: Batch) -> None:
        """Write one batch, or refuse it whole."""
        self._check()
        if self._full_left:
            self._full_left -= 1
            raise StoreFull("simulated full disk")
        disk = self.disk
        if batch.families:
            disk.families.update({row[0]: row for row in batch.families})
        if batch.policies:
            disk.policies.update({row[0]: row for row in batch.policies})
        if batch.tasks:
            disk.tasks.update({row[0]: row for row in batch.tasks})
        if batch.progress:
            disk.progress.update({row[0]: row for row in batch.progress})
        if batch.runs:
            disk.runs.update({row[0]: row for row in batch.runs})
        if batch.roots:
            disk.roots.update({row[:2]: row for row in batch.roots})
        if batch.workers:
            disk.workers.update({row[0]: row for row in batch.workers})
        for uid in batch.workers_gone:
            disk.workers.pop(uid, None)
        disk.resources.update(batch.resources)
        disk.meta.update(batch.meta)
        self.commits += 1

    def load(self) -> Snapshot:
        """Raise the epoch and return what is unfinished."""
        self._check()
        disk = self.disk
        disk.epoch += 1
        self._note_used()
        numbers = sorted(self._needed())
        tasks = [disk.tasks[n] for n in numbers if n in disk.tasks]
        return Snapshot(
            lineage=disk.lineage,
            epoch=disk.epoch,
            meta=dict(sorted(disk.meta.items())),
            families=[disk.families[n] for n in sorted(disk.families)],
            policies=[
                disk.policies[n] for n in sorted({t[3] for t in tasks}) if n in disk.policies
            ],
            runs=[disk.runs[n] for n in sorted(disk.runs) if _is_active(disk.runs[n])],
            roots=[row for _, row in sorted(self._roots().items())],
            tasks=tasks,
            progress=[disk.progress[n] for n in numbers if n in disk.progress],
            workers=[disk.workers[uid] for uid in sorted(disk.workers)],
            resources=sorted(disk.resources.items()),
            next_task=disk.next_task,
            next_run=disk.next_run,
            next_family=max(disk.families, default=0) + 1,
            next_policy=max(disk.policies, default=0) + 1,
        )

    def _roots(self) -> dict[tuple[int, int], RootsRow]:
        """Return the further roots of active runs."""
        runs = self.disk.runs
        return {key: row for key, row in self.disk.roots.items() if _is_active(runs[key[0]])}

    def _note_used(self) -> None:
        self.disk.next_task = max(self.disk.next_task, max(self.disk.tasks, default=0) + 1)
        self.disk.next_run = max(self.disk.next_run, max(self.disk.runs, default=0) + 1)

    def _needed(self) -> set[int]:
        disk = self.disk
        ahead = [n for n, row in disk.progress.items() if row[5] is not None]
        for row in disk.runs.values():
            if _is_active(row):
                ahead.extend(_numbers(row[6]))
        for roots in self._roots().values():
            ahead.extend(_numbers(roots[2]))
        active = {number for number, row in disk.runs.items() if _is_active(row)}
        ahead += [n for n in disk.progress if n in disk.tasks and disk.tasks[n][1] in active]
        seen = set(ahead)
        while ahead:
            task = disk.tasks.get(ahead.pop())
            for number in _numbers(task[6]) if task else ():
                if number not in seen:
                    seen.add(number)
                    ahead.append(number)
        return seen

    def runs_ended(self, limit: int) -> list[RunRow]:
        """Return ended runs, newest end first."""
        self._check()
        ended = [row for row in self.disk.runs.values() if not _is_active(row)]
        return sorted(ended, key=lambda row: (row[5] or 0.0, row[0]), reverse=True)[:limit]

    def run_by_key(self, key: str) -> RunRow | None:
        """Return the newest run with this submit key."""
        self._check()
        return max((row for row in self.disk.runs.values() if row[1] == key), default=None)

    def tasks_of(self, run: int, limit: int) -> list[tuple[TaskRow, ProgressRow]]:
        """Return the tasks a run planned, by number."""
        self._check()
        disk = self.disk
        numbers = sorted(n for n, row in disk.tasks.items() if row[1] == run)
        return [(disk.tasks[n], disk.progress[n]) for n in numbers if n in disk.progress][:limit]

    def prune(self, keep_runs: int, rows_max: int) -> int:
        """Delete tasks of the oldest ended runs that no active run needs."""
        self._check()
        self._note_used()
        needed = self._needed()
        deleted = 0
        for run in [row[0] for row in self.runs_ended(len(self.disk.runs))[keep_runs:]]:
            own = [n for n, row in self.disk.tasks.items() if row[1] == run]
            for number in [n for n in own if n not in needed][: rows_max - deleted]:
                del self.disk.tasks[number]
                self.disk.progress.pop(number, None)
                deleted += 1
            if not any(row[1] == run for row in self.disk.tasks.values()):
                del self.disk.runs[run]
                for key in [key for key in self.disk.roots if key[0] == run]:
                    del self.disk.roots[key]
        return deleted

    def close(self) -> None:
        """End the use of this opening."""
        self._open = False


def _is_active(run: RunRow) -> bool:
    return run[3] == RunState.RUNNING


def _numbers(packed: bytes) -> array[int]:
    numbers = array("Q")
    numbers.frombytes(packed)
    return numbers
