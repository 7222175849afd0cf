"""What published pipelines do, with tasks of flow and of luigi, in processes and on a cluster."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster

LIBRARIES = ("flow", "luigi")

MODULE = """
    import os, pathlib
    import {library} as luigi

    HERE = pathlib.Path(__file__).parent

    def note(name, text):
        with open(HERE / name, "a") as f:
            f.write(text + "\\n")

    class Part(luigi.Task):
        n = luigi.IntParameter()
        def output(self):
            return luigi.LocalTarget(str(HERE / f"part-{{self.n}}"))
        def run(self):
            with self.output().open("w") as f:
                f.write("x")

    class Notifies(luigi.WrapperTask):
        def requires(self):
            return [Part(n=n) for n in range(3)]
        def run(self):
            note("notified", "all parts are there")

    class Keeps(luigi.Task):
        def requires(self):
            self.by_number = {{n: Part(n=n) for n in range(3)}}
            return self.by_number
        def output(self):
            return luigi.LocalTarget(str(HERE / "kept"))
        def run(self):
            with self.output().open("w") as f:
                f.write(",".join(str(n) for n in sorted(self.by_number)))

    class Load(luigi.Task):
        full = luigi.Parameter(default=True)
        def output(self):
            return luigi.LocalTarget(str(HERE / f"load-{{self.full}}"))
        def run(self):
            with self.output().open("w") as f:
                f.write("full load" if self.full else "increment")

    class Incremental(luigi.WrapperTask):
        def requires(self):
            return Load(full=False)

    class Crashes(luigi.Task):
        "It has done its work when its process dies; what it says of that is its own complete()."
        def complete(self):
            return (HERE / "worked").exists()
        def run(self):
            note("worked", "once")
            os.kill(os.getpid(), 9)

    class Always(luigi.Task):
        "Its complete() means something else than that its work is done."
        n = luigi.IntParameter()
        def complete(self):
            return (HERE / "ready").exists()
        def requires(self):
            return Readies()
        def run(self):
            note("always", str(self.n))

    class Readies(luigi.Task):
        def output(self):
            return luigi.LocalTarget(str(HERE / "ready"))
        def run(self):
            self.output().open("w").close()

    class Both(luigi.WrapperTask):
        def requires(self):
            return [Always(n=1), Always(n=2)]

    class Wide(luigi.WrapperTask):
        size = luigi.IntParameter()
        def requires(self):
            return [Text(n=n, sql="s" * self.size) for n in range(60)]

    class Text(luigi.Task):
        n = luigi.IntParameter()
        sql = luigi.Parameter()
        def complete(self):
            return False
        def run(self):
            pass
"""


@pytest.fixture(params=LIBRARIES)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Two workers with one module, of tasks of either library."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "reported.py").write_text(textwrap.dedent(MODULE).format(library=request.param))
    with Cluster(tmp_path / "c") as cluster:
        cluster.start_coordinator()
        for name in ("one", "two"):
            cluster.start_worker(name, "--path", str(code), slots=2)
        yield cluster


def runs(cluster: Cluster, *words: str, code: int = 0) -> Path:
    """Submit and wait; return where the module lies."""
    done = cluster.flow("submit", "reported", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return cluster.root.parent / "code"


def test_wrapper_with_a_run_of_its_own_runs_once_its_parts_are_there(cluster: Cluster) -> None:
    here = runs(cluster, "Notifies")
    assert (here / "notified").read_text() == "all parts are there\n"


def test_run_finds_what_requires_keeps_on_the_task(cluster: Cluster) -> None:
    assert (runs(cluster, "Keeps") / "kept").read_text() == "0,1,2"


def test_value_that_is_no_text_is_what_it_was_on_every_host(cluster: Cluster) -> None:
    assert (runs(cluster, "Incremental") / "load-False").read_text() == "increment"
    assert (runs(cluster, "Load", "--full", "False") / "load-False").exists()


def test_work_that_was_done_when_its_process_died_is_not_done_twice(cluster: Cluster) -> None:
    here = runs(cluster, "Crashes")
    assert (here / "worked").read_text() == "once\n"
    assert "1 complete ones were encountered" in cluster.flow("status", "last").stdout


def test_complete_that_turns_true_meanwhile_does_not_swallow_a_run(cluster: Cluster) -> None:
    here = runs(cluster, "Both")
    assert sorted((here / "always").read_text().split()) == ["1", "2"]


def test_run_of_tasks_with_long_parameters_ends_with_a_summary(cluster: Cluster) -> None:
    done = cluster.flow("submit", "reported", "Wide", "--size", "60000", timeout_s=100.0)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "60 Text(" in done.stdout and len(done.stdout) < 1 << 20
    shown = cluster.flow("status", "last")
    assert shown.returncode == 0 and "60 Text(" in shown.stdout


def test_two_tasks_whose_ids_cannot_tell_their_values_apart_are_refused(cluster: Cluster) -> None:
    code = cluster.root.parent / "code"
    with (code / "reported.py").open("a") as file:
        file.write(
            "\nclass Two(luigi.WrapperTask):\n"
            "    def requires(self):\n"
            "        return [Load(full=False), Load(full='False')]\n"
            "\nclass Object(luigi.WrapperTask):\n"
            "    def requires(self):\n"
            "        return Load(full=object())\n"
        )
    said = cluster.flow("submit", "reported", "Two")
    assert said.returncode == 35
    assert "two tasks have the id Load_False_" in said.stderr and "full=False" in said.stderr
    said = cluster.flow("submit", "reported", "Object")
    assert said.returncode == 35 and "1 failed scheduling" in said.stdout
    assert "Load --full" in said.stderr and "cannot be told to another process" in said.stderr
