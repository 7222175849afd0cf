"""``flow clean`` removes what tasks made: shown first, asked for, and never more than that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

TIMEOUT_S = 60.0

PIPELINE = """
import os, time
import flow

class Given(flow.ExternalTask):
    def output(self):
        return flow.LocalTarget("given")

class Leaf(flow.Task):
    n = flow.IntParameter()

    def requires(self):
        return Given()

    def output(self):
        return {"a": self.artifact("a.txt"), "plain": flow.LocalTarget(f"plain-{self.n}")}

    def run(self):
        self.output()["a"].dump("x")
        with self.output()["plain"].open("w") as out:
            out.write("y")

class Top(flow.Task):
    def requires(self):
        return [Leaf(n=n) for n in range(2)]

    def output(self):
        return self.artifact(".json")

    def run(self):
        self.output().dump(1)

class Slow(flow.Task):
    def requires(self):
        return Leaf(n=0)

    def run(self):
        with open("running", "w"):
            pass
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not os.path.exists("go"):
            time.sleep(0.02)

class Bad(flow.Task):
    def output(self):
        raise ValueError("no output")

class Grown(flow.Task):
    n = flow.IntParameter(default=1)
    if os.environ.get("GROWN"):
        version = os.environ["GROWN"]

    def output(self):
        return self.artifact()

    def run(self):
        self.output().dump(1)
"""


class Place:
    """A folder with a pipeline, an own root, and own private directories of the engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {name: text for name, text in os.environ.items() if name[:5] != "FLOW_"}
        self.env.update(FLOW_STORAGE__ROOT=str(folder / "root"), TMPDIR=f"{folder}/t")
        (folder / "t").mkdir()
        (folder / "pipeline.py").write_text(PIPELINE)
        (folder / "given").touch()

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "flow", *words],
            cwd=self.folder,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def flow(self, *words: str, code: int = 0, **env: str) -> str:
        process = self.start(*words, **env)
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == code, out + err
        return out + err

    def clean(self, *words: str, code: int = 0, **env: str) -> str:
        return self.flow("clean", "pipeline", *words, code=code, **env)

    def made(self) -> list[str]:
        root = self.folder / "root"
        return sorted(
            path.relative_to(root).parts[0] + "/" + path.name
            for path in root.rglob("*")
            if path.is_file()
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_clean_removes_the_task_alone_and_it_runs_again(place: Place) -> None:
    place.flow("run", "pipeline", "Top")
    assert place.made() == ["Leaf/a.txt", "Leaf/a.txt", "Top/Top.json"]
    said = place.clean("Top", "--dry-run")
    assert "Top.json" in said
    assert "Leaf" not in said
    assert "add --yes" in place.clean("Top", code=2)
    assert "Top/Top.json" in place.made()
    assert "Removed 1" in place.clean("Top", "--yes")
    assert place.made() == ["Leaf/a.txt", "Leaf/a.txt"]
    assert "Nothing to remove" in place.clean("Top", "--yes")
    place.flow("run", "pipeline", "Top")
    assert "Top/Top.json" in place.made()


def test_clean_in_depth_keeps_what_flow_did_not_make(place: Place) -> None:
    place.flow("run", "pipeline", "Top")
    said = place.clean("Top", "--depth", "all", "--yes")
    assert "stays: plain-0" in said
    assert "--all-outputs" in said
    assert place.made() == []
    assert (place.folder / "plain-0").exists()
    place.clean("Top", "--depth=1", "--all-outputs", "--yes")
    assert not (place.folder / "plain-0").exists()
    assert "stays: given" in place.clean("Top", "--depth", "2", "--all-outputs", "--yes")
    assert (place.folder / "given").exists()


def test_clean_as_json_removes_only_when_told(place: Place) -> None:
    place.flow("run", "pipeline", "Leaf", "--n", "1")
    found = json.loads(place.clean("Leaf", "--n", "1", "--json"))
    assert [each["task"] for each in found["found"]] == ["Leaf(n=1)"]
    assert found["removed"] == []
    assert [each["path"] for each in found["kept"]] == ["plain-1"]
    done = json.loads(place.clean("Leaf", "--n", "1", "--json", "--yes"))
    assert done["removed"] == [each["path"] for each in found["found"]]
    assert place.made() == []


def test_clean_of_a_task_in_an_unfinished_run_is_refused(place: Place) -> None:
    run = place.start("run", "pipeline", "Slow")
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not (place.folder / "running").exists():
            assert time.monotonic() < deadline and run.poll() is None
            time.sleep(0.02)
        said = place.clean("Leaf", "--n", "0", "--yes", code=10)
        assert "Leaf(n=0) is done in an unfinished run" in said
        assert place.made() == ["Leaf/a.txt"]
    finally:
        (place.folder / "go").touch()
        run.communicate(timeout=TIMEOUT_S)
    place.clean("Leaf", "--n", "0", "--yes")
    assert place.made() == []


def test_clean_asks_the_coordinator_it_is_told_of(place: Place) -> None:
    place.flow("run", "pipeline", "Leaf", "--n", "0")
    words = ("Leaf", "--n", "0", "--yes", "--coordinator")
    said = place.clean(*words, "ipc:///nowhere/c", code=60)
    assert "--coordinator none" in said
    assert place.made() == ["Leaf/a.txt"]
    place.clean(*words, "none")
    assert place.made() == []


def test_clean_of_stale_versions_keeps_the_present_one(place: Place) -> None:
    run = ("run", "pipeline", "Grown")
    place.flow(*run)
    for version in ("1", "2"):
        place.flow(*run, GROWN=version)
        place.flow(*run, "--n", "2", GROWN=version)
    other = place.folder / "root" / "Grown" / "mine"
    other.mkdir()
    families = sorted(path.name for path in (place.folder / "root" / "Grown").iterdir())
    assert len(families) == 4
    place.clean("Grown", "--stale", "--yes", GROWN="2")
    assert sorted(path.name for path in other.parent.iterdir()) == ["mine", "v2"]
    assert place.made() == ["Grown/Grown.json", "Grown/Grown.json"]
    assert "Nothing" in place.clean("Grown", "--stale", "--yes", GROWN="2")
    place.clean("Grown", "--stale", "--yes")
    assert place.made() == []


@pytest.mark.parametrize(
    ("words", "code", "piece"),
    [
        (["Nope"], 2, "Its tasks:"),
        (["Leaf"], 2, "--n"),
        (["Bad"], 35, "ValueError: no output"),
        (["Top", "--depth", "-1"], 2, "at least 0"),
        ([], 2, "flow clean MODULE TASK"),
    ],
)
def test_clean_of_what_cannot_be_told_says_why(
    place: Place, words: list[str], code: int, piece: str
) -> None:
    assert piece in place.clean(*words, code=code)
