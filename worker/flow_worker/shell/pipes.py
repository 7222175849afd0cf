"""The sockets to task processes: whole frames in, buffered writes out, nothing blocks."""

from __future__ import annotations

import socket
from typing import Any

import msgspec

from flow.wire.transport import Poller
from flow_worker import channel
from flow_worker.core.events import ProcessSaid

#: Bytes taken from one process in one turn, so that a flood does not starve the others.
TURN_BYTES_MAX = 4 << 20
READ_BYTES = 1 << 18


class _Pipe:
    __slots__ = ("out", "sock", "splitter", "waits")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.splitter = channel.Splitter()
        self.out = bytearray()
        self.waits = False  #: polled for writing


class Pipes:
    """One socket per task process, by the core's process number."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._pipes: dict[int, _Pipe] = {}
        self._dirty: dict[int, None] = {}

    def add(self, process: int, sock: socket.socket) -> None:
        """Watch a new process's socket."""
        sock.setblocking(False)
        self._pipes[process] = _Pipe(sock)
        self._poller.register(sock, ("process", process))

    def tell(self, process: int, frame: Any) -> None:
        """Queue a frame; ``flush`` writes it at the end of the turn."""
        pipe = self._pipes.get(process)
        if pipe is not None:
            pipe.out += channel.pack(frame)
            self._dirty[process] = None

    def flush(self) -> None:
        """Write what is queued, as far as the processes take it."""
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, {}
        for process in dirty:
            self._write(process)

    def _write(self, process: int) -> None:
        pipe = self._pipes.get(process)
        if pipe is None or not pipe.out:
            return
        try:
            sent = pipe.sock.send(pipe.out)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(pipe.out)  # it is gone: reading says so
        del pipe.out[:sent]
        if bool(pipe.out) != pipe.waits:
            pipe.waits = bool(pipe.out)
            self._poller.register(pipe.sock, ("process", process), write=pipe.waits)

    def read(self, process: int) -> tuple[list[ProcessSaid], bool]:
        """Take whole frames of one process.

        Returns:
            The events, and whether the process is beyond talking to: it closed its end, or sent
            what is no frame. Its socket is closed then.
        """
        pipe = self._pipes.get(process)
        if pipe is None:
            return [], False
        if pipe.waits:
            self._write(process)
        events: list[ProcessSaid] = []
        taken = 0
        while taken < TURN_BYTES_MAX:
            try:
                data = pipe.sock.recv(READ_BYTES)
            except BlockingIOError:
                return events, False
            except OSError:
                data = b""
            if not data:
                self.remove(process)
                return events, True
            taken += len(data)
            try:
                for frame in pipe.splitter.feed(data):
                    events.append(ProcessSaid(process, channel.unpack_at_agent(frame)))
            except (ValueError, msgspec.MsgspecError):
                self.remove(process)
                return events, True
            if len(data) < READ_BYTES:
                return events, False
        return events, False

    def drain(self, process: int) -> list[ProcessSaid]:
        """Take everything a dead process said before its end, and forget it."""
        events: list[ProcessSaid] = []
        while process in self._pipes:
            more, _ = self.read(process)
            if not more:
                break
            events += more
        self.remove(process)
        return events

    def remove(self, process: int) -> None:
        """Close the socket; unknown ones are ignored."""
        pipe = self._pipes.pop(process, None)
        if pipe is not None:
            self._poller.unregister(pipe.sock)
            pipe.sock.close()

    def close(self) -> None:
        """Close all of them."""
        for process in list(self._pipes):
            self.remove(process)
