"""The main loop of a task process: runner and planner in one, told apart only by what they get.

``serve`` owns the process: it catches its output, restores what tasks change, kills what they leave
behind. ``serve_in_process`` runs the same tasks inside somebody else's program (a notebook), and
touches nothing of it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from flow.modules.loading import enter_task_process
from flow.parameters.defaults import settings
from flow.usercode import tasklogs
from flow_worker import channel
from flow_worker.channel import Role
from flow_worker.guard import kill
from flow_worker.planner.planner import Planner
from flow_worker.process import program
from flow_worker.process.failure import Terminated
from flow_worker.process.offspring import Offspring
from flow_worker.process.runner import Runner
from flow_worker.process.slip import Slip
from flow_worker.process.streams import NoOutput, Output
from flow_worker.process.surroundings import Surroundings

#: Bytes taken from the socket at a time.
READ_BYTES = 1 << 18
#: How long children may clean up after SIGTERM if nobody sends SIGKILL before.
TERM_WAIT_S = 30.0
#: How often a server inside another program asks whether it should stop.
STOP_POLL_S = 0.1


class _Link:
    """Frames over one blocking socket."""

    def __init__(self, sock: socket.socket, poll_s: float | None = None) -> None:
        sock.setblocking(True)
        self._sock = sock
        self._poll_ms = None if poll_s is None else poll_s * 1000
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._splitter = channel.Splitter()
        self._main = threading.get_ident()
        self._lock = threading.Lock()
        #: What the listening thread read for the main loop.
        self._aside: list[channel.ToProcess] = []
        self._gone = False
        #: A signal must not cut a frame in two (it only ever interrupts the main thread).
        self.sending = False

    def send(self, frame: channel.Frame) -> None:
        data = channel.pack(frame)
        if threading.get_ident() != self._main:
            with self._lock:
                self._sock.sendall(data)
            return
        self.sending = True
        try:
            with self._lock:
                self._sock.sendall(data)
        finally:
            self.sending = False

    @contextlib.contextmanager
    def listening(self, deliver: Callable[[channel.Deliver], None]) -> Iterator[None]:
        """Read letters in another thread; all else that arrives waits for ``receive``."""
        wake, waker = os.pipe()
        thread = threading.Thread(
            target=self._listen, args=(wake, deliver), name="flow-letters", daemon=True
        )
        try:
            thread.start()
            yield
        finally:
            os.close(waker)
            thread.join()
            os.close(wake)

    def _listen(self, wake: int, deliver: Callable[[channel.Deliver], None]) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(wake, select.POLLIN | select.POLLHUP)
        while not self._gone:
            if any(fd == wake for fd, _ in poll.poll()):
                return
            frames = self._read(wait=False)
            self._gone = frames is None
            for frame in frames or ():
                if isinstance(frame, channel.Deliver):
                    with contextlib.suppress(OSError):
                        deliver(frame)
                else:
                    self._aside.append(frame)

    def receive(self, wait: bool) -> list[channel.ToProcess] | None:
        """Return what arrived; None when the agent is gone.

        Without ``wait``, or when ``poll_s`` is over, nothing may have.
        """
        if self._aside:
            aside, self._aside = self._aside, []
            return aside
        if self._gone:
            return None
        if wait and self._poll_ms is not None and not self._poll.poll(self._poll_ms):
            return []
        return self._read(wait=wait)

    def _read(self, *, wait: bool) -> list[channel.ToProcess] | None:
        try:
            data = self._sock.recv(READ_BYTES, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except ConnectionError:
            return None
        if not data:
            return None
        return [channel.unpack_at_process(frame) for frame in self._splitter.feed(data)]


class _Server:
    def __init__(self, link: _Link, runner: Runner, planner: Planner) -> None:
        self._link = link
        self._runner = runner
        self._planner = planner
        self._leaving = False

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until the agent says Leave or is gone, or ``stop`` says so."""
        runner, planner = self._runner, self._planner
        self._link.send(channel.Up(kill.own_pid()))
        while not stop():
            while runner.busy:
                runner.step()
            if self._leaving and not planner.busy:
                runner.abandon_all()
                while runner.busy:
                    runner.step()
                return
            frames = self._link.receive(wait=not planner.busy)
            if frames is None:
                return
            for frame in frames:
                self._take(frame)
            if planner.busy:
                planner.step()

    def _take(self, frame: channel.ToProcess) -> None:
        if isinstance(frame, channel.Execute):
            self._runner.on_execute(frame)
        elif isinstance(frame, channel.Continue):
            self._runner.on_continue(frame)
        elif isinstance(frame, channel.Abandon):
            self._runner.on_abandon(frame)
        elif isinstance(frame, channel.Expand):
            self._planner.on_expand(frame)
        elif isinstance(frame, channel.More):
            self._planner.on_more(frame)
        elif isinstance(frame, channel.Remove):
            self._planner.on_remove(frame)
        elif isinstance(frame, channel.Stop):
            self._planner.on_stop(frame)
        elif isinstance(frame, channel.Deliver):
            self._runner.on_deliver(frame)
        elif isinstance(frame, channel.Load):
            self._link.send(program.load(frame.program, frame.archive))
        else:
            self._leaving = True


