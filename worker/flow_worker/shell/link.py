"""The agent's line to the coordinator: messages out, events in, bad bytes counted."""

from __future__ import annotations

from flow.errors import ProtocolError
from flow.wire.messages.codec import decode_at_worker, encode
from flow.wire.messages.worker import ToCoordinator
from flow.wire.transport import Dealer
from flow_worker.core.effects import Send
from flow_worker.core.events import Received

#: Messages taken in one turn, so that timers and processes get theirs, too.
TURN_MESSAGES_MAX = 256


class CoordinatorLink:
    """Wraps the socket. What cannot be sent is dropped: the core's timers say it again."""

    def __init__(self, address: str) -> None:
        self.dealer = Dealer(address)
        self.unreadable = 0  #: messages that were none

    def receive(self) -> list[Received]:
        """Take what has arrived."""
        events: list[Received] = []
        for data in self.dealer.recv_batch(TURN_MESSAGES_MAX):
            try:
                events.append(Received(decode_at_worker(data)))
            except ProtocolError:
                self.unreadable += 1
        return events

    def send(self, effect: Send) -> None:
        """Send one message, or drop it."""
        message: ToCoordinator = effect.message
        self.dealer.send(encode(message))

    @property
    def refused(self) -> int:
        """How many messages were not understood, by frames or by content."""
        return self.unreadable + self.dealer.malformed

    def close(self) -> None:
        """Let the last messages leave, then close."""
        self.dealer.close()
