"""What tasks print: one bounded file per attempt, and nothing at all for a silent task.

Descriptors 1 and 2 of a task process are one O_APPEND file, ``current.<pid>``. After a task an
``fstat`` says whether anything was written; only then the file is renamed to the attempt's and a
fresh one takes its place (``streams``). The name the file will get is on the process's ``slip``, so
that the agent can finish the job when the process died.

A flood cannot be stopped from inside while user code runs, so the agent calls ``trim`` a few times
a second: it punches a hole into the middle of a file that grew over the limit. Whoever closes the
file keeps its head and its tail and writes between them how many bytes were cut.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import time
from pathlib import Path

#: An attempt's file keeps this much of its head and as much of its tail.
HALF_BYTES = 2 << 20
#: A file over this size is cut.
FILE_BYTES_MAX = 2 * HALF_BYTES
#: What a report carries of an attempt's output.
TAIL_BYTES_MAX = 4096
TAIL_LINES_MAX = 20
#: The log directory as a whole.
DIR_BYTES_MAX = 1 << 30
DIR_FILES_MAX = 10_000
#: How long an agent deletes them before it looks after its tasks again.
REMOVE_S = 0.02
#: The part of a task id that is used in a file name (255 is the limit of file systems).
NAME_CHARS_MAX = 180

_KEEP_SIZE_PUNCH_HOLE = 3  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
_libc = ctypes.CDLL(None, use_errno=True)
_UNSAFE = re.compile(r"[^A-Za-z0-9_.=-]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def current_path(log_dir: Path, pid: int) -> Path:
    """Where process ``pid`` writes now."""
    return log_dir / f"current.{pid}"


def attempt_name(task_id: str, attempt: int, token: str) -> str:
    """Name the file of one attempt; safe for any task id."""
    seq = token.rpartition(".")[2]
    return f"{_UNSAFE.sub('_', task_id)[:NAME_CHARS_MAX]}.{attempt}.{_UNSAFE.sub('_', seq)}.log"


def trim(path: Path) -> None:
    """Give back the middle of a file that grew over the limit; whoever writes it goes on."""
    try:
        if os.stat(path).st_size <= FILE_BYTES_MAX:
            return
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        size = os.fstat(fd).st_size  # again: another file may have taken the name
        if size <= FILE_BYTES_MAX:
            return
        start = ctypes.c_long(HALF_BYTES)
        length = ctypes.c_long(size - HALF_BYTES - HALF_BYTES)
        if _libc.fallocate(fd, _KEEP_SIZE_PUNCH_HOLE, start, length) != 0:
            os.ftruncate(fd, HALF_BYTES)  # no holes on this file system: keep the head only
    finally:
        os.close(fd)


def tail_of(path: Path) -> str:
    """Return the last lines of a file, bounded, with control characters made visible."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - TAIL_BYTES_MAX))
            data = file.read(TAIL_BYTES_MAX)
    except OSError:
        return ""
    return printable(data.decode("utf-8", "replace"))


def printable(text: str) -> str:
    """Bound a text and escape what would move a terminal's cursor or forge a line."""
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")[-TAIL_LINES_MAX:]
    return escaped("\n".join(lines))[-TAIL_BYTES_MAX:]


def escaped(text: str) -> str:
    """Spell as Python does what would move a terminal's cursor or forge a line."""
    return _CONTROL.sub(lambda m: ascii(m.group())[1:-1], text)


def keep(current: Path, attempt: Path) -> None:
    """Make ``current`` the attempt's file, or append to it (a generator that continued)."""
    size = os.stat(current).st_size
    if size > FILE_BYTES_MAX:
        try:
            _cut(current, size)
        except OSError:  # no room for a copy: whole, with the hole that it has
            with contextlib.suppress(OSError):
                os.unlink(_short(current))
    if not attempt.exists():
        os.rename(current, attempt)
        return
    with open(current, "rb") as source, open(attempt, "ab") as target:
        # An attempt that continues 50,000 times still has one bounded file.
        if target.tell() < 2 * FILE_BYTES_MAX:
            target.write(source.read())
    os.unlink(current)


def _cut(path: Path, size: int) -> None:
    """Write head, notice and tail of an oversized file in its place."""
    short = _short(path)
    with open(path, "rb") as source, open(short, "wb") as target:
        target.write(source.read(HALF_BYTES))
        source.seek(size - HALF_BYTES)
        rest = source.read(HALF_BYTES)
        cut = size - HALF_BYTES - len(rest)
        target.write(b"\n... %d bytes cut here ...\n" % cut)
        target.write(rest)
    os.replace(short, path)


def _short(path: Path) -> Path:
    return path.with_name(path.name + ".cut")


def adopt(log_dir: Path, pid: int, name: str) -> str:
    """Finish what a dead process left: keep its attempt's file; return the tail of it."""
    current = current_path(log_dir, pid)
    tail = ""
    with contextlib.suppress(OSError):
        if os.stat(current).st_size > 0:
            tail = tail_of(current)
            if name:
                keep(current, log_dir / name)
    for path in (current, _short(current)):
        with contextlib.suppress(OSError):
            os.unlink(path)
    return tail


def surplus(
    log_dir: Path, bytes_max: int = DIR_BYTES_MAX, files_max: int = DIR_FILES_MAX
) -> list[str]:
    """List the attempts' files beyond the bounds of the directory, the oldest last.

    They may be so many that deleting them takes longer than an agent may stand still.
    """
    found = []
    with contextlib.suppress(OSError), os.scandir(log_dir) as entries:
        for item in entries:
            if item.name.endswith(".log"):
                with contextlib.suppress(OSError):
                    status = item.stat()
                    found.append((status.st_mtime, status.st_blocks * 512, item.path))
    found.sort(reverse=True)
    used = 0
    for kept, (_, size, _) in enumerate(found):
        used += size
        if used > bytes_max or kept >= files_max:
            return [path for _, _, path in found[kept:]]
    return []


def remove(paths: list[str], for_s: float = REMOVE_S) -> None:
    """Delete files from the end of this list, at least one, and take them off it."""
    until = time.monotonic() + for_s
    while paths:
        with contextlib.suppress(OSError):
            os.unlink(paths.pop())
        if time.monotonic() >= until:
            return
