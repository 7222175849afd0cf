"""``flow graph``: what a task requires, and what of that is complete, without running anything."""

from __future__ import annotations

import contextlib
import sys

from flow.cli.options import describe
from flow.cli.taskline import Option, TaskLine, one_of, parse
from flow.errors import ExitCode, UsageError

FORMATS = ("tree", "dot", "mermaid", "json")

HELP = """\
Show the tasks that TASK of MODULE requires, directly or not, and which of them are complete.
MODULE is imported in this process, and nothing is run. The exit code is 35 where requires() or
complete() raised, or where tasks require each other in a circle.

    flow graph MODULE TASK --format dot | dot -Tsvg > graph.svg
    flow graph MODULE TASK --upstream Load     only what leads to Load, with outputs"""


def _depth(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError("must be at least 0")
    return number


OPTIONS = (
    Option(("--format",), "tree (default), dot, mermaid or json", one_of(*FORMATS), "FORMAT"),
    Option(("--families",), "one line for each family, with counts"),
    Option(("--depth",), "no further than so many steps below TASK", _depth, "N"),
    Option(("--upstream",), "only tasks on a path from TASK to this family", str, "FAMILY"),
    Option(("--outputs",), "name the outputs of each task, too"),
)


def main(argv: list[str]) -> int:
    """Show the graph that the command line asks for; return the exit code."""
    line = parse(argv, OPTIONS)
    if line.help:
        usage = "flow graph [OPTIONS] MODULE TASK [--param VALUE ...]"
        print(describe(usage, HELP, OPTIONS))
        return int(ExitCode.OK)
    if not line.family:
        raise _incomplete(line)
    # What user code prints must not become part of the graph.
    with contextlib.redirect_stdout(sys.stderr):
        text, code = _found(line)
    print(text, flush=True)
    return int(code)


def _incomplete(line: TaskLine) -> UsageError:
    word = line.module.removeprefix("file:")
    if word.startswith("r-") and word[2:].isdigit():
        return UsageError(
            f"flow graph shows what a task of a module requires, not the run {word}",
            hint=f"its tasks, and what each waits for:  flow tasks --run {word}",
        )
    return UsageError(
        "no TASK given: flow graph MODULE TASK [--param VALUE ...]",
        hint=f"The tasks of a module:  flow run {word or 'MODULE'}",
    )


def _found(line: TaskLine) -> tuple[str, ExitCode]:
    from flow.cli.graphtext import Shown, write
    from flow.cli.listing import add_path
    from flow.exploring import BROKEN, explore
    from flow.loading import load_task

    options = line.options
    add_path()
    task = load_task(line.module, line.family, line.params)
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
