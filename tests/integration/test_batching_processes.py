"""What planner and runner processes make of batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from flow.wire.messages.shared import Outcome, Report
from flow_worker import channel
from tests.support.task_process import TaskProcess, pack, start, stub

MODULE = """
import flow
from pathlib import Path
from flow.targets.local import LocalTarget

HERE = Path(__file__).parent

class Few(flow.Task):
    n = flow.IntParameter(batch_method=max)
    place = flow.Parameter(default="x")
    names = flow.Parameter(default="", batch_method=",".join)
    max_batch_size = 3
    def output(self):
        return LocalTarget(str(HERE / f"few-{self.n}-{self.place}-{self.names}"))
    def run(self):
        Path(self.output().path).write_text("done")

class Endless(flow.Task):
    n = flow.IntParameter(batch_method=max)

class Choosy(flow.Task):
    n = flow.IntParameter(batch_method=max)
    batchable = False

class Wrong(flow.Task):
    n = flow.IntParameter(batch_method=max)
    max_batch_size = 2.5

class Raises(flow.Task):
    n = flow.IntParameter(batch_method=lambda values: [][0])

class NotANumber(flow.Task):
    n = flow.IntParameter(batch_method=lambda values: "many")

class Plain(flow.Task):
    n = flow.IntParameter()
"""


@pytest.fixture
def planner(tmp_path: Path) -> Iterator[TaskProcess]:
    (tmp_path / "joined.py").write_text(MODULE)
    yield from start(tmp_path, "planner")


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[TaskProcess]:
    (tmp_path / "joined.py").write_text(MODULE)
    yield from start(tmp_path)


def batch(runner: TaskProcess, family: str, *members: dict[str, str]) -> Report:
    """Run these as one."""
    grant = runner.grant("joined", family, **members[0])
    grant = msgspec.structs.replace(grant, members=[pack(member) for member in members])
    runner.send(channel.Execute([grant]))
    (report,) = runner.reports(1)
    assert report.token == grant.token
    return report


def test_planner_says_what_is_joined_and_how_much(planner: TaskProcess) -> None:
    families = ("Few", "Endless", "Choosy", "Plain")
    answer = planner.plan([stub("joined", family, n="1") for family in families])
    said = [answer.policies[spec.policy] for spec in answer.specs]
    assert [(policy.batched, policy.batch_max) for policy in said] == [
        (["n", "names"], 3),
        (["n"], 0),
        ([], 0),
        ([], 0),
    ]


def test_planner_refuses_a_batch_size_that_is_none(planner: TaskProcess) -> None:
    (error,) = planner.plan([stub("joined", "Wrong", n="1")]).errors
    wrong = "Wrong has a wrong attribute: max_batch_size = 2.5 is no whole number above 0"
    assert wrong in error.text and "Wrong.max_batch_size)" in error.text


def test_runner_joins_in_order_and_checks_the_output_of_the_combined_task(
    runner: TaskProcess, tmp_path: Path
) -> None:
    members = [{"n": n, "place": "x", "names": f"m{n}"} for n in ("2", "9", "4")]
    report = batch(runner, "Few", *members)
    assert (report.outcome, report.error) == (Outcome.DONE, "")
    assert (tmp_path / "few-9-x-m2,m9,m4").read_text() == "done"
    assert not batch(runner, "Few", *members).skipped, "the combined output is no member's"
    for member in members:
        (tmp_path / f"few-{member['n']}-x-{member['names']}").write_text("done")
    assert batch(runner, "Few", *members).skipped, "all members are complete"


@pytest.mark.parametrize(
    ("family", "why"), [("Raises", "list index out of range"), ("NotANumber", "many")]
)
def test_runner_error_of_batch_method_fails_the_attempt(
    runner: TaskProcess, family: str, why: str
) -> None:
    report = batch(runner, family, {"n": "1"}, {"n": "2"})
    assert report.outcome is Outcome.FAILED
    assert report.error.startswith(f"2 tasks of {family} cannot be joined: ")
    assert why in report.error


def test_runner_with_other_code_refuses_what_it_cannot_join(runner: TaskProcess) -> None:
    report = batch(runner, "Plain", {"n": "1"}, {"n": "2"})
    assert report.outcome is Outcome.REFUSED
    assert "Plain.n has no batch_method in the code here" in report.error
