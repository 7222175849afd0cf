"""What went wrong in user code, as text that is safe to send; building it never raises."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from flow.errors import FlowError
from flow.modules import blame
from flow.wire.messages.shared import Missing
from flow.wire.states import PlanErrorKind

#: Characters of an output that is named in an error.
NAMED_CHARS_MAX = 300


class Terminated(BaseException):
    """SIGTERM arrived: unwind the user's code and end this process."""


class Complaint(Exception):
    """A sentence of ours about a task; it needs no trace, and no place but where it is declared."""

    def __init__(self, text: str, where: str = "") -> None:
        super().__init__(text)
        self.where = where


class UserFailure(msgspec.Struct, frozen=True):
    """The fields of a report, or of a planning error, that say what went wrong."""

    error: str
    where: str = ""
    trace: str = ""
    kind: PlanErrorKind | None = None  #: of ``PlanError``, where the error itself knows it
    missing: Missing | None = None  #: of a report: the output that is not here


def failure_of(error: BaseException) -> UserFailure:
    """Describe an exception, however hostile."""
    try:
        return _describe(error)
    except BaseException as second:  # even __str__ may call sys.exit()
        return UserFailure(f"{type(error).__name__}: (no text: {type(second).__name__})")


def spelled(target: Any) -> str:
    """Name a target for people: by its path, or as it spells itself where it has none."""
    try:
        path = getattr(target, "path", None)
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else repr(target)
        text = text if isinstance(text, str) and text else repr(target)
        return text if len(text) <= NAMED_CHARS_MAX else f"{text[: NAMED_CHARS_MAX - 1]}…"
    except Exception:  # both are user code
        return f"a {type(target).__name__} that cannot be named"


def _describe(error: BaseException) -> UserFailure:
    if isinstance(error, Complaint) or _is_ours(error):
        text = blame.cut_middle(" ".join(str(error).split()), 4 * blame.LINE_CHARS_MAX)
        hint = " ".join(str(getattr(error, "hint", "")).split())
        if hint:
            text += "\n" + blame.cut_middle(hint, blame.LINE_CHARS_MAX)
        where, trace = str(getattr(error, "where", "")), str(getattr(error, "trace", ""))
        kind = getattr(error, "kind", None)
        return UserFailure(text, where, trace, kind if isinstance(kind, PlanErrorKind) else None)
    where, trace = blame.own_frame(error), blame.bounded_trace(error)
    if isinstance(error, SystemExit):
        return UserFailure(f"sys.exit({error.code!r:.100}) was called", where, trace)
    return UserFailure("\n".join([blame.describe(error), *blame.causes(error)]), where, trace)


def _is_ours(error: BaseException) -> bool:
    """Whether flow itself says this about what it was asked for.

    One that passed through the user's code, which may have built a task wrongly, is as much a
    failure of that code as any other exception: it needs its place and its trace.
    """
    return isinstance(error, FlowError) and not blame.passed_users_code(error)
