"""What a task may change in its process that the interpreter and its modules keep.

A module that nobody imported is not imported to look at it: its value is ``None``, "as a fresh
import has it". See ``facets``.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
import threading
import warnings
from typing import Any

from flow_worker.process.facets import Facet


def _path() -> Any:
    return sys.path, list(sys.path)


def _give_path(was: Any) -> None:
    sys.path, sys.path[:] = was


def _argv() -> Any:
    return sys.argv, list(sys.argv)


def _give_argv(was: Any) -> None:
    sys.argv, sys.argv[:] = was


def _hooks() -> Any:
    return sys.excepthook, sys.unraisablehook, threading.excepthook


def _give_hooks(was: Any) -> None:
    sys.excepthook, sys.unraisablehook, threading.excepthook = was


def _collection() -> Any:
    return gc.isenabled(), gc.get_threshold()


def _give_collection(was: Any) -> None:
    (gc.enable if was[0] else gc.disable)()
    gc.set_threshold(*was[1])


# ------------------------------------------------------------------ what modules keep


def _warnings() -> Any:
    # logging.captureWarnings() does nothing while it believes that it was called before.
    captured: Any = getattr(logging, "_warnings_showwarning", None)
    return warnings.filters, list(warnings.filters), warnings.showwarning, captured


def _give_warnings(was: Any) -> None:
    filters, entries, warnings.showwarning, captured = was
    warnings.filters = filters
    warnings.resetwarnings()  # and so every module forgets what it would not warn of again
    filters[:] = entries
    setattr(logging, "_warnings_showwarning", captured)  # noqa: B010 - unknown to type checkers


def _logger() -> Any:
    root = logging.root
    handlers, filters = root.handlers, root.filters
    held = (handlers, list(handlers), filters, list(filters))
    return root.level, root.disabled, root.manager.disable, *held


def _give_logger(was: Any) -> None:
    root = logging.root
    level, root.disabled, disable, handlers, entries, filters, filtered = was
    gone = [each for each in root.handlers if each not in entries]
    root.handlers, root.handlers[:] = handlers, entries
    root.filters, root.filters[:] = filters, filtered
    root.setLevel(level)
    logging.disable(disable)
    for handler in gone:
        # As logging.shutdown() does: what it writes to may be closed already.
        with contextlib.suppress(OSError, ValueError):
            handler.flush()


def _timeout() -> Any:
    module: Any = sys.modules.get("socket")
    return module and module.getdefaulttimeout()


def _give_timeout(was: Any) -> None:
    sys.modules["socket"].setdefaulttimeout(was)


def _tempdir() -> Any:
    module: Any = sys.modules.get("tempfile")
    return module and module.tempdir


def _give_tempdir(was: Any) -> None:
    sys.modules["tempfile"].tempdir = was  # type: ignore[attr-defined]


def _values(context: Any) -> Any:
    return context.__reduce__()[1]


def _decimal() -> Any:
    module: Any = sys.modules.get("decimal")
    if module is None or not hasattr(module, "getcontext"):
        return None
    context = module.getcontext()
    values = _values(context)
    return None if values == _values(module.DefaultContext) else (context, values)


def _give_decimal(was: Any) -> None:
    module: Any = sys.modules["decimal"]
    if was is None:
        module.setcontext(module.DefaultContext)  # which copies it
        return
    context, (prec, rounding, low, high, capitals, clamp, flags, traps) = was
    context.prec, context.rounding, context.Emin, context.Emax = prec, rounding, low, high
    context.capitals, context.clamp = capitals, clamp
    context.clear_flags()
    context.clear_traps()
    for each in flags:
        context.flags[each] = True
    for each in traps:
        context.traps[each] = True
    module.setcontext(context)


def _loop() -> Any:
    events: Any = sys.modules.get("asyncio.events")
    policy = getattr(events, "_event_loop_policy", None)
    if policy is None:
        return None
    local = getattr(policy, "_local", None)
    return policy, getattr(local, "_loop", None), getattr(local, "_set_called", None)


def _give_loop(was: Any) -> None:
    # Past set_event_loop(), which would mark the loop as set: get_event_loop() then makes none.
    events: Any = sys.modules["asyncio.events"]
    policy, loop, called = was or (None, None, None)
    events._event_loop_policy = policy
    local = getattr(policy, "_local", None)
    if local is not None:
        local._loop = loop
        if called is not None:
            local._set_called = called


#: It is put back before everything else: the rest may need it.
RECURSION = Facet("its recursion limit", sys.getrecursionlimit, sys.setrecursionlimit)
PYTHON = (
    Facet("sys.path", _path, _give_path),
    Facet("sys.argv", _argv, _give_argv),
    Facet("its hooks for exceptions", _hooks, _give_hooks),
    Facet("the collection of garbage", _collection, _give_collection),
    Facet("its switch interval", sys.getswitchinterval, sys.setswitchinterval),
    Facet("warnings", _warnings, _give_warnings),
    Facet("the root logger", _logger, _give_logger),
    Facet("the timeout of sockets", _timeout, _give_timeout),
    Facet("the place of temporary files", _tempdir, _give_tempdir),
    Facet("the decimal context", _decimal, _give_decimal),
    Facet("the event loop", _loop, _give_loop),
)
