"""The key of a submission never starts a second run, however many runs came after the first."""

from __future__ import annotations

from pathlib import Path

from flow.client.client import Client
from flow.wire.messages.client import (
    Cancel,
    Changed,
    RootTask,
    RunShown,
    ShowRun,
    Submit,
    SubmitOptions,
    SubmitTaken,
    Submitted,
)
from flow_coordinator.core.config import CoreConfig
from tests.support.cluster import Cluster


def roots(count: int = 1) -> list[RootTask]:
    return [RootTask("flowtasks", "Leaf", {"n": str(n)}) for n in range(count)]


def submit(client: Client, key: str) -> str:
    message = Submit(0, key, "default", roots(), SubmitOptions(name=f"run of {key}"))
    return client.ask(message, Submitted).run


def end(client: Client, run: str) -> None:
    client.ask(Cancel(0, run), Changed)


def end_more_than_memory_keeps(client: Client, keys: str) -> None:
    for number in range(CoreConfig().ended_runs_max + 1):
        end(client, submit(client, f"{keys} {number}"))


def test_key_of_a_run_that_is_only_stored_finds_it_also_after_restarts(tmp_path: Path) -> None:
    with Cluster(tmp_path / "c") as cluster:
        first = cluster.start_coordinator()
        with cluster.client() as client:
            assert submit(client, "once") == "r-1"
            end(client, "r-1")
            end_more_than_memory_keeps(client, "later")
            assert submit(client, "once") == "r-1"
            shown = client.ask(ShowRun(0, "r-1"), RunShown).summary
            assert (shown.name, shown.state) == ("run of once", "cancelled")
            end_more_than_memory_keeps(client, "later still")
        first.kill()
        first.popen.wait()
        cluster.start_coordinator()
        with cluster.client() as client:
            newest = submit(client, "another")
            assert submit(client, "once") == "r-1"
            assert submit(client, "later 7") == "r-9"
            assert submit(client, "once again") == f"r-{int(newest[2:]) + 1}"


def test_key_of_a_run_in_parts_that_is_only_stored_finds_it_with_any_part(tmp_path: Path) -> None:
    def part(at: int) -> Submit:
        return Submit(0, "parts", "default", roots(2), SubmitOptions(), at=at, total=6)

    with Cluster(tmp_path / "c") as cluster:
        cluster.start_coordinator()
        with cluster.client() as one, cluster.client() as other:
            assert one.ask(part(0), SubmitTaken).count == 2
            assert other.ask(part(0), SubmitTaken).count == 2  # the same submission, said again
            assert one.ask(part(2), SubmitTaken).count == 4
            assert other.ask(part(4), Submitted).run == "r-1"
            assert one.ask(part(4), Submitted).run == "r-1"
            end(one, "r-1")
            end_more_than_memory_keeps(one, "later")
            assert one.ask(part(2), Submitted).run == "r-1"
            end_more_than_memory_keeps(one, "later still")
            assert other.ask(part(0), Submitted).run == "r-1"
