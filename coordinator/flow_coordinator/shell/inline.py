"""A coordinator without sockets or a store: the core, driven by whoever calls it.

For runs inside one process, which end with it: there is nobody to be durable for. Mail about
failures is sent when the run has ended, since no thread may be there while tasks run.
"""

from __future__ import annotations

import os
import time
from random import Random

import msgspec

from flow.logs import Log
from flow.settings.sections import Settings
from flow.wire.messages.client import Request
from flow.wire.messages.worker import ToCoordinator
from flow_coordinator.core.effects import Alert, Effect, Send, SendNow
from flow_coordinator.core.events import Received, TurnEnded
from flow_coordinator.core.machine import Coordinator
from flow_coordinator.core.values import Peer
from flow_coordinator.notify import notifier
from flow_coordinator.shell.settings import core_config

#: Failures that are kept for the mail about them.
ALERTS_MAX = 20_000


class InlineCoordinator:
    """Takes messages, returns messages."""

    def __init__(self, settings: Settings) -> None:
        # Grants cost nothing here, so none is made before the order is certain.
        config = msgspec.structs.replace(core_config(settings), prefetch=False)
        self._core = Coordinator(config, "inline", 1, Random(), time.monotonic())
        self._unsaid: list[tuple[Peer, msgspec.Struct]] = []
        self._untold: list[Alert] = []
        self._notifier = notifier(settings, Log("warning"), terminal=os.isatty(1), hints=False)

    def close(self) -> None:
        """Send the mail about what failed, if there is any and that takes no long time."""
        if self._untold and self._notifier is not None:
            self._notifier.tell(self._untold)
            self._notifier.close()

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
            elif isinstance(effect, Alert) and len(self._untold) < ALERTS_MAX:
                self._untold.append(effect)
