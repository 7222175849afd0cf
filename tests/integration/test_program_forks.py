"""What an import may leave in a template, and how the processes of its run begin all the same."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster

TASKS = """

class Tells(flow.Task):
    n = flow.IntParameter()
    out = flow.Parameter()

    def output(self):
        return flow.LocalTarget(os.path.join(self.out, str(self.n)))

    def run(self):
        time.sleep(0.1)
        with self.output().open("w") as file:
            file.write(json.dumps({"pid": os.getpid(), "parent": os.getppid(), **found()}))

class TellsAll(flow.WrapperTask):
    out = flow.Parameter()

    def requires(self):
        return [Tells(n=n, out=self.out) for n in range(6)]
"""
HEAD = "import json, os, threading, time\nimport flow\n"

#: A thread that the whole module counts on, with a lock that it holds nearly always.
THREADED = """
LOCK = threading.Lock()
TURNS = []

def work():
    while True:
        with LOCK:
            TURNS.append(1)
            time.sleep(0.002)

threading.Thread(target=work, name="heart", daemon=True).start()

def found():
    before = len(TURNS)
    time.sleep(0.1)
    with LOCK:
        return {"beats": len(TURNS) > before, "threads": [t.name for t in threading.enumerate()]}
"""

BREAKS_WAITPID = """
def broken(*_):
    raise RuntimeError("no such luck")

os.waitpid = broken
"""

#: State of a library that must be told of forks, as gRPC's is.
TOLD_OF_FORKS = """
STATE = {"generation": 0, "prepared": 0}

def prepare():
    STATE["prepared"] += 1

def begin_anew():
    STATE["generation"] += 1

os.register_at_fork(before=prepare, after_in_child=begin_anew)

def found():
    return dict(STATE)
"""

#: Threads of BLAS, which forks survive, that have worked already.
NUMBERS = """
import numpy
A = numpy.random.default_rng(1).random((400, 400))
EXPECTED = float((A @ A).sum())

def found():
    return {"same": abs(float((A @ A).sum()) - EXPECTED) < 1e-6 * abs(EXPECTED)}
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    settings = {"OPENBLAS_NUM_THREADS": "8", "OMP_NUM_THREADS": "8"}
    with Cluster(tmp_path / "c", settings=settings) as cluster:
        cluster.start("w1", slots=2)
        yield cluster


def told(cluster: Cluster, out: Path, body: str) -> list[dict[str, Any]]:
    """Run six tasks of a module; return what they found."""
    out.mkdir()
    (cluster.modules / "forked.py").write_text(HEAD + body + TASKS)
    done = cluster.flow("submit", "forked", "TellsAll", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(path.read_text()) for path in sorted(out.iterdir())]


def test_import_that_starts_a_thread_is_done_by_each_process(
    cluster: Cluster, tmp_path: Path
) -> None:
    found = told(cluster, tmp_path / "out", THREADED)
    assert all(one["beats"] and "heart" in one["threads"] for one in found)
    # not forked from a template: the supervisor is their parent
    assert {one["parent"] for one in found} == {cluster.workers["w1"].pid}


def test_import_is_done_by_each_process_where_settings_say_so(
    cluster: Cluster, tmp_path: Path
) -> None:
    place = Path(os.readlink(f"/proc/{cluster.workers['w1'].pid}/cwd"))
    (place / "flow.toml").write_text('worker.fork = "never"\n')
    found = told(cluster, tmp_path / "out", TOLD_OF_FORKS)
    assert {one["parent"] for one in found} == {cluster.workers["w1"].pid}
    assert all(one["generation"] == 0 for one in found)


def test_import_that_takes_too_long_is_the_error_of_the_run(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.env["FLOW_WORKER__IMPORT_TIMEOUT_S"] = "0.5"
    cluster.workers["w1"].stop(signal.SIGTERM)
    cluster.start_worker("w2", slots=1)
    (cluster.modules / "forked.py").write_text(HEAD + "time.sleep(1000)" + TASKS)
    done = cluster.flow("submit", "forked", "TellsAll", "--out", str(tmp_path))
    assert done.returncode == 35, done.stdout + done.stderr
    assert "the import of forked ended its process" in done.stdout + done.stderr


def test_import_that_breaks_what_processes_need_is_the_error_of_the_run(
    cluster: Cluster, tmp_path: Path
) -> None:
    broken = (
        "\n\ndef broken(*_):\n    raise RuntimeError('no such luck')\n\n\nos.waitpid = broken\n"
    )
    (cluster.modules / "forked.py").write_text(HEAD + broken + TASKS)
    done = cluster.flow("submit", "forked", "TellsAll", "--out", str(tmp_path))
    assert done.returncode == 35, done.stdout + done.stderr
    assert "the import of forked left a process that ended" in done.stdout
    assert "RuntimeError: no such luck" in done.stdout


def test_import_that_is_told_of_forks_is_told_of_each(cluster: Cluster, tmp_path: Path) -> None:
    found = told(cluster, tmp_path / "out", TOLD_OF_FORKS)
    assert all(one["generation"] == 1 and one["prepared"] >= 1 for one in found)
    assert {one["parent"] for one in found} != {cluster.workers["w1"].pid}


def test_import_that_leaves_threads_of_blas_is_forked(cluster: Cluster, tmp_path: Path) -> None:
    found = told(cluster, tmp_path / "out", NUMBERS)
    assert all(one["same"] for one in found)
    assert {one["parent"] for one in found} != {cluster.workers["w1"].pid}
