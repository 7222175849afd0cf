"""Messages to attempts at the coordinator: found, passed on, answered; never to another attempt."""

from __future__ import annotations

import pytest

from flow.errors import ExitCode
from flow.wire.messages import client
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Grant, Outcome, Policy
from flow.wire.messages.speech import LETTER_CHARACTERS_MAX, Fate
from flow_coordinator.core import letters
from tests.support.core_env import Env, FakeWorker, Graph

PEER = b"client-7"


def listening(env: Env, worker: FakeWorker, name: str = "a") -> Grant:
    env.graph = Graph({name: []}, {name: Policy(accepts_messages=True)})
    env.submit(name)
    (grant,) = worker.take()
    assert grant.accepts_messages
    worker.start(grant)
    return grant


def send(env: Env, grant: Grant, letter: str, request: int = 1, wait_s: float = 0.0) -> None:
    env.say(PEER, client.SendLetter(request, grant.token, letter, "hi", {"k": "v"}, wait_s))


def passed_on(env: Env, worker: FakeWorker) -> list[str]:
    found = [one for each in env.heard(worker.peer, wire.Letters) for one in each.letters]
    assert all((one.content, one.payload) == ("hi", {"k": "v"}) for one in found)
    return [f"{one.token} {one.id}" for one in found]


def ack(worker: FakeWorker, grant: Grant, letter: str, fate: Fate = Fate.TAKEN) -> None:
    worker.say(wire.LettersAck(worker.session, [(grant.token, letter, fate)]))


def reply(worker: FakeWorker, grant: Grant, letter: str, text: str) -> None:
    worker.say(wire.Said(worker.session, [], [(grant.token, letter, text)]))


def codes(env: Env) -> list[int]:
    return [one.code for one in env.heard(PEER, client.Failed)]


def test_letter_reaches_its_attempt_and_its_sender_is_told() -> None:
    env = Env()
    worker = env.worker()
    grant = listening(env, worker)
    env.say(PEER, client.FindAttempt(1, "T(name=a)"))
    (found,) = env.heard(PEER, client.AttemptFound)
    assert (found.token, found.attempt, found.worker) == (grant.token, 1, "a")
    send(env, grant, "m1", 2)
    assert passed_on(env, worker) == [f"{grant.token} m1"]
    assert env.heard(PEER, client.LetterSent) == []
    ack(worker, grant, "m1")
    assert env.heard(PEER, client.LetterSent) == [client.LetterSent(2)]
    assert env.core.state.letters == {}
    ack(worker, grant, "m1")
    assert env.heard(PEER, client.LetterSent) == []


def test_sender_that_waits_gets_the_reply_and_nobody_else_does() -> None:
    env = Env()
    worker = env.worker()
    grant = listening(env, worker)
    send(env, grant, "m1", 1, wait_s=30.0)
    send(env, grant, "m2", 2)
    ack(worker, grant, "m1")
    ack(worker, grant, "m2")
    assert env.heard(PEER, client.LetterSent) == [client.LetterSent(2)]
    passed_on(env, worker)
    send(env, grant, "m1", 1, wait_s=30.0)
    assert passed_on(env, worker) == [], "its worker has it, in this session"
    reply(worker, grant, "m2", "nobody waits")
    reply(worker, grant, "m1", "yes")
    assert env.heard(worker.peer, wire.Heard)[-1].replies == [(grant.token, "m1")]
    assert env.heard(PEER, client.LetterSent) == [client.LetterSent(1, replied=True, reply="yes")]
    env.check()


def test_sender_that_asks_again_has_its_letter_passed_on_again() -> None:
    env = Env()
    worker = env.worker()
    grant = listening(env, worker)
    for _ in range(3):
        send(env, grant, "m1")
    assert passed_on(env, worker) == [f"{grant.token} m1"] * 3
    ack(worker, grant, "m1")
    assert len(env.heard(PEER, client.LetterSent)) == 1


@pytest.mark.unread("Heard")
def test_restarted_coordinator_passes_on_what_is_asked_again() -> None:
    env = Env()
    worker = env.worker()
    grant = listening(env, worker)
    send(env, grant, "m1", 1, wait_s=30.0)
    env.restart()
    send(env, grant, "m1", 1, wait_s=30.0)
    assert env.heard(PEER, client.Failed) == [], "its attempt may live"
    worker.join(held=[grant.token])
    send(env, grant, "m1", 1, wait_s=30.0)
    assert passed_on(env, worker) == [f"{grant.token} m1"]
    ack(worker, grant, "m1")
    reply(worker, grant, "m1", "after all")
    assert env.heard(PEER, client.LetterSent)[-1].reply == "after all"


