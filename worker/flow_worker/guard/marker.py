"""A marker in the environment of everything a worker starts, so that leftovers can be found.

Whoever dies last may die without a chance to clean up. So the supervisor's environment *at exec*
carries ``FLOW_WORKER=<uid>.<pid>.<start time>.<boot>.<pid namespace>``; forks inherit the memory
that ``/proc/<pid>/environ`` shows, and programs started by tasks inherit the variable. A later
worker reads it back, sees whether that supervisor still lives, and kills what is left if not.
Processes of another boot or another pid namespace are never touched: their pids mean nothing here.
"""

from __future__ import annotations

import ctypes
import os
import sys

from flow.wire.ids import new_uid
from flow_worker.guard import kill

VARIABLE = "FLOW_WORKER"
#: Room for any marker; a caller that sets this many dots in advance saves the second exec.
MARKER_CHARS = 112
PLACEHOLDER = "." * MARKER_CHARS
#: An environment larger than this is not searched.
ENVIRON_BYTES_MAX = 1 << 20


def ensure_marked() -> str:  # noqa: RET503  (execv does not return)
    """Make this process carry its own marker; returns it. May exec the same command again.

    Call it first thing in the supervisor, before anything is imported or opened.
    """
    mine = _own_prefix()
    found = os.environ.get(VARIABLE, "")
    if found.rstrip(".").partition(".")[2] == mine:
        return found
    marker = f"{new_uid()}.{mine}".ljust(MARKER_CHARS, ".")
    os.environ[VARIABLE] = marker
    if found == PLACEHOLDER and _write_in_place(found, marker):
        return marker
    if marker_of(os.getpid()) == marker:
        return marker
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def kill_marked(marker: str) -> bool:
    """SIGKILL every other process that carries this marker; True when none can run any more."""
    found = [one for one in _marked() if one[1] == marker and one[0].pid != os.getpid()]
    return not found or kill.kill_trees([one for one, _ in found])


def kill_dead_workers_leftovers() -> int:
    """SIGKILL what workers left here whose supervisor is gone; returns how many processes."""
    left = [one for one, marker in _marked() if not _supervisor_lives(marker)]
    kill.kill_trees(left)
    return len(left)


def _own_prefix() -> str:
    own = kill.entry(os.getpid())
    assert own is not None
    return f"{own.pid}.{own.started}.{_boot()}.{_namespace('self')}"


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read(8)


def _namespace(pid: int | str) -> str:
    """Name the pid namespace by its inode number; empty when it may not be read."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid").strip("pid:[]")
    except OSError:
        return ""


def marker_of(pid: int) -> str:
    """Return the marker of a process; empty where it has none, or may not be looked at."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            block = file.read(ENVIRON_BYTES_MAX)
    except OSError:
        return ""
    for item in block.split(b"\0"):
        if item.startswith(b"FLOW_WORKER="):
            return item[len(VARIABLE) + 1 :].decode("ascii", "replace")
    return ""


def _marked() -> list[tuple[kill.ProcessEntry, str]]:
    """Every running process of this boot and pid namespace with a marker."""
    ending = f".{_boot()}.{_namespace('self')}"
    found = []
    for one in kill.table().values():
        marker = marker_of(one.pid) if one.runs else ""
        same_world = marker.rstrip(".").endswith(ending)
        if same_world and _namespace(one.pid) == _namespace("self"):
            found.append((one, marker))
    return found


def _supervisor_lives(marker: str) -> bool:
    fields = marker.split(".")
    if len(fields) < 3 or not fields[1].isdigit():
        return True  # not a marker of this form: leave it alone
    now = kill.entry(int(fields[1]))
    return now is not None and now.runs and str(now.started) == fields[2]


def _write_in_place(found: str, marker: str) -> bool:
    """Overwrite the value in the block the kernel shows; checked by reading it back."""
    try:
        with open("/proc/self/stat", "rb", buffering=0) as file:
            line = file.read(4096)
        start, end = (int(n) for n in line[line.rindex(b")") + 2 :].split()[47:49])
        block = ctypes.string_at(start, end - start)
        at = block.find(f"{VARIABLE}={found}\0".encode())
        if at < 0:
            return False
        ctypes.memmove(start + at + len(VARIABLE) + 1, marker.encode(), len(marker))
    except (OSError, ValueError):
        return False
    return marker_of(os.getpid()) == marker
