"""The agent's one loop in one thread: drain what has arrived, decide, act.

The same loop sends the heartbeats and enforces the fence, and tells the supervisor that it turns,
so that nothing can look alive here that is not (rule W8).
"""

from __future__ import annotations

import collections
import os
import random
import signal
import socket
from collections.abc import Iterable
from typing import Protocol

import msgspec

from flow.errors import ExitCode, FlowError
from flow.logs import Log
from flow.room import has_room
from flow.wire.ids import WorkerUid, new_uid
from flow.wire.transport import Poller
from flow_worker.channel import Role
from flow_worker.core import effects, events
from flow_worker.core.config import ADOPTED_PROCESS
from flow_worker.core.events import StopKind
from flow_worker.core.machine import Worker
from flow_worker.shell.clock import boottime
from flow_worker.shell.link import CoordinatorLink
from flow_worker.shell.measure import Measure
from flow_worker.shell.packages import PackageCache
from flow_worker.shell.pipes import Pipes
from flow_worker.shell.settings import AgentSettings, worker_config

#: The loop turns at least this often, to say that it does.
TURN_S_MAX = 0.5
#: A task process that closed its socket and does not end by itself is killed after this.
DEAF_S = 1.0
#: How long leftovers are killed after the supervisor's death.
LEFTOVERS_S = 5.0
_TICK = events.Tick()
_TURN_ENDED = events.TurnEnded()


class NurseryLike(Protocol):
    """What the loop needs of the supervisor. See ``flow_worker.shell.nursery``."""

    uid: WorkerUid
    guard_alive: bool
    adopted: socket.socket | None

    def fileno(self) -> int:
        """The descriptor to poll for reading; below 0: there is none."""

    def beat(self) -> None:
        """Say that the loop turns."""

    def allow_stall(self, seconds: float) -> None:
        """Set how long it may stand still."""

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do."""

    def read(self) -> Iterable[msgspec.Struct]:
        """Return what happened."""

    def tick(self, now: float | None = None) -> Iterable[events.Event]:
        """Do what is due."""

    def spawn(self, process: int, role: Role, parent: int = 0) -> socket.socket:
        """Ask for a task process."""

    def kill(self, process: int, grace_s: float = 0.0) -> None:
        """Kill a tree."""

    def pid(self, process: int) -> int:
        """The pid of a task process, 0 while unknown."""

    def kill_leftovers(self) -> bool:
        """After the supervisor's death: kill what carries this worker's marker."""


class AttachedNursery:
    """No processes at all: one program runs every task itself."""

    def __init__(self) -> None:
        self.uid = new_uid()
        self.guard_alive = True
        self.adopted: socket.socket | None = None

    def fileno(self) -> int:
        """There is nobody to listen to."""
        return -1

    def beat(self) -> None:
        """Nobody watches."""

    def allow_stall(self, seconds: float) -> None:
        """Nobody watches."""

    def next_deadline(self) -> float | None:
        """Nothing is ever due."""
        return None

    def read(self) -> list[events.Event]:
        """Nothing ever happens."""
        return []

    def tick(self, now: float | None = None) -> list[events.Event]:
        """Nothing is ever due."""
        return []

    def spawn(self, process: int, role: Role, parent: int = 0) -> socket.socket:
        """The core never asks for a process here."""
        raise FlowError("an attached worker starts no processes")

    def kill(self, process: int, grace_s: float = 0.0) -> None:
        """The program is not ours to kill."""

    def pid(self, process: int) -> int:
        """It is counted where it was started."""
        return 0

    def kill_leftovers(self) -> bool:
        """There are none."""
        return True


def run_agent(settings: AgentSettings, nursery: NurseryLike, predecessors: list[WorkerUid]) -> int:
    """Be the agent until it ends; return the worker's exit code."""
    loop = AgentLoop(settings, nursery, predecessors)
    try:
        return loop.run()
    finally:
        loop.close()


