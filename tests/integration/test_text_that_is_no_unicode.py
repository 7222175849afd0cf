"""Names of files in another encoding have lone surrogates; what they get into still arrives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster

MODULE = """
import logging, os, sys
import flow

BAD = os.fsdecode(b"r\\xe9sum\\xe9.csv")

class Raises(flow.Task):
    def run(self):
        raise FileNotFoundError(f"no such file: {BAD}")

class Exits(flow.Task):
    def run(self):
        sys.exit(BAD)

class OnFailure(flow.Task):
    def run(self):
        raise RuntimeError(BAD)
    def on_failure(self, exception):
        return BAD

class RequiresRaises(flow.Task):
    def requires(self):
        raise ValueError(BAD)

class CompleteRaises(flow.Task):
    def complete(self):
        raise ValueError(BAD)

class OfFile(flow.Task):
    name = flow.Parameter()

class RequiresIt(flow.Task):
    def requires(self):
        return OfFile(name=BAD)

class YieldsIt(flow.Task):
    def run(self):
        yield OfFile(name=BAD)

class Missing(flow.Task):
    def output(self):
        return flow.LocalTarget(BAD)

class Says(flow.Task):
    resources = {BAD: 1}
    def output(self):
        return flow.LocalTarget(BAD)
    def run(self):
        self.set_status_message(BAD)
        self.set_tracking_url(BAD)
        self.decrease_running_resources({BAD: 1})
        logging.getLogger(BAD).warning(BAD)
        print(BAD)
        with self.output().open("w") as out:
            out.write("ok")
"""
BROKEN = """
import os
raise ValueError(os.fsdecode(b"r\\xe9sum\\xe9.csv"))
"""
SPELLED = "r\\udce9sum\\udce9.csv"
FAILING = {
    "Raises": (30, f"FileNotFoundError: no such file: {SPELLED}"),
    "Exits": (30, f"sys.exit('{SPELLED}') was called"),
    "OnFailure": (30, f"RuntimeError: {SPELLED}"),
    "RequiresRaises": (35, f"ValueError: {SPELLED}"),
    "CompleteRaises": (35, f"ValueError: {SPELLED}"),
    "RequiresIt": (35, f"'{SPELLED}' is not valid Unicode text"),
    "YieldsIt": (30, f"'{SPELLED}' is not valid Unicode text"),
    "Missing": (30, SPELLED),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("odd") / "c") as cluster:
        (cluster.modules / "odd.py").write_text(MODULE)
        (cluster.modules / "broken.py").write_text(BROKEN)
        yield cluster.start("w1", slots=2)


@pytest.mark.parametrize("family", FAILING)
def test_error_arrives_at_the_first_attempt_on_a_cluster(cluster: Cluster, family: str) -> None:
    code, part = FAILING[family]
    done = cluster.flow("submit", "odd", family)
    assert done.returncode == code, done.stderr
    assert part in done.stderr
    assert "crashed" not in done.stderr and "attempt 2" not in done.stderr


def test_error_of_an_import_arrives(cluster: Cluster) -> None:
    done = cluster.flow("submit", "broken", "X")
    assert done.returncode == 35 and f"ValueError: {SPELLED}" in done.stderr, done.stderr


def test_what_a_task_says_arrives(cluster: Cluster) -> None:
    done = cluster.flow("submit", "odd", "Says")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("how", [["--in-process"], ["--workers", "1"]], ids=["here", "embedded"])
@pytest.mark.parametrize("family", ["Raises", "RequiresRaises", "Says"])
def test_run_on_this_machine_ends_as_it_should(tmp_path: Path, family: str, how: list[str]) -> None:
    (tmp_path / "odd.py").write_text(MODULE)
    done = subprocess.run(
        [sys.executable, "-m", "flow", "run", *how, "odd", family],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    code, part = FAILING.get(family, (0, ""))
    assert done.returncode == code, done.stderr
    assert part in done.stderr and "crashed" not in done.stderr
