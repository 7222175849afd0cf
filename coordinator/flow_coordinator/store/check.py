"""Look at a state file before anything may write to it, and refuse a damaged one.

Read-only on purpose: a file that is refused stays byte for byte what it was, so that it can still
be examined, copied or repaired. SQLite itself would accept some damage in silence: an empty file
is a new database to it, and a flipped bit in the write-ahead log ends the log there, which loses
every commit after it.
"""

from __future__ import annotations

import sqlite3
import struct
import time
from pathlib import Path

from flow.errors import StoreError
from flow_coordinator.store.faults import SPACE_CODES, damaged, is_full, no_room
from flow_coordinator.store.migrate import (
    APPLICATION_ID,
    refuse_newer,
    schema_steps,
    user_version,
)

#: The page check of a large file stops here: a start must not take longer than a lease lasts.
CHECK_S_MAX = 4.0
#: SQLite virtual machine steps between two looks at the clock.
CHECK_STEPS = 20_000

# Source: SQLite, "Database File Format", 4.1: WAL header and frame header, big-endian words.
WAL_HEADER_BYTES = 32
WAL_FRAME_HEADER_BYTES = 24
WAL_MAGIC = 0x377F0682
WAL_MAGIC_BIG_SUMS = 0x377F0683
#: Source: SQLite, "WAL-mode File Format", 2.1: mxFrame of the index header, native order.
SHM_LAST_FRAME_OFFSET_BYTES = 16
_WORDS_MASK = 0xFFFFFFFF


def inspect(path: Path, *, check_s_max: float = CHECK_S_MAX) -> bool:
    """Return whether the file holds a state; False for one nothing was ever written to.

    Raises:
        StoreError: It is damaged, newer than this program, or no state file at all.

    Cost: reads the whole file, for at most ``check_s_max`` seconds.
    """
    wal = path.with_name(path.name + "-wal")
    if not path.exists() or (path.stat().st_size == 0 and not _size(wal)):
        return False
    conn = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        version = user_version(conn)
        (owner,) = conn.execute("PRAGMA application_id").fetchone()
        if _size(wal):
            _check_log(path, wal)
        if version == 0 and conn.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            return False
        if owner != APPLICATION_ID:
            raise StoreError(
                f"{path} is a database of another program",
                hint="name a directory of its own with --state-dir",
            )
        refuse_newer(version, len(schema_steps()), path)
        _check_pages(conn, path, check_s_max)
    except sqlite3.DatabaseError as error:
        # Even a reader makes a file: the index of the log.
        if error.sqlite_errorcode in SPACE_CODES and is_full(path.parent):
            raise no_room(path) from error
        raise damaged(path, str(error)) from error
    finally:
        conn.close()
    return True


def _check_pages(conn: sqlite3.Connection, path: Path, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    conn.set_progress_handler(lambda: time.monotonic() > deadline, CHECK_STEPS)
    try:
        (found,) = conn.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        found = "ok"  # out of time: as far as it was read, nothing is wrong
    finally:
        conn.set_progress_handler(None, 0)
    if found != "ok":
        raise damaged(path, " ".join(str(found).split()))


def _check_log(path: Path, wal: Path) -> None:
    """Refuse a log whose acknowledged commits SQLite would skip.

    Each commit is synced before the next one starts, so a crash can leave the frames of at most
    one commit unreadable. Two commit frames behind the last one SQLite accepts mean damage.
    """
    with wal.open("rb") as file:
        header = file.read(WAL_HEADER_BYTES)
        if len(header) < WAL_HEADER_BYTES or not any(header):
            return  # torn before the first commit
        words = struct.unpack(">8I", header)
        if words[0] not in (WAL_MAGIC, WAL_MAGIC_BIG_SUMS) or not _header_sums_match(header, words):
            raise damaged(path, "the header of its write-ahead log is unreadable")
        frame_bytes = WAL_FRAME_HEADER_BYTES + words[2]
        accepted = _last_frame(path)
        commits = 0
        file.seek(WAL_HEADER_BYTES + accepted * frame_bytes)
        while len(frame := file.read(WAL_FRAME_HEADER_BYTES)) == WAL_FRAME_HEADER_BYTES:
            _, pages_after, *salts = struct.unpack(">4I", frame[:16])
            # Other salts are frames from before the log was last reused.
            commits += pages_after != 0 and tuple(salts) == words[4:6]
            file.seek(words[2], 1)
    if commits > 1:
        raise damaged(path, f"its write-ahead log cannot be read after frame {accepted}")


def _header_sums_match(header: bytes, words: tuple[int, ...]) -> bool:
    order = ">" if words[0] == WAL_MAGIC_BIG_SUMS else "<"
    first = second = 0
    data = struct.unpack(f"{order}6I", header[:24])
    for left, right in zip(data[::2], data[1::2], strict=True):
        first = (first + left + second) & _WORDS_MASK
        second = (second + right + first) & _WORDS_MASK
    return (first, second) == words[6:8]


def _last_frame(path: Path) -> int:
    """Read how many frames SQLite accepted; its index exists while a connection is open."""
    with path.with_name(path.name + "-shm").open("rb") as file:
        file.seek(SHM_LAST_FRAME_OFFSET_BYTES)
        return int(struct.unpack("=I", file.read(4))[0])


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
