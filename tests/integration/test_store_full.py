"""A full disk under the state: nothing is granted or acknowledged, nothing is lost, no restart."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, wait_until

TMPFS_BYTES = 3 << 20


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "c")
    cluster.state_dir.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "none", str(cluster.state_dir)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    try:
        with cluster:
            yield cluster
    finally:
        subprocess.run(["umount", str(cluster.state_dir)], check=True)


def fill(directory: Path) -> Path:
    """Leave not one free page."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return ballast


def test_full_disk_stops_grants_keeps_workers_and_recovers_without_restart(
    cluster: Cluster,
) -> None:
    cluster.start("w1", "w2")
    before = cluster.detach("GatedMany", "--key", "before", "--width", "2")
    wait_until(lambda: len(cluster.ledger.started()) == 2, "two tasks to run")
    pids = {line.pid for line in cluster.ledger.lines("start")}
    ballast = fill(cluster.state_dir)
    env = cluster.env
    submit = subprocess.Popen(
        cluster.command("flow", "submit", "flowtasks", "Fan", "--key", "full", "--width", "30"),
        env=env, cwd=cluster.elsewhere, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert cluster.coordinator is not None
        coordinator = cluster.coordinator
        wait_until(lambda: "disk full" in coordinator.text(), "the disk to be full")
        cluster.ledger.open_gate("before")
        wait_until(lambda: len(cluster.ledger.ended()) == 2, "the tasks to end meanwhile")
        # for longer than a lease nothing is granted, and nobody loses one
        with pytest.raises(AssertionError, match="waited 12"):
            wait_until(
                lambda: (
                    any("full" in one for one in cluster.ledger.started())
                    or {w["state"] for w in cluster.list_workers()} != {"active"}
                ),
                "what must not happen",
                12.0,
                0.5,
            )
        status = cluster.flow("status")
        assert status.returncode == 0 and "disk is full" in status.stdout + status.stderr
        assert submit.poll() is None and coordinator.alive
        os.unlink(ballast)
        said, _ = submit.communicate(timeout=60)
    finally:
        submit.kill()
        submit.communicate()
    assert submit.returncode == 0, said
    assert "* 31 ran successfully:" in said
    cluster.wait_ended(before)
    assert "disk has room again" in coordinator.text()
    names = [f"Leaf-full-{n}" for n in range(30)]
    cluster.ledger.check([*names, "Fan-full", "Gated-before-0", "Gated-before-1"], once=True)
    assert {one.pid for one in cluster.ledger.lines("end") if "before" in one.task} == pids
    assert cluster.about() is not None and len(cluster.list_workers()) == 2
