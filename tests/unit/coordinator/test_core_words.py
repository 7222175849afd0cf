"""The coordinator hears what attempts say: whole, numbered, durable before it counts."""

from __future__ import annotations

import pytest

from flow.wire.messages import client
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Grant, Outcome, Policy
from flow.wire.messages.speech import Words
from flow.wire.states import TaskState
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.effects import Send
from flow_coordinator.core.events import Received, TurnEnded
from tests.support.core_env import Env, FakeWorker, Graph

POOL = CoreConfig(limits={"pool": 3.0})


def env_of(edges: dict[str, list[str]], demands: dict[str, dict[str, float]]) -> Env:
    env = Env(POOL)
    env.graph = Graph(edges, {name: Policy(resources=each) for name, each in demands.items()})
    return env


def hold(env: Env, worker: FakeWorker, *names: str) -> dict[str, Grant]:
    """Submit tasks; return the grants that come, started."""
    env.submit(*names)
    grants = worker.take()
    worker.start(*grants)
    return {grant.task_id[2:]: grant for grant in grants}


def says(worker: FakeWorker, grant: Grant, number: int, **fields: object) -> None:
    words = Words(grant.token, number, **fields)  # type: ignore[arg-type]
    worker.say(wire.Said(worker.session, [words]))


def used(env: Env) -> float:
    return env.core.state.resources.used.get("pool", 0.0)


def why(env: Env, name: str = "a") -> client.WhyAnswer:
    return env.ask(lambda n: client.Why(n, f"T(name={name})"), client.WhyShown).answer


def test_words_are_shown_while_the_task_runs_after_a_restart_and_after_its_run() -> None:
    env = env_of({"a": []}, {})
    worker = env.worker()
    grant = hold(env, worker, "a")["a"]
    url = "http://t"
    says(worker, grant, 1, status="half", progress=50.0, tracking_url=url, statistics={"n": "1"})
    assert env.heard(worker.peer, wire.Heard)[-1].words == [(grant.token, 1)]
    answer = why(env)
    assert (answer.status, answer.progress, answer.tracking_url) == ("half", 50.0, url)
    assert answer.statistics == {"n": "1"}
    assert ("progress", "50 %") in answer.lines and ("status", "half") in answer.lines
    (row,) = env.ask(lambda n: client.ListTasks(n, "T_a"), client.Tasks).tasks
    assert (row.status, row.progress, row.tracking_url) == ("half", 50.0, url)
    assert row.reason == "50 % half"
    env.restart()
    assert why(env).status == "half"
    worker.join(held=[grant.token])
    says(worker, grant, 2, status="whole", progress=100.0)
    worker.end(grant)
    assert env.ended() == 0
    assert (why(env).state, why(env).status) == ("done", "whole")
    env.restart()
    assert (why(env).state, why(env).status) == ("done", "whole")


def test_older_and_repeated_words_change_nothing() -> None:
    env = env_of({"a": []}, {"a": {"pool": 3}})
    worker = env.worker()
    grant = hold(env, worker, "a")["a"]
    says(worker, grant, 3, status="new", decreased={"pool": 2})
    for number in (3, 1, 2):
        says(worker, grant, number, status="old")
        assert env.heard(worker.peer, wire.Heard)[-1].words == [(grant.token, number)]
    assert why(env).status == "new"
    assert used(env) == 1.0
    env.check()


@pytest.mark.unread("Heard")
def test_words_of_another_token_or_worker_are_acknowledged_and_dropped() -> None:
    env = env_of({"a": []}, {"a": {"pool": 3}})
    worker, other = env.worker(), env.worker("b")
    grant = hold(env, worker, "a")["a"]
    says(other, grant, 1, status="not mine", decreased={"pool": 3})
    assert env.heard(other.peer, wire.Heard)[-1].words == [(grant.token, 1)]
    assert why(env).status == ""
    assert used(env) == 3.0
    worker.say(wire.Said(worker.session, [Words("feed.1.99", 1, "who")]))
    env.check()


def test_words_in_an_old_session_are_answered_with_rejoin() -> None:
    env = env_of({"a": []}, {})
    worker = env.worker()
    grant = hold(env, worker, "a")["a"]
    env.say(worker.peer, wire.Said("0.0", [Words(grant.token, 1, "late")]))
    assert env.heard(worker.peer, wire.Rejoin)
    assert why(env).status == ""


@pytest.mark.unread("Heard")
def test_given_back_resource_lets_the_next_task_start_at_once() -> None:
    env = env_of({"a": [], "b": []}, {"a": {"pool": 3}, "b": {"pool": 2}})
    worker = env.worker()
    grant = hold(env, worker, "a", "b")["a"]
    assert worker.take() == []
    says(worker, grant, 1, decreased={"pool": 2, "unheard of": 5})
    (second,) = worker.take()
    assert second.task_id == "T_b" and used(env) == 3.0
    env.check()
    worker.start(second)
    worker.end(grant)
    assert used(env) == 2.0
    worker.end(second)
    assert used(env) == 0.0
    env.check()


@pytest.mark.unread("Heard")
def test_given_back_more_than_held_frees_no_more_than_held() -> None:
    env = env_of({"a": []}, {"a": {"pool": 2}})
    worker = env.worker()
    grant = hold(env, worker, "a")["a"]
    says(worker, grant, 1, decreased={"pool": 99})
    assert used(env) == 0.0
    worker.end(grant)
    assert used(env) == 0.0
    env.check()


