"""What a task changes in its process is put back, or named."""

from __future__ import annotations

import _thread
import asyncio
import decimal
import gc
import locale
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from flow_worker.process import facets
from flow_worker.process.surroundings import THREAD_WAIT_S, Surroundings, SurroundingState
from tests.support.forked import in_child


def begun() -> Surroundings:
    surroundings = Surroundings()
    surroundings.begin("abcdef.1.1", 1)
    return surroundings


def _move_zone() -> None:
    os.environ["TZ"] = "Asia/Tokyo" if time.timezone != -9 * 3600 else "UTC"
    time.tzset()


def _move_zone_and_hide_it() -> None:
    was = os.environ.pop("TZ", None)
    _move_zone()
    del os.environ["TZ"]
    if was is not None:
        os.environ["TZ"] = was


def _replace_environ() -> None:
    os.environ = dict(os.environ)  # type: ignore[assignment]  # noqa: B003 - what is tested
    os.environ["LEAK"] = "1"


def _lower_soft_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))


def _log_to(handler: logging.Handler) -> None:
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.DEBUG)
    logging.disable(logging.CRITICAL)
    logging.root.addFilter(lambda record: False)


def _loop() -> Any:
    try:
        return asyncio.get_event_loop_policy().get_event_loop().is_closed()
    except RuntimeError as error:
        return str(error)


def _of_root() -> Any:
    root = logging.root
    return root.level, root.manager.disable, list(root.handlers), list(root.filters)


def _of_decimal() -> Any:
    context = decimal.getcontext()
    return context.prec, context.flags[decimal.Inexact], context.traps[decimal.FloatOperation]


def _count_in_decimal() -> None:
    decimal.getcontext().prec = 3
    decimal.getcontext().traps[decimal.FloatOperation] = True
    decimal.Decimal(1) / decimal.Decimal(3)


Change = tuple[Callable[[], Any], Callable[[], Any]]
#: What is changed -> (a way to look at it, a way to change it).
CHANGES: dict[str, Change] = {
    "cwd": (os.getcwd, lambda: os.chdir("/proc")),
    "umask": (facets._umask, lambda: os.umask(0o007)),
    "environ": (lambda: dict(os.environ), lambda: os.environ.update(LEAK="1", PATH="")),
    "environ object": (lambda: (id(os.environ), dict(os.environ)), _replace_environ),
    "zone": (lambda: (time.tzname, datetime.fromtimestamp(0).hour), _move_zone),
    "hidden zone": (lambda: (time.tzname, datetime.fromtimestamp(0).hour), _move_zone_and_hide_it),
    "locale": (
        lambda: locale.setlocale(locale.LC_ALL),
        lambda: locale.setlocale(
            locale.LC_ALL, "C" if locale.setlocale(locale.LC_CTYPE) != "C" else "C.UTF-8"
        ),
    ),
    "soft limit": (lambda: resource.getrlimit(resource.RLIMIT_NOFILE), _lower_soft_limit),
    "watched handler": (
        lambda: signal.getsignal(signal.SIGUSR1),
        lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    ),
    "other handler": (
        lambda: signal.getsignal(signal.SIGWINCH),
        lambda: signal.signal(signal.SIGWINCH, lambda *_: None),
    ),
    "mask": (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]),
    ),
    "virtual timer": (
        lambda: signal.getitimer(signal.ITIMER_VIRTUAL),
        lambda: signal.setitimer(signal.ITIMER_VIRTUAL, 100, 5),
    ),
    "sys.path": (lambda: list(sys.path), lambda: sys.path.insert(0, "/nowhere")),
    "sys.path object": (lambda: sys.path, lambda: setattr(sys, "path", ["/nowhere"])),
    "sys.argv": (lambda: list(sys.argv), lambda: sys.argv.append("--flag")),
    "excepthook": (lambda: threading.excepthook, lambda: setattr(threading, "excepthook", print)),
    "root logger": (_of_root, lambda: _log_to(logging.NullHandler())),
    "filters": (lambda: list(warnings.filters), lambda: warnings.simplefilter("error")),
    "showwarning": (lambda: warnings.showwarning, lambda: logging.captureWarnings(True)),
    "socket timeout": (socket.getdefaulttimeout, lambda: socket.setdefaulttimeout(0.001)),
    "recursion": (sys.getrecursionlimit, lambda: sys.setrecursionlimit(200)),
    "decimal": (_of_decimal, _count_in_decimal),
    "decimal object": (_of_decimal, lambda: decimal.setcontext(decimal.Context(prec=3))),
    "gc": (lambda: (gc.isenabled(), gc.get_threshold()), gc.disable),
    "gc threshold": (gc.get_threshold, lambda: gc.set_threshold(7, 7, 7)),
    "tempdir": (lambda: tempfile.tempdir, lambda: setattr(tempfile, "tempdir", "/nowhere")),
    "switch interval": (sys.getswitchinterval, lambda: sys.setswitchinterval(0.5)),
    "no loop": (_loop, lambda: asyncio.run(asyncio.sleep(0))),
    "policy": (
        lambda: type(asyncio.get_event_loop_policy()).__name__,
        lambda: asyncio.set_event_loop_policy(type("Own", (_POLICY,), {})()),
    ),
}
_POLICY: Any = asyncio.DefaultEventLoopPolicy
#: What the quick look must find by itself.
QUICK = (
    "cwd",
    "umask",
    "environ",
    "environ object",
    "watched handler",
    "mask",
    "sys.path",
    "filters",
)


