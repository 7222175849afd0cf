"""Temporary outputs go when nobody needs them any more, and never while anybody may."""

from __future__ import annotations

import pytest

from flow.wire.messages import client, codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Outcome, Policy
from flow.wire.states import TaskState
from flow_coordinator.core import cleaning
from flow_coordinator.core.config import CoreConfig
from tests.support.core_env import Env, FakeWorker, Graph

S = TaskState
TEMPORARY = Policy(temporary=True)


def made(edges: dict[str, list[str]], *temporary: str, slots: int = 1) -> tuple[Env, FakeWorker]:
    env = Env(CoreConfig(retry_count=1))
    env.graph = Graph(edges, dict.fromkeys(temporary, TEMPORARY))
    return env, env.worker(slots=slots)


def asked(env: Env, worker: FakeWorker) -> list[list[str]]:
    """Tell what the worker was asked to remove since the last call."""
    found = env.heard(worker.peer, wire.Clean)
    env.last_clean = found[-1] if found else getattr(env, "last_clean", None)  # type: ignore[attr-defined]
    return [[one.task_id[2:] for one in message.stubs] for message in found]


def answer(env: Env, worker: FakeWorker, done: int = 1, **fields: object) -> None:
    """Say that the last removal is over."""
    number = env.last_clean.request  # type: ignore[attr-defined]
    worker.say(wire.Cleaned(worker.session, number, done, **fields))  # type: ignore[arg-type]


def test_output_is_removed_once_the_last_task_that_needs_it_is_done() -> None:
    env, worker = made({"top": ["a", "b"], "a": ["t"], "b": ["t"], "t": []}, "t")
    env.submit("top")
    assert worker.run() == ["t"]
    worker.run()
    assert asked(env, worker) == []
    worker.run()
    assert asked(env, worker) == [["t"]]
    env.check()
    assert worker.run() == ["top"]
    assert env.run().summary is None, "a run does not end before the removal"
    answer(env, worker)
    assert env.ended() == 0
    env.check()


def test_nothing_is_remembered_or_asked_without_temporary_outputs() -> None:
    env, worker = made({"top": ["a"], "a": []})
    env.submit("top")
    worker.run_all()
    assert env.ended() == 0
    assert asked(env, worker) == []
    assert not env.core.state.temporary.known


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CRASHED])
def test_output_stays_for_a_task_that_failed(outcome: Outcome) -> None:
    env, worker = made({"top": ["t"], "t": []}, "t")
    env.submit("top")
    worker.run()
    for _ in range(3):
        for grant in worker.take():
            worker.start(grant)
            worker.end(grant, outcome=outcome, error="no")
        env.wait(60.0)
        worker.beat()
    assert env.ended() == 30
    assert asked(env, worker) == []
    assert not env.core.state.temporary.known


def test_output_that_a_failed_run_left_goes_after_the_next_one() -> None:
    env, worker = made({"top": ["t"], "t": []}, "t")
    env.submit("top")
    worker.run()
    (grant,) = worker.take()
    worker.start(grant)
    worker.end(grant, outcome=Outcome.FAILED, error="no")
    env.wait(1.0)
    worker.beat()
    env.graph.complete.add("t")
    env.submit("top")
    assert worker.run() == ["top"]
    assert asked(env, worker) == [["t"]]
    answer(env, worker)
    assert env.ended(2) == 0


@pytest.mark.unread("Dispatch", "Kill")
def test_output_stays_for_a_task_that_was_cancelled() -> None:
    env, worker = made({"top": ["a", "b"], "a": ["t"], "b": ["t"], "t": []}, "t")
    run = env.submit("top")
    worker.run()
    worker.run()
    env.ask(lambda number: client.Cancel(number, run), client.Changed)
    env.wait(1.0)
    assert asked(env, worker) == []


def test_output_of_a_task_whose_needers_are_complete_already_stays() -> None:
    env, worker = made({"top": ["t"], "t": []}, "t")
    env.graph.complete = {"t", "top"}
    env.submit("top")
    env.submit("t")
    assert env.ended(1) == 0
    assert env.ended(2) == 0
    assert asked(env, worker) == []


def test_output_of_a_root_stays() -> None:
    env, worker = made({"top": ["t"], "t": []}, "t")
    env.submit("top", "t")
    worker.run_all()
    assert env.ended() == 0
    assert asked(env, worker) == []


