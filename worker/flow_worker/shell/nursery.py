"""The agent's end of its task processes: ask for them, kill them, learn that they are gone.

Called by the agent's loop only; nothing here blocks, forks or imports zmq. One turn of the loop:

    nursery.beat()                              # first: says "this loop turns" (rule W8)
    ... poll nursery.fileno() for reading, with nursery.next_deadline() as a bound ...
    for event in nursery.read(): ...            # Forked or an event for the core
    ... sock = nursery.spawn(7, "runner"); nursery.kill(3, grace_s=5.0) ...
    for event in nursery.tick(): ...            # last: does what kill() asked; cheap when idle
"""

from __future__ import annotations

import collections
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec

from flow.wire.ids import WorkerUid
from flow_worker.channel import Finished, Role
from flow_worker.core.config import ADOPTED_PROCESS
from flow_worker.core.events import Event, GuardLost, ProcessExited, ProcessSaid, ProcessStuck
from flow_worker.guard import control, kill
from flow_worker.process import output, slip

#: The share of the grace after which SIGTERM becomes SIGKILL. G of the protocol's timing.
TERM_SHARE = 0.6
#: How often a killed tree is looked at until it is gone.
LOOK_S = 0.25
#: A tree that lives this long after SIGKILL sits in uninterruptible sleep.
STUCK_S = 5.0
#: How often attempts' growing output files are cut.
TRIM_S = 0.25
#: How often the log directory is measured.
SWEEP_S = 60.0


class Forked(msgspec.Struct, frozen=True):
    """The process exists; its socket was already returned by ``spawn``."""

    process: int
    pid: int


class _Child:
    __slots__ = ("entry", "killing", "look_at", "process", "sigkill_at", "sigkilled_at")

    def __init__(self, process: int) -> None:
        self.process = process
        self.entry: kill.ProcessEntry | None = None
        self.killing = False
        self.sigkill_at: float | None = None
        self.sigkilled_at: float | None = None
        self.look_at: float | None = None


