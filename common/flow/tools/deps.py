"""Luigi's ``tools.deps``: the tasks on the ways from a task to a family. See ``flow graph``."""

from __future__ import annotations

from typing import Any

from flow.usercode.exploring import explore


def find_deps(task: Any, upstream_task_family: str | None = None) -> set[Any]:
    """Return all tasks on paths from ``task`` to tasks of the family; all below it for None."""
    graph = explore([task])
    if upstream_task_family is None:
        return {node.task for node in graph.nodes}
    return {graph.nodes[index].task for index in graph.towards(upstream_task_family)}
