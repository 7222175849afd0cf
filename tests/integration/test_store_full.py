"""A full disk under the state: nothing is granted or acknowledged, nothing is lost, no restart."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, wait_until
from tests.support.disks import fill, small_disk

TMPFS_BYTES = 3 << 20


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "c")
    with small_disk(cluster.state_dir, f"size={TMPFS_BYTES}"), cluster:
        yield cluster


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
        full = f"the coordinator's disk is full ({cluster.state_dir})"
        assert status.returncode == 0 and full in status.stderr
        shown = cluster.flow("status", before)
        assert shown.returncode == 0 and full in shown.stderr and "GatedMany" in shown.stdout
        assert submit.poll() is None and coordinator.alive
        os.unlink(ballast)
        said, _ = submit.communicate(timeout=60)
    finally:
        submit.kill()
        submit.communicate()
    assert submit.returncode == 0, said
    assert said.startswith(f"! {full}: what must be stored waits\n")
    assert "* 31 ran successfully:" in said
    cluster.wait_ended(before)
    assert "disk has room again" in coordinator.text()
    names = [f"Leaf-full-{n}" for n in range(30)]
    cluster.ledger.check([*names, "Fan-full", "Gated-before-0", "Gated-before-1"], once=True)
    assert {one.pid for one in cluster.ledger.lines("end") if "before" in one.task} == pids
    assert cluster.about() is not None and len(cluster.list_workers()) == 2


def test_watched_run_on_a_full_disk_says_what_it_waits_for_and_goes_on(cluster: Cluster) -> None:
    cluster.start("w1")
    submit = subprocess.Popen(
        cluster.command("flow", "submit", "flowtasks", "GatedMany", "--key", "k", "--width", "1"),
        env=cluster.env, cwd=cluster.elsewhere, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert submit.stderr is not None
        wait_until(lambda: len(cluster.ledger.started()) == 1, "the task to run")
        ballast = fill(cluster.state_dir)
        cluster.ledger.open_gate("k")
        full = f"the coordinator's disk is full ({cluster.state_dir})"
        heard: list[str] = []
        while f"! {full}: nothing starts until it has room\n" not in heard:
            heard.append(submit.stderr.readline())
            assert heard[-1], heard
        run = heard[1].split()[1]
        why = cluster.flow("why", "Gated-k-0", "--run", run)
        assert full in why.stdout + why.stderr
        os.unlink(ballast)
        heard += submit.communicate(timeout=60)[1].splitlines()
    finally:
        submit.kill()
        submit.communicate()
    assert submit.returncode == 0, heard
    assert "! the coordinator goes on" in heard


def test_coordinator_starts_on_no_full_disk_and_calls_no_state_damaged(cluster: Cluster) -> None:
    cluster.start("w1")
    cluster.submit("Fan", "--key", "c", "--width", "2")
    assert cluster.coordinator is not None
    cluster.coordinator.kill()  # its log of changes is left, and is read by the next start
    for each in cluster.state_dir.glob("state.db-shm"):
        each.unlink()
    fill(cluster.state_dir)
    command = cluster.command("flow_coordinator", "--bind", cluster.address)
    command += ["--state-dir", str(cluster.state_dir)]
    done = subprocess.run(command, env=cluster.env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78
    assert done.stderr.startswith(f"error: no space left for {cluster.state_dir}/state.db\n")
    assert "--state-dir" in done.stderr and "damaged" not in done.stderr
    os.unlink(cluster.state_dir / "ballast")
    cluster.start_coordinator()
    cluster.submit("Fan", "--key", "c", "--width", "2")


def test_state_that_is_removed_ends_the_coordinator_with_a_sentence(tmp_path: Path) -> None:
    with Cluster(tmp_path / "c") as cluster:
        cluster.start()
        shutil.rmtree(cluster.state_dir)
        coordinator = cluster.coordinator
        assert coordinator is not None
        wait_until(lambda: not coordinator.alive, "the coordinator to end")
        assert f"error: {cluster.state_dir}/state.db was removed or replaced" in coordinator.text()
        cluster.state_dir.mkdir()
