"""``flow graph RUN`` with real processes: while it runs, after its end, after a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.cluster import Cluster, wait_until


def families(cluster: Cluster, run: str, *words: str) -> dict[str, dict[str, Any]]:
    """Ask for the families of a run, by name."""
    told = cluster.json("graph", run, *words)
    return {each["family"]: each for each in told["families"]}


def test_graph_of_a_run_while_it_runs_after_it_ended_and_after_a_restart(tmp_path: Path) -> None:
    with Cluster(tmp_path / "c", settings={"FLOW_RESOURCES__pool": "3"}) as cluster:
        cluster.start("w1", slots=3)
        run = cluster.detach("Both", "--key", "g", "--width", "6", "--name", "nightly")

        def leaves_are_done() -> bool:
            found = families(cluster, run)
            return found.get("Fan", {}).get("counts") == {"done": 1} and found["Gated"][
                "counts"
            ] == {"running": 2}

        wait_until(leaves_are_done, "the fan to end while the gated tasks run", pause_s=0.1)
        _while_it_runs(cluster, run)
        cluster.ledger.open_gate("g")
        cluster.wait_ended(run)
        _after_its_end(cluster, run)
        assert cluster.coordinator is not None
        cluster.coordinator.stop()
        cluster.start_coordinator()
        _after_its_end(cluster, run)
        cluster.wait_joined("w1")


def _while_it_runs(cluster: Cluster, run: str) -> None:
    tree = cluster.flow("graph", "nightly")
    assert tree.returncode == 0, tree.stderr
    lines = tree.stdout.splitlines()
    assert lines[0].split() == ["Both", "1", "waiting"]
    assert lines[1].split() == ["├──", "GatedMany", "1", "waiting"]
    assert lines[2].split()[:6] == ["│", "└──", "Gated", "2", "▶", "running"]
    assert lines[3].split()[:5] == ["└──", "Fan", "1", "✓", "done"]
    assert lines[4].split()[:5] == ["└──", "Leaf", "6", "✓", "done"]
    told = cluster.json("graph", run, "GatedMany", "--depth", "1")
    assert [each["family"] for each in told["tasks"]] == ["GatedMany", "Gated", "Gated"]
    assert [each["state"] for each in told["tasks"]] == ["pending", "running", "running"]
    assert told["tasks"][0]["requires"] == [each["id"] for each in told["tasks"][1:]]
    tree = cluster.flow("graph", run, "--depth", "1")
    assert tree.stdout.splitlines()[0].startswith("Both(key=g")
    assert "is not kept" in tree.stderr
    assert "label=" in cluster.flow("graph", "last", "--format", "dot").stdout
    unknown = cluster.flow("graph", run, "Nobody")
    assert unknown.returncode == 2, unknown.stderr
    assert "no open run has a task 'Nobody'" in unknown.stderr


def _after_its_end(cluster: Cluster, run: str) -> None:
    found = families(cluster, run)
    assert {name: each["counts"] for name, each in found.items()} == {
        "Both": {"done": 1},
        "GatedMany": {"done": 1},
        "Fan": {"done": 1},
        "Gated": {"done": 2},
        "Leaf": {"done": 6},
    }
    assert found["Both"]["requires"] == ["GatedMany", "Fan"]
    assert found["Fan"]["requires"] == ["Leaf"]
    gone = cluster.flow("graph", run, "GatedMany")
    assert gone.returncode == 2
    assert "has ended" in gone.stderr
    assert f"flow graph {run}" in gone.stderr
    unknown = cluster.flow("graph", "r-99")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "there is no run 'r-99'" in unknown.stderr
    assert "flow status" in unknown.stderr


def test_graph_of_neither_run_nor_module_says_what_to_type_without_a_coordinator(
    tmp_path: Path,
) -> None:
    with Cluster(tmp_path / "c") as cluster:
        done = cluster.flow("graph", "nonsense")
        assert done.returncode == 2, done.stderr
        assert "'nonsense' is no module that can be imported here" in done.stderr
        assert "flow status" in done.stderr
        done = cluster.flow("graph", "r-7", "--json")
        assert done.returncode == 60
        assert "no coordinator" in json.dumps(json.loads(done.stdout or done.stderr))
