"""The store's contract: rows in, rows out, one transaction per loop turn.

One writer. ``commit`` is all or nothing and durable when it returns. Every backend passes
``tests/conformance``. Rows are plain tuples in the column order written at each field: the hot path
writes hundreds a turn and reads them only at a start.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

#: (number, project, module, family)
FamilyRow = tuple[int, str, str, str]
#: (number, blob)
PolicyRow = tuple[int, bytes]
#: (number, run number that planned it, family number, policy number or -1, task_id, params,
#:  upstream task numbers as packed little-endian uint64)
TaskRow = tuple[int, int, int, int, str, bytes, bytes]
#: (task number, state, attempt, failures, crashes, token or None, worker uid or None,
#:  UTC seconds of the change, blob of rarely used fields or None)
ProgressRow = tuple[int, int, int, int, int, str | None, str | None, float, bytes | None]
#: (number, submit key, project, state, submitted UTC seconds, ended UTC seconds or None,
#:  root task numbers as packed little-endian uint64, blob opaque to the store)
RunRow = tuple[int, str, str, int, float, float | None, bytes, bytes]
#: (run number, row from 1, numbers of these root tasks as packed little-endian uint64, blob): the
#: roots of a run that are not in its own row
RootsRow = tuple[int, int, bytes, bytes]
#: (uid, name, host_key, boot_id, UTC seconds of the last JOIN)
WorkerRow = tuple[str, str, str, str, float]


class Batch(msgspec.Struct):
    """Everything one loop turn changed. Each list is an upsert by its first column.

    Roots by their first two. They are deleted with their run.
    """

    families: list[FamilyRow] = []
    policies: list[PolicyRow] = []
    tasks: list[TaskRow] = []
    progress: list[ProgressRow] = []
    runs: list[RunRow] = []
    roots: list[RootsRow] = []
    workers: list[WorkerRow] = []
    workers_gone: list[str] = []  #: uids to delete
    resources: list[tuple[str, float]] = []  #: limits set live: (name, limit)
    meta: dict[str, str] = {}  #: e.g. the lease term in force

    def __bool__(self) -> bool:
        return bool(
            self.families
            or self.policies
            or self.tasks
            or self.progress
            or self.runs
            or self.roots
            or self.workers
            or self.workers_gone
            or self.resources
            or self.meta
        )


class Snapshot(msgspec.Struct):
    """What a starting coordinator reads: everything that is not ended."""

    lineage: str
    epoch: int  #: already raised durably for this start
    meta: dict[str, str]
    families: list[FamilyRow]
    policies: list[PolicyRow]
    runs: list[RunRow]  #: runs in state RUNNING, by number
    roots: list[RootsRow]  #: of those runs, by run and row
    tasks: list[TaskRow]  #: tasks reachable from the roots of those runs, by number
    progress: list[ProgressRow]  #: of those tasks, and of every task that holds a token
    workers: list[WorkerRow]
    resources: list[tuple[str, float]]
    next_task: int  #: one above the highest task number ever stored
    next_run: int
    next_family: int
    next_policy: int


class Store(Protocol):
    """Durable state of one coordinator."""

    def load(self) -> Snapshot:
        """Raise the epoch durably and read what is unfinished. Called once."""

    def commit(self, batch: Batch) -> None:
        """Write one batch durably. Raises ``StoreFull`` (nothing written) or ``StoreError``."""

    def runs_ended(self, limit: int) -> list[RunRow]:
        """Read ended runs, newest first."""

    def run_by_key(self, key: str) -> RunRow | None:
        """Find a run by its submit key, ended or not."""

    def tasks_of(self, run: int, limit: int) -> list[tuple[TaskRow, ProgressRow]]:
        """Read tasks that this run planned (history)."""

    def prune(self, keep_runs: int, rows_max: int) -> int:
        """Delete at most ``rows_max`` task rows of the oldest ended runs beyond ``keep_runs``."""

    def close(self) -> None:
        """Checkpoint and close."""
