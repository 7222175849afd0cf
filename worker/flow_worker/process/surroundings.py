"""What a task may change around itself, and how the next task does not notice.

Everything here runs after every task, so each look is one or two system calls and something is
undone only where something was done.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import time
from collections.abc import Iterable
from typing import Any

from flow_worker.process import kill

_WATCHED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGCHLD,
    signal.SIGHUP,
    signal.SIGALRM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGPIPE,
)
#: How long to wait for one killed process before looking again.
KILLED_WAIT_S = 0.5
TOKEN = "FLOW_TOKEN"
ATTEMPT = "FLOW_ATTEMPT"


# signal.getsignal() makes an enum of the answer, which takes ten times as long as asking.
_getsignal: Any = getattr(importlib.import_module("_signal"), "getsignal", signal.getsignal)


class Identity:
    """FLOW_TOKEN and FLOW_ATTEMPT of the running task, for it and the programs it starts."""

    def begin(self, token: str, attempt: int) -> None:
        """Set them."""
        os.environ[TOKEN] = token
        os.environ[ATTEMPT] = str(attempt)

    def end(self) -> None:
        """Remove them again."""
        os.environ.pop(TOKEN, None)
        os.environ.pop(ATTEMPT, None)


class Surroundings(Identity):
    """The state of this process before its first task, which every task finds again."""

    def __init__(self) -> None:
        self._cwd = os.getcwd()
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._handlers = {number: _getsignal(number) for number in _WATCHED}
        self._environ = dict(_environ())

    def begin(self, token: str, attempt: int) -> None:
        """Set them; past ``os.environ``, whose checks and encoding take longer than the rest."""
        for key, text in ((TOKEN, token), (ATTEMPT, str(attempt))):
            name, value = key.encode(), text.encode()
            os.putenv(name, value)
            _environ()[name] = self._environ[name] = value

    def end(self) -> None:
        """Undo what the last task changed: directory, umask, handlers, timer, environment."""
        try:
            moved = os.getcwd() != self._cwd
        except OSError:
            moved = True  # it stood in a directory that is gone
        if moved:
            with contextlib.suppress(OSError):
                os.chdir(self._cwd)
        os.umask(self._umask)
        for number, handler in self._handlers.items():
            if _getsignal(number) is not handler:
                signal.signal(number, handler)
        if signal.getitimer(signal.ITIMER_REAL)[0]:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self._restore_environ()

    def _restore_environ(self) -> None:
        now = _environ()
        if now == self._environ:
            return
        for key in [key for key in now if key not in self._environ]:
            del os.environ[os.fsdecode(key)]
        for key, value in self._environ.items():
            if now.get(key) != value:
                os.environ[os.fsdecode(key)] = os.fsdecode(value)


def _environ() -> dict[Any, Any]:
    # The dict of bytes behind os.environ: comparing it takes 1 microsecond, decoding it 15.
    return os.environ._data  # type: ignore[attr-defined,no-any-return]


class Offspring:
    """Processes that tasks started below this one."""

    def __init__(self) -> None:
        self._kept: list[kill.Entry] = []

    def here(self) -> bool:
        """Whether this process has any child at all. Cost: one system call."""
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def keep(self) -> list[kill.Entry]:
        """Let the processes of a task that is parked live; returns them."""
        known = {one.pid for one in self._kept}
        new = [one for one in kill.descendants(os.getpid()) if one.pid not in known]
        self._kept += new
        return new

    def release(self, kept: Iterable[kill.Entry]) -> None:
        """The parked task goes on: from now on its processes end with it."""
        gone = {(one.pid, one.started) for one in kept}
        self._kept = [one for one in self._kept if (one.pid, one.started) not in gone]

    def wait(self, seconds: float) -> None:
        """Wait for all processes to end by themselves, but not longer than this."""
        until = time.monotonic() + seconds
        while self.here() and (left_s := until - time.monotonic()) > 0:
            for one in kill.descendants(os.getpid()):
                kill.wait_for(one, min(left_s, KILLED_WAIT_S))
            _reap()

    def end(self) -> None:
        """Kill and reap what the last task left running, grandchildren and setsid included."""
        for _ in range(kill.ROUNDS_MAX):
            _reap()
            processes = kill.table()
            kept = {one.pid for one in self._kept}
            kept |= {one.pid for one in kill.below(processes, kept)}
            below = kill.below(processes, [os.getpid()])
            left = [one for one in below if one.pid not in kept]
            if not left:
                return
            for one in left:
                kill.send(one, signal.SIGSTOP)
            for one in left:
                kill.send(one, signal.SIGKILL)
            # Direct children are waited for; deeper ones are adopted and found next round.
            for one in left:
                kill.wait_for(one, KILLED_WAIT_S)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
