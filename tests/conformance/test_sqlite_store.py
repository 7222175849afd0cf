"""What only a store on a disk can meet: other processes, damage, upgrades, a full disk, kill -9."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.errors import ConfigError, ExitCode, StoreError, StoreFull
from flow.wire.states import RunState
from flow_coordinator.store import lock, migrate
from flow_coordinator.store.base import Batch
from flow_coordinator.store.check import CHECK_S_MAX, inspect
from flow_coordinator.store.faults import translated
from flow_coordinator.store.sqlite import EPOCH_NAME, STATE_NAME, open_store
from tests.support import disks
from tests.support.rows import progress_row, run_row, task_row

#: Opens the store named in argv, and commits one more task at a time, saying so after each.
WRITER = """
import sys
from flow_coordinator.store.base import Batch
from flow_coordinator.store.sqlite import open_store
from tests.support.rows import progress_row, run_row, task_row
store = open_store(sys.argv[1])
first = store.load().next_task
last = first + int(sys.argv[2])
for n in range(first, last):
    roots = run_row(1, *range(1, n + 1))
    store.commit(Batch(tasks=[task_row(n)], progress=[progress_row(n)], runs=[roots]))
    print(n, flush=True)
print("waiting", flush=True)
sys.stdin.readline()
"""
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def writers() -> Iterator[list[subprocess.Popen[str]]]:
    """Collect child processes; none outlives its test."""
    made: list[subprocess.Popen[str]] = []
    yield made
    for child in made:
        child.kill()
        child.communicate()


def start_writer(
    writers: list[subprocess.Popen[str]], directory: Path, commits: int
) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), str(commits)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    writers.append(child)
    return child


def read_until(child: subprocess.Popen[str], word: str) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == word:
            return
    raise AssertionError(f"the writer ended ({child.wait()}) before it said {word!r}")


def fill(directory: Path, tasks: int = 300) -> None:
    """Leave a closed state with one run."""
    store = open_store(directory)
    store.load()
    numbers = range(1, tasks + 1)
    store.commit(
        Batch(
            tasks=[task_row(n) for n in numbers],
            progress=[progress_row(n) for n in numbers],
            runs=[run_row(1, *numbers)],
        )
    )
    store.close()


def files_of(directory: Path) -> dict[str, bytes]:
    """Read everything that a refusal must leave as it was."""
    return {
        path.name: path.read_bytes()
        for path in sorted(directory.iterdir())
        if path.name in (STATE_NAME, STATE_NAME + "-wal", EPOCH_NAME) and path.stat().st_size
    }


def refused(directory: Path) -> StoreError:
    """Open, expect a refusal that changes no byte and leaves no lock."""
    before = files_of(directory)
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            open_store(directory).load()
        assert caught.value.exit_code == ExitCode.CONFIG
        assert caught.value.hint
        assert "locked" not in str(caught.value)
    assert files_of(directory) == before
    return caught.value


# ------------------------------------------------------------------------------------ one owner


def test_open_while_another_process_holds_it_names_pid_and_host(
    tmp_path: Path, writers: list[subprocess.Popen[str]]
) -> None:
    child = start_writer(writers, tmp_path, 1)
    read_until(child, "waiting")
    with pytest.raises(StoreError, match=rf"locked by pid {child.pid} on host \S+ since 2"):
        open_store(tmp_path)
    child.kill()
    child.wait()
    store = open_store(tmp_path)
    assert store.load().next_task == 2
    store.close()


def test_open_twice_in_one_process_is_refused(tmp_path: Path) -> None:
    first = open_store(tmp_path)
    with pytest.raises(StoreError, match=f"locked by pid {os.getpid()} "):
        open_store(tmp_path)
    first.close()
    open_store(tmp_path).close()


def test_kill_in_the_middle_of_commits_keeps_everything_acknowledged(
    tmp_path: Path, writers: list[subprocess.Popen[str]]
) -> None:
    acknowledged = 0
    for kills in range(1, 6):
        child = start_writer(writers, tmp_path, 1_000_000)
        read_until(child, str(acknowledged + 5 * kills))
        os.kill(child.pid, signal.SIGKILL)
        assert child.stdout is not None
        rest = child.stdout.read()  # communicate() would lose what was read ahead
        child.wait()
        said = [int(line) for line in rest.split("\n")[:-1] if line]
        acknowledged = max([acknowledged + 5 * kills, *said])
        store = open_store(tmp_path)
        snapshot = store.load()
        store.close()
        # The commit that was under way may be there too: whole, or not at all.
        assert snapshot.next_task - 1 in (acknowledged, acknowledged + 1)
        assert [row[0] for row in snapshot.tasks] == list(range(1, snapshot.next_task))
        assert [row[0] for row in snapshot.progress] == [row[0] for row in snapshot.tasks]
        acknowledged = snapshot.next_task - 1


# -------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("keep_bytes", [1, 100, 4096, 8192, 30_000])
def test_open_of_truncated_file_is_refused(tmp_path: Path, keep_bytes: int) -> None:
    fill(tmp_path)
    os.truncate(tmp_path / STATE_NAME, keep_bytes)
    assert "damaged" in str(refused(tmp_path))


@pytest.mark.parametrize("remains", ["empty", "missing"])
def test_open_where_the_file_vanished_never_starts_from_nothing(
    tmp_path: Path, remains: str
) -> None:
    fill(tmp_path)
    if remains == "empty":
        os.truncate(tmp_path / STATE_NAME, 0)
    else:
        (tmp_path / STATE_NAME).unlink()
    assert "missing or empty" in str(refused(tmp_path))


def test_open_of_flipped_page_header_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / STATE_NAME
    data = bytearray(path.read_bytes())
    page_bytes = int.from_bytes(data[16:18], "big")
    for page in range(1, len(data) // page_bytes):
        data[page * page_bytes] ^= 0x55
    path.write_bytes(data)
    assert "damaged" in str(refused(tmp_path))


def test_open_of_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / STATE_NAME).write_text("not a database, but long enough for a header\n" * 100)
    assert "damaged" in str(refused(tmp_path))


def test_open_of_another_programs_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / STATE_NAME) as conn:
        conn.execute("CREATE TABLE theirs (a)")
    conn.close()
    assert "another program" in str(refused(tmp_path))


def test_open_of_newer_schema_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    conn = sqlite3.connect(tmp_path / STATE_NAME)
    conn.execute("PRAGMA user_version = 99")
    conn.close()
    assert "has schema 99" in str(refused(tmp_path))


def crashed_log(tmp_path: Path, writers: list[subprocess.Popen[str]], commits: int) -> Path:
    """Leave a log of many commits behind, as a killed coordinator does."""
    child = start_writer(writers, tmp_path, commits)
    read_until(child, "waiting")
    child.kill()
    child.wait()
    return tmp_path / (STATE_NAME + "-wal")


@pytest.mark.parametrize("offset_bytes", [20, 32 + 4120 * 30 + 500, 32 + 4120 * 30 + 10])
def test_open_of_log_with_flipped_bit_before_later_commits_is_refused(
    tmp_path: Path, writers: list[subprocess.Popen[str]], offset_bytes: int
) -> None:
    log = crashed_log(tmp_path, writers, 40)
    data = bytearray(log.read_bytes())
    data[offset_bytes] ^= 1
    log.write_bytes(data)
    assert "write-ahead log" in str(refused(tmp_path))


def test_open_of_log_torn_in_its_last_commit_goes_on_before_it(
    tmp_path: Path, writers: list[subprocess.Popen[str]]
) -> None:
    log = crashed_log(tmp_path, writers, 40)
    os.truncate(log, log.stat().st_size - 1000)
    store = open_store(tmp_path)
    assert store.load().next_task == 40
    store.close()


def test_open_of_replaced_older_database_gets_a_new_lineage(tmp_path: Path) -> None:
    fill(tmp_path)
    backup = (tmp_path / STATE_NAME).read_bytes()
    store = open_store(tmp_path)
    lost = store.load()
    store.close()
    (tmp_path / STATE_NAME).write_bytes(backup)
    store = open_store(tmp_path)
    back = store.load()
    store.close()
    assert back.lineage != lost.lineage
    store = open_store(tmp_path)
    assert store.load().lineage == back.lineage
    store.close()


def test_page_check_without_time_accepts_what_it_could_read(tmp_path: Path) -> None:
    fill(tmp_path, tasks=20_000)
    assert inspect(tmp_path / STATE_NAME, check_s_max=0.0)
    assert CHECK_S_MAX > 0


# ------------------------------------------------------------------------------------ directory


def test_open_where_parent_is_missing_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist") as caught:
        open_store(tmp_path / "typo" / "state")
    assert caught.value.exit_code == ExitCode.CONFIG
    assert "mkdir -p" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_open_of_missing_directory_creates_it_private(tmp_path: Path) -> None:
    store = open_store(tmp_path / "state")
    store.close()
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_open_of_a_file_as_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(ConfigError, match="not a directory"):
        open_store(tmp_path / "state")


def test_open_of_directory_without_write_permission_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="Permission denied"):
        open_store(tmp_path)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs", "fuse.s3fs"])
def test_open_on_network_file_system_needs_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        f"2 1 0:9 / {str(tmp_path).replace(' ', chr(92) + '040')} rw shared:1 - {kind} there rw\n"
    )
    monkeypatch.setattr(lock, "MOUNTS", table)
    with pytest.raises(ConfigError, match=kind):
        open_store(tmp_path / "state")
    open_store(tmp_path / "state", force=True).close()


def test_filesystem_type_takes_the_deepest_and_latest_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        "2 1 0:9 / /data rw - nfs4 there rw\n"
        "3 1 0:9 / /data\\040here rw - cifs there rw\n"
        "4 2 8:2 / /data/local rw - tmpfs none rw\n"
        "5 2 8:2 / /data/local rw - xfs /dev/b rw\n"
    )
    monkeypatch.setattr(lock, "MOUNTS", table)
    seen = {
        name: lock.filesystem_type(Path(name))
        for name in ("/data", "/data/x", "/data2", "/data here/x", "/data/local/y", "/")
    }
    assert seen == {
        "/data": "nfs4",
        "/data/x": "nfs4",
        "/data2": "ext4",
        "/data here/x": "cifs",
        "/data/local/y": "xfs",
        "/": "ext4",
    }


# ------------------------------------------------------------------------------------- full disk


def big_batch(first: int) -> Batch:
    numbers = range(first, first + 2_000)
    return Batch(
        tasks=[task_row(n) for n in numbers],
        progress=[progress_row(n) for n in numbers],
        runs=[run_row(1, *range(1, first + 2_000))],
    )


def test_commit_beyond_page_limit_is_refused_whole_and_works_later(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.load()
    store.commit(big_batch(1))
    conn = store._conn
    (pages,) = conn.execute("PRAGMA page_count").fetchone()
    (unlimited,) = conn.execute("PRAGMA max_page_count").fetchone()
    conn.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(3):
        with pytest.raises(StoreFull) as caught:
            store.commit(big_batch(2_001))
        assert caught.value.retryable
        assert len(store.tasks_of(1, 10_000)) == 2_000
    conn.execute(f"PRAGMA max_page_count = {unlimited}")
    store.commit(big_batch(2_001))
    store.close()
    store = open_store(tmp_path)
    assert len(store.load().tasks) == 4_000
    store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 2 MB, where that is allowed."""
    target = tmp_path / "small"
    target.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(target)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("needs root and mount")
    yield target
    subprocess.run(["umount", str(target)], check=True)


