"""The house rules as functions: one parsed file in, complaints out."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import msgspec

REPOSITORY = Path(__file__).parents[2]
SOURCE_FOLDERS = ("common", "coordinator", "worker")
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70

#: All a core may know of the standard library; ``Random`` only as a type.
CORE_STDLIB = {
    *("__future__", "collections", "collections.abc", "dataclasses", "enum", "heapq"),
    *("itertools", "math", "random", "typing", "msgspec"),
}
#: All a core may know of flow besides itself.
CORE_FLOW = {
    *("flow.errors", "flow.wire.ids", "flow.wire.messages", "flow.wire.moves"),
    *("flow.wire.params", "flow.wire.resources", "flow.wire.states"),
    # the vocabulary between an agent and its own task processes
    *("flow_worker.channel", "flow_worker"),
}
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}
#: What users do with pickle themselves; flow never does. And code, which is executed anyway.
PICKLE_USERS = {
    "flow_worker.process.compiled": "code is kept compiled where nobody else can write",
    "flow.artifacts.contents": "an artifact whose suffix the user chose",
    "tests.unit.worker.test_sources": "compiled code that is damaged or somebody else's",
    "tests.unit.authoring.test_authoring_task": "tasks can be pickled by whoever wants to",
}
#: Where ``except Exception`` (or wider) may swallow, and why. Elsewhere it must raise again.
BROAD_HANDLERS = {
    "flow.modules.blame": "texts of user errors are built by user code",
    "flow.local.children": "what a child did wrong must not hide what the parent does",
    "flow.cli.clean": "requires(), output() and remove() are user code",
    "flow.guarded": "the last place: every error becomes a sentence and an exit code",
    "flow.local.listing": "serialize() may be a user's",
    "flow.usercode.completeness": "complete() is user code",
    "flow.events": "a handler is user code",
    "flow.local.execution": "run() is user code; the error is handed to the calling thread",
    "flow.usercode.exploring": "requires() and output() are user code",
    "flow.local.observing": "parameters and constructors are user code",
    "flow.dialects.luigi_markers": "drivers of databases raise what they like",
    "flow.dialects.luigi_tasks": "parse(), normalize() and serialize() may be a user's",
    "flow.parameters.errors": "repr() of a user's object",
    "flow.parameters.signature": "parse(), normalize() and serialize() may be a user's",
    "flow.targets.remote_files": "drivers raise what they like about a directory that is there",
    "flow.targets.atomic": "a format's close() may be a user's, and must not hide the first error",
    "flow.targets.pipes": "what a program writes goes to a stream that may be of any kind",
    "flow.usercode.tasklogs": "what is logged, and handlers in a config, are user code",
    "flow_worker.process.attempt": "run(), complete() and output() are user code",
    "flow_worker.guard.birth": "the top of a forked child: it must never return",
    "flow_worker.process.failure": "texts of user errors are built by user code",
    "flow_worker.planner.policies": "output() is user code",
    "flow_worker.planner.walk": "requires() and constructors are user code",
    "flow_worker.planner.removal": "output(), constructors and stores are user code",
    "flow_worker.process.surroundings": "handlers, filters and loops are objects of users",
    "flow_worker.process.runner": "modules and constructors are user code",
}
#: Numbers whose names carry neither unit nor counted thing, with what they are.
NAMES_OF_NUMBERS = {
    "_KEEP_SIZE_PUNCH_HOLE": "flags of a system call",
    "SAMPLE": "tasks",
    "SLICE": "requirements",
}
UNITS = {"S", "MS", "NS", "KIB", "MIB", "GIB"}
LIMITS = {"MAX", "MIN"}
DIMENSIONLESS = {"SHARE", "WEIGHT", "SIMILARITY", "JITTER", "EPSILON", "LIMIT", "EVERY", "ERROR"}
IDENTIFIERS = {"MAGIC", "MASK", "ID", "PORT", "EXIT", "PR", "NO", "PROCESS", "VERSION"}
FIELDS_OF_COUNTS = {"slots", "planners", "count", "capacity", "port"}


#: The rooms of the worker: what each may import of the others, even late. ``core``: its own rule.
WORKER_ROOMS: dict[str, tuple[str, ...]] = {
    "shell": (
        "channel",
        "core",
        "guard.control",
        "guard.kill",
        "guard.marker",
        "process.output",
        "process.shelf",
        "process.slip",
    ),
    "guard": ("capacity", "channel", "process", "core.config", "shell.nursery"),
    "process": (
        "capacity",
        "channel",
        "planner",
        "guard.birth",
        "guard.brood",
        "guard.control",
        "guard.kill",
        "guard.marker",
    ),
    "planner": ("channel", "process"),
    "channel": (),
    "capacity": (),
}
#: Only this module of the guard knows the agent.
KNOWS_THE_AGENT = "flow_worker.guard.supervisor"


class Source(msgspec.Struct):
    """One parsed file. ``module`` is its importable name, ``path`` starts at the repository."""

    path: str
    module: str
    text: str
    tree: ast.Module
    #: every node of the tree, found once for all rules
    nodes: list[ast.AST]

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")


def parse(path: str, text: str) -> Source:
    """Make the source of a file of this repository, whether it exists or not."""
    parts = Path(path).with_suffix("").parts
    if parts[0] in SOURCE_FOLDERS:
        parts = parts[1:]
    if parts[-1] == "__init__":
        parts = parts[:-1]
    tree = ast.parse(text, path)
    return Source(path, ".".join(parts), text, tree, list(ast.walk(tree)))


def read_all(*folders: str) -> list[Source]:
    """Read every Python file of these folders."""
    return [
        _read(path) for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))
    ]


@functools.cache
def _read(path: Path) -> Source:
    """Parse a file once a process: many rules look at it."""
    return parse(str(path.relative_to(REPOSITORY)), path.read_text("utf-8"))


# --------------------------------------------------------------------------------------- imports


def imports(source: Source, *, top_only: bool) -> Iterator[tuple[str, int]]:
    """Yield imported modules with lines; ``from a import b`` yields ``a`` and ``a.b``.

    ``top_only`` leaves out what functions and ``if TYPE_CHECKING`` import.
    """
    for node in _statements(source.tree, top_only):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                kept = source.module.split(".")
                kept = kept[: len(kept) - node.level + source.is_package]
                base = ".".join([*kept, base]) if base else ".".join(kept)
            yield base, node.lineno
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def _statements(node: ast.AST, top_only: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if top_only:
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                yield from (each for part in child.orelse for each in _statements(part, top_only))
                continue
        yield child
        yield from _statements(child, top_only)


def within(name: str, *packages: str) -> bool:
    """Tell whether a module is one of these or inside one."""
    return any(name == each or name.startswith(f"{each}.") for each in packages)


def check_import_table(source: Source) -> Iterator[str]:
    """Keep the sides apart, the store from everything, and ZeroMQ in one module."""
    store = within(source.module, "flow_coordinator.store")
    for name, line in imports(source, top_only=False):
        if store and within(
            name, "flow.wire.messages", "flow_coordinator.core", "flow_coordinator.shell"
        ):
            yield f"{source.path}:{line} imports {name} into the store"
        if within(name, "zmq") and source.module != "flow.wire.transport":
            yield f"{source.path}:{line} imports zmq outside flow.wire.transport"


def check_core_purity(source: Source) -> Iterator[str]:
    """Apply the list of what a core may import."""
    side = source.module.split(".")[0]
    if not within(source.module, f"{side}.core"):
        return
    for node in source.nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module == "random" and [alias.name for alias in node.names] != ["Random"]:
                yield f"{source.path}:{node.lineno} imports more of random than the type"
            if node.module == "flow_worker" and [one.name for one in node.names] != ["channel"]:
                yield f"{source.path}:{node.lineno} imports more of the worker than its channel"
        else:
            continue
        for name in names:
            allowed = name in CORE_STDLIB or name in CORE_FLOW
            if not (allowed or within(name, "flow.wire.messages", f"{side}.core")):
                yield f"{source.path}:{node.lineno} imports {name} into a core"
            if name == "random" and isinstance(node, ast.Import):
                yield f"{source.path}:{node.lineno} imports random, not only its type"


def check_worker_rooms(source: Source) -> Iterator[str]:
    """Apply the table of what the rooms of the worker may import of each other."""
    top, _, rest = source.module.partition(".")
    room = rest.split(".")[0]
    if top != "flow_worker" or room not in WORKER_ROOMS:
        return
    allowed = tuple(f"flow_worker.{each}" for each in (room, *WORKER_ROOMS[room]))
    for node in ast.walk(source.tree):
        for name in _imported(node):
            of_agent = within(name, "flow_worker.core", "flow_worker.shell") and room == "guard"
            if within(name, "flow_worker") and not within(name, *allowed):
                yield f"{source.path}:{node.lineno} imports {name} into {room}"
            elif of_agent and source.module != KNOWS_THE_AGENT:
                yield f"{source.path}:{node.lineno} imports {name}: only the supervisor may"


def _imported(node: ast.AST) -> list[str]:
    """Name the modules that one statement imports, as far as it says which they are."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        if node.module.count(".") > 1 or not within(node.module, "flow_worker"):
            return [node.module]
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def find_twins(sources: list[Source]) -> list[str]:
    """List public classes of one name in two modules; those inside functions are nobody else's."""
    homes: dict[str, list[str]] = {}
    for source in sources:
        for node in source.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(source.module)
    return [f"{name} in {', '.join(where)}" for name, where in homes.items() if len(where) > 1]


