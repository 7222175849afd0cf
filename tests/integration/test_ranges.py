"""Ranges from the command line, as requirements, and again and again in one warm process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest

from flow.wire.messages.shared import Outcome
from tests.support.task_process import start, stub

TIMEOUT_S = 60.0

REPORTS = textwrap.dedent(
    """
    import os
    import flow

    HERE = os.path.dirname(os.path.abspath(__file__))

    class Report(flow.Task):
        day = flow.DateParameter()

        def output(self):
            return flow.LocalTarget(os.path.join(HERE, "out", f"{self.day}.txt"))

        def run(self):
            with self.output().open("w") as out:
                out.write("x")

    class Month(flow.WrapperTask):
        def requires(self):
            days = flow.DateParameter()
            return flow.RangeDaily(
                of=Report, start=days.parse("2026-01-01"), stop=days.parse("2026-01-04"),
                days_back=10000,
            )

    if __name__ == "__main__":
        flow.run()
    """
)
#: Another pipeline with a task of the same name.
OTHERS = REPORTS.replace('"out"', '"others"')
LUIGIS = """
import os, luigi
HERE = os.path.dirname(os.path.abspath(__file__))

class Report(luigi.task.MixinNaiveBulkComplete, luigi.Task):
    day = luigi.DateParameter()

    def output(self):
        return luigi.LocalTarget(os.path.join(HERE, "out", f"{self.day}.txt"))

    def run(self):
        with self.output().open("w") as out:
            out.write("x")
"""
RANGE = ("RangeDaily", "--of", "Report", "--start", "2026-01-01", "--stop", "2026-01-05")
BACK = ("--days-back", "10000")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "reports.py").write_text(REPORTS)
    (tmp_path / "others.py").write_text(OTHERS)
    (tmp_path / "luigis.py").write_text(LUIGIS)
    return tmp_path


def python(place: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=place, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def made(place: Path, folder: str = "out") -> list[str]:
    return sorted(each.stem for each in (place / folder).glob("*"))


DAYS = ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]


def test_range_of_a_module_that_does_not_define_it_runs(place: Path) -> None:
    python(place, "-m", "flow", "run", "reports", *RANGE, *BACK)
    assert made(place) == DAYS


def test_range_of_a_script_runs_as_its_own_command_line(place: Path) -> None:
    python(place, "reports.py", *RANGE, *BACK)
    assert made(place) == DAYS


def test_range_as_a_requirement_finds_its_task_in_every_process(place: Path) -> None:
    python(place, "-m", "flow", "run", "reports", "Month")
    assert made(place) == DAYS[:3]


def test_range_of_luigi_tasks_is_luigis(place: Path) -> None:
    python(place, "-m", "flow", "run", "luigis", *RANGE, *BACK)
    assert made(place) == DAYS


def test_range_help_names_its_parameters(place: Path) -> None:
    text = python(place, "-m", "flow", "run", "reports", "RangeDaily", "--help")
    assert "--days-back" in text
    assert "--of" in text


def test_range_of_an_unknown_task_is_2(place: Path) -> None:
    text = python(
        place, "-m", "flow", "run", "reports", "RangeDaily", "--of", "Reprt",
        "--start", "2026-01-01", code=2,
    )  # fmt: skip
    assert "Reprt" in text
    assert "Report" in text


def test_range_again_in_a_warm_process_looks_again(place: Path) -> None:
    """Neither is kept what was missing, nor are two pipelines with a Report mixed up."""
    params = {
        "of": "Report",
        "start": "2026-01-01",
        "stop": "2026-01-05",
        "days_back": "10000",
        "task_limit": "2",
    }
    for process in start(place, "planner"):
        for round_, days in enumerate((DAYS[:2], DAYS[2:], [])):
            for at, (module, folder) in enumerate((("reports", "out"), ("others", "others"))):
                request = 2 * round_ + at
                answer = process.plan([stub(module, "RangeDaily", **params)], request=request)
                assert answer.errors == []
                assert {one.module for one in answer.stubs} == {module}
                named = [msgspec.msgpack.decode(one.params) for one in answer.stubs[1:]]
                assert [one["day"] for one in named] == days
                (place / folder).mkdir(exist_ok=True)
                for day in days:
                    (place / folder / f"{day}.txt").touch()
        for module in ("reports", "others"):
            report = process.run(module, "RangeDaily", **whole(params))
            assert report.outcome == Outcome.DONE, report


def whole(params: dict[str, str]) -> dict[str, str]:
    """Return all parameters of the range, as a grant names them."""
    rest = {"of_params": "{}", "reverse": "False", "now": "None", "param_name": "None"}
    return {**params, **rest, "days_forward": "0"}
