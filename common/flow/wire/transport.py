"""Sockets between coordinator, workers and commands: the only file that imports zmq.

A ``Router`` belongs to the coordinator; a ``Dealer`` to a worker agent or a command. Both are
non-blocking and belong to the one thread that made them. Every message is exactly one frame;
anything else is dropped and counted in ``malformed``. Nothing is queued for a peer that is not
connected: ``send`` says False and the caller's own timer tries again.
"""

from __future__ import annotations

import ipaddress
import math
import os
import socket as os_socket
import stat
from collections.abc import Hashable
from typing import Protocol
from urllib.parse import urlsplit

import zmq

from flow.errors import ConfigError, Refused
from flow.wire.messages.codec import MESSAGE_BYTES_MAX

#: Messages queued per peer, each way, before ``send`` says False.
QUEUE_MESSAGES_MAX = 1000
#: Connections waiting to be accepted: a whole cluster reconnects at once after a restart.
BACKLOG_MAX = 1024
HEARTBEAT_INTERVAL_MS = 2000
HEARTBEAT_TIMEOUT_MS = 6000
HEARTBEAT_TTL_MS = 8000
HANDSHAKE_TIMEOUT_MS = 5000
TCP_RETRANSMIT_MAX_MS = 20_000
RECONNECT_MS = 100
RECONNECT_IPC_MS = 10
RECONNECT_MAX_MS = 5000
#: How long ``close`` waits for the last messages to leave.
FLUSH_S = 1.0
#: What libzmq names a peer that chose no name itself: a zero byte and a counter.
_PEER_BYTES = 5
PORT_MAX = 65_535
#: Longest path a Unix socket can have on Linux.
_IPC_PATH_BYTES_MAX = 107


class Pollable(Protocol):
    """Something with a file descriptor."""

    def fileno(self) -> int:
        """Name the descriptor."""


def _split(address: str) -> tuple[str, str]:
    """Cut an address into scheme and the rest. Raises ``ConfigError``."""
    scheme, separator, rest = address.partition("://")
    if separator and scheme in ("tcp", "ipc") and rest:
        if scheme == "ipc" and len(os.fsencode(rest)) > _IPC_PATH_BYTES_MAX:
            raise ConfigError(
                f"{rest} is longer than a socket path can be ({_IPC_PATH_BYTES_MAX} bytes)",
                hint="use a shorter directory",
            )
        if scheme == "ipc" or _has_port(rest):
            return scheme, rest
    raise ConfigError(
        f"{address!r} is not an address",
        hint="write tcp://HOST:PORT, for example tcp://127.0.0.1:5570, or ipc:///PATH",
    )


def _has_port(rest: str) -> bool:
    """Whether this is HOST:PORT. libzmq takes a port above the largest modulo 65,536."""
    host, _, port = rest.rpartition(":")
    return bool(host) and (port == "*" or (port.isdecimal() and int(port) <= PORT_MAX))


def is_loopback(address: str) -> bool:
    """Tell whether only this host can reach an address."""
    scheme, _ = _split(address)
    if scheme == "ipc":
        return True
    host = urlsplit(address).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _harden(socket: zmq.Socket[bytes], address: str) -> None:
    options = {
        zmq.LINGER: 0,
        zmq.MAXMSGSIZE: MESSAGE_BYTES_MAX,
        zmq.SNDHWM: QUEUE_MESSAGES_MAX,
        zmq.RCVHWM: QUEUE_MESSAGES_MAX,
        zmq.HEARTBEAT_IVL: HEARTBEAT_INTERVAL_MS,
        zmq.HEARTBEAT_TIMEOUT: HEARTBEAT_TIMEOUT_MS,
        zmq.HEARTBEAT_TTL: HEARTBEAT_TTL_MS,
        zmq.HANDSHAKE_IVL: HANDSHAKE_TIMEOUT_MS,
        zmq.TCP_KEEPALIVE: 1,
        zmq.TCP_MAXRT: TCP_RETRANSMIT_MAX_MS,
        zmq.IPV6: int("[" in address),
    }
    for option, value in options.items():
        socket.setsockopt(option, value)


class _Endpoint:
    """What both kinds of socket share."""

    def __init__(self, kind: int, address: str) -> None:
        _split(address)
        #: where this socket is bound or connected; a wildcard port is replaced by the true one
        self.address = address
        #: messages dropped because they were not exactly one frame, or the peer chose its name
        self.malformed = 0
        #: the last ``recv_batch`` left nothing unread
        self.drained = True
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(kind)
        _harden(self._socket, address)

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """The raw socket, for the ``Poller`` of this module only."""
        return self._socket

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return bool(self._socket.closed)

    def fileno(self) -> int:
        """Name the edge-triggered descriptor; prefer ``Poller``, which knows how to read it."""
        return int(self._socket.getsockopt(zmq.FD))

    def close(self, flush_s: float = FLUSH_S) -> None:
        """Close, giving the last messages ``flush_s`` to leave. May be called twice."""
        if self.closed:
            return
        self._socket.close(linger=max(0, math.ceil(flush_s * 1000)))
        self._context.term()


