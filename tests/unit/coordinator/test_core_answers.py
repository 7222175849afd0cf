"""Answers to commands, and why a task is not running."""

from __future__ import annotations

import pytest

from flow.wire.messages import client, codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Outcome, Policy
from flow.wire.params import pack_params
from flow.wire.states import TaskState
from flow_coordinator.core import explain
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.queries import answers
from flow_coordinator.core.queries.finding import (
    _EXACT,
    _NAMED,
    _NOT,
    _PART_OF_FAMILY,
    _PIECE,
    Wanted,
    find_tasks,
)
from tests.support.core_env import Env, Graph

S = TaskState


def why(env: Env, task: str) -> dict[str, str]:
    """The lines of ``flow why``."""
    return dict(env.ask(lambda n: client.Why(n, task), client.WhyShown).answer.lines)


def hints(env: Env, task: str) -> list[str]:
    return env.ask(lambda n: client.Why(n, task), client.WhyShown).answer.hints


# ---------------------------------------------------------------- why


@pytest.mark.unread("Plan")
def test_why_unplanned_says_whether_a_planner_has_it() -> None:
    env = Env()
    env.graph = Graph({"a": ["b"], "b": []})
    env.plan_by_hand = True
    worker = env.worker()
    env.submit("a")
    (plan,) = env.heard(worker.peer, wire.Plan)
    few = wire.Plan(plan.session, plan.request, plan.stubs, 1)
    body = codec.encode_chunk(env.graph.answer(few, worker.uid))
    worker.say(wire.Planned(worker.session, plan.request, 0, True, body))
    assert why(env, "T_b")["planning"] == "a planner expands it now"
    worker.say(wire.Drained(worker.session))
    assert "no worker has joined" in why(env, "T_b")["planning"]
    assert any("flow-worker" in hint for hint in hints(env, "T_b"))


def test_why_of_a_root_that_nobody_planned_says_what_it_waits_for() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    env.submit("a")
    assert why(env, "T(name=a)")["planning"] == "no worker has joined that could plan it"
    assert hints(env, "name=a") == ["flow-worker --coordinator ADDRESS"]
    env.worker(slots=0)
    env.wait(1)
    assert why(env, "T(name=a)")["requirements"] == "all done"


def test_made_up_names_of_runs_differ() -> None:
    env = Env()
    for _ in range(100):
        env.submit("a")
    names = {run.name for run in env.core.state.runs.values()}
    assert len(names) == 100


@pytest.mark.unread("Dispatch")
def test_why_pending_names_what_is_open() -> None:
    env = Env()
    env.graph = Graph({"a": ["b", "c"], "b": [], "c": []})
    env.worker(slots=1)
    env.submit("a")
    line = why(env, "T_a")["requirements"]
    assert line.startswith("2 of 2 not done") and "T(name=c) ready" in line


def test_why_ready_names_the_resource_and_who_holds_it() -> None:
    env = Env(CoreConfig(limits={"db": 1}))
    db = Policy(resources={"db": 1})
    env.graph = Graph({"a": [], "b": []}, {"a": db, "b": db})
    worker = env.worker(slots=4)
    env.submit("a", "b")
    (held,) = worker.take()
    other = "b" if held.task_id == "T_a" else "a"
    lines = why(env, f"T_{other}")
    assert f"T(name={held.task_id[2:]})" in lines["resource db"]
    assert "1 of 1 in use" in lines["resource db"]
    assert hints(env, f"T_{other}") == ["flow resources set db 2"]


def test_why_ready_without_workers_says_what_to_start() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    planner = env.worker("p", slots=0)
    env.submit("a")
    planner.say(wire.Drained(planner.session))
    assert why(env, "T_a")["workers"] == "no worker has joined"
    assert any("flow-worker" in hint for hint in hints(env, "T_a"))


def test_why_unmet_says_it_can_never_run() -> None:
    env = Env(CoreConfig(limits={"db": 1}))
    env.graph = Graph({"a": []}, {"a": Policy(resources={"db": 2})})
    env.worker()
    env.submit("a")
    assert "can never run" in why(env, "T_a")["resources"]
    assert hints(env, "T_a") == ["flow resources set db 2"]


