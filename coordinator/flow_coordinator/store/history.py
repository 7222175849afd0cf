"""What ended runs left: read it back, and delete the oldest in bounded pieces."""

from __future__ import annotations

import sqlite3
from typing import cast

from flow.wire.states import RunState
from flow_coordinator.store.base import ProgressRow, RunRow, TaskRow
from flow_coordinator.store.closure import NUMBERS_A_QUERY, Walk, roots_of_active

RUN_COLUMNS = "number, submit_key, project, state, submitted_at, ended_at, roots, body"
TASK_COLUMNS = "number, run, family, policy, task_id, params, upstream"
PROGRESS_COLUMNS = "number, state, attempt, failures, crashes, token, worker, changed_at, rare"
#: Tasks visited a call while it is found out what active runs still need: some 0.1 s.
WALK_ROWS_MAX = 50_000
#: A pass is not worth its walk before the runs to delete are this share of those to keep.
EXCESS_SHARE = 0.1

_TASK_WIDTH = TASK_COLUMNS.count(",") + 1


def runs_ended(conn: sqlite3.Connection, limit: int) -> list[RunRow]:
    """Read ended runs, newest end first."""
    return conn.execute(
        f"SELECT {RUN_COLUMNS} FROM run WHERE state != ? "
        "ORDER BY ended_at DESC, number DESC LIMIT ?",
        (int(RunState.RUNNING), limit),
    ).fetchall()


def run_by_key(conn: sqlite3.Connection, key: str) -> RunRow | None:
    """Find the newest run with this submit key."""
    found = conn.execute(
        f"SELECT {RUN_COLUMNS} FROM run WHERE submit_key = ? ORDER BY number DESC LIMIT 1", (key,)
    ).fetchone()
    return cast("RunRow | None", found)


def tasks_of(conn: sqlite3.Connection, run: int, limit: int) -> list[tuple[TaskRow, ProgressRow]]:
    """Read the tasks a run planned, by number; one without progress is not listed."""
    task = ", ".join(f"t.{name}" for name in TASK_COLUMNS.split(", "))
    progress = ", ".join(f"p.{name}" for name in PROGRESS_COLUMNS.split(", "))
    rows = conn.execute(
        f"SELECT {task}, {progress} FROM task t JOIN progress p ON p.number = t.number "
        "WHERE t.run = ? ORDER BY t.number LIMIT ?",
        (run, limit),
    )
    return [(row[:_TASK_WIDTH], row[_TASK_WIDTH:]) for row in rows]


class Pruner:
    """Deletes the tasks of old ended runs, save those that active runs still depend on.

    One pass: list the runs beyond the limit, walk what active runs need, delete the rest. Each
    call does a bounded piece of it. A run goes when its last task row is gone.
    """

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._runs: list[int] = []
        self._walk: Walk | None = None
        self._condemned: list[int] = []
        #: (runs kept, ended runs left) after the last pass: nothing new, nothing to do.
        self._settled: tuple[int, int] | None = None

    def prune(self, keep_runs: int, rows_max: int) -> int:
        """Do one piece inside the caller's transaction; return how many tasks it deletes.

        0 can mean that the walk needs more calls. Call ``settle`` after the commit.
        """
        if not self._runs and not self._begin(keep_runs):
            return 0
        if self._walk is not None:
            if not self._walk.step(max(rows_max, WALK_ROWS_MAX)):
                return 0
            self._condemn(self._walk.seen)
            self._walk = None
        batch = self._condemned[-rows_max:] if rows_max > 0 else []
        self._remember_used()
        for start in range(0, len(batch), NUMBERS_A_QUERY):
            numbers = batch[start : start + NUMBERS_A_QUERY]
            marks = ",".join("?" * len(numbers))
            for table in ("progress", "task"):
                self._conn.execute(f"DELETE FROM {table} WHERE number IN ({marks})", numbers)
        if len(batch) == len(self._condemned):
            self._conn.executemany(
                "DELETE FROM run WHERE number = ?1 "
                "AND NOT EXISTS (SELECT 1 FROM task WHERE run = ?1)",
                [(run,) for run in self._runs],
            )
            self._conn.executemany(
                "DELETE FROM roots WHERE run = ?1 "
                "AND NOT EXISTS (SELECT 1 FROM run WHERE number = ?1)",
                [(run,) for run in self._runs],
            )
        return len(batch)

    def settle(self, keep_runs: int, deleted: int) -> None:
        """Forget what the committed piece deleted."""
        if self._walk is not None or not self._runs:
            return
        del self._condemned[len(self._condemned) - deleted :]
        if not self._condemned:
            self._runs = []
            self._settled = (keep_runs, self._count_ended())

    def _begin(self, keep_runs: int) -> bool:
        if self._settled == (keep_runs, self._count_ended()):
            return False
        rows = self._conn.execute(
            "SELECT number FROM run WHERE state != ? "
            "ORDER BY ended_at DESC, number DESC LIMIT -1 OFFSET ?",
            (int(RunState.RUNNING), keep_runs),
        )
        runs = [number for (number,) in rows]
        if not runs or len(runs) < EXCESS_SHARE * keep_runs:
            return False
        self._runs = runs
        self._walk = Walk(self._conn, roots_of_active(self._conn, int(RunState.RUNNING)))
        return True

    def _condemn(self, needed: set[int]) -> None:
        for run in self._runs:
            tasks = self._conn.execute("SELECT number FROM task WHERE run = ?", (run,))
            self._condemned.extend(number for (number,) in tasks if number not in needed)

    def _count_ended(self) -> int:
        (count,) = self._conn.execute(
            "SELECT count(*) FROM run WHERE state != ?", (int(RunState.RUNNING),)
        ).fetchone()
        return int(count)

    def _remember_used(self) -> None:
        # Numbers are never given twice, also when the rows with the highest ones are gone.
        for kind in ("task", "run"):
            self._conn.execute(
                "INSERT OR REPLACE INTO used SELECT ?1, max("
                "  coalesce((SELECT next FROM used WHERE kind = ?1), 0),"
                f" coalesce((SELECT max(number) + 1 FROM {kind}), 0))",
                (kind,),
            )