class Router(_Endpoint):
    """The coordinator's socket: many peers, each named by libzmq.

    Raises:
        Refused: the address is reachable from other hosts and ``insecure`` is False.
        ConfigError: the address cannot be bound.
    """

    def __init__(self, bind: str, insecure: bool = False) -> None:
        if not insecure and not is_loopback(bind):
            raise Refused(
                f"{bind} can be reached from other hosts, and whoever reaches this port can run "
                "code on the workers: this version has no keys yet",
                hint="bind tcp://127.0.0.1:5570, or add --insecure on a network you trust",
            )
        super().__init__(zmq.ROUTER, bind)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
        self._socket.setsockopt(zmq.BACKLOG, BACKLOG_MAX)
        try:
            self._bind(bind)
        except BaseException:
            self.close(flush_s=0)
            raise

    def _bind(self, bind: str) -> None:
        scheme, rest = _split(bind)
        if scheme == "ipc":
            _refuse_living_ipc(rest)
        try:
            self._socket.bind(bind)
        except zmq.ZMQError as e:
            if e.errno == zmq.EADDRINUSE:
                raise ConfigError(
                    f"{bind} is taken by another program",
                    hint="is a coordinator running there already? else choose another port",
                ) from None
            raise ConfigError(
                f"cannot listen on {bind}: {e.strerror}", hint="check the address"
            ) from None
        if scheme == "tcp":
            self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def recv_batch(self, count_max: int) -> list[tuple[bytes, bytes]]:
        """Take what has arrived, as (peer, data), at most ``count_max``. Never blocks."""
        batch: list[tuple[bytes, bytes]] = []
        receive = self._socket.recv_multipart
        self.drained = False
        for _ in range(count_max):
            try:
                frames = receive(zmq.NOBLOCK)
            except zmq.Again:
                self.drained = True
                break
            # A name that does not start with a zero byte was chosen by the peer itself.
            if len(frames) == 2 and frames[0][0] == 0 and len(frames[0]) == _PEER_BYTES:
                batch.append((frames[0], frames[1]))
            else:
                self.malformed += 1
        return batch

    def send(self, peer: bytes, data: bytes) -> bool:
        """Queue one message. False: certainly not queued, the peer is gone or full (rule C1)."""
        try:
            self._socket.send_multipart((peer, data), zmq.NOBLOCK)
        except zmq.ZMQError as e:
            if e.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                return False
            raise
        return True


class Dealer(_Endpoint):
    """A worker's or command's socket to one coordinator. Reconnects by itself."""

    def __init__(self, connect: str) -> None:
        super().__init__(zmq.DEALER, connect)
        quick = connect.startswith("ipc://")
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_IPC_MS if quick else RECONNECT_MS)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        try:
            self._socket.connect(connect)
        except zmq.ZMQError as e:
            self.close(flush_s=0)
            raise ConfigError(
                f"{connect} is not an address: {e.strerror}",
                hint="write tcp://HOST:PORT, for example tcp://127.0.0.1:5570",
            ) from None

    def recv_batch(self, count_max: int) -> list[bytes]:
        """Take what has arrived, at most ``count_max``. Never blocks."""
        batch: list[bytes] = []
        receive = self._socket.recv_multipart
        self.drained = False
        for _ in range(count_max):
            try:
                frames = receive(zmq.NOBLOCK)
            except zmq.Again:
                self.drained = True
                break
            if len(frames) == 1:
                batch.append(frames[0])
            else:
                self.malformed += 1
        return batch

    def send(self, data: bytes, wait_s: float = 0.0) -> bool:
        """Queue one message, waiting at most ``wait_s`` for a connection with room.

        Returns:
            False where it is certainly not queued.
        """
        if wait_s > 0 and not self._socket.poll(math.ceil(wait_s * 1000), zmq.POLLOUT):
            return False
        try:
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


class Poller:
    """Wait for sockets of this module and plain descriptors, each registered under a key."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._keys: dict[object, Hashable] = {}

    @staticmethod
    def _source(source: _Endpoint | Pollable | int) -> zmq.Socket[bytes] | int:
        if isinstance(source, _Endpoint):
            return source.socket
        return source if isinstance(source, int) else source.fileno()

    def register(
        self,
        source: _Endpoint | Pollable | int,
        key: Hashable,
        *,
        read: bool = True,
        write: bool = False,
    ) -> None:
        """Watch a source, or change what an already watched one is watched for."""
        raw = self._source(source)
        self._keys[raw] = key
        self._poller.register(raw, (zmq.POLLIN * read) | (zmq.POLLOUT * write))

    def unregister(self, source: _Endpoint | Pollable | int) -> None:
        """Stop watching. Unknown sources are ignored; call it before closing the source."""
        raw = self._source(source)
        if self._keys.pop(raw, None) is not None:
            self._poller.unregister(raw)

    def poll(self, timeout_s: float | None) -> list[Hashable]:
        """Return the keys of ready (or failed) sources; wait at most ``timeout_s``."""
        timeout_ms = None if timeout_s is None else max(0, math.ceil(timeout_s * 1000))
        return [self._keys[raw] for raw, _ in self._poller.poll(timeout_ms)]


def _refuse_living_ipc(path: str) -> None:
    """Refuse a path somebody listens on: libzmq would silently take it over."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise ConfigError(f"{path} exists and is not a socket", hint="choose another path")
    except FileNotFoundError:
        return
    with os_socket.socket(os_socket.AF_UNIX, os_socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return
    raise ConfigError(
        f"ipc://{path} is taken by another program", hint="is a coordinator running there already?"
    )