def test_why_ready_names_what_each_worker_lacks_and_who_holds_it() -> None:
    env = Env()
    gpu = Policy(resources={"gpu": 1})
    env.graph = Graph({"a": [], "b": []}, {"a": gpu, "b": gpu})
    one = env.worker("one", slots=2, capacity={"gpu": 1})
    env.worker("two", slots=2)
    env.submit("a", "b")
    (held,) = one.take()
    other = "b" if held.task_id == "T_a" else "a"
    lines = why(env, f"T_{other}")
    assert lines["worker one"] == f"needs gpu 1, 1 of 1 in use: T(name={held.task_id[2:]}) 0 s"
    assert lines["worker two"] == "has gpu 0, 1 needed"


def test_why_ready_without_a_free_slot_names_what_runs_there() -> None:
    env = Env()
    env.graph = Graph({"a": [], "b": []})
    worker = env.worker("one", slots=1)
    env.submit("a")
    (held,) = worker.take()
    worker.start(held)
    env.wait(10)  # so long that nothing is granted ahead behind it
    env.submit("b")
    assert why(env, "T_b")["worker one"] == "1 of 1 slots in use: T(name=a) 10 s"


def test_run_waits_only_for_what_its_own_tasks_wait_for() -> None:
    env = Env(CoreConfig(limits={"db": 1}))
    env.graph = Graph({"a": [], "b": [], "c": []}, {"a": Policy(resources={"db": 2})})
    worker = env.worker(slots=1)
    env.submit("a")
    env.submit("b")
    (held,) = worker.take()
    worker.start(held)
    env.wait(10)
    env.submit("c")
    s = env.core.state
    said = {run.name: explain.waiting(s, run) for run in s.runs.values()}
    assert list(said.values()) == [
        ["needs db 2, but its limit is 1: it can never run"],
        [],
        ["a free slot (1/1 in use)"],
    ]


def test_why_large_amounts_are_said_as_sizes() -> None:
    env = Env()
    env.graph = Graph({"a": []}, {"a": Policy(resources={"memory": 900e9})})
    env.worker(capacity={"memory": 2.5e9})
    env.submit("a")
    lines = why(env, "T_a")
    assert lines["resources"] == "needs a worker with memory 900 GB: no worker has that much"
    assert lines["worker a"] == "has memory 2.5 GB, 900 GB needed"
    assert hints(env, "T_a") == ["flow-worker --resources memory=900GB"]


def test_why_after_the_run_tells_from_its_summary() -> None:
    env = Env()
    env.graph = Graph({"top": ["bad", "good"], "bad": [], "good": []})
    worker = env.worker(slots=2)
    env.submit("top")
    for grant in worker.take():
        if grant.task_id == "T_bad":
            told = {"error": "ValueError: x", "where": "p.py:3", "tail": "last words"}
            worker.end(grant, outcome=Outcome.FAILED, **told)
        else:
            worker.end(grant)
    env.wait(1)
    assert not env.core.state.runs
    answer = env.ask(lambda n: client.Why(n, "T_bad"), client.WhyShown).answer
    lines = dict(answer.lines)
    assert (answer.task, answer.state) == ("T(name=bad)", "failed")
    assert (lines["error"], lines["output"]) == ("ValueError: x  p.py:3", "last words")
    assert answer.hints == ["flow retry r-1"]
    assert why(env, "name=good")["because"] == "it ran successfully"
    assert hints(env, "name=good") == []
    assert why(env, "T(name=top)")["of the run"] == "T(name=bad) failed"
    failed = env.ask(lambda n: client.Why(n, "T"), client.Failed)
    assert "3 tasks of ended runs" in failed.error


def test_why_backoff_says_when_and_what_failed() -> None:
    env = Env(CoreConfig(retry_count=3, retry_delay_s=30, retry_jitter=0))
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    worker.end(*worker.take(), outcome=Outcome.FAILED, error="ValueError: no", where="p.py:3")
    lines = why(env, "T_a")
    assert lines["backoff"] == "tries again in 30 s"
    assert "ValueError: no" in lines["last failure"] and "1 of 3" in lines["last failure"]
    assert hints(env, "T_a") == ["flow retry 'T_a'"]


@pytest.mark.unread("Kill")
def test_why_running_names_worker_token_silence_and_end() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    (grant,) = worker.take()
    worker.start(grant)
    assert why(env, "T_a")["worker"] == f"a, attempt 1, token {grant.token}"
    env.wait(20)
    assert why(env, "T_a")["silence"].startswith("silent for 20 s; granted again in 43 s")
    env.ask(lambda n: client.Cancel(n, "T_a"), client.Changed)
    assert "told to kill it" in why(env, "T_a")["ending"]


