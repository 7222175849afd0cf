"""Programs: what is planned for a run is executed in that run's program, and in no other."""

from __future__ import annotations

import msgspec
import pytest

from flow.wire.messages import client, codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Grant, Outcome, Policy, Program, ProgramSeen
from flow.wire.params import pack_params
from flow_coordinator.core import explain
from tests.support.core_env import Env, FakeWorker, Graph

ONE, TWO = pack_params({"Leaf_n": "1"}), pack_params({"Leaf_n": "2"})


def programs(grants: list[Grant]) -> dict[str, int]:
    return {grant.task_id[2:]: grant.program for grant in grants}


def defined(env: Env, worker: FakeWorker) -> dict[int, Program]:
    """Take what the worker was told that programs are."""
    messages = env.heard(worker.peer, wire.Define)
    return {one.number: one for message in messages for one in message.programs}


def test_program_is_defined_before_its_first_use_in_a_session_and_once() -> None:
    env = Env()
    env.graph.edges = {"a": ["a1"]}
    worker = env.worker(slots=10)
    env.plan_by_hand = True
    env.submit("a", given=ONE)
    said = env.said[worker.peer]
    assert [type(m) for m in said if isinstance(m, wire.Define | wire.Plan)] == [
        wire.Define,
        wire.Plan,
    ]
    assert defined(env, worker) == {1: Program(1, "default", ["mod"], ONE)}
    env.plan_by_hand = False
    env.wait(6.0)  # asked again
    assert programs(worker.take()) == {"a1": 1}
    worker.start(*worker.grants)
    worker.end(*worker.grants)
    assert programs(worker.take()) == {"a": 1} and defined(env, worker) == {}


def test_program_is_defined_again_to_who_asks_for_it_and_to_who_has_let_it_go() -> None:
    env = Env()
    worker = env.worker(slots=10)
    env.submit("a", given=ONE)
    assert list(defined(env, worker)) == [1]
    worker.beat(wanted=[1, 77])
    assert list(defined(env, worker)) == [1]
    assert env.heard(worker.peer, wire.HeartbeatAck)[-1].over == [77]
    # it lists none: what is granted next is defined first
    worker.beat()
    worker.take()
    worker.end(*worker.grants, outcome=Outcome.RELEASED)
    assert programs(worker.take()) == {"a": 1} and list(defined(env, worker)) == [1]


@pytest.mark.unread("Dispatch")
def test_programs_of_ended_runs_are_over_and_of_open_runs_are_not() -> None:
    env = Env()
    worker = env.worker()
    env.submit("a")
    worker.run_all()
    env.submit("b")
    worker.beat(programs=[ProgramSeen(1), ProgramSeen(2), ProgramSeen(9)])
    assert env.heard(worker.peer, wire.HeartbeatAck)[-1].over == [1, 9]


def test_task_whose_run_is_over_before_its_grant_is_planned_for_the_oldest_that_wants_it() -> None:
    env = Env()
    env.graph.edges = {name: ["shared"] for name in "abc"}
    first = env.submit("a", given=ONE)
    env.worker(slots=0)
    for name, values in (("b", TWO), ("c", ONE)):
        env.submit(name, given=values)
    task = env.core.state.tasks["default"]["T_shared"]
    assert task.state.label == "ready" and task.program is not None and task.program.number == 1
    env.ask(lambda number: client.Cancel(number, first, "enough"), client.Changed)
    assert task.state.label == "ready"
    assert task.program is not None and task.program.number == 2
    env.check()


def test_task_that_waits_while_its_run_ends_is_planned_anew_when_it_could_start() -> None:
    env = Env()
    env.graph.edges = {"a": ["shared"], "b": ["shared"], "shared": ["deep"]}
    worker = env.worker(slots=1)
    first = env.submit("a", given=ONE)
    env.submit("b", given=TWO)
    (deep,) = worker.take()
    worker.start(deep)
    env.ask(lambda number: client.Cancel(number, first, "enough"), client.Changed)
    worker.end(deep)
    assert programs(worker.take()) == {"shared": 2}
    env.check()