class AgentLoop:
    """The shell around one ``Worker``."""

    def __init__(
        self,
        settings: AgentSettings,
        nursery: NurseryLike,
        predecessors: list[WorkerUid],
        attached: socket.socket | None = None,
        parent_fd: int = -1,
    ) -> None:
        self._nursery = nursery
        self._log = Log(worker=settings.name)
        adopted = nursery.adopted is not None
        config = worker_config(settings, nursery.uid, predecessors, adopted=adopted)
        self._core = Worker(config, random.Random())
        self._poller = Poller()
        self._link = CoordinatorLink(settings.coordinator)
        self._pipes = Pipes(self._poller)
        self._packages = PackageCache(settings.packages_dir)
        self._log_dir = settings.log_dir
        self._keeps_logs = True
        #: what the core's own effects brought about in this turn
        self._found: collections.deque[events.PackageAt] = collections.deque()
        self._measure = Measure()
        self._measure_at = boottime()
        self._deaf: dict[int, float] = {}  #: process: when to kill it
        self._processes: dict[int, None] = {}
        self._exit: effects.Exit | None = None
        self._stall_s = 0.0
        self._refused = 0
        self._parent_fd = parent_fd
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watch(attached)

    def _watch(self, attached: socket.socket | None) -> None:
        self._poller.register(self._link.dealer, "link")
        self._poller.register(self._wake_r, "signal")
        if self._nursery.fileno() >= 0:
            self._poller.register(self._nursery.fileno(), "nursery")
        if self._parent_fd >= 0:
            self._poller.register(self._parent_fd, "parent")
        if attached is not None:
            self._pipes.add(ADOPTED_PROCESS, attached)
        elif self._nursery.adopted is not None:
            self._processes[ADOPTED_PROCESS] = None
            self._pipes.add(ADOPTED_PROCESS, self._nursery.adopted)
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

    def run(self) -> int:
        """Turn until the core says Exit."""
        slots = self._core.config.slots
        self._log.say("info", "worker starts", uid=self._nursery.uid, slots=slots)
        while self._exit is None:
            self._turn()
        self._log.say("info", "worker ends", reason=self._exit.reason, code=self._exit.code)
        return self._exit.code

    def close(self) -> None:
        """Leave nothing behind."""
        signal.set_wakeup_fd(-1)
        self._link.close()
        self._pipes.close()
        self._packages.close()
        if not self._nursery.guard_alive:
            end = boottime() + LEFTOVERS_S
            while not self._nursery.kill_leftovers() and boottime() < end:
                self._poller.poll(0.02)
        os.close(self._wake_r)
        os.close(self._wake_w)

    # ------------------------------------------------------------ one turn

    def _timeout_s(self, now: float) -> float:
        due = now if self._found else now + TURN_S_MAX
        for deadline in (self._core.next_deadline(), self._nursery.next_deadline()):
            if deadline is not None and deadline < due:
                due = deadline
        for at in self._deaf.values():
            due = min(due, at)
        return max(0.0, due - now)

    def _turn(self) -> None:
        self._nursery.beat()
        ready = self._poller.poll(self._timeout_s(boottime()))
        self._nursery.beat()
        now = boottime()
        deadline = self._core.next_deadline()
        if deadline is not None and deadline <= now:  # W4: deadlines first, messages after
            self._handle(_TICK, now)
        for key in ready:
            if key == "link":
                for event in self._link.receive():
                    self._handle(event, now)
            elif key == "nursery":
                self._hear(self._nursery.read(), now)
            elif key == "signal":
                self._signalled(now)
            elif key == "parent":
                self._poller.unregister(self._parent_fd)
                self._handle(events.StopRequested(StopKind.GONE), now)
            elif isinstance(key, tuple):
                self._read_process(key[1], now)
        self._look_around(now)
        self._hear(self._nursery.tick(now), now)
        while self._found:
            self._handle(self._found.popleft(), now)
        self._handle(_TURN_ENDED, now)
        self._pipes.flush()

    def _look_around(self, now: float) -> None:
        """Do what has a time of its own: load, deaf processes, the tolerated stall."""
        if now >= self._measure_at:
            timing = self._core.lease.timing
            self._measure_at = now + timing.heartbeat_s
            pids = [os.getpid(), *(self._nursery.pid(number) for number in self._processes)]
            memory_bytes = self._measure.memory_bytes(pid for pid in pids if pid)
            self._handle(events.Measured(self._measure.cpu(), memory_bytes), now)
            self._look_at_logs()
            if self._link.refused > self._refused:
                self._refused = self._link.refused
                self._log.say("warning", "messages not understood", count=self._refused)
            if timing.kill_s != self._stall_s:
                self._stall_s = timing.kill_s
                self._nursery.allow_stall(timing.kill_s)
        for process in [number for number, at in self._deaf.items() if at <= now]:
            del self._deaf[process]
            self._nursery.kill(process)

    def _look_at_logs(self) -> None:
        """Say when the output of tasks begins to be dropped, and when it no longer is."""
        room = self._nursery.fileno() < 0 or has_room(self._log_dir)
        if room != self._keeps_logs:
            self._keeps_logs = room
            phrase = "logs of tasks have room again" if room else "no room for the logs of tasks"
            self._log.say("info" if room else "warning", phrase, directory=self._log_dir)

    # ------------------------------------------------------------ input

    def _signalled(self, now: float) -> None:
        for number in os.read(self._wake_r, 64):
            if number == signal.SIGHUP:
                kind = StopKind.GONE
            elif self._core.stopping is None:
                kind = StopKind.DRAIN
            else:
                kind = StopKind.NOW  # asked twice
            self._handle(events.StopRequested(kind), now)

    def _read_process(self, process: int, now: float) -> None:
        said, deaf = self._pipes.read(process)
        for event in said:
            self._handle(event, now)
        if deaf and process in self._processes:
            self._deaf[process] = now + DEAF_S
        elif deaf:
            self._handle(events.ProcessExited(process), now)  # the attached program

    def _hear(self, news: Iterable[msgspec.Struct], now: float) -> None:
        for event in news:
            if isinstance(event, events.ProcessExited | events.ProcessSaid):
                # What it said through its socket comes before what it did not live to send.
                for said in self._pipes.drain(event.process):
                    self._handle(said, now)
            if isinstance(event, events.ProcessExited):
                self._deaf.pop(event.process, None)
                self._processes.pop(event.process, None)
            elif isinstance(event, events.GuardLost):
                self._poller.unregister(self._nursery.fileno())
            if isinstance(event, events.Event):
                self._handle(event, now)

    # ------------------------------------------------------------ output

    def _handle(self, event: events.Event, now: float) -> None:
        for effect in self._core.handle(event, now):
            kind = type(effect)
            if kind is effects.Send:
                self._link.send(effect)  # type: ignore[arg-type]
            elif kind is effects.Tell:
                self._pipes.tell(effect.process, effect.frame)  # type: ignore[attr-defined]
            else:
                self._act(effect)

    def _act(self, effect: effects.Effect) -> None:
        if isinstance(effect, effects.StartProcess):
            sock = self._nursery.spawn(effect.process, effect.role, effect.parent)
            self._processes[effect.process] = None
            self._pipes.add(effect.process, sock)
        elif isinstance(effect, effects.KillProcess):
            self._nursery.kill(effect.process, effect.grace_s)
        elif isinstance(effect, effects.SeekPackage):
            self._found.append(self._packages.seek(effect.package))
        elif isinstance(effect, effects.KeepPiece):
            self._found.append(self._packages.keep(effect))
        elif isinstance(effect, effects.LetGo):
            self._packages.let_go(effect.package)
        elif isinstance(effect, effects.Note):
            self._log.say(effect.level, effect.phrase, **effect.fields)
        elif isinstance(effect, effects.Exit):
            self._exit = effect


def run_attached(settings: AgentSettings, fd: int, parent_fd: int) -> int:
    """Be the agent of a program that runs the tasks itself, over an inherited socket."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return ExitCode.USAGE
    loop = AgentLoop(settings, AttachedNursery(), [], sock, parent_fd)
    try:
        return loop.run()
    finally:
        loop.close()
