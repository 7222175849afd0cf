"""A worker whose disk of logs is full, read-only or refused, or that may open too few files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, wait_until
from tests.support.disks import fill, small_disk


def test_worker_with_full_logs_runs_its_tasks_and_says_so(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    with small_disk(cluster.root / "w1-attempts", "size=256k") as logs, cluster:
        cluster.start_coordinator()
        ballast = fill(logs)
        worker = cluster.start_worker("w1")
        cluster.submit("Fan", "--key", "f", "--width", "20")
        wait_until(lambda: "no room for the logs of tasks" in worker.text(), "the warning")
        ballast.unlink()
        wait_until(lambda: "logs of tasks have room again" in worker.text(), "the end of it")


@pytest.mark.parametrize("how", ["read-only", "a file"])
def test_worker_whose_logs_cannot_be_written_ends_with_a_sentence(tmp_path: Path, how: str) -> None:
    command = ["--coordinator", "tcp://127.0.0.1:1", "--log-dir"]
    with small_disk(tmp_path / "logs", "ro" if how == "read-only" else "size=64k") as logs:
        if how == "a file":
            (logs / "x").touch()
            logs = logs / "x"
        cluster = Cluster(tmp_path / "c")
        done = subprocess.run(
            cluster.command("flow_worker", *command, str(logs / "attempts")),
            env=cluster.env, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 78
    assert done.stderr.startswith(f"error: logs of tasks cannot be written to {logs}/attempts: ")
    assert "--log-dir" in done.stderr and len(done.stderr.splitlines()) == 2


def test_embedded_run_with_full_logs_and_room_for_its_state_ends_well(tmp_path: Path) -> None:
    """What tasks print is dropped, and that is said."""
    from tests.integration.test_full_disks_embedded import run

    with small_disk(tmp_path / "t", "size=1m") as disk:
        words = ("many", "Fan", "--count", "1500", "--state-dir", str(tmp_path / "state"))
        done = run(tmp_path, disk, *words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "1501 ran successfully" in done.stdout
    assert f"No room in {disk}" in done.stderr


@pytest.mark.parametrize("hard", [False, True])
def test_worker_with_too_few_descriptors_for_its_slots_has_more_or_says_so(
    tmp_path: Path, hard: bool
) -> None:
    """What is only the soft limit is raised, for the agent alone."""
    limit = ["bash", "-c", f'ulimit {"-n" if hard else "-Sn"} 40; exec "$0" "$@"']
    words = ["many", "Fan", "--count", "60", "--workers", "32", "--quiet"]
    from tests.integration.test_full_disks_embedded import run

    done = run(tmp_path, tmp_path, *words, before=limit)
    if hard:
        assert done.returncode == 78
        assert "32 tasks at a time need 58 open files, and 40 are allowed" in done.stderr
        assert "ulimit -n 58" in done.stderr and "--workers" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
