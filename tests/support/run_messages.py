"""Messages about runs, for tests of what commands show."""

from __future__ import annotations

from typing import Any

from flow.wire.messages.client import (
    Category,
    Example,
    Failure,
    FamilyCounts,
    RunSummary,
    RunUpdate,
)


def category(name: str, **families: int | list[dict[str, str]]) -> Category:
    """``category("ran", Load=[{"n": "1"}])``; a number: so many tasks without parameters."""
    examples = [
        Example(family, given, [{}])
        if isinstance(given, int)
        else Example(family, len(given), given)
        for family, given in families.items()
    ]
    return Category(name, sum(each.count for each in examples), examples)


def summary(*categories: Category, exit_code: int = 0, **fields: Any) -> RunSummary:
    """A summary with these categories."""
    values: dict[str, Any] = {
        "run": "r-1",
        "name": "amber-otter",
        "root": "Top()",
        "state": "succeeded" if exit_code == 0 else "failed",
        "exit_code": exit_code,
        "elapsed_s": 61.0,
        "attempts": 3,
        "workers": 1,
        "scheduled": sum(each.count for each in categories),
        "categories": list(categories),
        "causes": [],
        **fields,
    }
    return RunSummary(**values)


def failure(number: int = 1, **fields: Any) -> Failure:
    """One failed attempt."""
    values: dict[str, Any] = {
        "task": "Load(region=EU)",
        "task_id": "Load_EU_0123456789",
        "kind": "failed",
        "worker": "node-3",
        "attempt": 1,
        "attempts_max": 3,
        "run_s": 12.0,
        "error": "ValueError: boom",
        "where": "m.py:8  run()",
        **fields,
    }
    return Failure(number=number, **values)


def update(request: int, ended: RunSummary | None = None, **fields: Any) -> RunUpdate:
    """News of a run."""
    values: dict[str, Any] = {
        "name": "amber-otter",
        "planning": False,
        "total": 4,
        "families": [FamilyCounts("Load", {"done": 1, "running": 1, "pending": 1, "complete": 1})],
        "failures": [],
        "waiting": [],
        "slots": 2,
        "busy": 1,
        "elapsed_s": 5.0,
        "workers": 1,
        **fields,
    }
    return RunUpdate(request, "r-1", ended=ended, **values)