def test_output_needed_by_two_runs_goes_after_the_second() -> None:
    env, worker = made({"a": ["t"], "b": ["t"], "t": []}, "t")
    env.submit("a")
    env.submit("b")
    assert worker.run() == ["t"]
    worker.run()
    assert asked(env, worker) == []
    worker.run()
    assert asked(env, worker) == [["t"]]
    answer(env, worker)
    assert [env.ended(number) for number in (1, 2)] == [0, 0]


@pytest.mark.unread("Clean")
def test_removal_waits_for_an_open_plan_and_plans_wait_for_a_removal() -> None:
    env, worker = made({"top": ["t"], "t": [], "new": ["t"]}, "t")
    env.submit("top")
    assert worker.run() == ["t"]
    env.plan_by_hand = True
    env.submit("new")
    (plan,) = env.heard(worker.peer, wire.Plan)
    worker.run()
    assert asked(env, worker) == [], "a planner may be looking at it"
    env.graph.complete.add("t")
    body = codec.encode_chunk(env.graph.answer(plan, worker.uid))
    env.plan_by_hand = False
    worker.say(wire.Planned(worker.session, plan.request, 0, True, body))
    assert asked(env, worker) == [], "the new run needs it"
    assert worker.run() == ["new"]
    assert asked(env, worker) == [["t"]]
    env.plan_by_hand = True
    env.submit("new")
    assert env.heard(worker.peer, wire.Plan) == [], "half of it may be gone"
    env.graph.complete.discard("t")
    env.plan_by_hand = False
    answer(env, worker)
    assert worker.run() == ["t"]
    assert worker.run() == ["new"]
    env.check()


def test_yield_of_what_is_being_removed_runs_it_again() -> None:
    env, worker = made({"top": ["t", "gen"], "gen": [], "t": []}, "t", slots=2)
    env.graph.edges["use"] = ["t"]
    env.submit("use")
    env.submit("gen")
    (gen,) = [g for g in worker.take() if g.task_id == "T_gen"] or worker.take()
    worker.start(gen)
    env.turn()
    first = [g for g in worker.grants if g.task_id == "T_t"]
    worker.start(*first)
    worker.end(*first)
    assert worker.run("use") == ["use"]
    assert asked(env, worker) == [["t"]]
    worker.yields(gen, 1, "t")
    assert env.state("t") == S.UNPLANNED
    assert worker.run() == []
    answer(env, worker)
    assert worker.run() == ["t"]
    (resume,) = env.heard(worker.peer, wire.Resume)
    assert resume.yields == [(gen.token, 1)]
    worker.resumed(gen, 1)
    worker.end(gen)
    assert asked(env, worker) == [["t"]]
    answer(env, worker)
    assert [env.ended(number) for number in (1, 2)] == [0, 0]
    env.check()


def test_yield_in_the_run_that_removed_it_runs_it_again() -> None:
    edges = {"top": ["use", "gen"], "use": ["t"], "gen": ["after"], "after": ["use"], "t": []}
    env, worker = made(edges, "t")
    env.submit("top")
    assert [*worker.run(), *worker.run()] == ["t", "use"]
    assert asked(env, worker) == [["t"]]
    answer(env, worker)
    assert worker.run() == ["after"]
    (gen,) = worker.take()
    worker.start(gen)
    worker.yields(gen, 1, "t")
    assert worker.run() == ["t"]
    (resume,) = env.heard(worker.peer, wire.Resume)
    worker.resumed(gen, 1)
    assert asked(env, worker) == [], "the generator has it in its hands"
    worker.end(gen)
    assert asked(env, worker) == [["t"]]
    answer(env, worker)
    assert worker.run() == ["top"]
    assert resume.yields == [(gen.token, 1)]
    assert env.ended() == 0
    env.check()


@pytest.mark.unread("Clean")
def test_stale_plan_of_what_ran_meanwhile_does_not_run_it_again() -> None:
    env, worker = made({"top": ["t"], "t": [], "other": ["t"]}, "t")
    env.submit("t")
    (grant,) = worker.take()
    env.plan_by_hand = True
    env.submit("top")
    (plan,) = env.heard(worker.peer, wire.Plan)
    body = codec.encode_chunk(env.graph.answer(plan, worker.uid))
    worker.start(grant)
    worker.say(wire.Planned(worker.session, plan.request, 0, True, body))
    worker.end(grant)
    assert worker.run() == ["top"]
    assert env.task("t").attempt == 1