def test_commit_on_full_disk_is_refused_whole_and_works_once_space_is_free(
    small_disk: Path,
) -> None:
    store = open_store(small_disk)
    store.load()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_200_000))
    stored = 0
    with pytest.raises(StoreFull):
        for first in range(1, 100_000, 100):
            numbers = range(first, first + 100)
            store.commit(
                Batch(
                    tasks=[task_row(n) for n in numbers],
                    progress=[progress_row(n) for n in numbers],
                )
            )
            stored = first + 99
    assert stored > 0
    with pytest.raises(StoreFull):
        store.commit(big_batch(50_001))
    assert len(store.tasks_of(1, 100_000)) == stored
    ballast.unlink()
    numbers = range(stored + 1, stored + 101)
    store.commit(
        Batch(
            tasks=[task_row(n) for n in numbers],
            progress=[progress_row(n) for n in numbers],
            runs=[run_row(1, *range(1, stored + 101))],
        )
    )
    store.close()
    store = open_store(small_disk)
    assert len(store.load().tasks) == stored + 100
    store.close()


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=["full", "quota", "broken"]
)
def test_write_error_is_a_full_disk_only_where_no_file_can_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """SQLite calls a write over a quota an I/O error."""

    def reserve(fd: int, start: int, length: int) -> None:
        raise OSError(number, os.strerror(number))

    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    assert not isinstance(translated(error, tmp_path / "state.db"), StoreFull)
    monkeypatch.setattr(os, "posix_fallocate", reserve)
    found = translated(error, tmp_path / "state.db")
    assert isinstance(found, StoreFull) is (number != errno.EIO)
    assert str(tmp_path) in str(found)