@pytest.mark.parametrize("name", CHANGES)
def test_surroundings_change_is_put_back(name: str) -> None:
    look, change = CHANGES[name]

    def work() -> None:
        surroundings = begun()
        before = look()
        surroundings.end(thorough=True)  # what looking itself brings about
        change()
        assert look() != before
        assert surroundings.end(thorough=True) == ""
        assert look() == before
        assert surroundings.end(thorough=True) == ""

    in_child(work)


@pytest.mark.parametrize("name", QUICK)
def test_surroundings_quick_look_finds_what_is_changed_most(name: str) -> None:
    look, change = CHANGES[name]

    def work() -> None:
        surroundings = begun()
        before = look()
        change()
        assert surroundings.end(thorough=False) == ""
        assert look() == before

    in_child(work)


def test_surroundings_nothing_changed_nothing_is_given() -> None:
    def work() -> None:
        surroundings = begun()
        assert surroundings.take() == SurroundingState()
        assert surroundings.end(thorough=False) == surroundings.end(thorough=True) == ""

    in_child(work)


def _lower_hard_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    lower = 1000 if hard == resource.RLIM_INFINITY else hard - 1
    resource.setrlimit(resource.RLIMIT_CORE, (0, lower))


def _open_many(kept: list[Any], count: int) -> None:
    kept += [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]


def _start_raw_thread() -> None:
    runs = threading.Event()
    _thread.start_new_thread(lambda: (runs.set(), threading.Event().wait()), ())
    runs.wait(10)


STAYS: dict[str, tuple[Callable[[], Any], str]] = {
    "thread": (
        lambda: threading.Thread(
            target=threading.Event().wait, name="left-behind", daemon=True
        ).start(),
        "left the thread 'left-behind' running",
    ),
    "raw thread": (
        _start_raw_thread,
        "left the thread without a name running",
    ),
    "niceness": (lambda: os.nice(1), "changed its niceness"),
    "hard limit": (_lower_hard_limit, "lowered the hard limit RLIMIT_CORE"),
    "descriptors": (lambda: _open_many(KEPT, 70), "left 70 descriptors open"),
}
if os.geteuid() == 0:
    STAYS["user"] = (lambda: os.setresuid(0, 12345, 0), "changed its user id")
    STAYS["group"] = (lambda: os.setegid(12345), "changed its group id")
    STAYS["groups"] = (lambda: os.setgroups([12345]), "changed its groups")
KEPT: list[Any] = []


@pytest.mark.parametrize("name", STAYS)
def test_surroundings_what_stays_is_named_and_the_rest_put_back(name: str) -> None:
    change, sentence = STAYS[name]

    def work() -> None:
        surroundings = begun()
        decimal.getcontext().prec = 3
        change()
        assert surroundings.end(thorough=True) == sentence
        assert decimal.getcontext().prec == 28
        assert surroundings.end(thorough=True) == sentence

    in_child(work)


def test_surroundings_few_descriptors_are_no_reason() -> None:
    def work() -> str:
        surroundings = begun()
        _open_many(KEPT, 60)
        return surroundings.end(thorough=True)

    assert in_child(work) == ""


def test_surroundings_no_descriptor_free_is_a_reason() -> None:
    def work() -> str:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        surroundings = begun()
        with pytest.raises(OSError, match="Too many"):
            _open_many(KEPT, 300)
        return surroundings.end(thorough=True)

    assert in_child(work).endswith("descriptors open")


def test_surroundings_thread_that_is_just_ending_is_no_reason() -> None:
    def work() -> str:
        surroundings = begun()
        going = threading.Event()
        threading.Thread(target=lambda: going.wait(THREAD_WAIT_S / 5)).start()
        return surroundings.end(thorough=False)

    assert in_child(work) == ""


