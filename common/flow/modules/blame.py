"""Saying what went wrong in a user's code: one line, the place, a trace; bounded, never raising.

Called by runners, planners and commands with exceptions that may be hostile: ``__str__`` may raise
or return 10 MB, the traceback may be a thousand frames deep.
"""

from __future__ import annotations

import os
import re
import sysconfig
import traceback
from types import TracebackType
from typing import Final

#: Exceptions that an exception came of, in an error.
CAUSES_MAX: Final = 3
LINE_CHARS_MAX: Final = 500
TRACE_CHARS_MAX: Final = 16_000
TRACE_FRAMES_MAX: Final = 60

_OURS: Final = frozenset({"flow", "flow_worker", "flow_coordinator"})
#: Whose classes say nothing that a user could correct.
_LIBRARIES: Final = _OURS | {"luigi", "gokart", "builtins"}
#: Shipped with flow, but written as a user would.
_LIKE_A_USERS: Final = "flow.examples."
_STDLIB: Final = tuple(
    os.path.join(path, "")
    for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
)
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

# How much a frame is the user's own: the innermost frame of the best kind is shown.
_USERS, _PACKAGES, _PYTHONS, _FLOWS = 0, 1, 2, 3


def describe(error: BaseException) -> str:
    """Return ``Type: message`` on one line of at most ``LINE_CHARS_MAX`` characters."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception as second:  # __str__ is user code
        text = f"(its text cannot be built: {type(second).__name__})"
    text = " ".join(text[: 4 * LINE_CHARS_MAX].split())
    return _cut_end(f"{name}: {text}" if text else name)


def causes(error: BaseException) -> list[str]:
    """Say what an exception came of, each on one line with its place, the nearest first."""
    lines: list[str] = []
    seen = {id(error)}
    while len(lines) < CAUSES_MAX:
        word = "caused by"
        cause = error.__cause__
        if cause is None and not error.__suppress_context__:
            word, cause = "while handling", error.__context__
        if cause is None or id(cause) in seen:
            break
        seen.add(id(cause))
        where = own_frame(cause)
        lines.append(f"{word} {describe(cause)}" + (f"     {where}" if where else ""))
        error = cause
    return lines


def own_frame(error: BaseException, package: str = "") -> str:
    """Return the innermost frame of the user's code as ``path:line  function()``.

    Frames of flow, of Python's library and of installed packages count only when there is no
    better one; ``package`` names the top-level package that is the user's even if installed.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno or 0}  <module>"
    best: tuple[int, str] | None = None
    trace = error.__traceback__
    while trace is not None:
        kind = _kind(trace, package)
        if best is None or kind <= best[0]:
            code = trace.tb_frame.f_code
            best = kind, f"{code.co_filename}:{trace.tb_lineno}  {_called(code.co_name)}"
        trace = trace.tb_next
    return "" if best is None else _cut_end(best[1])


def declared(cls: type, name: str) -> str:
    """Return ``path:line  X.name``: where a class, or the one it has it from, says what that is.

    Empty where that is not known, as for what a library says. Reads source: only for errors.
    """
    for base in cls.__mro__:
        if name in base.__dict__:
            top = base.__module__.partition(".")[0]
            if top in _LIBRARIES and not _is_like_a_users(base.__module__):
                return ""
            place = _place_of_code(base.__dict__[name]) or _place_in_class(base, name)
            return _cut_end(f"{place}  {base.__name__}.{name}") if place else ""
    return ""


def _place_of_code(value: object) -> str:
    """Return where a function, a method of any kind or a property begins."""
    function = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def _place_in_class(cls: type, name: str) -> str:
    """Return where a class body assigns an attribute, else where the class begins."""
    import inspect  # only what fails needs it

    try:
        lines, first = inspect.getsourcelines(cls)
        path = inspect.getsourcefile(cls)
    except (OSError, TypeError):  # it was made by type(), or typed
        return ""
    assigns = re.compile(rf"\s+{re.escape(name)}\s*(:[^=]+)?=[^=]")
    at = next((at for at, line in enumerate(lines) if assigns.match(line)), 0)
    return f"{path}:{max(1, first) + at}"


def passed_users_code(error: BaseException) -> bool:
    """Tell whether an exception left a function that is neither flow's nor Python's own."""
    trace = error.__traceback__
    while trace is not None:
        if _kind(trace, "") in (_USERS, _PACKAGES):
            return True
        trace = trace.tb_next
    return False


def bounded_trace(error: BaseException) -> str:
    """Return the traceback, without flow's own frames at its top, cut in the middle."""
    trace = error.__traceback__
    while trace is not None and _kind(trace, "") == _FLOWS:
        trace = trace.tb_next
    try:
        formatted = traceback.TracebackException(
            type(error), error, trace or error.__traceback__, limit=-TRACE_FRAMES_MAX, compact=True
        )
        text = "".join(formatted.format())
    except Exception:  # formatting calls the user's __str__ and reads the user's sources
        text = describe(error)
    return cut_middle(text, TRACE_CHARS_MAX)


def cut_middle(text: str, chars_max: int) -> str:
    """Keep the beginning and the end of a text and say how much is missing."""
    if len(text) <= chars_max:
        return text
    head = chars_max // 3
    tail = chars_max - head
    return f"{text[:head]}\n... {len(text) - chars_max} characters left out ...\n{text[-tail:]}"


def _kind(trace: TracebackType, package: str) -> int:
    module = str(trace.tb_frame.f_globals.get("__name__", ""))
    top = module.partition(".")[0]
    if package and top == package:
        return _USERS
    if top in _OURS:
        return _USERS if _is_like_a_users(module) else _FLOWS
    path = trace.tb_frame.f_code.co_filename
    if any(part in path for part in _INSTALLED):
        return _PACKAGES
    if path.startswith((*_STDLIB, "<frozen ")):
        return _PYTHONS
    return _USERS


def _is_like_a_users(module: str) -> bool:
    return module.startswith(_LIKE_A_USERS)


def _called(name: str) -> str:
    return name if name.startswith("<") else f"{name}()"


def _cut_end(text: str) -> str:
    if len(text) <= LINE_CHARS_MAX:
        return text
    return text[: LINE_CHARS_MAX - 3] + "..."