def test_why_of_a_lease_after_a_restart_says_how_long_it_is_kept() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    worker.take()
    env.restart()
    lines = why(env, "T_a")
    assert "(not joined)" in lines["worker"]
    assert lines["lease"] == "kept for 63 s for its worker to return"


@pytest.mark.unread("Dispatch")
def test_why_suspended_and_failed() -> None:
    env = Env()
    env.graph = Graph({"gen": [], "bad": [], "top": ["bad"], "dep": []})
    worker = env.worker(slots=2)
    env.submit("gen", "top")
    bad, gen = sorted(worker.take(), key=lambda g: g.task_id)
    worker.yields(gen, 1, "dep")
    assert "waits for the tasks it yielded" in why(env, "T_gen")["suspended"]
    worker.end(bad, outcome=Outcome.FAILED, error="ValueError: x")
    assert why(env, "T_bad")["because"] == "ValueError: x"
    assert "T(name=bad) failed" in why(env, "T_top")["requirements"]


# ---------------------------------------------------------------- finding


def test_ambiguous_task_lists_its_matches() -> None:
    env = Env()
    names = [f"day{i}" for i in range(20)]
    env.graph = Graph({name: [] for name in names})
    env.worker(slots=0)
    env.submit(*names)
    failed = env.ask(lambda n: client.Why(n, "day"), client.Failed)
    assert failed.code == 2 and "20" in failed.error
    assert len(failed.matches) == answers.MATCHES_MAX
    assert failed.matches[0] == "T(name=day0)"
    assert why(env, "T(name=day7)")["requirements"] == "all done"


def test_ambiguous_run_lists_its_matches_and_unknown_says_what_to_type() -> None:
    env = Env()
    env.submit("a", name="nightly-one")
    env.submit("b", name="nightly-two")
    failed = env.ask(lambda n: client.ShowRun(n, "nightly"), client.Failed)
    assert len(failed.matches) == 2 and failed.matches[0].startswith("r-1 nightly-one")
    for message in (
        client.ShowRun(90, "zz"),
        client.Watch(91, "zz"),
        client.ListTasks(92, "", "zz"),
    ):
        env.say(b"client", message)
        failed = env.heard(b"client", client.Failed)[-1]
        assert (failed.code, failed.hint) == (2, "flow status") and "zz" in failed.error
    shown = env.ask(lambda n: client.ShowRun(n, "last"), client.RunShown)
    assert shown.summary.run == "r-2"
    shown = env.ask(lambda n: client.ShowRun(n, "nightly-one"), client.RunShown)
    assert shown.summary.run == "r-1"


def test_unknown_task_and_cancel_of_an_ended_run_are_refused() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    worker.run()
    assert env.ask(lambda n: client.Why(n, "r-1"), client.Failed).hint == "flow status r-1"
    assert env.ask(lambda n: client.Why(n, "zz"), client.Failed).code == 2
    assert (
        env.ask(lambda n: client.Cancel(n, "r-9"), client.Failed).error == "there is no run 'r-9'"
    )
    failed = env.ask(lambda n: client.Cancel(n, "r-1"), client.Failed)
    assert "has ended: succeeded" in failed.error


def test_unknown_task_names_what_is_near() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    env.worker(slots=0)
    env.submit("a")
    failed = env.ask(lambda n: client.Why(n, "T(name=b)"), client.Failed)
    assert failed.matches == ["T(name=a)"] and "but there are" in failed.error
    assert env.ask(lambda n: client.Why(n, "completely-other"), client.Failed).matches == []


def test_task_of_a_name_that_several_runs_have_is_found_by_cancel() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    env.worker(slots=0)
    env.submit("a")
    env.submit("a")
    changed = env.ask(lambda n: client.Cancel(n, "T(name=a)"), client.Changed)
    assert changed.text == "T(name=a): cancelled"


