"""Walking the nested shapes that ``requires()``, ``output()`` and ``yield`` may have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def flatten(struct: Any) -> list[Any]:
    """Return the leaves of any nesting of dicts, lists, tuples and generators, in order.

    ``None`` has no leaves; a string is one leaf.
    """
    if struct is None:
        return []
    if isinstance(struct, dict):
        return [leaf for value in struct.values() for leaf in flatten(value)]
    items = items_of(struct)
    return [struct] if items is None else [leaf for value in items for leaf in flatten(value)]


def items_of(struct: Any) -> Iterator[Any] | None:
    """Begin to go through what is within a value; None: it is one thing, as a string is.

    As with Luigi, ``iter()`` itself is asked: an output of a class whose ``__iter__`` raises
    ``TypeError`` is one, and so iterates what has only ``__getitem__``.
    """
    if isinstance(struct, str):
        return None
    try:
        items: Iterator[Any] = iter(struct)
    except TypeError:
        return None
    return items


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
    items = items_of(struct)
    if items is not None:
        return [getpaths(value) for value in items]
    raise TypeError(f"cannot map {struct!r} to tasks: expected a task, list, tuple or dict")
