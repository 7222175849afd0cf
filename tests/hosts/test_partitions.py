"""A coordinator and three workers on hosts of their own, and the network between them cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cluster import state_of, wait_until
from tests.support.namespaces import ClusterOfHosts, Hosts, why_impossible

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(300)]
WORKERS = ("w1", "w2", "w3")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterOfHosts]:
    if why := why_impossible():
        pytest.skip(why)
    hosts = Hosts("coordinator", *WORKERS)
    try:
        with ClusterOfHosts(tmp_path / "c", hosts) as cluster:
            cluster.start_coordinator("--insecure")
            for name in WORKERS:
                cluster.start_worker(name, slots=1, wait=False)
            cluster.wait_joined(*WORKERS)
            yield cluster
    finally:
        hosts.close()


def running(cluster: ClusterOfHosts, key: str, count: int = 1) -> list[int]:
    def pids() -> list[int]:
        return [one.pid for one in cluster.ledger.lines("start", f"Gated-{key}-0")]

    wait_until(lambda: len(pids()) >= count, f"start {count} of the task")
    return pids()


def host_of(cluster: ClusterOfHosts, pid: int) -> str:
    (name,) = [n for n, worker in cluster.workers.items() if pid in worker.processes()]
    return name


def test_workflow_runs_on_every_host(cluster: ClusterOfHosts) -> None:
    cluster.submit("Fan", "--key", "wide", "--width", "90", "--ms", "30")
    cluster.ledger.check([*(f"Leaf-wide-{n}" for n in range(90)), "Fan-wide"], once=True)
    assert len({one.pid for one in cluster.ledger.executions()}) >= len(WORKERS)


def test_partition_shorter_than_the_lease_kills_nothing(cluster: ClusterOfHosts) -> None:
    run = cluster.detach("Gated", "--key", "short")
    (pid,) = running(cluster, "short")
    name = host_of(cluster, pid)
    cluster.hosts.unplug(name)
    time.sleep(4.0)  # the situation itself: fencing would start after 8 s
    cluster.hosts.plug(name)
    cluster.wait_joined(*WORKERS)
    assert state_of(pid) not in ("", "Z")
    cluster.ledger.open_gate("short")
    cluster.wait_ended(run)
    cluster.ledger.check(["Gated-short-0"], once=True)
    assert [one.attempt for one in cluster.ledger.executions()] == [1]


def cut(hosts: Hosts, how: str, name: str) -> Callable[[], None]:
    """Cut a worker off; return what heals."""
    if how == "both ways":
        hosts.unplug(name)
        return lambda: hosts.plug(name)
    pair = ("coordinator", name) if how == "to the worker" else (name, "coordinator")
    hosts.deafen(*pair)
    return lambda: hosts.mend(*pair)


@pytest.mark.parametrize("how", ["both ways", "to the worker", "to the coordinator"])
def test_partition_longer_than_the_lease_is_fenced_before_it_is_granted_again(
    cluster: ClusterOfHosts, how: str
) -> None:
    run = cluster.detach("Gated", "--key", "long")
    (first,) = running(cluster, "long")
    name = host_of(cluster, first)
    heal = cut(cluster.hosts, how, name)
    wait_until(lambda: state_of(first) in ("", "Z"), "the fence")
    dead_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    second = running(cluster, "long", 2)[1]
    started_ns = cluster.ledger.lines("start", "Gated-long-0")[1].at_ns
    assert started_ns > dead_ns, "granted again before the first copy was dead"
    assert host_of(cluster, second) != name
    heal()
    cluster.wait_joined(*WORKERS)
    cluster.ledger.open_gate("long")
    cluster.wait_ended(run)
    cluster.ledger.check(["Gated-long-0"])
    assert {line.pid for line in cluster.ledger.lines("end")} == {second}
    assert [one.attempt for one in cluster.ledger.executions()] == [1, 2]


def test_partition_of_one_host_under_load_loses_nothing(cluster: ClusterOfHosts) -> None:
    run = cluster.detach("Fan", "--key", "load", "--width", "400", "--ms", "80")
    wait_until(lambda: len(cluster.ledger.ended()) > 30, "some progress")
    cluster.hosts.unplug("w2")
    wait_until(lambda: "worker lost" in logs(cluster), "the coordinator to give up on w2")
    cluster.hosts.plug("w2")
    cluster.wait_ended(run, timeout_s=90)
    cluster.ledger.check([*(f"Leaf-load-{n}" for n in range(400)), "Fan-load"])
    cluster.wait_joined(*WORKERS)


def logs(cluster: ClusterOfHosts) -> str:
    assert cluster.coordinator is not None
    return cluster.coordinator.text()
