"""The supervisor: guard of the agent and fork server of its task processes.

It is small on purpose: one thread, no zmq, no user code, so that a fork takes milliseconds and is
safe (rule W10), and so that nothing a task or the network does can stop it. Three duties:

* *Fork*: the agent asks over the control socket; the child is told to the agent with its pid.
* *Reap*: as subreaper (or PID 1) it inherits every orphan. A child it does not know is what a dead
  task process left behind: it is killed, and the death is reported only when nothing is left.
* *Guard* (rule W8): when the agent dies, or its loop stands still for G, every task process is
  killed and a new agent starts, which certifies its predecessors dead.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from flow.errors import ExitCode
from flow.ids import WorkerUid, new_uid
from flow_worker.capacity import oom_kills
from flow_worker.process import birth, control, kill, marker, output, slip
from flow_worker.process.nursery import Nursery

#: ``run(nursery, predecessors)``: the agent's whole life, in its own process.
RunAgent = Callable[[Nursery, list[WorkerUid]], int]

#: The loop turns at least this often, and at least four times within the tolerated stall.
POLL_S = 0.5
#: Turns later than this by its own clock: the supervisor itself was stopped, not the agent.
OVERSLEPT_S = 1.0
#: Until the first heartbeat the agent imports, and holds no lease.
START_S = 30.0
#: An agent that dies younger than this starts again later and later.
YOUNG_S = 5.0
BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 10.0
#: So many agents in a row that never beat once: something is broken for good.
STILLBORN_MAX = 5
#: How long strays may survive SIGKILL before their task process counts as stuck.
STUCK_S = 5.0
#: While strays are dying, how often to look.
STRAY_POLL_S = 0.02
#: Older ones have lost their leases anyway.
PREDECESSORS_MAX = 64
_STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
#: Exit codes the agent chose for the worker as a whole.
FINAL_CODES = frozenset({ExitCode.OK, ExitCode.REFUSED, ExitCode.CONFIG})


class Settings(msgspec.Struct, frozen=True):
    """What the supervisor must know; the agent's settings are the agent's business."""

    log_dir: Path
    stall_s: float = 5.0  #: G: how long the agent's loop may stand still
    parent_fd: int = -1  #: readable or closed: who started this worker is gone; below 0: nobody


class _Task(msgspec.Struct):
    """One forked task process."""

    process: int
    entry: kill.Entry
    ended: tuple[int, int, bool] | None = None  #: (signal, code, oom) once reaped
    since: float = 0.0
    stuck: bool = False


def supervise(run_agent: RunAgent, settings: Settings) -> int:
    """Guard an agent until it ends for good; return the exit code of ``flow-worker``.

    Call ``marker.ensure_marked()`` first, as early as possible. ``run_agent`` is called in a forked
    child, so that what it imports (zmq, threads) stays out of this process.
    """
    return _Supervisor(run_agent, settings).run()


class _Supervisor:
    def __init__(self, run_agent: RunAgent, settings: Settings) -> None:
        self._run_agent = run_agent
        self._settings = settings
        self._page = control.Page(settings.stall_s)
        self._stall_s = settings.stall_s
        self._marker = os.environ.get(marker.VARIABLE, "")
        self._tasks: dict[int, _Task] = {}
        self._strangers: frozenset[int] = frozenset()
        self._dead_uids: list[WorkerUid] = []
        self._uid: WorkerUid = ""
        self._agent: kill.Entry | None = None
        self._agent_status: int | None = None
        self._agent_since = 0.0
        self._sock: socket.socket | None = None
        self._outbox: collections.deque[control.Packet] = collections.deque()
        self._wake_r, self._wake_w = -1, -1
        self._parent_fd = settings.parent_fd
        self._signals: list[int] = []
        self._stop_asked = False
        self._strays_since: float | None = None
        self._oom_kills = 0

    # ------------------------------------------------------------ life

    def run(self) -> int:
        self._prepare()
        failures = stillborn = 0
        while True:
            started = control.boottime()
            self._start_agent()
            code = self._guard()
            stillborn = stillborn + 1 if self._page.beat == 0 else 0
            self._clear(control.boottime() + STUCK_S)
            if code in FINAL_CODES:
                break
            if self._signals or (self._stop_asked and -code in _STOP_SIGNALS):
                code = ExitCode.OK
                break
            if stillborn >= STILLBORN_MAX:
                _say(f"the agent cannot start (exit code {code}); giving up")
                code = ExitCode.INTERNAL
                break
            failures = failures + 1 if control.boottime() - started < YOUNG_S else 0
            if self._rest(failures):
                code = ExitCode.OK
                break
        self._forget_files()
        return int(code)

    def _prepare(self) -> None:
        kill.name_process("flow-worker")
        kill.prctl(kill.PR_SET_CHILD_SUBREAPER, 1)
        with contextlib.suppress(OSError):
            marker.kill_dead_workers_leftovers()
        self._settings.log_dir.mkdir(parents=True, exist_ok=True)
        self._forget_files()
        self._strangers = frozenset(one.pid for one in self._children())
        self._oom_kills = oom_kills()
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self._signals.append(number))
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not under nohup
            signal.signal(signal.SIGHUP, lambda *_: self._signals.append(signal.SIGTERM))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        _preload()
        gc.freeze()  # children share these pages instead of copying them at their first collection

    def _rest(self, failures: int) -> bool:
        """Wait before the next agent; True when a signal asked to end meanwhile."""
        if failures > 1:
            wait_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures - 2, 16))
            until = control.boottime() + wait_s
            while not self._signals and (left := until - control.boottime()) > 0:
                self._sleep(left)
                self._reap()
        return bool(self._signals)

    def _start_agent(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._uid = new_uid()
        self._page.beat = 0.0
        self._page.stall_s = self._settings.stall_s
        predecessors = self._dead_uids[-PREDECESSORS_MAX:]
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            birth.finish(lambda: self._be_agent(theirs, predecessors))
        theirs.close()
        ours.setblocking(False)
        self._sock = ours
        self._agent = kill.entry(pid)
        self._agent_status = None
        self._agent_since = control.boottime()

    def _be_agent(self, theirs: socket.socket, predecessors: list[WorkerUid]) -> int:
        kill.name_process("flow-agent")
        birth.reset_signals()
        os.setsid()  # a Ctrl-C at the terminal reaches the supervisor only, which passes it on
        birth.close_all_but(theirs.fileno())
        log_dir = self._settings.log_dir
        nursery = Nursery(theirs, self._page, self._uid, log_dir, self._marker)
        return self._run_agent(nursery, predecessors)

    # ------------------------------------------------------------ the loop

    def _guard(self) -> int:
        """Serve one agent until it is dead; return its exit code (negative: a signal)."""
        last = control.boottime()
        alive_at = last
        while self._agent_status is None:
            self._sleep(STRAY_POLL_S if self._strays_since or self._outbox else self._poll_s())
            now = control.boottime()
            if now - last > self._poll_s() + OVERSLEPT_S:
                alive_at = now  # frozen together: give the agent its whole term again
            last = now
            self._pass_signals_on()
            self._flush()
            self._serve()
            self._reap()
            self._tell_ended(now)
            alive_at = max(alive_at, self._page.beat)
            limit_s = self._page.stall_s if self._page.beat else START_S
            if self._agent_status is None and now - alive_at > limit_s and self._agent:
                _say(f"the agent made no progress for {now - alive_at:.1f} s: killed")
                kill.send(self._agent, signal.SIGKILL)
                self._kill_tasks()
        return os.waitstatus_to_exitcode(self._agent_status)

    def _pass_signals_on(self) -> None:
        if not self._signals or self._agent is None:
            return
        if self._page.beat == 0:  # no handlers yet, and no lease either: nothing to drain
            kill.send(self._agent, signal.SIGKILL)
        while self._signals and self._page.beat:
            self._stop_asked = True
            kill.send(self._agent, self._signals.pop(0))

    def _poll_s(self) -> float:
        return min(POLL_S, max(0.05, self._page.stall_s / 4))

    def _sleep(self, seconds: float) -> None:
        watched: list[int] = [self._wake_r]
        if self._sock is not None:
            watched.append(self._sock.fileno())
        if self._parent_fd >= 0:
            watched.append(self._parent_fd)
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._parent_fd in ready:
            self._parent_fd = -1
            self._signals.append(signal.SIGHUP)  # to the agent: nobody waits for results
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_r, 4096)

    def _serve(self) -> None:
        """Fork what the agent asked for."""
        while self._sock is not None:
            try:
                data, fds = control.receive(self._sock)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self._sock.close()
                self._sock = None  # it is dying; its status follows
                return
            (fd,) = fds
            self._fork_task(control.decode_at_supervisor.decode(data), fd)

    def _fork_task(self, asked: control.Fork, fd: int) -> None:
        supervisor = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os.close(fd)
            self._tell(control.Gone(asked.process, 0, 0, os.EX_OSERR, False))
            return
        if pid == 0:
            birth.finish(lambda: self._be_task(asked, fd, supervisor))
        os.close(fd)
        entry = kill.entry(pid)
        assert entry is not None  # not reaped yet, so it is in the table
        self._tasks[pid] = _Task(asked.process, entry)
        self._tell(control.Born(asked.process, pid, entry.started))

    def _be_task(self, asked: control.Fork, fd: int, supervisor: int) -> int:
        birth.reset_signals()
        os.setsid()
        birth.close_all_but(fd)
        birth.die_with(supervisor)
        birth.be_killed_first()
        from flow_worker.process import serve

        sock = socket.socket(fileno=fd)
        return serve.serve(sock, asked.role, self._settings.log_dir)

    def _tell(self, packet: control.Packet) -> None:
        self._outbox.append(packet)
        self._flush()

    def _flush(self) -> None:
        """Send what the agent was not told yet, as far as it reads."""
        while self._outbox and self._sock is not None:
            try:
                control.send(self._sock, self._outbox[0])
            except BlockingIOError:
                return
            except OSError:
                pass  # it is dying; its status follows
            self._outbox.popleft()

    # ------------------------------------------------------------ reaping

    def _reap(self) -> None:
        """Collect every dead child: the agent, task processes, orphans, and, as PID 1, anyone."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if self._agent is not None and pid == self._agent.pid:
                self._agent_status = status
            elif (task := self._tasks.get(pid)) is not None:
                code = os.waitstatus_to_exitcode(status)
                killed = code == -signal.SIGKILL
                task.ended = (max(0, -code), max(0, code), killed and self._oom_happened())
                task.since = control.boottime()

    def _tell_ended(self, now: float) -> None:
        """Report reaped task processes once nothing that they left behind is alive."""
        ended = [task for task in self._tasks.values() if task.ended is not None]
        if not ended:
            return
        strays = self._kill_strays()
        self._strays_since = now if strays else None
        for task in ended:
            assert task.ended is not None
            if not strays:
                del self._tasks[task.entry.pid]
                self._tell(control.Gone(task.process, task.entry.pid, *task.ended))
            elif now - task.since > STUCK_S and not task.stuck:
                task.stuck = True
                self._tell(control.Stuck(task.process))

    def _kill_strays(self) -> list[kill.Entry]:
        """SIGKILL every child that is neither ours nor was here before; return who still runs."""
        strays = [one for one in self._children() if one.pid not in self._tasks and one.runs]
        if self._agent is not None:
            strays = [one for one in strays if one.pid != self._agent.pid]
        strays = [one for one in strays if one.pid not in self._strangers]
        if strays:
            kill.kill_trees(strays)
        return strays

    def _children(self) -> list[kill.Entry]:
        own = os.getpid()
        return [one for one in kill.table().values() if one.parent == own]

    def _kill_tasks(self) -> None:
        kill.kill_trees([task.entry for task in self._tasks.values() if task.ended is None])

    def _clear(self, until: float) -> None:
        """After the agent's death: kill and reap everything, so that the next one can certify it.

        What survives SIGKILL (uninterruptible sleep) is waited for: certifying it dead would
        allow a second execution.
        """
        self._strays_since = None
        while True:
            self._kill_tasks()
            self._reap()
            strays = self._kill_strays()
            for pid in [pid for pid, task in self._tasks.items() if task.ended is not None]:
                del self._tasks[pid]
                left = slip.take(self._settings.log_dir, pid)
                output.adopt(self._settings.log_dir, pid, left.name)
            if not self._tasks and not strays:
                break
            if control.boottime() > until:
                _say("a task process survives SIGKILL (uninterruptible sleep); waiting for it")
                until = control.boottime() + 60.0
            self._sleep(STRAY_POLL_S)
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._outbox.clear()
        self._agent = None
        self._dead_uids.append(self._uid)

    def _oom_happened(self) -> bool:
        before, self._oom_kills = self._oom_kills, oom_kills()
        return self._oom_kills > before

    def _forget_files(self) -> None:
        """Remove what task processes that are gone left of their temporary files."""
        with contextlib.suppress(OSError):
            for path in self._settings.log_dir.glob("current.*"):
                pid = path.name.split(".")[1]
                one = kill.entry(int(pid)) if pid.isdigit() else None
                if one is None or not one.runs:
                    path.unlink(missing_ok=True)


def _preload() -> None:
    """Import what every task process needs, once, before the first fork."""
    from flow_worker.process import serve

    serve.preload()


def _say(text: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    with contextlib.suppress(OSError, ValueError):
        print(f"{stamp} supervisor: {text}", file=sys.stderr, flush=True)
