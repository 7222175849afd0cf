"""Walking the nested shapes that ``requires()``, ``output()`` and ``yield`` may have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def flatten(struct: Any) -> list[Any]:
    """Return the leaves of any nesting of dicts, lists, tuples and generators, in order.

    ``None`` has no leaves; a string is one leaf.
    """
    if struct is None:
        return []
    if isinstance(struct, dict):
        return [leaf for value in struct.values() for leaf in flatten(value)]
    if isinstance(struct, str) or not isinstance(struct, Iterable):
        return [struct]
    return [leaf for value in struct for leaf in flatten(value)]


def getpaths(struct: Any) -> Any:
    """Replace every task by its ``output()`` and keep the shape; a generator becomes a list."""
    if struct is None:
        return []
    output = getattr(struct, "output", None)
    if output is not None and hasattr(struct, "task_family"):
        return output()
    if isinstance(struct, dict):
        return struct.__class__((key, getpaths(value)) for key, value in struct.items())
    if isinstance(struct, (list, tuple)):
        paths = [getpaths(value) for value in struct]
        if hasattr(struct, "_make"):
            return struct._make(paths)
        return struct.__class__(paths)
    if isinstance(struct, Iterable) and not isinstance(struct, str):
        return [getpaths(value) for value in struct]
    raise TypeError(f"cannot map {struct!r} to tasks: expected a task, list, tuple or dict")
