"""Results on stdout: tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from flow.visible import printable

#: Wider cells are cut, so that a long parameter does not push the rest off the screen.
CELL_CHARS_MAX = 60


def plain(value: Any) -> Any:
    """Turn a message value into what JSON can hold, with field names."""
    fields = getattr(value, "__struct_fields__", None)
    if fields is not None:
        return {name: plain(getattr(value, name)) for name in fields if name != "request"}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def print_json(value: Any) -> None:
    """Write one JSON value as one line."""
    import json

    print(json.dumps(plain(value)), flush=True)


def print_table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    below: Sequence[Sequence[str]] = (),
) -> None:
    """Write aligned columns; ``below``: lines under each row, where given."""
    cells = [list(head), *([_cell(each) for each in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    for at, row in enumerate(cells, -1):
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        print(line.rstrip())
        for each in below[at] if 0 <= at < len(below) else ():
            print(printable(f"  ! {each}").replace("\n", " "))


def say(text: str) -> None:
    """Talk to the person, on stderr."""
    print(text, file=sys.stderr, flush=True)


def _cell(value: object) -> str:
    text = printable(str(value)).replace("\n", " ")
    return text if len(text) <= CELL_CHARS_MAX else text[: CELL_CHARS_MAX - 1] + "…"
