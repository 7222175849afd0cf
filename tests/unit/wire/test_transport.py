"""Router and Dealer over real sockets on this host."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from flow.errors import ConfigError, ExitCode, Refused
from flow.wire.messages.codec import MESSAGE_BYTES_MAX
from flow.wire.transport import Dealer, Poller, Router, is_loopback

DEADLINE_S = 10.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.005)


def receive(router: Router, count: int) -> list[tuple[bytes, bytes]]:
    got: list[tuple[bytes, bytes]] = []
    wait_until(lambda: got.extend(router.recv_batch(100)) or len(got) >= count, f"{count} in {got}")
    return got


def receive_at(dealer: Dealer, count: int) -> list[bytes]:
    got: list[bytes] = []
    wait_until(lambda: got.extend(dealer.recv_batch(100)) or len(got) >= count, f"{count} in {got}")
    return got


@pytest.fixture(params=["tcp", "ipc"])
def router(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Router]:
    bind = "tcp://127.0.0.1:*" if request.param == "tcp" else f"ipc://{tmp_path}/s"
    it = Router(bind)
    yield it
    it.close(flush_s=0)


def test_messages_both_ways_arrive_whole(router: Router) -> None:
    dealer = Dealer(router.address)
    try:
        assert dealer.send(b"hello", wait_s=DEADLINE_S)
        [(peer, data)] = receive(router, 1)
        assert data == b"hello"
        assert router.send(peer, b"welcome")
        assert receive_at(dealer, 1) == [b"welcome"]
    finally:
        dealer.close(flush_s=0)


def test_send_to_a_peer_that_left_says_false(router: Router) -> None:
    dealer = Dealer(router.address)
    assert dealer.send(b"x", wait_s=DEADLINE_S)
    [(peer, _)] = receive(router, 1)
    dealer.close()
    wait_until(lambda: not router.send(peer, b"y"), "send to a closed peer is refused")
    assert not router.send(b"\0nobd", b"y")


def test_send_without_a_coordinator_says_false_and_queues_nothing(tmp_path: Path) -> None:
    dealer = Dealer(f"ipc://{tmp_path}/s")
    try:
        assert not dealer.send(b"early")
        router = Router(f"ipc://{tmp_path}/s")
        try:
            assert dealer.send(b"late", wait_s=DEADLINE_S)
            assert [data for _, data in receive(router, 1)] == [b"late"]
        finally:
            router.close(flush_s=0)
    finally:
        dealer.close(flush_s=0)


def test_dealer_reconnects_after_the_coordinator_came_back(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/s"
    dealer = Dealer(address)
    try:
        for word in (b"first", b"second"):
            router = Router(address)
            got: list[bytes] = []

            def arrived(
                word: bytes = word, router: Router = router, got: list[bytes] = got
            ) -> bool:
                dealer.send(word)
                got.extend(data for _, data in router.recv_batch(10))
                return word in got

            wait_until(arrived, f"{word!r} arrives")
            router.close(flush_s=0)
    finally:
        dealer.close(flush_s=0)


def test_full_queue_says_false_instead_of_dropping(router: Router) -> None:
    dealer = Dealer(router.address)
    try:
        assert dealer.send(b"x", wait_s=DEADLINE_S)
        sent = 1
        data = b"y" * 65536
        while dealer.send(data):
            sent += 1
            assert sent < 1_000_000, "the queue has no bound"
        assert len(receive(router, sent)) == sent
    finally:
        dealer.close(flush_s=0)


def test_close_flushes_the_last_messages(router: Router) -> None:
    dealer = Dealer(router.address)
    assert dealer.send(b"first", wait_s=DEADLINE_S)
    for number in range(100):
        assert dealer.send(b"%d" % number)
    dealer.close(flush_s=DEADLINE_S)
    dealer.close()
    assert receive(router, 101)[-1][1] == b"99"


def raw_dealer(
    address: str, name: bytes = b""
) -> tuple[zmq.Context[zmq.Socket[bytes]], zmq.Socket[bytes]]:
    context = zmq.Context()
    peer = context.socket(zmq.DEALER)
    peer.setsockopt(zmq.LINGER, 0)
    if name:
        peer.setsockopt(zmq.ROUTING_ID, name)
    peer.connect(address)
    return context, peer


@pytest.mark.parametrize(
    ("frames", "name"),
    [([b"a", b"b"], b""), ([b"", b"a"], b""), ([b"a"] * 50, b""), ([b"a"], b"chosen")],
)
def test_wrong_frames_or_chosen_name_is_dropped_and_counted(
    router: Router, frames: list[bytes], name: bytes
) -> None:
    context, peer = raw_dealer(router.address, name)
    good = Dealer(router.address)
    try:
        peer.send_multipart(frames)
        wait_until(lambda: router.recv_batch(10) or router.malformed, "the bad one is counted")
        assert router.malformed == 1
        assert good.send(b"good", wait_s=DEADLINE_S)
        # Some garbage is a message of an older ZMTP: the decoder refuses that, not the socket.
        got: list[bytes] = []
        wait_until(
            lambda: got.extend(data for _, data in router.recv_batch(100)) or b"good" in got,
            lambda: f"good in {got}",
        )
    finally:
        peer.close()
        context.term()
        good.close(flush_s=0)


def test_oversized_message_cuts_its_peer_and_no_other(router: Router) -> None:
    context, peer = raw_dealer(router.address)
    good = Dealer(router.address)
    try:
        peer.send(b"x" * (MESSAGE_BYTES_MAX + 1))
        assert good.send(b"y" * MESSAGE_BYTES_MAX, wait_s=DEADLINE_S)
        [(_, data)] = receive(router, 1)
        assert len(data) == MESSAGE_BYTES_MAX
    finally:
        peer.close()
        context.term()
        good.close(flush_s=0)


def test_garbage_on_the_port_leaves_others_alone() -> None:
    router = Router("tcp://127.0.0.1:*")
    port = int(router.address.rpartition(":")[2])
    good = Dealer(router.address)
    try:
        for garbage in (b"GET / HTTP/1.0\r\n\r\n", os.urandom(512), b"\xff" * 64):
            with socket.create_connection(("127.0.0.1", port)) as raw:
                raw.sendall(garbage)
        assert good.send(b"good", wait_s=DEADLINE_S)
        assert [data for _, data in receive(router, 1)] == [b"good"]
    finally:
        good.close(flush_s=0)
        router.close(flush_s=0)


@pytest.mark.parametrize("bind", ["tcp://0.0.0.0:*", "tcp://*:*", "tcp://some.host:5570"])
def test_bind_beyond_loopback_is_refused_with_the_reason(bind: str) -> None:
    with pytest.raises(Refused, match="can run code") as refusal:
        Router(bind)
    assert "--insecure" in refusal.value.hint


def test_bind_beyond_loopback_with_insecure_works() -> None:
    router = Router("tcp://0.0.0.0:*", insecure=True)
    assert not is_loopback(router.address)
    router.close(flush_s=0)


def test_taken_port_or_path_is_a_config_error(router: Router) -> None:
    with pytest.raises(ConfigError, match="taken") as error:
        Router(router.address)
    assert error.value.exit_code == ExitCode.CONFIG


def test_path_of_a_dead_socket_is_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/s")
    Router(f"ipc://{tmp_path}/s").close(flush_s=0)


@pytest.mark.parametrize(
    "address", ["", "5570", "http://x", "tcp://", "tcp://127.0.0.1", "ipc://" + "x" * 200]
)
def test_bad_address_is_a_config_error(address: str) -> None:
    with pytest.raises(ConfigError):
        Dealer(address)


def test_poller_returns_keys_of_sockets_and_descriptors(router: Router) -> None:
    dealer = Dealer(router.address)
    poller = Poller()
    read_fd, write_fd = os.pipe()
    try:
        poller.register(router, "router")
        poller.register(read_fd, ("fd", 1))
        assert poller.poll(0) == []
        os.write(write_fd, b"x")
        assert poller.poll(DEADLINE_S) == [("fd", 1)]
        poller.unregister(read_fd)
        poller.unregister(read_fd)
        poller.register(write_fd, "out", read=False, write=True)
        assert poller.poll(DEADLINE_S) == ["out"]
        poller.unregister(write_fd)
        assert dealer.send(b"x", wait_s=DEADLINE_S)
        assert poller.poll(DEADLINE_S) == ["router"]
        assert router.recv_batch(1) and not router.drained
        assert router.recv_batch(1) == [] and router.drained
    finally:
        os.close(read_fd)
        os.close(write_fd)
        dealer.close(flush_s=0)