@pytest.mark.unread("Rejoin")
def test_removal_that_a_lost_worker_left_is_asked_of_another() -> None:
    env, worker = made({"top": ["t"], "t": []}, "t")
    env.submit("top")
    worker.run_all()
    assert asked(env, worker) == [["t"]]
    other = env.worker("b")
    worker.say(wire.Drained(worker.session))
    assert asked(env, other) == [["t"]]
    answer(env, worker)
    assert env.core.state.temporary.asked is not None, "only who was asked may answer"
    answer(env, other)
    assert env.ended() == 0


def test_planning_rests_while_a_lost_removal_may_go_on() -> None:
    env, worker = made({"top": ["t"], "t": [], "new": []}, "t")
    env.submit("top")
    worker.run_all()
    worker.join()
    env.submit("new")
    assert worker.run() == []
    answer_number = asked(env, worker)
    assert answer_number[-1] == ["t"]
    answer(env, worker)
    assert worker.run() == [], "the first removal may still be under way"
    env.wait(cleaning.LINGER_S + 0.1)
    worker.beat()
    assert worker.run() == ["new"]


def test_request_without_an_answer_is_said_again_and_not_after_it() -> None:
    env, worker = made({"top": ["t"], "t": []}, "t")
    env.submit("top")
    worker.run_all()
    assert asked(env, worker) == [["t"]]
    env.wait(cleaning.ASK_AGAIN_S + 0.1)
    assert asked(env, worker) == [["t"]]
    answer(env, worker, errors=["T_t: OSError: no"])
    env.wait(3 * cleaning.ASK_AGAIN_S)
    assert asked(env, worker) == []
    assert any("not removed" in note.phrase for note in env.notes)


def test_rest_of_a_removal_that_had_no_time_is_asked_for_again() -> None:
    env, worker = made({"top": ["t", "u"], "t": [], "u": []}, "t", "u")
    env.submit("top")
    worker.run_all()
    ((first, second),) = asked(env, worker)
    answer(env, worker, done=1)
    assert asked(env, worker) == [[second]]
    assert env.run().summary is None
    answer(env, worker)
    assert env.ended() == 0
    assert first != second


def test_run_ends_without_a_removal_that_nobody_can_do() -> None:
    env, worker = made({"top": ["t"], "t": []}, "t")
    env.submit("top")
    worker.run()
    worker.say(wire.Heartbeat(worker.session, 1, draining=True))
    worker.beats = 1
    (grant,) = worker.take()
    worker.start(grant)
    worker.end(grant)
    assert env.ended() == 0
    other = env.worker("b")
    env.turn()
    assert asked(env, other) == [["t"]]
    answer(env, other)
    assert not env.core.state.temporary.due


@pytest.mark.unread("Clean")
def test_run_does_not_wait_for_ever_for_a_removal() -> None:
    env, worker = made({"top": ["t"], "t": []}, "t")
    env.submit("top")
    worker.run_all()
    for _ in range(4):
        env.wait(cleaning.END_WAIT_S / 3)
        worker.beat()
    assert env.ended() == 0


def test_restart_knows_who_needs_what_and_believes_no_output_that_may_be_gone() -> None:
    env, worker = made({"top": ["a", "b"], "a": ["t"], "b": ["t"], "t": []}, "t")
    env.submit("top")
    worker.run()
    first = worker.run()
    env.restart()
    worker = env.worker("a")
    assert worker.run() in (["a"], ["b"])
    assert first
    assert asked(env, worker) == [["t"]]
    answer(env, worker)
    env.wait(cleaning.LINGER_S)
    worker.beat()
    assert set(worker.run()) == {"top"}
    assert env.ended() == 0
    env.check()


