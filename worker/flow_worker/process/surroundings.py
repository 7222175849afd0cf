"""What a task may change around itself, and how the next task does not notice.

``Surroundings`` remembers the process as it was before its first task. After each task it takes a
quick look at what is changed most, and the whole list is gone through where that found something,
or where the caller asks for it. What cannot be put back is said in a sentence, for the runner that
must retire for it (rule R4).
"""

from __future__ import annotations

import _thread
import contextlib
import os
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from flow_worker.process.facets import (
    ENVIRON,
    SYSTEM,
    Facet,
    Stays,
    getsignal,
    pthread_sigmask,
)
from flow_worker.process.failure import failure_of
from flow_worker.process.python_facets import PYTHON, RECURSION

_FACETS = (RECURSION, *SYSTEM, *PYTHON)
_ENVIRON: Any = os.environ
#: The dict of bytes behind it: comparing it takes 1 microsecond, decoding it 15.
_environ: dict[bytes, bytes] = _ENVIRON._data
_ENVIRON_INDEX = _FACETS.index(ENVIRON)
#: The signals whose handlers the quick look compares.
_WATCHED = tuple(
    map(
        int,
        (
            *(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP),
            *(signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE),
        ),
    )
)
_SIG_BLOCK = int(signal.SIG_BLOCK)
#: Threads of flow's own.
_OUR_THREADS = frozenset({"flow-words", "flow-letters"})
#: How long a thread that a task left may take to end by itself.
THREAD_WAIT_S = 0.01
THREAD_POLL_S = 0.001
#: Descriptors above the number that the process had before its first task.
DESCRIPTORS_MAX = 64
_DESCRIPTORS = "/proc/self/fd"
_NAME_CHARACTERS_MAX = 80
_ERROR_CHARACTERS_MAX = 200
TOKEN = "FLOW_TOKEN"
ATTEMPT = "FLOW_ATTEMPT"


class SurroundingState(NamedTuple):
    """What a parked generator had changed around itself."""

    changed: tuple[tuple[Facet, Any], ...] = ()


class Identity:
    """FLOW_TOKEN and FLOW_ATTEMPT of the running task, for it and the programs it starts."""

    def begin(self, token: str, attempt: int) -> None:
        """Set them."""
        os.environ[TOKEN] = token
        os.environ[ATTEMPT] = str(attempt)

    def end(self, *, thorough: bool) -> str:
        """Remove them again. The answer is a reason why this process must retire, or empty."""
        os.environ.pop(TOKEN, None)
        os.environ.pop(ATTEMPT, None)
        return ""

    def adopting(self) -> AbstractContextManager[object]:
        """Surround an import by flow: what it changes is of the program, not of a task."""
        return nullcontext()

    def take(self) -> SurroundingState:
        """Return what a generator that parks changed; ``end`` follows."""
        return SurroundingState()

    def put(self, state: SurroundingState) -> str:
        """Give a generator back what it had changed, after ``begin``.

        The answer is what it cannot have again, or empty.
        """
        return ""