def test_task_planned_for_a_run_that_ended_is_planned_anew_after_a_restart() -> None:
    env = Env()
    env.graph.edges = {"a": ["shared"], "b": ["shared"], "shared": ["deep"]}
    worker = env.worker(slots=1)
    first = env.submit("a", given=ONE)
    env.submit("b", given=TWO)
    (deep,) = worker.take()
    worker.start(deep)
    env.ask(lambda number: client.Cancel(number, first, "enough"), client.Changed)
    env.restart()
    worker = env.worker(slots=1)
    granted: dict[str, int] = {}
    while grants := worker.take():
        granted |= programs(grants)
        worker.start(*grants)
        worker.end(*grants)
    assert granted == {"deep": 2, "shared": 2, "b": 2}


@pytest.mark.unread("Dispatch", "Plan")
def test_run_is_planned_by_one_worker_while_it_is_small() -> None:
    env = Env()
    env.plan_by_hand = True
    workers = [env.worker(name=name, slots=1) for name in ("one", "two", "three")]
    env.graph.edges = {"a": [f"a{n}" for n in range(30)]}
    env.submit("a")
    asked: list[str] = []
    for _ in range(10):
        for worker in workers:
            for plan in env.heard(worker.peer, wire.Plan):
                asked.append(worker.name)
                small = msgspec.structs.replace(plan, expand_max=1)
                body = env.graph.answer(small, worker.uid)
                env.say(
                    worker.peer,
                    wire.Planned(worker.session, plan.request, 0, True, codec.encode_chunk(body)),
                )
    assert len(asked) > 3 and len(set(asked)) == 1


def test_run_is_planned_by_another_worker_when_its_own_is_gone() -> None:
    env = Env()
    env.plan_by_hand = True
    one, two = (env.worker(name=name, slots=1) for name in ("one", "two"))
    env.submit("a")
    home, other = (one, two) if env.heard(one.peer, wire.Plan) else (two, one)
    env.say(home.peer, wire.Drained(home.session))
    assert env.heard(other.peer, wire.Plan)


def test_tasks_are_asked_for_and_granted_in_the_program_of_their_run() -> None:
    env = Env()
    env.graph.edges = {"a": ["a1"], "b": ["b1"], "c": []}
    worker = env.worker(slots=10)
    env.submit("a", given=ONE)
    env.submit("b", given=TWO)
    env.submit("c")
    assert programs(worker.take()) == {"a1": 1, "b1": 2, "c": 3}
    worker.start(*worker.grants)
    worker.end(*worker.grants)
    assert programs(worker.take()) == {"a": 1, "b": 2}
    env.check()


@pytest.mark.unread("Dispatch")
def test_planning_asks_for_tasks_of_different_runs_apart() -> None:
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
    asked: list[tuple[set[str], int]] = []
    while messages := env.heard(worker.peer, wire.Plan):
        for plan in messages:
            asked.append(({stub.task_id for stub in plan.stubs}, plan.program))
            body = env.graph.answer(plan, worker.uid)
            env.say(
                worker.peer,
                wire.Planned(worker.session, plan.request, 0, True, codec.encode_chunk(body)),
            )
    for ids, program in asked:
        assert {one[2] for one in ids} == {names[program - 1]}, asked
    assert {one for ids, _ in asked for one in ids} == {f"T_{n}{i}" for n in names for i in (1, 2)}


def test_task_planned_for_one_run_keeps_its_program_for_another() -> None:
    env = Env()
    env.graph.edges = {"a": ["shared"], "b": ["shared"]}
    worker = env.worker(slots=10)
    env.submit("a", given=ONE)
    env.submit("b", given=TWO)
    assert programs(worker.take()) == {"shared": 1}
    worker.start(*worker.grants)
    worker.end(*worker.grants)
    assert programs(worker.take()) == {"a": 1, "b": 2}


def test_task_that_ended_is_planned_anew_in_the_program_of_the_new_run() -> None:
    env = Env()
    worker = env.worker()
    env.submit("a", given=ONE)
    worker.run_all()
    env.submit("a", given=TWO)
    assert programs(worker.take()) == {"a": 2}


