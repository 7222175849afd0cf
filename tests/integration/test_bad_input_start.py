"""Programs that must not start say why, with the exit code of their kind of trouble."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, free_port, wait_until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "c") as cluster:
        yield cluster


def refused(cluster: Cluster, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program that is to end by itself."""
    done = subprocess.run(
        cluster.command(module, *words),
        env=cluster.env,
        cwd=cluster.root,
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.stderr.startswith("error: ") or "Usage:" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    return done


def coordinate(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    return refused(cluster, "flow_coordinator", *words)


def free_address() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


def test_second_coordinator_on_one_state_directory_names_the_first(cluster: Cluster) -> None:
    first = cluster.start_coordinator()
    done = coordinate(cluster, "--bind", free_address(), "--state-dir", str(cluster.state_dir))
    assert done.returncode == 78
    assert f"pid {first.pid}" in done.stderr and socket.gethostname() in done.stderr
    assert str(cluster.state_dir) in done.stderr
    assert cluster.about() is not None


def test_second_coordinator_on_one_address_is_refused(cluster: Cluster) -> None:
    cluster.start_coordinator()
    other = str(cluster.root / "other")
    done = coordinate(cluster, "--bind", cluster.address, "--state-dir", other)
    assert done.returncode == 78 and cluster.address in done.stderr
    assert "coordinator running there already" in done.stderr
    with contextlib.closing(sqlite3.connect(Path(other) / "state.db")) as state:
        assert state.execute("SELECT * FROM identity").fetchall() == [], "no epoch was begun"


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:0", "tcp://*:5599", "tcp://192.0.2.1:5599"])
def test_bind_beyond_loopback_needs_insecure(cluster: Cluster, address: str) -> None:
    done = coordinate(cluster, "--bind", address, "--state-dir", str(cluster.state_dir))
    assert done.returncode == 61, done.stderr
    assert "can run code on the workers" in done.stderr and "--insecure" in done.stderr


@pytest.mark.parametrize(
    "address",
    [
        "nonsense://x",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:99999",
        "tcp://host",
        "ipc://" + "x" * 200,
    ],
)
def test_bad_bind_address_is_refused(cluster: Cluster, address: str) -> None:
    done = coordinate(cluster, "--bind", address, "--state-dir", str(cluster.state_dir))
    assert done.returncode == 78, done.stderr
    assert "tcp://HOST:PORT" in done.stderr or "shorter" in done.stderr


@pytest.mark.parametrize(
    "timing",
    [
        {"FLOW_COORDINATOR__LEASE_S": "3"},
        {"FLOW_COORDINATOR__HEARTBEAT_S": "0.1"},
        {"FLOW_COORDINATOR__MARGIN_S": "0.5"},
        {"FLOW_COORDINATOR__LEASE_S": "soon"},
        {"FLOW_COORDINATOR__NONSENSE": "1"},
    ],
)
def test_settings_that_break_a_bound_are_refused(cluster: Cluster, timing: dict[str, str]) -> None:
    cluster.env.update(timing)
    done = coordinate(
        cluster, "--bind", free_address(), "--state-dir", str(cluster.state_dir),
        "--lease-profile", "fast",
    )  # fmt: skip
    assert done.returncode == 78, done.stderr


def a_state(cluster: Cluster) -> Path:
    """Leave a state file with a run in it."""
    cluster.start_coordinator()
    cluster.detach("Leaf", "--key", "kept", "--n", "1")
    assert cluster.coordinator is not None
    cluster.coordinator.stop()
    return cluster.state_dir / "state.db"


def restart(cluster: Cluster) -> subprocess.CompletedProcess[str]:
    return coordinate(cluster, "--bind", cluster.address, "--state-dir", str(cluster.state_dir))


def test_damaged_state_is_refused_and_left_as_it_is(cluster: Cluster) -> None:
    path = a_state(cluster)
    good = path.read_bytes()
    for at in range(0, len(good), 512):
        damaged = good[:at] + os.urandom(64) + good[at + 64 :]
        if at % 4096 == 0:
            path.write_bytes(damaged)
            done = restart(cluster)
            assert done.returncode == 78, (at, done.stderr)
            assert str(path) in done.stderr, done.stderr
            assert path.read_bytes() == damaged
    path.write_bytes(good[: len(good) // 2])
    assert restart(cluster).returncode == 78
    path.write_bytes(good)
    cluster.start_coordinator()
    assert cluster.summary("r-1").state == "running"
    cluster.start_worker("w1")
    cluster.wait_ended("r-1")


def test_state_that_vanished_is_not_begun_anew(cluster: Cluster) -> None:
    path = a_state(cluster)
    kept = path.read_bytes()
    path.unlink()
    done = restart(cluster)
    assert done.returncode == 78, done.stderr
    path.write_bytes(kept)
    cluster.start_coordinator()
    assert cluster.summary("r-1").state == "running"


def test_newer_state_is_refused(cluster: Cluster) -> None:
    path = a_state(cluster)

    def change_version(by: int) -> None:
        with contextlib.closing(sqlite3.connect(path)) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            db.execute(f"PRAGMA user_version = {version + by}")

    change_version(1)
    done = restart(cluster)
    assert done.returncode == 78 and "newer" in done.stderr, done.stderr
    change_version(-1)
    cluster.start_coordinator()
    assert cluster.summary("r-1").state == "running"


def test_state_directory_that_is_a_file_is_refused(cluster: Cluster) -> None:
    (cluster.root / "file").write_text("")
    for path in ("file", "missing/below"):
        state = str(cluster.root / path)
        done = coordinate(cluster, "--bind", free_address(), "--state-dir", state)
        assert done.returncode == 78 and state in done.stderr, done.stderr


_OTHER_MAJOR = """
import sys
import flow.wire.messages.shared as shared
shared.PROTOCOL = (99, 0)
from flow_worker.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_worker_of_another_protocol_is_denied_and_ends_with_78(cluster: Cluster) -> None:
    cluster.start("w1")
    program = cluster.root / "other_worker.py"
    program.write_text(_OTHER_MAJOR)
    words = cluster.command("x", "--coordinator", cluster.address, "--slots", "1", "--name", "odd")
    done = subprocess.run(
        [words[0], str(program), *words[3:], "--log-dir", str(cluster.root / "odd-attempts")],
        env=cluster.env,
        cwd=cluster.root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 78, done.stderr
    assert "protocol" in done.stderr and "99" in done.stderr, done.stderr
    assert cluster.coordinator is not None and "worker refused" in cluster.coordinator.text()
    assert [row["name"] for row in cluster.list_workers()] == ["w1"]
    cluster.submit("Leaf", "--key", "fine", "--n", "1")


@pytest.mark.parametrize(
    "words",
    [
        ("--slots", "0"),
        ("--slots", "many"),
        ("--resources", "gpu"),
        ("--resources", "gpu=lots"),
        ("--resources", "gpu=-1"),
        ("--path", "/nowhere/at/all"),
        ("--drain-grace", "soon"),
        ("--coordinator", "nonsense"),
    ],
)
def test_worker_with_bad_options_is_refused(cluster: Cluster, words: tuple[str, ...]) -> None:
    done = refused(cluster, "flow_worker", "--log-dir", str(cluster.root / "l-attempts"), *words)
    assert done.returncode in (2, 78), done.stderr


def test_worker_without_a_coordinator_waits_and_ends_when_asked(cluster: Cluster) -> None:
    worker = cluster.start_worker("early", wait=False)
    wait_until(lambda: "worker starts" in worker.text(), "the worker to start")
    cluster.start_coordinator()
    cluster.wait_joined("early")
    assert cluster.coordinator is not None
    cluster.coordinator.stop(signal.SIGKILL)
    cluster.coordinator = None
    assert worker.stop(signal.SIGTERM) == 0, worker.text()
    state = cluster.state_dir
    for each in ("state.db-wal", "state.db-shm"):  # its owner was killed: the next one cleans up
        (state / each).unlink(missing_ok=True)
