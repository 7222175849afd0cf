"""Values that a command line gives to other tasks: asked with, planned with, run with."""

from __future__ import annotations

import pytest

from flow.messages import client, codec
from flow.messages import worker as wire
from flow.messages.shared import Grant, Outcome, Policy, pack_params
from flow_coordinator.core import dispatch, explain
from tests.support.core_env import Env

ONE, TWO = pack_params({"Leaf_n": "1"}), pack_params({"Leaf_n": "2"})


def given(grants: list[Grant]) -> dict[str, bytes]:
    return {grant.task_id[2:]: grant.given for grant in grants}


def test_given_values_go_with_plan_policy_and_grant_of_their_run() -> None:
    env = Env()
    env.graph.edges = {"a": ["a1"], "b": ["b1"], "c": []}
    worker = env.worker(slots=10)
    env.submit("a", given=ONE)
    env.submit("b", given=TWO)
    env.submit("c")
    assert given(worker.take()) == {"a1": ONE, "b1": TWO, "c": b""}
    worker.start(*worker.grants)
    worker.end(*worker.grants)
    assert given(worker.take()) == {"a": ONE, "b": TWO}
    env.check()


def test_planning_asks_for_tasks_of_runs_with_other_values_apart() -> None:
    env = Env()
    worker = env.worker(slots=10)
    names = ["a", "b", "c", "d"]
    for name, values in zip(names, (ONE, b"", TWO, ONE), strict=True):
        env.submit(name, given=values)
    grants = worker.take()
    worker.start(*grants)
    env.plan_by_hand = True
    for grant in grants:
        worker.yields(grant, 1, f"{grant.task_id[2:]}1", f"{grant.task_id[2:]}2")
    asked: list[tuple[set[str], bytes]] = []
    while messages := env.heard(worker.peer, wire.Plan):
        for plan in messages:
            asked.append(({stub.task_id for stub in plan.stubs}, plan.given))
            body = env.graph.answer(plan, worker.uid)
            env.say(
                worker.peer,
                wire.Planned(worker.session, plan.request, 0, True, codec.encode_chunk(body)),
            )
    for ids, values in asked:
        runs = {one[2] for one in ids}
        assert len(runs) == 1 or values == b"", asked
        for one in runs:
            assert values == {"a": ONE, "b": b"", "c": TWO, "d": ONE}[one]
    assert {one for ids, _ in asked for one in ids} == {f"T_{n}{i}" for n in names for i in (1, 2)}


def test_task_planned_for_one_run_keeps_its_values_for_another() -> None:
    env = Env()
    env.graph.edges = {"a": ["shared"], "b": ["shared"]}
    worker = env.worker(slots=10)
    env.submit("a", given=ONE)
    env.submit("b", given=TWO)
    assert given(worker.take()) == {"shared": ONE}
    worker.start(*worker.grants)
    worker.end(*worker.grants)
    assert given(worker.take()) == {"a": ONE, "b": TWO}


def test_task_that_ended_is_planned_anew_with_the_values_of_the_new_run() -> None:
    env = Env()
    worker = env.worker()
    env.submit("a", given=ONE)
    worker.run_all()
    env.submit("a", given=TWO)
    assert given(worker.take()) == {"a": TWO}


def test_task_of_a_cancelled_run_that_was_not_planned_gets_the_values_of_the_next() -> None:
    env = Env()
    env.plan_by_hand = True
    worker = env.worker()
    first = env.submit("a", given=ONE)
    env.heard(worker.peer, wire.Plan)  # lost
    env.ask(lambda number: client.Cancel(number, first, "enough"), client.Changed)
    env.plan_by_hand = False
    env.submit("a", given=TWO)
    env.wait(10.0)
    assert given(worker.take()) == {"a": TWO}


def test_given_values_survive_a_restart() -> None:
    env = Env()
    env.graph.edges = {"a": ["a1"]}
    worker = env.worker()
    env.submit("a", given=ONE)
    env.restart()
    worker = env.worker()
    assert given(worker.take()) == {"a1": ONE}
    worker.start(*worker.grants)
    worker.end(*worker.grants)
    assert env.run().options.given == ONE
    assert given(worker.take()) == {"a": ONE}


def test_parameter_of_a_root_that_looked_like_one_for_others_keeps_nothing_apart() -> None:
    env = Env()
    env.graph.edges = {"a": ["a1"]}
    env.graph.taken = b""
    worker = env.worker()
    env.submit("a", given=pack_params({"start_date": "2026-01-01"}))
    assert env.run().options.given == b""
    assert given(worker.take()) == {"a1": b""}
    env.restart()
    assert env.run().options.given == b""


