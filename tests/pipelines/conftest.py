"""Print the table at the end."""

from __future__ import annotations

from typing import Any

from tests.pipelines.known import LEFT_OUT

HEADS = (
    "pipeline",
    "tasks",
    "own scheduler",
    "flow embedded",
    "flow with two workers",
    "difference and reason",
)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what each pipeline came to, whatever came of its test."""
    reports = [one for kind in ("passed", "failed") for one in terminalreporter.stats.get(kind, [])]
    rows = [dict(one.user_properties).get("row") for one in reports]
    table = [HEADS, *sorted(row for row in rows if row)]
    if len(table) > 1:
        widths = [max(len(row[column]) for row in table) for column in range(len(HEADS))]
        terminalreporter.section("public pipelines")
        for row in table:
            cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
            terminalreporter.write_line(" | ".join(cells).rstrip())
        for name, why in LEFT_OUT.items():
            terminalreporter.write_line(f"{name}: left out, {why}")
