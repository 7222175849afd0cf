"""How much one reply may carry: lists end where it is full, long values are cut.

Whatever a module calls its families, passes as parameters or says in its errors, an answer must fit
into a message; who asked tells how much is left out.

Rule C8.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TypeVar

import msgspec

#: Of each list in a reply. A message may be twice as large (``MESSAGE_BYTES_MAX``).
FILL_BYTES = 256 << 10
#: Parameters of a task that are shown, and characters of a name.
PARAMS_SHOWN_MAX = 100
NAME_CHARACTERS_MAX = 200
#: A value is shown with at least this many characters.
VALUE_CHARACTERS_MIN = 16

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode


def fitting(items: Iterable[T], bytes_max: int = FILL_BYTES) -> list[T]:
    """Return the first items that take so much together as a message spells them; at least one."""
    found: list[T] = []
    for item in items:
        bytes_max -= len(_encode(item))
        if bytes_max < 0 and found:
            break
        found.append(item)
    return found


def brief(named: dict[str, str], bytes_max: int) -> dict[str, str]:
    """Return parameters with values so short that all of them take about so much."""
    if sum(len(name) + len(value) for name, value in named.items()) * 4 <= bytes_max:
        return named  # no character takes more than four bytes
    some = list(islice(named.items(), PARAMS_SHOWN_MAX))
    share = max(VALUE_CHARACTERS_MIN, bytes_max // (4 * len(some)))
    return {cut(name, NAME_CHARACTERS_MAX): cut(value, share) for name, value in some}


def cut(text: str, characters_max: int) -> str:
    """Return text that is no longer than this, with a mark where it was cut."""
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"
