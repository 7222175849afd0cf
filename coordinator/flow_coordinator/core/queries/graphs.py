"""What requires what in a run, for people: its families with their counts, or some of its tasks.

Families and the pairs of them that edges join are counted as tasks are, so that a run of a million
tasks answers as fast as one of ten; tasks are walked from one, a bounded number of them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from flow.wire.messages.client import Graph, GraphNode, ShowGraph
from flow.wire.states import RunState, TaskState
from flow_coordinator.core import explain, runs, tally, twins
from flow_coordinator.core.records import RunRecord, TaskRecord
from flow_coordinator.core.refusal import Refusal
from flow_coordinator.core.state import State
from flow_coordinator.core.values import Peer

#: Nodes of one reply, and requirements looked at for it.
NODES_MAX = 500
EDGES_MAX = 5_000
#: Groups of tasks that wait for a resource, and tasks of each, looked at for what families wait.
GROUPS_MAX = 100
ENTRIES_MAX = 20
#: Reasons of one family, and characters of one.
REASONS_MAX = 3
REASON_CHARACTERS_MAX = 200

_GONE = "what done tasks required is not kept: nothing is shown below them"
_CUT = f"only the first {tally.LINKS_MAX} pairs of families are kept: some lines are missing"

#: Finds the one task that a piece of text means, or raises ``Refusal``.
FindTask = Callable[[str], TaskRecord]


def answer(s: State, peer: Peer, message: ShowGraph, run: RunRecord, find: FindTask) -> None:
    """Send the graph of a run."""
    if message.by not in ("families", "tasks"):
        raise Refusal("a graph is by families or by tasks")
    if message.by == "tasks":
        _answer_tasks(s, peer, message, run, find)
    else:
        _answer_families(s, peer, message, run)


def _send(
    s: State,
    peer: Peer,
    message: ShowGraph,
    run: RunRecord,
    nodes: list[GraphNode],
    roots: list[int],
    *,
    more: int = 0,
    note: str = "",
) -> None:
    open_ = run.state == RunState.RUNNING
    graph = Graph(
        message.request,
        run.id,
        run.name,
        run.state.label,
        open_ and bool(run.unplanned or run.unresolved),
        nodes,
        roots,
        more,
        explain.waiting(s, run) if open_ else [],
        [note] if note else [],
    )
    s.send_now(peer, graph)


def _limit(message: ShowGraph) -> int:
    return max(1, min(message.limit, NODES_MAX))


# ------------------------------------------------------------------------------- families


def _answer_families(s: State, peer: Peer, message: ShowGraph, run: RunRecord) -> None:
    if not run.tallies and run.summary is not None and run.summary.scheduled:
        error = f"the families of {run.id} {run.name} were not kept when it ended"
        raise Refusal(error, f"flow status {run.id}")
    if message.root and message.root not in run.tallies:
        error = f"{run.id} {run.name} has no family {message.root!r}"
        raise Refusal(error, f"flow graph {run.id}")
    below: dict[str, list[str]] = {}
    for upper, lower in run.links:
        below.setdefault(upper, []).append(lower)
    starts = [message.root] if message.root else _tops(run)
    wanted, tops = _walk(below, starts, message.depth)
    order = {family: number for number, family in enumerate(wanted[: _limit(message)])}
    roots = [order[family] for family in tops if family in order]
    waits = _waits(s, run)
    means = {
        family: record.mean_run_s
        for (project, _, family), record in s.families.items()
        if project == run.project
    }
    nodes = []
    left = EDGES_MAX
    for family in order:
        shown = [order[each] for each in below.get(family, ()) if each in order][:left]
        left -= len(shown)
        nodes.append(
            GraphNode(
                family,
                runs.counts(run.tallies[family]),
                shown,
                len(below.get(family, ())) - len(shown),
                "",
                family,
                waits.get(family, []),
                means.get(family, -1.0),
            )
        )
    note = _CUT if len(run.links) >= tally.LINKS_MAX else ""
    _send(s, peer, message, run, nodes, roots, more=len(wanted) - len(nodes), note=note)


def _tops(run: RunRecord) -> list[str]:
    """List the families of the roots, then those that nothing leads to, then all others."""
    families = dict.fromkeys(root.family for root in run.root_tasks)
    named = [family for family in families if family in run.tallies]
    required = {lower for upper, lower in run.links if upper != lower}
    free = [family for family in run.tallies if family not in required]
    return [*named, *free, *run.tallies]


def _walk(
    below: dict[str, list[str]], starts: list[str], depth_max: int
) -> tuple[list[str], list[str]]:
    """List families breadth first from the starts, and those that nothing before led to."""
    wanted: list[str] = []
    tops: list[str] = []
    seen: dict[str, None] = {}
    for start in starts:
        if start in seen:
            continue
        seen[start] = None
        tops.append(start)
        level, depth = [start], 0
        while level:
            if depth == depth_max + 1 > 0:
                # what is further down was not asked for, and is no start of its own either
                seen.update(dict.fromkeys(_beneath(below, level)))
                break
            wanted += level
            found = dict.fromkeys(each for family in level for each in below.get(family, ()))
            level = [each for each in found if each not in seen]
            seen.update(dict.fromkeys(level))
            depth += 1
    return wanted, tops


def _beneath(below: dict[str, list[str]], families: list[str]) -> list[str]:
    found: dict[str, None] = {}
    stack = list(families)
    while stack:
        for each in below.get(stack.pop(), ()):
            if each not in found:
                found[each] = None
                stack.append(each)
    return list(found)


def _waits(s: State, run: RunRecord) -> dict[str, list[str]]:
    """Tell what resources the families of a run wait for, from the first of those that wait."""
    found: dict[str, list[str]] = {}
    left = GROUPS_MAX
    for name, groups in s.ready.parked.items():
        for group in islice(groups.values(), left):
            left -= 1
            text = ""
            for entry in group.heap[:ENTRIES_MAX]:
                task = entry.task
                if task.ticket != entry.ticket or run not in task.runs:
                    continue
                text = text or explain.lacks(s, name, group)[:REASON_CHARACTERS_MAX]
                reasons = found.setdefault(task.family.family, [])
                if text and text not in reasons and len(reasons) < REASONS_MAX:
                    reasons.append(text)
    return found


# ------------------------------------------------------------------------------- tasks


def _answer_tasks(s: State, peer: Peer, message: ShowGraph, run: RunRecord, find: FindTask) -> None:
    if run.summary is not None:
        error = f"{run.id} {run.name} has ended, and its tasks left memory"
        hint = f"its families:  flow graph {run.id}     planned afresh:  flow graph MODULE TASK"
        raise Refusal(error, hint)
    starts = run.roots[: _limit(message)]
    if message.root:
        mine = [each for each in twins.of(s, run.project, message.root) if run in each.runs]
        starts = [mine[0] if len(mine) == 1 else find(message.root)]
    at, found = _reach(starts, message)
    nodes = []
    gone = False
    for task, (shown, more) in zip(at, found, strict=True):
        state = run.left.get(task, task.state)
        gone = gone or state == TaskState.DONE
        # of one that waits for others the graph itself tells
        reason = "" if task.waits else explain.briefly(s, task)[:REASON_CHARACTERS_MAX]
        nodes.append(
            GraphNode(
                twins.shown(s, task),
                {state.label: 1},
                shown,
                more,
                task.task_id,
                task.family.family,
                [reason] if reason else [],
            )
        )
    roots = [at[task] for task in dict.fromkeys(starts)]
    _send(s, peer, message, run, nodes, roots, note=_GONE if gone else "")


def _reach(
    starts: list[TaskRecord], message: ShowGraph
) -> tuple[dict[TaskRecord, int], list[tuple[list[int], int]]]:
    """Number tasks breadth first; with the numbers of what each requires, and how many not."""
    at = {task: number for number, task in enumerate(dict.fromkeys(starts))}
    found: list[tuple[list[int], int]] = []
    left = EDGES_MAX
    depth, next_level = 0, len(at)
    queue = list(at)
    for number, task in enumerate(queue):
        if number == next_level:
            depth, next_level = depth + 1, len(queue)
        shown: dict[int, None] = {}
        more = len(task.upstream)
        for dep in islice(task.upstream, left if depth != message.depth else 0):
            left -= 1
            if dep not in at and len(at) < _limit(message):
                at[dep] = len(at)
                queue.append(dep)
            if dep in at:
                shown[at[dep]] = None
                more -= 1
        found.append((list(shown), more))
    return at, found
