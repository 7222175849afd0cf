"""An input that is done and not there: who made it is asked where; the error names both places."""

from __future__ import annotations

from typing import Any

import pytest

from flow.wire.messages import codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Grant, Missing, Outcome, PlanChunk, PlanError, Policy, Report
from flow.wire.states import TaskState
from flow_coordinator.core import locating
from tests.support.core_env import Env, FakeWorker, Graph

ERROR = "FileNotFoundError: no\nFirst is done, but this output of it is not here: whoever knows why"


def cluster(last_on: str = "b") -> tuple[Env, FakeWorker, FakeWorker, Grant]:
    """Have ``first`` made by worker a, and ``last``, which needs it, run on worker b."""
    env = Env()
    policies = {"first": Policy(resources={"a": 1}), "last": Policy(resources={last_on: 1})}
    env.graph = Graph({"last": ["first"], "first": []}, policies)
    a, b = (env.worker(name, slots=1, capacity={name: 1}) for name in ("a", "b"))
    env.submit("last")
    assert a.run() == ["first"]
    worker = a if last_on == "a" else b
    (grant,) = worker.take()
    worker.start(grant)
    env.plan_by_hand = True
    return env, a, b, grant


def fails(worker: FakeWorker, grant: Grant, **missing: Any) -> None:
    """Say that its input is not there."""
    told = Missing("T_first", "First", 0, "/here/x", **missing)
    report = Report(grant.token, Outcome.FAILED, error=ERROR, missing=told)
    worker.say(wire.Results(worker.session, [report]))


def answers(env: Env, worker: FakeWorker, *places: str, lost: bool = False) -> None:
    """Answer the last question of where outputs are."""
    plan = [plan for plan in env.heard(worker.peer, wire.Plan) if plan.where][-1]
    assert [stub.task_id for stub in plan.stubs] == ["T_first"]
    errors = [PlanError(0, "where", place) for place in places]
    body = codec.encode_chunk(PlanChunk(errors=errors))
    worker.say(wire.Planned(worker.session, plan.request, 0, True, body, lost))


@pytest.mark.parametrize(
    ("place", "relative", "told"),
    [
        ("/there/x", "", "a made it as /there/x, and b looks for /here/x: its path has something"),
        (
            "/there/x",
            "x",
            "a made it as /there/x, and b looks for /here/x: its path is relative (",
        ),
        ("/here/x", "", "a made it as /here/x, which b does not see: put it where all workers"),
    ],
)
def test_report_waits_for_the_answer_and_names_both_places(
    place: str, relative: str, told: str
) -> None:
    env, a, b, grant = cluster()
    fails(b, grant, relative=relative)
    assert env.heard(b.peer, wire.Rack)[-1:] == [], "not acknowledged before it counts"
    fails(b, grant, relative=relative)
    assert env.state("last") is TaskState.RUNNING
    answers(env, a, place)
    fails(b, grant, relative=relative)
    assert env.ended() == 30
    (failure,) = env.run().failures
    assert failure.error.startswith(f"FileNotFoundError: no\nFirst is done: {told}")
    assert "whoever knows why" not in failure.error
    assert not env.core.state.questions


@pytest.mark.unread("Plan")
def test_report_counts_as_it_is_where_nobody_answers_in_time() -> None:
    env, _, b, grant = cluster()
    fails(b, grant)
    env.wait(locating.WAIT_S + 0.1)
    fails(b, grant)
    assert env.ended() == 30
    assert env.run().failures[0].error == ERROR


@pytest.mark.parametrize("places", [(), ("/there/x",)])
def test_answer_that_says_nothing_lets_the_report_count_as_it_is(places: tuple[str, ...]) -> None:
    env, a, b, grant = cluster()
    fails(b, grant)
    answers(env, a, *places, lost=bool(places))
    fails(b, grant)
    assert env.run().failures[0].error == ERROR


def test_nobody_is_asked_where_the_same_worker_made_it_or_nobody_is_known_to_have() -> None:
    env, a, _, grant = cluster(last_on="a")
    fails(a, grant)
    assert env.run().failures[0].error == ERROR
    assert not env.core.state.questions


@pytest.mark.unread("Plan")
def test_questions_of_leases_that_ended_otherwise_are_forgotten() -> None:
    env, _, b, grant = cluster()
    fails(b, grant)
    (question,) = env.core.state.questions.values()
    b.join()  # without what it held: the lease is over
    env.core.state.questions |= {f"00.1.{n}": question for n in range(100)}
    (grant,) = b.take()
    b.start(grant)
    fails(b, grant)
    assert list(env.core.state.questions) == [grant.token]


def joined_in(env: Env, name: str, folder: str) -> FakeWorker:
    worker = FakeWorker(env, name, 1)
    worker.folder = folder
    worker.join()
    return worker


def test_relative_path_is_told_once_where_workers_were_started_in_different_folders() -> None:
    env = Env()
    env.graph = Graph({"a": ["b"], "b": []})
    env.graph.relative = "out/b.txt"
    joined_in(env, "one", "/srv/x")
    env.submit("a")
    assert env.run().notes == [], "there is one folder"
    joined_in(env, "two", "/srv/x")
    assert env.run().notes == []
    joined_in(env, "three", "/srv/y")
    (note,) = env.run().notes
    assert note.startswith("outputs have relative paths (out/b.txt), and workers were started in")
    assert "(two in /srv/x, three in /srv/y)" in note
    joined_in(env, "four", "/srv/a")
    env.restart()
    joined_in(env, "five", "/srv/b")
    joined_in(env, "six", "/srv/c")
    assert env.run().notes == [note]
    env.submit("b")
    assert env.run(2).notes[0].startswith("outputs have relative paths (out/b.txt)")


@pytest.mark.unread("Dispatch")
def test_absolute_path_is_told_nowhere_and_long_ones_are_cut() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    joined_in(env, "one", "/srv/x" * 100)
    joined_in(env, "two", "/srv/y" * 100)
    env.submit("a")
    assert env.run().notes == []
    env.graph.relative = "out/" * 250
    env.submit("a")
    (note,) = env.run(2).notes
    assert note.endswith("with storage.root set"), "what to do is not cut off"
