"""Which code runs what: who is barred, who goes on, and what people are told of it."""

from __future__ import annotations

from typing import Any

import pytest

from flow.client.summary import render
from flow.wire.messages import client, codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Outcome, PlanChunk, PlanError, Program, ProgramSeen
from flow.wire.states import TaskState
from tests.support.core_env import Env, FakeWorker

ONE, TWO = "1111111111111111", "2222222222222222"
FILES = {"pipeline.py": "aa", "same.py": "cc"}
OTHER_FILES = {"pipeline.py": "bb", "same.py": "cc"}
DIFFERS = "b has other code than a: pipeline.py"
MISSING = "ModuleNotFoundError: No module named 'pandas'"


def has(worker: FakeWorker, code: str = ONE, number: int = 1, **fields: Any) -> None:
    """Tell in a heartbeat that a worker has imported this."""
    files = FILES if code == ONE else OTHER_FILES
    fields = {"code": code, "import_s": 0.2, "files": files, **fields}
    worker.beat(programs=[ProgramSeen(number, **fields)])


def two_workers(*roots: str, **options: Any) -> tuple[Env, FakeWorker, FakeWorker]:
    """Have a run planned by ``a``, whose code is ONE; ``b`` joins later."""
    env = Env()
    planner = env.worker("a", slots=1)
    env.submit(*(roots or ("one", "two")), **options)
    has(planner)
    return env, planner, env.worker("b", slots=1)


def watch(env: Env) -> client.RunUpdate:
    """Follow the run; return all that is told at once."""
    env.request += 1
    env.say(b"client", client.Watch(env.request, "r-1"))
    env.wait(1.0)
    return env.heard(b"client", client.RunUpdate)[-1]


def why(env: Env, name: str) -> dict[str, str]:
    answer = env.ask(lambda n: client.Why(n, f"T_{name}"), client.WhyShown).answer
    return dict(answer.lines)


def definitions(env: Env, worker: FakeWorker) -> list[Program]:
    return [one for m in env.heard(worker.peer, wire.Define) for one in m.programs]


# ---------------------------------------------------------------- who may run what


@pytest.mark.unread("Dispatch")
def test_code_that_planned_a_run_is_told_to_who_has_the_program_already() -> None:
    env = Env()
    worker = env.worker()
    env.submit("one")
    assert [one.code for one in definitions(env, worker)] == [""]
    has(worker)
    assert [one.code for one in definitions(env, worker)] == [ONE]


def test_worker_with_other_code_gets_nothing_while_another_has_the_code_of_the_run() -> None:
    env, planner, other = two_workers()
    (grant,) = other.take()
    has(other, TWO)
    other.end(grant, outcome=Outcome.RELEASED)
    assert other.take() == []
    assert sorted(planner.run_all()) == ["one", "two"] and env.ended() == 0
    env.check()


@pytest.mark.unread("Dispatch")
def test_run_goes_on_with_other_code_when_nobody_is_left_with_its_own() -> None:
    env, planner, other = two_workers()
    has(other, TWO)
    other.end(*other.take(), outcome=Outcome.RELEASED)
    definitions(env, other)
    env.say(planner.peer, wire.Drained(planner.session))
    assert len(other.run_all()) == 2
    assert {one.code for one in definitions(env, other)} == {""}
    assert env.run().notes == [
        DIFFERS,
        "no worker is left that has the code of the run: it goes on with that of b",
    ]
    env.check()


@pytest.mark.unread("Dispatch")
def test_strict_run_ends_with_a_sentence_when_nobody_is_left_with_its_code() -> None:
    env, planner, other = two_workers(strict_code=True)
    has(other, TWO)
    other.end(*other.take(), outcome=Outcome.RELEASED)
    env.say(planner.peer, wire.Drained(planner.session))
    assert other.take() == []
    assert env.ended() == 25
    failure = env.run().failures[-1]
    assert failure.error == (
        f"no worker is left that has the code of the run, and strict_code is set; {DIFFERS}"
    )
    env.check()


@pytest.mark.unread("Plan")
def test_strict_run_that_is_not_planned_yet_ends_too() -> None:
    env = Env()
    env.plan_by_hand = True
    planner = env.worker("a")
    env.submit("one", strict_code=True)
    has(planner)
    other = env.worker("b")
    has(other, TWO)
    env.say(planner.peer, wire.Drained(planner.session))
    assert env.heard(other.peer, wire.Plan) == []
    assert env.ended() == 35 and "strict_code" in env.run().failures[-1].error
    env.check()


