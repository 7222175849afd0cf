"""Simulated commands: submit a run, watch it to its end, sometimes cancel or retry.

Like the real ones they ask again after silence, and connect anew when nothing answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flow.wire.messages.client import (
    Cancel,
    Changed,
    Failed,
    Reply,
    Retry,
    RootTask,
    RunSummary,
    RunUpdate,
    Submit,
    SubmitOptions,
    SubmitTaken,
    Submitted,
    Watch,
)
from flow.wire.messages.codec import decode_at_client, encode
from flow.wire.messages.worker import Message
from tests.simulation.graph import MODULE, Node

if TYPE_CHECKING:
    from tests.simulation.world import World

#: Silence after which a command asks again, and after which it connects anew.
ASK_AGAIN_S = 4.0
RECONNECT_S = 20.0


class Client:
    """One ``flow submit``. ``doomed`` was computed from the workflow before anything ran."""

    def __init__(self, world: World, number: int, tops: list[Node], options: SubmitOptions) -> None:
        self.world = world
        self.kernel = world.kernel
        self.name = f"client-{number}"
        self.key = f"key-{number}"
        self.tops = tops
        self.options = options
        self.run = ""
        self.ended: RunSummary | None = None
        self.cancelled = False
        self.retried = False
        self._request = 0
        self._seen = 0
        #: how many of its roots the coordinator holds
        self._held = 0
        self._order: Message | None = None
        self._heard_at = self.kernel.now
        self.link = world.network.connect(self.name, self._arrived)
        self._ask()

    # ------------------------------------------------------------ wishes

    def cancel(self) -> None:
        """Ctrl-C twice."""
        if self.run and self.ended is None and self._order is None:
            self.cancelled = True
            self.kernel.counts["fault: run cancelled"] += 1
            self._order = Cancel(self._next(), self.run)
            self._say(self._order)

    def retry(self) -> None:
        """``flow retry`` of a run that goes on."""
        if self.run and self.ended is None and self._order is None:
            self.retried = True
            self.kernel.counts["run retried"] += 1
            self._order = Retry(self._next(), self.run)
            self._say(self._order)

    # ------------------------------------------------------------ talk

    def _next(self) -> int:
        self._request += 1
        return self._request

    def _say(self, message: Message) -> None:
        self.kernel.note(self.name, "says", message)
        self.world.network.send_up(self.link, encode(message))

    def _ask(self) -> None:
        """Say what waits for an answer; come back later."""
        if self.ended is not None:
            self.world.network.disconnect(self.link)
            return
        silent = self.kernel.now - self._heard_at
        if silent > RECONNECT_S:
            self.world.network.disconnect(self.link)
            self.link = self.world.network.connect(self.name, self._arrived)
            self._heard_at = self.kernel.now
        if not self.run:
            self._submit()
        else:
            if self._order is not None:
                self._say(self._order)
            if silent >= ASK_AGAIN_S:
                self._say(Watch(self._next(), self.run, self._seen))
        self.kernel.after(ASK_AGAIN_S * (0.9 + 0.2 * self.kernel.rng.random()), self._ask)

    def _submit(self) -> None:
        """Say the run, or its next part: one root each."""
        roots = [RootTask(MODULE, top.family, top.params) for top in self.tops]
        at = self._held if self._held < len(roots) else 0
        part = roots[at : at + 1]
        submit = Submit(self._next(), self.key, "default", part, self.options)
        self._say(msgspec.structs.replace(submit, at=at, total=len(roots)))

    def _arrived(self, data: bytes) -> None:
        message: Reply = decode_at_client(data)
        self.kernel.note(self.name, "gets", message, data)
        if self.ended is None:
            self._heard_at = self.kernel.now
            self._take(message)

    def _take(self, message: Reply) -> None:
        if isinstance(message, Submitted):
            if self.run and self.run != message.run:
                self.world.truth.broken("S5", f"{self.key} is {self.run}, then {message.run}")
            if not self.run:
                self.run = message.run
                self.world.submitted(self)
                self._say(Watch(self._next(), self.run, self._seen))
        elif isinstance(message, SubmitTaken):
            if not self.run and message.count != self._held:
                self._held = message.count
                self._submit()
        elif isinstance(message, RunUpdate):
            if message.failures:
                self._seen = max(self._seen, message.failures[-1].number)
            if message.ended is not None:
                self.ended = message.ended
                self.world.run_ended(self, message.ended)
        elif isinstance(message, Changed):
            if isinstance(self._order, Cancel):
                self.world.truth.cancelled.add(self.run)
            self._order = None
        elif isinstance(message, Failed):
            if self._order is not None and message.request == self._order.request:  # type: ignore[attr-defined]
                self._order = None
            elif "has ended" not in message.error:
                self.world.truth.broken("S5", f"{self.name} {self.run}: {message.error}")
