"""Modules written for Luigi, unchanged: on this machine, and on a cluster that loses a worker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import luigi_pipeline
from tests.support.cluster import Cluster, wait_until

pytest.importorskip("luigi")

EXAMPLES = Path(__file__).parent.parent / "luigi_examples"
TIMEOUT_S = 90.0

#: A package finder that knows no luigi.
WITHOUT_LUIGI = """
import sys
class Blind:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "luigi":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blind())
"""

MIXED = """
import flow, luigi

class Low(luigi.Task):
    def output(self):
        return luigi.LocalTarget("low.txt")
    def run(self):
        with self.output().open("w") as out:
            out.write("low")

class Middle(flow.Task):
    def requires(self):
        return Low()
    def output(self):
        return flow.LocalTarget("middle.txt")
    def run(self):
        with self.output().open("w") as out:
            out.write(self.input().open().read() + " middle")

class High(luigi.Task):
    def requires(self):
        return Middle()
    def run(self):
        extra = yield Low()
        print(self.requires().output().open().read(), "high", extra.open().read())
"""

#: Holds a resource and says how many do at most.
HOLDERS = """
import os, time, luigi

class Holder(luigi.Task):
    n = luigi.IntParameter()
    resources = {"db": 1}
    def run(self):
        os.makedirs("held", exist_ok=True)
        open(f"held/{self.n}", "w").close()
        open("most", "a").write(f"{len(os.listdir('held'))}\\n")
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline and len(os.listdir("held")) < 3:
            time.sleep(0.01)
        open("most", "a").write(f"{len(os.listdir('held'))}\\n")
        os.remove(f"held/{self.n}")

class Holders(luigi.WrapperTask):
    def requires(self):
        return [Holder(n) for n in range(6)]
"""

SCRIPT = """
import luigi, luigi.mock, flow

class Kept(luigi.Task):
    n = luigi.IntParameter(default=1)
    def output(self):
        return luigi.mock.MockTarget(f"kept-{self.n}-{self.__module__}")
    def run(self):
        with self.output().open("w") as out:
            out.write("by " + luigi.configuration.get_config().get("who", "name"))

if __name__ == "__main__":
    luigi.configuration.add_config_path("added.cfg")
    result = flow.build([Kept()], workers=1, summary="none")
    print(bool(result), result.status.name, Kept().output().open().read())
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    shutil.copy(luigi_pipeline.__file__, tmp_path / "pipeline.py")
    return tmp_path


def python(place: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", *words],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env},
    )


def flow_run(place: Path, *words: str, code: int = 0, **env: str) -> str:
    done = python(place, "-m", "flow", "run", *words, **env)
    said = done.stdout + done.stderr
    assert done.returncode == code, f"exit code {done.returncode}, not {code}:\n{said}"
    return said


# ------------------------------------------------------------------------------------ flow run


def test_module_alone_lists_its_luigi_tasks(place: Path) -> None:
    said = flow_run(place, "pipeline")
    assert "  Written" in said and "Writes its name." in said and "some.space.Spaced" in said


def test_help_shows_parameters_with_defaults_of_luigi_cfg(place: Path) -> None:
    (place / "luigi.cfg").write_text("[Configured]\ngiven: 5\n")
    said = flow_run(place, "pipeline", "Configured", "--help")
    assert "--given  (Parameter)  [default: 5, from [Configured] of luigi's configuration]" in said
    assert "--number  (IntParameter)  [default: 0]" in said
    said = flow_run(place, "pipeline.py", "Leaf", "--help")
    assert "--n  (IntParameter)  required" in said and "which one" in said


@pytest.mark.parametrize(
    ("words", "piece"),
    [
        (("Leaf", "--n", "x"), "Leaf --n: invalid literal for int()"),
        (("Leaf",), "Leaf --n: no value given, and it has no default"),
        (("Leaf", "--m", "1"), "Leaf has no parameter 'm'"),
        (("Leef",), "Did you mean 'Leaf'?"),
        (("Many", "--size", "xl"), "Many --size: xl is not a valid choice"),
        (("Many", "--table", "{"), "Many --table:"),
    ],
)
def test_bad_words_are_explained_with_exit_code_2(
    words: tuple[str, ...], piece: str, place: Path
) -> None:
    assert piece in flow_run(place, "pipeline", *words, code=2)


def test_range_of_the_luigi_library_is_found_without_being_imported(place: Path) -> None:
    days = ("--start", "2026-01-30", "--stop", "2026-02-02", "--days-back", "99999")
    said = flow_run(place, "pipeline", "RangeDaily", "--of", "Daily", *days)
    assert "* 4 ran successfully:" in said
    assert len(list((place / "out").iterdir())) == 3


