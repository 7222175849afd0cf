"""Seeded synthetic workflows: which tasks exist, what they require, and how they behave.

A node is a task of user code as the planner and the runner would meet it. Everything that a run
should come to can be computed from the nodes alone (``doomed``), which is what makes a lost or a
wrongly failed task visible.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from flow.wire.messages.shared import Policy, Stub
from flow.wire.params import pack_params

MODULE = "sim"
#: Another module with some of the same families: what is there may have the id of a task of ours.
TWIN_MODULE = "sim2"
#: Twins of one workflow.
TWINS_MAX = 3
#: Cluster-wide limits and per-worker capacities the worlds are built with.
LIMITS = {"db": 2.0, "api": 1.0}
CAPACITY = {"gpu": 1.0}
NEVER = float("inf")
#: Tasks whose output is temporary.
TEMPORARY_SHARE = 0.15


@dataclass(eq=False)
class Node:
    """One task. Counters with ``_left`` fall as it executes."""

    #: its name among all nodes: its id on the wire, for those of the other module with that
    task_id: str
    family: str
    params: dict[str, str]
    seconds: float = 0.05
    requires: list[Node] = field(default_factory=list)
    policy: Policy = field(default_factory=Policy)
    #: rounds of tasks that run() yields
    yields: list[list[Node]] = field(default_factory=list)
    fails_left: float = 0
    crashes_left: float = 0
    exits_left: float = 0
    hangs_left: float = 0
    #: an external task that appears at this true time
    appears_at: float | None = None
    #: kind of PlanError it raises
    plan_error: str = ""
    in_cycle: bool = False
    #: its target exists
    complete: bool = False
    #: ... by the attempt of this token, and by a copy that had slept and was not killed yet
    made_by: str = ""
    late: bool = False
    #: no run can ever make it complete
    broken: bool = False
    #: how often its process died under it; three times rightly disable it
    deaths: int = 0
    ignores_term: bool = False
    #: it says how far it is, now and then
    talks: bool = False
    #: what it gives back while it runs
    given_back: dict[str, float] = field(default_factory=dict)
    #: the task of the other module that has the same id
    twin: Node | None = None
    _stub: Stub | None = None

    @property
    def stub(self) -> Stub:
        """How it is named on the wire."""
        if self._stub is None:
            params = pack_params(self.params)
            wire_id, _, module = self.task_id.partition("@")
            self._stub = Stub(wire_id, module or MODULE, self.family, params)
        return self._stub

    @property
    def typed(self) -> str:
        """What somebody types who means this one."""
        return f"{self.stub.task_id} of {self.stub.module}" if self.twin else self.task_id

    def after(self) -> Iterator[Node]:
        """Walk what must be complete before it is: requirements and yields."""
        yield from self.requires
        for nodes in self.yields:
            yield from nodes


@dataclass
class Graph:
    """One workflow; ``tops`` can be submitted."""

    number: int
    nodes: list[Node] = field(default_factory=list)
    tops: list[Node] = field(default_factory=list)

    def add(self, rng: random.Random, family: str) -> Node:
        """Make one more task."""
        at = f"{self.number}.{len(self.nodes)}"
        node = Node(f"{family}_{at}", family, {"at": at})
        node.seconds = rng.choice((0.0, 0.001, 0.01, 0.05, 0.3, 2.0, rng.random() * 25.0))
        self.nodes.append(node)
        return node


def name_of(module: str, family: str, params: bytes) -> str:
    """Say what a task is called among all nodes, from what a message says of it."""
    at = msgspec.msgpack.decode(params).get("at")
    return f"{family}_{at}" if module == MODULE else f"{family}_{at}@{module}"


def reach(top: Node) -> list[Node]:
    """Walk everything below ``top``, itself first."""
    seen = {top.task_id: top}
    queue = [top]
    for node in queue:
        for below in node.after():
            if below.task_id not in seen:
                seen[below.task_id] = below
                queue.append(below)
    return list(seen.values())


def doomed(top: Node) -> bool:
    """Whether no run of ``top`` can succeed. Ask before anything ran."""
    return any(node.broken for node in reach(top))


_FAMILIES = ("Load", "Clean", "Join", "Score", "Report")


def make_graph(number: int, rng: random.Random, size: int, trouble: float, now: float) -> Graph:
    """Draw one workflow of about ``size`` tasks; ``trouble`` is the share of special tasks."""
    graph = Graph(number)
    shape = rng.choice(("chain", "fan", "layers", "diamonds", "random"))
    _SHAPES[shape](graph, rng, size)
    graph.tops.append(graph.nodes[-1])
    extra = [node for node in graph.nodes if node.requires and node is not graph.tops[0]]
    graph.tops += rng.sample(extra, min(len(extra), rng.randrange(3)))
    for node in list(graph.nodes):
        _give_needs(node, rng)
        if rng.random() < trouble:
            _give_trouble(graph, node, rng, now)
    world = str(rng.getstate()[1][:4])
    _give_batches(graph, world)
    _give_twins(graph, world)
    return graph


def _chain(graph: Graph, rng: random.Random, size: int) -> None:
    last: Node | None = None
    for _ in range(max(2, size // 3)):
        node = graph.add(rng, "Chain")
        node.seconds = min(node.seconds, 2.0)
        if last is not None:
            node.requires.append(last)
        last = node


def _fan(graph: Graph, rng: random.Random, size: int) -> None:
    leaves = [graph.add(rng, "Leaf") for _ in range(max(2, size - 1))]
    graph.add(rng, "Top").requires += leaves


def _layers(graph: Graph, rng: random.Random, size: int) -> None:
    width = max(2, int(size**0.5))
    above: list[Node] = []
    for level in range(max(2, size // width)):
        layer = [graph.add(rng, _FAMILIES[level % len(_FAMILIES)]) for _ in range(width)]
        for node in layer:
            node.requires += rng.sample(above, min(3, len(above)))
        above = layer
    graph.add(rng, "Top").requires += above


def _diamonds(graph: Graph, rng: random.Random, size: int) -> None:
    tip = graph.add(rng, "Tip")
    for _ in range(max(1, size // 4)):
        sides = [graph.add(rng, "Side") for _ in range(rng.randrange(2, 4))]
        for side in sides:
            side.requires.append(tip)
        tip = graph.add(rng, "Tip")
        tip.requires += sides


def _random(graph: Graph, rng: random.Random, size: int) -> None:
    for n in range(size):
        node = graph.add(rng, rng.choice(_FAMILIES))
        before = graph.nodes[max(0, n - 12) : n]
        node.requires += rng.sample(before, min(len(before), rng.randrange(4)))
    needed = {id(below) for node in graph.nodes for below in node.requires}
    loose = [node for node in graph.nodes if id(node) not in needed]
    graph.add(rng, "Top").requires += loose


_SHAPES = {
    "chain": _chain,
    "fan": _fan,
    "layers": _layers,
    "diamonds": _diamonds,
    "random": _random,
}


def _give_needs(node: Node, rng: random.Random) -> None:
    """Draw priority, resources, patience and manners."""
    resources: dict[str, float] = {}
    draw = rng.random()
    if draw < 0.10:
        resources["db"] = float(rng.randrange(1, 3))
    elif draw < 0.14:
        resources["api"] = 1.0
    elif draw < 0.20:
        resources["gpu"] = 1.0
    elif draw < 0.23:
        resources = {"db": 1.0, "gpu": 1.0}
    if resources:
        node.seconds = min(node.seconds, 2.0)
    node.talks = rng.random() < 0.2
    if resources and rng.random() < 0.5:
        node.talks = True
        node.given_back = {rng.choice(list(resources)): 1.0}
    node.policy = Policy(
        accepts_messages=rng.random() < 0.2,
        priority=float(rng.choice((0, 0, 0, 0, 1, 5, 50))),
        resources=resources,
        retry_count=20,
        retry_delay_s=rng.choice((0.1, 1.0, 5.0)),
    )
    node.ignores_term = rng.random() < 0.2
    # drawn from its name, so that what else a seed draws does not change
    if random.Random(node.task_id).random() < TEMPORARY_SHARE:
        node.policy = msgspec.structs.replace(node.policy, temporary=True)


def _give_trouble(graph: Graph, node: Node, rng: random.Random, now: float) -> None:
    """Make one task special."""
    draw = rng.random()
    if draw < 0.20:
        node.fails_left = rng.randrange(1, 4)
    elif draw < 0.28:
        node.crashes_left = rng.randrange(1, 3)
    elif draw < 0.34:
        node.exits_left = rng.randrange(1, 3)
    elif draw < 0.42:
        node.hangs_left = rng.randrange(1, 3)
        node.policy = msgspec.structs.replace(node.policy, timeout_s=4.0)
        node.seconds = min(node.seconds, 0.3)
    elif draw < 0.70:
        _give_yields(graph, node, rng)
    elif draw < 0.78 and not node.requires:
        node.appears_at = now + rng.random() * 90.0
    elif draw < 0.86 and not node.requires:
        node.complete = True
    elif draw < 0.90:
        _break(node, rng)


def _give_yields(graph: Graph, node: Node, rng: random.Random) -> None:
    """Yield new tasks, and sometimes tasks that the graph has anyway below this one."""
    for _ in range(rng.randrange(1, 4)):
        nodes = [graph.add(rng, "Dynamic") for _ in range(rng.randrange(1, 5))]
        for new in nodes:
            new.seconds = min(new.seconds, 2.0)
            new.policy = msgspec.structs.replace(node.policy, resources={}, timeout_s=None)
        if node.requires and rng.random() < 0.3:
            nodes.append(rng.choice(node.requires))
        if rng.random() < 0.2:
            rng.choice(nodes[:1]).complete = True
        node.yields.append(nodes)


def _give_batches(graph: Graph, world: str) -> None:
    """Let the tasks of a family run as one, in half of all workflows.

    Tasks of several workflows may meet in one batch, so what one comes to must not depend on its
    company: failures are forgiven more often than there can be, and whose yields cannot come true
    stays alone.
    """
    rng = random.Random(f"{world} {graph.number}")
    if rng.random() < 0.5:
        return
    family = rng.choice(sorted({node.family for node in graph.nodes}))
    # what it needs follows from the family, so that workflows share batches
    rng = random.Random(f"{world} {family}")
    most = rng.choice((0, 0, 2, 3, 10))
    resources = rng.choice(({}, {}, {"db": 1.0}, {"gpu": 1.0}, {"api": 1.0}))
    for node in graph.nodes:
        if (
            node.family == family
            and not node.broken
            and not any(
                below.broken for nodes in node.yields for top in nodes for below in reach(top)
            )
        ):
            retry_count = 60 if node.policy.retry_count == 20 else node.policy.retry_count
            node.seconds = min(node.seconds, 2.0)
            node.policy = msgspec.structs.replace(
                node.policy,
                batched=["at"],
                batch_max=most,
                resources=dict(resources),
                retry_count=retry_count,
                retry_delay_s=1.0,
            )


def _give_twins(graph: Graph, world: str) -> None:
    """Let half of all workflows need tasks of another module with the ids of some of theirs.

    Nothing that is yielded needs them, so nobody waits for a twin of its own.
    """
    rng = random.Random(f"twins {world} {graph.number}")
    if rng.random() < 0.5:
        return
    for node in rng.sample(graph.nodes, min(len(graph.nodes), rng.randint(1, TWINS_MAX))):
        if node is graph.tops[0]:
            continue
        twin = Node(f"{node.task_id}@{TWIN_MODULE}", node.family, node.params)
        twin.seconds = rng.choice((0.0, 0.01, 0.3, 2.0))
        twin.policy = Policy(retry_count=20, retry_delay_s=1.0)
        if not node.broken and rng.random() < 0.5:
            twin.policy = msgspec.structs.replace(node.policy, temporary=False, timeout_s=None)
        twin.twin, node.twin = node, twin
        graph.nodes.append(twin)
        graph.tops[0].requires.append(twin)


def _break(node: Node, rng: random.Random) -> None:
    """Make it impossible, in one of the ways users know."""
    node.broken = True
    kind = rng.choice(("fails", "crashes", "import", "requires", "missing", "cycle", "disabled"))
    if kind == "fails":
        node.fails_left = NEVER
        node.policy = msgspec.structs.replace(node.policy, retry_count=rng.randrange(1, 4))
    elif kind == "crashes":
        node.crashes_left = NEVER
    elif kind in ("import", "requires"):
        node.plan_error = kind
    elif kind == "missing" and not node.requires:
        node.appears_at = NEVER
    elif kind == "cycle" and node.requires:
        node.in_cycle = True
        deep = node.requires[0]
        while deep.requires and not deep.in_cycle:
            deep = deep.requires[0]
        deep.requires.append(node)
        deep.in_cycle = True
        deep.complete, deep.appears_at = False, None
    else:
        node.policy = msgspec.structs.replace(node.policy, disabled=True)