@pytest.mark.unread("Plan")
def test_run_is_planned_with_other_code_only_when_nobody_else_can() -> None:
    env = Env()
    env.plan_by_hand = True
    planner = env.worker("a")
    env.submit("one")
    has(planner)
    other = env.worker("b")
    has(other, TWO)
    assert env.heard(other.peer, wire.Plan) == []
    env.say(planner.peer, wire.Drained(planner.session))
    assert len(env.heard(other.peer, wire.Plan)) == 1
    assert definitions(env, other)[-1].code == ""


def test_run_whose_planner_can_no_longer_run_it_is_planned_by_another() -> None:
    env = Env()
    env.plan_by_hand = True
    planner, other = env.worker("a"), env.worker("b")
    env.submit("one")
    home, spare = (planner, other) if env.heard(planner.peer, wire.Plan) else (other, planner)
    has(home, import_s=-1.0, code="", failed=True, given_up=True, text="5 did not start")
    env.say(home.peer, wire.Planned(home.session, 1, 0, True, b"", True))
    assert env.heard(spare.peer, wire.Plan)


def test_worker_with_other_code_waits_after_a_restart_for_those_that_may_return() -> None:
    for strict in (False, True):
        env, planner, other = two_workers(strict_code=strict)
        has(other, TWO)
        env.restart()
        planner.join()
        has(planner)  # told again: files are not stored
        env.restart()
        other.join()
        grants = other.take()
        has(other, TWO)
        other.end(*grants, outcome=Outcome.RELEASED)
        assert other.take() == [], "the other worker may come back any moment"
        planner.join()
        has(planner)
        assert len(planner.take()) == 1 and env.run().summary is None
        env.check()


def test_worker_with_other_code_waits_after_a_restart_no_longer_than_a_lease() -> None:
    env, _planner, other = two_workers()
    has(other, TWO)
    env.restart()
    other.join()
    grants = other.take()
    has(other, TWO)
    other.end(*grants, outcome=Outcome.RELEASED)
    assert other.take() == []
    for _ in range(12):
        env.wait(6.0)
        has(other, TWO)
    assert len(other.take()) >= 1


@pytest.mark.unread("Dispatch")
def test_worker_that_is_gone_says_nothing_about_a_run_any_more() -> None:
    env, _, other = two_workers()
    has(other, TWO)
    assert list(env.run().barred) == [other.uid]
    env.say(other.peer, wire.Drained(other.session))
    run = env.run()
    assert (run.barred, run.differing, run.allowed) == ({}, {}, {})


# ---------------------------------------------------------------- which code it was


def test_task_remembers_other_code_that_it_ran_with_also_after_a_restart() -> None:
    env, planner, other = two_workers()
    has(other, TWO)
    other.end(*other.take(), outcome=Outcome.RELEASED)
    env.say(planner.peer, wire.Drained(planner.session))
    (grant,) = other.take()
    other.start(grant)
    assert why(env, grant.task_id[2:])["code"] == (
        f"{TWO} on b; its run was planned with {ONE}: {DIFFERS}"
    )
    other.end(grant)
    name = grant.task_id[2:]
    expected = f"{TWO} on b; its run was planned with {ONE}; they differ in pipeline.py"
    for _ in range(2):
        assert env.task(name).state == TaskState.DONE
        assert env.task(name).more().code == TWO
        assert why(env, name)["code"] == expected
        env.restart()


def test_task_forgets_other_code_when_it_runs_with_that_of_its_run() -> None:
    env = Env()
    planner = env.worker("a", slots=1)
    env.submit("one", retry_count=3)
    has(planner)
    (grant,) = planner.take()
    has(planner, TWO)
    planner.start(grant)
    planner.end(grant, outcome=Outcome.FAILED, error="boom")
    assert env.task("one").more().code == TWO
    has(planner)
    env.wait(5.0)
    (grant,) = planner.take()
    planner.end(grant, outcome=Outcome.FAILED, error="boom")
    assert env.task("one").more().code == ""


@pytest.mark.unread("Dispatch")
def test_attempt_that_never_began_and_one_that_was_skipped_have_no_code() -> None:
    env, planner, other = two_workers()
    has(other, TWO)
    (grant,) = other.take()
    other.end(grant, outcome=Outcome.RELEASED)
    env.say(planner.peer, wire.Drained(planner.session))
    (grant,) = other.take()
    other.end(grant, skipped=True)
    task = env.task(grant.task_id[2:])
    assert task.extra is None and not env.run().codes[TWO].workers