@pytest.mark.parametrize(
    ("piece", "found"),
    [
        ("Load_1_EU_aa", _EXACT),
        ("Load(n=1, region=EU)", _EXACT),
        ("Load", _NAMED),
        ("Load(n=1)", _NAMED),
        ("Load(EU)", _NAMED),
        ("Load(EU, n=1)", _NAMED),
        ("Load(n=1, region=EU", _NAMED),
        ("n=1", _PART_OF_FAMILY),
        ("region=EU, n=1", _PART_OF_FAMILY),
        ("oad(n=1)", _PART_OF_FAMILY),
        ("Load(E)", _PIECE),
        ("Load_1", _PIECE),
        ("EU", _PIECE),
        ("Load(n=10)", _NOT),
        ("Load(n=)", _NOT),
        ("n=10", _NOT),
        ("Loads", _NOT),
        ("Sell(n=1)", _NOT),
        ("(", _NOT),
    ],
)
def test_name_of_a_task_fits_as_well_as_it_says(piece: str, found: int) -> None:
    wanted = Wanted(piece)
    assert wanted.rank("Load", "Load_1_EU_aa", "Load(n=1, region=EU)") == found
    if found != _NOT and wanted.bracket:
        assert wanted.packed in pack_params({"n": "1", "region": "EU"})


@pytest.mark.unread("Dispatch")
def test_names_of_tasks_with_odd_values_are_found() -> None:
    env = Env()
    odd = ["a, b=c", " x ", "ü=ß", "", "a=", "(x)"]
    env.graph = Graph({"top": odd})
    env.worker()
    env.submit("top")
    tasks = env.run().tasks
    for name in odd:
        for piece in (f"T(name={name})", f"T(name= {name} )", f"T({name})", f"name={name}"):
            wanted = Wanted(piece)
            ranks = [wanted.rank("T", task.task_id, task.name) for task in tasks]
            fitting = [t for t, rank in zip(tasks, ranks, strict=True) if rank == min(ranks)]
            expected = fitting if min(ranks) < _NOT else []
            assert find_tasks(env.core.state, piece, env.run()) == expected, piece
        assert env.task(name) in find_tasks(env.core.state, f"T(name={name})")


def test_name_with_a_comma_in_a_value_fits() -> None:
    wanted = Wanted("Sum(ns=[1, 2], by=x)")
    assert wanted.rank("Sum", "Sum_1", "Sum(ns=[1, 2], by=x, more=y)") == _NAMED
    assert wanted.rank("Sum", "Sum_2", "Sum(ns=[1, 2, 3], by=x, more=y)") == _NOT


# ---------------------------------------------------------------- lists


@pytest.mark.unread("Dispatch")
def test_list_runs_newest_first_with_counts() -> None:
    env = Env()
    env.graph = Graph({"a": ["b"], "b": [], "c": []})
    worker = env.worker(slots=1)
    env.submit("a", by="me")
    worker.run()
    env.submit("c")
    reply = env.ask(lambda n: client.ListRuns(n), client.Runs)
    assert [row.run for row in reply.runs] == ["r-2", "r-1"]
    row = reply.runs[1]
    assert (row.state, row.done, row.total, row.running, row.by) == ("running", 1, 2, 1, "me")
    assert (reply.workers, reply.slots, reply.busy) == (1, 1, 1)
    assert len(env.ask(lambda n: client.ListRuns(n, 1), client.Runs).runs) == 1


def test_run_of_many_roots_says_how_many_are_not_named() -> None:
    env = Env()
    env.submit("a", "b", "c", "d", "e")
    row = env.ask(lambda n: client.ListRuns(n), client.Runs).runs[0]
    shown = env.ask(lambda n: client.ShowRun(n, "last"), client.RunShown)
    assert shown.summary.root == row.root
    assert row.root.endswith("T(name=c) and 2 more")


@pytest.mark.unread("Dispatch")
def test_list_tasks_by_piece_run_and_state_with_a_limit() -> None:
    env = Env()
    names = [f"n{i}" for i in range(30)]
    env.graph = Graph({name: [] for name in names})
    env.worker(slots=1)
    env.submit(*names)
    reply = env.ask(lambda n: client.ListTasks(n, "n", "", [], 10), client.Tasks)
    assert (len(reply.tasks), reply.more) == (10, 20)
    reply = env.ask(lambda n: client.ListTasks(n, "", "r-1", ["leased"]), client.Tasks)
    assert [(row.state, row.worker, row.attempt) for row in reply.tasks] == [("leased", "a", 1)]
    assert env.ask(lambda n: client.ListTasks(n, "T_n7"), client.Tasks).tasks[0].task_id == "T_n7"


