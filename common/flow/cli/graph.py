"""``flow graph``: what requires what, in a run as it stands, or below a task before it runs."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from flow.client.options import describe, spell_given
from flow.errors import ExitCode, Unreachable, UsageError
from flow.settings.taskline import Option, TaskLine, one_of, parse, whole_number

if TYPE_CHECKING:
    from flow.client.client import Client

FORMATS = ("tree", "dot", "mermaid", "json")
#: Families or tasks of a run, unless --limit is given.
LIMIT = 200
#: Waited for a coordinator where it is only likely that a run is meant.
MAYBE_S = 1.0

USAGE = """\
flow graph [OPTIONS] RUN [TASK]
       flow graph [OPTIONS] MODULE TASK [--param VALUE ...]"""

HELP = """\
Of a RUN (its id, its name, a piece of them, or last), ask the coordinator for its families: what
requires what, and how many tasks of each are in which state. With TASK (an id, Load(region=EU), or
any piece that fits only one) or with --depth: the tasks, from TASK or the roots of RUN down.

Of a TASK of MODULE, show the tasks that it requires, directly or not, and which are complete.
MODULE is imported in this process, and nothing is run.

    flow graph last                            families of the newest run
    flow graph r-7 'Join(EU)' --depth 2        what one task waits for
    flow graph MODULE TASK --format dot | dot -Tsvg > graph.svg
    flow graph MODULE TASK --upstream Load     only what leads to Load, with outputs

In a tree: ✓ done or complete, ▶ running, ‖ suspended, ↻ waits to be tried again, ✗ failed,
? external and missing, - not run, · waiting."""

EXIT_CODES = """\
Exit codes:
    0  shown, whatever state the tasks are in
    2  wrong usage, no such run, module or task
   35  of MODULE TASK: requires() or complete() raised, or tasks require each other in a circle
   60  of RUN: coordinator unreachable"""


def _depth(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError("must be at least 0")
    return number


OPTIONS = (
    Option(("--format",), "tree (default), dot, mermaid or json", one_of(*FORMATS), "FORMAT"),
    Option(("--json",), "the same as --format json", key="format", value="json"),
    Option(("--families",), "one line for each family, with counts"),
    Option(("--depth",), "no further than so many steps below TASK", _depth, "N"),
    Option(("--limit",), f"of RUN: at most so many (default {LIMIT})", whole_number, "N"),
    Option(("--coordinator",), "of RUN: where the coordinator listens", str, "ADDR"),
    Option(("--upstream",), "of MODULE: only tasks on a path from TASK to it", str, "FAMILY"),
    Option(("--outputs",), "of MODULE: name the outputs of each task, too"),
)


def main(argv: list[str]) -> int:
    """Show the graph that the command line asks for; return the exit code."""
    line = parse(argv, OPTIONS)
    if line.help:
        print(describe(USAGE, HELP, OPTIONS, EXIT_CODES))
        return int(ExitCode.OK)
    text = _of_run(line)
    code = ExitCode.OK
    if text is None:
        if not line.family:
            raise _incomplete(line)
        # What user code prints must not become part of the graph.
        with contextlib.redirect_stdout(sys.stderr):
            text, code = _found(line)
    if text:
        print(text, flush=True)
    return int(code)


def _incomplete(line: TaskLine) -> UsageError:
    word = line.module.removeprefix("file:")
    return UsageError(
        "no TASK given: flow graph MODULE TASK [--param VALUE ...]",
        hint=f"The tasks of a module:  flow run {word or 'MODULE'}\n"
        "Of a run:               flow graph RUN, and flow status lists the runs",
    )


# ------------------------------------------------------------------------------- of a run


def _of_run(line: TaskLine) -> str | None:
    """Ask the coordinator where a run is meant; None where a module is."""
    if not line.module or line.module.startswith("file:"):
        return None
    needs_code = next((name for name in ("upstream", "outputs") if name in line.options), "")
    if _must_be_run(line.module):
        from flow.cli.asking import connected

        if needs_code or line.params:
            raise UsageError(
                f"--{needs_code or next(iter(line.params))} is for MODULE TASK, not for a run",
                hint=f"flow graph {line.module}",
            )
        with connected(line.options.get("coordinator")) as client:
            return _shown(client, line)
    if needs_code or line.params or _can_import(line.module):
        return None
    from flow.client.address import find
    from flow.client.client import Client

    address = find(line.options.get("coordinator")).text
    try:
        with Client(address, connect_timeout_s=MAYBE_S) as client:
            return _shown(client, line)
    except (Unreachable, UsageError) as e:
        if isinstance(e, UsageError) and not str(e).startswith("there is no run"):
            raise
        if line.family:
            return None  # the error of the import says more
        asked = address if isinstance(e, UsageError) else f"{address}, which does not answer"
        raise UsageError(
            f"{line.module!r} is no module that can be imported here, and no run of {asked}",
            hint="The runs:       flow status\nOf a module:    flow graph MODULE TASK",
        ) from None


def _must_be_run(word: str) -> bool:
    """Tell whether no module can be called so: ``r-7``, ``7``, ``amber-otter``."""
    return word == "last" or not all(part.isidentifier() for part in word.split("."))


def _can_import(module: str) -> bool:
    """Tell whether the package or module is there, without running any of its code."""
    from importlib.util import find_spec

    from flow.local.listing import add_path

    add_path()
    try:
        return find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):  # a module that is loaded and has no spec
        return True


def _shown(client: Client, line: TaskLine) -> str:
    from flow.cli.rungraph import remark, write
    from flow.wire.messages.client import Graph, ShowGraph

    options = line.options
    depth = options.get("depth")
    families = options.get("families", not line.family and depth is None)
    asked = ShowGraph(
        0,
        line.module,
        "families" if families else "tasks",
        line.family,
        -1 if depth is None else depth,
        options.get("limit", LIMIT),
    )
    graph = client.ask(asked, Graph)
    form = options.get("format", "tree")
    if form != "json":
        remark(graph, families=families)
    return write(graph, form, families=families, depth_given=depth is not None)


# ------------------------------------------------------------------------------- of a module


def _found(line: TaskLine) -> tuple[str, ExitCode]:
    from flow.cli.graphtext import Shown, write
    from flow.local.listing import add_path
    from flow.modules.loading import load_task
    from flow.parameters import given
    from flow.usercode.exploring import BROKEN, explore

    options = line.options
    if "limit" in options:
        raise UsageError("--limit is for flow graph RUN", hint="for a module there is --depth N")
    add_path()
    given.use(spell_given(line.qualified))
    task = load_task(line.module, line.family, line.root)
    graph = explore([task], depth_max=options.get("depth"))
    upstream = options.get("upstream", "")
    kept = graph.towards(upstream) if upstream else set(range(len(graph.nodes)))
    if not kept:
        raise UsageError(f"{line.family} requires no task of the family {upstream}")
    shown = Shown(
        graph,
        kept,
        families=options.get("families", False),
        outputs=options.get("outputs", bool(upstream)),
        depth_given="depth" in options,
    )
    bad = graph.cycles() or any(node.state == BROKEN for node in graph.nodes)
    code = ExitCode.SCHEDULING_ERROR if bad else ExitCode.OK
    return write(shown, options.get("format", "tree")), code
