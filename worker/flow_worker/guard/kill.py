"""Find and kill whole process trees on Linux (rule W9), without ever hitting a reused pid.

A process is named by (pid, start time). Signals go through a pidfd that was opened *before* the
start time was compared, so the process signalled is the process that was meant.

Source: proc(5) for ``stat``, pidfd_open(2), prctl(2) for PR_SET_CHILD_SUBREAPER.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
from collections.abc import Iterable
from typing import NamedTuple

#: Rounds of "scan, kill what is new" before a tree is left to the next tick.
ROUNDS_MAX = 64

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)
#: The id of this process, whatever user code makes of ``os.getpid``: whoever says 1 there would
#: have everything on the host killed as its offspring.
own_pid = os.getpid


class ProcessEntry(NamedTuple):
    """One line of the process table."""

    pid: int
    parent: int
    state: str  #: one letter of proc(5); "Z" and "X" no longer run
    started: int  #: clock ticks since boot: with the pid, unique
    session: int = 0

    @property
    def runs(self) -> bool:
        """Whether it can still execute anything."""
        return self.state not in "ZX"


def prctl(option: int, value: int) -> None:
    """Call prctl(2). Raises ``OSError``."""
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def name_process(name: str) -> None:
    """Show this name in ps and top instead of ``python``."""
    _libc.prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def entry(pid: int) -> ProcessEntry | None:
    """Read one process; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            line = file.read(1024)
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command in parentheses may itself hold spaces and parentheses.
    fields = line[line.rindex(b")") + 2 :].split()
    return ProcessEntry(pid, int(fields[1]), chr(fields[0][0]), int(fields[19]), int(fields[3]))


def table() -> dict[int, ProcessEntry]:
    """Read the process table. Cost: about 12 microseconds a process of the host."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (one := entry(int(name))) is not None:
            found[one.pid] = one
    return found


def below(processes: dict[int, ProcessEntry], roots: Iterable[int]) -> list[ProcessEntry]:
    """Return every descendant of ``roots`` in one reading of the table, parents first."""
    children: dict[int, list[ProcessEntry]] = {}
    for one in processes.values():
        children.setdefault(one.parent, []).append(one)
    found: list[ProcessEntry] = []
    todo = list(roots)
    seen = set(todo)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child.pid not in seen:
                seen.add(child.pid)
                found.append(child)
                todo.append(child.pid)
    return found


def descendants(pid: int) -> list[ProcessEntry]:
    """Return every process below ``pid``, zombies included."""
    return below(table(), [pid])


def family(pid: int) -> list[ProcessEntry]:
    """Return what is below ``pid``, parents first, at the cost of that tree and not of the host.

    For looking, not for killing: who loses its parent at this very moment may be missing. Cost:
    about 35 microseconds a process. Source: proc(5) for ``children``; kernels may be built without.
    """
    if not os.path.exists(f"/proc/{pid}/task/{pid}/children"):
        return descendants(pid)
    found: list[ProcessEntry] = []
    todo = [pid]
    while todo:
        for child in _children(todo.pop()):
            if (one := entry(child)) is not None:
                found.append(one)
                if one.runs:
                    todo.append(child)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    # A process that ends meanwhile has none any more.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def ignores(pid: int, number: int) -> bool:
    """Whether a process takes no notice of a signal. Source: proc(5), ``SigIgn`` of ``status``."""
    with (
        contextlib.suppress(FileNotFoundError, ProcessLookupError),
        open(f"/proc/{pid}/status", "rb") as file,
    ):
        for line in file:
            if line.startswith(b"SigIgn:"):
                return bool(int(line.split()[1], 16) >> number - 1 & 1)
    return False


def send(one: ProcessEntry, number: int) -> bool:
    """Signal exactly this process; False when it is gone (or not ours to signal)."""
    try:
        fd = os.pidfd_open(one.pid)
    except OSError:
        return False
    try:
        now = entry(one.pid)
        if now is None or now.started != one.started:
            return False
        signal.pidfd_send_signal(fd, number)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def wait_for(one: ProcessEntry, seconds: float) -> None:
    """Wait until this process has ended, or for so long. It stays a zombie until it is reaped."""
    try:
        fd = os.pidfd_open(one.pid)
    except OSError:
        return
    try:
        now = entry(one.pid)
        if now is not None and now.started == one.started:
            select.select([fd], [], [], seconds)
    finally:
        os.close(fd)


def signal_trees(roots: list[ProcessEntry], number: int) -> None:
    """Send one signal once to each root and to everything below it, roots first."""
    processes = table()
    alive = [root for root in roots if _same(processes, root)]
    for one in alive + below(processes, [root.pid for root in alive]):
        if one.runs:
            send(one, number)


def kill_trees(roots: list[ProcessEntry]) -> bool:
    """SIGKILL the roots and everything below them; True when nothing of it can run any more.

    A root is stopped first and killed last: it is the subreaper of its tree, so whatever loses
    its parent meanwhile stays below it and is found by the next round.
    """
    stopped = [root for root in roots if send(root, signal.SIGSTOP)]
    for _ in range(ROUNDS_MAX):
        processes = table()
        alive = [root for root in stopped if _same(processes, root)]
        running = [one for one in below(processes, [r.pid for r in alive]) if one.runs]
        if not running:
            break
        for one in running:
            send(one, signal.SIGSTOP)
        for one in running:
            send(one, signal.SIGKILL)
    for root in stopped:
        send(root, signal.SIGKILL)
    return not trees_alive(roots)


def trees_alive(roots: list[ProcessEntry]) -> bool:
    """Whether any root, or anything below one, can still execute."""
    processes = table()
    alive = [root for root in roots if _same(processes, root)]
    return any(one.runs for one in below(processes, [r.pid for r in alive])) or any(
        processes[root.pid].runs for root in alive
    )


def _same(processes: dict[int, ProcessEntry], one: ProcessEntry) -> bool:
    now = processes.get(one.pid)
    return now is not None and now.started == one.started
