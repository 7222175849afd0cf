"""The same gokart pipelines, run by ``gokart.build`` and by flow: same files, same contents."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import gokart_pipeline
from tests.support.cluster import Cluster

pytest.importorskip("gokart")

EXAMPLES = Path(__file__).parent.parent / "luigi_examples"
TIMEOUT_S = 90.0
CONFIG = "[TaskOnKart]\nworkspace_directory=./configured\n"
BY_GOKART = """
import sys, gokart, luigi, logging
sys.path.insert(0, "")
import pipeline
words = sys.argv[1:]
with luigi.cmdline_parser.CmdlineParser.global_instance(words) as parser:
    task = parser.get_task_obj()
gokart.build(task, reset_register=False, return_value=False, log_level=logging.CRITICAL)
"""
#: Names the module of the task that is handed over.
FAR = (
    "import gokart\n\nclass Far(gokart.TaskOnKart):\n    def run(self):\n        self.dump('far')\n"
)
NEAR = """
import gokart, luigi, far, pipeline

class Near(luigi.WrapperTask):
    def requires(self):
        return pipeline.Elsewhere(task=far.Far(workspace_directory="./far"))
"""
SCRIPT = """
import sys, gokart, luigi

class Made(gokart.TaskOnKart):
    def run(self):
        self.dump("made here")

class Top(gokart.TaskOnKart):
    def requires(self):
        return Made()
    def run(self):
        self.dump(self.load() + " on top")

if __name__ == "__main__":
    if sys.argv[1] == "flow":
        import flow
        assert flow.build([Top()], workers=2, summary="none")
        print(Top().output().load())
    else:
        print(gokart.build(Top()))
"""

LINES = [
    "Everything",
    "Everything --rerun",
    "Reads",
    "Coded",
    "Asks",
    "Strict",
    "Strict --strict-check",
    "Located",
]


def python(place: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *words],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def prepare(place: Path) -> Path:
    place.mkdir()
    shutil.copy(gokart_pipeline.__file__, place / "pipeline.py")
    (place / "luigi.cfg").write_text(CONFIG)
    return place


def files(place: Path) -> dict[str, bytes]:
    """Return what was made; of gokart's logs, whose contents have times, only that they are."""
    return {
        str(path.relative_to(place)): b"" if "/log/" in str(path) else path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and path.name not in ("pipeline.py", "luigi.cfg", "notes.txt")
        if path.suffix != ".zip"  # holds times
    }


@pytest.mark.parametrize("line", LINES)
def test_pipeline_makes_the_same_files(line: str, tmp_path: Path) -> None:
    theirs, ours = prepare(tmp_path / "gokart"), prepare(tmp_path / "flow")
    for _ in range(2 if "--" in line else 1):
        python(theirs, "-c", BY_GOKART, *line.split())
        python(ours, "-m", "flow", "run", "pipeline", *line.split(), "--workers", "2")
        assert files(ours) == files(theirs)
        notes = [each / "notes.txt" for each in (ours, theirs)]
        assert (
            sorted(notes[0].read_text().split()) == sorted(notes[1].read_text().split())
            if (notes[1].exists())
            else not notes[0].exists()
        )


NOTEBOOK = """
import gokart, flow
from gokart_notebook_example import ExampleTaskA, ExampleTaskB, ExampleTaskC, ExampleTaskD

task = ExampleTaskB(param="example", task_1=ExampleTaskC(), task_2=ExampleTaskD())
assert flow.build([task, ExampleTaskA(param="example")], workers=2, summary="none")
print(task.output().load(), ExampleTaskA(param="example").output().load())
"""


def test_example_of_the_notebook_runs(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "gokart_notebook_example.py", tmp_path)
    said = python(tmp_path, "-c", NOTEBOOK)
    assert said == "DONE example_TASKC_TASKD DONE example_2\n"


def test_empty_dump_fails_as_the_task_asks(tmp_path: Path) -> None:
    place = prepare(tmp_path / "flow")
    with pytest.raises(AssertionError, match="EmptyDumpError"):
        python(place, "-m", "flow", "run", "pipeline", "Empty")


def test_task_of_a_module_nobody_imports_is_a_parameter(tmp_path: Path) -> None:
    place = prepare(tmp_path / "flow")
    (place / "far.py").write_text(FAR)
    (place / "near.py").write_text(NEAR)
    python(place, "-m", "flow", "run", "near", "Near")
    assert len(list(place.glob("far/far/Far_*.pkl"))) == 1
    assert len(list(place.glob("configured/pipeline/Elsewhere_*.pkl"))) == 1


def test_script_finds_what_its_tasks_made(tmp_path: Path) -> None:
    theirs, ours = prepare(tmp_path / "gokart"), prepare(tmp_path / "flow")
    for place, how in ((theirs, "gokart"), (ours, "flow")):
        (place / "script.py").write_text(SCRIPT)
        assert python(place, "script.py", how) == "made here on top\n"
    assert files(ours).keys() == files(theirs).keys()


def test_rerun_runs_again_in_processes_that_ran_it_before(tmp_path: Path) -> None:
    with Cluster(tmp_path / "c", "gokart_pipeline") as cluster:
        cluster.start("w1")
        notes = cluster.root / "notes.txt"
        cluster.submit("Raw")
        cluster.submit("Raw")
        assert notes.read_text() == "raw 3\n"
        cluster.submit("Raw", "--rerun")
        cluster.submit("Raw", "--rerun")
        assert notes.read_text() == "raw 3\n" * 3
        cluster.submit("Strict", "--strict-check")
        (made,) = cluster.root.glob("resources/flowtasks/Strict_*.pkl")
        assert notes.read_text().endswith("raw 7\n") and made.exists()


DIAMONDS = """
import gokart, luigi

class Data(gokart.TaskOnKart):
    def run(self):
        self.dump([1])

class Step(gokart.TaskOnKart):
    source = gokart.TaskInstanceParameter()
    n = luigi.IntParameter()
    def requires(self):
        return self.source
    def run(self):
        self.dump(self.load())

class Join(gokart.TaskOnKart):
    parts = gokart.ListTaskInstanceParameter()
    right = gokart.TaskInstanceParameter()
    n = luigi.IntParameter()
    def requires(self):
        return dict(left=self.parts[0], right=self.right)
    def run(self):
        self.dump(self.load("left") + self.load("right"))

class Diamonds(gokart.TaskOnKart):
    depth = luigi.IntParameter()
    def requires(self):
        task = Data(workspace_directory="./elsewhere")
        for n in range(self.depth):
            task = Join(parts=[task], right=Step(source=task, n=n), n=n)
        return task
    def run(self):
        self.dump(len(self.load()))
"""


def test_tasks_that_hold_tasks_twice_at_each_step_run_as_with_gokart(tmp_path: Path) -> None:
    theirs, ours = prepare(tmp_path / "gokart"), prepare(tmp_path / "flow")
    for place in (theirs, ours):
        (place / "pipeline.py").write_text(DIAMONDS)
    python(theirs, "-c", BY_GOKART, "Diamonds", "--depth=3")
    python(ours, "-m", "flow", "run", "pipeline", "Diamonds", "--depth=3")
    assert files(ours) == files(theirs)
    python(ours, "-m", "flow", "run", "pipeline", "Diamonds", "--depth=10", "--quiet")
    assert len(list(ours.glob("configured/pipeline/Join_*.pkl"))) == 10
    assert len(list(ours.glob("elsewhere/pipeline/Data_*.pkl"))) == 1
