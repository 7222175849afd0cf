"""Rows of the store for tests, with everything filled in that a test does not care about."""

from __future__ import annotations

import struct

from flow.wire.states import RunState, TaskState
from flow_coordinator.store.base import ProgressRow, RunRow, TaskRow

SUBMITTED_AT = 1_700_000_000.0


def packed(*numbers: int) -> bytes:
    """Pack task numbers as the store keeps them."""
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def task_row(number: int, *upstream: int, run: int = 1, policy: int = 1) -> TaskRow:
    """Make a planned task."""
    return (number, run, 1, policy, f"Load_{number}_0123456789", b"\x80", packed(*upstream))


def progress_row(
    number: int, state: TaskState = TaskState.PENDING, token: str | None = None
) -> ProgressRow:
    """Make the progress of a task; a token comes with a worker."""
    worker = "0" * 32 if token else None
    return (number, int(state), 1, 0, 0, token, worker, SUBMITTED_AT, None)


def run_row(
    number: int,
    *roots: int,
    state: RunState = RunState.RUNNING,
    ended: float | None = None,
    key: str = "",
) -> RunRow:
    """Make a run; one that is not running ended at its number unless said."""
    if state != RunState.RUNNING and ended is None:
        ended = float(number)
    key = key or f"key-{number}"
    return (number, key, "default", int(state), SUBMITTED_AT, ended, packed(*roots), b"\x80")
