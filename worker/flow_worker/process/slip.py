"""A page of memory that outlives its task process: what it was doing, what it had not sent yet.

Reports of tasks that take microseconds travel together, so a process that dies may have finished
tasks which nobody heard of. They are on the slip: the agent reads it when the process is gone, and
blames the task that ran, not the first one that was not reported.

Layout: the name of the running attempt's file, the number of the last token begun, the length of
what follows, then reports with their lengths. The length is written last, so a slip is never read
half-written.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple

import msgspec

from flow.wire.messages import codec
from flow.wire.messages.shared import Report
from flow_worker.guard.kill import own_pid

SLIP_BYTES = 64 << 10
_NAME_BYTES = 512
_BEGAN = struct.Struct("<q")
_COUNT = struct.Struct("<I")
_BEGAN_AT = _NAME_BYTES
_COUNT_AT = _BEGAN_AT + _BEGAN.size
_REPORTS_AT = _COUNT_AT + _COUNT.size

_decode = msgspec.msgpack.Decoder(Report).decode


def slip_path(log_dir: Path, pid: int) -> Path:
    """Where the slip of process ``pid`` is."""
    return log_dir / f"current.{pid}.slip"


class Slip:
    """The writing side, in the task process."""

    def __init__(self, log_dir: Path) -> None:
        self._path = slip_path(log_dir, own_pid())
        try:
            with open(self._path, "wb+") as file:
                # Reserved now: writing to a mapped hole of a full disk would kill the process.
                os.posix_fallocate(file.fileno(), 0, SLIP_BYTES)
                self._memory = mmap.mmap(file.fileno(), SLIP_BYTES)
        except OSError:
            self._memory = mmap.mmap(-1, SLIP_BYTES)
            self.close()
        self._end = _REPORTS_AT
        _BEGAN.pack_into(self._memory, _BEGAN_AT, -1)

    def begin(self, name: str, seq: int) -> None:
        """Say which attempt runs from now on, and its ``token_seq``."""
        _BEGAN.pack_into(self._memory, _BEGAN_AT, seq)
        data = name.encode()[: _NAME_BYTES - 1] + b"\0"
        self._memory[: len(data)] = data

    def end(self) -> None:
        """Say that it ended; what is printed from now on belongs to none."""
        self._memory[0] = 0

    def hold(self, report: Report) -> bool:
        """Note a report that is not sent yet; False when there is no room."""
        data = codec.spell(report)
        end = self._end + _COUNT.size + len(data)
        if end > SLIP_BYTES:
            return False
        memory = self._memory
        _COUNT.pack_into(memory, self._end, len(data))
        memory[self._end + _COUNT.size : end] = data
        self._end = end
        _COUNT.pack_into(memory, _COUNT_AT, end - _REPORTS_AT)
        return True

    def clear(self) -> None:
        """What was held is being sent."""
        self._end = _REPORTS_AT
        _COUNT.pack_into(self._memory, _COUNT_AT, 0)

    def close(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)


class Left(NamedTuple):
    """What a dead process left on its slip."""

    name: str  #: of the file of the attempt that ran; empty: none did
    began: int  #: ``token_seq`` of the last task it began; -1: none
    unsent: list[Report]  #: of tasks that ended, in their order


def take(log_dir: Path, pid: int) -> Left:
    """Read and remove the slip of a dead process."""
    path = slip_path(log_dir, pid)
    try:
        data = path.read_bytes()
        os.unlink(path)
        (began,) = _BEGAN.unpack_from(data, _BEGAN_AT)
    except (OSError, struct.error):
        return Left("", -1, [])
    name = data[:_NAME_BYTES].partition(b"\0")[0].decode("utf-8", "replace")
    unsent = []
    at = _REPORTS_AT
    # The process was free to scribble over it: what makes no sense is as good as nothing.
    with contextlib.suppress(struct.error, msgspec.MsgspecError):
        end = at + _COUNT.unpack_from(data, _COUNT_AT)[0]
        while at < end:
            (size,) = _COUNT.unpack_from(data, at)
            at += _COUNT.size
            unsent.append(_decode(data[at : at + size]))
            at += size
    return Left(name, began, unsent)
