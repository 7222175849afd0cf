"""What the coordinator's loop makes of messages that cannot be sent as they are."""

from __future__ import annotations

import time
from random import Random
from typing import Any, cast

import msgspec

from flow.errors import ExitCode
from flow.wire.messages import client, codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Grant
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.effects import SendNow
from flow_coordinator.shell import recovery
from flow_coordinator.shell.loop import Loop
from tests.support.memory_store import MemoryStore


class Wire:
    """A socket that keeps what it is given, and a log that keeps what it is told."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.said: list[str] = []

    def send(self, peer: bytes, data: bytes) -> bool:
        """Keep it."""
        self.sent.append(data)
        return True

    def say(self, level: str, phrase: str, **fields: Any) -> None:
        """Keep the phrase."""
        self.said.append(phrase)


def test_answer_that_is_too_large_is_an_error_to_who_asked() -> None:
    wire_ = Wire()
    loop = Loop(cast(Any, None), cast(Any, None), cast(Any, wire_), cast(Any, wire_))
    loop._transmit(SendNow(b"client", client.Changed(3, "x" * (2 << 20), 1)))
    (data,) = wire_.sent
    answer = codec.decode_at_client(data)
    assert isinstance(answer, client.Failed) and answer.request == 3
    assert answer.code == ExitCode.INTERNAL and "over the limit" in answer.error
    assert wire_.said == ["message too large"]


def test_message_to_a_worker_that_is_too_large_is_told_in_the_log() -> None:
    wire_ = Wire()
    loop = Loop(cast(Any, None), cast(Any, None), cast(Any, wire_), cast(Any, wire_))
    grant = Grant("ab.1.1", "T_1", "mod", "T", b"x" * (2 << 20), 1)
    loop._transmit(SendNow(b"worker", wire.Dispatch("1.1", [grant])))
    assert not wire_.sent and wire_.said == ["message too large"]


class Talk(Wire):
    """A socket on which one client says what the test gives it."""

    drained = True

    def __init__(self) -> None:
        super().__init__()
        self.inbox: list[msgspec.Struct] = []

    def recv_batch(self, most: int) -> list[tuple[bytes, bytes]]:
        """Hand over what was said."""
        inbox, self.inbox = self.inbox, []
        return [(b"client", codec.encode(message)) for message in inbox]


def test_key_of_a_run_whose_end_is_not_stored_yet_finds_it() -> None:
    talk, store = Talk(), MemoryStore()
    config = CoreConfig(ended_runs_max=1)
    core = recovery.restore(store.load(), [], config, Random(1), time.monotonic(), time.time())
    loop = Loop(core, store, cast(Any, talk), cast(Any, talk))

    def turn(*messages: msgspec.Struct) -> None:
        talk.inbox.extend(messages)
        loop.turn()

    def submit(key: str) -> client.Submit:
        roots = [client.RootTask("mod", "T", {})]
        return client.Submit(1, key, "default", roots, client.SubmitOptions())

    turn(submit("a"), submit("b"))
    store.fail_next(1)
    turn(client.Cancel(2, "r-1"), client.Cancel(2, "r-2"))
    assert list(core.state.ended) == [2]
    turn(submit("a"))
    assert not core.state.runs and list(core.state.ended) == [1]