@pytest.mark.unread("Dispatch")
def test_attempt_that_is_lost_with_its_worker_had_its_code() -> None:
    env, planner, _other = two_workers("one")
    (grant,) = planner.take()
    planner.start(grant)
    has(planner, TWO)
    env.say(planner.peer, wire.Drained(planner.session))
    assert env.task("one").more().code == TWO


@pytest.mark.unread("Dispatch")
def test_why_says_which_code_a_task_runs_with() -> None:
    env, planner, _ = two_workers("one", "two")
    assert why(env, "one")["code"] == f"{ONE} on a"
    planner.run("one")
    assert why(env, "one")["code"] == ONE


def test_who_has_other_code_plans_when_nobody_else_can_import_it() -> None:
    env = Env()
    env.plan_by_hand = True
    cannot = env.worker("a", slots=1)
    other = env.worker("b", slots=1)
    env.submit("one")
    (plan,) = env.heard(cannot.peer, wire.Plan)
    error = PlanError(0, "import", MISSING)
    body = codec.encode_chunk(PlanChunk(stubs=plan.stubs, errors=[error]))
    cannot.say(wire.Planned(cannot.session, plan.request, 0, True, body, code=ONE))
    has(cannot, text=MISSING, failed=True)
    (plan,) = env.heard(other.peer, wire.Plan)
    has(other, TWO)
    other.say(wire.Planned(other.session, plan.request, 0, True, b"", True))  # it holds its hand
    assert not env.heard(cannot.peer, wire.Plan), "it would say again what it said"
    env.plan_by_hand = False
    has(other, TWO)
    assert other.run_all() == ["one"]
    assert env.ended() == 0


# ---------------------------------------------------------------- what is told


@pytest.mark.unread("Dispatch")
def test_who_follows_a_run_is_told_each_sentence_once() -> None:
    env, _, other = two_workers()
    has(other, TWO)
    has(other, TWO)
    assert watch(env).notes == [DIFFERS]
    spare = env.worker("c")
    env.wait(1.0)
    env.heard(b"client", client.RunUpdate)
    has(spare, code="", text=f"{MISSING}\n  more", failed=True)
    env.wait(1.0)
    updates = env.heard(b"client", client.RunUpdate)
    told = [note for update in updates for note in update.notes]
    assert told == [f"c cannot import mod: {MISSING}"]


@pytest.mark.unread("Dispatch")
def test_import_that_fails_on_the_only_worker_is_told_by_its_failure_alone() -> None:
    env = Env()
    worker = env.worker()
    env.submit("one")
    has(worker, text=MISSING, failed=True)
    assert watch(env).notes == []


@pytest.mark.unread("Dispatch")
def test_program_that_was_given_up_is_told_as_one_that_cannot_run() -> None:
    env, _, other = two_workers()
    has(other, failed=True, given_up=True, text="5 of its processes in a row did not start")
    assert watch(env).notes == ["b cannot run mod: 5 of its processes in a row did not start"]


def test_summary_says_which_code_ran_where_and_is_stored() -> None:
    env, planner, other = two_workers()
    has(other, TWO)
    other.end(*other.take(), outcome=Outcome.RELEASED)
    planner.run("one", "two")
    env.say(planner.peer, wire.Drained(planner.session))
    assert other.run_all()
    line = f"not all of it ran with the code it was planned with ({ONE}): {TWO} on b"
    for _ in range(2):
        summary = env.run().summary
        assert summary is not None and summary.notes[0] == DIFFERS and summary.notes[-1] == line
        assert f"! {line}" in render(summary).splitlines()
        env.restart()


def test_summary_of_a_run_with_one_code_says_nothing_of_it() -> None:
    env, planner, other = two_workers()
    has(other)
    planner.run_all()
    other.run_all()
    summary = env.run().summary
    assert summary is not None and summary.notes == []


def test_notes_are_durable_before_the_run_ends() -> None:
    env, _, other = two_workers()
    has(other, TWO)
    env.restart()
    assert env.run().notes == [DIFFERS]
    shown = env.ask(lambda n: client.ShowRun(n, "r-1"), client.RunShown)
    assert shown.summary.notes == [DIFFERS]