def test_open_where_no_further_file_can_be_made_is_no_damage(tmp_path: Path) -> None:
    """The index of a log that a kill left behind is made anew, by readers too."""
    with disks.small_disk(tmp_path / "small", "nr_inodes=12") as small:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(small), "3"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        while writer.stdout.readline() != "waiting\n":
            pass
        writer.kill()
        writer.communicate()
        (small / "state.db-shm").unlink()
        with pytest.raises(OSError, match="No space"):
            for n in range(100):
                (small / str(n)).touch()
        with pytest.raises(StoreFull):
            open_store(small)
        for n in range(3):
            (small / str(n)).unlink()
        store = open_store(small)
        assert len(store.load().tasks) == 3
        store.close()


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_commit_to_a_file_that_lost_its_name_is_an_error(tmp_path: Path, how: str) -> None:
    store = open_store(tmp_path / "state")
    store.load()
    os.rename(tmp_path / "state" / "state.db", tmp_path / "away")
    if how == "replaced":
        shutil.copy(tmp_path / "away", tmp_path / "state" / "state.db")
    for act in (lambda: store.commit(big_batch(1)), lambda: store.prune(10, 10)):
        with pytest.raises(StoreError, match="was removed or replaced"):
            act()
    store.close()


def test_commit_of_wrong_row_is_a_bug_and_writes_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.load()
    with pytest.raises(sqlite3.Error):
        store.commit(Batch(tasks=[task_row(1)], progress=[(1,)]))  # type: ignore[list-item]
    with pytest.raises(OverflowError):
        store.commit(Batch(tasks=[task_row(1)], families=[(1 << 70, "", "", "")]))
    store.commit(Batch(progress=[progress_row(2)]))
    assert store.tasks_of(1, 10) == []
    store.close()


