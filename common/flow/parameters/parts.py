"""What makes a task again in another process, before it is text."""

from __future__ import annotations

from typing import Any, NamedTuple


class Parts(NamedTuple):
    """Texts of parameters by name, and of those that hold tasks the tasks."""

    texts: dict[str, str]
    held: dict[str, list[Any]]


class Made(NamedTuple):
    """What a parameter holds, in place of its text."""

    tasks: list[Any]
