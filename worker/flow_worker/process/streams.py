"""Descriptors 1 and 2 of a task process, and what print() writes to: caught, bounded, mended.

Used by the task process itself; what becomes of the file is in ``output``. A disk that has no room
for what a task prints is no fault of the task: it is dropped, with a remark at the end of the rest.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from flow.room import has_room
from flow_worker.guard.kill import own_pid
from flow_worker.process.output import (
    TAIL_BYTES_MAX,
    current_path,
    escaped,
    keep,
    printable,
    tail_of,
)
from flow_worker.process.slip import Slip

#: What is read of output that is looked at rather than kept: so much of its head and of its tail.
TAKEN_HALF_BYTES = 16 << 10

#: What a write says where the disk is full, over its quota, failing or read-only.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})


class Output:
    """Descriptors 1 and 2 of this process, caught. Used by the task process itself."""

    def __init__(self, log_dir: Path, slip: Slip) -> None:
        self._log_dir = log_dir
        self._current = current_path(log_dir, own_pid())
        self._slip = slip
        self._name = ""
        self._fd = -1
        #: what descriptors 1 and 2 should be: the file, or nothing while there is no room for it
        self._target = -1
        self._inode = 0
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        #: something may have been printed that is not kept
        self._dropped = False
        self._streams: list[TextIO] = []
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._current)  # of an earlier process with this pid
        self._open()
        for fd, name in ((1, "stdout"), (2, "stderr")):
            stream = getattr(sys, name)
            if stream is None or stream.closed:
                stream = self._stream(fd)
            elif hasattr(stream, "reconfigure"):
                # At once: a crash must not swallow what was printed before it.
                stream.reconfigure(line_buffering=True, errors="backslashreplace")
                stream = self._unfailing(stream, fd)
            self._streams.append(stream)
        self._give_streams()

    def _open(self) -> None:
        """Take a fresh file; nothing where the disk of the logs is full or away."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            fd, room = os.open(self._current, flags, 0o640), has_room(self._log_dir)
        except OSError:
            fd, room = os.dup(self._null), False
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._direct(fd if room else self._null)

    def _direct(self, fd: int) -> None:
        self._target = fd
        self._inode = os.fstat(fd).st_ino
        os.dup2(fd, 1)
        os.dup2(fd, 2)

    def drop(self, fd: int) -> bool:
        """Print nowhere until there is room; False: descriptor ``fd`` is something of the task's.

        What the task starts prints nowhere from now on either, and does not fail.
        """
        if os.fstat(fd).st_ino != self._inode:
            return False
        self._dropped = True
        self._direct(self._null)
        return True

    def begin(self, name: str, seq: int) -> None:
        """Say which attempt writes from now on, and its ``token_seq``."""
        if self._target == self._null and has_room(self._log_dir):
            self._open()
        self._dropped = self._target == self._null
        self._name = name
        self._slip.begin(name, seq)

    def end(self) -> str:
        """Close the attempt's part of the output; return its tail, "" when nothing was written."""
        self._mend_streams()
        self._mend()
        size = os.fstat(self._fd).st_size
        name, self._name = self._name, ""
        self._slip.end()
        if size == 0:
            return self._remark() if self._dropped else ""
        tail = tail_of(self._current)
        try:
            if name:
                keep(self._current, self._log_dir / name)
            else:
                os.unlink(self._current)
        except OSError:  # the disk of the logs is full or away: tasks go on without them
            os.ftruncate(self._fd, 0)
            self._dropped = True
        else:
            self._open()
        return f"{tail}\n{self._remark()}"[-TAIL_BYTES_MAX:] if self._dropped else tail

    def _remark(self) -> str:
        return f"[no room in {self._log_dir}: what else was printed is not kept]"

    def size(self) -> int:
        """How much was written since the last look, bytes; what is buffered does not count."""
        return os.fstat(self._fd).st_size

    def tail(self, since: int) -> str:
        """Return the last lines of what was written, but for its first bytes, and keep it."""
        self._mend_streams()
        start = max(since, self.size() - TAIL_BYTES_MAX)
        return printable(self._read(TAIL_BYTES_MAX, start))

    def take(self) -> str:
        """Return what was written since the last look, without its middle, and forget it."""
        self._mend_streams()
        self._mend()
        return self._cut_off()

    def take_as_is(self) -> str:
        """Do the same, and leave the streams as somebody made them."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # it may be anything
                stream.flush()
        return self._cut_off()

    def _cut_off(self) -> str:
        size = self.size()
        if size == 0:
            return ""
        if size <= 2 * TAKEN_HALF_BYTES:
            text = self._read(size, 0)
        else:
            cut = f"\n... {size - 2 * TAKEN_HALF_BYTES} bytes left out ...\n"
            head = self._read(TAKEN_HALF_BYTES, 0)
            text = head + cut + self._read(TAKEN_HALF_BYTES, size - TAKEN_HALF_BYTES)
        os.ftruncate(self._fd, 0)
        return escaped(text.replace("\r\n", "\n"))

    def _read(self, count: int, start: int) -> str:
        try:
            return os.pread(self._fd, count, start).decode("utf-8", "replace")
        except OSError:  # there was no room for a file
            return ""

    def let_go(self) -> None:
        """In a fork: forget the file, which is the parent's."""
        os.close(self._fd)
        os.close(self._null)

    def close(self) -> None:
        """Remove the temporary file."""
        with contextlib.suppress(OSError):
            os.unlink(self._current)

    def _mend(self) -> None:
        """Undo what a task did to its own stdout: closed it, or put something else there."""
        for fd in (1, 2):
            try:
                if os.fstat(fd).st_ino == self._inode:
                    continue
            except OSError:
                pass
            os.dup2(self._target, fd)

    def _mend_streams(self) -> None:
        """Write out what is buffered; undo what a task did to sys.stdout and sys.stderr."""
        changed = sys.stdout is not self._streams[0] or sys.stderr is not self._streams[1]
        for index, stream in enumerate(self._streams):
            try:
                stream.flush()
            except (ValueError, OSError):  # closed, or its descriptor is
                self._streams[index] = self._stream(index + 1)
                changed = True
        if changed:
            self._give_streams()

    def _give_streams(self) -> None:
        sys.stdout, sys.stderr = self._streams

    def _stream(self, fd: int, *, unbuffered: bool = False) -> TextIO:
        raw = _Unfailing(fd, self)
        return io.TextIOWrapper(
            raw if unbuffered else io.BufferedWriter(raw),
            encoding="utf-8",
            errors="backslashreplace",
            line_buffering=True,
            write_through=unbuffered,
        )

    def _unfailing(self, stream: TextIO, fd: int) -> TextIO:
        """Return a stream that drops in the place of Python's own; of others the very one."""
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)  # the same, where Python itself does not buffer
        if isinstance(raw, _Unfailing):  # of the process that this one was forked from
            raw.output = self
        elif type(raw) is io.FileIO and raw.fileno() == fd:
            stream.flush()
            return self._stream(fd, unbuffered=raw is buffer)
        return stream


