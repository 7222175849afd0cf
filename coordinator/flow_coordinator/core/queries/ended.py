"""Why a task of an ended run ended as it did, from what is kept of that run."""

from __future__ import annotations

from flow.wire.messages.client import WhyAnswer
from flow.wire.states import FAILED_CATEGORIES, SummaryCategory
from flow_coordinator.core import telling, words
from flow_coordinator.core.queries.finding import EndedTask
from flow_coordinator.core.state import State

#: Tasks named in one line.
NAMES_MAX = 4

#: Category of the summary: (state in words, what it means).
_SAID = {
    SummaryCategory.COMPLETE: ("complete", "its output was there, so it did not run"),
    SummaryCategory.RAN: ("done", "it ran successfully"),
    SummaryCategory.FAILED: ("failed", ""),
    SummaryCategory.DISABLED: ("disabled", ""),
    SummaryCategory.LOST: ("lost", ""),
    SummaryCategory.SCHEDULING_ERROR: ("not planned", ""),
    SummaryCategory.MISSING_EXTERNAL: ("missing", "it is external and its output does not exist"),
    SummaryCategory.UPSTREAM_FAILED: ("not run", "a requirement failed"),
    SummaryCategory.UPSTREAM_MISSING: ("not run", "external data that it needs is missing"),
    SummaryCategory.UPSTREAM_SCHEDULING_ERROR: ("not run", "a requirement could not be planned"),
    SummaryCategory.CANCELLED: ("cancelled", ""),
    SummaryCategory.NOT_RUN: ("not run", "the run ended before its turn came"),
}
_GOOD = (SummaryCategory.COMPLETE, SummaryCategory.RAN)
#: Categories of requirements that keep a task from running.
_BAD = (
    *FAILED_CATEGORIES,
    SummaryCategory.MISSING_EXTERNAL,
    SummaryCategory.SCHEDULING_ERROR,
)


def why(s: State, task: EndedTask) -> WhyAnswer:
    """Explain one task of an ended run."""
    run = task.run
    state, reason = _SAID[task.category]
    lines: list[tuple[str, str]] = []
    if reason:
        lines.append(("because", reason))
    if task.category.startswith("upstream_"):
        lines.append(("of the run", " · ".join(_bad(task)) or "unknown"))
    failure = task.failure
    if failure is not None and task.category not in _GOOD:
        where = f"  {failure.where}" if failure.where else ""
        lines.append(("error", failure.error + where))
        if failure.attempt:
            lines.append(("attempt", f"{failure.attempt} on {failure.worker}"))
        if failure.tail:
            lines.append(("output", failure.tail))
        if failure.trace:
            lines.append(("trace", failure.trace))
    if run.cancelled and task.category not in _GOOD:
        lines.append(("cancelled", run.cancelled))
    said = run.words.get(task.name)
    lines += words.lines(said) if said is not None else []
    if run.code:
        ran = telling.ran_with(run)
        lines.append(("code", f"{run.code}; {ran}" if ran else run.code))
    lines.append(("run", f"{run.id} {run.name}, ended: {run.state.label}"))
    hints = [] if task.category in _GOOD else [f"flow retry {run.id}"]
    ago_s = max(0.0, s.now - (run.ended_at or s.now))
    task_id = failure.task_id if failure else ""
    answer = WhyAnswer(task_id, task.name, state, ago_s, lines, hints)
    return answer if said is None else words.told(answer, said)


def _bad(task: EndedTask) -> list[str]:
    """Name what went wrong in the run: the summary does not say what required what."""
    named: list[str] = []
    for category in task.run.summary.categories if task.run.summary is not None else ():
        if category.name in _BAD:
            for example in category.examples:
                state = _SAID[category.name][0]
                named += [
                    f"{example.family}({', '.join(f'{k}={v}' for k, v in params.items())}) {state}"
                    for params in example.params[:NAMES_MAX]
                ]
    return named[:NAMES_MAX]
