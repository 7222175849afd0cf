"""A coordinator without sockets or a store: the core, driven by whoever calls it.

For runs inside one process, which end with it: there is nobody to be durable for.
"""

from __future__ import annotations

import time
from random import Random

import msgspec

from flow.messages.client import Request
from flow.messages.worker import ToCoordinator
from flow.settings import Settings
from flow_coordinator.core.effects import Effect, Send, SendNow
from flow_coordinator.core.events import Peer, Received, TurnEnded
from flow_coordinator.core.machine import Coordinator
from flow_coordinator.shell.settings import core_config


class InlineCoordinator:
    """Takes messages, returns messages."""

    def __init__(self, settings: Settings) -> None:
        # Grants cost nothing here, so none is made before the order is certain.
        config = msgspec.structs.replace(core_config(settings), prefetch=False)
        self._core = Coordinator(config, "inline", 1, Random(), time.monotonic())
        self._unsaid: list[tuple[Peer, msgspec.Struct]] = []

    def hear(self, peer: Peer, message: ToCoordinator | Request) -> None:
        """Take one message."""
        self._keep(self._core.handle(Received(peer, message), time.monotonic()))

    def turn(self) -> list[tuple[Peer, msgspec.Struct]]:
        """Decide what follows from what was heard, and from the time; return what to say."""
        self._keep(self._core.handle(TurnEnded(), time.monotonic()))
        self._core.take_changes()
        unsaid, self._unsaid = self._unsaid, []
        return unsaid

    def sleep(self, longest_s: float) -> None:
        """Wait until something is due, at most ``longest_s``."""
        deadline = self._core.next_deadline()
        due_s = longest_s if deadline is None else deadline - time.monotonic()
        time.sleep(max(0.0, min(longest_s, due_s)))

    def _keep(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send | SendNow):
                self._unsaid.append((effect.peer, effect.message))
