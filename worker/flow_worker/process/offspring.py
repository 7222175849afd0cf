"""Processes that tasks start below this one: whose they are, who stays, who is killed.

What a task leaves after a success stays: a pool, a fork server or a gateway that its module keeps
works for the next task. After a failure the attempt's own tree is killed: whatever appeared since
the attempt began and belongs neither to an earlier success nor to a parked generator.

Ended children are left to those who started them: a ``Popen`` or a pool that a module keeps wants
their exit codes, and cannot get them once somebody else did. Only what this process never started
is reaped here: orphans that it adopted, as the subreaper of its tree.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable

from flow_worker.guard import kill

#: How long to wait for one killed process before looking again.
KILLED_WAIT_S = 0.5
#: Ended children for which nobody has waited.
UNCLAIMED_MAX = 64
#: Nanoseconds in one tick of ``kill.ProcessEntry.started``.
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

#: (pid, start time): one process for ever.
_Who = tuple[int, int]


class Offspring:
    """Processes that tasks started below this one.

    Called by the runner: ``begin`` where an attempt begins or goes on, followed by ``release`` if
    it had been parked, and then one of ``succeeded``, ``failed`` and ``keep``.
    """

    def __init__(self) -> None:
        #: Why this process must retire, as ``Surroundings.end`` says it; empty: for nothing yet.
        self.reason = ""
        self._since = 0
        #: False: there was none at the last look, so that all that comes is the next attempt's.
        self._any = True
        #: Of earlier successes; written down only to tell them from what began in the same tick.
        self._kept: set[_Who] = set()
        self._parked: list[kill.ProcessEntry] = []
        #: Seen below another process than this one: if they come here, they were adopted.
        self._elsewhere: set[_Who] = set()
        self._sessions = {os.getsid(0)}

    def here(self) -> bool:
        """Whether this process has any child at all. Cost: one system call."""
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def begin(self) -> None:
        """Take what appears from now on for the attempt's. Cost: at most reading the clock."""
        self._since = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // _TICK_NS if self._any else 0

    def succeeded(self) -> int:
        """Let everything live that is there now; return how many processes that are.

        Cost: one system call without any; 35 microseconds for each that there is.
        """
        if not self.here():
            if self._any:
                self._kept.clear()
                self._elsewhere.clear()
                self._any = False
            return 0
        self._any = True
        below = kill.family(kill.own_pid())
        self._reap(below)
        parked = self._of_parked(below)
        self._kept = {_who(one) for one in below if one.runs and one.pid not in parked}
        return sum(one.runs for one in below)

    def failed(self) -> list[kill.ProcessEntry]:
        """Kill the attempt's tree, setsid included; return what had to be killed."""
        killed: dict[_Who, kill.ProcessEntry] = {}
        if self.here():
            self._any = True
            for _ in range(kill.ROUNDS_MAX):
                below = kill.descendants(kill.own_pid())
                left = self._own(below)
                if not left:
                    self._reap(below)
                    break
                _kill(left)
                killed.update((_who(one), one) for one in left)
        if killed and not self.reason:
            what = "a process" if len(killed) == 1 else f"{len(killed)} processes"
            self.reason = f"failed and left {what} running"
        return list(killed.values())

    def keep(self) -> list[kill.ProcessEntry]:
        """Let the processes of an attempt that parks live; returns them."""
        if not self.here():
            return []
        self._any = True
        below = kill.descendants(kill.own_pid())
        self._reap(below)
        new = self._own(below)
        self._parked += new
        return new

    def release(self, kept: Iterable[kill.ProcessEntry]) -> None:
        """The parked attempt goes on: what it kept, and what came of that, is its own again."""
        gone = {_who(one) for one in kept}
        self._parked = [one for one in self._parked if _who(one) not in gone]
        self._since = min([self._since, *(started for _, started in gone)])

    def wait(self, seconds: float) -> None:
        """Wait for all processes to end after SIGTERM, but not longer than this."""
        until = time.monotonic() + seconds
        while self.here() and (left_s := until - time.monotonic()) > 0:
            # A service like multiprocessing's resource tracker ends after this process only.
            running = [
                one
                for one in kill.descendants(kill.own_pid())
                if one.runs and not (_who(one) in self._kept and kill.ignores(one.pid, _TERM))
            ]
            if not running:
                return
            for one in running:
                kill.wait_for(one, min(left_s, KILLED_WAIT_S))

    def end(self) -> None:
        """Kill everything: this process is about to end."""
        for _ in range(kill.ROUNDS_MAX):
            running = [one for one in kill.descendants(kill.own_pid()) if one.runs]
            if not running:
                return
            _kill(running)

    # ------------------------------------------------------------ inside

    def _own(self, below: list[kill.ProcessEntry]) -> list[kill.ProcessEntry]:
        """Choose what runs, is not older than the attempt, and belongs to nobody else."""
        parked = self._of_parked(below)
        return [
            one
            for one in below
            if one.runs
            and one.started >= self._since
            and _who(one) not in self._kept
            and one.pid not in parked
        ]

    def _of_parked(self, below: list[kill.ProcessEntry]) -> set[int]:
        """Return the pids of what parked generators kept, and of what came of that meanwhile."""
        if not self._parked:
            return set()
        known = {_who(one) for one in self._parked}
        roots = {one.pid for one in below if _who(one) in known}
        return roots | {one.pid for one in kill.below({one.pid: one for one in below}, roots)}

    def _reap(self, below: list[kill.ProcessEntry]) -> None:
        """Reap orphans that were adopted and have ended.

        Adopted is who was seen below another process before, and who is in a session that neither
        it nor this process began: some ancestor between the two did.
        """
        own = kill.own_pid()
        self._sessions.add(os.getsid(0))
        unclaimed = 0
        for one in below:
            if one.parent != own or one.runs:
                continue
            strange = one.session != one.pid and one.session not in self._sessions
            if strange or _who(one) in self._elsewhere:
                with contextlib.suppress(ChildProcessError):  # a task's thread was faster
                    os.waitpid(one.pid, os.WNOHANG)
            else:
                unclaimed += 1
        self._elsewhere &= {_who(one) for one in below}
        self._elsewhere |= {_who(one) for one in below if one.parent != own}
        if unclaimed > UNCLAIMED_MAX and not self.reason:
            self.reason = f"left {unclaimed} ended processes that nobody waits for"


_TERM = signal.SIGTERM


def _who(one: kill.ProcessEntry) -> _Who:
    return one.pid, one.started


def _kill(running: list[kill.ProcessEntry]) -> None:
    for one in running:
        kill.send(one, signal.SIGSTOP)
    for one in running:
        kill.send(one, signal.SIGKILL)
    # Whoever loses its parent by that is adopted, and found by the next look.
    for one in running:
        kill.wait_for(one, KILLED_WAIT_S)