def test_tasks_with_other_values_do_not_run_as_one() -> None:
    env = Env()
    env.graph.policies = dict.fromkeys(("a", "b", "c"), Policy(batched=["name"]))
    worker = env.worker(slots=1)
    env.submit("first")
    (first,) = worker.take()
    for name, values in (("a", ONE), ("b", TWO), ("c", ONE)):
        env.submit(name, given=values)
    batches = []
    while first:
        worker.start(first)
        worker.end(first)
        batches.append((first.given, len(first.members)))
        first = next(iter(worker.take()), None)
    assert batches == [(b"", 0), (ONE, 2), (TWO, 0)]


def test_temporary_outputs_are_removed_with_what_their_tasks_ran_with() -> None:
    env = Env()
    env.graph.edges = {"a": ["tmp_a"], "b": ["tmp_b"]}
    env.graph.policies = {name: Policy(temporary=True) for name in ("tmp_a", "tmp_b")}
    worker = env.worker(slots=10)
    env.submit("a", given=ONE)
    env.submit("b", given=TWO)
    worker.run_all()
    cleans: dict[str, bytes] = {}
    while messages := env.heard(worker.peer, wire.Clean):
        for message in messages:
            cleans |= {stub.task_id: message.given for stub in message.stubs}
            worker.say(wire.Cleaned(worker.session, message.request, len(message.stubs)))
    assert cleans == {"T_tmp_a": ONE, "T_tmp_b": TWO}


def test_grants_with_many_values_fit_into_their_messages() -> None:
    env = Env()
    width = 200
    values = pack_params({"Leaf_n": "x" * (client.GIVEN_BYTES_MAX - 20)})
    env.graph.edges = {"a": [f"a{n}" for n in range(width)]}
    worker = env.worker(slots=width)
    env.submit("a", given=values)
    messages = env.heard(worker.peer, wire.Dispatch)
    assert sum(len(message.grants) for message in messages) == width
    for message in messages:
        assert sum(len(g.given) for g in message.grants) <= dispatch.DISPATCH_FILL_BYTES


@pytest.mark.parametrize(
    "values", [b"x" * (client.GIVEN_BYTES_MAX + 1), b"\xc1", b"\x80", pack_params({})]
)
def test_submit_refuses_values_that_no_task_process_could_read(values: bytes) -> None:
    env = Env()
    env.request += 1
    roots = [client.RootTask("mod", "T", {"name": "a"})]
    options = client.SubmitOptions(given=values)
    env.say(b"client", client.Submit(env.request, "key", "default", roots, options))
    failed = env.heard(b"client", client.Failed)[-1]
    assert failed.code == 2 and "16,384 bytes at most" in failed.error
    assert not env.core.state.runs


def test_retry_of_an_ended_run_keeps_its_values() -> None:
    env = Env()
    worker = env.worker()
    run = env.submit("a", given=ONE)
    worker.start(*worker.take())
    worker.end(*worker.grants, outcome=Outcome.FAILED)
    assert env.ended() == 30
    env.ask(lambda number: client.Retry(number, run), client.Changed)
    assert given(worker.take()) == {"a": ONE}


def test_why_tells_what_a_task_was_planned_with() -> None:
    env = Env()
    env.worker(slots=0)
    env.submit("a", given=pack_params({"deep.Leaf_n": "1", "site_base": "x" * 1_000}))
    why = env.ask(lambda number: client.Why(number, "T_a"), client.WhyShown)
    lines = dict(why.answer.lines)
    assert lines["planned with"].startswith("--deep.Leaf-n 1 --site-base xxx")
    assert len(lines["planned with"]) == explain.GIVEN_CHARS_MAX


def test_planner_cannot_make_up_values() -> None:
    env = Env()
    env.graph.taken = pack_params({"Leaf_n": "7"})
    worker = env.worker()
    env.submit("a", given=ONE)
    assert env.run().options.given == ONE
    assert given(worker.take()) == {"a": ONE}
    env.graph.taken = b"\xc1"
    env.submit("b", given=ONE)
    assert env.run(2).options.given == ONE
    assert given(worker.take()) == {"b": ONE}


def test_policies_of_forgotten_values_are_forgotten() -> None:
    env = Env()
    worker = env.worker()
    env.submit("a")
    worker.run_all()
    before = len(env.core.state.policies)
    for n in range(5):
        env.submit(f"a{n}", given=pack_params({"Leaf_n": str(n)}))
        worker.run_all()
    env.wait(10.0)
    assert len(env.core.state.policies) == before
    env.check()
