"""The supervisor: guard of the agent and fork server of its templates.

It is small on purpose: one thread, no zmq, no user code, so that a fork takes milliseconds and is
safe (rule W10), and so that nothing a task or the network does can stop it. Three duties:

* *Fork*: the agent asks over the control socket; the child is told to the agent with its pid. What
  a template is to fork is passed on to it, and what it tells of that is passed back (``relay``).
* *Reap*: as subreaper (or PID 1) it inherits every orphan. A child it does not know is what a dead
  task process left behind: it is killed, and the death is reported only when nothing is left.
* *Guard* (rule W8): when the agent dies, or its loop stands still for G, every task process is
  killed and a new agent starts, which certifies its predecessors dead.
"""

from __future__ import annotations

import collections
import contextlib
import errno
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

from flow.errors import ConfigError, ExitCode
from flow.wire.ids import WorkerUid, new_uid
from flow_worker.capacity import oom_kills
from flow_worker.channel import Role
from flow_worker.core.config import ADOPTED_PROCESS
from flow_worker.guard import birth, control, kill, marker
from flow_worker.guard.brood import STRAY_POLL_S, STUCK_S, Brood, dead_children
from flow_worker.guard.relay import Relay
from flow_worker.process import output, slip
from flow_worker.shell.nursery import Nursery

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
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
#: Older ones have lost their leases anyway.
PREDECESSORS_MAX = 64
_STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
#: Exit codes the agent chose for the worker as a whole.
FINAL_CODES = frozenset({ExitCode.OK, ExitCode.REFUSED, ExitCode.CONFIG})


class GuardSettings(msgspec.Struct, frozen=True):
    """What the supervisor must know; the agent's settings are the agent's business."""

    log_dir: Path
    stall_s: float = 5.0  #: G: how long the agent's loop may stand still
    parent_fd: int = -1  #: readable or closed: who started this worker is gone; below 0: nobody
    #: of a template that was forked before this worker began: its line, the agent's socket to it
    template: tuple[int, ...] = ()


def supervise(run_agent: RunAgent, settings: GuardSettings) -> int:
    """Guard an agent until it ends for good; return the exit code of ``flow-worker``.

    Call ``marker.ensure_marked()`` first, as early as possible. ``run_agent`` is called in a forked
    child, so that what it imports (zmq, threads) stays out of this process.
    """
    return _Supervisor(run_agent, settings).run()


