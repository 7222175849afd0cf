"""Programs and ranges on a cluster whose processes stay warm from run to run."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster, wait_until

RANGE = ("--of", "Report", "--start", "2026-01-01", "--days-back", "100000")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("patterns") / "c"
    with Cluster(root, "pattern_tasks") as cluster:
        cluster.start("w1")
        yield cluster


def started(cluster: Cluster, key: str) -> list[int]:
    """Wait for a program; return its process and the one it started."""
    files = [cluster.modules / f"{name}-{key}" for name in ("pid", "child")]
    wait_until(lambda: all(each.exists() and each.read_text().strip() for each in files), "a start")
    return [int(each.read_text()) for each in files]


def gone(pids: list[int]) -> bool:
    return not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_program_says_its_url_and_dies_with_its_run(cluster: Cluster) -> None:
    run = cluster.detach("Program", "--key", "a")
    pids = started(cluster, "a")

    def url() -> str:
        done = cluster.flow("status", "Program(key=a)", "--json")
        return str(json.loads(done.stdout)["tracking_url"]) if not done.returncode else ""

    wait_until(lambda: url() == "http://jobs/a", "the URL")
    assert cluster.flow("cancel", run).returncode == 0
    wait_until(lambda: gone(pids), f"the end of {pids}")
    cluster.wait_ended(run, "cancelled")


def test_program_dies_with_its_killed_worker(cluster: Cluster) -> None:
    run = cluster.detach("Program", "--key", "b")
    pids = started(cluster, "b")
    worker = cluster.workers["w1"]
    os.kill(worker.agent(), signal.SIGKILL)
    wait_until(lambda: gone(pids), f"the end of {pids}")
    cluster.flow("cancel", run)
    if not worker.alive:
        cluster.start_worker("w2")


def test_range_goes_on_where_the_last_run_stopped(cluster: Cluster) -> None:
    """A warm planner has planned the same range before: it must look again."""
    made = []
    for _ in range(3):
        said = cluster.submit("RangeDaily", *RANGE, "--stop", "2026-01-06", "--task-limit", "2")
        assert "This progress looks :)" in said
        made.append(sorted(each.stem for each in (cluster.modules / "reports").iterdir()))
    days = [f"2026-01-0{day}" for day in range(1, 6)]
    assert made == [days[:2], days[:4], days]