@pytest.mark.unread("Heard")
def test_given_back_capacity_of_a_worker_is_free_at_once() -> None:
    env = env_of({"a": [], "b": []}, {"a": {"gpu": 2}, "b": {"gpu": 1}})
    worker = env.worker(capacity={"gpu": 2})
    grant = hold(env, worker, "a", "b")["a"]
    assert worker.take() == []
    says(worker, grant, 1, decreased={"gpu": 1})
    assert [one.task_id for one in worker.take()] == ["T_b"]
    env.check()


def test_what_was_given_back_is_among_the_changes_of_the_turn_that_grants_it() -> None:
    env = env_of({"a": [], "b": []}, {"a": {"pool": 3}, "b": {"pool": 3}})
    worker = env.worker()
    grant = hold(env, worker, "a", "b")["a"]
    env.core.take_changes()
    said = wire.Said(worker.session, [Words(grant.token, 1, decreased={"pool": 3})])
    effects = env.core.handle(Received(worker.peer, said), env.now)
    effects += env.core.handle(TurnEnded(), env.now)
    told = [type(e.message) for e in effects if isinstance(e, Send)]
    assert wire.Heard in told and wire.Dispatch in told, "both only after the commit"
    changed = {task.task_id for task in env.core.take_changes().progress}
    assert changed == {"T_a", "T_b"}


def test_restarted_coordinator_hands_out_what_was_given_back_once() -> None:
    env = env_of(
        {"a": [], "b": [], "c": []}, {"a": {"pool": 3}, "b": {"pool": 2}, "c": {"pool": 1}}
    )
    worker = env.worker(slots=4)
    grant = hold(env, worker, "a", "b", "c")["a"]
    says(worker, grant, 1, decreased={"pool": 2})
    (second,) = worker.take()
    env.restart()
    assert used(env) == 3.0
    worker.join(held=[grant.token, second.token])
    assert worker.take() == [] and used(env) == 3.0
    worker.end(grant)
    assert [one.task_id for one in worker.take()] == ["T_c"]
    env.check()


@pytest.mark.unread("Heard")
def test_given_back_stays_so_over_a_yield_and_ends_with_the_lease() -> None:
    env = env_of({"a": [], "b": [], "x": []}, {"a": {"pool": 3}, "b": {"pool": 2}})
    worker = env.worker(slots=4)
    grant = hold(env, worker, "a", "b")["a"]
    says(worker, grant, 1, decreased={"pool": 2})
    (other,) = worker.take()
    worker.yields(grant, 1, "x")
    assert used(env) == 2.0
    (sub,) = worker.take()
    worker.start(sub)
    worker.end(sub)
    assert env.heard(worker.peer, wire.Resume), "one of three is enough to go on"
    assert used(env) == 3.0
    env.check()
    worker.end(other)
    worker.end(grant, outcome=Outcome.KILLED)
    (again,) = worker.take()
    assert again.task_id == "T_a" and used(env) == 3.0
    assert why(env).status == "" and why(env).lines
    env.check()


@pytest.mark.unread("Heard", "Resume")
def test_suspended_task_gives_back_what_it_will_not_take_again() -> None:
    env = env_of({"a": [], "b": [], "x": []}, {"a": {"pool": 3}, "b": {"pool": 2}})
    worker = env.worker(slots=4)
    grant = hold(env, worker, "a")["a"]
    worker.yields(grant, 1, "x")
    says(worker, grant, 1, decreased={"pool": 2})
    assert used(env) == 0.0
    (sub,) = worker.take()
    worker.start(sub)
    worker.end(sub)
    assert used(env) == 1.0
    env.check()


@pytest.mark.unread("Heard")
@pytest.mark.parametrize("amount", [-1.0, float("inf"), float("nan")])
def test_impossible_amount_from_a_worker_is_dropped(amount: float) -> None:
    env = env_of({"a": []}, {"a": {"pool": 3}})
    worker = env.worker()
    grant = hold(env, worker, "a")["a"]
    says(worker, grant, 1, status="x" * 100_000, progress=amount, decreased={"pool": amount})
    assert used(env) == 3.0
    assert why(env).progress == -1.0
    assert len(why(env).status) == 2_000
    env.check()


@pytest.mark.unread("Heard")
def test_new_attempt_does_not_show_what_the_last_one_said() -> None:
    env = env_of({"a": []}, {})
    worker = env.worker()
    grant = hold(env, worker, "a")["a"]
    says(worker, grant, 1, status="first")
    worker.end(grant, outcome=Outcome.KILLED)
    (again,) = worker.take()
    worker.start(again)
    assert env.state("a") == TaskState.RUNNING
    assert why(env).status == ""
    says(worker, again, 1, status="second")
    assert why(env).status == "second"


def test_silent_task_keeps_no_rare_record() -> None:
    env = env_of({"a": []}, {})
    worker = env.worker()
    grant = hold(env, worker, "a")["a"]
    assert env.task("a").extra is None
    worker.end(grant)
    assert env.core.state.letters == {}


def test_words_of_a_batch_are_those_of_every_member() -> None:
    env = Env(POOL)
    policy = Policy(resources={"pool": 2}, batched=["name"], batch_max=10)
    env.graph = Graph({"a": [], "b": []}, {"a": policy, "b": policy})
    worker = env.worker(slots=1)
    env.submit("a", "b")
    (grant,) = worker.take()
    assert len(grant.members) == 2
    worker.start(grant)
    says(worker, grant, 1, status="both", decreased={"pool": 1})
    assert [why(env, name).status for name in ("a", "b")] == ["both", "both"]
    assert used(env) == 1.0
    env.restart()
    assert [why(env, name).status for name in ("a", "b")] == ["both", "both"]
    assert used(env) == 1.0
