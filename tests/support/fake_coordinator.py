"""A coordinator that says what a test tells it to say, through the real socket and codec."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flow.wire.messages.client import Failed, Request
from flow.wire.messages.codec import decode_at_coordinator, encode
from flow.wire.messages.worker import Message
from flow.wire.transport import Poller, Router

Answer = Callable[[Request], list[Message]]


class FakeCoordinator:
    """A thread with a ROUTER. ``answers`` maps request types to what is replied."""

    def __init__(self, bind: str = "tcp://127.0.0.1:*") -> None:
        self._router = Router(bind)
        self.address = self._router.address
        self.answers: dict[type, Answer] = {}
        self.seen: list[Request] = []
        self.arrived = threading.Condition()
        self._later: list[tuple[bytes, bytes]] = []
        self._last_peer = b""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> FakeCoordinator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering."""
        self._stop.set()
        self._thread.join(5)

    def wait_for(self, kind: type, count: int = 1, timeout_s: float = 10.0) -> Request:
        """Wait until ``count`` requests of this type arrived; return the last."""

        def found() -> list[Request]:
            return [each for each in self.seen if isinstance(each, kind)]

        with self.arrived:
            ok = self.arrived.wait_for(lambda: len(found()) >= count, timeout_s)
        assert ok, f"waited for {count} {kind.__name__}, saw {self.seen}"
        return found()[count - 1]

    def push(self, *messages: Message) -> None:
        """Send these to whoever spoke last."""
        self._later += [(self._last_peer, encode(each)) for each in messages]

    def push_raw(self, data: bytes) -> None:
        """Send bytes that need not be a message."""
        self._later.append((self._last_peer, data))

    def _serve(self) -> None:
        poller = Poller()
        poller.register(self._router, "router")
        while not self._stop.is_set():
            while self._later:
                self._router.send(*self._later.pop(0))
            if not poller.poll(0.01):
                continue
            for peer, data in self._router.recv_batch(100):
                self._handle(peer, decode_at_coordinator(data))
        self._router.close()

    def _handle(self, peer: bytes, request: object) -> None:
        self._last_peer = peer
        answer = self.answers.get(type(request), _no_answer)
        replies = answer(request)  # type: ignore[arg-type]
        with self.arrived:
            self.seen.append(request)  # type: ignore[arg-type]
            self.arrived.notify_all()
        for reply in replies:
            self._router.send(peer, encode(reply))


def _no_answer(request: Request) -> list[Message]:
    if type(request).__name__ == "Unwatch":
        return []
    return [Failed(request.request, 40, f"no answer for {type(request).__name__} in this test")]
