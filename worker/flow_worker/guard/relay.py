"""The supervisor's line to one template: forks passed on, and what became of them told back.

A template is user code's process: it may be stopped, or die at any moment. So nothing here waits
for it, and what it had forked when it died is the supervisor's own from then on.
"""

from __future__ import annotations

import collections
import os
import signal
import socket

from flow_worker.guard import control, kill
from flow_worker.guard.brood import Brood, ForkedProcess


class Relay:
    """One template, from its fork to the end of everything it forked."""

    def __init__(self, process: int, sock: socket.socket) -> None:
        sock.setblocking(False)
        #: The agent's number of the template.
        self.process = process
        self._sock: socket.socket | None = sock
        self._queue: collections.deque[tuple[control.Fork, int]] = collections.deque()
        #: Forks that it was asked for and that are not born yet.
        self._unborn: dict[int, None] = {}
        #: What it forked and has not told the end of, by pid.
        self.born: dict[int, tuple[int, kill.ProcessEntry]] = {}

    def fileno(self) -> int:
        """The descriptor to poll for reading; below 0: it is closed."""
        return self._sock.fileno() if self._sock is not None else -1

    @property
    def waits(self) -> bool:
        """Whether something could not be passed on yet."""
        return bool(self._queue)

    def ask(self, asked: control.Fork, fd: int) -> None:
        """Pass a fork on, with the descriptor that becomes the process's socket."""
        self._unborn[asked.process] = None
        self._queue.append((asked, fd))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the template reads."""
        while self._queue and self._sock is not None:
            asked, fd = self._queue[0]
            try:
                control.send(self._sock, asked, [fd])
            except BlockingIOError:
                return
            except OSError:
                return  # it is dying: its end settles what is left
            self._queue.popleft()
            os.close(fd)

    def read(self) -> list[control.ToAgent]:
        """Take what it tells: Born, Gone, Stuck."""
        news: list[control.ToAgent] = []
        if self._sock is None:
            return news
        for packet in control.news(self._sock):
            if packet is None:
                self._sock.close()
                self._sock = None
                break
            self._note(packet)
            news.append(packet)
        return news

    def _note(self, packet: control.ToAgent) -> None:
        if isinstance(packet, control.Born):
            self._unborn.pop(packet.process, None)
            entry = kill.ProcessEntry(packet.pid, 0, "S", packet.started)
            self.born[packet.pid] = (packet.process, entry)
        elif isinstance(packet, control.Gone):
            self._unborn.pop(packet.process, None)
            self.born.pop(packet.pid, None)

    def hand_over(self, brood: Brood) -> None:
        """The template is reaped and was read to its end: what it leaves is the supervisor's."""
        for pid, (process, entry) in self.born.items():
            task = brood.tasks[pid] = ForkedProcess(process, entry, since=control.boottime())
            now = kill.entry(pid)
            if now is None or now.started != entry.started:
                # reaped by the template, which did not live to tell how it had ended
                task.ended = (signal.SIGKILL, 0, False)
        for process in self._unborn:
            never = kill.ProcessEntry(-process, 0, "X", 0)
            brood.tasks[-process] = ForkedProcess(process, never, (0, os.EX_OSERR, False))
        self.born = {}
        self._unborn = {}
        self.close()

    def close(self) -> None:
        """Let go of every descriptor."""
        for _, fd in self._queue:
            os.close(fd)
        self._queue.clear()
        if self._sock is not None:
            self._sock.close()
            self._sock = None
