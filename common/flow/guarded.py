"""Turn errors into what a person reads, and into the exit code. The only place that does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from flow.errors import ExitCode, FlowError

if TYPE_CHECKING:
    import click


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


def guarded(command: Callable[[], int | None], *, json: bool = False, server: bool = False) -> int:
    """Run a command and return its exit code, whatever happens in it.

    A ``server`` tells all of a bug in its log, which is stderr: a file beside it gets lost.
    """
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
        return _unexpected(e, json=json, server=server)


def served(command: click.Command, argv: list[str] | None, name: str) -> int:
    """Run the command line of a server and return its exit code, whatever happens in it."""
    import click

    def run() -> int:
        try:
            code = command.main(args=argv, prog_name=name, standalone_mode=False)
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except click.Abort:
            return int(ExitCode.INTERRUPTED)
        return int(code or 0)

    return guarded(run, server=True)


def _unexpected(error: Exception, *, json: bool, server: bool) -> int:
    """A bug: keep the traceback in a file and say where it is, or tell it here."""
    import traceback

    text = "".join(traceback.format_exception(error))
    what = f"internal error: {type(error).__name__}: {error}"
    return report(FlowError(what, hint=text if server else _kept(text)), json=json)


def _kept(text: str) -> str:
    """Write a traceback to a file; say where it is."""
    import tempfile

    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="flow-error-", suffix=".txt", delete=False, encoding="utf-8"
        ) as kept:
            kept.write(text)
    except OSError:  # no room: it may be what this is about
        return text
    return f"The traceback is in {kept.name}"


def _silence_stdout() -> None:
    """The reader of stdout left (``| head``): nothing more to say, also not at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
