"""Names that are defined and that nothing uses: what a release would drag along for ever.

A name counts as used where anything in the three packages reads it, whoever defines it: the check
is by spelling, so it never refuses what is used, and may miss what only shares a name. Excepted by
rule are what ``flow`` exports with its public attributes, examples, names of Luigi's, what
overrides something of another library, commands (click registers them), and fields of messages,
which the other side reads or ``--json`` shows.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

from tests.support.house_rules import Source

#: A longer text is no list of names.
WORDS_CHARACTERS_MAX = 60
EXEMPT_MODULES = ("flow.examples", "flow.contrib")
OURS = ("flow", "flow_coordinator", "flow_worker")


def dead_names(sources: list[Source]) -> Iterator[str]:
    """Yield ``module:Class.name`` of all that nothing uses."""
    used = {name for source in sources for name in _used(source)}
    for source in sources:
        if source.module.startswith(EXEMPT_MODULES):
            continue
        for name, node, owner in _defined(source.tree.body, ""):
            if name in used or re.fullmatch(r"__\w+__", name) or name in luigi_names():
                continue
            if not (_is_command(node) or _is_public(owner, name) or _is_told(source, owner, name)):
                yield f"{source.module}:{owner}{'.' if owner else ''}{name}"


def _used(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]
        elif isinstance(node, ast.MatchClass):
            yield from node.kwd_attrs
        elif isinstance(node, ast.Constant) and _is_short(node.value):
            yield from re.findall(r"[A-Za-z_]\w*", node.value)


def _is_short(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= WORDS_CHARACTERS_MAX


def _defined(body: list[ast.stmt], owner: str) -> Iterator[tuple[str, ast.stmt, str]]:
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node, owner
        elif isinstance(node, ast.ClassDef):
            yield node.name, node, owner
            yield from _defined(node.body, f"{owner}.{node.name}" if owner else node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for each in ast.walk(target):
                    if isinstance(each, ast.Name):
                        yield each.id, node, owner
        elif isinstance(node, ast.If | ast.Try):
            yield from _defined([*node.body, *node.orelse], owner)


def _is_command(node: ast.stmt) -> bool:
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any(".command(" in ast.unparse(each) for each in decorators)


def _is_public(owner: str, name: str) -> bool:
    """Tell whether a class that ``flow`` exports has this for its users."""
    import flow

    return not name.startswith("_") and owner.partition(".")[0] in flow.__all__


def _is_told(source: Source, owner: str, name: str) -> bool:
    """Tell whether another library calls it, or the other side of a connection reads it."""
    if not owner or importlib.util.find_spec(source.module) is None:
        return False
    cls: Any = importlib.import_module(source.module)
    for each in owner.split("."):
        cls = getattr(cls, each, None)
    if source.module.startswith("flow.wire.messages."):
        return name in getattr(cls, "__struct_fields__", ())
    bases = getattr(cls, "__mro__", ())
    return any(
        name in vars(base) for base in bases if base.__module__.partition(".")[0] not in OURS
    )


@functools.cache
def luigi_names() -> frozenset[str]:
    """Return every name that Luigi defines: programs written for it use them."""
    import luigi

    folder = Path(str(luigi.__file__)).parent
    trees = [ast.parse(path.read_text()) for path in sorted(folder.rglob("*.py"))]
    return frozenset(name for tree in trees for name, _, _ in _defined(tree.body, ""))
