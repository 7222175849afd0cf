"""Modules that give one name to different tasks: on a cluster, in one graph, and in one process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, wait_until

LIBRARIES = ("flow", "luigi")

#: A region: what it sold, and a report on that. All families and parameters are those of others.
REGION = """
    import datetime, os, time
    import {library} as lib

    HERE = os.path.dirname(os.path.abspath(__file__))

    def told(word, task):
        with open(os.path.join(HERE, "told"), "a") as f:
            f.write(f"{{word}} {region} {{task.task_id}} {{time.monotonic_ns()}}\\n")

    class Sales(lib.Task):
        day = lib.Parameter(default="monday")
        pause = lib.FloatParameter(default=0.0, significant=False)
        def output(self):
            return lib.LocalTarget(f"{{HERE}}/{region}-sales-{{self.day}}")
        def run(self):
            told("begin", self)
            until = time.monotonic() + (60.0 if self.day == "asked" else self.pause)
            while time.monotonic() < until:  # who asks about it cancels it, too
                time.sleep(0.02)
            with self.output().open("w") as f:
                f.write("{region}")
            told("end", self)

    class Report(lib.Task):
        day = lib.Parameter(default="monday")
        pause = lib.FloatParameter(default=0.0, significant=False)
        def requires(self):
            return Sales(day=self.day, pause=self.pause)
        def output(self):
            return lib.LocalTarget(f"{{HERE}}/{region}-report-{{self.day}}")
        def run(self):
            with self.input().open() as i, self.output().open("w") as o:
                o.write(i.read())

    class Daily(lib.Task):
        date = lib.DateParameter()
        def output(self):
            return lib.LocalTarget(f"{{HERE}}/{region}-daily-{{self.date}}")
        def run(self):
            with self.output().open("w") as f:
                f.write("{region}")

    class Nested(lib.Task):
        def output(self):
            return lib.LocalTarget(f"{{HERE}}/{region}-nested")
        def run(self):
            import south
            if "{region}" == "north":
                yield south.Nested()
            with self.output().open("w") as f:
                f.write("{region}")
"""

BOTH = """
    import os
    import {library} as lib
    import north, south
    from repeats import Twice

    HERE = os.path.dirname(os.path.abspath(__file__))

    class Write(lib.Task):
        label = lib.Parameter()
        def output(self):
            return lib.LocalTarget(f"{{HERE}}/both-{{self.label}}")
        def write(self, parts):
            text = ""
            for part in parts:
                with part.open() as f:
                    text += f.read() + " "
            with self.output().open("w") as f:
                f.write(text)

    class Required(Write):
        def requires(self):
            each = {{"day": "both", "pause": 0.3}}
            return {{"n": north.Sales(**each), "s": south.Sales(**each)}}
        def run(self):
            self.write([self.input()["n"], self.input()["s"]])

    class Yielded(Write):
        def run(self):
            n, s = yield north.Sales(day="some"), south.Sales(day="some")
            self.write([n, s])

    class Named(Write):
        def requires(self):
            return [Twice(of=north.Sales), Twice(of=south.Sales)]
        def run(self):
            self.write(self.input())
"""

#: A library of somebody: its task is given a class.
REPEATS = """
    import os
    import {library} as lib

    class Twice(lib.Task):
        of = lib.TaskParameter()
        def output(self):
            folder = os.path.dirname(os.path.abspath(__file__))
            return lib.LocalTarget(f"{{folder}}/twice-{{self.of.__module__}}")
        def run(self):
            with self.output().open("w") as f:
                f.write(f"{{self.of.__module__}} twice")