class _Unfailing(io.FileIO):
    """Descriptor 1 or 2. Whatever the disk has no room for is as good as written."""

    def __init__(self, fd: int, output: Output) -> None:
        super().__init__(fd, "w", closefd=False)
        self.output = output

    def write(self, data: Any) -> Any:
        """Write, or drop what there is no room for."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            try:
                written = super().write(rest)
            except OSError as error:
                if error.errno not in _NO_ROOM or not self.output.drop(self.fileno()):
                    raise
                break
            if not written:  # the task has put something else there, which takes no more now
                return (size - len(rest)) or None
            rest = rest[written:]
        return size


def replace_foreign() -> None:
    """Have ``sys.stdout`` and ``sys.stderr`` write to descriptors 1 and 2, whatever they did.

    A stream that does already stays: logging of the program may hold it.
    """
    for name, fd in (("stdout", 1), ("stderr", 2)):
        try:
            own = getattr(sys, name).fileno() == fd
        except (AttributeError, OSError, ValueError):  # it may be anything, or closed
            own = False
        if not own:
            setattr(sys, name, _stream(fd))


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

    def size(self) -> int:
        """Return 0."""
        return 0

    def tail(self, since: int) -> str:
        """Return nothing."""
        return ""

    def take(self) -> str:
        """Return nothing."""
        return ""

    def close(self) -> None:
        """Do nothing."""
