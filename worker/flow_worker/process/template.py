"""A template: imports the program of one run, and then only forks that run's processes.

What a module does to its process when it is imported, and what it computes, is so the same in every
process of the run on this host, and nobody else's. The import is user code; before and after it
this process runs nothing but the loop below: it forks what the supervisor passes on, is the parent,
subreaper and reaper of that, and tells the supervisor what became of it. It holds no lease.

A fork keeps what the import opened (files, connections) and forgets what belongs to the template:
its sockets, and everything that was to be done at its end. The program's own ``atexit`` handlers
run once, here, after the last process.

Rules R2 and R5.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import select
import signal
import socket
import sys
import weakref
from pathlib import Path
from typing import Any

import msgspec

from flow.errors import FlowError
from flow.parameters.defaults import settings
from flow.usercode import tasklogs
from flow_worker import capacity, channel
from flow_worker.guard import birth, control, kill
from flow_worker.guard.brood import STRAY_POLL_S, Brood, dead_children
from flow_worker.process import program, serve
from flow_worker.process.slip import Slip
from flow_worker.process.streams import Output

#: Bytes taken from the agent at a time.
READ_BYTES = 1 << 16
# User code may replace these (gevent does).
_fork = os.fork
_poll = select.poll
_getsignal = signal.getsignal
_set_signal = signal.signal


def serve_as_template(sock: socket.socket, line: socket.socket, log_dir: Path) -> int:
    """Be a template until the agent says Leave or is gone, and all that was forked has ended.

    ``line`` leads to the supervisor.
    """
    kill.name_process("flow-template")
    with contextlib.suppress(OSError):
        log_dir.mkdir(parents=True, exist_ok=True)
    slip = Slip(log_dir)
    output = Output(log_dir, slip)
    Template(sock, line, log_dir, output).run()
    # Only then: what it prints of an error of its own is what is told of its end.
    output.close()
    slip.close()
    return 0


class Template:
    """One template. Made in its own process; ``run`` is all its life."""

    def __init__(
        self, sock: socket.socket, line: socket.socket, log_dir: Path, output: Output
    ) -> None:
        self._sock = sock
        self._line = line
        self._log_dir = log_dir
        self._output = output
        #: What the import printed.
        self._printed = ""
        self._splitter = channel.Splitter()
        self._brood = Brood(self._tell)
        self._leaving = False
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        #: What the import made of signals: the processes have it, the template has not.
        self._handlers: dict[int, Any] = {}
        self._mask: set[Any] = set()
        self._poll = _poll()
        for fd in (sock.fileno(), line.fileno(), self._wake_r):
            self._poll.register(fd, select.POLLIN)

    # ------------------------------------------------------------ the loop

    def run(self) -> None:
        """Turn until nothing is left to do or to wait for."""
        self._take_signals()
        self._sock.setblocking(False)
        self._line.setblocking(False)
        self._say(channel.Up(kill.own_pid()))
        brood = self._brood
        while not (self._leaving and not brood.tasks):
            ready = {fd for fd, _ in self._poll.poll(self._wait_ms())}
            if self._wake_r in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_r, 4096)
            if self._line.fileno() in ready:
                self._hear_supervisor()
            if self._sock.fileno() in ready and not self._leaving:
                self._hear_agent()
            for pid, status in dead_children():
                brood.reaped(pid, status, False)
            brood.tell_ended(control.boottime())

    def _wait_ms(self) -> float | None:
        return STRAY_POLL_S * 1000 if self._brood.strays_since else None

    def _hear_agent(self) -> None:
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._leaving = True
            self._poll.unregister(self._sock)  # or it would be ready for ever
        for frame in self._splitter.feed(data):
            message = channel.unpack_at_process(frame)
            if isinstance(message, channel.Load):
                self._load(message)
            elif isinstance(message, channel.LoadAgain):
                self._say_loaded(program.again() or channel.Loaded("", 0.0, stale=True))
            elif isinstance(message, channel.Leave):
                self._leaving = True

    def _hear_supervisor(self) -> None:
        while True:
            try:
                data, fds = control.receive(self._line)
            except BlockingIOError:
                return
            if not data:
                # The kernel kills this process with its supervisor; this is for all other cases.
                raise SystemExit(0)
            (fd,) = fds
            self._fork(control.decode_fork.decode(data), fd)

    def _say(self, frame: channel.Frame) -> None:
        self._sock.setblocking(True)
        with contextlib.suppress(OSError):  # an agent that is gone is noticed by reading
            self._sock.sendall(channel.pack(frame))
        self._sock.setblocking(False)

    def _tell(self, packet: control.Packet) -> None:
        # It always reads; a template that waited for it a moment would do no harm.
        self._line.setblocking(True)
        control.send(self._line, packet)
        self._line.setblocking(False)

    # ------------------------------------------------------------ the program

    def _load(self, message: channel.Load) -> None:
        signal.set_wakeup_fd(-1)
        for number in birth.RESET:
            _set_signal(number, signal.SIG_DFL)
        _set_signal(signal.SIGINT, signal.default_int_handler)
        before = _signals()
        try:
            tasklogs.configure(settings().logs)
        except FlowError as error:
            tasklogs.tell(error)
        loaded = program.load(message.program, message.archive)
        self._handlers = {n: h for n, h in _signals().items() if h is not before.get(n)}
        self._mask = signal.pthread_sigmask(signal.SIG_SETMASK, [])
        gc.collect()
        self._loaded(loaded)

    def _loaded(self, loaded: channel.Loaded) -> None:
        """Be ready to fork, and say how the import went."""
        self._printed = self._output.take_as_is()
        gc.freeze()  # so that a collection in a process copies none of this
        self._brood.settle()
        self._take_signals()
        self._say_loaded(loaded)

    def _say_loaded(self, loaded: channel.Loaded) -> None:
        self._say(msgspec.structs.replace(loaded, memory_bytes=capacity.own_memory_bytes()))

    def _take_signals(self) -> None:
        """Have the death of a child wake the loop, whatever the import made of it."""
        for number in self._handlers:
            _set_signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        _set_signal(signal.SIGCHLD, lambda *_: None)
        _set_signal(signal.SIGTERM, signal.SIG_DFL)

    # ------------------------------------------------------------ forking

    def _fork(self, asked: control.Fork, fd: int) -> None:
        template = kill.own_pid()
        try:
            pid = _fork()
        except OSError:
            os.close(fd)
            self._tell(control.Gone(asked.process, 0, 0, os.EX_OSERR, False))
            return
        if pid == 0:
            birth.finish(lambda: self._be_task(asked, fd, template))
        os.close(fd)
        self._brood.add(asked.process, pid)

    def _be_task(self, asked: control.Fork, fd: int, template: int) -> int:
        birth.reset_signals()
        for number, handler in self._handlers.items():
            _set_signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        os.setsid()
        birth.die_with(template)
        birth.be_killed_first(asked.role, of_template=True)
        self._line.close()
        self._sock.close()
        os.close(self._wake_r)
        os.close(self._wake_w)
        self._output.let_go()
        forget_endings()
        return serve.serve(
            socket.socket(fileno=fd),
            asked.role,
            self._log_dir,
            forked=True,
            imported=self._printed,
        )


def _signals() -> dict[int, Any]:
    return {number: _getsignal(number) for number in signal.valid_signals()}


def forget_endings() -> None:
    """Drop what was registered for the end of the template: it happens there, once.

    A directory that the module made and removes at its end must outlive each single process.
    """
    atexit._clear()
    registry: dict[Any, Any] = weakref.finalize._registry  # type: ignore[attr-defined]
    registry.clear()
    pools: Any = sys.modules.get("multiprocessing.util")
    if pools is not None:
        pools._finalizer_registry.clear()
