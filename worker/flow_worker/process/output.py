"""What tasks print: one bounded file per attempt, and nothing at all for a silent task.

Descriptors 1 and 2 of a task process are one O_APPEND file, ``current.<pid>``. After a task an
``fstat`` says whether anything was written; only then the file is renamed to the attempt's and a
fresh one takes its place. The name the file will get lies in a small mapped file beside it, so that
the agent can finish the job when the process died.

A flood cannot be stopped from inside while user code runs, so the agent calls ``trim`` a few times
a second: it punches a hole into the middle of a file that grew over the limit. Whoever closes the
file keeps its head and its tail and writes between them how many bytes were cut.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import re
import struct
import sys
from pathlib import Path
from typing import TextIO

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
#: The part of a task id that is used in a file name (255 is the limit of file systems).
NAME_CHARS_MAX = 180
#: The mapped file that holds the name the current output will get, and the last begun token.
LABEL_BYTES = 512
_BEGAN = struct.Struct("<q")
_BEGAN_AT = LABEL_BYTES - _BEGAN.size

_KEEP_SIZE_PUNCH_HOLE = 3  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
_libc = ctypes.CDLL(None, use_errno=True)
_UNSAFE = re.compile(r"[^A-Za-z0-9_.=-]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def current_path(log_dir: Path, pid: int) -> Path:
    """Where process ``pid`` writes now."""
    return log_dir / f"current.{pid}"


def label_path(log_dir: Path, pid: int) -> Path:
    """Where process ``pid`` says what that file will be called."""
    return log_dir / f"current.{pid}.name"


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
    return _CONTROL.sub(lambda m: ascii(m.group())[1:-1], "\n".join(lines))[-TAIL_BYTES_MAX:]


def keep(current: Path, attempt: Path) -> None:
    """Make ``current`` the attempt's file, or append to it (a generator that continued)."""
    size = os.stat(current).st_size
    if size > FILE_BYTES_MAX:
        _cut(current, size)
    if not attempt.exists():
        os.rename(current, attempt)
        return
    with open(current, "rb") as source, open(attempt, "ab") as target:
        # An attempt that continues 1,000 times still has one bounded file.
        if target.tell() < 2 * FILE_BYTES_MAX:
            target.write(source.read())
    os.unlink(current)


def _cut(path: Path, size: int) -> None:
    """Write head, notice and tail of an oversized file in its place."""
    short = path.with_name(path.name + ".cut")
    with open(path, "rb") as source, open(short, "wb") as target:
        target.write(source.read(HALF_BYTES))
        source.seek(size - HALF_BYTES)
        rest = source.read(HALF_BYTES)
        cut = size - HALF_BYTES - len(rest)
        target.write(b"\n... %d bytes cut here ...\n" % cut)
        target.write(rest)
    os.replace(short, path)


def began(log_dir: Path, pid: int) -> int:
    """Return the ``token_seq`` of the last task a process began; -1: none. Before ``adopt``."""
    try:
        data = label_path(log_dir, pid).read_bytes()
        return int(_BEGAN.unpack_from(data, _BEGAN_AT)[0])
    except (OSError, struct.error):
        return -1


def adopt(log_dir: Path, pid: int) -> str:
    """Finish what a dead process left: keep its attempt's file; return the tail of it."""
    current, label = current_path(log_dir, pid), label_path(log_dir, pid)
    name, tail = "", ""
    with contextlib.suppress(OSError):
        name = label.read_bytes().partition(b"\0")[0].decode("utf-8", "replace")
    with contextlib.suppress(OSError):
        if os.stat(current).st_size > 0:
            tail = tail_of(current)
            if name:
                keep(current, log_dir / name)
    for path in (current, label, current.with_name(current.name + ".cut")):
        with contextlib.suppress(OSError):
            os.unlink(path)
    return tail


