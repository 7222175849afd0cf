"""Turn errors into what a person reads, and into the exit code. The only place that does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from flow.errors import ExitCode, FlowError


def report(error: FlowError, *, json: bool = False) -> int:
    """Print ``error: ...`` and what to type next on stderr; return the exit code."""
    code = int(error.exit_code)
    if json:
        import json as text

        fields = {"event": "error", "error": str(error), "hint": error.hint, "exit_code": code}
        print(text.dumps(fields), flush=True)
    first, *more = str(error).splitlines() or ["unknown"]
    lines = [f"error: {first}", *(f"       {line}" for line in more)]
    lines += [f"       {line}" for line in error.hint.splitlines()]
    print("\n".join(lines), file=sys.stderr, flush=True)
    return code


def guarded(command: Callable[[], int | None], *, json: bool = False) -> int:
    """Run a command and return its exit code, whatever happens in it."""
    try:
        return command() or 0
    except FlowError as e:
        return report(e, json=json)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        _silence_stdout()
        return int(ExitCode.OK)
    except Exception as e:
        return _unexpected(e, json=json)


def _unexpected(error: Exception, *, json: bool) -> int:
    """A bug: keep the traceback in a file, say where it is."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="flow-error-", suffix=".txt", delete=False, encoding="utf-8"
        ) as kept:
            kept.write(text)
        hint = f"The traceback is in {kept.name}"
    except OSError:  # no room: it may be what this is about
        hint = text
    what = f"internal error: {type(error).__name__}: {error}"
    return report(FlowError(what, hint=hint), json=json)


def _silence_stdout() -> None:
    """The reader of stdout left (``| head``): nothing more to say, also not at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