# ------------------------------------------------------------------------------------ statements


def check_size(source: Source) -> Iterator[str]:
    """Bound files and functions."""
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{source.path} has {lines} lines"
    for node in source.nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield f"{source.path}:{node.lineno} {node.name} has {length} lines"


def check_pickle(source: Source) -> Iterator[str]:
    """No bytes that run code when they are read."""
    for name, line in imports(source, top_only=False):
        if name.split(".")[0] in PICKLES and source.module not in PICKLE_USERS:
            yield f"{source.path}:{line} imports {name}"


def check_handlers(source: Source) -> Iterator[str]:
    """No bare ``except``; wide ones only where allowed, or to clean up and raise."""
    for node in source.nodes:
        if not isinstance(node, ast.ExceptHandler):
            continue
        if node.type is None:
            yield f"{source.path}:{node.lineno} bare except"
        names = {each.id for each in ast.walk(node.type or node) if isinstance(each, ast.Name)}
        wide = node.type is not None and names & {"Exception", "BaseException"}
        raises = isinstance(node.body[-1], ast.Raise)
        if wide and not raises and source.module not in BROAD_HANDLERS:
            yield f"{source.path}:{node.lineno} swallows every error"


def check_sleep(source: Source) -> Iterator[str]:
    """Only shells wait, and they wait for something."""
    if ".shell" in source.module:
        return
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep":
            yield f"{source.path}:{node.lineno} time.sleep"
    for name, line in imports(source, top_only=False):
        if name == "time.sleep":
            yield f"{source.path}:{line} from time import sleep"