@pytest.mark.unread("Drain")
def test_list_workers_tells_state_and_use() -> None:
    env = Env()
    env.graph = Graph({"a": []}, {"a": Policy(resources={"gpu": 1})})
    worker = env.worker(capacity={"gpu": 2})
    env.worker("b")
    env.submit("a")
    worker.take()
    env.ask(lambda n: client.WorkerCommand(n, "b", "drain"), client.Changed)
    rows = env.ask(lambda n: client.ListWorkers(n), client.Workers).workers
    assert [(row.name, row.state, row.busy) for row in rows] == [
        ("a", "active", 1),
        ("b", "draining", 0),
    ]
    assert rows[0].capacity == {"gpu": (1.0, 2.0)}
    assert rows[0].tasks[0][0] == "T(name=a)"
    env.wait(16)
    rows = env.ask(lambda n: client.ListWorkers(n), client.Workers).workers
    assert rows[0].state == "suspect"


@pytest.mark.unread("Dispatch")
def test_list_resources_tells_use_limits_and_who_waits() -> None:
    env = Env(CoreConfig(limits={"db": 1}))
    db, x = Policy(resources={"db": 1}), Policy(resources={"x": 1})
    env.graph = Graph({"a": [], "b": [], "c": []}, {"a": db, "b": db, "c": x})
    env.worker(slots=4, capacity={"gpu": 1})
    env.submit("a", "b", "c")
    rows = env.ask(lambda n: client.ListResources(n), client.Resources).resources
    assert [(r.name, r.used, r.limit, r.waiting, r.declared) for r in rows] == [
        ("db", 1, 1, 1, True),
        ("x", 1, 1, 0, False),
    ]


def test_set_resource_refuses_what_is_no_amount() -> None:
    env = Env()
    for name, limit in (("", 1.0), ("db", -1.0), ("db", float("inf")), ("db", float("nan"))):
        env.ask(lambda n, a=name, b=limit: client.SetResource(n, a, b), client.Failed)
    assert not env.core.state.resources.limits and not env.store.disk.resources


def test_worker_command_for_nobody_or_several_lists_them() -> None:
    env = Env()
    env.worker("one")
    env.worker("two")
    failed = env.ask(lambda n: client.WorkerCommand(n, "zz", "drain"), client.Failed)
    assert len(failed.matches) == 2
    failed = env.ask(lambda n: client.WorkerCommand(n, "uid-", "drain"), client.Failed)
    assert "2 workers" in failed.error
    env.ask(lambda n: client.WorkerCommand(n, "one", "dance"), client.Failed)


def test_about_tells_who_answers() -> None:
    env = Env(CoreConfig(version="1.2"))
    env.worker(slots=3)
    env.wait(5)
    about = env.ask(lambda n: client.About(n), client.AboutShown)
    assert (about.version, about.epoch, about.workers, about.slots) == ("1.2", 1, 1, 3)
    assert about.up_s >= 5


@pytest.mark.unread("Dispatch")
def test_tasks_say_briefly_what_they_wait_for() -> None:
    policies = {"a": Policy(resources={"db": 1}), "b": Policy(resources={"db": 1}, priority=-1)}
    policies["big"] = Policy(resources={"gpu": 2})
    env = Env(CoreConfig(limits={"db": 1}))
    env.graph = Graph({"top": ["a", "b"], "a": [], "b": [], "c": [], "d": [], "big": []}, policies)
    worker = env.worker(slots=2, capacity={"gpu": 1})
    env.submit("top")
    env.submit("c")
    env.submit("d", priority=-2)
    env.submit("big")
    rows = env.ask(lambda n: client.ListTasks(n, "", ""), client.Tasks).tasks
    assert {row.task_id: row.reason for row in rows if row.reason} == {
        "T_top": "waits for T(name=a) and 1 more",
        "T_b": "db 1/1",
        "T_d": "waits for a free slot",
        "T_big": "needs a worker with gpu 2: no worker has that much",
    }
    worker.end(*worker.take(), outcome=Outcome.FAILED, error="ValueError: x")
    (row,) = env.ask(lambda n: client.ListTasks(n, "T_a"), client.Tasks).tasks
    assert (row.state, row.reason) == ("failed", "ValueError: x")
