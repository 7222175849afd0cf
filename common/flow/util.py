"""Luigi's ``util``: decorators that save repeating parameters, and the task before a task."""

from __future__ import annotations

from flow.patterns.delegation import copies, delegates
from flow.patterns.inheritance import common_params, inherits, requires
from flow.patterns.previous import get_previous_completed, previous

__all__ = [
    "common_params",
    "copies",
    "delegates",
    "get_previous_completed",
    "inherits",
    "previous",
    "requires",
]
