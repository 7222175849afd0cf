"""Load of the host and memory of this worker's processes, read from /proc. Cheap on purpose."""

from __future__ import annotations

import os
from collections.abc import Iterable

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Measure:
    """Remembers the last look, because load is a difference."""

    def __init__(self) -> None:
        self._busy, self._total = _cpu_ticks()

    def cpu(self) -> float:
        """Return the share of all CPUs that was busy since the last call, 0..1."""
        busy, total = _cpu_ticks()
        passed = total - self._total
        share = (busy - self._busy) / passed if passed > 0 else 0.0
        self._busy, self._total = busy, total
        return min(1.0, max(0.0, share))

    def memory_bytes(self, pids: Iterable[int]) -> int:
        """Return the resident memory of these processes; those that are gone count nothing."""
        return sum(_resident_bytes(pid) for pid in pids)


def _cpu_ticks() -> tuple[int, int]:
    try:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return 0, 0
    idle = sum(ticks[3:5])
    return sum(ticks) - idle, sum(ticks)


def _resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0
