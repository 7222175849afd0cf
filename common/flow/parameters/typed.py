"""Values of parameters that are no text and have no kind: what ``str()`` makes of them is lost.

Luigi warns of ``luigi.Parameter()`` given ``False``, and lets the task have it. Another process
gets it too: beside its text, spelled with its type. Only what is listed here can be; no other
object is ever made from a message.

Rule R7.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path, PosixPath, PurePath, PurePosixPath
from typing import Any, Final
from uuid import UUID

from flow.parameters.container import FrozenOrderedDict

#: What people may pass, for an error.
KINDS: Final = "a bool, a number, a date or time, a path, None, or tuples, lists and dicts of those"

#: Spelled by JSON as they are.
_PLAIN: Final = (bool, int, float, str, type(None))
_WRITE: Final[dict[type, tuple[str, Callable[[Any], Any]]]] = {
    list: ("list", lambda value: [_written(each) for each in value]),
    tuple: ("tuple", lambda value: [_written(each) for each in value]),
    set: ("set", lambda value: [_written(each) for each in sorted(value, key=repr)]),
    frozenset: ("frozenset", lambda value: [_written(each) for each in sorted(value, key=repr)]),
    dict: ("dict", lambda value: _pairs(value)),
    FrozenOrderedDict: ("frozen", lambda value: _pairs(value)),
    dt.datetime: ("datetime", dt.datetime.isoformat),
    dt.date: ("date", dt.date.isoformat),
    dt.time: ("time", dt.time.isoformat),
    dt.timedelta: ("timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    Decimal: ("decimal", str),
    bytes: ("bytes", lambda value: base64.b64encode(value).decode("ascii")),
    UUID: ("uuid", str),
    PosixPath: ("path", str),
    PurePosixPath: ("pure", str),
}
_READ: Final[dict[str, Callable[[Any], Any]]] = {
    "list": lambda found: [_read(each) for each in found],
    "tuple": lambda found: tuple(_read(each) for each in found),
    "set": lambda found: {_read(each) for each in found},
    "frozenset": lambda found: frozenset(_read(each) for each in found),
    "dict": lambda found: {_read(key): _read(value) for key, value in found},
    "frozen": lambda found: FrozenOrderedDict((_read(key), _read(each)) for key, each in found),
    "datetime": dt.datetime.fromisoformat,
    "date": dt.date.fromisoformat,
    "time": dt.time.fromisoformat,
    "timedelta": lambda found: dt.timedelta(*found),
    "decimal": Decimal,
    "bytes": base64.b64decode,
    "uuid": UUID,
    "path": Path,
    "pure": PurePath,
}


class Untold(ValueError):
    """A value that cannot be told to another process."""


def write(values: Mapping[str, Any]) -> str:
    """Spell values by name. Raises ``Untold`` for what is not one of ``KINDS``."""
    return json.dumps({name: _written(value) for name, value in values.items()})


def read(text: str) -> dict[str, Any]:
    """Read what ``write`` wrote. Raises ``ValueError`` for anything else."""
    try:
        return {name: _read(value) for name, value in json.loads(text).items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a map of values with their types: {error!r}") from None


def _written(value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return _written(value.item())  # one number of it
    known = _WRITE.get(type(value))
    if known is None:
        raise Untold(type(value).__name__)
    return {known[0]: known[1](value)}


def _pairs(value: Mapping[Any, Any]) -> list[Any]:
    return [[_written(key), _written(each)] for key, each in value.items()]


def _read(value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    ((kind, found),) = value.items()
    return _READ[kind](found)