def serve(
    sock: socket.socket, role: Role, log_dir: Path, *, forked: bool = False, imported: str = ""
) -> int:
    """Be a task process until the agent says Leave or is gone. Returns the exit code.

    ``forked``: from a template, which has set up logging and has imported the program;
    ``imported``: what that printed.
    """
    kill.name_process(f"flow-{role}")
    enter_task_process((Terminated,))
    with contextlib.suppress(OSError):
        log_dir.mkdir(parents=True, exist_ok=True)
    slip = Slip(log_dir)
    output = Output(log_dir, slip)
    if not forked:
        tasklogs.configure_or_tell(settings().logs)
    link = _Link(sock)
    asked = False

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            if not link.sending:
                raise Terminated

    _let_forks_end(on_sigterm)
    # Before Surroundings look: the handler they see is the one they restore.
    signal.signal(signal.SIGTERM, on_sigterm)
    offspring = Offspring()
    runner = Runner(
        link.send, output, Surroundings(), offspring, slip, lambda: asked, listening=link.listening
    )
    try:
        planner = Planner(link.send, output, imported=imported)
        _Server(link, runner, planner).run(lambda: asked)
        if asked:
            runner.flush()
    except Terminated:
        with contextlib.suppress(ConnectionError, Terminated):
            runner.flush()
    except ConnectionError:
        pass
    if asked:
        with contextlib.suppress(ConnectionError, Terminated):
            runner.close_parked()
        # Programs that a task started got the signal too. Once this process is gone they are
        # killed; so it stays while they clean up, and whoever sent the signal ends its patience.
        offspring.wait(TERM_WAIT_S)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(kill.own_pid(), signal.SIGTERM)
    offspring.end()
    output.close()
    slip.close()
    return 0


def _let_forks_end(handler: Callable[[int, FrameType | None], None]) -> None:
    """Give SIGTERM its default effect in children that tasks fork, as multiprocessing does.

    The handler is for this process. It would also be deaf: Python forgets a signal that arrives
    between fork() and its own clean-up in the child, so the signal is held back meanwhile.
    """
    was_blocked = threading.local()

    def before() -> None:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        was_blocked.sigterm = signal.SIGTERM in blocked

    def after() -> None:
        if not was_blocked.sigterm:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

    def in_child() -> None:
        if signal.getsignal(signal.SIGTERM) is handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        after()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=in_child)


def serve_in_process(sock: socket.socket, stop: Callable[[], bool] = lambda: False) -> None:
    """Run tasks in the calling thread until the agent is gone or ``stop()`` is true.

    For tasks that no other process can import. Standard output, signals, environment and child
    processes of the program are left alone, but for FLOW_TOKEN and FLOW_ATTEMPT.
    """
    link = _Link(sock, STOP_POLL_S)
    output = NoOutput()
    runner = Runner(link.send, output, listening=link.listening)
    try:
        with contextlib.suppress(ConnectionError):
            _Server(link, runner, Planner(link.send, output)).run(stop)
    finally:
        runner.speech.stop()
