"""What is wrong in a submission or a module ends the run with its reason and exit code."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, free_port


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("bad") / "c") as cluster:
        (cluster.modules / "broken.py").write_text("import nosuchthing\n")
        (cluster.modules / "unreadable.py").write_text("def f(:\n")
        (cluster.modules / "exits.py").write_text("import sys\nsys.exit(0)\n")
        (cluster.modules / "dies.py").write_text("import os\nos._exit(0)\n")
        cluster.start("w1")
        yield cluster


@pytest.mark.parametrize(
    ("words", "code", "pieces"),
    [
        ("nomodule X", 35, ["nomodule", "ModuleNotFoundError"]),
        ("broken X", 35, ["broken", "No module named 'nosuchthing'", "broken.py:1"]),
        ("unreadable X", 35, ["SyntaxError"]),
        ("exits X", 35, ["exits"]),
        ("dies X", 35, ["3 planner processes died over it"]),
        ("../../etc/passwd X", 35, ["there is no file"]),
        ("flowtasks Leef --key a", 2, ["no task 'Leef'", "Did you mean 'Leaf'?"]),
        ("os system", 2, ["module os has no task 'system'"]),
        ("flowtasks Leaf --key a --n 1 --nn 2", 2, ["no parameter 'nn'", "Did you mean 'n'?"]),
        (
            "flowtasks Leaf --key a --n 1 --Fan-width " + "2" * 20_000,
            2,
            ["no parameter 'Fan_width'", "Fan --width", "too long", "[task.Fan]"],
        ),
        ("flowtasks Leaf --key a", 2, ["Leaf --n", "no value given"]),
        ("flowtasks Leaf --key a --n x", 2, ["Leaf --n", "'x' is not a whole number"]),
        ("flowtasks Typed --day 20.11.2026", 2, ["'20.11.2026' is not a date", "YYYY-MM-DD"]),
        ("flowtasks Dies --how quietly", 2, ["'quietly' is not one of segv"]),
        ("flowtasks Knot --n 0", 35, ["cycle", "Knot(n=1) -> Knot(n=0) -> Knot(n=1)"]),
        ("flowtasks RequiresTarget", 35, ["requires() can not return Target objects"]),
        ("flowtasks RequiresRaises", 35, ["KeyError: 'no such table'", "requires()"]),
        ("flowtasks RequiresWrongly", 35, ["'seven' is not a whole number", "requires()"]),
        ("nomodule X", 35, ["flow-worker into what --path names"]),
        ("flowtasks CompleteRaises", 35, ["OSError: the bucket is gone", "complete()"]),
        ("flowtasks YieldsKnot", 35, ["cycle", "YieldsKnot"]),
        ("flowtasks YieldsItself", 30, ["cycle", "YieldsItself"]),
        ("flowtasks YieldsNonsense", 30, ["int"]),
    ],
)
def test_submission_of_something_impossible_says_what_and_why(
    cluster: Cluster, words: str, code: int, pieces: list[str]
) -> None:
    done = cluster.flow("submit", *words.split())
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    for piece in pieces:
        assert piece in said, said
    places = re.findall(r"\S+\.py:\d+", said.split("1 cause")[-1].splitlines()[1])
    assert len(places) <= 1, f"the same place twice: {said}"
    assert "Traceback (most recent call last)" not in done.stderr


def test_cluster_after_bad_input_still_works(cluster: Cluster) -> None:
    cluster.submit("Fan", "--key", "well", "--width", "5")
    cluster.ledger.check([*(f"Leaf-well-{n}" for n in range(5)), "Fan-well"])


@pytest.mark.parametrize(
    ("words", "code", "piece"),
    [
        ("submit", 2, "no MODULE"),
        ("submit flowtasks", 2, "no TASK given"),
        ("nonsense", 2, "nonsense"),
        ("cancel r-999", 2, "r-999"),
        ("why NoSuchTask", 2, "NoSuchTask"),
        ("status r-999", 2, "r-999"),
        ("retry r-999", 2, "r-999"),
        ("resources set db many", 2, "many"),
        ("resources set db -- -1", 2, "-1"),
        ("workers drain nobody", 2, "nobody"),
    ],
)
def test_command_with_bad_words_is_refused_with_a_sentence(
    cluster: Cluster, words: str, code: int, piece: str
) -> None:
    done = cluster.flow(*words.split())
    assert done.returncode == code, done.stdout + done.stderr
    assert piece in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_submit_without_a_coordinator_says_what_to_type(cluster: Cluster) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    done = cluster.flow("submit", "--coordinator", address, "flowtasks", "Leaf", "--n", "1")
    assert done.returncode == 60, done.stderr
    for piece in (address, "flow-coordinator", "flow run flowtasks Leaf --n=1", "FLOW_COORDINATOR"):
        assert piece in done.stderr, done.stderr


def test_submit_to_something_that_is_no_coordinator_ends_with_60(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        done = cluster.flow("submit", "--coordinator", address, "flowtasks", "Leaf", "--n", "1")
    assert done.returncode == 60, done.stderr


@pytest.mark.parametrize("address", ["nonsense://x", "tcp://", "tcp://host", "tcp://h:x"])
def test_submit_to_a_bad_address_is_refused(cluster: Cluster, address: str) -> None:
    done = cluster.flow("submit", "--coordinator", address, "flowtasks", "Leaf", "--n", "1")
    assert done.returncode in (60, 78), done.stderr
    assert "Traceback" not in done.stderr and done.stderr.startswith("error: "), done.stderr


def test_module_only_at_the_worker_is_enough(cluster: Cluster, tmp_path: Path) -> None:
    probe = [sys.executable, "-c", "import flowtasks"]
    assert subprocess.run(probe, cwd=tmp_path, capture_output=True).returncode == 1
    done = cluster.flow("submit", "flowtasks", "Leaf", "--key", "far", "--n", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
