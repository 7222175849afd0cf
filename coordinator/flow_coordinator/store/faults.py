"""What SQLite and the disk under it refuse, told apart: damage, no room, anything else.

Called by whoever uses the file. Only no room is waited for; the rest ends the coordinator.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

from flow.errors import StoreError, StoreFull

#: Where this much cannot be reserved, an I/O error of a growing file is a full disk.
FREE_BYTES_MIN = 1 << 20
#: Errors that SQLite does not tell apart from a full disk, or from a quota, in every file it grows.
SPACE_CODES = frozenset(
    {
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_CANTOPEN,
    }
)
DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def translated(error: sqlite3.Error, path: Path) -> StoreError:
    """Make the error for people of what SQLite raised about a state file."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_FULL or (code in SPACE_CODES and is_full(path.parent)):
        return no_room(path)
    if code & 0xFF in DAMAGE_CODES:
        return damaged(path, str(error))
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreError(
        f"cannot use {path}: {error} ({name})",
        hint="check the disk (dmesg), then start the coordinator again: it goes on from this file",
    )


def damaged(path: Path, why: str) -> StoreError:
    """Make the error for a file that cannot be trusted."""
    return StoreError(
        f"{path} is damaged: {why}",
        hint=f"restore {path.parent} from a backup; or, to start from nothing on purpose, move it "
        f"away: mv {path.parent} {path.parent}.damaged (what is complete does not run again)",
    )


def no_room(path: Path) -> StoreFull:
    """Make the error of a full disk."""
    error = StoreFull(
        f"no space left for {path}",
        hint=f"free space on the file system of {path.parent}: it goes on by itself",
    )
    error.where = str(path.parent)
    return error


def is_full(directory: Path) -> bool:
    """Tell whether no file can grow there; tried, since a quota shows nowhere else."""
    try:
        with tempfile.TemporaryFile(dir=directory) as probe:
            os.posix_fallocate(probe.fileno(), 0, FREE_BYTES_MIN)
    except OSError as error:
        return error.errno in NO_ROOM
    return False


def refuse_removed(path: Path, inode: int) -> None:
    """Raise ``StoreError`` unless the file that is open still has its name. Cost: one ``stat``.

    SQLite goes on writing to a file without a name, and the next start would find nothing.
    """
    try:
        if os.stat(path).st_ino == inode:
            return
    except FileNotFoundError:
        pass
    raise StoreError(
        f"{path} was removed or replaced while the coordinator uses it",
        hint="put it back from a backup, or start the coordinator again with an empty state "
        "(what is complete does not run again)",
    )
