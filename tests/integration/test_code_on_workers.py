"""Workers with different copies of one module: which code runs, and what people are told of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, wait_until

PIPELINE = """
import os, pathlib, time
import flow

WHO = "{who}"
{more}

class Part(flow.Task):
    n = flow.IntParameter()
    out = flow.Parameter()
    run_s = flow.FloatParameter(default=0.3)

    def output(self):
        return flow.LocalTarget(f"{{self.out}}/{{self.n}}")

    def run(self):
        pathlib.Path(f"{{self.out}}/started").touch()
        time.sleep(self.run_s)
        with self.output().open("w") as out:
            out.write(WHO)


class Top(flow.WrapperTask):
    out = flow.Parameter()
    count = flow.IntParameter(default=6)
    run_s = flow.FloatParameter(default=0.3)

    def requires(self):
        return [Part(n=n, out=self.out, run_s=self.run_s) for n in range(self.count)]
"""
DIFFERS = "two has other code than one: pipeline.py"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def start_worker(cluster: Cluster, name: str, *, who: str = "", more: str = "") -> None:
    """Start a worker with one slot and a copy of the module of its own."""
    folder = cluster.root / f"code-{name}"
    folder.mkdir()
    (folder / "pipeline.py").write_text(PIPELINE.format(who=who or name, more=more))
    cluster.start_worker(name, "--path", str(folder), slots=1)


def submit(cluster: Cluster, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return cluster.flow("submit", *words, "pipeline", "Top", "--out", str(out))


def detach(cluster: Cluster, out: Path, *words: str) -> str:
    """Submit; return the id of the run when the first of its tasks runs."""
    done = submit(cluster, out, "--detach", "--json", *words)
    assert done.returncode == 0, done.stderr
    wait_until((out / "started").exists, "a task to run")
    return str(json.loads(done.stdout)["run"])


def wait_for_note(cluster: Cluster, run: str, note: str) -> None:
    wait_until(lambda: note in cluster.summary(run).notes, f"{note!r} in {run}", pause_s=0.1)


def authors(out: Path) -> set[str]:
    return {path.read_text() for path in out.iterdir() if path.name != "started"}


def test_run_is_executed_with_the_code_that_planned_it_and_says_who_has_other(
    tmp_path: Path, out: Path
) -> None:
    with Cluster(tmp_path / "c") as cluster:
        cluster.start_coordinator()
        start_worker(cluster, "one")
        start_worker(cluster, "two")
        done = submit(cluster, out, "--run-s", "0.5")
        assert done.returncode == 0, done.stdout + done.stderr
        assert authors(out) == {"one"}
        assert done.stderr.count(f"! {DIFFERS}") == 1, done.stderr
        assert done.stdout.count(f"! {DIFFERS}") == 1, "the summary says so"
        assert "not all of it ran" not in done.stdout
        shown = cluster.flow("status", "last").stdout
        assert f"! {DIFFERS}" in shown


def test_strict_run_ends_when_the_worker_with_its_code_dies(tmp_path: Path, out: Path) -> None:
    with Cluster(tmp_path / "c", settings={"FLOW_CORE__STRICT_CODE": "true"}) as cluster:
        cluster.start_coordinator()
        start_worker(cluster, "one")
        start_worker(cluster, "two")
        run = detach(cluster, out, "--run-s", "1")
        wait_for_note(cluster, run, DIFFERS)
        cluster.workers["one"].kill()
        summary = cluster.wait_ended(run, "failed")
        assert authors(out) <= {"one"} and summary.exit_code == 25
        (cause,) = {error for _, error, _ in summary.causes}
        assert cause.startswith("no worker is left that has the code of the run") and "two" in cause
        said = cluster.flow("status", run).stdout
        assert "must not run" in said and "strict_code" in said, said
        shutil.rmtree(cluster.root / "one-attempts")  # nobody was left to do it


def test_run_goes_on_with_other_code_when_the_worker_with_its_own_leaves(
    tmp_path: Path, out: Path
) -> None:
    with Cluster(tmp_path / "c") as cluster:
        cluster.start_coordinator()
        start_worker(cluster, "one")
        start_worker(cluster, "two")
        run = detach(cluster, out, "--run-s", "1")
        wait_for_note(cluster, run, DIFFERS)
        assert cluster.workers["one"].stop() == 0
        wait_until(lambda: "two" in authors(out), "a task of the other code")
        listed = cluster.flow("tasks", "--run", run, "--json").stdout
        running = next(one for one in json.loads(listed)["tasks"] if one["state"] == "running")
        why = cluster.flow("why", running["task_id"]).stdout
        assert " on two; its run was planned with" in why and "pipeline.py" in why, why
        assert " code: " in cluster.flow("status", running["task_id"]).stdout
        summary = cluster.wait_ended(run)
        assert authors(out) == {"one", "two"} or authors(out) == {"two"}
        assert summary.notes[0] == DIFFERS
        assert summary.notes[-1].startswith("not all of it ran with the code")
        assert summary.notes[-1].endswith(" on two")


def test_import_that_fails_on_one_worker_is_told_at_once_and_by_flow_workers(
    tmp_path: Path, out: Path
) -> None:
    with Cluster(tmp_path / "c") as cluster:
        cluster.start_coordinator()
        start_worker(cluster, "one")
        start_worker(cluster, "two", more="import no_such_module")
        run = detach(cluster, out, "--run-s", "1")
        sentence = "two cannot import pipeline: "
        wait_until(
            lambda: any(sentence in note for note in cluster.summary(run).notes),
            "the import to fail",
            pause_s=0.1,
        )
        said = cluster.flow("workers").stdout.splitlines()
        row = next(at for at, line in enumerate(said) if line.startswith("two "))
        assert said[row + 1].startswith(f"  ! {run}: {sentence}"), said
        rows = {one["name"]: one["programs"] for one in cluster.json("workers")}
        assert [(one["run"], one["state"]) for one in rows["one"]] == [(run, "ready")]
        assert [(one["run"], one["state"]) for one in rows["two"]] == [(run, "failed")]
        assert len(rows["one"][0]["code"]) == 16 and rows["one"][0]["import_s"] > 0
        followed = cluster.flow("status", "-f", run)
        assert followed.returncode == 0 and followed.stderr.count(f"! {sentence}") == 1
        assert "no_such_module" in followed.stderr
        assert authors(out) == {"one"}


@pytest.mark.parametrize("missing_on", ["one", "two"])
def test_module_that_only_one_worker_has_is_planned_and_run_there(
    tmp_path: Path, out: Path, missing_on: str
) -> None:
    with Cluster(tmp_path / "c") as cluster:
        cluster.start_coordinator()
        for name in ("one", "two"):
            start_worker(cluster, name)
        (cluster.root / f"code-{missing_on}" / "pipeline.py").unlink()
        done = submit(cluster, out)
        assert done.returncode == 0, done.stdout + done.stderr
        assert authors(out) == {"one", "two"} - {missing_on}
        assert "has other code" not in done.stderr, "nobody has"
        assert done.stderr.count(f"! {missing_on} cannot import pipeline: ") <= 1


def test_import_that_fails_on_the_only_worker_is_told_once(tmp_path: Path, out: Path) -> None:
    with Cluster(tmp_path / "c") as cluster:
        cluster.start_coordinator()
        start_worker(cluster, "one", more="import no_such_module")
        done = submit(cluster, out)
        assert done.returncode == 35
        assert "! one cannot import" not in done.stderr + done.stdout
        assert "no_such_module" in done.stderr


def test_task_that_waits_for_a_slow_import_says_so(tmp_path: Path, out: Path) -> None:
    with Cluster(tmp_path / "c") as cluster:
        cluster.start_coordinator()
        gate = out.parent / "gate"
        more = f"while not os.path.exists({str(gate)!r}): time.sleep(0.05)"
        start_worker(cluster, "one", more=more)
        done = submit(cluster, out, "--detach", "--json")
        run = str(json.loads(done.stdout)["run"])
        name = json.loads(done.stdout)["name"]
        wait_until(
            lambda: "waits for the import of pipeline on one" in cluster.flow("why", name).stdout,
            "flow why to name the import",
        )
        gate.touch()
        cluster.wait_ended(run)