class _Supervisor:
    def __init__(self, run_agent: RunAgent, settings: GuardSettings) -> None:
        self._run_agent = run_agent
        self._settings = settings
        self._page = control.Page(settings.stall_s)
        self._stall_s = settings.stall_s
        self._marker = os.environ.get(marker.VARIABLE, "")
        self._brood = Brood(self._tell)
        #: by the pid of the template
        self._relays: dict[int, Relay] = {}
        self._dead_uids: list[WorkerUid] = []
        self._uid: WorkerUid = ""
        self._agent: kill.ProcessEntry | None = None
        self._agent_status: int | None = None
        self._sock: socket.socket | None = None
        self._adopted: socket.socket | None = None
        self._outbox: collections.deque[control.Packet] = collections.deque()
        self._wake_r, self._wake_w = -1, -1
        self._parent_fd = settings.parent_fd
        self._signals: list[int] = []
        self._stop_asked = False
        self._oom_kills = 0

    # ------------------------------------------------------------ life

    def run(self) -> int:
        self._prepare()
        failures = stillborn = 0
        rehearsed = bool(self._settings.template)  # hardly anything is forked here then
        while True:
            started = control.boottime()
            self._start_agent()
            if not rehearsed:  # while the agent imports what it needs
                _rehearse()
                rehearsed = True
            code = self._guard()
            stillborn = stillborn + 1 if self._page.beat == 0 else 0
            self._clear(control.boottime() + STUCK_S)
            if code in FINAL_CODES:
                break
            if self._signals or (self._stop_asked and -code in _STOP_SIGNALS):
                code = ExitCode.OK
                break
            if self._stop_asked:  # the next one would not know of it, and work on
                _say(f"the agent {_death(code)} after it was told to stop")
                code = ExitCode.INTERNAL
                break
            if stillborn >= STILLBORN_MAX:
                _say(f"the agent cannot start (exit code {code}); giving up")
                code = ExitCode.INTERNAL
                break
            _say(f"the agent {_death(code)}; starting it again")
            failures = failures + 1 if control.boottime() - started < YOUNG_S else 0
            if self._rest(failures):
                code = ExitCode.OK
                break
        self._forget_files()
        for number in (signal.SIGTERM, signal.SIGINT):  # it is over; Python's end would die of them
            signal.signal(number, signal.SIG_IGN)
        return int(code)

    def _prepare(self) -> None:
        kill.name_process("flow-worker")
        kill.prctl(kill.PR_SET_CHILD_SUBREAPER, 1)
        with contextlib.suppress(OSError):
            marker.kill_dead_workers_leftovers()
        self._check_logs()
        self._forget_files()
        self._brood.settle()
        if self._settings.template:
            self._adopt(*self._settings.template)
        self._oom_kills = oom_kills()
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self._signals.append(number))
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not under nohup
            signal.signal(signal.SIGHUP, lambda *_: self._signals.append(signal.SIGTERM))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        if not self._settings.template:
            _preload()
        gc.freeze()  # children share these pages instead of copying them at their first collection

    def _check_logs(self) -> None:
        """Make the directory of the logs. Raises ``ConfigError`` where it takes no files."""
        log_dir = self._settings.log_dir
        try:
            log_dir.mkdir(parents=True, exist_ok=True)
            probe = log_dir / f"current.{os.getpid()}.probe"
            probe.touch()
            probe.unlink()
        except OSError as error:
            if error.errno in NO_ROOM and log_dir.is_dir():
                return  # tasks go on without their logs, and the agent says so
            raise ConfigError(
                f"logs of tasks cannot be written to {log_dir}: {error.strerror}",
                hint="name another directory with --log-dir",
            ) from error

    def _adopt(self, line: int, sock: int) -> None:
        """Take over the template that was forked in this process before it executed this program.

        It is its only child then, and is told to the agent as any other.
        """
        self._adopted = socket.socket(fileno=sock)
        relay = Relay(ADOPTED_PROCESS, socket.socket(fileno=line))
        found, self._brood.strangers = self._brood.strangers, frozenset()
        for pid in found:
            self._relays[pid] = relay
            self._brood.add(ADOPTED_PROCESS, pid)
        if not found:
            relay.close()
            self._tell(control.Gone(ADOPTED_PROCESS, 0, 0, os.EX_OSERR, False))

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
        if self._adopted is not None:
            self._adopted.close()
            self._adopted = None
        ours.setblocking(False)
        self._sock = ours
        self._agent = kill.entry(pid)
        self._agent_status = None
        self._brood.others[pid] = None

    def _be_agent(self, theirs: socket.socket, predecessors: list[WorkerUid]) -> int:
        kill.name_process("flow-agent")
        birth.reset_signals()
        os.setsid()  # a Ctrl-C at the terminal reaches the supervisor only, which passes it on
        adopted = self._adopted
        birth.close_all_but(theirs.fileno(), *([adopted.fileno()] if adopted is not None else []))
        log_dir = self._settings.log_dir
        nursery = Nursery(theirs, self._page, self._uid, log_dir, self._marker, adopted)
        return self._run_agent(nursery, predecessors)

    # ------------------------------------------------------------ the loop

    def _guard(self) -> int:
        """Serve one agent until it is dead; return its exit code (negative: a signal)."""
        last = control.boottime()
        alive_at = last
        while self._agent_status is None:
            waits = self._brood.strays_since or self._outbox
            waits = waits or any(relay.waits for relay in self._relays.values())
            self._sleep(STRAY_POLL_S if waits else self._poll_s())
            now = control.boottime()
            if now - last > self._poll_s() + OVERSLEPT_S:
                alive_at = now  # frozen together: give the agent its whole term again
            last = now
            self._pass_signals_on()
            self._flush()
            self._serve()
            self._reap()
            self._brood.tell_ended(now)
            alive_at = max(alive_at, self._page.beat)
            limit_s = self._page.stall_s if self._page.beat else START_S
            if self._agent_status is None and now - alive_at > limit_s and self._agent:
                _say(f"the agent made no progress for {now - alive_at:.1f} s: killed")
                kill.send(self._agent, signal.SIGKILL)
                self._brood.kill_all()
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
        watched += [fd for relay in self._relays.values() if (fd := relay.fileno()) >= 0]
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._parent_fd in ready:
            self._parent_fd = -1
            self._signals.append(signal.SIGHUP)  # to the agent: nobody waits for results
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_r, 4096)

    def _serve(self) -> None:
        """Fork what the agent asked for, or pass it on."""
        for relay in self._relays.values():
            relay.flush()
            self._pass_back(relay)
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
            self._fork(control.decode_fork.decode(data), fd)

    def _fork(self, asked: control.Fork, fd: int) -> None:
        if asked.parent:
            for relay in self._relays.values():
                if relay.process == asked.parent:
                    relay.ask(asked, fd)
                    return
            os.close(fd)  # the template is gone
            self._tell(control.Gone(asked.process, 0, 0, os.EX_OSERR, False))
            return
        lines = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        supervisor = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            pid = -1
        if pid == 0:
            birth.finish(lambda: self._be_task(asked, fd, lines[1], supervisor))
        os.close(fd)
        lines[1].close()
        if pid < 0 or asked.role != Role.TEMPLATE:
            lines[0].close()
        if pid < 0:
            self._tell(control.Gone(asked.process, 0, 0, os.EX_OSERR, False))
            return
        if asked.role == Role.TEMPLATE:
            self._relays[pid] = Relay(asked.process, lines[0])
        self._brood.add(asked.process, pid)

    def _be_task(self, asked: control.Fork, fd: int, line: socket.socket, supervisor: int) -> int:
        birth.reset_signals()
        os.setsid()
        birth.close_all_but(fd, line.fileno())
        birth.die_with(supervisor)
        birth.be_killed_first(asked.role)
        from flow_worker.process import serve, template

        sock = socket.socket(fileno=fd)
        if asked.role == Role.TEMPLATE:
            return template.serve_as_template(sock, line, self._settings.log_dir)
        line.close()
        return serve.serve(sock, asked.role, self._settings.log_dir)

    def _pass_back(self, relay: Relay) -> None:
        """Tell the agent what a template tells."""
        for packet in relay.read():
            if isinstance(packet, control.Gone) and packet.signal == signal.SIGKILL:
                # only here it is known what the kernel has killed so far
                packet = msgspec.structs.replace(packet, oom=self._oom_happened())
            self._tell(packet)

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
        for pid, status in dead_children():
            killed = os.waitstatus_to_exitcode(status) == -signal.SIGKILL
            if self._agent is not None and pid == self._agent.pid:
                self._agent_status = status
            self._brood.reaped(pid, status, killed and self._oom_happened())
            relay = self._relays.pop(pid, None)
            if relay is not None:
                self._pass_back(relay)
                relay.hand_over(self._brood)

    def _clear(self, until: float) -> None:
        """After the agent's death: kill and reap everything, so that the next one can certify it.

        What survives SIGKILL (uninterruptible sleep) is waited for: certifying it dead would
        allow a second execution.
        """
        brood = self._brood
        brood.strays_since = None
        while True:
            brood.kill_all()
            for relay in self._relays.values():
                relay.read()
            self._reap()
            strays = brood.kill_strays()
            for pid in [pid for pid, task in brood.tasks.items() if task.ended is not None]:
                del brood.tasks[pid]
                left = slip.take(self._settings.log_dir, pid)
                output.adopt(self._settings.log_dir, pid, left.name)
            if not (brood.tasks or strays or self._relays):
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
    from flow_worker.process import preloading

    preloading.preload()


def _rehearse() -> None:
    from flow_worker.process import rehearsal

    rehearsal.rehearse()
    gc.collect()
    gc.freeze()


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"


def _say(text: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    with contextlib.suppress(OSError, ValueError):
        print(f"{stamp} supervisor: {text}", file=sys.stderr, flush=True)
