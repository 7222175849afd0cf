"""What a task may change in its process: how each thing is looked at, and how it is put back.

A ``Facet`` knows how to look at one thing and how to give it the value of an earlier look; nothing
here remembers anything. This file has what the kernel and the C library keep of a process,
``python_facets`` what the interpreter and its modules keep. Read by ``surroundings`` only.
"""

from __future__ import annotations

import importlib
import locale
import os
import resource
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Stays(Exception):
    """It cannot be put back: a sentence about the task, "changed its niceness"."""


class Facet(NamedTuple):
    """One thing of a process. ``look`` returns a value that later changes do not reach."""

    name: str  #: after "changed", for people
    look: Callable[[], Any]
    give: Callable[[Any], None]  #: raises what it cannot do, ``Stays`` where it never can
    parks: bool = True  #: whether a parked generator takes it along


# The functions of signal make enums of their answers, which takes ten times as long as asking.
_c_signal: Any = importlib.import_module("_signal")
getsignal: Callable[[int], Any] = _c_signal.getsignal
pthread_sigmask: Callable[..., set[int]] = _c_signal.pthread_sigmask

#: Every signal that a handler can be set for.
SIGNALS = tuple(
    sorted(int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
)
#: Somebody may have sent these to this process; a task that blocked them does not make them void.
_SENT = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
_LIMITS = {
    getattr(resource, name): name
    for name in sorted(dir(resource), reverse=True)
    if name.startswith("RLIMIT_")
}
_ENVIRON: Any = os.environ
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


# ------------------------------------------------------------------ what the kernel keeps


def _who() -> Any:
    return os.getresuid(), os.getresgid(), os.getgroups()


def _give_who(was: Any) -> None:
    kinds = ("user id", "group id", "groups")
    changed = [kind for kind, a, b in zip(kinds, was, _who(), strict=True) if a != b]
    raise Stays(f"changed its {changed[0]}")


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def _give_niceness(was: Any) -> None:
    raise Stays("changed its niceness")


def _limits() -> Any:
    return [resource.getrlimit(number) for number in _LIMITS]


def _give_limits(was: Any) -> None:
    stays = ""
    for number, (soft, hard), now in zip(_LIMITS, was, _limits(), strict=True):
        if hard != now[1]:
            how = "lowered" if _lower(hard, now[1]) != hard else "raised"
            stays = stays or f"{how} the hard limit {_LIMITS[number]}"
        if soft != now[0]:
            resource.setrlimit(number, (_lower(soft, now[1]), now[1]))
    if stays:
        raise Stays(stays)


def _lower(one: int, other: int) -> int:
    if resource.RLIM_INFINITY in (one, other):
        return other if one == resource.RLIM_INFINITY else one
    return min(one, other)


def _timers() -> Any:
    # Of a timer that repeats, how far it is makes no difference.
    return [(again or left, again) for left, again in map(signal.getitimer, _TIMERS)]


def _give_timers(was: Any) -> None:
    for which, (left, again) in zip(_TIMERS, was, strict=True):
        signal.setitimer(which, left, again)


def _handlers() -> Any:
    return list(map(getsignal, SIGNALS))


def _give_handlers(was: Any) -> None:
    for number, handler in zip(SIGNALS, was, strict=True):
        if getsignal(number) is handler:
            continue
        if handler is None:
            name = signal.Signals(number).name
            raise Stays(f"replaced the handler of {name}, which Python cannot set again")
        signal.signal(number, handler)


def _mask() -> Any:
    return pthread_sigmask(signal.SIG_BLOCK, ())


def _give_mask(was: Any) -> None:
    # What the task's own timers and children sent while it held them back would end this process.
    for number in (signal.sigpending() - was) - _SENT:
        if getsignal(number) == signal.SIG_DFL:
            while signal.sigtimedwait([number], 0) is not None:
                pass
    pthread_sigmask(signal.SIG_SETMASK, was)


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # it stands in a directory that is gone


def _give_cwd(was: Any) -> None:
    if not was:
        raise Stays("left a directory that is gone")
    os.chdir(was)


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


def _give_umask(was: Any) -> None:
    os.umask(was)


def _affinity() -> Any:
    return os.sched_getaffinity(0)


def _give_affinity(was: Any) -> None:
    os.sched_setaffinity(0, was)


# ------------------------------------------------------------------ what the C library keeps


def _environ() -> Any:
    # The dict of bytes behind it: decoding it takes 15 times as long.
    return os.environ, dict(_ENVIRON._data)


def _give_environ(value: Any) -> None:
    environ, was = value
    os.environ = environ  # noqa: B003 - the object is put back, and then its content
    now = _ENVIRON._data
    zone = now.get(b"TZ") != was.get(b"TZ")
    for key in [key for key in now if key not in was]:
        del _ENVIRON[os.fsdecode(key)]
    for key, text in was.items():
        if now.get(key) != text:
            _ENVIRON[os.fsdecode(key)] = os.fsdecode(text)
    if zone:  # the C library may have read it, whether Python did or not
        time.tzset()


def _zone() -> Any:
    return time.tzname, time.timezone, time.altzone, time.daylight


def _give_zone(was: Any) -> None:
    time.tzset()  # from the environment, which was put back before


def _locale() -> str:
    return locale.setlocale(locale.LC_ALL)


def _give_locale(was: Any) -> None:
    locale.setlocale(locale.LC_ALL, was)


ENVIRON = Facet("its environment", _environ, _give_environ)
#: In the order in which they are put back: no timer may go off once its handler is gone, and no
#: signal come through before the handler of flow's is there again.
SYSTEM = (
    Facet("its identity", _who, _give_who, parks=False),
    Facet("its niceness", _niceness, _give_niceness, parks=False),
    Facet("its limits", _limits, _give_limits),
    Facet("its timers", _timers, _give_timers),
    Facet("its signal handlers", _handlers, _give_handlers),
    Facet("its signal mask", _mask, _give_mask),
    ENVIRON,
    Facet("its time zone", _zone, _give_zone),
    Facet("its locale", _locale, _give_locale),
    Facet("its working directory", _cwd, _give_cwd),
    Facet("its umask", _umask, _give_umask),
    Facet("its processors", _affinity, _give_affinity),
)
