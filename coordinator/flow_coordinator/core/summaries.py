"""The execution summary of a run, as data; ``flow.client.summary`` renders it."""

from __future__ import annotations

from collections import Counter

import msgspec

from flow.wire.messages.client import Category, Example, RunSummary
from flow.wire.messages.shared import readable_params
from flow.wire.states import RunState, SummaryCategory, TaskState
from flow_coordinator.core import bounds, graph, telling
from flow_coordinator.core.records import RunRecord, TaskRecord
from flow_coordinator.core.state import State

#: Tasks of one family shown by name in one category.
EXAMPLES_MAX = 50
#: Families shown in one category.
FAMILIES_MAX = 50
#: Roots of a run shown by name.
ROOTS_MAX = 3
#: Different causes of failure shown.
CAUSES_MAX = 10
CAUSE_CHARACTERS_MAX = 2_000

_NAMES = {
    TaskState.COMPLETE: SummaryCategory.COMPLETE,
    TaskState.DONE: SummaryCategory.RAN,
    TaskState.FAILED: SummaryCategory.FAILED,
    TaskState.DISABLED: SummaryCategory.DISABLED,
    TaskState.LOST: SummaryCategory.LOST,
    TaskState.PLAN_FAILED: SummaryCategory.SCHEDULING_ERROR,
    TaskState.MISSING: SummaryCategory.MISSING_EXTERNAL,
    TaskState.EXTERNAL: SummaryCategory.MISSING_EXTERNAL,
    TaskState.CANCELLED: SummaryCategory.CANCELLED,
}
_UPSTREAM = {
    SummaryCategory.MISSING_EXTERNAL: SummaryCategory.UPSTREAM_MISSING,
    SummaryCategory.SCHEDULING_ERROR: SummaryCategory.UPSTREAM_SCHEDULING_ERROR,
}


def summarise(s: State, run: RunRecord, code: int) -> RunSummary:
    """Sum up a run as it stands. Cost: O(its tasks and what they require).

    A task whose requirements ended in several bad ways is in the category of each of them.
    """
    found: dict[SummaryCategory, dict[str, list[TaskRecord]]] = {}
    totals: Counter[SummaryCategory] = Counter()
    sizes: dict[SummaryCategory, Counter[str]] = {}
    causes = _upstream_causes(run)
    for task in run.tasks:
        state = run.left.get(task, task.state)
        if state == TaskState.UPSTREAM_FAILED:
            names = causes.get(task) or (SummaryCategory.UPSTREAM_FAILED,)
        else:
            names = (_NAMES.get(state, SummaryCategory.NOT_RUN),)
        family = task.family.family
        for name in names:
            totals[name] += 1
            sizes.setdefault(name, Counter())[family] += 1
            some = found.setdefault(name, {}).setdefault(family, [])
            if len(some) < EXAMPLES_MAX:
                some.append(task)
    shown = sum(min(len(families), FAMILIES_MAX) for families in found.values())
    share = bounds.FILL_BYTES // max(1, shown)
    categories = [
        Category(name, totals[name], _examples(families, sizes[name], share))
        for name, families in found.items()
    ]
    errors = Counter(
        (failure.error.partition("\n")[0], failure.where)
        for failure in run.failures
        if failure.again_in_s < 0
    )
    return RunSummary(
        run.id,
        run.name,
        root_text(run),
        run.state.label if run.state != RunState.RUNNING else "running",
        int(code),
        (run.ended_at or s.now) - run.started_at,
        run.attempts,
        len(run.workers),
        len(run.tasks),
        categories,
        [
            (count, bounds.cut(error, CAUSE_CHARACTERS_MAX), where)
            for (error, where), count in errors.most_common(CAUSES_MAX)
        ],
        run.retried,
        telling.run_notes(run),
    )


def root_text(run: RunRecord) -> str:
    """Name the roots of a run for people."""
    names = [graph.root_name(root) for root in run.root_tasks[:ROOTS_MAX]]
    more = run.root_count - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _examples(
    families: dict[str, list[TaskRecord]], sizes: Counter[str], bytes_max: int
) -> list[Example]:
    """Show some tasks of each family; ``bytes_max``: of the parameters of one family."""
    return [
        Example(
            bounds.cut(family, bounds.NAME_CHARACTERS_MAX),
            sizes[family],
            bounds.fitting((bounds.brief(_params(t), bytes_max) for t in some), bytes_max),
        )
        for family, some in sorted(families.items())[:FAMILIES_MAX]
    ]


def _params(task: TaskRecord) -> dict[str, str]:
    try:
        return readable_params(task.params)
    except msgspec.MsgspecError:
        return {}


def _upstream_causes(run: RunRecord) -> dict[TaskRecord, tuple[SummaryCategory, ...]]:
    """Tell why each upstream-failed task is so: what became of its requirements, and of theirs."""
    left = run.left
    failed = [task for task in run.tasks if left.get(task, task.state) == TaskState.UPSTREAM_FAILED]
    causes: dict[TaskRecord, tuple[SummaryCategory, ...]] = {}
    for task in sorted(failed, key=lambda one: one.order):
        found: set[SummaryCategory] = set()
        for dep in task.upstream:
            name = _NAMES.get(left.get(dep, dep.state))
            if dep in causes:
                found.update(causes[dep])
            elif name is not None and name not in (SummaryCategory.COMPLETE, SummaryCategory.RAN):
                found.add(_UPSTREAM.get(name, SummaryCategory.UPSTREAM_FAILED))
        causes[task] = tuple(sorted(found))
    return causes
