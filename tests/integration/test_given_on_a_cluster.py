"""``flow submit ... --Family-param``: runs of one cluster, each with values of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.wire.messages.client import GIVEN_BYTES_MAX
from tests.support.cluster import Cluster, wait_until

pytest.importorskip("luigi")

MODULES = ["flowtasks", "oldtasks"]
TASKS = Path(__file__).parents[1] / "support" / "given_tasks.py"


def copied_for_luigi(cluster: Cluster) -> Cluster:
    shutil.copy(TASKS, cluster.modules / "oldtasks.py")
    return cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("given") / "c", "given_tasks") as cluster:
        yield copied_for_luigi(cluster).start("w1", slots=4)


def detach(cluster: Cluster, module: str, *words: str) -> str:
    done = cluster.flow("submit", "--detach", "--json", "--project", module, module, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(json.loads(done.stdout)["run"])


def run(cluster: Cluster, module: str, *words: str, code: int = 0) -> str:
    done = cluster.flow("submit", "--project", module, module, *words)
    said = done.stdout + done.stderr
    assert done.returncode == code, f"{done.returncode}: {said}\n{cluster.logs()}"
    return said


def wrote(cluster: Cluster, name: str) -> str:
    return (cluster.modules / "out" / name).read_text()


def values(n: int, base: str) -> tuple[str, ...]:
    return ("--Leaf-n", str(n), "--site-base", base, "--deep.space.Spaced-n", str(n + 1))


def check_root(cluster: Cluster, key: str, n: int, base: str) -> None:
    """Every task of ``Root`` ran with its own run's values, from end to end."""
    assert wrote(cluster, f"Leaf-{key}") == f"{n} {base} none"
    assert wrote(cluster, f"deep.space.Spaced-{key}") == f"{n + 1 if n else 0} {base} none"
    assert wrote(cluster, f"Leaf-{key}-1") == f"{n} {base} none"
    assert wrote(cluster, f"Leaf-{key}-2") == f"{n} {base} none"
    assert wrote(cluster, f"Steps-{key}") == f"{n} {base} {n} {base} {n} {base} none"
    assert wrote(cluster, f"Root-{key}") == f"{n} {n + 1 if n else 0} {n} {base} none"


@pytest.mark.parametrize("module", MODULES)
def test_values_reach_every_task_of_a_run_and_no_other_run(cluster: Cluster, module: str) -> None:
    key = f"{module}-one"
    run(cluster, module, "Root", "--key", key, *values(3, "/data%1"))
    check_root(cluster, key, 3, "/data%1")
    key = f"{module}-none"
    run(cluster, module, "Root", "--key", key)
    check_root(cluster, key, 0, "none")


@pytest.mark.parametrize("module", MODULES)
def test_runs_at_the_same_time_keep_their_values_apart(cluster: Cluster, module: str) -> None:
    keys = {f"{module}-at-{n}": n for n in (1, 2)}
    runs = [
        detach(cluster, module, "Root", "--key", key, "--gate", module, *values(n, f"/base{n}"))
        for key, n in keys.items()
    ]
    plain = f"{module}-plain"
    runs.append(detach(cluster, module, "Root", "--key", plain, "--gate", module))
    firsts = [cluster.modules / "out" / f"Leaf-{key}-1" for key in (*keys, plain)]
    wait_until(lambda: all(first.exists() for first in firsts), "the generators' first steps")
    cluster.ledger.open_gate(f"open-{module}")
    for one in runs:
        cluster.wait_ended(one)
    for key, n in keys.items():
        check_root(cluster, key, n, f"/base{n}")
    check_root(cluster, plain, 0, "none")


def test_task_that_another_run_has_planned_keeps_its_values(cluster: Cluster) -> None:
    first = detach(cluster, "flowtasks", "Shares", "--key", "s1", "--site-base", "/first")
    wait_until(lambda: "running" in tasks(cluster, first), "Common to run")
    second = detach(cluster, "flowtasks", "Shares", "--key", "s2", "--site-base", "/second")
    wait_until(lambda: "Common" in tasks(cluster, second), "the second run to join it")
    cluster.ledger.open_gate("open-common")
    for one in (first, second):
        cluster.wait_ended(one)
    assert wrote(cluster, "Common") == "/first"
    assert wrote(cluster, "Shares-s1") == "done /first none"
    assert wrote(cluster, "Shares-s2") == "done /second none"
    # What has ended is planned anew, with what is given now.
    for name in ("Common", "Shares-s2"):
        (cluster.modules / "out" / name).unlink()
    run(cluster, "flowtasks", "Shares", "--key", "s2", "--site-base", "/third")
    assert wrote(cluster, "Common") == "/third"


def tasks(cluster: Cluster, run: str) -> str:
    return cluster.flow("tasks", "--run", run).stdout


@pytest.mark.parametrize("module", MODULES)
def test_value_that_fits_nothing_ends_the_run_with_its_name(cluster: Cluster, module: str) -> None:
    said = run(cluster, module, "Root", "--key", "bad", "--Spaced-x", "1", code=2)
    assert "Root has no parameter 'Spaced_x'" in said
    said = run(cluster, module, "Root", "--key", "bad", "--Leaf-m", "1", code=2)
    assert "Root has no parameter 'Leaf_m'" in said
    said = run(cluster, module, "Root", "--key", "bad", "--Leaf-n", "x", code=35)
    ours, luigis = "Leaf --n from --Leaf-n: 'x'", "parsing the default value of 'n'"
    assert (ours if module == "flowtasks" else luigis) in said, said
    said = run(cluster, module, "Root", "--key", "bad", "--Leaf-n", "1" * GIVEN_BYTES_MAX, code=2)
    assert "the value is too long to be given to other tasks (Leaf --n)" in said


def test_parameter_of_the_root_that_looks_like_one_is_its_own(cluster: Cluster) -> None:
    words = ("--key", "dated", "--start-date", "2026-01-01", "--Leaf-n", "4")
    ids = [
        detach(cluster, "flowtasks", "Root", *words),
        detach(cluster, "flowtasks", "Root", "--key", "long", "--start-date", "x" * 50_000),
    ]
    for one in ids:
        cluster.wait_ended(one)
    assert wrote(cluster, "Leaf-dated") == "4 none none"


def test_restart_of_the_coordinator_keeps_the_values_of_its_runs(tmp_path: Path) -> None:
    with Cluster(tmp_path / "c", "given_tasks") as cluster:
        copied_for_luigi(cluster).start("w1", slots=2)
        runs = [
            detach(cluster, module, "Root", "--key", module, "--gate", "again", *values(n, f"/{n}"))
            for n, module in enumerate(MODULES, 1)
        ]
        firsts = [cluster.modules / "out" / f"Leaf-{module}-1" for module in MODULES]
        wait_until(lambda: all(first.exists() for first in firsts), "the generators' first steps")
        assert cluster.coordinator is not None
        cluster.coordinator.stop(signal.SIGKILL)
        cluster.start_coordinator()
        # Their generators begin again, in new processes, with what the store says.
        os.kill(cluster.workers["w1"].agent(), signal.SIGKILL)
        cluster.ledger.open_gate("open-again")
        for one in runs:
            cluster.wait_ended(one)
        for n, module in enumerate(MODULES, 1):
            check_root(cluster, module, n, f"/{n}")


def test_graph_shows_what_values_for_families_change(cluster: Cluster) -> None:
    done = cluster.flow(
        "graph", str(cluster.modules / "flowtasks.py"), "Root", "--key", "g", "--Leaf-n", "7"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Leaf(key=g, n=7)" in done.stdout
