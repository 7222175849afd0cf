"""Log lines of the two servers: a constant phrase plus fields, to stderr, one line each.

``2026-11-20T10:02:48Z info worker joined worker=node-1 slots=8``. User code's logging is never
touched: this writes by itself and knows nothing of the ``logging`` module.
"""

from __future__ import annotations

import sys
import time
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")
#: Of one field's text: a log line stays a line.
FIELD_CHARACTERS_MAX = 300


class Log:
    """Where one server writes."""

    def __init__(self, level: str = "info", stream: TextIO | None = None) -> None:
        self._least = LEVELS.index(level)
        self._stream = stream

    def say(self, level: str, phrase: str, **fields: object) -> None:
        """Write one line; control characters are escaped, so that no field forges another line."""
        if LEVELS.index(level) < self._least:
            return
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        pairs = "".join(f" {name}={_text(value)}" for name, value in fields.items())
        try:
            print(f"{at} {level} {phrase}{pairs}", file=self._stream or sys.stderr, flush=True)
        except (OSError, ValueError):
            # a closed or full log must never stop the engine
            return


def _text(value: object) -> str:
    text = str(value)[:FIELD_CHARACTERS_MAX]
    if text.isprintable() and " " not in text and '"' not in text:
        return text
    return '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'