@pytest.mark.unread("Dispatch")
def test_workers_list_their_programs() -> None:
    env, _, other = two_workers()
    has(other, TWO)
    rows = env.ask(client.ListWorkers, client.Workers).workers
    shown = {row.name: row.programs for row in rows}
    assert shown["a"] == [client.WorkerProgram("r-1", ONE, 0.2, "ready")]
    assert shown["b"] == [client.WorkerProgram("r-1", TWO, 0.2, "ready", DIFFERS, True)]
    has(other, code="", import_s=-1.0)
    rows = env.ask(client.ListWorkers, client.Workers).workers
    assert rows[1].programs[0].state == "importing"
    has(other, text=MISSING, failed=True)
    rows = env.ask(client.ListWorkers, client.Workers).workers
    assert (rows[1].programs[0].state, rows[1].programs[0].text) == (
        "failed",
        f"b cannot import mod: {MISSING}",
    )


# ---------------------------------------------------------------- why something waits


@pytest.mark.unread("Dispatch")
def test_task_that_waits_for_an_import_says_so() -> None:
    env, _, other = two_workers()
    (grant,) = other.take()
    other.start(grant)
    has(other, code="", import_s=-1.0)
    assert why(env, grant.task_id[2:])["program"] == "waits for the import of mod on b"


@pytest.mark.unread("Plan")
def test_planning_that_waits_for_an_import_says_so() -> None:
    env = Env()
    env.plan_by_hand = True
    worker = env.worker()
    env.submit("one")
    has(worker, code="", import_s=-1.0)
    answer = env.ask(lambda n: client.Why(n, env.run().name), client.WhyShown).answer
    assert dict(answer.lines)["planning"] == "waits for the import of mod on a"
    assert watch(env).waiting == ["the import of mod on a"]


@pytest.mark.unread("Dispatch")
def test_task_says_which_sentence_keeps_it_from_each_worker() -> None:
    env, _planner, other = two_workers("one", "two", "three")
    has(other, TWO)
    other.end(*other.take(), outcome=Outcome.RELEASED)
    waits = next(n for n in ("one", "two", "three") if env.state(n) == TaskState.READY)
    lines = why(env, waits)
    assert lines["worker b"] == "has other code than a: pipeline.py"
    assert lines["worker a"].startswith("1 of 1 slots in use")
    rows = env.ask(lambda n: client.ListTasks(n, f"T_{waits}"), client.Tasks).tasks
    assert rows[0].reason == DIFFERS
    assert DIFFERS in watch(env).waiting


@pytest.mark.unread("RunUpdate")
def test_task_that_waits_for_room_for_its_program_says_so() -> None:
    env = Env()
    worker = env.worker("b", slots=1)
    planner = env.worker("a", slots=0)
    env.submit("one", "two")
    (grant,) = worker.take()
    worker.beat(room=False)
    worker.end(grant, outcome=Outcome.RELEASED)
    assert worker.take() == [] and planner.take() == []
    full = "has no room for another program: all that it has are in use"
    assert why(env, "one")["worker b"] == full
    assert watch(env).waiting == [f"b {full}"]
    worker.beat(room=True)
    assert len(worker.take()) == 1


def test_task_for_which_an_import_does_not_pay_says_so() -> None:
    env = Env()
    planner = env.worker("a", slots=1)
    env.submit("one", "two", "three")
    has(planner, import_s=100.0)
    (first,) = planner.take()
    planner.end(first, run_s=0.05)
    assert len(planner.take()) == 1
    other = env.worker("b", slots=1)
    assert other.take() == []
    waits = next(n for n in ("one", "two", "three") if env.state(n) == TaskState.READY)
    cold = "would import mod first, which does not pay yet"
    assert why(env, waits)["worker b"] == cold
    assert watch(env).waiting == [f"b {cold}"]


@pytest.mark.unread("Dispatch")
def test_task_waits_for_a_busy_worker_no_longer_than_an_import_takes() -> None:
    env = Env()
    planner = env.worker("a", slots=1)
    env.submit("one", "two", "three")
    has(planner, import_s=10.0)
    (first,) = planner.take()
    planner.end(first, run_s=0.05)
    planner.take()
    other = env.worker("b", slots=1)
    for _ in range(3):
        env.wait(3.0)
        planner.beat(programs=[ProgramSeen(1, ONE, 10.0)])
        other.beat()
        assert other.take() == []
    env.wait(3.0)
    assert len(other.take()) == 1, "the busy one may take for hours"
    env.check()
