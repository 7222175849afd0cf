"""How an output is named in an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import flow
from flow_worker.process.failure import NAMED_CHARS_MAX, spelled


class Own:
    """A target with a path and an ``exists()`` of its own."""

    def __init__(self, path: Any) -> None:
        self.path = path

    def exists(self) -> bool:
        return False


class Row:
    def __repr__(self) -> str:
        return "Row(7)"


class Hostile:
    @property
    def path(self) -> str:
        raise RuntimeError("no path today")


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (flow.LocalTarget("/x/y.csv"), "/x/y.csv"),
        (Own("/x/y.csv"), "/x/y.csv"),
        (Own(Path("/x/y.csv")), "/x/y.csv"),
        (Row(), "Row(7)"),
        (Hostile(), "a Hostile that cannot be named"),
        (Own("x" * 9999), "x" * (NAMED_CHARS_MAX - 1) + "…"),
    ],
    ids=["local", "own", "pathlib", "none", "hostile", "long"],
)
def test_output_is_named_by_its_path_or_as_it_spells_itself(target: Any, name: str) -> None:
    assert spelled(target) == name


def test_luigis_output_is_named_by_its_path() -> None:
    luigi = pytest.importorskip("luigi")
    assert spelled(luigi.LocalTarget("/x/y.csv")) == "/x/y.csv"
