"""Batches in real processes: one attempt runs many tasks, whatever happens to anybody."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, state_of, wait_until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "c", "batching_tasks") as cluster:
        yield cluster


def names(key: str, width: int, first: int = 0) -> list[str]:
    return [f"Part-{key}-{n}" for n in range(first, first + width)]


def tokens(cluster: Cluster, key: str) -> dict[str, list[str]]:
    """Return the parts that started, by the token they ran under."""
    found: dict[str, list[str]] = {}
    for line in cluster.ledger.lines("start"):
        if line.task.startswith(f"Part-{key}-"):
            found.setdefault(line.token, []).append(line.task)
    return found


def running(cluster: Cluster, key: str, width: int) -> list[int]:
    """Wait until so many parts run; return the pids they run in."""

    def pids() -> list[int]:
        return [one.pid for one in cluster.ledger.lines("start") if f"Part-{key}-" in one.task]

    wait_until(lambda: len(pids()) >= width, f"{width} parts to run")
    return pids()


def test_thousand_tasks_run_as_one(cluster: Cluster) -> None:
    cluster.start("w1")
    said = cluster.submit("Parts", "--key", "k", "--kind", "light", "--width", "1000")
    assert "1001 ran successfully" in said
    cluster.ledger.check(names("k", 1000), once=True)
    # planned in several pieces, run as one
    assert len(tokens(cluster, "k")) == 1


def test_failed_batch_is_tried_again_as_one(cluster: Cluster) -> None:
    cluster.start("w1")
    said = cluster.submit("Parts", "--key", "k", "--kind", "flaky", "--width", "9")
    assert "10 ran successfully" in said
    assert sorted(map(len, tokens(cluster, "k").values())) == [9, 9]
    assert "ValueError: not yet (one attempt ran 9 tasks)" in said
    cluster.ledger.check(names("k", 9))


def test_crashed_batch_is_taken_apart(cluster: Cluster) -> None:
    cluster.start("w1")
    cluster.submit("Parts", "--key", "k", "--kind", "flaky", "--how", "dies", "--width", "4")
    assert sorted(map(len, tokens(cluster, "k").values())) == [1, 1, 1, 1, 4]
    cluster.ledger.check(names("k", 4))


def test_batch_method_that_raises_fails_the_attempt_and_says_so(cluster: Cluster) -> None:
    cluster.start("w1")
    said = cluster.submit("Parts", "--key", "k", "--kind", "broken", "--width", "3", code=30)
    assert "3 tasks of BrokenPart cannot be joined" in said
    assert "ZeroDivisionError" in said


def test_generator_of_a_batch_is_suspended_and_goes_on(cluster: Cluster) -> None:
    cluster.start("w1", slots=1)
    cluster.submit("Parts", "--key", "k", "--kind", "yields", "--width", "5")
    cluster.ledger.check([*names("k", 5), "Found-k"], once=True)


def test_worker_killed_in_mid_batch_has_all_members_run_again(cluster: Cluster) -> None:
    cluster.start("w1")
    run = cluster.detach("Parts", "--key", "k", "--kind", "gated", "--width", "50")
    running(cluster, "k", 50)
    os.kill(cluster.workers["w1"].agent(), signal.SIGKILL)
    running(cluster, "k", 100)
    cluster.ledger.open_gate("k")
    cluster.wait_ended(run)
    cluster.ledger.check(names("k", 50))
    assert sorted(map(len, tokens(cluster, "k").values())) == [50, 50]


def test_coordinator_killed_in_mid_batch_keeps_it_running(cluster: Cluster) -> None:
    cluster.start("w1")
    run = cluster.detach("Parts", "--key", "k", "--kind", "gated", "--width", "50")
    (pid,) = set(running(cluster, "k", 50))
    assert cluster.coordinator is not None
    cluster.coordinator.stop(signal.SIGKILL)
    with contextlib.closing(sqlite3.connect(cluster.state_dir / "state.db")) as store:
        held = store.execute(
            "SELECT count(*), count(DISTINCT token) FROM progress WHERE token IS NOT NULL"
        ).fetchone()
    assert held == (50, 1)
    cluster.start_coordinator()
    cluster.wait_joined("w1")
    answer = cluster.json("why", "GatedPart(key=k, ns=7)")
    assert any("runs as one with 49 others" in str(line) for line in answer["lines"])
    assert state_of(pid) not in ("", "Z")
    cluster.ledger.open_gate("k")
    cluster.wait_ended(run)
    cluster.ledger.check(names("k", 50), once=True)


def test_cancel_of_a_run_kills_the_batch_and_what_another_run_wants_goes_on(
    cluster: Cluster,
) -> None:
    cluster.start("w1", slots=1)
    # a batch of its own keeps the slot, so that the parts wait and are joined
    first = cluster.detach("Parts", "--key", "block", "--kind", "gated", "--width", "1")
    running(cluster, "block", 1)
    mine = cluster.detach("Parts", "--key", "k", "--kind", "gated", "--width", "5")
    yours = cluster.detach("Parts", "--key", "k", "--kind", "gated", "--width", "2", "--first", "3")
    for run, count in ((mine, 5), (yours, 2)):
        wait_until(
            lambda run=run, count=count: (
                sum(t["state"] == "ready" for t in cluster.json("tasks", "--run", run)["tasks"])
                == count
            ),
            "parts to be ready",
        )
    cluster.ledger.open_gate("block")
    running(cluster, "k", 5)
    assert [len(parts) for parts in tokens(cluster, "k").values()] == [5]
    done = cluster.flow("cancel", mine)
    assert done.returncode == 0, done.stderr
    cluster.wait_ended(mine, "cancelled")
    running(cluster, "k", 7)
    cluster.ledger.open_gate("k")
    cluster.wait_ended(first)
    cluster.wait_ended(yours)
    assert [sorted(parts) for parts in tokens(cluster, "k").values()][1:] == [names("k", 2, 3)]
    cluster.ledger.check(names("k", 2, 3))
