"""A function run in a child of its own: what it does to its process is nobody else's."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from flow_worker.guard import birth, kill


def in_child(work: Callable[[], Any]) -> Any:
    """Return what ``work`` returned in a forked subreaper; fail with its traceback if it raised.

    Only what JSON can say comes back. Whatever the child started is killed.
    """
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_child(work, writer, parent)
    os.close(writer)
    child = kill.entry(pid)
    assert child is not None
    try:
        with open(reader, "rb") as file:
            line = file.readline()  # not to its end: grandchildren hold the pipe, too
    finally:
        kill.kill_trees([child])
        os.waitpid(pid, 0)
    assert line, "the child ended without an answer"
    raised, result = json.loads(line)
    assert not raised, raised
    return result


def _be_child(work: Callable[[], Any], writer: int, parent: int) -> None:
    answer: tuple[str, Any]
    try:
        birth.die_with(parent)
        birth.reset_signals()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the time-out of the test is its parent's
        answer = "", work()
        text = json.dumps(answer)
    except BaseException:
        text = json.dumps((traceback.format_exc(), None))
    sys.stdout.flush()
    os.write(writer, text.encode() + b"\n")
    os.kill(
        os.getpid(), signal.SIGKILL
    )  # no handler of pytest's, and nothing that the work left, runs