def test_letter_for_a_grant_that_has_not_begun_waits_for_its_sender_to_ask_again() -> None:
    env = Env()
    worker = env.worker()
    env.graph = Graph({"a": []}, {"a": Policy(accepts_messages=True)})
    env.submit("a")
    (grant,) = worker.take()
    send(env, grant, "m1")
    assert passed_on(env, worker) == []
    worker.start(grant)
    send(env, grant, "m1")
    assert passed_on(env, worker) == [f"{grant.token} m1"]


def test_senders_are_told_when_the_attempt_ends() -> None:
    env = Env()
    worker = env.worker()
    grant = listening(env, worker)
    send(env, grant, "lost", 1)
    send(env, grant, "taken", 2, wait_s=30.0)
    ack(worker, grant, "taken")
    worker.end(grant, outcome=Outcome.KILLED)
    told = {one.request: one for one in env.heard(PEER, client.Failed)}
    assert {request: one.code for request, one in told.items()} == {1: 25, 2: 25}
    assert "nobody hears it" in told[1].error
    assert "ended without a reply" in told[2].error
    (again,) = worker.take()
    worker.start(again)
    send(env, grant, "lost", 3)
    assert codes(env) == [ExitCode.NOT_RUN], "the next attempt is another"
    assert passed_on(env, worker) == [f"{grant.token} lost", f"{grant.token} taken"]
    env.check()


@pytest.mark.unread("Letters")
def test_sender_is_told_why_a_letter_was_not_taken() -> None:
    env = Env()
    worker = env.worker()
    grant = listening(env, worker)
    for at, fate in enumerate((Fate.FULL, Fate.GONE, Fate.DEAF)):
        send(env, grant, f"m{at}")
        ack(worker, grant, f"m{at}", fate)
    assert codes(env) == [ExitCode.REFUSED, ExitCode.NOT_RUN, ExitCode.USAGE]
    assert env.core.state.letters == {}


@pytest.mark.unread("Letters")
def test_reply_that_does_not_come_in_time_is_a_timeout() -> None:
    env = Env()
    worker = env.worker()
    grant = listening(env, worker)
    send(env, grant, "m1", 1, wait_s=5.0)
    ack(worker, grant, "m1")
    worker.beat()
    env.wait(6.0)
    (failed,) = env.heard(PEER, client.Failed)
    assert (failed.code, failed.request) == (ExitCode.TIMEOUT, 1)
    assert "no reply" in failed.error
    assert env.core.state.letters == {}


def test_nobody_is_found_where_nothing_runs_or_nothing_listens() -> None:
    env = Env()
    worker = env.worker(slots=1)
    listening_policy = Policy(accepts_messages=True)
    env.graph = Graph({"a": [], "b": ["a"]}, {"b": listening_policy})
    env.submit("b")
    (grant,) = worker.take()
    worker.start(grant)
    for task, code in (("T(name=a)", 2), ("T(name=b)", 25), ("T(name=c)", 2), ("T", 2)):
        env.say(PEER, client.FindAttempt(1, task))
        assert codes(env) == [code], task


def test_nobody_is_found_where_a_task_has_ended_with_its_run() -> None:
    env = Env()
    worker = env.worker()
    grant = listening(env, worker)
    worker.end(grant)
    assert env.ended() == 0
    env.say(PEER, client.FindAttempt(1, "T(name=a)"))
    (told,) = env.heard(PEER, client.Failed)
    assert (told.code, told.hint) == (ExitCode.NOT_RUN, "flow why 'T(name=a)'")
    assert "has ended with run r-1" in told.error


def test_letter_too_large_or_without_an_id_is_refused() -> None:
    env = Env()
    worker = env.worker()
    grant = listening(env, worker)
    env.say(PEER, client.SendLetter(1, grant.token, "m", "x" * (LETTER_CHARACTERS_MAX + 1)))
    env.say(PEER, client.SendLetter(2, grant.token, "", "x"))
    env.say(PEER, client.SendLetter(3, grant.token, "m" * 65, "x"))
    assert codes(env) == [2, 2, 2]
    assert env.core.state.letters == {}


@pytest.mark.unread("Letters")
def test_senders_of_one_attempt_are_bounded_and_the_gone_make_room() -> None:
    env = Env()
    worker = env.worker()
    grant = listening(env, worker)
    for n in range(letters.WAITING_MAX + 2):
        send(env, grant, f"m{n}", wait_s=600.0)
    assert codes(env) == [ExitCode.REFUSED] * 2
    for _ in range(8):
        worker.beat()
        env.wait(letters.SILENT_S / 7)
    send(env, grant, "newer")
    assert codes(env) == []
    assert list(env.core.state.letters[grant.token]) == ["newer"]
    env.check()