def test_missing_luigi_is_answered_with_the_line_that_installs_it(place: Path) -> None:
    (place / "sitecustomize.py").write_text(WITHOUT_LUIGI)
    said = flow_run(place, "pipeline", "Fan", code=35, PYTHONPATH=str(place))
    assert "No module named 'luigi'" in said
    assert "pip install 'flow-workflows[luigi]'" in said
    said = flow_run(place, "pipeline", code=35, PYTHONPATH=str(place))
    assert "pip install 'flow-workflows[luigi]'" in said


def test_limits_of_luigi_cfg_are_kept(place: Path) -> None:
    (place / "luigi.cfg").write_text("[resources]\ndb: 2\n")
    (place / "holders.py").write_text(HOLDERS)
    flow_run(place, "holders", "Holders", "--workers", "4")
    assert max(map(int, (place / "most").read_text().split())) == 2


def test_graph_of_both_kinds_of_tasks_runs(place: Path) -> None:
    (place / "mixed.py").write_text(MIXED)
    said = flow_run(place, "mixed", "High")
    assert "low middle high low" in said and "* 3 ran successfully:" in said


def test_script_builds_its_own_tasks_and_reads_their_mock_targets(place: Path) -> None:
    (place / "script.py").write_text(SCRIPT)
    (place / "added.cfg").write_text("[who]\nname: someone\n")
    done = python(place, "script.py")
    assert done.stdout.strip() == "True SUCCESS by someone", done.stderr


def test_missing_output_fails_unless_luigi_cfg_says_otherwise(place: Path) -> None:
    (place / "forgetful.py").write_text(
        "import luigi\n"
        "class Forgetful(luigi.Task):\n"
        "    def output(self):\n"
        "        return luigi.LocalTarget('never')\n"
    )
    assert "its output is missing: never" in flow_run(place, "forgetful", "Forgetful", code=30)
    (place / "luigi.cfg").write_text("[worker]\ncheck_complete_on_run: false\n")
    flow_run(place, "forgetful", "Forgetful")


def test_timeout_of_luigi_cfg_ends_a_task(place: Path) -> None:
    (place / "slow.py").write_text(
        "import threading, luigi\n"
        "class Slow(luigi.Task):\n"
        "    def run(self):\n"
        "        threading.Event().wait(60)\n"
    )
    (place / "luigi.cfg").write_text("[worker]\ntimeout: 1\n")
    assert "its timeout of 1 s" in flow_run(place, "slow", "Slow", code=30)


def test_script_with_flow_run_at_the_bottom_offers_its_luigi_tasks(place: Path) -> None:
    (place / "script.py").write_text(
        "import flow, luigi\n"
        "class Above(luigi.Task):\n"
        "    n = luigi.IntParameter(default=1)\n"
        "    def run(self):\n"
        "        print('above', self.n)\n"
        "if __name__ == '__main__':\n"
        "    flow.run()\n"
    )
    done = python(place, "script.py", "Above", "--n", "3")
    assert done.returncode == 0 and "above 3" in done.stdout + done.stderr
    assert "Its tasks: Above" in python(place, "script.py", "--help").stdout
    done = python(place, "script.py", "Abov")
    assert done.returncode == 2 and "Did you mean 'Above'?" in done.stderr


IN_HERE = """
import luigi, flow

class Above(luigi.Task):
    seen = None
    def run(self):
        below = yield Below()
        Above.seen = below.open().read()

class Below(luigi.Task):
    def output(self):
        return luigi.LocalTarget("below.txt")
    def run(self):
        with self.output().open("w") as out:
            out.write("from below")

print(bool(flow.build([Above()], summary="none", {how})), Above.seen)
"""


@pytest.mark.parametrize(
    ("how", "seen"), [("quiet=True", "None"), ("in_process=True", "from below")]
)
def test_tasks_of_a_shell_run_in_forks_of_it_or_in_it(how: str, seen: str, place: Path) -> None:
    done = python(place, "-c", IN_HERE.replace("{how}", how))
    assert done.stdout.strip() == f"True {seen}", done.stderr
    assert (place / "below.txt").read_text() == "from below"


# ------------------------------------------------------------------------------------ a cluster


#: A target as those of luigi.contrib: what marks the load is created at its first use.
MARKED = """
import contextlib, os, sqlite3, time
import luigi

def meet(name):
    "Wait until both loads are here."
    open(f"here-{name}", "w").close()
    until = time.monotonic() + 30
    while not all(os.path.exists(f"here-{each}") for each in "ab") and time.monotonic() < until:
        time.sleep(0.005)

class Marked(luigi.Target):
    def __init__(self, name):
        self.name = name

    def ask(self, text, *values):
        with contextlib.closing(sqlite3.connect("marks", timeout=60)) as connection, connection:
            return connection.execute(text, values).fetchall()

    def has_table(self):
        return bool(self.ask("select 1 from sqlite_master where name = 'table_updates'"))

    def create_marker_table(self):
        if not self.has_table():
            meet(self.name)
            self.ask("create table table_updates (update_id text)")

    def exists(self):
        wanted = "select 1 from table_updates where update_id = ?"
        return self.has_table() and bool(self.ask(wanted, self.name))

    def touch(self):
        self.create_marker_table()
        self.ask("insert into table_updates values (?)", self.name)

class Load(luigi.Task):
    name = luigi.Parameter()

    def output(self):
        return Marked(self.name)

    def run(self):
        open(f"runs-{self.name}", "a").write("x")
        self.output().touch()

class Loads(luigi.WrapperTask):
    def requires(self):
        return [Load(name="a"), Load(name="b")]
"""


