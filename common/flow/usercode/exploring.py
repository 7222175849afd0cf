"""The graph of tasks below some tasks, found without running anything.

Called by ``flow graph`` and by ``flow.tools``. All ``requires()`` are asked first, then all
``complete()`` at once, as fast as a planner asks them. What user code raises is part of the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from flow.modules import blame
from flow.seam import is_task, key_of
from flow.task import flatten, is_external
from flow.usercode.completeness import Answer, Checker, is_plain_wrapper
from flow.visible import escaped

COMPLETE: Final = "COMPLETE"
PENDING: Final = "PENDING"
#: External, and not there.
MISSING: Final = "MISSING"
#: ``requires()``, ``complete()`` or ``output()`` raised.
BROKEN: Final = "BROKEN"
#: Circles that are named.
CYCLES_MAX: Final = 20
STATES: Final = (COMPLETE, PENDING, MISSING, BROKEN)


@dataclass(slots=True)
class Node:
    """One task. ``requires`` are indices into ``Graph.nodes``, in the order of ``requires()``."""

    task: Any
    depth: int  #: steps from the nearest root
    state: str = PENDING
    requires: list[int] = field(default_factory=list)
    error: str = ""
    expanded: bool = False  #: False: below the depth that was asked for

    @property
    def family(self) -> str:
        """The family of the task."""
        return str(self.task.task_family)

    @property
    def params(self) -> dict[str, str]:
        """Significant public parameters, as text."""
        return dict(self.task.to_str_params(only_significant=True, only_public=True))

    @property
    def label(self) -> str:
        """The task as people write it."""
        inside = ", ".join(f"{name}={value}" for name, value in self.params.items())
        return escaped(f"{self.family}({inside})")


@dataclass(slots=True)
class ExploredGraph:
    """Tasks in the order they were found, breadth first; the first ``roots`` were asked for."""

    nodes: list[Node]
    roots: int

    def cycles(self) -> list[list[int]]:
        """Return paths that end where they began, at most ``CYCLES_MAX``. Cost: O(edges)."""
        found: list[list[int]] = []
        done: set[int] = set()
        for root in range(self.roots):
            path: list[int] = []
            at: dict[int, int] = {}
            stack = [] if root in done else [(root, iter(self.nodes[root].requires))]
            if stack:
                at[root] = 0
                path.append(root)
            while stack and len(found) < CYCLES_MAX:
                below = next(stack[-1][1], None)
                if below is None:
                    done.add(stack.pop()[0])
                    del at[path.pop()]
                elif below in at:
                    found.append([*path[at[below] :], below])
                elif below not in done:
                    at[below] = len(path)
                    path.append(below)
                    stack.append((below, iter(self.nodes[below].requires)))
        return found

    def towards(self, family: str) -> set[int]:
        """Return the tasks on any path from a root to a task of the family, both included."""
        above: dict[int, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for below in node.requires:
                above.setdefault(below, []).append(index)
        queue = [index for index, node in enumerate(self.nodes) if node.family == family]
        kept = set(queue)
        for index in queue:
            for one in above.get(index, ()):
                if one not in kept:
                    kept.add(one)
                    queue.append(one)
        return kept


def explore(roots: Iterable[Any], *, depth_max: int | None = None) -> ExploredGraph:
    """Find all tasks below some, and what each one's state is; nothing runs.

    Args:
        roots: Where to begin.
        depth_max: Tasks so many steps below are found, but not asked what they require.
    """
    nodes: list[Node] = []
    known: dict[tuple[Any, ...], int] = {}

    def add(task: Any, depth: int) -> int:
        index = known.setdefault(key_of(task), len(nodes))
        if index == len(nodes):
            nodes.append(Node(task, depth))
        return index

    for task in roots:
        add(task, 0)
    graph = ExploredGraph(nodes, len(nodes))
    for node in nodes:  # it grows meanwhile
        if depth_max is not None and node.depth >= depth_max:
            continue
        node.expanded = True
        try:
            children = requirements(node.task)
        except BaseException as error:  # requires() is user code
            if isinstance(error, KeyboardInterrupt):
                raise
            _break(node, "requires()", error)
            continue
        node.requires = list(dict.fromkeys(add(child, node.depth + 1) for child in children))
    _ask(nodes)
    return graph


def requirements(task: Any) -> list[Any]:
    """Return what a task requires. Raises ``TypeError`` for what is no task."""
    children = flatten(task.deps())
    for child in children:
        if not is_task(child):
            kind = type(child).__name__
            raise TypeError(f"requires() must return Task objects, not {child!r:.200} ({kind})")
    return children


def outputs_of(task: Any) -> list[str]:
    """Say where a task's outputs are: paths where they have one."""
    try:
        return [_where(target) for target in flatten(task.output())]
    except Exception as error:  # output() is user code
        return [f"output() raised {blame.describe(error)}"]


def _where(target: Any) -> str:
    path = getattr(target, "path", None)
    return repr(target) if path is None else str(path)


def _ask(nodes: Sequence[Node]) -> None:
    """Ask all that do not follow from their requirements, then let those follow."""
    wrappers = [node for node in nodes if node.expanded and is_plain_wrapper(type(node.task))]
    followers = {id(node) for node in wrappers if not node.error}
    unasked = {id(node) for node in wrappers}
    asked = [node for node in nodes if id(node) not in unasked]
    answers = Checker().level([node.task for node in asked])
    for node, answer in zip(asked, answers, strict=True):
        _judge(node, answer)
    _follow(nodes, followers)


def _judge(node: Node, answer: Answer) -> None:
    if isinstance(answer, KeyboardInterrupt):
        raise answer
    if isinstance(answer, BaseException):
        _break(node, "complete()", answer)
    elif answer:
        node.state = BROKEN if node.error else COMPLETE
    elif not node.error and is_external(node.task):
        node.state = MISSING


def _follow(nodes: Sequence[Node], followers: set[int]) -> None:
    """A wrapper is complete when its requirements are: those below first."""
    done: set[int] = set()
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            index = stack[-1]
            node = nodes[index]
            open_ = [each for each in node.requires if each not in done]
            if id(node) in followers and index not in done and open_:
                done.add(index)  # met again: a cycle, which is never complete
                stack += open_
                continue
            stack.pop()
            done.add(index)
            if id(node) in followers and all(nodes[i].state == COMPLETE for i in node.requires):
                node.state = COMPLETE


def _break(node: Node, what: str, error: BaseException) -> None:
    node.state = BROKEN
    where = blame.own_frame(error)
    text = f"{what} raised {blame.describe(error)}" + (f"  ({where})" if where else "")
    node.error = f"{node.error}; {text}" if node.error else text
