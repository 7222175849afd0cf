"""Every known reason is told by the README, and is some pipeline's."""

from __future__ import annotations

from pathlib import Path

from tests.pipelines.known import PIPELINES, REASONS, SUITES

README = Path(__file__).parents[2] / "README.md"


def test_reasons_are_told_by_the_readme() -> None:
    told = " ".join(README.read_text().split())
    assert [key for key, sentence in REASONS.items() if sentence not in told] == []


def test_reasons_are_those_of_the_pipelines() -> None:
    used = {key for each in (*PIPELINES, *SUITES) for key in each.known.values()}
    assert used == REASONS.keys()
