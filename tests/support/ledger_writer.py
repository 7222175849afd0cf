"""How tasks under test write what they do. Copied beside their module, so that workers import it.

Every execution appends a start and an end line to one file, with one O_APPEND write each, and holds
a file lock of its task while it lives: a second execution at the same time finds the lock taken,
whoever was killed when. ``FLOW_TOKEN`` and ``FLOW_ATTEMPT`` say on whose behalf.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


def note(word: str, task: object, detail: object = "-") -> None:
    """Append one line: what, task, token, attempt, pid, CLOCK_BOOTTIME in ns, detail."""
    fields = (
        word,
        task,
        os.environ.get("FLOW_TOKEN", "-"),
        os.environ.get("FLOW_ATTEMPT", "-"),
        os.getpid(),
        time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        detail,
    )
    fd = os.open(HERE / "ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(fd, ("\t".join(map(str, fields)) + "\n").encode())
    finally:
        os.close(fd)


@contextmanager
def executing(task: object) -> Iterator[None]:
    """Wrap the body of ``run()``; an exception leaves no end line, like a kill."""
    locks = HERE / "locks"
    locks.mkdir(exist_ok=True)
    fd = os.open(locks / str(task), os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note("overlap", task)
        note("start", task)
        yield
        note("end", task)
    finally:
        os.close(fd)


def wait_for(name: str, seconds: float = 600.0) -> None:
    """Block the task until a test opens the gate ``name`` (a file)."""
    until = time.monotonic() + seconds
    while not (HERE / "gates" / name).exists():
        if time.monotonic() > until:
            raise TimeoutError(f"gate {name} stayed shut")
        time.sleep(0.01)
