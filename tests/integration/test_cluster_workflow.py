"""One cluster, real processes: every way in which a task of a workflow can end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, state_of, wait_until


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("workflow") / "c"
    with Cluster(root, settings={"FLOW_RESOURCES__pool": "3"}) as cluster:
        cluster.start_coordinator()
        cluster.start_worker("w1", "--resources", "gpu=1", wait=False)
        cluster.start_worker("w2", "--resources", "gpu=1", wait=False)
        cluster.wait_joined("w1", "w2")
        yield cluster


def started(cluster: Cluster, piece: str) -> list[str]:
    return [one for one in cluster.ledger.started() if piece in one]


def test_fan_out_runs_each_task_once_and_the_join_last(cluster: Cluster) -> None:
    said = cluster.submit("Fan", "--key", "fan", "--width", "200")
    names = [f"Leaf-fan-{n}" for n in range(200)] + ["Fan-fan"]
    cluster.ledger.check(names)
    assert sorted(started(cluster, "-fan")) == sorted(names)
    assert "* 201 ran successfully:" in said and "This progress looks :)" in said
    assert len({one.pid for one in cluster.ledger.executions() if "fan" in one.task}) > 1


def test_layers_start_only_after_what_they_need(cluster: Cluster) -> None:
    said = cluster.submit("Layers", "--key", "deep")
    names = [f"Layer-deep-{depth}-{n}" for depth in range(5) for n in range(6)]
    cluster.ledger.check(names)
    assert sorted(started(cluster, "Layer-deep")) == sorted(names)
    assert "* 31 ran successfully:" in said
    ended = {one.task: one.ended_ns for one in cluster.ledger.executions()}
    for one in cluster.ledger.executions():
        if one.task.startswith("Layer-deep-"):
            depth, n = map(int, one.task.split("-")[2:])
            for step in range(3) if depth else ():
                below = ended[f"Layer-deep-{depth - 1}-{(n + step) % 6}"]
                assert below is not None and below < one.started_ns


def test_dynamic_requirements_call_run_once_for_three_yields(cluster: Cluster) -> None:
    said = cluster.submit("Dynamic", "--key", "dyn")
    assert len(cluster.ledger.lines("run", "Dynamic-dyn")) == 1
    assert sorted(started(cluster, "-dyn-")) == [f"Leaf-dyn-{n}" for n in range(5)]
    text = (cluster.modules / "out" / "Dynamic-dyn").read_text()
    assert text == " ".join(f"Leaf-dyn-{n}" for n in range(5))
    assert "* 6 ran successfully:" in said


def test_dynamic_requirement_that_fails_ends_the_run_with_its_reason(cluster: Cluster) -> None:
    said = cluster.submit("YieldsBad", "--key", "yb", code=30)
    assert "no way, yb" in said


def test_complete_root_runs_nothing(cluster: Cluster) -> None:
    cluster.submit("Leaf", "--key", "again", "--n", "1")
    said = cluster.submit("Leaf", "--key", "again", "--n", "1")
    assert started(cluster, "again") == ["Leaf-again-1"]
    assert "* 1 complete ones were encountered:" in said
    (cluster.modules / "out" / "Leaf-again-1").unlink()
    cluster.submit("Leaf", "--key", "again", "--n", "1")
    assert len(started(cluster, "again")) == 2


@pytest.mark.parametrize(("resource", "most"), [("pool", 3), ("undeclared", 1), ("gpu", 2)])
def test_resource_is_never_exceeded(cluster: Cluster, resource: str, most: int) -> None:
    cluster.submit("HoldsMany", "--key", resource, "--resource", resource)
    names = [f"Holds-{resource}-{n}" for n in range(8)]
    cluster.ledger.check(names)
    assert cluster.ledger.most_at_once(names) <= most


def test_demand_that_nothing_meets_is_a_visible_reason(cluster: Cluster) -> None:
    run = cluster.detach("Holds", "--key=big", "--n=0", "--resource=pool", "--amount=9")
    why = wait_until(
        lambda: (
            (a := cluster.flow("why", "Holds(key=big", "--json"))
            and a.returncode == 0
            and '"ready"' in a.stdout
            and a.stdout
        ),
        "an answer of flow why",
    )
    assert "can never run" in why or "limit is 3" in why, why
    assert "resources set pool" in why, why
    assert cluster.flow("cancel", run).returncode == 0
    cluster.wait_ended(run, "cancelled")


def test_failing_task_is_retried_until_it_succeeds(cluster: Cluster) -> None:
    said = cluster.submit("Flaky", "--key", "f")
    attempts = [one.attempt for one in cluster.ledger.executions("Flaky-f")]
    assert attempts == [1, 2, 3]
    assert "attempt 2 is too early" in said
    assert "This progress looks :)" in said


def test_failed_task_tells_its_reason_and_what_it_blocks_and_can_be_retried(
    cluster: Cluster,
) -> None:
    said = cluster.submit("NeedsFailing", "--key", "bad", code=30)
    assert "ValueError: no way, bad" in said and "workflow_tasks" not in said
    assert "flowtasks.py:" in said
    assert "some last words on stdout" in said and "and some on stderr" in said
    assert "This progress looks :( because there were failed tasks" in said
    assert "Leaf-bad-0" in cluster.ledger.ended()
    assert not started(cluster, "NeedsFailing")
    run = cluster.json("status")["runs"][0]["run"]
    cluster.ledger.open_gate("mend-bad")
    done = cluster.flow("retry", run)
    assert done.returncode == 0, done.stderr
    again = cluster.json("status")["runs"][0]["run"]
    assert again != run and again in done.stdout, done.stdout
    cluster.wait_ended(again)
    assert started(cluster, "bad").count("Leaf-bad-0") == 1
    assert len(started(cluster, "NeedsFailing")) == 1


def test_timeout_kills_the_whole_tree(cluster: Cluster) -> None:
    said = cluster.submit("Slow", "--key", "t", code=30)
    assert "timeout" in said.lower() or "timed out" in said.lower()
    child = int(cluster.ledger.lines("child")[-1].detail)
    runner = cluster.ledger.lines("start", "Slow-t")[-1].pid
    assert state_of(child) in ("", "Z") and state_of(runner) in ("", "Z")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("segv", "SIGSEGV"),
        ("exit0", "exit"),
        ("exit3", "3"),
        ("kill", "SIGKILL"),
        ("sysexit", "sys.exit(0) was called"),
        ("unprintable", "Unprintable"),
    ],
)
def test_task_that_dies_is_one_clear_failure_and_others_go_on(
    cluster: Cluster, how: str, words: str
) -> None:
    uids = {row["uid"] for row in cluster.list_workers()}
    said = cluster.submit("Dies", "--how", how, code=30)
    assert words in said, said
    assert "attempt 2 of 1" not in said
    cluster.submit("Leaf", "--key", f"after{how}", "--n", "0")
    assert {row["uid"] for row in cluster.list_workers()} == uids, "the agent lives on"


def test_task_without_its_output_is_a_failure(cluster: Cluster) -> None:
    said = cluster.submit("NoOutput", code=30)
    assert "output" in said and "missing" in said, said


def test_missing_external_data_ends_the_run_with_its_name(cluster: Cluster) -> None:
    said = cluster.submit("NeedsMissing", "--key", "gone", code=20)
    assert "Missing(key=gone)" in said, said
    assert not started(cluster, "NeedsMissing")


def test_run_cancelled_kills_what_runs(cluster: Cluster) -> None:
    run = cluster.detach("GatedMany", "--key", "cancelled")
    wait_until(lambda: len(started(cluster, "Gated-cancelled")) == 2, "both to run")
    pids = [line.pid for line in cluster.ledger.lines("start") if "cancelled" in line.task]
    done = cluster.flow("cancel", run, "--reason", "enough")
    assert done.returncode == 0, done.stderr
    cluster.wait_ended(run, "cancelled")
    wait_until(lambda: all(state_of(pid) in ("", "Z") for pid in pids), "the runners' end")
    watched = cluster.flow("status", run)
    assert "cancelled" in watched.stdout.lower(), watched.stdout


def test_two_submissions_of_one_root_run_each_task_once(cluster: Cluster) -> None:
    first = cluster.detach("Both", "--key", "joined", "--width", "5", "--gated", "1")
    wait_until(lambda: started(cluster, "Gated-joined"), "the first run to start")
    second = cluster.detach("Both", "--key", "joined", "--width", "5", "--gated", "1")
    wait_until(lambda: cluster.summary(second).scheduled >= 2, "the second run's plan")
    cluster.ledger.open_gate("joined")
    for run in (first, second):
        assert cluster.wait_ended(run).exit_code == 0
    names = [f"Leaf-joined-{n}" for n in range(5)] + ["Gated-joined-0", "Fan-joined", "Both-joined"]
    assert sorted(started(cluster, "joined")) == sorted(names)


def test_why_names_the_holder_of_a_resource(cluster: Cluster) -> None:
    run = cluster.detach("Tight", "--key", "why")
    holder = wait_until(lambda: started(cluster, "Tight-why"), "the holder to run")
    first = int(holder[0][-1])

    def reasons() -> str:
        done = cluster.flow("why", f"TightOne(key=why, n={1 - first}", "--json")
        return done.stdout if done.returncode == 0 and '"ready"' in done.stdout else ""

    answer = json.loads(wait_until(reasons, "a blocked task"))
    text = " ".join(f"{label} {text}" for label, text in answer["lines"])
    assert "resource tight" in text and "1 of 1 in use" in text and f"n={first}" in text, text
    cluster.ledger.open_gate("why")
    cluster.wait_ended(run)


def test_submit_with_a_timeout_leaves_the_run_going(cluster: Cluster) -> None:
    done = cluster.flow("submit", "--timeout", "1s", "flowtasks", "Gated", "--key", "later")
    assert done.returncode == 124, done.stdout + done.stderr
    cluster.ledger.open_gate("later")
    run = cluster.json("status")["runs"][0]["run"]
    cluster.wait_ended(run)


def test_projects_do_not_meet(cluster: Cluster) -> None:
    before = len(started(cluster, "Gated-project"))
    runs = [cluster.detach("Gated", "--key", "project", "--project", p) for p in ("a", "b")]
    wait_until(lambda: len(started(cluster, "Gated-project")) == before + 2, "one in each project")
    cluster.ledger.open_gate("project")
    for run in runs:
        cluster.wait_ended(run)


def test_ledger_after_all_of_this_has_no_overlap_but_between_projects(cluster: Cluster) -> None:
    assert not [one for one in cluster.ledger.overlaps() if "project" not in one]
    assert not list(Path(cluster.tmp).iterdir())
