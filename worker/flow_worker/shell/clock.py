"""The worker's clock: seconds since boot, sleep included, on every host its own."""

from __future__ import annotations

import time


def boottime() -> float:
    """Read CLOCK_BOOTTIME; leases count the time a host was suspended (rule W4)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