"""


def write(folder: Path, library: str) -> None:
    sources = {
        "north": REGION.format(library=library, region="north"),
        "south": REGION.format(library=library, region="south"),
        "both": BOTH.format(library=library),
        "repeats": REPEATS.format(library=library),
    }
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(source))


@pytest.fixture(scope="module", params=LIBRARIES)
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("same") / "c"
    with Cluster(root) as cluster:
        write(cluster.modules, request.param)
        cluster.start("w1", "w2", slots=2)
        yield cluster


def submit(cluster: Cluster, *words: str, code: int = 0) -> str:
    done = cluster.flow("submit", *words)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    return said


def text(cluster: Cluster, name: str) -> str:
    return (cluster.modules / name).read_text()


def spans(folder: Path, piece: str) -> list[tuple[int, int]]:
    """Say from when to when what the regions sold was looked up, in order."""
    begun: dict[tuple[str, str], int] = {}
    found = []
    for line in (folder / "told").read_text().splitlines():
        word, region, task_id, at_ns = line.split()
        if piece in task_id:
            if word == "begin":
                begun[region, task_id] = int(at_ns)
            else:
                found.append((begun[region, task_id], int(at_ns)))
    return sorted(found)


def test_runs_of_two_modules_with_one_family_do_their_own_work(cluster: Cluster) -> None:
    words = ("Report", "--day", "busy", "--pause", "1.0")
    first = cluster.flow("submit", "--detach", "--json", "north", *words)
    assert first.returncode == 0, first.stderr
    wait_until(lambda: (cluster.modules / "told").exists(), "the first run to begin")
    submit(cluster, "south", *words)
    cluster.wait_ended("r-1")
    assert text(cluster, "north-report-busy") == "north"
    assert text(cluster, "south-report-busy") == "south"
    (_, ended), (begun, _) = spans(cluster.modules, "busy")
    assert ended < begun


@pytest.mark.parametrize("family", ["Required", "Yielded", "Named"])
def test_graph_with_tasks_of_one_id_runs_each(cluster: Cluster, family: str) -> None:
    submit(cluster, "both", family, "--label", family)
    twice = " twice" if family == "Named" else ""
    assert text(cluster, f"both-{family}") == f"north{twice} south{twice} "
    if family == "Required":
        (_, ended), (begun, _) = spans(cluster.modules, "both")
        assert ended < begun


def test_class_of_a_library_that_is_given_classes_is_another_task_for_each(
    cluster: Cluster,
) -> None:
    words = (
        "--of",
        "Daily",
        "--start",
        "2026-01-01",
        "--stop",
        "2026-01-03",
        "--days-back",
        "99999",
    )
    for region in ("north", "south"):
        submit(cluster, region, "RangeDaily", *words)
        assert text(cluster, f"{region}-daily-2026-01-02") == region


def test_task_that_waits_for_its_own_twin_fails_and_names_both(cluster: Cluster) -> None:
    said = submit(cluster, "north", "Nested", code=30)
    assert "Nested() of north" in said
    assert "Nested() of south" in said
    assert "task_namespace" in said


def test_why_lists_tasks_of_one_id_with_their_modules(cluster: Cluster) -> None:
    words = ("Report", "--day", "asked")
    for region in ("north", "south"):
        done = cluster.flow("submit", "--detach", "--json", region, *words)
        assert done.returncode == 0, done.stderr
    both = wait_until(
        lambda: [
            row for row in cluster.json("tasks", "Sales_asked")["tasks"] if " of " in row["task"]
        ],
        "both tasks",
    )
    assert {row["task"].rpartition(" of ")[2] for row in both} == {"north", "south"}
    asked = cluster.flow("why", both[0]["task_id"])
    assert asked.returncode == 2
    for row in both:
        assert row["task"] in asked.stderr
    told = [cluster.flow("why", f"{row['task_id']} of {row['task'].split()[-1]}") for row in both]
    assert any("which may write the same files" in one.stdout for one in told), told
    (waiting,) = [one for one in told if "which may write the same files" in one.stdout]
    assert "of module" in waiting.stdout
    for row in both:
        name = f"{row['task_id']} of {row['task'].split()[-1]}"
        done = cluster.flow("cancel", name)
        assert done.returncode == 0, done.stderr


EMBEDDED = """
    import {library} as lib
    import both, flow, sys
    if __name__ == "__main__":
        for family in ("Required", "Yielded", "Named"):
            task = getattr(both, family)(label=family)
            assert flow.build([task], in_process=sys.argv[1] == "here"), family
"""


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("where", ["here", "there"])
def test_program_of_its_own_runs_tasks_of_one_id(library: str, where: str, tmp_path: Path) -> None:
    write(tmp_path, library)
    (tmp_path / "program.py").write_text(textwrap.dedent(EMBEDDED.format(library=library)))
    done = subprocess.run(
        [sys.executable, "program.py", where],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for family, twice in (("Required", ""), ("Yielded", ""), ("Named", " twice")):
        said = (tmp_path / f"both-{family}").read_text()
        assert said == f"north{twice} south{twice} "
    (_, ended), (begun, _) = spans(tmp_path, "both")
    assert ended < begun