# --------------------------------------------------------------------------------------- history


def test_prune_waits_until_a_pass_is_worth_it(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.load()

    def end_runs(first: int, last: int) -> None:
        runs = range(first, last + 1)
        store.commit(
            Batch(
                runs=[run_row(n, n, state=RunState.SUCCEEDED) for n in runs],
                tasks=[task_row(n, run=n) for n in runs],
                progress=[progress_row(n) for n in runs],
            )
        )

    end_runs(1, 54)
    assert [store.prune(50, 100) for _ in range(3)] == [0, 0, 0]
    end_runs(55, 61)
    assert store.prune(50, 100) == 11
    assert len(store.runs_ended(100)) == 50
    store.close()


def test_prune_on_full_disk_deletes_nothing_and_works_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    store.load()
    store.commit(
        Batch(
            runs=[run_row(1, 1, state=RunState.SUCCEEDED)],
            tasks=[task_row(1)],
            progress=[progress_row(1)],
        )
    )

    def full(keep_runs: int, rows_max: int) -> int:
        store._conn.execute("DELETE FROM task")
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(store._pruner, "prune", full)
        assert store.prune(0, 10) == 0
    assert len(store.tasks_of(1, 10)) == 1
    assert store.prune(0, 10) == 1
    store.close()


# ------------------------------------------------------------------------------------ migrations


def test_migrate_of_older_file_copies_it_first(tmp_path: Path) -> None:
    fill(tmp_path)
    folder = tmp_path / "schema"
    folder.mkdir()
    for number, source in migrate.schema_steps():
        (folder / f"{number:04d}_x.sql").write_text(source.read_text())
    newest = len(migrate.schema_steps())
    (folder / f"{newest + 1:04d}_more.sql").write_text("ALTER TABLE task ADD COLUMN more TEXT;")
    conn = sqlite3.connect(tmp_path / STATE_NAME, isolation_level=None)
    copy = migrate.migrate(conn, tmp_path / STATE_NAME, folder)
    assert migrate.user_version(conn) == newest + 1
    assert conn.execute("SELECT count(more), count(*) FROM task").fetchone() == (0, 300)
    conn.close()
    assert copy == tmp_path / f"state.v{newest}.db"
    old = sqlite3.connect(copy)
    assert migrate.user_version(old) == newest
    assert old.execute("SELECT count(*) FROM task").fetchone() == (300,)
    old.close()
    assert f"state.v{newest}.db" in refused(tmp_path).hint


def test_migrate_that_fails_leaves_the_old_version(tmp_path: Path) -> None:
    fill(tmp_path)
    newest = len(migrate.schema_steps())
    folder = tmp_path / "schema"
    folder.mkdir()
    for number, source in migrate.schema_steps():
        (folder / f"{number:04d}_x.sql").write_text(source.read_text())
    broken = "ALTER TABLE task ADD COLUMN more TEXT; INSERT INTO nowhere VALUES (1);"
    (folder / f"{newest + 1:04d}_broken.sql").write_text(broken)
    conn = sqlite3.connect(tmp_path / STATE_NAME, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        migrate.migrate(conn, tmp_path / STATE_NAME, folder)
    conn.close()
    store = open_store(tmp_path)
    assert len(store.load().tasks) == 300
    store.close()
