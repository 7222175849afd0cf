"""Connections that lose, repeat, delay, reorder and cut what is said.

One ``Link`` is one connection of a DEALER (an agent or a command) to the coordinator's ROUTER. The
name the coordinator sees is new at every reconnect, as with real sockets; what is under way on an
old connection may still arrive, which is harsher than TCP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.kernel import Kernel

#: Longest delay of one message (seconds). Most terms are shorter.
DELAY_MAX_S = 45.0


@dataclass
class Weather:
    """How badly the network behaves now."""

    loss: float = 0.0
    duplication: float = 0.0
    #: probability of a delay drawn up to ``DELAY_MAX_S`` instead of the usual one
    late: float = 0.0
    #: mean of the usual, exponential delay (seconds)
    delay_s: float = 0.002


CLEAR = Weather()


@dataclass(eq=False)
class Link:
    """One connection: the coordinator knows it as ``peer``."""

    peer: bytes
    #: whose partitions apply
    place: str
    deliver: Callable[[bytes], None]
    open: bool = True


@dataclass
class Network:
    """All connections, and the cuts in force: "up" to the coordinator and "down" from it."""

    kernel: Kernel
    to_coordinator: Callable[[bytes, bytes], None]
    weather: Weather = field(default_factory=Weather)
    links: dict[bytes, Link] = field(default_factory=dict)
    cut_until: dict[tuple[str, str], float] = field(default_factory=dict)
    _peers: int = 0

    def connect(self, place: str, deliver: Callable[[bytes], None]) -> Link:
        """Open a connection under a name never used before."""
        self._peers += 1
        link = Link(b"p%d" % self._peers, place, deliver)
        self.links[link.peer] = link
        return link

    def disconnect(self, link: Link) -> None:
        """Close it; the coordinator may notice when it next sends there."""
        link.open = False
        self.links.pop(link.peer, None)

    def cut(self, place: str, direction: str, seconds: float) -> None:
        """Drop everything between the coordinator and ``place`` in one direction for a while."""
        key = (place, direction)
        until = self.kernel.now + seconds
        self.cut_until[key] = max(until, self.cut_until.get(key, 0.0))

    def heal(self) -> None:
        """End every cut and clear the weather. What is under way stays under way."""
        self.cut_until.clear()
        self.weather = CLEAR

    def send_up(self, link: Link, data: bytes) -> None:
        """Carry bytes to the coordinator, or not."""
        if link.open:
            for delay in self._fates(link.place, "up"):
                self.kernel.after(delay, self.to_coordinator, link.peer, data)

    def send_down(self, peer: bytes, data: bytes) -> bool:
        """Carry bytes to a peer, or not; False where the socket says that there is no such peer."""
        link = self.links.get(peer)
        if link is None:
            return False
        for delay in self._fates(link.place, "down"):
            self.kernel.after(delay, self._arrive, link, data)
        return True

    def _arrive(self, link: Link, data: bytes) -> None:
        if link.open:
            link.deliver(data)

    def _fates(self, place: str, direction: str) -> list[float]:
        kernel, weather, rng = self.kernel, self.weather, self.kernel.rng
        if self.cut_until and self.cut_until.get((place, direction), 0.0) > kernel.now:
            kernel.counts["fault: cut message"] += 1
            return []
        if weather.loss and rng.random() < weather.loss:
            kernel.counts["fault: lost message"] += 1
            return []
        fates = [self._delay()]
        if weather.duplication and rng.random() < weather.duplication:
            kernel.counts["fault: repeated message"] += 1
            fates.append(self._delay())
        return fates

    def _delay(self) -> float:
        rng, weather = self.kernel.rng, self.weather
        if weather.late and rng.random() < weather.late:
            self.kernel.counts["fault: late message"] += 1
            return rng.random() * DELAY_MAX_S
        # the sum keeps two messages of one instant apart, so that they may overtake each other
        return 0.0002 + rng.expovariate(1.0) * weather.delay_s
