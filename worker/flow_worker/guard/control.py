"""What the agent and its supervisor share: packets on a control socket and one page of memory.

The control socket is SOCK_SEQPACKET, so a packet is a message; file descriptors travel with it.
The page carries what must work without anybody reading a socket: the agent's heartbeat (rule W8).
"""

from __future__ import annotations

import array
import mmap
import os
import socket
import struct
import time
from collections.abc import Iterator

import msgspec

from flow_worker.channel import Role

#: Control packets are tiny; a longer one is a bug.
PACKET_BYTES_MAX = 4096

_DOUBLE = struct.Struct("=d")
_FD_BYTES = array.array("i").itemsize


class Packet(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Base of every control message."""


class Fork(Packet, frozen=True, tag=1):
    """Agent to supervisor, with the task process's socket: fork it. Passed on to a template."""

    process: int
    role: Role
    parent: int = 0  #: the template that forks it; 0: the supervisor itself


class Born(Packet, frozen=True, tag=2):
    """Template to supervisor to agent: it was forked."""

    process: int
    pid: int
    started: int  #: its start time in clock ticks: with the pid, unique


class Gone(Packet, frozen=True, tag=3):
    """Template to supervisor to agent: reaped with its whole tree. ``pid`` 0: never forked."""

    process: int
    pid: int
    signal: int
    code: int
    oom: bool


class Stuck(Packet, frozen=True, tag=4):
    """Template to supervisor to agent: something of its tree survives SIGKILL."""

    process: int


ToAgent = Born | Gone | Stuck

encode = msgspec.msgpack.Encoder().encode
#: At the supervisor what the agent says, at a template what the supervisor passes on.
decode_fork: msgspec.msgpack.Decoder[Fork] = msgspec.msgpack.Decoder(Fork)
#: At the agent what the supervisor says, at the supervisor what a template says.
decode_news: msgspec.msgpack.Decoder[ToAgent] = msgspec.msgpack.Decoder(ToAgent)


def send(sock: socket.socket, packet: Packet, fds: list[int] | None = None) -> None:
    """Send one packet with descriptors. Raises ``OSError`` (``BlockingIOError`` when full)."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([encode(packet)], ancillary, socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Receive one packet and its descriptors; ``b""`` means the peer is gone."""
    data, ancillary, _, _ = sock.recvmsg(
        PACKET_BYTES_MAX, socket.CMSG_SPACE(4 * _FD_BYTES), socket.MSG_CMSG_CLOEXEC
    )
    fds = array.array("i")
    for level, kind, body in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(body[: len(body) - len(body) % _FD_BYTES])
    return data, fds.tolist()


def news(sock: socket.socket) -> Iterator[ToAgent | None]:
    """Take what the peer tells, until there is no more for now; None: it is gone."""
    while True:
        try:
            data, fds = receive(sock)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        for fd in fds:
            os.close(fd)
        if not data:
            yield None
            return
        yield decode_news.decode(data)


def boottime() -> float:
    """Seconds since boot, sleep included: the clock of leases on workers."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Page:
    """One shared page: the agent's last heartbeat and the stall the supervisor tolerates.

    Each value has one writer and is 8 aligned bytes, so it is never read half-written.
    """

    def __init__(self, stall_s: float) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self.stall_s = stall_s

    @property
    def beat(self) -> float:
        """When the agent's loop last turned (boot-time clock); 0 before its first turn."""
        return float(_DOUBLE.unpack_from(self._memory, 0)[0])

    @beat.setter
    def beat(self, at: float) -> None:
        _DOUBLE.pack_into(self._memory, 0, at)

    @property
    def stall_s(self) -> float:
        """How long the loop may stand still before its supervisor kills everything."""
        return float(_DOUBLE.unpack_from(self._memory, 8)[0])

    @stall_s.setter
    def stall_s(self, seconds: float) -> None:
        _DOUBLE.pack_into(self._memory, 8, seconds)
