"""Text of users in the summary moves no cursor and breaks no line."""

from __future__ import annotations

from flow.client.summary import render
from flow.wire.messages.client import Category, Example, RunSummary


def test_control_characters_of_parameters_and_errors_are_escaped() -> None:
    shown = {"s": "line\nbreak \x1b[2J \x00 \U0001f600 売"}
    summary = RunSummary(
        "r-1", "x", "T(s=\x07)", "failed", 30, 1.0, 1, 1, 1,
        [Category("failed", 1, [Example("T", 1, [shown])])],
        [(1, "ValueError: \x1b[31mred", "a.py:1")],
    )  # fmt: skip
    text = render(summary)
    assert r"T(s=line\nbreak \x1b[2J \x00 😀 売)" in text
    assert r"ValueError: \x1b[31mred" in text and r"T(s=\x07)" in text
    assert all(line.isprintable() for line in text.split("\n"))
