"""What a freshly forked child does before it runs anything: let go of all it inherited.

Called in the child only. The supervisor has no threads and no libzmq, so everything here may use
Python freely after the fork.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from flow_worker.channel import Role
from flow_worker.guard import kill

#: What ``os.closerange`` is told as the end; the kernel stops at the highest open one.
FD_MAX = (1 << 31) - 1
#: A child whose own code raised (a bug, not a task's failure).
EXIT_BUG = 70
#: Added to the agent's badness, which is out of 1,000: rather a task than what forks its like,
#: rather that than the agent. Source: proc(5), oom_score_adj.
OOM_BADNESS_WEIGHT = 300
OOM_BADNESS_TEMPLATE_WEIGHT = 150
OOM_SCORE_MAX = 1000
#: Signals whose handlers are the parent's own.
RESET = (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)


def reset_signals() -> None:
    """Give the child the signal state of a fresh program."""
    signal.set_wakeup_fd(-1)
    for number in RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def close_all_but(*keep: int) -> None:
    """Close every descriptor above stderr but these; stdin becomes empty."""
    start = 3
    for fd in sorted(keep):
        os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, FD_MAX)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)


def die_with(parent: int) -> None:
    """Be killed when the parent dies, and adopt whatever loses its parent below this process."""
    kill.prctl(kill.PR_SET_PDEATHSIG, signal.SIGKILL)
    kill.prctl(kill.PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != parent:
        os.kill(kill.own_pid(), signal.SIGKILL)  # it died before the first line took effect


def be_killed_first(role: Role, of_template: bool = False) -> None:
    """When memory runs out, the kernel shall take a task and not the agent."""
    weight = OOM_BADNESS_TEMPLATE_WEIGHT if role == Role.TEMPLATE else OOM_BADNESS_WEIGHT
    if of_template:
        weight -= OOM_BADNESS_TEMPLATE_WEIGHT
    with contextlib.suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+") as file:
        now = int(file.read())
        file.seek(0)
        file.write(str(min(OOM_SCORE_MAX, now + weight)))


def finish(work: Callable[[], int]) -> NoReturn:
    """Run ``work`` and end the process with its code, never returning into the parent's frames."""
    code = EXIT_BUG
    try:
        code = work()
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else EXIT_BUG
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                if stream is not None and not stream.closed:
                    stream.flush()
        finally:
            os._exit(code)
