"""What a task asks and what a worker or the cluster has: names and amounts.

An amount is a number, or text with a unit (``"9GB"``, ``"512MiB"``) for things counted in bytes.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping

from flow.errors import UsageError

_UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
#: A larger amount counts bytes; nobody has a million of anything else.
COUNT_MAX = 10**6
#: How sizes are said, largest first: binary units, and decimal ones for what was written in them.
_SAID = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_SAID_DECIMAL = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6))
#: Largest amount that a float still counts exactly.
AMOUNT_MAX = float(2**53)


def parse_amount(name: str, value: object) -> float:
    """Read one amount. Raises ``UsageError`` naming the resource and what would be right."""
    amount = math.nan
    if isinstance(value, numbers.Real) and not isinstance(value, bool):  # numpy's are such, too
        amount = float(value)
    elif isinstance(value, str):
        amount = _parse_text(value)
    if math.isnan(amount) or not 0 <= amount <= AMOUNT_MAX:
        raise UsageError(
            f"resource {name}: {value!r} is not an amount, expected a number from 0 or a size"
            ' such as "9GB"'
        )
    return amount


def _parse_text(text: str) -> float:
    digits = text.strip().lower().removesuffix("b")
    number = digits.rstrip("kmgti ")
    unit = digits[len(number) :].strip()
    try:
        return float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        return math.nan


def parse_demand(resources: Mapping[str, object]) -> dict[str, float]:
    """Read a task's ``resources``; amounts of 0 ask for nothing and are left out."""
    amounts = {str(name): parse_amount(str(name), value) for name, value in resources.items()}
    return {name: amounts[name] for name in sorted(amounts) if amounts[name] > 0}


def parse_pairs(text: str) -> dict[str, float]:
    """Read ``gpu=1,db=2`` as typed on a command line. Raises ``UsageError``."""
    pairs: dict[str, float] = {}
    for piece in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = piece.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"resources: {piece!r} is not NAME=AMOUNT, as in gpu=1,db=2")
        pairs[name.strip()] = parse_amount(name.strip(), value)
    return pairs


def said_bytes(count: float) -> str:
    """Spell a number of bytes for people: ``16 GiB``, and ``9 GB`` where it is that exactly."""
    for unit, size in _SAID:
        if count >= size:
            binary = f"{_rounded(count / size)} {unit}"
            return binary if _parse_text(binary) == count else _decimal(count) or binary
    return f"{count:.0f} B"


def said_amount(amount: float) -> str:
    """Spell an amount for people; of a large one nobody says that it counts bytes, but it does."""
    return said_bytes(amount) if amount > COUNT_MAX else f"{amount:g}"


def typed_amount(amount: float) -> str:
    """Spell an amount as it is typed in settings and commands: ``16GiB``; it is read as no less."""
    text = said_amount(amount).replace(" ", "")
    return text if _parse_text(text) == amount else f"{math.ceil(amount)}"


def _decimal(count: float) -> str:
    """Spell a number of bytes as somebody has written it in decimal units; empty: nobody has."""
    texts = (f"{_rounded(count / size)} {unit}" for unit, size in _SAID_DECIMAL if count >= size)
    return next((text for text in texts if _parse_text(text) == count), "")


def _rounded(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
