"""What a planner says of where outputs are, and what a report says of one that is not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import flow
from flow.mock import MockTarget
from flow.modules.loading import home_of
from flow.parameters.packing import packed_params
from flow.wire.messages.codec import decode_chunk
from flow.wire.messages.shared import PATH_CHARS_MAX, PlanError, Stub
from flow_worker.planner.walk import RequirementWalk
from flow_worker.process.failure import UserFailure
from flow_worker.process.whereabouts import missing_requirement, with_the_requirement


class Makes(flow.Task):
    """Has outputs of all kinds."""

    path = flow.Parameter()

    def output(self) -> list[object]:
        """One without a path, and one relative to the current directory."""
        return [object(), flow.LocalTarget(self.path), flow.LocalTarget("/far/away")]


class Needs(flow.Task):
    """Reads them."""

    path = flow.Parameter()

    def requires(self) -> flow.Task:
        """Whoever makes them."""
        return Makes(path=self.path)


def test_places_are_absolute_and_in_the_order_of_the_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task = Makes(path="near")
    stub = Stub(task.task_id, home_of(task), "Makes", packed_params(task))
    (body,) = RequirementWalk([stub], 1, None, ()).places()
    assert decode_chunk(body).errors == [
        PlanError(0, "where", str(tmp_path / "near")),
        PlanError(0, "where", "/far/away"),
    ]


def test_places_of_what_cannot_be_made_are_an_error() -> None:
    (body,) = RequirementWalk([Stub("x", "no.such.module", "X", b"\x80")], 1, None, ()).places()
    (error,) = decode_chunk(body).errors
    assert error.kind == "import"


@pytest.mark.parametrize("path", ["near", "long/" * PATH_CHARS_MAX])
def test_missing_input_is_named_with_its_place_in_text_that_can_be_sent(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / os.fsdecode(b"not-unicode-\xff")
    folder.mkdir()
    monkeypatch.chdir(folder)
    error = FileNotFoundError(2, "No such file or directory", path)
    missing = missing_requirement(Needs(path=path), error)
    assert missing is not None
    named = Makes(path=path).task_id
    assert (missing.task_id, missing.family, missing.index) == (named, "Makes", 0)
    assert missing.path.startswith(f"{tmp_path}/not-unicode-\\udcff/")
    assert missing.relative == path[:PATH_CHARS_MAX]
    assert len(missing.path) <= PATH_CHARS_MAX
    failure = with_the_requirement(UserFailure("what it said"), missing)
    assert failure.error.startswith("what it said\nMakes is done, but this output of it is")
    assert failure.missing is missing


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(2, "no", "/elsewhere"), FileNotFoundError("no"), OSError(1, "no", "near")],
    ids=repr,
)
def test_other_errors_are_about_no_requirement(error: OSError) -> None:
    assert missing_requirement(Needs(path="near"), error) is None


class Remote(flow.Task):
    """Has an output that is no file of this host."""

    def output(self) -> object:
        """A mock: its path starts nowhere."""
        return MockTarget("somewhere")


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        ([Makes(path="near")], "near"),
        ([Makes(path="/near"), Makes(path="near")], ""),
        ([Remote()], ""),
        ([Remote(), Makes(path=f"{PATH_CHARS_MAX * 'x'}y")], PATH_CHARS_MAX * "x"),
    ],
    ids=["relative", "absolute, one of a class is asked", "not local", "long"],
)
def test_planner_tells_a_path_that_depends_on_the_current_directory(
    tasks: list[flow.Task], told: str
) -> None:
    stubs = [Stub(t.task_id, home_of(t), t.task_family, packed_params(t)) for t in tasks]
    *_, body = RequirementWalk(stubs, 9, None, ()).chunks()
    assert decode_chunk(body).relative == told