def test_output_outlives_the_run_that_found_it_complete_while_another_needs_it() -> None:
    env, worker = made({"a": ["t"], "b": ["t"], "t": [], "c": ["t"]}, "t", slots=3)
    env.submit("a")
    assert worker.run() == ["t"]
    (slow,) = worker.take()
    worker.start(slow)
    env.graph.complete.add("t")
    env.submit("b")
    assert worker.run() == ["b"]
    assert env.ended(2) == 0
    assert asked(env, worker) == [], "a runs, and needs it"
    env.submit("c")
    assert worker.run() == ["c"]
    assert env.ended(3) == 0
    assert asked(env, worker) == []
    env.check()
    worker.end(slow)
    assert asked(env, worker) == [["t"]]
    answer(env, worker)
    env.turn()
    assert env.ended(1) == 0
    assert not env.core.state.tasks["default"]
    assert not env.core.state.temporary.known
    env.check()


def test_output_that_only_an_ended_run_needed_leaves_memory_with_it() -> None:
    env, worker = made({"a": ["t"], "b": ["t"], "t": []}, "t", slots=3)
    env.submit("a")
    worker.run()
    (slow,) = worker.take()
    worker.start(slow)
    env.graph.complete.add("t")
    env.submit("b")
    worker.run()
    worker.end(slow, outcome=Outcome.FAILED, error="no")
    env.turn()
    assert env.ended(1) == 30
    assert asked(env, worker) == []
    assert not env.core.state.tasks["default"]
    assert not env.core.state.temporary.known
    env.check()


def test_nothing_goes_while_a_task_may_need_what_history_forgot() -> None:
    env, worker = made({"old": ["gone"], "gone": [], "top": ["t"], "t": []}, "t")
    env.submit("old")
    assert worker.run() == ["gone"]
    tasks = env.store.disk.tasks
    del tasks[next(number for number, row in tasks.items() if "gone" in row[4])]
    env.restart()
    worker = env.worker("b", slots=1)
    env.submit("top")
    assert worker.run() == ["t"]
    assert worker.run() == ["top"]
    env.wait(cleaning.PATIENCE_S + 1)
    worker.beat()
    assert asked(env, worker) == []
    for _ in range(8):  # until the lease of the worker that is gone has ended
        env.wait(10.0)
        worker.beat()
    assert asked(env, worker) == []
    assert set(worker.run()) == {"old"}
    env.wait(cleaning.PATIENCE_S + 1)
    worker.beat()
    assert asked(env, worker)[:1] == [["t"]]


def test_what_no_worker_can_remove_is_tried_again_later_and_then_stays() -> None:
    """What fails for a reason fails again: asking at once would never end."""
    env, worker = made({"top": ["t"], "t": []}, "t")
    env.submit("top")
    worker.run_all()
    for _ in range(cleaning.LOST_MAX):
        assert asked(env, worker) == [["t"]]
        answer(env, worker, done=0, lost=True)
        assert asked(env, worker) == []
        env.wait(cleaning.ASK_AGAIN_S + 0.1)
        worker.beat()
    assert asked(env, worker) == []
    assert env.ended() == 0
    assert not env.core.state.temporary.due
    (note,) = (note for note in env.notes if note.phrase == "temporary output stays")
    assert note.fields["task"] == "T_t"


@pytest.mark.parametrize("kept", [True, False])
def test_restart_removes_with_the_program_of_a_run_that_is_over(kept: bool) -> None:
    """Where it is not even shown any more, nobody can tell where its outputs are: they stay."""
    env, worker = made({"a": ["t"], "b": ["t"], "t": []}, "t", slots=3)
    env.submit("a")
    assert worker.run() == ["t"]
    (slow,) = worker.take()
    worker.start(slow)
    env.graph.complete.add("t")
    env.submit("b")
    assert worker.run() == ["b"]
    assert env.ended(2) == 0
    assert env.task("t").program is env.core.state.ended[2]
    if not kept:
        del env.store.disk.runs[2]
    env.restart()
    worker.join(held=[slow.token])
    worker.end(slow)
    env.wait(cleaning.LINGER_S + 1)
    worker.beat()
    asked_for = {message.program for message in env.heard(worker.peer, wire.Clean)}
    defined = [one for message in env.heard(worker.peer, wire.Define) for one in message.programs]
    stays = any(note.phrase == "temporary output stays" for note in env.notes)
    if kept:
        assert asked_for == {2} <= {one.number for one in defined}
        assert not stays
    else:
        assert not asked_for
        assert stays
    env.check()
