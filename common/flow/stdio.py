"""Standard streams as they are found: not UTF-8 (cron, old locales), closed (daemons), or None.

A run must not fail for what its words are written to.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any


def make_writable() -> None:
    """Have both streams take any text, and keep the numbers of closed ones from other files.

    What the encoding of a stream has not is written as an escape, as on stderr already.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (for the rest of the process)
        else:
            # whatever somebody put in its place has its own way
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.reconfigure(errors="backslashreplace")
