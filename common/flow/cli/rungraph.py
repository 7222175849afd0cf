"""The graph of a run as its coordinator tells it: families with their counts, or some tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flow.cli.graphtext import TREE_DEPTH_MAX, Box, dot, mermaid, tree
from flow.client.board import FAILED, RETRYING, RUNNING, SKIPPED
from flow.client.output import plain, say
from flow.client.summary import duration
from flow.visible import printable

if TYPE_CHECKING:
    from flow.wire.messages.client import Graph, GraphNode


class _Kind(NamedTuple):
    """States that are counted as one. ``word``: where all tasks of a family are of it."""

    word: str
    mark: str
    colour: str
    labels: tuple[str, ...]


_KINDS: Final = (
    _Kind("done", "✓", "COMPLETE", ("done", "complete")),
    _Kind("running", "▶", "RUNNING", RUNNING),
    _Kind("suspended", "‖", "RUNNING", ("suspended",)),
    _Kind("retrying", "↻", "RUNNING", RETRYING),
    _Kind("failed", "✗", "FAILED", FAILED),
    _Kind("missing", "?", "MISSING", ("missing", "external")),
    _Kind("not run", "-", "MISSING", SKIPPED),
    _Kind("waiting", "·", "PENDING", ("ready", "pending", "unplanned")),
)
#: What decides the colour of a family, first that it has.
_COLOURS: Final = ("FAILED", "MISSING", "RUNNING", "PENDING", "COMPLETE")


def write(graph: Graph, form: str, *, families: bool, depth_given: bool = False) -> str:
    """Write the graph in one of the forms."""
    if form == "json":
        return json.dumps(_fields(graph, families=families), indent=2)
    boxes = [_box(node, families=families) for node in graph.nodes]
    if form == "dot":
        return "\n".join(dot(boxes))
    if form == "mermaid":
        return "\n".join(mermaid(boxes))
    for box, node in zip(boxes, graph.nodes, strict=True):
        box.notes = []
        if families:
            box.title = f"{node.name}  {sum(node.counts.values())}"
    circle = "(of its own family, too)" if families else "<- a circle"
    lines = tree(boxes, graph.roots, circle, 10**9 if depth_given else TREE_DEPTH_MAX)
    width = max((len(title) for title, said in lines if said), default=0)
    return "\n".join(f"{title.ljust(width)}  {said}".rstrip() for title, said in lines)


def remark(graph: Graph, *, families: bool) -> None:
    """Say on stderr what the graph itself does not show."""
    called = f"{graph.run} {graph.name}"
    if not graph.nodes:
        known = "is not planned yet" if graph.planning else "ended before anything was planned"
        say(f"{called} {known}")
    elif graph.planning:
        say(f"{called} is still being planned")
    if graph.waiting:
        say(printable("waiting for: " + "; ".join(graph.waiting)))
    if graph.more:
        whole = len(graph.nodes) + graph.more
        say(f"and {graph.more} more {'family' if graph.more == 1 else 'families'}: --limit {whole}")
    elif not families and any(node.more for node in graph.nodes):
        say("Where it says more: --depth N, --limit N, or another TASK shows it")
    for note in graph.notes:
        say(printable(note))


def _box(node: GraphNode, *, families: bool) -> Box:
    kinds = _kinds(node)
    colours = [kind.colour for kind, _ in kinds]
    colour = next((each for each in _COLOURS if each in colours), "PENDING")
    said = _family_said(node) if families else _task_said(node)
    count = sum(node.counts.values())
    title = f"{node.name} x {count}" if families else node.name
    # drawings have room for what the tree has at the end of its line
    return Box(node.name, title, colour, node.requires, {}, [said], said=said)


def _kinds(node: GraphNode) -> list[tuple[_Kind, int]]:
    counted = [(kind, sum(node.counts.get(each, 0) for each in kind.labels)) for kind in _KINDS]
    return [(kind, count) for kind, count in counted if count]


def _family_said(node: GraphNode) -> str:
    kinds = _kinds(node)
    if len(kinds) == 1:
        kind = kinds[0][0]
        word = "complete" if list(node.counts) == ["complete"] else kind.word
        text = word if kind.word == "waiting" else f"{kind.mark} {word}"
    else:
        text = " ".join(f"{kind.mark}{count}" for kind, count in kinds)
    about = [f"~{_spell(node.run_s)} each"] if node.run_s >= 0 else []
    about += [each if each.startswith("needs ") else f"waits for {each}" for each in node.reasons]
    about += [f"{node.more} more below"] if node.more else []
    return text + ("   " + ", ".join(about) if about else "")


def _task_said(node: GraphNode) -> str:
    kinds = _kinds(node)
    state = next(iter(node.counts), "")
    waits = not kinds or kinds[0][0].word == "waiting"
    text = state if waits else f"{kinds[0][0].mark} {state}"
    about = [*node.reasons, *([f"{node.more} more below"] if node.more else [])]
    return text + ("   " + ", ".join(about) if about else "")


def _spell(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else f"{max(1, round(seconds * 1000))} ms"


def _fields(graph: Graph, *, families: bool) -> dict[str, Any]:
    nodes = []
    for node in graph.nodes:
        told: dict[str, Any]
        if families:
            told = {"family": node.name, "counts": node.counts}
            told["requires"] = [graph.nodes[each].name for each in node.requires]
            told["run_s"] = node.run_s if node.run_s >= 0 else None
        else:
            told = {"id": node.task_id, "task": node.name, "family": node.family}
            told["state"] = next(iter(node.counts), "")
            told["requires"] = [graph.nodes[each].task_id for each in node.requires]
        nodes.append({**told, "reasons": node.reasons, "more": node.more})
    named = "families" if families else "tasks"
    key = "family" if families else "id"
    head = {name: each for name, each in plain(graph).items() if name not in ("nodes", "roots")}
    return {**head, "roots": [nodes[each][key] for each in graph.roots], named: nodes}