def test_first_loads_that_create_one_table_of_markers_both_succeed(place: Path) -> None:
    (place / "marked.py").write_text(MARKED)
    said = flow_run(place, "--workers", "2", "marked", "Loads")
    assert "* 3 ran successfully" in said
    assert [(place / f"runs-{name}").read_text() for name in "ab"] == ["x", "x"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("luigi") / "c", "luigi_pipeline") as cluster:
        for path in EXAMPLES.glob("*.py"):
            # What they write outside of their directory is written inside of this one.
            text = path.read_text().replace("/tmp/", f"{cluster.root}/tmp-of-examples/")
            (cluster.modules / path.name).write_text(text)
        (cluster.root / "luigi.cfg").write_text("[scheduler]\nretry_delay: 0.1\n")
        yield cluster.start("w1", "w2")


def submit(cluster: Cluster, *words: str, code: int = 0) -> str:
    done = cluster.flow("submit", *words)
    said = done.stdout + done.stderr
    assert done.returncode == code, f"exit code {done.returncode}, not {code}:\n{said}"
    return said


def test_hello_world_example_runs(cluster: Cluster) -> None:
    said = submit(cluster, "hello_world", "examples.HelloWorldTask")
    assert "1 examples.HelloWorldTask()" in said


def test_top_artists_example_runs(cluster: Cluster) -> None:
    submit(cluster, "top_artists", "Top10Artists", "--date-interval", "2012-06")
    (top,) = (cluster.root / "data").glob("top_artists_*.tsv")
    assert len(top.read_text().splitlines()) == 10
    assert len(list((cluster.root / "data").glob("streams_2012_06_*"))) == 30


def test_summary_example_ends_as_its_comment_says(cluster: Cluster) -> None:
    said = submit(cluster, "execution_summary_example", "examples.EntryPoint", code=20)
    assert "examples.DateTask(date=1998-03-23...1998-04-01, num=5)" in said
    assert "    * 1 were missing external dependencies:" in said


def test_retry_example_counts_as_its_tasks_ask(cluster: Cluster) -> None:
    said = submit(cluster, "per_task_retry_policy", "examples.PerTaskRetryPolicy", code=30)
    assert "* 3 failed:" in said
    # 5, 2 and 3 of those that fail, 2 that do not, 1 that waits for one that does.
    assert ", 13 attempts on" in said


def test_dynamic_example_survives_the_death_of_a_worker(cluster: Cluster) -> None:
    done = cluster.flow(
        "submit", "--detach", "--json", "dynamic_requirements", "Dynamic", "--seed", "3"
    )
    run = json.loads(done.stdout)["run"]
    made = cluster.root / "tmp-of-examples"
    wait_until(lambda: len(list(made.glob("Data_*.txt"))) >= 2, "some data")
    cluster.workers["w1"].kill()
    followed = cluster.flow("status", "-f", run)
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert (made / "Dynamic_3.txt").read_text() == "Tada!"
    config = (made / "Config_3.txt").read_text().split(",")
    assert {path.name for path in made.glob("Data_*.txt")} == {f"Data_{n}.txt" for n in config}
    cluster.start_worker("w1")  # it clears away what it left when it was killed


def test_pipeline_on_two_workers_makes_the_files_of_one(cluster: Cluster) -> None:
    cluster.submit("AsksMany")
    cluster.submit("Dynamic")
    (out,) = (cluster.root / "out").glob("Dynamic_*")
    assert out.read_text().count("[('n',") == 4
    said = cluster.submit("HalfFails", code=30)
    assert "RuntimeError: because" in said and "pipeline" not in said


def test_batchable_tasks_run_as_one(cluster: Cluster) -> None:
    said = cluster.submit("Batches")
    # the second batch may find the output, which is that of all of them
    assert sum(map(int, re.findall(r"- (\d+) Batched", said))) == 8
    notes = (cluster.root / "notes.txt").read_text().splitlines()
    assert 1 <= sum(line.startswith("batch ran") for line in notes) < 8


def test_running_task_hears_a_message_and_replies(cluster: Cluster) -> None:
    cluster.detach("Hears")
    wait_until(lambda: "Hears" in cluster.flow("tasks", "--state", "running").stdout, "it to run")
    done = cluster.flow("message", "Hears__99914b932b", "get well", "--wait", "30s")
    assert "get well yourself" in done.stdout, done.stdout + done.stderr
    assert "heard get well" in (cluster.root / "notes.txt").read_text()
