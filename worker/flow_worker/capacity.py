"""What this machine, or the container around the worker, has: CPUs and memory.

Reads affinity and both cgroup versions; the tightest limit on the way up counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

#: cgroup v1 says "no limit" with a number about as large as a page-aligned 63-bit one.
_UNLIMITED_BYTES = 1 << 60


def cpus(root: Path = Path("/")) -> float:
    """Return how many CPUs may be used, possibly a fraction."""
    found = float(len(os.sched_getaffinity(0)))
    for directory in _directories(root, "cpu"):
        quota, period = _quota(directory)
        if quota > 0 and period > 0:
            found = min(found, quota / period)
    return found


def memory_bytes(root: Path = Path("/")) -> int:
    """Return how much memory may be used; 0 where nothing says."""
    found = 0
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            found = int(line.split()[1]) * 1024
    for directory in _directories(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(directory / name)
            if text.isdecimal() and 0 < int(text) < _UNLIMITED_BYTES:
                found = min(found, int(text)) if found else int(text)
    return found


def own_memory_bytes(root: Path = Path("/")) -> int:
    """Return the proportional set size of this process; 0 where the kernel does not say."""
    for line in _read(root / "proc/self/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def oom_kills(root: Path = Path("/")) -> int:
    """Return how often the kernel killed in this process's cgroup for want of memory."""
    for directory in _directories(root, "memory"):
        for name in ("memory.events", "memory.oom_control"):
            for line in _read(directory / name).splitlines():
                word, _, count = line.partition(" ")
                if word == "oom_kill" and count.isdecimal():
                    return int(count)
    return 0


def _quota(directory: Path) -> tuple[float, float]:
    v2 = _read(directory / "cpu.max").split()
    if len(v2) == 2 and v2[0].isdecimal() and v2[1].isdecimal():
        return float(v2[0]), float(v2[1])
    quota = _read(directory / "cpu.cfs_quota_us")
    period = _read(directory / "cpu.cfs_period_us")
    if quota.isdecimal() and period.isdecimal():
        return float(quota), float(period)
    return 0.0, 0.0


def _directories(root: Path, controller: str) -> Iterator[Path]:
    """Yield this process's cgroup directories for a controller, innermost first."""
    base = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        _, controllers, path = parts
        if controllers == "":
            tops = [base, base / "unified"]
        elif controller in controllers.split(","):
            tops = [base / controllers, base / controller]
        else:
            continue
        for top in tops:
            inner = top / path.lstrip("/")
            # Inside a container the path may not exist; the mount itself is its cgroup then.
            while inner != top and top in inner.parents:
                yield inner
                inner = inner.parent
            yield top


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
