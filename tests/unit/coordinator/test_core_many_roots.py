"""Runs with more roots than fit into one message, one question, or one row of the store."""

from __future__ import annotations

import pytest

from flow.wire.messages import client, codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import PlanChunk, PlanError, Policy
from flow.wire.states import RunState, TaskState
from flow_coordinator.core import intake, planning, records, runs, state
from flow_coordinator.shell import rows
from tests.support.core_env import Env, FakeWorker, Graph, name_of

S = TaskState


def root(name: str) -> client.RootTask:
    return client.RootTask("mod", "T", {"name": name})


def say_part(env: Env, names: list[str], at: int, total: int, key: str = "key") -> None:
    roots = [root(name) for name in names]
    options = client.SubmitOptions()
    env.say(b"client", client.Submit(7, key, "default", roots, options, at=at, total=total))


def counts(env: Env) -> list[int]:
    return [one.count for one in env.heard(b"client", client.SubmitTaken)]


def started(env: Env) -> list[str]:
    return [one.run for one in env.heard(b"client", client.Submitted)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three roots a question, four a row."""
    monkeypatch.setattr(planning, "ASK_TASKS_MAX", 3)
    for module in (records, state, runs, rows):
        monkeypatch.setattr(module, "ROOTS_A_ROW", 4)


def many(env: Env, count: int) -> list[str]:
    names = [f"n{number:02}" for number in range(count)]
    env.graph = Graph({name: [] for name in names})
    return names


# ------------------------------------------------------------ parts


def test_run_in_parts_starts_with_its_last_part() -> None:
    env = Env()
    many(env, 3)
    worker = env.worker()
    say_part(env, ["n00"], 0, 3)
    say_part(env, ["n01"], 1, 3)
    assert counts(env) == [1, 2]
    assert not env.core.state.runs and not env.store.disk.runs and not worker.take()
    say_part(env, ["n02"], 2, 3)
    assert started(env) == ["r-1"]
    assert sorted(worker.run_all()) == ["n00", "n01", "n02"]
    assert env.ended() == 0


def test_part_said_again_counts_once() -> None:
    env = Env()
    many(env, 3)
    worker = env.worker()
    for _ in range(2):
        say_part(env, ["n00"], 0, 3)
        say_part(env, ["n01"], 1, 3)
    assert counts(env) == [1, 2, 2, 2]
    say_part(env, ["n02"], 2, 3)
    say_part(env, ["n02"], 2, 3)
    say_part(env, ["n00"], 0, 3)
    assert started(env) == ["r-1"] * 3, "whatever is said again of a run that exists"
    assert len(worker.run_all()) == 3
    assert not env.core.state.intakes


def test_part_that_leaves_a_gap_is_not_taken() -> None:
    env = Env()
    say_part(env, ["n00"], 0, 4)
    say_part(env, ["n03"], 3, 4)
    assert counts(env) == [1, 1]
    assert not env.core.state.runs


@pytest.mark.unread("SubmitTaken")
def test_parts_are_forgotten_by_a_restart_and_said_again() -> None:
    env = Env()
    many(env, 2)
    say_part(env, ["n00"], 0, 2)
    env.restart()
    say_part(env, ["n01"], 1, 2)
    assert counts(env) == [0]
    say_part(env, ["n00"], 0, 2)
    say_part(env, ["n01"], 1, 2)
    assert started(env) == ["r-1"]


def test_run_that_is_half_said_never_starts() -> None:
    env = Env()
    say_part(env, ["n00"], 0, 2)
    env.wait(intake.DROP_S / 2)
    say_part(env, ["n00"], 0, 2)
    env.wait(intake.DROP_S * 0.75)
    assert env.core.state.intakes, "its client was heard since"
    env.wait(intake.DROP_S)
    assert not env.core.state.intakes
    say_part(env, ["n01"], 1, 2)
    assert counts(env)[-1] == 0
    assert not env.core.state.runs


@pytest.mark.unread("SubmitTaken")
def test_half_said_runs_are_few() -> None:
    env = Env()
    for number in range(intake.INTAKES_MAX + 3):
        say_part(env, ["n00"], 0, 2, f"key-{number}")
    assert next(iter(env.core.state.intakes)) == "key-3"
    assert len(env.core.state.intakes) == intake.INTAKES_MAX


# ------------------------------------------------------------ questions


@pytest.mark.usefixtures("small")
def test_roots_are_asked_about_in_bounded_questions_and_without_what_they_need() -> None:
    env = Env()
    names = many(env, 8)
    env.graph.edges.update({name: ["shared"] for name in names}, shared=[])
    env.plan_by_hand = True
    worker = env.worker()
    env.submit(*names)
    sizes = answer_all(env, worker)
    assert [size for size, of_roots in sizes if of_roots] == [3, 3, 2]
    assert env.graph.expanded == {**dict.fromkeys(names, 1), "shared": 1}
    assert [task.task_id for task in env.run().roots] == [f"T_{name}" for name in names]
    assert worker.run_all()[0] == "shared"
    assert env.ended() == 0
    env.check()


def answer_all(env: Env, worker: FakeWorker) -> list[tuple[int, bool]]:
    """Answer each question; return how many tasks were in it, and whether they were roots."""
    sizes = []
    while plans := env.heard(worker.peer, wire.Plan):
        for plan in plans:
            sizes.append((len(plan.stubs), not plan.stubs[0].task_id))
            body = codec.encode_chunk(env.graph.answer(plan, worker.uid))
            worker.say(wire.Planned(worker.session, plan.request, 0, True, body))
            env.check()
    return sizes


@pytest.mark.unread("Dispatch")
@pytest.mark.usefixtures("small")
def test_other_tasks_are_planned_between_questions_about_roots() -> None:
    env = Env()
    names = many(env, 30)
    env.graph.edges.update({"n00": ["first"], "first": []})
    env.plan_by_hand = True
    worker = env.worker()
    env.submit(*names)
    of_roots = [each for _, each in answer_all(env, worker)]
    assert of_roots[:3] == [True, False, True]


def test_questions_about_roots_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "ASK_BYTES_MAX", 1_000)
    env = Env()
    env.plan_by_hand = True
    worker = env.worker()
    env.submit("x" * 5_000, *[f"{number}" * 400 for number in range(4)])
    first = env.heard(worker.peer, wire.Plan)[0]
    assert [len(name_of(one)) for one in first.stubs] == [5_000], "one that is large goes alone"


@pytest.mark.usefixtures("small")
def test_roots_that_kill_planners_end_without_those_of_other_questions() -> None:
    env = Env()
    names = many(env, 8)
    env.plan_by_hand = True
    worker = env.worker()
    env.submit(*names)
    died = codec.encode_chunk(PlanChunk(errors=[PlanError(0, "died", "killed by SIGSEGV")]))
    while plans := env.heard(worker.peer, wire.Plan):
        for plan in plans:
            bad = "n04" in [name_of(one) for one in plan.stubs]
            body = died if bad else codec.encode_chunk(env.graph.answer(plan, worker.uid))
            worker.say(wire.Planned(worker.session, plan.request, 0, True, body, bad))
    assert sorted(worker.run_all()) == ["n00", "n01", "n02", "n06", "n07"]
    assert env.ended() == 35


# ------------------------------------------------------------ rows


@pytest.mark.usefixtures("small")
def test_roots_in_several_rows_survive_a_restart_in_the_middle_of_their_planning() -> None:
    env = Env()
    names = many(env, 11)
    env.plan_by_hand = True
    worker = env.worker()
    env.submit(*names)
    for _ in range(2):
        (plan,) = env.heard(worker.peer, wire.Plan)
        body = codec.encode_chunk(env.graph.answer(plan, worker.uid))
        worker.say(wire.Planned(worker.session, plan.request, 0, True, body))
    assert len(env.store.disk.roots) == 2
    env.restart()
    run = env.run()
    assert [task.task_id.removeprefix("T_") for task in run.roots] == names[:6]
    assert [each.params["name"] for each in run.root_tasks] == names
    assert (run.unresolved, run.root_count) == (5, 11)
    env.plan_by_hand = False
    worker.join()
    ran = worker.run_all()
    assert sorted(ran) == names
    assert env.ended() == 0


@pytest.mark.usefixtures("small")
def test_only_the_rows_that_change_are_written() -> None:
    env = Env()
    names = many(env, 40)
    env.plan_by_hand = True
    worker = env.worker()
    env.submit(*names)
    env.core.take_changes()
    (plan,) = env.heard(worker.peer, wire.Plan)
    body = codec.encode_chunk(env.graph.answer(plan, worker.uid))
    said = wire.Planned(worker.session, plan.request, 0, True, body)
    env.say(worker.peer, said, end_turn=False)
    changes = env.core.take_changes()
    assert len(changes.runs) == 1 and not changes.roots
    batch = rows.batch_of(changes, env.now, env.now)
    assert len(rows.read_run(batch.runs[0]).roots) == 4


@pytest.mark.usefixtures("small")
def test_ended_run_runs_again_with_all_its_roots_while_they_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = Env()
    names = many(env, 9)
    worker = env.worker()
    env.submit(*names)
    worker.run_all()
    assert env.ended() == 0
    changed = env.ask(lambda number: client.Retry(number, "r-1"), client.Changed)
    assert "r-2" in changed.text
    assert sorted(worker.run_all()) == names
    monkeypatch.setattr(runs, "ENDED_ROOTS_MAX", 8)
    env.submit(*names)
    worker.run_all()
    refused = env.ask(lambda number: client.Retry(number, "r-3"), client.Failed)
    assert refused.error == "of the 9 roots of r-3 not all are kept any more"
    assert "submit it again" in refused.hint
    row = env.ask(client.ListRuns, client.Runs).runs[0]
    assert row.root.endswith("and 6 more")


@pytest.mark.usefixtures("small")
def test_temporary_output_of_a_root_in_a_later_row_stays() -> None:
    env = Env()
    names = many(env, 6)
    env.graph.edges["n00"] = ["n05"]
    env.graph.policies["n05"] = Policy(temporary=True)
    worker = env.worker()
    env.submit(*names)
    worker.run_all()
    assert env.run().state == RunState.SUCCEEDED
    assert not env.heard(worker.peer, wire.Clean)


def test_roots_that_two_workers_name_keep_their_places() -> None:
    env = Env()
    env.graph = Graph({"a": [], "b": []})
    first = env.worker("first")
    env.graph.errors[first.uid, "a"] = ("import", "no module")
    second = env.worker("second")
    env.submit("b", "a", "a")
    first.run_all()
    second.run_all()
    first.run_all()
    assert env.ended() == 0
    summary = env.run().summary
    assert summary is not None and summary.scheduled == 2
