"""``--Family-param`` reaches the tasks of that family wherever they are made, or is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_S = 60.0

PIPELINE = """
import os
import flow

HERE = os.path.dirname(os.path.abspath(__file__))

def say(*words):
    with open(os.path.join(HERE, "said"), "a") as said:
        said.write(" ".join(map(str, words)) + "\\n")

class site(flow.Config):
    base = flow.Parameter(default="none")

class Load(flow.Task):
    day = flow.IntParameter()
    region = flow.Parameter(default="EU")
    resources = {"db": 1}

    def run(self):
        say("Load", self.day, self.region, site().base)

class Spaced(flow.Task):
    task_namespace = "deep.space"
    n = flow.IntParameter(default=0)

    def run(self):
        say("Spaced", self.n)

class Report(flow.Task):
    day = flow.IntParameter()
    text = flow.Parameter(default="x")

    def requires(self):
        yield Load(day=self.day)
        yield Spaced()
        if self.day:
            yield Report(day=0)

    def run(self):
        say("Report", self.day, self.text or "nothing")

if __name__ == "__main__":
    flow.run()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the pipeline and no settings."""
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, **env},
    )


def said(place: Path) -> list[str]:
    return sorted((place / "said").read_text().splitlines())


WORDS = [
    "Report", "--day", "7", "--Load-region", "US", "--site-base", "/data",
    "--deep.space.Spaced-n", "4", "--Report-text", "all", "--text", "",
]  # fmt: skip
SAID = [
    "Load 0 US /data",
    "Load 7 US /data",
    "Report 0 all",
    "Report 7 nothing",
    "Spaced 4",
]


@pytest.mark.parametrize(
    "how",
    [
        ["-m", "flow", "run", "pipeline"],
        ["-m", "flow", "run", "--in-process", "pipeline"],
        ["pipeline.py"],
    ],
)
def test_value_for_a_family_reaches_its_tasks_in_every_process(place: Path, how: list[str]) -> None:
    done = python(*how, *WORDS, FLOW_TASK__Load__region="weaker")
    assert done.returncode == 0, done.stdout + done.stderr
    assert said(place) == SAID


def test_value_for_a_family_reaches_tasks_that_run_in_the_calling_process(place: Path) -> None:
    source = PIPELINE.replace("os.path.abspath(__file__)", "'./x'")
    source = source.partition("if __name__")[0] + "import sys; flow.run(sys.argv[1:]); "
    source += "print(Load(day=1).region)\n"
    done = python("-c", source, *WORDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert said(place) == SAID
    assert done.stdout.splitlines()[-1] == "EU"


def test_value_for_a_family_that_does_not_fit_or_exist_is_named(place: Path) -> None:
    done = python("-m", "flow", "run", "pipeline", "Report", "--day", "7", "--Spaced-x", "1")
    assert done.returncode == 2
    assert "Report has no parameter 'Spaced_x'" in done.stdout + done.stderr
    done = python(
        "-m", "flow", "run", "pipeline", "Report", "--day", "7", "--deep.space.Spaced-n", "x"
    )
    assert done.returncode == 35
    assert (
        "Spaced --n from --deep.space.Spaced-n: 'x' is not a whole number"
        in done.stdout + done.stderr
    )


def test_limits_of_resources_in_luigis_file_hold(place: Path) -> None:
    (place / "luigi.cfg").write_text("[resources]\ndb = 0\n[Load]\nregion = ASIA\n")
    words = ("-m", "flow", "run", "pipeline", "Load", "--day", "1")
    refused = python(*words)
    assert refused.returncode == 25, refused.stdout + refused.stderr
    assert "db" in refused.stdout + refused.stderr
    (place / "flow.toml").write_text("[resources]\ndb = 2\n")
    assert python(*words).returncode == 0
    assert said(place) == ["Load 1 ASIA none"]


def test_value_for_a_family_reaches_tasks_written_for_luigi(place: Path) -> None:
    pytest.importorskip("luigi")
    source = PIPELINE.replace("import flow", "import luigi as flow").partition("if __name__")[0]
    source = source.replace("    def run(self):", "    done = False\n    def run(self):")
    source = source.replace("        say(", "        self.done = True; say(")
    source = source.replace(
        "    resources = ", "    def complete(self): return self.done\n    resources = "
    )
    (place / "old.py").write_text(source)
    (place / "luigi.cfg").write_text("[core]\nautoload_range = false\n")
    words = ["Load", "--day", "1", "--site-base", "/data%2", "--region", "US"]
    done = python("-m", "flow", "run", "old", *words)
    assert said(place) == ["Load 1 US /data%2"], done.stdout + done.stderr
    done = python("-m", "flow", "run", "old", *words, "--Nowhere-x", "1")
    assert done.returncode == 2
    assert "no parameter 'Nowhere_x'" in done.stdout + done.stderr


NESTED = (
    PIPELINE.partition("if __name__")[0]
    + """
class Outer(flow.Task):
    inside = flow.BoolParameter(default=False)

    def run(self):
        said = [Load(day=1).region, site().base]
        flow.build([Load(day=2)], in_process=self.inside, quiet=True, workers=1)
        print("outer", *said, Load(day=1).region, site().base)
"""
)


@pytest.mark.parametrize("outer", [[], ["--in-process"]])
@pytest.mark.parametrize("inner", [[], ["--inside"]])
def test_run_inside_a_task_does_not_take_over_its_values(
    place: Path, outer: list[str], inner: list[str]
) -> None:
    (place / "nested.py").write_text(NESTED)
    words = ["nested", "Outer", *inner, "--Load-region", "US", "--site-base", "/data"]
    done = python("-m", "flow", "run", *outer, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "outer US /data US /data" in done.stdout + done.stderr
    # Made by the outer task, run by the inner run.
    assert said(place) == ["Load 2 US none"]


def test_value_for_a_family_reaches_tasks_of_luigi_with_a_toml_file(place: Path) -> None:
    pytest.importorskip("luigi")
    pytest.importorskip("toml")
    (place / "luigi.toml").write_text("[Low]\nm = 7\n")
    (place / "tomls.py").write_text(
        "import luigi\n"
        "class Low(luigi.Task):\n"
        "    n = luigi.IntParameter(default=0)\n"
        "    m = luigi.IntParameter(default=0)\n"
        "    def run(self): print('low', self.n, self.m)\n"
        "class High(luigi.WrapperTask):\n"
        "    def requires(self): return Low()\n"
    )
    for words, seen in (["--Low-n", "3"], "low 3 7"), (["--Low-m", "3"], "low 0 3"):
        done = python("-m", "flow", "run", "tomls", "High", *words, LUIGI_CONFIG_PARSER="toml")
        assert seen in done.stdout + done.stderr, done.stdout + done.stderr
