"""The last words of a run: its summary and what to type next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flow.client import summary as text
from flow.errors import ExitCode
from flow.wire.states import SummaryCategory

if TYPE_CHECKING:
    from flow.wire.messages.client import RunSummary


def words(summary: RunSummary, size: str, *, hints: bool) -> str:
    """Write the summary in the size asked for; empty for ``none`` and after a typing mistake."""
    if size == "none" or (size == "short" and summary.exit_code == ExitCode.USAGE):
        return ""
    rendered = text.render(summary, full=size == "full")
    return f"{rendered}\n{_next(summary)}" if hints else rendered


def _next(summary: RunSummary) -> str:
    commands = [f"See it:   flow status {summary.run}"]
    done = text.count_of(summary, SummaryCategory.COMPLETE, SummaryCategory.RAN)
    if text.count_of(summary, *SummaryCategory) > done:
        commands.append(f"Again:  flow retry {summary.run}")
    return "        ".join(commands)
