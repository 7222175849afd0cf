"""Render how a run ended, in the form of Luigi's execution summary.

Pure: a ``RunSummary`` in, text out. The coordinator fills ``RunSummary.categories`` with the names
below; this file decides their order, their sentences, and the one line that says how it looks.

Source: Luigi's execution summary, whose wording people and log scrapers know.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flow.client.ranges import show_values
from flow.visible import escaped
from flow.wire.names import brief
from flow.wire.states import FAILED_CATEGORIES, SummaryCategory

if TYPE_CHECKING:
    from flow.wire.messages.client import Category, Example, RunSummary

#: Category: (sentence for one, sentence for several); in the order of the summary.
ENDED = {
    SummaryCategory.COMPLETE: "complete ones were encountered",
    SummaryCategory.RAN: "ran successfully",
    SummaryCategory.FAILED: "failed",
    SummaryCategory.DISABLED: "disabled",
    SummaryCategory.LOST: "lost with their worker and held",
    SummaryCategory.SCHEDULING_ERROR: "failed scheduling",
}
#: The same for tasks that never got their turn.
PENDING = {
    SummaryCategory.MISSING_EXTERNAL: "were missing external dependencies",
    SummaryCategory.UPSTREAM_FAILED: "had failed dependencies",
    SummaryCategory.UPSTREAM_MISSING: "had missing dependencies",
    SummaryCategory.UPSTREAM_SCHEDULING_ERROR: "had dependencies whose scheduling failed",
    SummaryCategory.CANCELLED: "were cancelled",
    SummaryCategory.NOT_RUN: "were not granted run permission by the scheduler",
}

RULE = "===== Flow Execution Summary ====="
#: Families shown per category, and causes, before "...".
LINES_MAX = 5
#: Parameters of one task longer than this are shown as ``Family(...)``.
PARAMS_CHARS_MAX = 200


class StatusCode(enum.Enum):
    """How a run looks: (smiley, because). The names are those of Luigi's ``LuigiStatusCode``.

    A member equals the one of Luigi's own enum that has its name.
    """

    SUCCESS = (":)", "there were no failed tasks or missing dependencies")
    SUCCESS_WITH_RETRY = (":)", "there were failed tasks but they all succeeded in a retry")
    FAILED = (":(", "there were failed tasks")
    FAILED_AND_SCHEDULING_FAILED = (
        ":(",
        "there were failed tasks and tasks whose scheduling failed",
    )
    SCHEDULING_FAILED = (":(", "there were tasks whose scheduling failed")
    CANCELLED = (":|", "the run was cancelled")
    NOT_RUN = (":|", "there were tasks that were not granted run permission by the scheduler")
    MISSING_EXT = (":|", "there were missing external dependencies")

    def __eq__(self, other: object) -> bool:
        if type(other).__name__ == "LuigiStatusCode":  # luigi is not imported to compare
            return self.name == getattr(other, "name", None)
        return self is other

    __hash__ = enum.Enum.__hash__  # of the name alone, as that of Luigi's


#: Luigi's name.
LuigiStatusCode = StatusCode


def count_of(summary: RunSummary, *names: SummaryCategory) -> int:
    """Count the tasks in these categories."""
    return sum(each.count for each in summary.categories if each.name in names)


def status(summary: RunSummary) -> StatusCode:
    """Decide how the run looks, in Luigi's order of decisions."""
    failed = count_of(summary, *FAILED_CATEGORIES)
    unscheduled = count_of(summary, SummaryCategory.SCHEDULING_ERROR)
    if failed and unscheduled:
        return StatusCode.FAILED_AND_SCHEDULING_FAILED
    if failed:
        return StatusCode.FAILED
    if unscheduled:
        return StatusCode.SCHEDULING_FAILED
    if summary.state == "cancelled":
        return StatusCode.CANCELLED
    if count_of(summary, SummaryCategory.NOT_RUN, SummaryCategory.CANCELLED):
        return StatusCode.NOT_RUN
    if count_of(summary, SummaryCategory.MISSING_EXTERNAL):
        return StatusCode.MISSING_EXT
    return StatusCode.SUCCESS_WITH_RETRY if summary.retried else StatusCode.SUCCESS


