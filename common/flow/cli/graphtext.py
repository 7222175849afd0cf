"""A graph of tasks as a tree, as dot, as mermaid, as JSON; task by task or family by family.

Used for what a module says (``exploring``), and for what a coordinator says (``rungraph``).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from flow.usercode.exploring import STATES, ExploredGraph, outputs_of
from flow.visible import printable

#: A tree this deep is cut unless a depth was asked for: its lines would be indentation only.
TREE_DEPTH_MAX: Final = 60
_COLOURS: Final = {
    "COMPLETE": "#b7e1b0",
    "PENDING": "#cfe2f9",
    "MISSING": "#f9e2a6",
    "BROKEN": "#f4b6b6",
    "RUNNING": "#fff3b0",
    "FAILED": "#f4b6b6",
}


@dataclass(slots=True)
class Box:
    """What is drawn as one thing: a task or a family. ``below`` are indices of other boxes."""

    name: str
    title: str
    state: str
    below: list[int]
    fields: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    more: bool = False  #: it was not asked what it requires
    said: str = ""  #: what the tree says of it; empty: its state


@dataclass(slots=True)
class Shown:
    """A graph, and how much of it is to be shown."""

    graph: ExploredGraph
    kept: set[int]
    families: bool = False
    outputs: bool = False
    depth_given: bool = False


def write(shown: Shown, form: str) -> str:
    """Write the graph in one of the forms."""
    boxes = _families(shown) if shown.families else _tasks(shown)
    if form == "json":
        return _json(shown, boxes)
    if form == "dot":
        return "\n".join(dot(boxes))
    if form == "mermaid":
        return "\n".join(mermaid(boxes))
    circle = "(of its own family, too)" if shown.families else "<- a circle: it requires itself"
    lines = tree(boxes, [0], circle, 10**9 if shown.depth_given else TREE_DEPTH_MAX)
    return "\n".join("  ".join(filter(None, line)) for line in lines)


# ------------------------------------------------------------------------------- what is drawn


def _tasks(shown: Shown) -> list[Box]:
    nodes = shown.graph.nodes
    order = [index for index in range(len(nodes)) if index in shown.kept]
    number = {index: at for at, index in enumerate(order)}
    boxes = []
    for index in order:
        node = nodes[index]
        outputs = outputs_of(node.task) if shown.outputs else []
        fields = {
            "id": node.task.task_id,
            "family": node.family,
            "params": node.params,
            "state": node.state,
            "requires": [nodes[each].task.task_id for each in node.requires if each in number],
        }
        if shown.outputs:
            fields["outputs"] = outputs
        if node.error:
            fields["error"] = node.error
        boxes.append(
            Box(
                node.task.task_id,
                node.label,
                node.state,
                [number[each] for each in node.requires if each in number],
                fields,
                [*outputs, *([node.error] if node.error else [])],
                more=not node.expanded,
            )
        )
    return boxes


def _families(shown: Shown) -> list[Box]:
    nodes = shown.graph.nodes
    number: dict[str, int] = {}
    boxes: list[Box] = []
    counts: list[Counter[str]] = []
    below: list[dict[int, None]] = []
    for index in sorted(shown.kept):
        family = nodes[index].family
        if number.setdefault(family, len(boxes)) == len(boxes):
            boxes.append(Box(family, family, "", [], {}))
            counts.append(Counter())
            below.append({})
        counts[number[family]][nodes[index].state] += 1
    for index in sorted(shown.kept):
        for each in nodes[index].requires:
            if each in shown.kept:
                below[number[nodes[index].family]][number[nodes[each].family]] = None
    for box, count, children in zip(boxes, counts, below, strict=True):
        box.below = list(children)
        found = {state: count[state] for state in STATES if count[state]}
        box.state = max(found, key=STATES.index)
        box.title = f"{box.name} x {sum(found.values())}"
        if len(found) > 1:
            box.notes = [", ".join(f"{number} {state}" for state, number in found.items())]
        box.fields = {
            "family": box.name,
            "counts": found,
            "requires": [boxes[each].name for each in box.below],
        }
    return boxes


# ------------------------------------------------------------------------------- the forms


def _json(shown: Shown, boxes: Iterable[Box]) -> str:
    name = "families" if shown.families else "tasks"
    nodes = shown.graph.nodes
    cycles = [[nodes[each].task.task_id for each in cycle] for cycle in shown.graph.cycles()]
    whole = {"root": nodes[0].task.task_id, name: [box.fields for box in boxes], "cycles": cycles}
    return json.dumps(whole, indent=2)


def tree(
    boxes: list[Box], roots: list[int], circle: str, depth_max: int = TREE_DEPTH_MAX
) -> list[tuple[str, str]]:
    """Draw each box once; where it comes again, say that it is above.

    Returns:
        Lines in two columns: the branches and a title, and what is said of it.
    """
    lines: list[tuple[str, str]] = []
    drawn: set[int] = set()
    path: list[int] = []
    #: (box, what stands before its children, its own branch, steps below the root)
    stack = [(root, "", "", 0) for root in reversed(roots)]
    while stack:
        index, before, branch, depth = stack.pop()
        box = boxes[index]
        del path[depth:]
        title, said = before + branch + _flat(box.title), _flat(box.said or box.state)
        if index in path and (box.below or box.more):
            lines.append((title, f"{said}  {circle}"))
            continue
        if index in drawn and box.below:
            lines.append((title, f"{said}  (shown above)"))
            continue
        path.append(index)
        lines.append((title, said + ("  ..." if box.more and not box.below else "")))
        first = index not in drawn
        drawn.add(index)
        inner = before + {"": "", "├── ": "│   ", "└── ": "    "}[branch]
        if first:
            bar = "│   " if box.below and depth < depth_max else "    "
            lines += [(f"{inner}{bar}  {_flat(note)}", "") for note in box.notes]
        if box.below and depth >= depth_max:
            text = f"... more below: --depth {2 * depth_max}, or --format json"
            lines.append((f"{inner}└── {text}", ""))
        elif box.below:
            last = len(box.below) - 1
            stack += [
                (child, inner, "└── " if at == last else "├── ", depth + 1)
                for at, child in reversed(list(enumerate(box.below)))
            ]
    return lines


def _flat(text: str) -> str:
    return printable(text).replace("\n", " ").replace("\t", " ")


def dot(boxes: list[Box]) -> list[str]:
    """Write for ``dot``: arrows go the way data goes."""
    lines = ["digraph flow {", "  rankdir=LR;", "  node [shape=box, style=filled];"]
    for at, box in enumerate(boxes):
        label = "\\n".join(_quoted(each) for each in (box.title, *box.notes))
        lines.append(f'  n{at} [label="{label}", fillcolor="{_COLOURS[box.state]}"];')
    for at, box in enumerate(boxes):
        lines += [f"  n{each} -> n{at};" for each in box.below]
    return [*lines, "}"]


def mermaid(boxes: list[Box]) -> list[str]:
    """Write a flowchart of mermaid."""
    lines = ["graph LR"]
    for at, box in enumerate(boxes):
        label = "<br/>".join(_escaped(each) for each in (box.title, *box.notes))
        lines.append(f'  n{at}["{label}"]:::{box.state.lower()}')
    for at, box in enumerate(boxes):
        lines += [f"  n{each} --> n{at}" for each in box.below]
    colours = [f"  classDef {name.lower()} fill:{each}" for name, each in _COLOURS.items()]
    return [*lines, *colours]


def _quoted(text: str) -> str:
    return _flat(text).replace("\\", "\\\\").replace('"', '\\"')


def _escaped(text: str) -> str:
    text = _flat(text).replace("&", "&amp;").replace("#", "&num;")
    return text.replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
