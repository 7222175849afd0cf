"""Artifacts through the real engine: every process finds the same ones, without any path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_S = 60.0

PIPELINE = """
import os, sys
import flow

class Point:
    def __init__(self, n):
        self.n = n

class Points(flow.Task):
    count = flow.IntParameter(default=3)

    def output(self):
        return self.artifact(".pkl")

    def run(self):
        print("run points")
        self.output().dump([Point(n) for n in range(self.count)])

class Table(flow.Task):
    count = flow.IntParameter(default=3)

    def requires(self):
        return Points(count=self.count)

    def output(self):
        return {"table": self.artifact("table.csv"), "sum": self.artifact("sum.json.gz")}

    def run(self):
        rows = [{"n": each.n} for each in self.input().load()]
        self.output()["table"].dump(rows)
        self.output()["sum"].dump(sum(row["n"] for row in rows))

class Total(flow.Task):
    counts = flow.ListParameter(default=(2, 3))

    def requires(self):
        return {count: Table(count=count) for count in self.counts}

    def output(self):
        return self.artifact(".json")

    def run(self):
        self.output().dump({key: each["sum"].load() for key, each in self.input().items()})

if __name__ == "__main__":
    if len(sys.argv) > 1:
        flow.run()
    else:
        first = Total().output().path
        os.chdir("/")
        assert flow.build([Total()], quiet=True)
        print(first)
        print(Total().output().load())
        print(Points(count=3).output().load()[2].n)
        assert type(Points(count=3).output().load()[0]) is Point
        print(Table().output()["table"].load(rows=True))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "flow.toml").write_text('[storage]\nroot = "made"\n')
    return tmp_path


def python(folder: Path, *words: str, code: int = 0) -> str:
    env = {name: text for name, text in os.environ.items() if not name.startswith("FLOW_")}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_build_from_a_program_that_changed_its_directory_finds_the_same_artifacts(
    folder: Path,
) -> None:
    path, total, point, rows = python(folder, "pipeline.py").splitlines()
    assert path.startswith(f"{folder}/made/Total/")
    assert json.loads(Path(path).read_text()) == {"2": 1, "3": 3}
    assert total == "{'2': 1, '3': 3}"
    assert point == "2"
    assert rows == "[{'n': '0'}, {'n': '1'}, {'n': '2'}]"


def test_flow_run_runs_only_what_a_changed_parameter_touches(folder: Path) -> None:
    python(folder, "-m", "flow", "run", "pipeline", "Total", "--counts", "[2, 3]")
    made = {path for path in (folder / "made").rglob("*") if path.is_file()}
    assert len(made) == 7
    said = python(folder, "-m", "flow", "run", "pipeline", "Total", "--counts", "[3, 4]")
    assert said.count("run points") == 1, said
    assert len([path for path in (folder / "made").rglob("*") if path.is_file()]) == 11
    assert all(path.exists() for path in made)