def one_line(summary: RunSummary) -> str:
    """Say how the run looks in Luigi's last sentence."""
    smiley, because = status(summary).value
    return f"This progress looks {smiley} because {because}"


def render(summary: RunSummary, *, full: bool = False) -> str:
    """Write the whole summary. ``full`` shows every family instead of the first few."""
    head = f"Run {summary.run}  {summary.root}   {duration(summary.elapsed_s)}, "
    head += f"{plural(summary.attempts, 'attempt')} on {plural(summary.workers, 'worker')}"
    lines = [RULE, head, ""]
    lines += _scheduled(summary, LINES_MAX if not full else summary.scheduled)
    if summary.notes:
        lines += ["", *(f"! {each}" for each in summary.notes)]
    if summary.causes:
        lines += ["", *_causes(summary.causes, LINES_MAX if not full else len(summary.causes))]
    return "\n".join(map(escaped, [*lines, "", one_line(summary), RULE]))


def duration(seconds: float) -> str:
    """Write a duration the way clocks do: ``0:07``, ``6:21``, ``1:02:11``, ``12 d``."""
    whole = int(max(0.0, seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _scheduled(summary: RunSummary, lines_max: int) -> list[str]:
    if not summary.scheduled:
        return ["Did not schedule any tasks"]
    found = {each.name: each for each in summary.categories if each.count}
    lines = [f"Scheduled {plural(summary.scheduled, 'task')} of which:"]
    for name, sentence in ENDED.items():
        if name in found:
            lines.append(f"* {found[name].count} {sentence}:")
            lines += _families(found[name], "    ", lines_max)
    pending = [found[name] for name in PENDING if name in found]
    if pending:
        left = summary.scheduled - count_of(summary, *ENDED)  # one may be in several categories
        lines.append(f"* {left} were left pending, among these:")
    for each in pending:
        lines.append(f"    * {each.count} {PENDING[each.name]}:")
        lines += _families(each, "        ", lines_max)
    if not count_of(summary, SummaryCategory.RAN, *FAILED_CATEGORIES):
        lines += ["", "Did not run any tasks"]
    return lines


def _families(category: Category, indent: str, lines_max: int) -> list[str]:
    examples = sorted(category.examples, key=lambda each: each.family)
    lines = [f"{indent}- {each.count} {tasks(each)}" for each in examples[:lines_max]]
    return [*lines, f"{indent}..."] if len(examples) > lines_max else lines


def tasks(example: Example) -> str:
    """Name several tasks of one family in one expression, e.g. ``Bar(num=1...4)``."""
    family, shown = example.family, example.params
    if not shown or not shown[0]:
        return f"{family}()" if shown else f"{family}(...)"
    whole = example.count == len(shown)
    if whole and len(shown) == 2:
        pair = " and ".join(one_task(family, each) for each in shown)
        if len(pair) <= PARAMS_CHARS_MAX:
            return pair
    parts = []
    for name in shown[0]:
        values = list(dict.fromkeys(brief(each.get(name, "")) for each in shown))
        parts.append(f"{name}={show_values(values, whole=whole)}")
    inside = ", ".join(parts)
    return f"{family}({inside if len(inside) <= PARAMS_CHARS_MAX else '...'})"


def one_task(family: str, params: dict[str, str]) -> str:
    """Name one task with its parameters."""
    inside = ", ".join(f"{name}={show_values([brief(value)])}" for name, value in params.items())
    return f"{family}({inside if len(inside) <= PARAMS_CHARS_MAX else '...'})"


def _causes(causes: Sequence[tuple[int, str, str]], lines_max: int) -> list[str]:
    lines = [f"{plural(len(causes), 'cause')} of failure:"]
    for count, error, where in causes[:lines_max]:
        first = error.splitlines()[0] if error else "unknown"
        lines.append(f"  {count} x  {first}     {where}".rstrip())
    return [*lines, "  ..."] if len(causes) > lines_max else lines


def plural(count: int, word: str) -> str:
    """Write ``1 task``, ``2 tasks``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
