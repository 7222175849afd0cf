"""Whatever a run is called and made of: every answer about it fits into a message."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow.client.summary import render
from flow.wire.messages import client, codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Outcome, PlanChunk, Policy, Spec, SpecStatus, Stub
from flow.wire.params import pack_params
from flow_coordinator.core import bounds
from flow_coordinator.core.config import CoreConfig
from tests.support.core_env import Env, FakeWorker

LONG = "ü" * 125_000  # 250 kB
FAMILIES = 10_000
LARGE = 24


def plan_all(env: Env, worker: FakeWorker, stubs: list[Stub], policy: Policy) -> None:
    """Answer the question for a root with all of these below it, in as many chunks as it takes."""
    (plan,) = env.heard(worker.peer, wire.Plan)
    root = Stub("Top_1", "mod", "Top", pack_params({"name": "top"}))
    at, number = 1, 0
    left = stubs
    while left or not number:
        some = bounds.fitting(left[:5_000], 400 << 10) if left else []
        left = left[len(some) :]
        indices = range(at, at + len(some))
        chunk = PlanChunk(
            [*([] if number else [root]), *some],
            [(0, list(indices))],
            [] if number else [policy],
            [Spec(one, SpecStatus.INCOMPLETE, 0) for one in ([] if number else [0]) + [*indices]],
            [],
        )
        at += len(some)
        body = codec.encode_chunk(chunk)
        worker.say(wire.Planned(worker.session, plan.request, number, not left, body))
        number += 1


@pytest.fixture(scope="module")
def env() -> Env:
    """A run of 10,000 families with long names, and of tasks with 250 kB of parameters."""
    env = Env(CoreConfig(retry_count=1))
    env.plan_by_hand = True
    worker = env.worker("w" * 500, slots=30)
    env.say(
        b"client",
        client.Submit(
            1, "key", "default", [client.RootTask("mod", "Top", {})], client.SubmitOptions()
        ),
    )
    stubs = [
        Stub(f"Fam{n}_1", "mod", f"Fam{n}" + "x" * 300, pack_params({"n": str(n)}))
        for n in range(FAMILIES)
    ]
    stubs += [
        Stub(f"Large_{n}", "mod", "Large", pack_params({"sql": LONG[n:]})) for n in range(LARGE)
    ]
    plan_all(env, worker, stubs, Policy())
    for _ in range(40):
        grants = worker.take()
        worker.start(*grants)
        for grant in grants:
            error = "ä" * 60_000
            worker.end(grant, outcome=Outcome.FAILED, error=error, trace=error, tail=error[:9_000])
    return env


QUESTIONS = [
    client.ListRuns(7, 1_000),
    client.ShowRun(7, "last"),
    client.ListTasks(7, "", "", [], 1_000),
    client.ListTasks(7, "Large", "", [], 1_000),
    client.ListWorkers(7),
    client.ListResources(7),
    client.Why(7, "Fam"),
    client.Why(7, "Large"),
    client.Why(7, "Large_1"),
    client.Cancel(7, "Fam", ""),
    client.ShowGraph(7, "last"),
]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: type(one).__name__)
def test_every_question_about_a_huge_run_is_answered(env: Env, question: client.Request) -> None:
    env.say(b"client-q", question)
    assert [one for one in env.said.pop(b"client-q", []) if one.request == 7]  # type: ignore[attr-defined]


def test_who_follows_a_huge_run_hears_all_counts_and_failures_and_its_end(env: Env) -> None:
    env.say(b"client-w", client.Watch(8, "r-1"))
    heard: list[client.RunUpdate] = []
    for _ in range(200):
        env.wait(0.3)
        heard += env.heard(b"client-w", client.RunUpdate)
    assert sum(sum(one.counts.values()) for update in heard for one in update.families) > FAMILIES
    numbers = [one.number for update in heard for one in update.failures]
    assert numbers == sorted(set(numbers)) and len(numbers) == len(env.run().failures)
    env.say(b"client-c", client.Cancel(9, "r-1", ""))
    for _ in range(30):  # until the lease of a worker that is silent is over
        env.wait(5)
    env.heard(b"client-w", client.RunUpdate)
    env.say(b"client-w", client.Watch(10, "r-1"))
    heard = env.heard(b"client-w", client.RunUpdate)
    ends = [update.ended for update in heard]
    assert ends[-1] is not None and not any(ends[:-1]), "the summary comes last, once"
    assert len({one.family for update in heard for one in update.families}) == FAMILIES + 2
    assert ends[-1].scheduled == FAMILIES + LARGE + 1
    text = render(ends[-1], full=True)
    assert len(text.encode()) < 1 << 20 and "…" in text
    env.restart()
    env.say(b"client-s", client.ShowRun(11, "r-1"))
    assert env.heard(b"client-s", client.RunShown)


def pages(env: Env, kind: type, answer: type, field: str) -> list[str]:
    """Ask until nothing is left; name all that came, without what makes names long."""
    names: list[str] = []
    more = 1
    while more:
        told = env.ask(partial(kind, at=len(names)), answer)
        names += [one.name.strip("-") for one in getattr(told, field)]
        more = told.more
    return names


def test_all_workers_and_resources_are_told_however_many_there_are() -> None:
    resources = [f"r{n:04}" for n in range(1_500)]
    workers = [f"w{n}" for n in range(1_200)]
    env = Env(CoreConfig(limits={name + "-" * 400: 1.0 for name in resources}))
    for name in workers:
        env.worker(name + "-" * 400)
    assert pages(env, client.ListWorkers, client.Workers, "workers") == workers
    assert pages(env, client.ListResources, client.Resources, "resources") == resources


@given(st.lists(st.text(), max_size=30), st.integers(1, 200))
def test_what_fits_is_a_beginning_of_all_and_no_more_than_fits(items: list[str], most: int) -> None:
    found = bounds.fitting(items, most)
    assert found == items[: len(found)] and (found or not items)
    sizes = [len(codec._encoder.encode(one)) for one in items]
    assert len(found) <= 1 or sum(sizes[: len(found)]) <= most
    assert len(found) == len(items) or sum(sizes[: len(found) + 1]) > most
