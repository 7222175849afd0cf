"""Bytes that are no messages and peers that are no peers leave the coordinator up and small."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flow.wire.ids import new_uid
from flow.wire.messages import codec
from flow.wire.messages.client import About, Submit, SubmitOptions
from flow.wire.messages.worker import Heartbeat, Hello, Join, Results, Started
from flow.wire.transport import Dealer
from tests.support.cluster import Cluster, wait_until

#: What a coordinator may grow by, whatever it is sent: far below one bomb that worked.
GROWTH_BYTES_MAX = 24 << 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("socket") / "c") as cluster:
        yield cluster.start("w1")


@pytest.fixture
def dealer(cluster: Cluster) -> Iterator[Dealer]:
    dealer = Dealer(cluster.address)
    try:
        yield dealer
    finally:
        dealer.close()


def rss_bytes(cluster: Cluster) -> int:
    assert cluster.coordinator is not None
    status = Path(f"/proc/{cluster.coordinator.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def still_serves(cluster: Cluster, key: str) -> None:
    cluster.submit("Fan", "--key", key, "--width", "4")
    cluster.ledger.check([*(f"Leaf-{key}-{n}" for n in range(4)), f"Fan-{key}"])


def send(dealer: Dealer, data: bytes) -> None:
    wait_until(lambda: dealer.send(data, wait_s=1.0), "room to send")


def array32(items: int) -> bytes:
    return b"\xdd" + struct.pack(">I", items)


BOMBS = {
    "deep arrays": b"\x91" * 900_000,
    "deep maps": b"\x81\x00" * 450_000,
    "huge array": array32(0xFFFFFFFF),
    "huge map": b"\xdf\xff\xff\xff\xff",
    "huge str": b"\xdb\xff\xff\xff\xff",
    "huge bin": b"\xc6\xff\xff\xff\xff",
    "huge ext": b"\xc9\xff\xff\xff\xff\x01",
    "nested arrays that claim much": (b"\xdc\xff\xff") * 300_000,
    "a mebibyte of empty maps": array32(65_000) + b"\x80" * 65_000,
    "more than a frame may hold": b"\x00" * (codec.MESSAGE_BYTES_MAX + 1),
    "much more than that": b"\x00" * (16 << 20),
    "empty": b"",
    "nil": b"\xc0",
    "only a tag": msgpack.packb([3]),
    "unknown tag": msgpack.packb([250, 1, 2]),
    "negative tag": msgpack.packb([-1]),
    "tag as text": msgpack.packb(["Heartbeat"]),
    "wrong types": msgpack.packb([3, 7, "x", [], {}, b""]),
    "nan": msgpack.packb([3, "1.1", 1, False, float("nan"), -1]),
    "big int": msgpack.packb([3, "1.1", 2**64 - 1]),
    "surrogate": b"\x92\x40\xa3\xed\xa0\x80",
    "timestamp": b"\x92\x40\xd6\xff\x00\x00\x00\x00",
    "truncated submit": codec.encode(Submit(1, "k", "p", [], SubmitOptions()))[:-3],
    "message for workers": msgpack.packb([37, "1.1", []]),
}


def test_bombs_are_dropped_and_memory_stays_flat(cluster: Cluster, dealer: Dealer) -> None:
    still_serves(cluster, "before")
    before = rss_bytes(cluster)
    for bomb in BOMBS.values():
        for _ in range(20 if len(bomb) < 1 << 20 else 3):
            send(dealer, bomb)
    still_serves(cluster, "bombs")
    assert cluster.coordinator is not None and cluster.coordinator.alive
    assert rss_bytes(cluster) - before < GROWTH_BYTES_MAX
    assert "malformed message" in cluster.coordinator.text()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.binary(max_size=2000)
    | st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    ).map(msgpack.packb)
    | st.tuples(st.integers(1, 110), st.lists(st.integers() | st.text() | st.none())).map(
        lambda pair: msgpack.packb([pair[0], *map(_small, pair[1])])
    )
)
def test_random_bytes_and_random_msgpack_change_nothing(
    cluster: Cluster, dealer: Dealer, data: bytes
) -> None:
    send(dealer, data)


def _small(value: object) -> object:
    return value % 2**63 if isinstance(value, int) else value


def test_coordinator_after_random_bytes_still_serves(cluster: Cluster) -> None:
    still_serves(cluster, "random")
    assert cluster.coordinator is not None
    assert "Traceback" not in cluster.coordinator.text()


def test_messages_of_workers_from_a_stranger_change_nothing(
    cluster: Cluster, dealer: Dealer
) -> None:
    run = cluster.detach("Gated", "--key", "stranger")
    wait_until(lambda: "Gated-stranger-0" in cluster.ledger.started(), "the task")
    token = cluster.ledger.lines("start", "Gated-stranger-0")[0].token
    (row,) = cluster.list_workers()
    from flow.wire.messages.shared import Outcome, Report

    for session in ("1.77", "0.0", "x"):  # whoever knows a current one needs keys to be stopped
        for message in (
            Heartbeat(session, 10**9),
            Started(session, [token]),
            Hello(row["uid"], (1, 0)),
            Join(new_uid(), "no-nonce", [token], [], [row["uid"]], "evil", "h", "h", "b", 9, {}),
        ):
            send(dealer, codec.encode(message))
    send(dealer, codec.encode(Results("7.7", [Report(token, Outcome.DONE)])))
    assert cluster.about() is not None
    assert cluster.summary(run).state == "running"
    assert [one["uid"] for one in cluster.list_workers()] == [row["uid"]]
    cluster.ledger.open_gate("stranger")
    cluster.wait_ended(run)
    assert [one.attempt for one in cluster.ledger.executions("Gated-stranger-0")] == [1]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
        b"\xff" * 100_000,
        b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL" + b"\x00" * 48 + b"\xff" * 4096,
        b"",
    ],
)
def test_raw_bytes_on_the_port_disturb_nobody(cluster: Cluster, data: bytes) -> None:
    host, port = cluster.address.removeprefix("tcp://").split(":")
    connections = [socket.create_connection((host, int(port)), 5) for _ in range(30)]
    for each in connections:
        each.sendall(data)
    assert cluster.about() is not None
    for each in connections:
        each.close()
    assert cluster.about() is not None


def test_many_half_open_connections_leave_room_for_workers_and_commands(cluster: Cluster) -> None:
    host, port = cluster.address.removeprefix("tcp://").split(":")
    stalled = [socket.create_connection((host, int(port)), 5) for _ in range(300)]
    try:
        still_serves(cluster, "stalled")
    finally:
        for each in stalled:
            each.close()


def test_frames_of_wrong_number_are_dropped(cluster: Cluster) -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.DEALER) as raw:
        raw.setsockopt(zmq.LINGER, 1000)
        raw.connect(cluster.address)
        for frames in ([b"", b""], [b"a"] * 50, [b""], [codec.encode(About(1)), b"x"]):
            raw.send_multipart(frames)
        raw.send(codec.encode(About(5)))
        assert raw.poll(10_000)
        assert codec.decode_at_client(raw.recv()).request == 5


def test_peer_that_chose_its_own_name_is_ignored(cluster: Cluster) -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.DEALER) as raw:
        raw.setsockopt(zmq.LINGER, 0)
        raw.setsockopt(zmq.ROUTING_ID, b"worker")
        raw.connect(cluster.address)
        raw.send(codec.encode(About(5)))
        assert cluster.about() is not None
        assert not raw.poll(500)
