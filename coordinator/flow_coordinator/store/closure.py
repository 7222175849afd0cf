"""Walk the graph in the file: which tasks do active runs still need?"""

from __future__ import annotations

import sqlite3
import sys
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

#: Bound variables a statement; SQLite before 3.32 allows 999.
NUMBERS_A_QUERY = 500
#: ``array`` has the order of the machine, the file has not.
MACHINE_IS_LITTLE = sys.byteorder == "little"


def unpack(packed: bytes) -> array[int]:
    """Read task numbers from packed little-endian uint64."""
    numbers = array("Q")
    numbers.frombytes(packed)
    if not MACHINE_IS_LITTLE:
        numbers.byteswap()
    return numbers


def select_in(
    conn: sqlite3.Connection, columns: str, table: str, numbers: Iterable[int]
) -> Iterator[tuple[Any, ...]]:
    """Read the rows with these numbers, in batches of prepared statements."""
    source = iter(numbers)
    while batch := list(islice(source, NUMBERS_A_QUERY)):
        marks = ",".join("?" * len(batch))
        yield from conn.execute(
            f"SELECT {columns} FROM {table} WHERE number IN ({marks})",
            batch,
        )


class Walk:
    """A breadth-first walk over ``upstream`` that can be done in pieces.

    Nothing that was unreachable when the walk began is reachable when it ends: a task that no
    active run needs has left the coordinator's memory, and comes back only under a new number.
    """

    def __init__(self, conn: sqlite3.Connection, start: Iterable[int]) -> None:
        self._conn = conn
        self.seen: set[int] = set(start)
        self._level = sorted(self.seen, reverse=True)
        self._next: list[int] = []

    def step(self, rows_max: int) -> bool:
        """Visit about ``rows_max`` tasks; return whether the walk is over."""
        visited = 0
        while self._level and visited < rows_max:
            batch = self._level[-NUMBERS_A_QUERY:]
            del self._level[-NUMBERS_A_QUERY:]
            visited += len(batch)
            found: set[int] = set()
            for (packed,) in select_in(self._conn, "upstream", "task", batch):
                if packed:
                    found.update(unpack(packed))
            found -= self.seen
            self.seen |= found
            self._next.extend(found)
            if not self._level:
                # Sorted, so that neighbours in the file are read together.
                self._level = sorted(self._next, reverse=True)
                self._next = []
        return not self._level


def members_of_active(conn: sqlite3.Connection, running: int) -> list[int]:
    """List what active runs have begun or ended, whether or not its requirers are planned yet.

    Cost: the tasks of active runs.
    """
    rows = conn.execute(
        "SELECT number FROM progress WHERE number IN ("
        " SELECT number FROM task WHERE run IN (SELECT number FROM run WHERE state = ?))",
        (running,),
    )
    return [number for (number,) in rows]


def roots_of_active(conn: sqlite3.Connection, running: int) -> list[int]:
    """List where every walk starts: roots of active runs, and tasks that hold a token.

    Cost: one scan of ``progress``.
    """
    start: list[int] = []
    for query in (
        "SELECT roots FROM run WHERE state = ?",
        "SELECT roots.tasks FROM run JOIN roots ON roots.run = run.number WHERE run.state = ?",
    ):
        for (packed,) in conn.execute(query, (running,)):
            start.extend(unpack(packed))
    start.extend(n for (n,) in conn.execute("SELECT number FROM progress WHERE token IS NOT NULL"))
    return start