class Nursery:
    """Task processes as the agent sees them. Made by the supervisor, in the agent's process."""

    def __init__(
        self,
        sock: socket.socket,
        page: control.Page,
        uid: WorkerUid,
        log_dir: Path,
        marker: str,
        adopted: socket.socket | None = None,
    ) -> None:
        self._sock = sock
        sock.setblocking(False)
        self._page = page
        #: The identity of this start of the agent; the supervisor names it in the next start.
        self.uid = uid
        #: Where attempts' output is.
        self.log_dir = log_dir
        #: False once the supervisor is gone; ``read`` then returned ``GuardLost`` once.
        self.guard_alive = True
        self._marker = marker
        self._children: dict[int, _Child] = {}
        #: The socket of ``ADOPTED_PROCESS``, a template that is there already; None: there is none.
        self.adopted = adopted
        if adopted is not None:
            self._children[ADOPTED_PROCESS] = _Child(ADOPTED_PROCESS)
        self._outbox: collections.deque[tuple[control.Fork, socket.socket]] = collections.deque()
        self._trim_at = self._sweep_at = control.boottime()
        #: files of attempts that are to be deleted, some each time
        self._surplus: list[str] = []

    # ------------------------------------------------------------ the loop

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._sock.fileno()

    def beat(self) -> None:
        """Tell the supervisor that this loop makes progress."""
        self._page.beat = control.boottime()

    def allow_stall(self, seconds: float) -> None:
        """Set how long the loop may stand still before everything is killed: G of the profile."""
        self._page.stall_s = seconds

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do, on the boot-time clock; None: nothing is due."""
        if not self._children:
            return None
        times = [self._trim_at]
        for child in self._children.values():
            times += [at for at in (child.sigkill_at, child.look_at) if at is not None]
        return min(times)

    def read(self) -> list[Forked | Event]:
        """Return what happened: ``Forked``, ``ProcessExited``, ``ProcessStuck``, ``GuardLost``.

        A ``ProcessSaid`` before a ``ProcessExited`` is what the process had finished but not sent:
        it follows everything that is still in its socket.
        """
        events: list[Forked | Event] = []
        if not self.guard_alive:
            return events
        for packet in control.news(self._sock):
            if packet is None:
                self.guard_alive = False
                events.append(GuardLost())
                break
            events += self._on(packet)
        return events

    def tick(self, now: float | None = None) -> list[Event]:
        """Do what is due at ``now`` (boot-time clock): signals, looking, cutting output files."""
        now = control.boottime() if now is None else now
        self._flush()
        due = [c for c in self._children.values() if c.sigkill_at is not None and c.entry]
        self._sigkill([c for c in due if c.sigkill_at is not None and c.sigkill_at <= now], now)
        events = list(self._look(now))
        if now >= self._trim_at:
            self._trim_at = now + TRIM_S
            for child in self._children.values():
                if child.entry is not None:
                    output.trim(output.current_path(self.log_dir, child.entry.pid))
            output.remove(self._surplus)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            self._surplus = output.surplus(self.log_dir)
        return events

    # ------------------------------------------------------------ what the core asks

    def spawn(self, process: int, role: Role, parent: int = 0) -> socket.socket:
        """Ask for a task process; return the agent's end of its socket, non-blocking.

        ``process`` is the core's number, never reused; ``role`` "runner", "planner" or "template";
        ``parent`` the template that forks it, 0: the supervisor. Frames may be written at once:
        they wait in the socket. Failure comes as ``ProcessExited``.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        self._children[process] = _Child(process)
        self._outbox.append((control.Fork(process, role, parent), theirs))
        self._flush()
        return ours

    def kill(self, process: int, grace_s: float = 0.0) -> None:
        """Kill a process and its whole tree; works while the supervisor is stopped, too.

        SIGTERM now and SIGKILL at 3/5 of ``grace_s``; 0 means SIGKILL at the next ``tick``.
        Answered by ``ProcessExited`` once nothing of the tree is left, or by ``ProcessStuck``.
        A second call can only make it sooner.
        """
        child = self._children.get(process)
        if child is None:
            return
        at = control.boottime() + grace_s * TERM_SHARE
        child.sigkill_at = at if child.sigkill_at is None else min(child.sigkill_at, at)
        if grace_s > 0 and not child.killing and child.entry is not None:
            kill.signal_trees([child.entry], signal.SIGTERM)
        child.killing = True

    def pid(self, process: int) -> int:
        """The pid of a task process; 0 before ``Forked``."""
        child = self._children.get(process)
        return child.entry.pid if child is not None and child.entry is not None else 0

    def kill_leftovers(self) -> bool:
        """After ``GuardLost``: SIGKILL everything that carries this worker's marker but the agent.

        Returns True when nothing of it can run any more; call it again until it does.
        """
        from flow_worker.guard import marker

        return marker.kill_marked(self._marker)

    # ------------------------------------------------------------ inside

    def _flush(self) -> None:
        while self._outbox and self.guard_alive:
            packet, theirs = self._outbox[0]
            try:
                control.send(self._sock, packet, [theirs.fileno()])
            except BlockingIOError:
                return
            except OSError:
                return  # the reading side reports GuardLost
            self._outbox.popleft()
            theirs.close()

    def _on(self, packet: control.ToAgent) -> list[Forked | Event]:
        child = self._children.get(packet.process)
        if child is None:
            return []
        if isinstance(packet, control.Born):
            child.entry = kill.ProcessEntry(packet.pid, 0, "S", packet.started)
            if child.killing and child.sigkill_at is not None:
                kill.signal_trees([child.entry], signal.SIGTERM)
            return [Forked(packet.process, packet.pid)]
        if isinstance(packet, control.Stuck):
            return [ProcessStuck(packet.process)]
        return [*self._exited(child, packet.signal, packet.code, packet.oom)]

    def _exited(self, child: _Child, number: int, code: int, oom: bool) -> list[Event]:
        """Say how it ended, and before that what it did not live to say itself."""
        process = child.process
        del self._children[process]
        if child.entry is None:
            return [ProcessExited(process, number, code, oom)]
        left = slip.take(self.log_dir, child.entry.pid)
        tail = output.adopt(self.log_dir, child.entry.pid, left.name)
        exited = ProcessExited(process, number, code, oom, tail, left.began)
        if left.unsent:
            return [ProcessSaid(process, Finished(left.unsent)), exited]
        return [exited]

    def _sigkill(self, due: list[_Child], now: float) -> None:
        roots = [child.entry for child in due if child.entry is not None]
        if not roots:
            return
        kill.kill_trees(roots)
        for child in due:
            child.sigkill_at = None
            child.sigkilled_at = now
            child.look_at = now + LOOK_S

    def _look(self, now: float) -> Iterator[Event]:
        """Watch killed trees: the supervisor that should report them may be stopped itself."""
        for child in list(self._children.values()):
            if child.entry is None and not self.guard_alive:
                yield from self._exited(child, 0, os.EX_OSERR, False)  # nobody will fork it
            if child.look_at is None or child.look_at > now or child.entry is None:
                continue
            since = child.sigkilled_at if child.sigkilled_at is not None else now
            if not kill.trees_alive([child.entry]):
                yield from self._exited(child, signal.SIGKILL, 0, False)
            elif now - since >= STUCK_S:
                child.look_at = None
                yield ProcessStuck(child.process)
            else:
                kill.kill_trees([child.entry])
                child.look_at = now + LOOK_S
