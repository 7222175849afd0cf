"""One process at a time is killed, stopped or asked to leave; the ledger tells what that cost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Worker, state_of, wait_until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "c") as cluster:
        yield cluster


def names_of_both(key: str, width: int, gated: int = 2) -> list[str]:
    return [
        *(f"Leaf-{key}-{n}" for n in range(width)),
        *(f"Gated-{key}-{n}" for n in range(gated)),
        f"Fan-{key}",
        f"Both-{key}",
    ]


def running_gated(cluster: Cluster, key: str, count: int = 1) -> list[int]:
    """Wait until so many gated tasks run; return their pids."""

    def pids() -> list[int]:
        return [one.pid for one in cluster.ledger.lines("start") if f"Gated-{key}" in one.task]

    wait_until(lambda: len(pids()) >= count, f"{count} gated tasks to run")
    return pids()


def host_of(cluster: Cluster, pid: int) -> Worker:
    """Return the worker that runs this task process."""
    for worker in cluster.workers.values():
        if worker.alive and pid in worker.processes():
            return worker
    raise AssertionError(f"nobody runs {pid}\n{cluster.logs()}")


def test_coordinator_killed_twice_under_load_loses_nothing_and_kills_nothing(
    cluster: Cluster,
) -> None:
    cluster.start("w1", "w2", slots=3)
    run = cluster.detach("Both", "--key", "load", "--width", "300", "--gated", "2")
    pids = running_gated(cluster, "load", 2)
    for more in (60, 150):
        wait_until(lambda more=more: len(cluster.ledger.ended()) > more, "progress")
        assert cluster.coordinator is not None
        cluster.coordinator.stop(signal.SIGKILL)
        cluster.start_coordinator()
    wait_until(lambda: "Fan-load" in cluster.ledger.ended(), "the fan")
    assert all(state_of(pid) not in ("", "Z") for pid in pids)
    cluster.ledger.open_gate("load")
    summary = cluster.wait_ended(run)
    cluster.ledger.check(names_of_both("load", 300), once=True)
    assert summary.scheduled == 305  # the wrapper of the gated ones has no ledger
    assert [one.attempt for one in cluster.ledger.executions("Gated-load-0")] == [1]


def test_coordinator_killed_while_planning_plans_on_after_its_return(cluster: Cluster) -> None:
    cluster.start("w1")
    run = cluster.detach("Layers", "--key", "p", "--depth", "12", "--width", "20")
    assert cluster.coordinator is not None
    cluster.coordinator.stop(signal.SIGKILL)
    cluster.start_coordinator()
    cluster.wait_ended(run)
    names = [f"Layer-p-{depth}-{n}" for depth in range(13) for n in range(20)]
    cluster.ledger.check(names, once=True)


def test_submit_that_waits_survives_a_restart_of_the_coordinator(cluster: Cluster) -> None:
    import subprocess

    cluster.start("w1")
    command = cluster.command("flow", "submit", "flowtasks", "Gated", "--key", "wait")
    with subprocess.Popen(
        command, env=cluster.env, cwd=cluster.elsewhere, stdout=subprocess.PIPE, text=True
    ) as submit:
        running_gated(cluster, "wait")
        assert cluster.coordinator is not None
        cluster.coordinator.stop(signal.SIGKILL)
        cluster.start_coordinator()
        cluster.ledger.open_gate("wait")
        out, _ = submit.communicate(timeout=60)
    assert submit.returncode == 0, out
    assert "* 1 ran successfully:" in out


def test_agent_killed_releases_its_tasks_without_waiting_for_the_lease(cluster: Cluster) -> None:
    cluster.start("w1", slots=1)
    run = cluster.detach("Gated", "--key", "agent")
    (pid,) = running_gated(cluster, "agent")
    os.kill(cluster.workers["w1"].agent(), signal.SIGKILL)
    second = running_gated(cluster, "agent", 2)[1]
    assert second != pid and state_of(pid) in ("", "Z")
    cluster.ledger.open_gate("agent")
    cluster.wait_ended(run)
    cluster.ledger.check(["Gated-agent-0"])
    assert [one.attempt for one in cluster.ledger.executions()] == [1, 2]
    assert cluster.coordinator is not None
    said = cluster.coordinator.text()
    assert "processes are dead" in said and "worker lost" not in said, said


def test_runner_killed_is_a_crash_and_the_agent_lives_on(cluster: Cluster) -> None:
    cluster.start("w1", slots=1)
    uid = cluster.list_workers()[0]["uid"]
    run = cluster.detach("Gated", "--key", "runner")
    (pid,) = running_gated(cluster, "runner")
    os.kill(pid, signal.SIGKILL)
    running_gated(cluster, "runner", 2)
    cluster.ledger.open_gate("runner")
    cluster.wait_ended(run)
    assert [one.attempt for one in cluster.ledger.executions()] == [1, 2]
    assert cluster.list_workers()[0]["uid"] == uid
    cluster.ledger.check(["Gated-runner-0"])


def test_supervisor_killed_takes_its_tasks_along_and_the_next_worker_runs_them(
    cluster: Cluster,
) -> None:
    cluster.start("w1", slots=1)
    run = cluster.detach("Gated", "--key", "super")
    (pid,) = running_gated(cluster, "super")
    worker = cluster.workers["w1"]
    agent = worker.agent()
    worker.stop(signal.SIGKILL)
    wait_until(lambda: state_of(pid) in ("", "Z"), "the task's end")
    wait_until(lambda: state_of(agent) in ("", "Z"), "the agent's end")
    cluster.start_worker("w1", slots=1)
    running_gated(cluster, "super", 2)
    cluster.ledger.open_gate("super")
    cluster.wait_ended(run)
    cluster.ledger.check(["Gated-super-0"])


def test_worker_told_to_end_finishes_what_runs_and_takes_nothing_new(cluster: Cluster) -> None:
    cluster.start("w1", "w2", slots=1)
    run = cluster.detach("Gated", "--key", "drain")
    (pid,) = running_gated(cluster, "drain")
    worker = host_of(cluster, pid)
    worker.kill(signal.SIGTERM)
    wait_until(lambda: [w for w in cluster.list_workers() if w["state"] == "draining"], "the drain")
    cluster.submit("Fan", "--key", "drain", "--width", "10")
    assert worker.alive
    assert pid not in {one.pid for one in cluster.ledger.executions() if "Leaf" in one.task}
    cluster.ledger.open_gate("drain")
    assert worker.popen.wait(40) == 0, worker.text()
    cluster.wait_ended(run)
    assert [one.attempt for one in cluster.ledger.executions("Gated-drain-0")] == [1]
    assert "worker left" in (cluster.coordinator.text() if cluster.coordinator else "")


def test_worker_told_twice_kills_what_runs_and_another_runs_it(cluster: Cluster) -> None:
    cluster.start("w1", slots=1)
    run = cluster.detach("Gated", "--key", "twice")
    (pid,) = running_gated(cluster, "twice")
    worker = cluster.workers["w1"]
    worker.kill(signal.SIGTERM)
    wait_until(lambda: [w for w in cluster.list_workers() if w["state"] == "draining"], "the drain")
    assert worker.stop(signal.SIGTERM) == 0, worker.text()
    assert state_of(pid) in ("", "Z")
    cluster.start_worker("w2", slots=1)
    running_gated(cluster, "twice", 2)
    cluster.ledger.open_gate("twice")
    cluster.wait_ended(run)
    cluster.ledger.check(["Gated-twice-0"])
    assert "worker lost" not in (cluster.coordinator.text() if cluster.coordinator else "")


def test_coordinator_stopped_on_purpose_for_longer_than_the_lease_kills_nothing(
    cluster: Cluster,
) -> None:
    cluster.start("w1", slots=1)
    run = cluster.detach("Gated", "--key", "extend")
    (pid,) = running_gated(cluster, "extend")
    assert cluster.coordinator is not None
    assert cluster.coordinator.stop(signal.SIGTERM) == 0
    with pytest.raises(AssertionError, match="waited 12"):
        wait_until(lambda: state_of(pid) in ("", "Z"), "a kill that must not come", 12.0)
    cluster.ledger.open_gate("extend")
    wait_until(lambda: cluster.ledger.ended(), "the task's end, nobody listening")
    cluster.start_coordinator()
    cluster.wait_ended(run)
    cluster.ledger.check(["Gated-extend-0"], once=True)


def test_worker_frozen_for_longer_than_the_lease_never_finishes_its_stale_copy(
    cluster: Cluster,
) -> None:
    cluster.start("w1", slots=1)
    run = cluster.detach("Gated", "--key", "frozen")
    (pid,) = running_gated(cluster, "frozen")
    frozen = cluster.workers["w1"]
    everything = [frozen.pid, frozen.agent(), *frozen.processes()]
    everything += [*frozen.processes("planner"), *frozen.processes("template")]
    for each in everything:
        os.kill(each, signal.SIGSTOP)
    cluster.start_worker("w2", slots=1)
    second = running_gated(cluster, "frozen", 2)[1]
    assert second != pid
    for each in everything:
        os.kill(each, signal.SIGCONT)
    wait_until(lambda: state_of(pid) in ("", "Z"), "the end of the stale copy")
    cluster.ledger.open_gate("frozen")
    cluster.wait_ended(run)
    wait_until(
        lambda: len([w for w in cluster.list_workers() if w["state"] == "active"]) == 2,
        "the frozen worker to be back",
    )
    assert {one.pid for one in cluster.ledger.lines("end")} == {second}
    assert [one.attempt for one in cluster.ledger.executions()] == [1, 2]
