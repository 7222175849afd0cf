"""Log lines of the two servers: a constant phrase plus fields, to stderr, one line each.

``2026-11-20T10:02:48.012Z info joined worker=node-1 held=0``. User code's logging is never touched:
this writes by itself and knows nothing of the ``logging`` module.
"""

from __future__ import annotations

import sys
import time
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")
#: Of one field's text: a log line stays a line.
FIELD_CHARACTERS_MAX = 2000


class Log:
    """Where one server writes. ``fixed``: fields that each of its lines begins with."""

    def __init__(self, level: str = "info", stream: TextIO | None = None, **fixed: object) -> None:
        self._least = LEVELS.index(level)
        self._stream = stream
        self._fixed = _pairs(fixed)

    def say(self, level: str, phrase: str, /, **fields: object) -> None:
        """Write one line; control characters are escaped, so that no field forges another line."""
        if LEVELS.index(level) < self._least:
            return
        now = time.time()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        start = f"{at}.{int(now % 1 * 1000):03d}Z {level} {phrase}"
        stream = self._stream or sys.stderr
        try:
            # in one piece, since processes share the stream
            stream.write(f"{start}{self._fixed}{_pairs(fields)}\n")
            stream.flush()
        except (OSError, ValueError):
            # a closed or full log must never stop the engine
            return


def _pairs(fields: dict[str, object]) -> str:
    return "".join(f" {name}={_text(value)}" for name, value in fields.items())


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)[:FIELD_CHARACTERS_MAX]
    if text and text.isprintable() and not set(text) & {" ", '"', "="}:
        return text
    return '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'