def test_surroundings_threads_of_flow_and_those_before_are_no_reason() -> None:
    def work() -> str:
        threading.Thread(target=threading.Event().wait, name="of-the-import", daemon=True).start()
        surroundings = begun()
        threading.Thread(target=threading.Event().wait, name="flow-words", daemon=True).start()
        return surroundings.end(thorough=False) or surroundings.end(thorough=True)

    assert in_child(work) == ""


def test_surroundings_directory_that_is_gone_is_a_reason(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()

    def work() -> str:
        os.chdir(home)
        surroundings = begun()
        os.chdir("/")
        home.rmdir()
        return surroundings.end(thorough=False)

    sentence = in_child(work)
    assert sentence.startswith("changed its working directory, which cannot be put back: FileNot")


def test_surroundings_hostile_object_of_a_user_is_a_reason_and_hides_nothing() -> None:
    class Hostile:
        def __eq__(self, other: object) -> bool:
            raise ValueError("compared")

        __hash__ = None  # type: ignore[assignment]

    def work() -> str:
        surroundings = begun()
        tempfile.tempdir = Hostile()  # type: ignore[assignment]
        decimal.getcontext().prec = 3
        surroundings.take()
        sentence = surroundings.end(thorough=True)
        assert decimal.getcontext().prec == 28
        return sentence

    sentence = in_child(work)
    assert "place of temporary files, which cannot be put back: ValueError" in sentence


def test_surroundings_alarm_of_a_task_harms_nobody() -> None:
    def work() -> None:
        surroundings = begun()
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        until = time.monotonic() + 10
        while signal.SIGALRM not in signal.sigpending() and time.monotonic() < until:
            pass
        assert surroundings.end(thorough=False) == ""
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        assert signal.sigpending() == set()

    in_child(work)


def test_surroundings_signal_sent_to_a_task_that_blocks_it_is_heard() -> None:
    heard = []

    def work() -> None:
        signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
        surroundings = begun()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGTERM)
        surroundings.end(thorough=False)
        assert heard == [1]

    in_child(work)


def test_surroundings_parked_generator_gets_its_own_back() -> None:
    names = [name for name in CHANGES if name not in ("environ object", "no loop", "hidden zone")]

    def work() -> None:
        surroundings = begun()
        for name in names:
            CHANGES[name][0]()
        surroundings.end(thorough=True)
        before = [CHANGES[name][0]() for name in names]
        for name in names:
            CHANGES[name][1]()
        own = [CHANGES[name][0]() for name in names]
        state = surroundings.take()
        assert surroundings.end(thorough=True) == ""
        for name, value in zip(names, before, strict=True):
            assert CHANGES[name][0]() == value, name
        surroundings.begin("abcdef.1.2", 1)
        surroundings.end(thorough=False)
        surroundings.begin("abcdef.1.1", 1)
        assert surroundings.put(state) == ""
        for name, value in zip(names, own, strict=True):
            if name != "virtual timer":  # it went on
                assert CHANGES[name][0]() == value, name
        assert os.environ["FLOW_TOKEN"] == "abcdef.1.1"
        assert surroundings.end(thorough=False) == ""
        for name, value in zip(names, before, strict=True):
            if name != "environ":
                assert CHANGES[name][0]() == value, name

    in_child(work)


def test_surroundings_parked_generator_whose_directory_is_gone_is_told(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()

    def work() -> str:
        surroundings = begun()
        os.chdir(home)
        state = surroundings.take()
        surroundings.end(thorough=True)
        home.rmdir()
        return surroundings.put(state)

    assert "working directory" in in_child(work)


def test_surroundings_import_by_flow_is_part_of_what_tasks_find() -> None:
    def work() -> None:
        surroundings = begun()
        gc.disable()  # of the task before; a quick look does not find it
        with surroundings.adopting():
            assert gc.isenabled()
            sys.modules["just_imported"] = sys
            os.environ["OF_THE_IMPORT"] = "1"
            sys.setrecursionlimit(5000)
        os.environ["OF_THE_TASK"] = "1"
        assert surroundings.end(thorough=True) == ""
        assert "OF_THE_IMPORT" in os.environ and "OF_THE_TASK" not in os.environ
        assert sys.getrecursionlimit() == 5000

    in_child(work)


def test_surroundings_import_that_fails_is_put_back() -> None:
    def work() -> None:
        surroundings = begun()
        with pytest.raises(ImportError), surroundings.adopting():
            sys.path.insert(0, "/nowhere")
            sys.modules["half_imported"] = sys
            raise ImportError
        assert surroundings.end(thorough=False) == ""
        assert "/nowhere" not in sys.path

    in_child(work)
