"""The ``flow`` command: one file per command, each imported only when it is typed.

``run``, ``submit``, ``graph`` and ``clean`` read their own command line (``taskline``), because it
mixes flow's options with the parameters of a task; the others are click commands. Nothing here may
import zmq, msgspec or rich before a command needs it, and nothing here executes tasks.
"""

from __future__ import annotations

import sys

from flow.guarded import guarded
from flow.stdio import make_writable


def main(argv: list[str] | None = None) -> int:
    """Run one command line; return its exit code."""
    make_writable()
    words = sys.argv[1:] if argv is None else argv
    own = words.index("--") if "--" in words else len(words)
    json = "--json" in words[:own]
    return guarded(lambda: _dispatch(words), json=json)


def _dispatch(words: list[str]) -> int:
    match words[:1]:
        case ["run"]:
            from flow.cli.run import main as run

            return run(words[1:])
        case ["submit"]:
            from flow.cli.submit import main as submit

            return submit(words[1:])
        case ["clean"]:
            from flow.cli.clean import main as clean

            return clean(words[1:])
        case ["graph"]:
            from flow.cli.graph import main as graph

            return graph(words[1:])
    from flow.cli.group import invoke

    return invoke(words)
