"""What breaks, how often, for how long: drawn per seed from a profile."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flow.wire.messages.shared import Timing
from flow_worker.core import events as ev
from tests.simulation.network import Weather
from tests.simulation.processes import Process, Runner

if TYPE_CHECKING:
    from tests.simulation.host import Agent, Host
    from tests.simulation.world import World

DEFAULT = Timing()
FAST = Timing(1.0, 10.0, 2.0, 1.0, 0.01)


@dataclass
class Profile:
    """How one world is built and what befalls it. Rates are faults per virtual second."""

    name: str
    timing: Timing = DEFAULT
    hosts: int = 3
    rates: dict[str, float] = field(default_factory=dict)
    weathers: list[Weather] = field(default_factory=lambda: [Weather()])
    #: share of special tasks
    trouble: float = 0.3
    size: int = 30
    submit_every_s: float = 40.0
    stillborn: float = 0.0
    parked_max: int = 1000
    runner_tasks_max: int = 1000
    reuse_code: bool = False  #: of workers: templates may serve equal runs
    dirty_share: float = 0.03  #: of tasks: what they leave in their process cannot be put back
    #: bound of the relative clock rate error of hosts
    rate_error: float = 0.01


ROUGH = [
    Weather(),
    Weather(0.05, 0.05, 0.01, 0.01),
    Weather(0.30, 0.20, 0.10, 0.05),
    Weather(0.10, 0.20, 0.30, 0.5),
]

#: Usual rates, each for a world that has this fault at all.
RATES: dict[str, float] = {
    "partition": 1 / 120,
    "reconnect": 1 / 60,
    "host frozen": 1 / 150,
    "host lost": 1 / 400,
    "container killed": 1 / 400,
    "agent crash": 1 / 80,
    "agent stopped": 1 / 100,
    "agent drained": 1 / 100,
    "supervisor crash": 1 / 300,
    "process killed": 1 / 60,
    "coordinator crash": 1 / 100,
    "coordinator frozen": 1 / 200,
    "coordinator restart": 1 / 200,
    "disk full": 1 / 150,
    "cancel": 1 / 100,
    "retry": 1 / 150,
}

_NETWORK = ("partition", "reconnect")
_FREEZE = ("host frozen", "agent stopped", "coordinator frozen")


#: Of the worlds whose workers keep templates for equal runs.
REUSE_SHARE = 0.3


def draw_profile(name: str, rng: random.Random) -> Profile:
    """Build the profile of one seed. ``mixed`` draws everything."""
    timing = FAST if rng.random() < 0.4 else DEFAULT
    profile = Profile(name, timing, hosts=rng.randrange(2, 5))
    profile.size = rng.choice((8, 20, 40, 80))
    profile.trouble = rng.choice((0.0, 0.2, 0.5))
    profile.parked_max = rng.choice((1, 2, 1000))
    profile.runner_tasks_max = rng.choice((2, 10, 1000))
    profile.stillborn = rng.choice((0.0, 0.0, 0.05))
    faster = DEFAULT.lease_s / timing.lease_s if timing is FAST else 1.0
    chosen: list[str] = []
    if name == "calm":
        return profile
    if name == "soiled":  # one host, whose runners all keep generators and take nothing new
        profile.hosts, profile.size, profile.trouble = 1, 80, 1.0
        profile.parked_max, profile.dirty_share, profile.submit_every_s = 1000, 1.0, 5.0
        return profile
    if name in ("network", "mixed"):
        profile.weathers = rng.sample(ROUGH, rng.randrange(1, 4))
    if name == "network":
        chosen = list(_NETWORK)
    elif name == "freezes":
        chosen = [*_FREEZE, "partition", "reconnect"]
        profile.weathers = rng.sample(ROUGH, rng.randrange(1, 4))
    elif name == "crashes":
        chosen = [kind for kind in RATES if kind not in (*_NETWORK, *_FREEZE)]
    elif name == "restarts":
        chosen = ["coordinator restart", "coordinator crash", "host frozen", "partition"]
        chosen += ["agent drained", "process killed"]
    elif name == "mixed":
        chosen = [kind for kind in RATES if rng.random() < 0.6]
    else:
        raise ValueError(f"no profile {name!r}: {', '.join(PROFILES)}")
    speed = min(faster, 2.0)
    profile.rates = {kind: RATES[kind] * speed * rng.choice((0.5, 1.0, 2.0)) for kind in chosen}
    profile.reuse_code = rng.random() < REUSE_SHARE
    return profile


PROFILES = ("mixed", "calm", "network", "freezes", "crashes", "restarts", "soiled")


class Faults:
    """Makes them happen until told to stop."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kernel = world.kernel
        self.rng = world.kernel.rng
        self.active = True
        self._act: dict[str, Callable[[], None]] = {
            "partition": self._partition,
            "reconnect": self._reconnect,
            "host frozen": lambda: self._host().freeze(self._seconds(1.0, 100.0)),
            "host lost": lambda: self._host().lose(self._seconds(2.0, 200.0), reboot=True),
            "container killed": lambda: self._host().lose(self._seconds(0.5, 60.0), reboot=False),
            "agent crash": lambda: self._host().crash_agent("agent crash"),
            "agent stopped": self._stall,
            "agent drained": self._drain,
            "supervisor crash": lambda: self._host().lose_supervisor(),
            "process killed": self._kill_process,
            "coordinator crash": self._crash_coordinator,
            "coordinator frozen": lambda: world.coordinator.freeze(self._seconds(1.0, 100.0)),
            "coordinator restart": world.coordinator_restart,
            "disk full": self._fill_disk,
            "cancel": lambda: world.any_client("cancel"),
            "retry": lambda: world.any_client("retry"),
        }
        for kind, rate in world.profile.rates.items():
            self._later(kind, rate)
        if len(world.profile.weathers) > 1 or world.profile.weathers[0].loss:
            self._weather()

    def stop(self) -> None:
        """Nothing breaks from now on."""
        self.active = False

    def _later(self, kind: str, rate: float) -> None:
        self.kernel.after(self.rng.expovariate(rate), self._happen, kind, rate)

    def _happen(self, kind: str, rate: float) -> None:
        if self.active:
            self._act[kind]()
            self._later(kind, rate)

    def _host(self) -> Host:
        return self.rng.choice(self.world.hosts)

    def _seconds(self, least: float, most: float) -> float:
        """Short is as likely as long."""
        return least * (most / least) ** self.rng.random()

    def joining(self, host: Host) -> None:
        """A worker that holds something says JOIN: the worst moment to lose a lease."""
        freezes = self.active and "host frozen" in self.world.profile.rates
        if freezes and self.rng.random() < 0.3:
            lease_s = self.world.profile.timing.lease_s
            seconds = self._seconds(0.3 * lease_s, 2.0 * lease_s)
            self.kernel.counts["fault: host frozen while joining"] += 1
            self.kernel.after(self.rng.random() * 0.01, host.freeze, seconds)
            if self.rng.random() < 0.5:
                self.kernel.after(0.05, self._cut_up, host)

    def _cut_up(self, host: Host) -> None:
        if self.active:
            self.world.network.cut(host.name, "up", 150.0)

    def dispatched(self, agent: Agent) -> None:
        """A worker is given something: the worst moment to tell it to leave."""
        drains = self.active and "agent drained" in self.world.profile.rates
        if drains and self.rng.random() < 0.01:
            self.kernel.counts["fault: agent stop drain"] += 1
            agent.handle(ev.StopRequested(ev.StopKind.DRAIN))

    # ------------------------------------------------------------ kinds

    def _weather(self) -> None:
        if self.active:
            self.world.network.weather = self.rng.choice(self.world.profile.weathers)
            self.kernel.after(self._seconds(10.0, 120.0), self._weather)

    def _partition(self) -> None:
        host = self._host().name
        seconds = self._seconds(1.0, 150.0)
        directions = self.rng.choice((("up",), ("down",), ("up", "down"), ("up", "down")))
        self.kernel.counts[f"fault: partition {'/'.join(directions)}"] += 1
        self.kernel.note(host, "partition", f"{directions} {seconds:.1f} s")
        for direction in directions:
            self.world.network.cut(host, direction, seconds)

    def _reconnect(self) -> None:
        agent = self._host().agent
        if agent is not None:
            agent.reconnect()

    def _stall(self) -> None:
        agent = self._host().agent
        if agent is not None:
            guard_s = self.world.profile.timing.kill_s
            lease_s = self.world.profile.timing.lease_s
            agent.stall(self._seconds(0.1, 2 * lease_s), guard_s)

    def _drain(self) -> None:
        agent = self._host().agent
        if agent is not None and agent.alive:
            kind = self.rng.choice((ev.StopKind.DRAIN, ev.StopKind.NOW))
            self.kernel.counts[f"fault: agent stop {kind.value}"] += 1
            agent.handle(ev.StopRequested(kind))

    def _kill_process(self) -> None:
        host = self._host()
        up = [one for one in host.processes.values() if one.up and not one.dying]
        if up and not host.frozen:
            victim: Process = self.rng.choice(up)
            self.kernel.counts[f"fault: {victim.role} killed"] += 1
            self.kernel.note(host.name, "process killed", victim.number)
            if isinstance(victim, Runner) and victim.current is not None:
                victim.current.died()
            victim.die(signal.SIGKILL, 0, 0.01)

    def _crash_coordinator(self) -> None:
        boss = self.world.coordinator
        if boss.alive:
            points = ("", "before a turn", "before commit", "after commit", "between sends")
            point = self.rng.choice(points)
            if point:
                boss.crash_at = point
            else:
                boss.crash()

    def _fill_disk(self) -> None:
        boss = self.world.coordinator
        boss.full_until = max(boss.full_until, self.kernel.now + self._seconds(0.5, 100.0))
        self.kernel.counts["fault: disk full"] += 1
