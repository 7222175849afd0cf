"""Folders in the user's cache from which code is executed: kept by name, bounded, oldest out first.

Each entry is a file or a folder with a name of its own, and beside it ``NAME.lock``. Whoever uses
an entry holds a shared lock on that, which the kernel ends with its last process; whoever removes
one needs it alone. So agents, templates and several workers of one host may share a shelf. The time
of the lock file is when the entry was used last.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from pathlib import Path

from flow.errors import ConfigError

LOCK = ".lock"
ARCHIVE = ".zip"
TEMPORARY = ".tmp"
#: What is being written this long was left by a process that was killed.
LEFTOVER_S = 24 * 3600.0
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def folder(name: str) -> Path:
    """Name a shelf."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "flow" / name


def prepare(path: str | os.PathLike[str]) -> None:
    """Make a shelf, if it is not there.

    Raises:
        ConfigError: Code must not be executed from it, or it cannot be made.
    """
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        found = os.lstat(path)
    except OSError as error:
        raise ConfigError(
            f"{os.fspath(path)} cannot be made: {error.strerror}",
            hint="set XDG_CACHE_HOME to a folder that can be written",
        ) from error
    theirs = found.st_uid != os.geteuid() or found.st_mode & _WRITABLE_BY_OTHERS
    if not stat.S_ISDIR(found.st_mode) or theirs:
        raise ConfigError(
            f"{os.fspath(path)} is no folder, belongs to another user or is writable by others: "
            "no code is executed from it",
            hint=f"remove it, or chmod go-w {os.fspath(path)}",
        )


def lock(path: str, *, alone: bool = False, wait: bool = True) -> int:
    """Lock an entry; return the descriptor that holds the lock until it is closed everywhere.

    Raises:
        BlockingIOError: Without ``wait``: somebody uses it.
        OSError: The shelf is gone or full.
    """
    kind = (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(path + LOCK, flags, 0o600)
        try:
            fcntl.flock(fd, kind)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.lstat(path + LOCK)):
                    if not alone:
                        os.utime(fd)
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # whoever held it removed the entry with its lock: once more


def trim(path: str, bytes_max: int) -> None:
    """Remove entries that nobody uses, the oldest first, until the rest fits.

    What cannot be removed stays: the disk says so to whoever needs room. Cost: O(files).
    """
    with contextlib.suppress(OSError):
        names = [each[: -len(LOCK)] for each in os.listdir(path) if each.endswith(LOCK)]
        entries = [os.path.join(path, name) for name in names]
        sizes = {each: _size(each) + _size(each + ARCHIVE) for each in entries}
        total = sum(sizes.values())
        _remove_leftovers(path)
        for entry in sorted(entries, key=_used):
            # An entry without anything is what is left of one that could not be made.
            if (total > bytes_max or not sizes[entry]) and _remove(entry):
                total -= sizes[entry]


def _remove_leftovers(path: str) -> None:
    for name in os.listdir(path):
        leftover = os.path.join(path, name)
        with contextlib.suppress(FileNotFoundError):
            old = os.lstat(leftover).st_mtime < time.time() - LEFTOVER_S
            if name.endswith(TEMPORARY) and old:
                if os.path.isdir(leftover):
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    os.unlink(leftover)


def _used(entry: str) -> float:
    try:
        return os.lstat(entry + LOCK).st_mtime
    except FileNotFoundError:  # removed by somebody else meanwhile
        return 0.0


def _remove(entry: str) -> bool:
    try:
        fd = lock(entry, alone=True, wait=False)
    except BlockingIOError:  # in use
        return False
    try:
        doomed = f"{entry}{TEMPORARY}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(entry, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        for each in (entry + ARCHIVE, entry + LOCK):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(each)
    finally:
        os.close(fd)
    return True


def _size(path: str) -> int:
    total = 0
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(path)
        total = found.st_size
        if stat.S_ISDIR(found.st_mode):
            for top, folders, files in os.walk(path):
                for name in (*folders, *files):
                    with contextlib.suppress(FileNotFoundError):
                        total += os.lstat(os.path.join(top, name)).st_size
    return total
