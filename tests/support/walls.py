"""The wings of the packages, and the walls between them: who may import whom.

A wing is a package or a list of modules. It imports itself, the ground, and what the table says:
imports inside functions count, those for type checkers do not. What is not in the table does not
exist: a new module at the root of ``flow`` must be given a place here.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator

from tests.support.house_rules import REPOSITORY, Source, imports, within

#: Leaves on which everything stands: they import nothing of flow but each other.
GROUND = (
    "flow.errors",
    "flow.extras",
    "flow.lazy",
    "flow.room",
    "flow.stdio",
    "flow.visible",
)
#: What authors of pipelines import, and what that stands on.
AUTHOR = (
    "flow.artifacts",
    "flow.date_interval",
    "flow.dynamic",
    "flow.events",
    "flow.identity",
    "flow.modules",
    "flow.parameters",
    "flow.registry",
    "flow.seam",
    "flow.speech",
    "flow.structure",
    "flow.targets",
    "flow.task",
)
#: Names that programs written for Luigi import; nothing else does.
LUIGI_NAMES = (
    "flow.cmdline",
    "flow.configuration",
    "flow.contrib",
    "flow.event",
    "flow.execution_summary",
    "flow.format",
    "flow.freezing",
    "flow.interface",
    "flow.local_target",
    "flow.mock",
    "flow.notifications",
    "flow.parameter",
    "flow.retcodes",
    "flow.target",
    "flow.task_register",
    "flow.tools",
    "flow.util",
)
MAIL = ("flow.addresses", "flow.mail")
#: The light part of the wire: words and amounts, which a task, too, has.
WORDS = ("flow.wire.names", "flow.wire.params", "flow.wire.resources", "flow.wire.states")
#: Wing -> (what it is, what else it imports).
WINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ground": (GROUND, ()),
    "wire": (("flow.wire",), ()),
    "settings": (("flow.settings",), ("flow.wire",)),
    "author": (AUTHOR, ("flow.settings", *WORDS)),
    "usercode": (
        ("flow.usercode",),
        (*AUTHOR, "flow.settings", *WORDS, "flow.wire.messages.shared"),
    ),
    "patterns": (("flow.patterns",), (*AUTHOR, "flow.usercode")),
    "dialects": (
        ("flow.dialects",),
        (*AUTHOR, "flow.usercode", "flow.patterns", "flow.settings", *WORDS),
    ),
    "client": (("flow.client",), ("flow.settings", "flow.wire")),
    "local": (
        ("flow.local",),
        (
            *AUTHOR,
            *("flow.client", "flow.dialects", "flow.guarded", "flow.settings", "flow.usercode"),
            "flow.wire",
        ),
    ),
    "cli": (
        ("flow.cli", "flow.__main__"),
        (
            *AUTHOR,
            *("flow.client", "flow.guarded", "flow.local", "flow.settings", "flow.usercode"),
            "flow.wire",
        ),
    ),
    "guarded": (("flow.guarded",), ()),
    "logs": (("flow.logs",), ()),
    "mail": (MAIL, ("flow.settings",)),
    "as main": (("flow.as_main",), ()),
    "face": (("flow", "flow.mypy", "flow.testing"), ("flow",)),
    "examples": (("flow.examples",), ("flow",)),
    "luigi names": (LUIGI_NAMES, ("flow",)),
    "coordinator": (
        ("flow_coordinator",),
        ("flow.wire", "flow.settings", "flow.guarded", "flow.logs", *MAIL),
    ),
    "worker": (
        ("flow_worker",),
        (*AUTHOR, "flow.guarded", "flow.logs", "flow.settings", "flow.usercode", "flow.wire"),
    ),
}
#: Wings whose packages are named whole; in the others a name is that very module.
_EXACT = ("flow",)


def wing_of(module: str) -> str:
    """Return the wing of a module: of several that hold it, the narrowest."""
    found = [
        (len(each), wing)
        for wing, (modules, _) in WINGS.items()
        for each in modules
        if module == each or (each not in _EXACT and within(module, each))
    ]
    if not found:
        raise KeyError(f"{module} is in no wing: give it a place in tests/support/walls.py")
    return max(found)[1]


def check_walls(source: Source) -> Iterator[str]:
    """Apply the table."""
    wing = wing_of(source.module)
    own, others = WINGS[wing]
    for name, line in running_imports(source):
        if within(name, "luigi", "gokart") and wing != "dialects":
            yield f"{source.path}:{line} imports {name} outside flow.dialects"
        if name.partition(".")[0] not in ("flow", "flow_coordinator", "flow_worker"):
            continue
        if within(name, *LUIGI_NAMES) and wing not in ("luigi names", "face"):
            yield f"{source.path}:{line} imports {name}, a name for Luigi's users"
        elif not within(name, *own, *others, *GROUND):
            yield f"{source.path}:{line} imports {name} through the wall of {wing}"


def running_imports(source: Source) -> Iterator[tuple[str, int]]:
    """Yield what a program imports sooner or later: late ones too, not those for type checkers.

    ``from a import b`` yields ``a.b`` where that is a module, else ``a``.
    """
    for_typing = {
        id(each)
        for node in source.nodes
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for part in node.body
        for each in ast.walk(part)
    }
    for node in source.nodes:
        if id(node) in for_typing:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if is_module(inner) else node.module), node.lineno


@functools.cache
def is_module(name: str) -> bool:
    """Tell whether a dotted name is a module of the three packages."""
    folder = {"flow": "common", "flow_coordinator": "coordinator", "flow_worker": "worker"}.get(
        name.partition(".")[0]
    )
    if folder is None:
        return False
    path = REPOSITORY.joinpath(folder, *name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def circles(sources: list[Source], *, typing: bool) -> list[list[str]]:
    """Return the groups of modules that import each other, sorted; ``typing``: also for checkers.

    A package that only hands on names of its modules is no part of a circle.
    """
    known = {source.module: source for source in sources}
    edges: dict[str, list[str]] = {}
    for name, source in known.items():
        found = imports(source, top_only=False) if typing else running_imports(source)
        edges[name] = sorted(
            {each for each, _ in found if each in known and not known[each].is_package} - {name}
        )
    return sorted(sorted(group) for group in _strong(edges) if len(group) > 1)


def _strong(edges: dict[str, list[str]]) -> Iterator[set[str]]:
    """Yield the strongly connected groups of a graph: Tarjan's algorithm, without recursion."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    open_: list[str] = []
    for start in edges:
        work = [(start, iter(edges[start]))] if start not in number else []
        for name, _ in work:
            number[name] = low[name] = len(number)
            open_.append(name)
        while work:
            name, rest = work[-1]
            for each in rest:
                if each not in number:
                    number[each] = low[each] = len(number)
                    open_.append(each)
                    work.append((each, iter(edges[each])))
                    break
                if each in open_:
                    low[name] = min(low[name], number[each])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == number[name]:
                    at = open_.index(name)
                    yield set(open_[at:])
                    del open_[at:]
