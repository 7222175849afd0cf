"""The agent's log lines on stderr: a constant phrase and fields. Tasks' logging is theirs."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
#: Characters of one field in a line.
FIELD_CHARACTERS_MAX = 2000


class Log:
    """Writes ``time level phrase key=value ...``, one line each, whatever the fields contain."""

    def __init__(self, level: str = "info", **fixed: object) -> None:
        self._level = _LEVELS[level]
        self._fixed = "".join(f" {key}={_spell(value)}" for key, value in fixed.items())

    def __call__(self, phrase: str, fields: Mapping[str, object], level: str = "info") -> None:
        """Write one line."""
        if _LEVELS[level] < self._level:
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        text = "".join(f" {key}={_spell(value)}" for key, value in fields.items())
        line = f"{stamp}.{int(now % 1 * 1000):03d}Z {level} {phrase}{self._fixed}{text}\n"
        try:
            sys.stderr.write(line)
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # a closed stderr must not end the agent


def _spell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)[:FIELD_CHARACTERS_MAX]
    plain = text.isprintable() and text and not set(text) & {" ", '"', "="}
    return text if plain else ascii(text)
