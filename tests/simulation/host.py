"""A simulated machine: its clock, its freezes, its processes, the supervisor and the agent.

Everything that happens on a host goes through ``Host.after``: while the host is frozen it
waits, and comes all at once and in any order when the host wakes, as a real wake-up would.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flow.wire.messages.codec import decode_at_worker, encode
from flow.wire.messages.worker import Dispatch, Join, Recall, Results, Resume
from flow_worker import channel
from flow_worker.core import effects as fx
from flow_worker.core import events as ev
from tests.simulation.agentjudge import AgentJudge
from tests.simulation.cores import make_worker
from tests.simulation.processes import Planner, Process, Runner, Template
from tests.simulation.truth import WAKE_GRACE_S

if TYPE_CHECKING:
    from tests.simulation.kernel import Kernel
    from tests.simulation.world import World

#: Share of the grace after which SIGTERM becomes SIGKILL. G of the protocol's timing.
TERM_SHARE = 0.6
#: The loop of an awake agent is this late at most for a timer, and for what arrives.
LOOP_LATE_S = 0.004
TURN_LATE_S = 0.001
NEVER = float("inf")
TICK = ev.Tick()
TURN_ENDED = ev.TurnEnded()


class Host:
    """One machine. Its clock has an offset and a rate of its own."""

    def __init__(self, world: World, name: str, rate: float, slots: int) -> None:
        self.world = world
        self.kernel: Kernel = world.kernel
        self.name = name
        self.rate = rate
        self.slots = slots
        #: processes that did not live to see a program imported, by its number
        self.import_faults: Counter[int] = Counter()
        self.boot = 0
        self.up = True
        self.frozen = False
        self.frozen_at = 0.0
        self.thawed_at = -1000.0
        self.thaw_at = 0.0
        self._offset = world.kernel.rng.random() * 1e6
        self._waiting: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.processes: dict[tuple[str, int], Process] = {}
        self.agent: Agent | None = None
        self.guarded = True
        self._boots = 0
        #: agents of this supervisor that are certainly dead
        self.dead_uids: list[str] = []
        self.start_agent()

    # ------------------------------------------------------------ time

    def clock(self) -> float:
        """Read the boot-time clock."""
        return self._offset + self.kernel.now * self.rate

    def after(self, delay_s: float, action: Callable[..., None], *args: object) -> None:
        """Do something on this machine after ``delay_s`` of its own time."""
        self.kernel.after(delay_s / self.rate, self._fire, self.boot, action, args)

    def _fire(self, boot: int, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        if boot != self.boot or not self.up:
            return
        if self.frozen:
            self._waiting.append((action, args))
        else:
            action(*args)

    # ------------------------------------------------------------ faults

    def freeze(self, seconds: float) -> None:
        """Stop everything here for a while; the clock goes on."""
        if self.frozen or not self.up:
            return
        self.kernel.counts["fault: host frozen"] += 1
        self.kernel.note(self.name, "frozen", f"{seconds:.1f} s")
        self.frozen = True
        self.frozen_at = self.kernel.now
        self.thaw_at = self.kernel.now + seconds
        self.kernel.after(seconds, self._thaw, self.boot)

    def _thaw(self, boot: int) -> None:
        if boot != self.boot or not self.frozen:
            return
        self.frozen = False
        self.thawed_at = self.kernel.now
        self.kernel.note(self.name, "thawed")
        waiting, self._waiting = self._waiting, []
        rng = self.kernel.rng
        for action, args in waiting:
            self.kernel.after(rng.random() * 0.02, self._fire, self.boot, action, args)
        self.kernel.after(WAKE_GRACE_S + 0.001, self.world.truth.woke, self)
        if self.agent is not None:
            self.agent.woke()

    def lose(self, seconds: float, *, reboot: bool) -> None:
        """Power off, or kill the container; back after a while with nothing."""
        if not self.up:
            return
        kind = "host lost" if reboot else "container killed"
        self.kernel.counts[f"fault: {kind}"] += 1
        self.kernel.note(self.name, kind, f"{seconds:.1f} s")
        self.up = False
        self.frozen = False
        self._waiting = []
        for process in list(self.processes.values()):
            process.vanish()
        self.processes = {}
        if self.agent is not None:
            self.agent.vanish()
            self.agent = None
        self.dead_uids = []
        self.kernel.after(seconds, self._back, reboot)

    def _back(self, reboot: bool) -> None:
        self.up = True
        self.boot += 1
        if reboot:
            self._offset = -self.kernel.now * self.rate
            self._boots += 1
        self.start_agent()

    @property
    def boot_id(self) -> str:
        """Name of this boot; a restarted container keeps it."""
        return f"{self.name}-boot-{self._boots}"

    # ------------------------------------------------------------ supervisor

    def start_agent(self) -> None:
        """Start an agent that certifies its dead predecessors."""
        self.agent = Agent(self, self.world.new_uid(), list(self.dead_uids))

    def crash_agent(self, kind: str) -> None:
        """Kill -9 of the agent alone: the supervisor clears up and starts another."""
        agent = self.agent
        if agent is None or not self.up or not agent.alive:
            return
        self.kernel.counts[f"fault: {kind}"] += 1
        self.kernel.note(agent.name, kind)
        agent.vanish()
        self.after(0.001 + self.kernel.rng.random() * 0.05, self.clear, agent)

    def lose_supervisor(self) -> None:
        """Kill -9 of the supervisor: the agent must not run unguarded."""
        agent = self.agent
        if agent is not None and self.up and agent.alive:
            self.kernel.counts["fault: supervisor crash"] += 1
            self.kernel.note(self.name, "supervisor dies")
            self.guarded = False
            agent.handle(ev.GuardLost())

    def clear(self, agent: Agent) -> None:
        """Kill what a dead agent left; start the next when nothing is left."""
        left = [process for process in self.processes.values() if process.agent is agent]
        for process in left:
            if not process.dying:
                process.kill()
        if left:
            self.after(0.02, self.clear, agent)
            return
        if self.guarded:
            self.dead_uids.append(agent.uid)
        else:
            self.dead_uids = []
        self.guarded = True
        self.start_agent()

    def ended(self, agent: Agent, code: int) -> None:
        """The agent left by itself; somebody starts the worker again later."""
        if code in (0, 61, 78):
            self.agent = None
            self.dead_uids = []
            for process in list(self.processes.values()):
                process.kill()
            delay = 1.0 + self.kernel.rng.random() * 10.0
            self.after(delay, self.start_agent)
        else:
            self.after(0.01, self.clear, agent)


class Agent:
    """The worker's shell around the real core."""

    def __init__(self, host: Host, uid: str, predecessors: list[str]) -> None:
        self.host = host
        self.world = host.world
        self.kernel = host.kernel
        self.uid = uid
        self.name = f"{host.name}/{uid[:4]}"
        self.alive = True
        self.stalled = False
        self.link = self.world.network.connect(host.name, self._arrived)
        seed = self.kernel.rng.getrandbits(32)
        self.core = make_worker(host, uid, predecessors, random.Random(seed))
        self.judge = AgentJudge(self)
        self._wake_at = NEVER
        self._said: deque[ev.Event] = deque()
        self._inbox: list[ev.Event] = []
        self._turn_due = False
        self._fencing = False
        self._dispatched: set[str] = set()
        self.kernel.note(self.name, "agent starts", predecessors)
        host.after(0.01 + self.kernel.rng.random() * 0.2, self.handle, TICK)

    # ------------------------------------------------------------ input

    def _arrived(self, data: bytes) -> None:
        """The network has something for this host (which may be frozen)."""
        self.host.after(0.0, self._receive, data)

    def _receive(self, data: bytes) -> None:
        if not self.alive:
            return
        message = decode_at_worker(data)
        kind = type(message)
        self.kernel.note(self.name, "gets", message, data)
        counts = self.kernel.counts
        if kind is Dispatch:
            for grant in message.grants:
                if grant.token in self._dispatched:
                    counts["probe: duplicate dispatch ignored"] += 1
                self._dispatched.add(grant.token)
        elif kind is Recall:
            counts["probe: recall"] += 1
        elif kind is Resume:
            counts["resume"] += 1
        self.handle(ev.Received(message))
        if kind is Dispatch:
            self.world.faults.dispatched(self)

    def hear_process(self, number: int, frame: Any) -> None:
        """A task process wrote a frame. Frames and the exit notice keep their order."""
        self._said.append(ev.ProcessSaid(number, frame))
        self.host.after(self.kernel.rng.random() * 0.001, self._pump)

    def hear_exit(self, number: int, signal: int, code: int) -> None:
        """The supervisor reaped a tree."""
        self._said.append(ev.ProcessExited(number, signal, code))
        self.host.after(self.kernel.rng.random() * 0.005, self._pump)

    @property
    def able(self) -> bool:
        """Whether it could join now: it runs, stays, and kills nothing."""
        dying = any(one.agent is self and one.told_to_die for one in self.host.processes.values())
        return self.alive and not self.stalled and self.core.stopping is None and not dying

    @property
    def unheard_frames(self) -> bool:
        """Whether a task process said something that the core has not handled yet."""
        return bool(self._said) or any(type(one) is ev.ProcessSaid for one in self._inbox)

    def _pump(self) -> None:
        if self._said:
            self.handle(self._said.popleft())

    def _wake(self, at: float) -> None:
        if at == self._wake_at:
            self._wake_at = NEVER
            self._turn()

    def woke(self) -> None:
        """The host thawed: the loop turns before long."""
        self._wake_at = NEVER
        self._turn_due = True
        self.host.after(self.kernel.rng.random() * LOOP_LATE_S, self._turn)

    # ------------------------------------------------------------ the loop

    def handle(self, event: ev.Event) -> None:
        """Give the loop an event; it turns soon, with all that has come until then."""
        if not self.alive:
            return
        self._inbox.append(event)
        if not self._turn_due:
            self._turn_due = True
            self.host.after(self.kernel.rng.random() * TURN_LATE_S, self._turn)

    def _turn(self) -> None:
        """Turn the loop: timers first, then what has come, then the end of the turn."""
        self._turn_due = False
        if not self.alive or self.stalled:
            return
        now = self.host.clock()
        core = self.core
        deadline = core.next_deadline()
        events = self._inbox
        self._inbox = []
        if deadline is not None and deadline <= now:
            events.insert(0, TICK)
        if events:
            self.kernel.events += len(events)
            for event in events:
                self._fencing = False
                self.judge.comes(event)
                for effect in core.handle(event, now):
                    self._do(effect)
                self.judge.handled(event)
            for effect in core.handle(TURN_ENDED, now):
                self._do(effect)
        if self.alive:
            self._rearm()

    def _rearm(self) -> None:
        deadline = self.core.next_deadline()
        if deadline is None:
            return
        delay = max(0.0, deadline - self.host.clock()) + self.kernel.rng.random() * LOOP_LATE_S
        at = self.kernel.now + delay
        if at < self._wake_at - LOOP_LATE_S:
            self._wake_at = at
            self.host.after(delay, self._wake, at)

    def _do(self, effect: fx.Effect) -> None:
        kind = type(effect)
        host = self.host
        if kind is fx.Send:
            message = effect.message  # type: ignore[attr-defined]
            if type(message) is Results:
                for report in message.reports:
                    self.world.truth.reported(report.token, report.outcome)
            data = encode(message)
            self.kernel.note(self.name, "says", message, data)
            self.judge.said(message)
            if type(message) is Join and message.held:
                self.world.faults.joining(host)
            self.world.network.send_up(self.link, data)
        elif kind is fx.Tell:
            process = host.processes.get((self.uid, effect.process))  # type: ignore[attr-defined]
            if process is not None:
                if type(effect.frame) is channel.Execute:  # type: ignore[attr-defined]
                    self.judge.hands_over()
                elif type(effect.frame) is channel.Remove:  # type: ignore[attr-defined]
                    self.judge.removes(effect.frame.request)  # type: ignore[attr-defined]
                host.after(0.0002, process.hear, channel.pack(effect.frame))  # type: ignore[attr-defined]
        elif kind is fx.StartProcess:
            self._start(effect)  # type: ignore[arg-type]
        elif kind is fx.KillProcess:
            self._kill(effect.process, effect.grace_s)  # type: ignore[attr-defined]
        elif kind is fx.Exit:
            self.kernel.note(self.name, "exits", effect)
            self.vanish()
            host.ended(self, effect.code)  # type: ignore[attr-defined]
        elif kind is fx.Note:
            self.kernel.note(self.name, "notes", effect)
            phrase = effect.phrase  # type: ignore[attr-defined]
            self.kernel.counts[f"worker: {phrase}"] += 1
            self._fencing = self._fencing or phrase.startswith("lease ends")
            self.judge.notes(phrase, effect)

    def _start(self, effect: fx.StartProcess) -> None:
        number = effect.process
        parent = self.host.processes.get((self.uid, effect.parent))
        process: Process
        if effect.role == "template":
            process = Template(self, number)
        else:
            make = Planner if effect.role == "planner" else Runner
            process = make(self, number, parent if isinstance(parent, Template) else None)
        self.host.processes[self.uid, number] = process
        rng = self.kernel.rng
        if effect.parent and (parent is None or parent.dying):
            process.die(0, 71, 0.001)  # there is nobody to fork it
        elif rng.random() < self.world.profile.stillborn:
            self.kernel.counts["fault: stillborn process"] += 1
            process.die(0, 1, 0.01)
        else:
            self.host.after(0.005 + rng.random() * 0.1, process.boot)

    def _kill(self, number: int, grace_s: float) -> None:
        process = self.host.processes.get((self.uid, number))
        self.kernel.note(self.name, "kills", f"{number} grace {grace_s:.3f}")
        if process is None:
            return
        process.told_to_die = True
        self.judge.kills(process)
        if grace_s <= 0:
            self.kernel.counts["probe: late fence" if self._fencing else "hard kill"] += 1
            process.kill()
        else:
            self.kernel.counts["probe: fence" if self._fencing else "soft kill"] += 1
            process.term()
            self.host.after(TERM_SHARE * grace_s, process.kill)

    # ------------------------------------------------------------ faults

    def vanish(self) -> None:
        """Be dead at once; the sockets close."""
        self.alive = False
        self.world.network.disconnect(self.link)

    def reconnect(self) -> None:
        """The connection breaks; ZeroMQ makes another, under another name at the coordinator."""
        if self.alive:
            self.kernel.counts["fault: reconnect"] += 1
            self.world.network.disconnect(self.link)
            self.link = self.world.network.connect(self.host.name, self._arrived)

    def stall(self, seconds: float, guard_s: float) -> None:
        """Stop the agent alone: its children run on, its supervisor watches (rule W8)."""
        if not self.alive or self.stalled or self.host.frozen:
            return
        self.kernel.counts["fault: agent stopped"] += 1
        self.kernel.note(self.name, "stalls", f"{seconds:.2f} s")
        self.stalled = True
        if seconds > guard_s:
            self.host.after(guard_s, self.host.crash_agent, "agent killed by its watchdog")
        else:
            self.host.after(seconds, self._unstall)

    def _unstall(self) -> None:
        self.stalled = False
        self._turn()
