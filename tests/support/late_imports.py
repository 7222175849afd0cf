"""Imports inside functions, and why they are there.

There are two good reasons: start-up time, and packages that are not always installed. That a circle
would close is none: see ``walls``.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

from tests.support.house_rules import Source, imports

OURS = ("flow", "flow_coordinator", "flow_worker")
#: Installed with flow, always.
REQUIRED = {"click", "msgpack", "msgspec", "platformdirs", "psutil", "rich", "zmq"}
START_UP = "start-up"
OPTIONAL = "optional"


def late_imports(source: Source) -> Iterator[tuple[str, int]]:
    """Yield what functions import, with lines; ``from a import b`` yields ``a`` and ``a.b``."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef):
            body = ast.Module(node.body, [])
            inner = Source(source.path, source.module, "", body, list(ast.walk(body)))
            yield from imports(inner, top_only=False)


def reasons(sources: list[Source]) -> dict[str, set[str]]:
    """Tell for each module that imports something late for which reasons it does."""
    found: dict[str, set[str]] = {}
    for source in sources:
        for name, _ in late_imports(source):
            top = name.partition(".")[0]
            always = top in OURS or top in REQUIRED or top in sys.stdlib_module_names
            found.setdefault(source.module, set()).add(START_UP if always else OPTIONAL)
    return found