def test_task_of_a_cancelled_run_that_was_not_planned_is_planned_for_the_next() -> None:
    env = Env()
    env.plan_by_hand = True
    worker = env.worker()
    first = env.submit("a", given=ONE)
    env.heard(worker.peer, wire.Plan)  # lost
    env.ask(lambda number: client.Cancel(number, first, "enough"), client.Changed)
    env.plan_by_hand = False
    env.submit("a", given=TWO)
    env.wait(10.0)
    assert programs(worker.take()) == {"a": 2}


def test_programs_survive_a_restart() -> None:
    env = Env()
    env.graph.edges = {"a": ["a1"]}
    worker = env.worker()
    env.submit("a", given=ONE)
    env.restart()
    worker = env.worker()
    assert programs(worker.take()) == {"a1": 1}
    worker.start(*worker.grants)
    worker.end(*worker.grants)
    assert defined(env, worker) == {1: Program(1, "default", ["mod"], ONE)}
    assert programs(worker.take()) == {"a": 1}


def test_tasks_of_different_programs_do_not_run_as_one() -> None:
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
        batches.append((first.program, len(first.members)))
        first = next(iter(worker.take()), None)
    assert batches == [(1, 0), (2, 0), (3, 0), (4, 0)]


def test_temporary_outputs_are_removed_in_the_program_that_made_them() -> None:
    env = Env()
    env.graph.edges = {"a": ["tmp_a"], "b": ["tmp_b"]}
    env.graph.policies = {name: Policy(temporary=True) for name in ("tmp_a", "tmp_b")}
    worker = env.worker(slots=10)
    env.submit("a", given=ONE)
    env.submit("b", given=TWO)
    worker.run_all()
    cleans: dict[str, int] = {}
    while messages := env.heard(worker.peer, wire.Clean):
        for message in messages:
            cleans |= {stub.task_id: message.program for stub in message.stubs}
            worker.say(wire.Cleaned(worker.session, message.request, len(message.stubs)))
    assert cleans == {"T_tmp_a": 1, "T_tmp_b": 2}


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
    assert programs(worker.take()) == {"a": 2} and env.run(2).options.given == ONE


def test_why_tells_what_a_task_was_planned_with() -> None:
    env = Env()
    env.worker(slots=0)
    env.submit("a", given=pack_params({"deep.Leaf_n": "1", "site_base": "x" * 1_000}))
    why = env.ask(lambda number: client.Why(number, "T_a"), client.WhyShown)
    lines = dict(why.answer.lines)
    assert lines["planned with"].startswith("--deep.Leaf-n 1 --site-base xxx")
    assert len(lines["planned with"]) == explain.GIVEN_CHARS_MAX


def prepared(env: Env, worker: FakeWorker) -> list[int]:
    """Name the programs that a worker was told to import before it has anything to run."""
    messages = env.heard(worker.peer, wire.Define)
    return [one.number for m in messages if m.prepare for one in m.programs]


def wide(count: int) -> Env:
    """A task that everything waits for, then ``count`` at a time."""
    names = [f"n{n}" for n in range(count)]
    env = Env()
    env.graph = Graph({"top": names, "first": []} | {name: ["first"] for name in names})
    return env


@pytest.mark.unread("Dispatch")
def test_workers_import_ahead_what_the_widest_part_of_a_plan_will_need_them_for() -> None:
    env = wide(8)
    workers = [env.worker(name, slots=2) for name in "abcdef"]
    env.submit("top")
    told = [one.name for one in workers if prepared(env, one) == [1]]
    assert len(told) == 3, "with the planner's own slots, as many as eight tasks need"


@pytest.mark.unread("Dispatch")
@pytest.mark.parametrize("edges", [{"c": ["b"], "b": ["a"], "a": []}, {"one": []}])
def test_nobody_imports_ahead_what_is_no_wider_than_one_worker(edges: dict[str, list[str]]) -> None:
    env = Env()
    env.graph = Graph(edges)
    workers = [env.worker(name, slots=2) for name in "abc"]
    env.submit(next(iter(edges)))
    assert [prepared(env, one) for one in workers] == [[], [], []]


def test_worker_without_room_is_not_told_to_import_ahead() -> None:
    env = wide(8)
    workers = [env.worker(name, slots=2) for name in "ab"]
    for worker in workers:
        worker.beat(room=False)
    env.submit("top")
    assert [prepared(env, one) for one in workers] == [[], []]
