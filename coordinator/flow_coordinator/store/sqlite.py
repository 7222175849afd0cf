"""The store in one SQLite file: one writing connection, one transaction a commit, WAL, full sync.

Who opens it holds the directory's lock until ``close``. A refused file is never written to.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from flow.errors import ConfigError, StoreError, StoreFull
from flow.wire.ids import new_lineage
from flow.wire.states import RunState
from flow_coordinator.store.base import Batch, ProgressRow, RunRow, Snapshot, TaskRow
from flow_coordinator.store.check import inspect
from flow_coordinator.store.closure import (
    Walk,
    members_of_active,
    roots_of_active,
    select_in,
)
from flow_coordinator.store.faults import NO_ROOM, damaged, no_room, refuse_removed, translated
from flow_coordinator.store.history import (
    PROGRESS_COLUMNS,
    RUN_COLUMNS,
    TASK_COLUMNS,
    Pruner,
    run_by_key,
    runs_ended,
    tasks_of,
)
from flow_coordinator.store.lock import StateLock, prepare_directory
from flow_coordinator.store.migrate import migrate

STATE_NAME = "state.db"
#: Beside the database: the highest epoch ever started, to notice a database that went back.
EPOCH_NAME = "state.epoch"
BUSY_TIMEOUT_MS = 5_000
#: 16 MB: rare enough to be cheap, small enough that no turn waits long for one checkpoint.
CHECKPOINT_PAGES = 4_000
#: A log that grew larger (a long reader, a full disk) is cut back to this.
LOG_BYTES_MAX = 64 << 20
CACHE_KIB = 8_192
#: What SQLite raises for a mistake of ours; the disk is innocent.
BUGS = (sqlite3.ProgrammingError, sqlite3.IntegrityError)

# REPLACE on an integer key without a further unique index overwrites the row in place.
_PUT_FAMILY = "INSERT OR REPLACE INTO family VALUES (?,?,?,?)"
_PUT_POLICY = "INSERT OR REPLACE INTO policy VALUES (?,?)"
_PUT_TASK = "INSERT OR REPLACE INTO task VALUES (?,?,?,?,?,?,?)"
_PUT_PROGRESS = "INSERT OR REPLACE INTO progress VALUES (?,?,?,?,?,?,?,?,?)"
_PUT_RUN = "INSERT OR REPLACE INTO run VALUES (?,?,?,?,?,?,?,?)"
_PUT_ROOTS = "INSERT OR REPLACE INTO roots VALUES (?,?,?,?)"
_PUT_WORKER = "INSERT OR REPLACE INTO worker VALUES (?,?,?,?,?)"
_PUT_RESOURCE = "INSERT OR REPLACE INTO resource VALUES (?,?)"
_PUT_META = "INSERT OR REPLACE INTO meta VALUES (?,?)"
_PUT_IDENTITY = "INSERT OR REPLACE INTO identity VALUES (?,?)"
_DROP_WORKER = "DELETE FROM worker WHERE uid = ?"


def open_store(
    state_dir: str | os.PathLike[str], *, force: bool = False, synchronous: str = "FULL"
) -> SqliteStore:
    """Lock the directory, check the file, bring its schema up to date and open it for writing.

    ``force`` accepts a network file system. ``synchronous`` is SQLite's: anything below ``FULL``
    gives up durability at a power failure, not at the end of the process.

    Raises:
        ConfigError: The directory cannot be used.
        StoreError: Another coordinator uses it, or the file is damaged or newer.
    """
    directory = prepare_directory(Path(state_dir), force=force)
    lock = StateLock(directory)
    try:
        path = directory / STATE_NAME
        if not inspect(path):
            _refuse_vanished(directory)
        elif not os.access(path, os.W_OK):
            raise ConfigError(f"{path} is not writable", hint=f"chown or chmod {path}")
        conn = _connect(path, synchronous)
        return SqliteStore(conn, directory, lock)
    except BaseException:
        lock.release()
        raise


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    conn = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
    try:
        for pragma in (
            "journal_mode = WAL",
            f"synchronous = {synchronous}",
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
            f"journal_size_limit = {LOG_BYTES_MAX}",
            f"cache_size = -{CACHE_KIB}",
            "temp_store = MEMORY",
            "mmap_size = 0",
        ):
            conn.execute(f"PRAGMA {pragma}").fetchall()
        migrate(conn, path)
    except BaseException as error:
        conn.close()
        if isinstance(error, sqlite3.Error):
            raise translated(error, path) from error
        raise
    return conn


def _refuse_vanished(directory: Path) -> None:
    mark = directory / EPOCH_NAME
    if mark.exists():
        path = directory / STATE_NAME
        raise damaged(path, f"it is missing or empty, but {EPOCH_NAME} says that it held a state")


class SqliteStore:
    """``Store`` over one file. Use ``open_store``; one thread only."""

    def __init__(self, conn: sqlite3.Connection, directory: Path, lock: StateLock) -> None:
        self._conn = conn
        self._path = directory / STATE_NAME
        self._inode = os.stat(self._path).st_ino
        self._mark = directory / EPOCH_NAME
        self._lock = lock
        self._pruner = Pruner(conn)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        conn = self._conn
        try:
            conn.execute("BEGIN IMMEDIATE")
            yield conn
            conn.execute("COMMIT")
        except BUGS:
            raise
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        finally:
            if conn.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    conn.execute("ROLLBACK")
        refuse_removed(self._path, self._inode)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._conn
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    def commit(self, batch: Batch) -> None:
        """Write one batch durably. Raises ``StoreFull`` (nothing written) or ``StoreError``."""
        with self._transaction() as conn:
            many = conn.executemany
            if batch.families:
                many(_PUT_FAMILY, batch.families)
            if batch.policies:
                many(_PUT_POLICY, batch.policies)
            if batch.tasks:
                many(_PUT_TASK, batch.tasks)
            if batch.progress:
                many(_PUT_PROGRESS, batch.progress)
            if batch.runs:
                many(_PUT_RUN, batch.runs)
            if batch.roots:
                many(_PUT_ROOTS, batch.roots)
            if batch.workers:
                many(_PUT_WORKER, batch.workers)
            if batch.workers_gone:
                many(_DROP_WORKER, [(uid,) for uid in batch.workers_gone])
            if batch.resources:
                many(_PUT_RESOURCE, batch.resources)
            if batch.meta:
                many(_PUT_META, list(batch.meta.items()))

    def load(self) -> Snapshot:
        """Raise the epoch durably and read what is unfinished. Called once.

        That is what the roots of active runs need, what else of these runs has progress, and what
        holds a token; closed under ``upstream``. A database that went back in time (a backup was
        put in its place) gets a new lineage, so that no token of the lost time is valid again.

        Cost: one scan of ``progress``, and the unfinished tasks.
        """
        lineage, epoch = self._raise_epoch()
        with self._reading() as conn:
            running = int(RunState.RUNNING)
            start = roots_of_active(conn, running) + members_of_active(conn, running)
            walk = Walk(conn, start)
            while not walk.step(len(walk.seen)):
                pass
            numbers = sorted(walk.seen)
            tasks: list[TaskRow] = [*select_in(conn, TASK_COLUMNS, "task", numbers)]
            policies = sorted({task[3] for task in tasks if task[3] >= 0})
            read = conn.execute
            return Snapshot(
                lineage=lineage,
                epoch=epoch,
                meta=dict(read("SELECT name, value FROM meta ORDER BY name")),
                families=read("SELECT * FROM family ORDER BY number").fetchall(),
                policies=[*select_in(conn, "number, body", "policy", policies)],
                runs=read(
                    f"SELECT {RUN_COLUMNS} FROM run WHERE state = ? ORDER BY number",
                    (running,),
                ).fetchall(),
                roots=read(
                    "SELECT roots.* FROM run JOIN roots ON roots.run = run.number "
                    "WHERE run.state = ? ORDER BY roots.run, roots.page",
                    (running,),
                ).fetchall(),
                tasks=tasks,
                progress=[*select_in(conn, PROGRESS_COLUMNS, "progress", numbers)],
                workers=read("SELECT * FROM worker ORDER BY uid").fetchall(),
                resources=read("SELECT * FROM resource ORDER BY name").fetchall(),
                next_task=self._next("task"),
                next_run=self._next("run"),
                next_family=self._next("family"),
                next_policy=self._next("policy"),
            )

    def _raise_epoch(self) -> tuple[str, int]:
        with self._transaction() as conn:
            known = dict(conn.execute("SELECT name, value FROM identity"))
            lineage = known.get("lineage") or new_lineage()
            epoch = int(known.get("epoch", 0))
            if self._went_back(lineage, epoch):
                lineage = new_lineage()
            epoch += 1
            conn.executemany(_PUT_IDENTITY, [("lineage", lineage), ("epoch", str(epoch))])
        self._write_mark(f"{lineage} {epoch}\n")
        return lineage, epoch

    def _went_back(self, lineage: str, epoch: int) -> bool:
        try:
            marked_lineage, marked_epoch = self._mark.read_text().split()
            return marked_lineage != lineage or int(marked_epoch) > epoch
        except FileNotFoundError:
            return False
        except ValueError:
            return True  # unreadable: a new lineage costs a re-run, an old one could collide

    def _write_mark(self, text: str) -> None:
        fresh = self._mark.with_suffix(".epoch.new")
        try:
            with fresh.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._mark)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise no_room(self._mark) from error
            raise StoreError(
                f"cannot write {self._mark}: {error.strerror}",
                hint="check the disk (dmesg), then start again",
            ) from error

    def _next(self, table: str) -> int:
        (highest,) = self._conn.execute(f"SELECT max(number) FROM {table}").fetchone()
        used = self._conn.execute("SELECT next FROM used WHERE kind = ?", (table,)).fetchone()
        return max(1, (highest or 0) + 1, used[0] if used else 0)

    def runs_ended(self, limit: int) -> list[RunRow]:
        """Read ended runs, newest first."""
        with self._reading() as conn:
            return runs_ended(conn, limit)

    def run_by_key(self, key: str) -> RunRow | None:
        """Find a run by its submit key, ended or not."""
        with self._reading() as conn:
            return run_by_key(conn, key)

    def tasks_of(self, run: int, limit: int) -> list[tuple[TaskRow, ProgressRow]]:
        """Read tasks that this run planned (history)."""
        with self._reading() as conn:
            return tasks_of(conn, run, limit)

    def prune(self, keep_runs: int, rows_max: int) -> int:
        """Delete at most ``rows_max`` task rows of the oldest ended runs beyond ``keep_runs``.

        What active runs depend on stays. A pass begins with a walk over it, which is done in
        pieces too: such a call returns 0. No pass begins before a tenth of ``keep_runs`` can go.
        """
        try:
            with self._transaction():
                deleted = self._pruner.prune(keep_runs, rows_max)
        except StoreFull:
            return 0  # deleting needs room in the log first; it can wait, as nobody asked for it
        self._pruner.settle(keep_runs, deleted)
        return deleted

    def close(self) -> None:
        """Checkpoint and close; without room for it the next start replays the log."""
        with contextlib.suppress(sqlite3.Error):
            self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._conn.close()
        self._lock.release()
