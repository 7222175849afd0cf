"""Artifacts through the real engine: every process finds the same ones, without any path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.remote_servers import BUCKET, s3_server

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


def python(folder: Path, *words: str, code: int = 0, **more: str) -> str:
    env = {name: text for name, text in os.environ.items() if not name.startswith("FLOW_")}
    env.update(more)
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


TEMPORARY = '''
import os, sys
import flow

class Raw(flow.Task):
    n = flow.IntParameter(default=1)

    def output(self):
        return {"raw": self.artifact("raw.txt", temporary=True), "log": self.artifact("log.txt")}

    def run(self):
        print("run raw")
        self.output()["raw"].dump("x" * self.n)
        self.output()["log"].dump("log")

class Use(flow.Task):
    name = flow.Parameter()
    n = flow.IntParameter(default=1)

    def requires(self):
        return Raw(n=self.n)

    def output(self):
        return self.artifact(".json")

    def run(self):
        size = len(self.input()["raw"].load())
        if self.name == "bad" and not os.path.exists("good"):
            raise ValueError("bad")
        self.output().dump(size)

class Both(flow.WrapperTask):
    names = flow.ListParameter(default=("a", "b"))

    def requires(self):
        return [Use(name=name) for name in self.names]

class Yields(flow.Task):
    def requires(self):
        return Use(name="a", n=3)

    def output(self):
        return self.artifact(".json")

    def run(self):
        target = (yield Raw(n=3))["raw"]
        self.output().dump(len(target.load()))

class Own(flow.Task):
    """Says by its own means whether it is complete."""

    def output(self):
        return self.artifact("own.txt", temporary=True)

    def complete(self):
        return os.path.exists(os.path.join(os.environ["FLOW_STORAGE__ROOT"], "own"))

    def run(self):
        self.output().dump("own")
        open(os.path.join(os.environ["FLOW_STORAGE__ROOT"], "own"), "w").close()

class UseOwn(flow.Task):
    def requires(self):
        return Own()

    def output(self):
        return self.artifact(".txt")

    def run(self):
        self.output().dump(self.input().load())

if __name__ == "__main__":
    in_process = sys.argv[1] == "in_process"
    assert flow.build([Both()], quiet=True, in_process=in_process)
    print("a", Use(name="a").output().load(), Raw().output()["raw"].exists())
'''


def made(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "made").rglob("*") if path.is_file())


def run_temporary(folder: Path, *words: str, code: int = 0) -> str:
    (folder / "temporary.py").write_text(TEMPORARY)
    return python(folder, "-m", "flow", "run", "temporary", *words, code=code)


def test_temporary_artifact_is_gone_when_the_run_has_ended(folder: Path) -> None:
    said = run_temporary(folder, "Both")
    assert said.count("run raw") == 1, said
    assert made(folder) == ["Use.json", "Use.json", "log.txt"]
    assert "run raw" not in run_temporary(folder, "Both")


def test_temporary_artifact_that_a_new_task_needs_is_made_again(folder: Path) -> None:
    run_temporary(folder, "Both")
    assert run_temporary(folder, "Both", "--names", '["a", "c"]').count("run raw") == 1
    assert made(folder) == ["Use.json", "Use.json", "Use.json", "log.txt"]


def test_temporary_artifact_stays_for_a_task_that_failed(folder: Path) -> None:
    run_temporary(folder, "Both", "--names", '["a", "bad"]', code=30)
    assert made(folder) == ["Use.json", "log.txt", "raw.txt"]
    (folder / "good").touch()
    assert "run raw" not in run_temporary(folder, "Both", "--names", '["a", "bad"]')
    assert made(folder) == ["Use.json", "Use.json", "log.txt"]


def test_temporary_artifact_that_is_yielded_is_there(folder: Path) -> None:
    run_temporary(folder, "Yields")
    assert made(folder) == ["Use.json", "Yields.json", "log.txt"]


def test_temporary_artifact_of_a_task_with_its_own_complete_goes_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "temporary.py").write_text(TEMPORARY)
    root = folder / "made"
    root.mkdir()
    env = {**os.environ, "FLOW_STORAGE__ROOT": str(root)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "flow", "run", "temporary", "UseOwn"],
            cwd=folder, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert made(folder) == ["UseOwn.txt", "own"]


@pytest.mark.parametrize("how", ["in_process", "children"])
def test_temporary_artifact_of_a_build_goes_too(folder: Path, how: str) -> None:
    (folder / "temporary.py").write_text(TEMPORARY)
    assert python(folder, "temporary.py", how).splitlines()[-1] == "a 1 False"


def test_artifacts_on_s3_are_shared_removed_and_cleaned_like_files(folder: Path) -> None:
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    (folder / "temporary.py").write_text(TEMPORARY)
    with s3_server() as server:
        env = {**server.environment, "FLOW_STORAGE__ROOT": f"s3://{BUCKET}/made"}

        def names() -> list[str]:
            return sorted(key.rpartition("/")[2] for key in server.visible())

        said = python(folder, "-m", "flow", "run", "temporary", "Both", **env)
        assert said.count("run raw") == 1, said
        assert names() == ["Use.json", "Use.json", "log.txt"]
        assert all(key.startswith("made/") for key in server.visible())
        clean = ("-m", "flow", "clean", "temporary")
        python(folder, *clean, "Use", "--name", "a", "--yes", **env)
        assert names() == ["Use.json", "log.txt"]
        source = (folder / "temporary.py").read_text()
        (folder / "temporary.py").write_text(
            source.replace("class Use(flow.Task):", "class Use(flow.Task):\n    version = 2")
        )
        python(folder, "-m", "flow", "run", "temporary", "Use", "--Use-name", "b", **env)
        assert names() == ["Use.json", "Use.json", "log.txt"]
        python(folder, *clean, "Use", "--stale", "--yes", **env)
        assert names() == ["Use.json", "log.txt"]
        assert any("/Use/v2/" in key for key in server.visible())