def check_asyncio(source: Source) -> Iterator[str]:
    """The engine's loops are loops; the page is another process."""
    if within(source.module, "flow_coordinator.web"):
        return
    for name, line in imports(source, top_only=False):
        if within(name, "asyncio", "trio", "anyio"):
            yield f"{source.path}:{line} imports {name}"


# ----------------------------------------------------------------------------------------- names


def check_number_names(source: Source) -> Iterator[str]:
    """A constant number says its unit, or what it counts, or that it is a limit."""
    for node in source.tree.body:
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        else:
            continue
        assert node.value is not None
        number = constant_number(node.value)
        for target in targets:
            if number is None or not isinstance(target, ast.Name) or not target.id.isupper():
                continue
            if not says_unit(target.id, number):
                yield f"{source.path}:{node.lineno} {target.id} = {number}: of what?"


def constant_number(node: ast.expr) -> int | float | None:
    """Compute an expression of literal numbers; None for anything else."""
    allowed = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
    if not all(isinstance(each, allowed) for each in ast.walk(node)):
        return None
    value = eval(compile(ast.Expression(node), "<constant>", "eval"), {"__builtins__": {}})
    return value if type(value) in (int, float) else None


def says_unit(name: str, number: int | float) -> bool:
    """Tell whether a constant's name is enough to know what the number means."""
    words = set(name.strip("_").split("_"))
    if name in NAMES_OF_NUMBERS or words & (UNITS | DIMENSIONLESS):
        return True
    if isinstance(number, float):
        return False
    plural = any(len(word) > 2 and word.endswith("S") for word in words)
    return plural or bool(words & (LIMITS | IDENTIFIERS))


def check_settings_names(source: Source) -> Iterator[str]:
    """A setting that is a number ends in its unit, or names what it counts."""
    for node in source.nodes:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        kinds = {each.id for each in ast.walk(node.annotation) if isinstance(each, ast.Name)}
        name = node.target.id
        in_class = name.islower() and not kinds & {"dict", "tuple"}
        if not in_class or not kinds & {"float", "int", "Seconds", "Count", "CountFromOne"}:
            continue
        words = set(name.split("_"))
        ends = name.endswith(("_s", "_ms", "_bytes", "_max", "_min"))
        if not ends and name not in FIELDS_OF_COUNTS and not words & {"count", "jitter", "pid"}:
            yield f"{source.path}:{node.lineno} {name}: in what unit?"


def check_docstrings(source: Source) -> Iterator[str]:
    """Public names are documented; a method is, unless a base or a protocol says what it means."""
    if not ast.get_docstring(source.tree):
        yield f"{source.path} has no docstring"
    yield from _undocumented(source, source.tree.body, inherits=False)


@functools.cache
def protocol_methods() -> frozenset[str]:
    """Collect what the protocols of the three packages define and document."""
    return frozenset(
        method.name
        for source in read_all(*SOURCE_FOLDERS)
        for node in source.tree.body
        if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
        for method in node.body
        if isinstance(method, ast.FunctionDef) and ast.get_docstring(method)
    )


def _undocumented(
    source: Source, body: list[ast.stmt], *, inherits: bool, protocol: frozenset[str] = frozenset()
) -> Iterator[str]:
    for node in body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if node.name.startswith("_"):
            continue
        is_class = isinstance(node, ast.ClassDef)
        decorators = {ast.unparse(each) for each in node.decorator_list}
        exempt = not is_class and (
            inherits
            or node.name in protocol
            or "overload" in decorators
            or f"{node.name}.setter" in decorators
        )
        if not exempt and not ast.get_docstring(node):
            yield f"{source.path}:{node.lineno} {node.name} has no docstring"
        if isinstance(node, ast.ClassDef):
            inherits = bool(node.bases) and "Protocol" not in map(ast.unparse, node.bases)
            protocol = protocol_methods()
            yield from _undocumented(source, node.body, inherits=inherits, protocol=protocol)
