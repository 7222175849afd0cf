"""Write several parameter values as one short text: ``1...4``, ``2026-01-01...2026-01-31``."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: More consecutive values than this become ``first...last``.
LIST_MAX = 3
#: A longer value is cut in its middle.
VALUE_CHARS_MAX = 60

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_MONTH = re.compile(r"\d{4}-\d\d")
_HOUR = re.compile(r"\d{4}-\d\d-\d\dT\d\d")
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")


def show_values(values: Sequence[str], *, whole: bool = True) -> str:
    """Write the distinct values of one parameter; not ``whole``: more exist than are given."""
    if len(values) == 1:
        return cut(values[0])
    if whole and len(values) > LIST_MAX:
        ordered = _consecutive(values)
        if ordered:
            return f"{ordered[0]}...{ordered[-1]}"
    if whole and len(values) <= LIST_MAX:
        return ",".join(cut(each) for each in values)
    return "..."


def cut(value: str) -> str:
    """Cut a long value in its middle."""
    if len(value) <= VALUE_CHARS_MAX:
        return value
    half = (VALUE_CHARS_MAX - 3) // 2
    return f"{value[:half]}...{value[-half:]}"


def _consecutive(values: Sequence[str]) -> list[str]:
    """Sort values that follow one another without a gap; empty if they do not."""
    numbers: list[tuple[int, str]] = []
    for kind, number in ((_INTEGER, int), (_DAY, _day), (_MONTH, _month), (_HOUR, _hour)):
        if all(kind.fullmatch(each) for each in values):
            try:
                numbers = sorted((number(each), each) for each in values)
            except ValueError:  # looks like a date and is none
                return []
            break
    if not numbers or numbers[-1][0] - numbers[0][0] != len(values) - 1:
        return []
    return [each for _, each in numbers]


def _day(value: str) -> int:
    from datetime import date

    return date.fromisoformat(value).toordinal()


def _month(value: str) -> int:
    year, month = value.split("-")
    return int(year) * 12 + int(month)


def _hour(value: str) -> int:
    return _day(value[:10]) * 24 + int(value[11:])
