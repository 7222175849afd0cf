"""Imports inside functions, why they are there, and the circles that imports of any kind make.

There are two good reasons: start-up time, and packages that are not always installed. The third, a
circle, is found and printed, so that it can be opened: a circle counts late imports and those for
type checkers too, which hide it from Python, not from a reader.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

from tests.support.house_rules import Source, imports, within

OURS = ("flow", "flow_coordinator", "flow_worker")
#: Installed with flow, always.
REQUIRED = {"click", "msgpack", "msgspec", "platformdirs", "psutil", "rich", "zmq"}
START_UP = "start-up"
OPTIONAL = "optional"
CIRCLE = "circle"


def late_imports(source: Source) -> Iterator[tuple[str, int]]:
    """Yield what functions import, with lines; ``from a import b`` yields ``a`` and ``a.b``."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef):
            inner = Source(source.path, source.module, "", ast.Module(node.body, []))
            yield from imports(inner, top_only=False)


def reasons(sources: list[Source]) -> dict[str, set[str]]:
    """Tell for each module that imports something late for which reasons it does."""
    known = {source.module for source in sources}
    circle_of = {name: circle for circle in circles(sources) for name in circle}
    found: dict[str, set[str]] = {}
    for source in sources:
        for name, _ in late_imports(source):
            top = name.partition(".")[0]
            if top in OURS:
                module = _module(name, known)
                closes = module != source.module and module in circle_of.get(source.module, ())
                reason = CIRCLE if closes else START_UP
            else:
                always = top in REQUIRED or top in sys.stdlib_module_names
                reason = START_UP if always else OPTIONAL
            found.setdefault(source.module, set()).add(reason)
    return found


def circles(sources: list[Source]) -> list[list[str]]:
    """Find the groups of modules that import each other, by any kind of import."""
    known = {source.module for source in sources}
    edges: dict[str, list[str]] = {}
    for source in sources:
        names = {_module(name, known) for name, _ in imports(source, top_only=False)}
        edges[source.module] = sorted(
            name for name in names - {"", source.module} if not within(source.module, name)
        )
    reach = {name: _reachable(name, edges) for name in edges}
    found = {
        tuple(sorted(other for other in reach[name] if name in reach[other]))
        for name in edges
        if name in reach[name]
    }
    return [list(circle) for circle in sorted(found)]


def _module(name: str, known: set[str]) -> str:
    """Return the module that a dotted name is in; empty: none of ours."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def _reachable(start: str, edges: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(edges[name])
    return found
