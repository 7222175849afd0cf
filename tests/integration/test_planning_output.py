"""What user code prints while it is imported and planned reaches who asked for the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster

MODULE = """
import logging, os, sys, warnings
import flow

print("PRINTED AT IMPORT")
warnings.warn("WARNED AT IMPORT")

class Job(flow.Task):
    ok = flow.BoolParameter(default=True)
    def complete(self):
        print("PRINTED IN COMPLETE")
        return False
    def requires(self):
        print("PRINTED IN REQUIRES")
        logging.getLogger("pipeline").warning("LOGGED IN REQUIRES")
        sys.stdout.flush()
        os.write(1, b"WRITTEN \\xff\\x1b[2J IN REQUIRES\\n")
        if not self.ok:
            raise ValueError("requires failed")
        return []
    def run(self):
        pass

class Leaf(flow.Task):
    n = flow.IntParameter()
    def complete(self):
        return False
    def requires(self):
        print("EACH LEAF SAYS THIS")
        return []
    def run(self):
        pass

class Many(flow.WrapperTask):
    def requires(self):
        return [Leaf(n=n) for n in range(200)]

class Dies(flow.Task):
    def requires(self):
        print("LAST WORDS")
        os._exit(3)
"""
ASKS = """
import argparse
import flow

parser = argparse.ArgumentParser()
parser.add_argument("--config", required=True)
args = parser.parse_args([])

class Job(flow.Task):
    pass
"""
WITH = ["run", "submit"]
SAID = [
    "PRINTED AT IMPORT",
    "WARNED AT IMPORT",
    "PRINTED IN COMPLETE",
    "PRINTED IN REQUIRES",
    "LOGGED IN REQUIRES",
    "WRITTEN \ufffd\\x1b[2J IN REQUIRES",
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("printed") / "c") as cluster:
        (cluster.modules / "says.py").write_text(MODULE)
        (cluster.modules / "asks.py").write_text(ASKS)
        yield cluster.start("w1", slots=2)


def call(cluster: Cluster, command: str, *words: str) -> subprocess.CompletedProcess[str]:
    if command == "submit":
        return cluster.flow("submit", *words)
    return subprocess.run(
        [sys.executable, "-m", "flow", "run", "--workers", "2", *words],
        cwd=cluster.modules,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=90,
        check=False,
    )


def planning(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("[planning on ")]


@pytest.mark.parametrize("command", WITH)
def test_what_is_said_while_planning_is_shown_once(cluster: Cluster, command: str) -> None:
    done = call(cluster, command, "says", "Job")
    assert done.returncode == 0, done.stderr
    lines = planning(done.stderr)
    for text in SAID:
        assert sum(line.endswith(text) for line in lines) == 1, (text, done.stderr)
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("command", WITH)
def test_what_was_said_before_planning_failed_is_in_the_failure(
    cluster: Cluster, command: str
) -> None:
    done = call(cluster, command, "says", "Job", "--ok", "false")
    assert done.returncode == 35, done.stderr
    assert "    | PRINTED IN REQUIRES" in done.stderr
    assert "    | WARNING: LOGGED IN REQUIRES" in done.stderr


@pytest.mark.parametrize("command", WITH)
def test_what_many_tasks_say_alike_is_shown_once(cluster: Cluster, command: str) -> None:
    done = call(cluster, command, "says", "Many")
    assert done.returncode == 0, done.stderr
    assert sum("EACH LEAF" in line for line in planning(done.stderr)) == 1


@pytest.mark.parametrize("command", WITH)
def test_last_words_of_a_planner_are_in_the_failure(cluster: Cluster, command: str) -> None:
    done = call(cluster, command, "says", "Dies")
    assert done.returncode == 35, done.stderr
    assert "    | LAST WORDS" in done.stderr


@pytest.mark.parametrize("command", WITH)
def test_what_an_import_that_exits_printed_is_in_the_failure(
    cluster: Cluster, command: str
) -> None:
    done = call(cluster, command, "asks", "Job")
    assert done.returncode == 35, done.stderr
    assert "arguments are required: --config" in done.stderr.partition("cannot be planned")[2]


def test_json_has_an_event_for_it(cluster: Cluster) -> None:
    done = cluster.flow("submit", "--json", "says", "Job")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (first, *_) = [each for each in events if each["event"] == "planning"]
    assert first["worker"] == "w1" and "PRINTED IN REQUIRES" in first["text"]
    assert all("printed" not in each for each in events)


def test_in_process_it_is_simply_printed(cluster: Cluster) -> None:
    done = call(cluster, "run", "--in-process", "--workers", "1", "says", "Job")
    assert done.returncode == 0, done.stderr
    assert "PRINTED IN REQUIRES" in done.stdout and not planning(done.stderr)


def test_program_that_calls_build_sees_nothing_of_its_own_again(tmp_path: Path) -> None:
    guarded = '\nif __name__ == "__main__":\n    print("BEFORE")\n    flow.build([Job()])\n'
    (tmp_path / "program.py").write_text(MODULE + guarded)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = planning(done.stderr)
    assert not [line for line in lines if "IMPORT" in line or "BEFORE" in line]
    assert [line for line in lines if line.endswith("PRINTED IN REQUIRES")]
