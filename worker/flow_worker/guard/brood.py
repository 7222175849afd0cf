"""What the supervisor and each template know of the processes they forked, until all is reaped.

Both are the subreaper of what they fork, so whatever loses its parent below them becomes their
child. A child that was never forked here is a *stray*: what a dead task process left behind. It is
killed, and the death of the task process is told only when no stray is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

import msgspec

from flow_worker.guard import control, kill

#: How long strays may survive SIGKILL before their task process counts as stuck.
STUCK_S = 5.0
#: While strays are dying, how often to look.
STRAY_POLL_S = 0.02


class ForkedProcess(msgspec.Struct):
    """One forked task process."""

    process: int
    entry: kill.ProcessEntry
    ended: tuple[int, int, bool] | None = None  #: (signal, code, oom) once reaped
    since: float = 0.0
    stuck: bool = False


class Brood:
    """Processes by pid. ``tell`` is called with Born, Gone and Stuck."""

    def __init__(self, tell: Callable[[control.Packet], None]) -> None:
        self._tell = tell
        self.tasks: dict[int, ForkedProcess] = {}
        #: Children that were here before the first fork: not to be touched.
        self.strangers: frozenset[int] = frozenset()
        #: Children that are no task processes, and not strays either.
        self.others: dict[int, None] = {}
        #: When strays were first seen that are not gone yet.
        self.strays_since: float | None = None

    def settle(self) -> None:
        """Take the children that are here now for somebody else's."""
        own = kill.own_pid()
        self.strangers = frozenset(one.pid for one in kill.family(own) if one.parent == own)

    def add(self, process: int, pid: int) -> None:
        """Know a process that was just forked."""
        entry = kill.entry(pid)
        assert entry is not None  # not reaped yet, so it is in the table
        self.tasks[pid] = ForkedProcess(process, entry)
        self._tell(control.Born(process, pid, entry.started))

    def reaped(self, pid: int, status: int, oom: bool) -> bool:
        """Note the end of a child; False where it is none of the task processes."""
        task = self.tasks.get(pid)
        if task is None:
            self.others.pop(pid, None)
            return False
        code = os.waitstatus_to_exitcode(status)
        task.ended = (max(0, -code), max(0, code), code == -signal.SIGKILL and oom)
        task.since = control.boottime()
        return True

    def tell_ended(self, now: float) -> None:
        """Report reaped task processes once nothing that they left behind is alive."""
        ended = [task for task in self.tasks.values() if task.ended is not None]
        if not ended:
            return
        strays = self.kill_strays()
        self.strays_since = now if strays else None
        for task in ended:
            assert task.ended is not None
            if not strays:
                del self.tasks[task.entry.pid]
                self._tell(control.Gone(task.process, task.entry.pid, *task.ended))
            elif now - task.since > STUCK_S and not task.stuck:
                task.stuck = True
                self._tell(control.Stuck(task.process))

    def kill_strays(self) -> list[kill.ProcessEntry]:
        """SIGKILL every child that is neither ours nor was here before; return who still runs."""
        known = self.tasks.keys() | self.others.keys() | self.strangers
        strays = [one for one in children() if one.runs and one.pid not in known]
        if strays:
            kill.kill_trees(strays)
        return strays

    def kill_all(self) -> None:
        """SIGKILL every task process with its tree."""
        kill.kill_trees([task.entry for task in self.tasks.values() if task.ended is None])


def children() -> list[kill.ProcessEntry]:
    """Read the children of this process. Cost: the whole process table."""
    own = kill.own_pid()
    return [one for one in kill.table().values() if one.parent == own]


def dead_children() -> list[tuple[int, int]]:
    """Reap every child that has ended; return (pid, status) of each."""
    found = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            found.append((pid, status))
    return found