class Surroundings(Identity):
    """The state of this process before its first task, which every task finds again."""

    def __init__(self) -> None:
        #: A reason that was found while nobody asked.
        self._owed = ""
        #: Whether the quick look may decide: not after a reason, nor after ``put``.
        self._plain = True
        self._waited = False
        self._look()

    def _look(self) -> None:
        self._base = [(facet, facet.look()) for facet in _FACETS]
        self._environ: dict[bytes, bytes] = self._base[_ENVIRON_INDEX][1][1]
        self._handlers = list(map(getsignal, _WATCHED))
        self._mask = pthread_sigmask(_SIG_BLOCK, ())
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        try:
            self._cwd = os.getcwd()
        except OSError:  # it stands in a directory that is gone
            self._cwd = ""
        self._path = list(sys.path)
        self._filters = list(warnings.filters)
        self._threads = frozenset(threading.enumerate())
        self._thread_count = _thread._count()
        self._unnamed_count = _unnamed_count()
        self._descriptor_count = _descriptor_count()

    def begin(self, token: str, attempt: int) -> None:
        """Set them; past ``os.environ``, whose checks and encoding take longer than the rest."""
        for key, text in ((TOKEN, token), (ATTEMPT, str(attempt))):
            name, value = key.encode(), text.encode()
            os.putenv(name, value)
            _environ[name] = self._environ[name] = value

    def end(self, *, thorough: bool) -> str:
        """Undo what the last task changed.

        Returns:
            Why this process must retire, as a sentence without its subject ("changed its user
            id"); empty when it is as clean as before.

        Cost: 3 microseconds, 35 when ``thorough`` or when the quick look finds a change.
        """
        if not thorough and self._plain and self._as_before():
            return ""
        owed, self._owed = self._owed, ""
        self._plain = True
        reasons = [owed] if owed else []
        for facet, was in self._changed():
            reasons += _put_back(facet, was)
        reasons += self._left_threads()
        reasons += self._left_descriptors()
        return reasons[0] if reasons else ""

    @contextlib.contextmanager
    def adopting(self) -> Iterator[None]:
        """Surround an import by flow: what it changes is part of what every task finds."""
        count = len(sys.modules)
        self._owed = self.end(thorough=True)
        self._plain = not self._owed
        yield
        if len(sys.modules) != count:
            self._look()

    def take(self) -> SurroundingState:
        """Return what a generator that parks changed; ``end`` follows."""
        changed = []
        for facet, _ in self._changed():
            try:
                if facet.parks:
                    changed.append((facet, facet.look()))
            except Exception:  # an object of the user's; end() tells of it
                continue
        return SurroundingState(tuple(changed))

    def put(self, state: SurroundingState) -> str:
        """Give a generator back what it had changed, after ``begin``.

        The answer is what it cannot have again, or empty.
        """
        self._plain = not state.changed
        reasons = [reason for each in state.changed for reason in _put_back(*each)]
        return reasons[0] if reasons else ""

    # ------------------------------------------------------------ inside

    def _as_before(self) -> bool:
        try:
            cwd = os.getcwd()
        except OSError:
            cwd = ""
        return (
            cwd == self._cwd
            and os.umask(self._umask) == self._umask
            and _environ == self._environ
            and os.environ is _ENVIRON
            and [*map(getsignal, _WATCHED)] == self._handlers
            and pthread_sigmask(_SIG_BLOCK, ()) == self._mask
            and _thread._count() == self._thread_count
            and sys.path == self._path
            and warnings.filters == self._filters
        )

    def _changed(self) -> list[tuple[Facet, Any]]:
        try:
            return [each for each in self._base if each[0].look() != each[1]]
        except Exception:  # what users put there may not be comparable: each will tell for itself
            return self._base

    def _left_threads(self) -> list[str]:
        if _thread._count() == self._thread_count and self._threads.issuperset(
            threading.enumerate()
        ):
            return []
        until = time.monotonic() + THREAD_WAIT_S
        while names := self._thread_names():
            # One that was not joined may be just ending; once is enough for a process that must
            # retire anyway.
            if self._waited or time.monotonic() > until:
                self._waited = True
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                return [f"left the thread {names[0]:.{_NAME_CHARACTERS_MAX}}{more} running"]
            select.select([], [], [], THREAD_POLL_S)
        # Those that are left are flow's: the quick look need not stumble over them.
        self._thread_count = _thread._count()
        return []

    def _thread_names(self) -> list[str]:
        """Name what is running beside this thread and was not there before."""
        extra = [
            repr(each.name)
            for each in threading.enumerate()
            if each not in self._threads and each.name not in _OUR_THREADS and not _is_foreign(each)
        ]
        return extra + ["without a name"] * (_unnamed_count() - self._unnamed_count)

    def _left_descriptors(self) -> list[str]:
        try:
            over = _descriptor_count() - self._descriptor_count
        except OSError as error:  # none is free, so they cannot even be counted
            return [f"left too many descriptors open: {error}"]
        return [f"left {over} descriptors open"] if over > DESCRIPTORS_MAX else []


def _put_back(facet: Facet, was: Any) -> list[str]:
    """Look at one thing and give it this value again; what cannot be is told."""
    try:
        if facet.look() != was:
            facet.give(was)
    except Stays as stays:
        return [str(stays)]
    except Exception as error:  # handlers, filters and loops are objects of users
        why = failure_of(error).error
        return [f"changed {facet.name}, which cannot be put back: {why:.{_ERROR_CHARACTERS_MAX}}"]
    return []


def _is_foreign(thread: threading.Thread) -> bool:
    """Whether Python did not start it: libraries have threads of their own, which harm nobody."""
    return isinstance(thread, threading._DummyThread)


def _unnamed_count() -> int:
    """How many threads were started past the class ``Thread``, by ``_thread``."""
    main = threading.main_thread()
    named = [each for each in threading.enumerate() if each is not main and not _is_foreign(each)]
    return _thread._count() - len(named)


def _descriptor_count() -> int:
    # Since Linux 6.2 the size of the directory is the number; before, it is 0.
    return os.stat(_DESCRIPTORS).st_size or len(os.listdir(_DESCRIPTORS))
