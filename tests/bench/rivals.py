"""The same work with ``concurrent.futures.ProcessPoolExecutor(2)``: no graph, no durability."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait


def nothing(n: int) -> int:
    """Do nothing."""
    return n


def millisecond(n: int) -> int:
    """Sleep 1 ms."""
    time.sleep(0.001)
    return n


class Rival:
    """A warm pool of two processes."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(2)
        wait([self._pool.submit(nothing, n) for n in range(100)])

    def close(self) -> None:
        """End the pool."""
        self._pool.shutdown()

    def fan(self, width: int, work: Callable[[int], int] = nothing) -> float:
        """Run ``width`` tasks and one after them."""
        started = time.perf_counter()
        wait([self._pool.submit(work, n) for n in range(width)])
        self._pool.submit(nothing, 0).result()
        return time.perf_counter() - started

    def chain(self, length: int) -> float:
        """Run tasks one after the other."""
        started = time.perf_counter()
        for n in range(length):
            self._pool.submit(nothing, n).result()
        return time.perf_counter() - started

    def layers(self, depth: int, width: int) -> float:
        """Run whole layers one after the other."""
        started = time.perf_counter()
        for _ in range(depth):
            wait([self._pool.submit(nothing, n) for n in range(width)])
        return time.perf_counter() - started
