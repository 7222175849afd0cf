"""Artifacts on a cluster: workers share them, temporary ones go, whatever dies."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.support.cluster import Cluster, wait_until

COUNT = 60


def made(root: Path, family: str) -> list[Path]:
    return [path for path in (root / family).rglob("*.json") if "-flow-tmp-" not in path.name]


def start(root: Path, artifacts: Path) -> Cluster:
    settings = {"FLOW_STORAGE__ROOT": str(artifacts)}
    return Cluster(root, "artifact_tasks", settings=settings).start("w1", "w2")


def test_two_runs_share_temporary_artifacts_though_an_agent_is_killed(tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    with start(tmp_path / "c", artifacts) as cluster:
        runs = [
            cluster.detach("Sum", "--count", str(COUNT), "--sides", json.dumps(sides))
            for sides in (["left"], ["right"])
        ]
        wait_until(lambda: len(made(artifacts, "Half")) > COUNT // 2, "half of the halves")
        os.kill(cluster.workers["w2"].agent(), signal.SIGKILL)
        for run in runs:
            cluster.wait_ended(run)
        sums = [json.loads(path.read_text()) for path in made(artifacts, "Sum")]
        assert sums == [sum(range(COUNT))] * 2
        assert len(made(artifacts, "Half")) == 2 * COUNT
        wait_until(lambda: not made(artifacts, "Raw"), "temporary artifacts to go")
        cluster.submit("Sum", "--count", str(COUNT))
        assert not made(artifacts, "Raw"), "all halves are there: nobody makes it again"


def test_coordinator_that_is_killed_never_loses_what_is_still_needed(tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    with start(tmp_path / "c", artifacts) as cluster:
        run = cluster.detach("Sum", "--count", str(COUNT))
        wait_until(lambda: len(made(artifacts, "Half")) > COUNT // 2, "some halves")
        assert cluster.coordinator is not None
        cluster.coordinator.stop(signal.SIGKILL)
        cluster.start_coordinator()
        cluster.wait_ended(run)
        (path,) = made(artifacts, "Sum")
        assert json.loads(path.read_text()) == 2 * sum(range(COUNT))
        assert cluster.json("status", run)["failures"] == []


def test_clean_asks_the_coordinator_of_the_settings(tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    with start(tmp_path / "c", artifacts) as cluster:
        cluster.submit("Sum", "--count", "3")
        words = ("clean", "flowtasks", "Sum", "--count", "3", "--depth", "all", "--yes")
        done = cluster.flow(*words, cwd=cluster.modules)
        assert done.returncode == 0, done.stderr
        assert not [*made(artifacts, "Sum"), *made(artifacts, "Half")]