def sweep(log_dir: Path, bytes_max: int = DIR_BYTES_MAX, files_max: int = DIR_FILES_MAX) -> int:
    """Delete the oldest attempts' files until the directory is within bounds; return how many."""
    found = []
    with contextlib.suppress(OSError), os.scandir(log_dir) as entries:
        for item in entries:
            if item.name.endswith(".log"):
                with contextlib.suppress(OSError):
                    status = item.stat()
                    found.append((status.st_mtime, status.st_blocks * 512, item.path))
    found.sort(reverse=True)
    used = kept = removed = 0
    for _, size, path in found:
        used, kept = used + size, kept + 1
        if used > bytes_max or kept > files_max:
            with contextlib.suppress(OSError):
                os.unlink(path)
                removed += 1
    return removed


class Output:
    """Descriptors 1 and 2 of this process, caught. Used by the task process itself."""

    def __init__(self, log_dir: Path) -> None:
        log_dir.mkdir(parents=True, exist_ok=True)
        self._log_dir = log_dir
        self._current = current_path(log_dir, os.getpid())
        label = label_path(log_dir, os.getpid())
        with open(label, "wb+") as file:
            file.truncate(LABEL_BYTES)
            self._label = mmap.mmap(file.fileno(), LABEL_BYTES)
        _BEGAN.pack_into(self._label, _BEGAN_AT, -1)
        self._name = ""
        self._fd = -1
        self._inode = 0
        self._streams: list[TextIO] = []
        self._open()
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None or stream.closed:
                stream = _stream(2 if name == "stderr" else 1)
            elif hasattr(stream, "reconfigure"):
                # At once: a crash must not swallow what was printed before it.
                stream.reconfigure(line_buffering=True, errors="backslashreplace")
            self._streams.append(stream)
        self._give_streams()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(self._current, flags, 0o640)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._inode = os.fstat(fd).st_ino
        os.dup2(fd, 1)
        os.dup2(fd, 2)

    def begin(self, name: str, seq: int = -1) -> None:
        """Say which attempt writes from now on. Cost: one copy into mapped memory."""
        self._name = name
        _BEGAN.pack_into(self._label, _BEGAN_AT, seq)
        data = name.encode()
        self._label[: len(data) + 1] = data + b"\0"

    def end(self) -> str:
        """Close the attempt's part of the output; return its tail, "" when nothing was written."""
        self._mend_streams()
        self._mend()
        size = os.fstat(self._fd).st_size
        name, self._name = self._name, ""
        self._label[0] = 0
        if size == 0:
            return ""
        tail = tail_of(self._current)
        if name:
            keep(self._current, self._log_dir / name)
        else:
            os.unlink(self._current)
        self._open()
        return tail

    def discard(self) -> None:
        """Forget what was written since the last look: nobody asked for it."""
        self._mend_streams()
        self._mend()
        if os.fstat(self._fd).st_size > 0:
            os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """Remove the temporary files."""
        for path in (self._current, label_path(self._log_dir, os.getpid())):
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _mend(self) -> None:
        """Undo what a task did to its own stdout: closed it, or put something else there."""
        for fd in (1, 2):
            try:
                if os.fstat(fd).st_ino == self._inode:
                    continue
            except OSError:
                pass
            os.dup2(self._fd, fd)

    def _mend_streams(self) -> None:
        """Write out what is buffered; undo what a task did to sys.stdout and sys.stderr."""
        changed = sys.stdout is not self._streams[0] or sys.stderr is not self._streams[1]
        for index, stream in enumerate(self._streams):
            try:
                stream.flush()
            except (ValueError, OSError):  # closed, or its descriptor is
                self._streams[index] = _stream(index + 1)
                changed = True
        if changed:
            self._give_streams()

    def _give_streams(self) -> None:
        sys.stdout, sys.stderr = self._streams


def _stream(fd: int) -> TextIO:
    return open(fd, "w", buffering=1, errors="backslashreplace", closefd=False)


class NoOutput(Output):
    """Output that is left alone: tasks run inside somebody else's program."""

    def __init__(self) -> None:
        pass

    def begin(self, name: str, seq: int = -1) -> None:
        """Do nothing."""

    def end(self) -> str:
        """Return nothing."""
        return ""

    def discard(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
