"""The template that an embedded run forks from the program that called it.

Pipelines rely on what fork gives: whatever the program has set before ``build()``, configuration,
globals, classes made in functions, its tasks see. So the worker of such a run is started with a
template that is a fork of the caller: made in the child that becomes the worker, before it
executes ``python -m flow_worker``, it is the worker's child from its first moment.

Where the caller cannot be forked safely (``why_not``), the run's template imports the program
afresh, as ``flow run`` does.

Rule R6.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

#: What a fork of the program becomes. Named, not imported: flow imports neither side.
TEMPLATE_MODULE: Final = "flow_worker.process.inheriting"
#: Names of threads that flow itself runs in a task that builds: nothing of a template needs them.
OWN_THREADS: Final = "flow-"
_NAMES_MAX: Final = 3
#: Of a fork whose own code raised.
_EXIT_BUG: Final = 70
_DESCRIPTORS: Final = "/proc/self/fd"

_told = False


def why_not() -> str:
    """Say why this program cannot be forked now; empty: it can."""
    here = threading.current_thread()
    others = [each.name for each in threading.enumerate() if each is not here]
    others = sorted(name for name in others if not name.startswith(OWN_THREADS))
    if others:
        more = f" and {len(others) - _NAMES_MAX} more" if len(others) > _NAMES_MAX else ""
        return f"it has another thread ({', '.join(others[:_NAMES_MAX])}{more})"
    events: Any = sys.modules.get("asyncio.events")
    if events is not None and events._get_running_loop() is not None:
        return "its event loop runs"
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        return "it has initialised a GPU"
    return ""


def unseen(reason: str) -> str:
    """Say once in a program that its tasks do not see what it has set; empty: it was said."""
    global _told
    if not reason or _told:
        return ""
    _told = True
    return (
        "Tasks import this program afresh and do not see what it has set until now, "
        f"because {reason}."
    )


class CallersTemplate:
    """A template that is forked from this program: its sockets, and the fork.

    Make it before anything else of the run is opened: what is open then belongs to the program and
    stays open in its fork, what is opened later is closed there.
    """

    def __init__(self) -> None:
        self._kept = _open_descriptors()
        self._collects = gc.isenabled()
        self._mask: set[Any] = set()
        ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        #: The worker's ends: to its supervisor's line with the template, to its agent's socket.
        self._worker = (ours[0], theirs[0])
        self._template = (ours[1], theirs[1])

    def descriptors(self) -> list[int]:
        """Return what the worker inherits."""
        return [each.fileno() for each in self._worker]

    def option(self) -> str:
        """Spell what the worker is told."""
        return ":".join(map(str, self.descriptors()))

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Hold signals back while the worker is started: no handler of this program runs there.

        The sockets are the worker's and the template's afterwards.
        """
        for stream in (sys.stdout, sys.stderr):
            # What is buffered belongs to the program, which shall write it once.
            with contextlib.suppress(OSError, ValueError, AttributeError):  # it may be anything
                stream.flush()
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            for each in (*self._worker, *self._template):
                each.close()

    def fork(self, log_dir: str, environment: Mapping[str, str]) -> None:
        """Fork the template. Called in the child that becomes the worker, before it executes."""
        worker = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            # The worker finds no template, and says so to whoever waits for the run.
            _print_error()
            pid = -1
        if pid == 0:
            self._be_template(worker, log_dir, environment)
        _forget_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _be_template(self, worker: int, log_dir: str, environment: Mapping[str, str]) -> NoReturn:
        """Never return into the frames of the program."""
        try:
            # Garbage of the program is collected, and its finalizers run, in the program only.
            gc.freeze()
            if self._collects:
                gc.enable()
            line, sock = self._template
            keep = {*self._kept, 0, 1, 2, line.fileno(), sock.fileno()}
            for fd in _open_descriptors() - keep:
                os.close(fd)
            os.environ.update(environment)
            module = importlib.import_module(TEMPLATE_MODULE)
            module.be_template(worker, sock, line, log_dir, self._mask)
        except BaseException:
            _print_error()
            raise
        finally:
            os._exit(_EXIT_BUG)


def _print_error() -> None:
    """Write what was raised to the log of the worker, which is this process's stderr already."""
    import traceback  # only what fails needs it

    traceback.print_exc(file=sys.__stderr__)


def _open_descriptors() -> set[int]:
    found = set()
    for name in os.listdir(_DESCRIPTORS):
        with contextlib.suppress(OSError):  # the one that listed them is closed
            os.fstat(int(name))
            found.add(int(name))
    return found


def _forget_signals() -> None:
    """Drop what has arrived meanwhile, and every handler but those that ignore."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            if number != signal.SIGCHLD:  # whose default forgets it as well, and loses no child
                signal.signal(number, signal.SIG_IGN)
            signal.signal(number, signal.SIG_DFL)
