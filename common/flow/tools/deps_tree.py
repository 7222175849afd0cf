"""Luigi's ``tools.deps_tree``: the tree of a task's requirements as text. See ``flow graph``."""

from __future__ import annotations

import sys
from typing import Any

from flow.usercode.exploring import COMPLETE, ExploredGraph, explore

#: Levels; what is deeper is cut, as indentation would be all there is.
DEPTH_MAX = 60


def print_tree(task: Any, indent: str = "", last: bool = True) -> str:
    """Return the tree in Luigi's form, without colours: ``└─--[Name-{params} (COMPLETE)]``.

    A task that is required several times has what it requires drawn the first time only.
    """
    lines: list[str] = []
    _draw(explore([task], depth_max=DEPTH_MAX), 0, indent, last, lines, set())
    return "".join(f"\n{line}" for line in lines)


def _draw(
    graph: ExploredGraph, index: int, indent: str, last: bool, lines: list[str], drawn: set[int]
) -> None:
    node = graph.nodes[index]
    state = "COMPLETE" if node.state == COMPLETE else "PENDING"
    params = node.task.to_str_params(only_significant=True)
    name = type(node.task).__name__
    lines.append(f"{indent}{'└─--' if last else '|---'}[{name}-{params} ({state})]")
    if index in drawn:
        return
    drawn.add(index)
    inner = indent + ("    " if last else "|   ")
    for at, child in enumerate(node.requires, start=1):
        _draw(graph, child, inner, at == len(node.requires), lines, drawn)


def main() -> None:
    """Print the tree of the task that this process's command line names, as a script's last line.

    Exits with a sentence and its code where there is no such task, or it cannot be asked.
    """
    from flow.guarded import guarded
    from flow.local.script import named_task

    def command() -> None:
        with named_task(sys.argv[1:]) as task:
            print(print_tree(task))

    code = guarded(command)
    if code:
        sys.exit(code)
