"""The worker's core between attempts that talk and the coordinator: newest, bounded, once."""

from __future__ import annotations

import pytest

from flow.wire.messages.shared import Outcome, Report
from flow.wire.messages.speech import Fate, Letter, Words
from flow.wire.messages.worker import Heard, Letters, LettersAck, Rejoin, Results, Said
from flow_worker.channel import Deliver, Finished, Parked, Says, Taken
from flow_worker.core import config
from tests.support.worker_env import WorkerEnv, done, grant, stub, tok


def words(number: int, status: str = "", **fields: object) -> Words:
    return Words(tok(1), number, status, **fields)  # type: ignore[arg-type]


def said(env: WorkerEnv) -> list[str]:
    return [one.status for each in env.of(Said) for one in each.words]


def heard(env: WorkerEnv, number: int, *letters: str) -> None:
    replies = [(tok(1), letter) for letter in letters]
    env.turn(Heard(env.session, [(tok(1), number)], replies))


def letter(env: WorkerEnv, name: str, number: int = 1) -> None:
    env.turn(Letters(env.session, [Letter(tok(number), name, "hi")]))


def delivered(env: WorkerEnv) -> list[str]:
    found = [frame.letter.id for _, frame in env.told if isinstance(frame, Deliver)]
    env.told = [(p, frame) for p, frame in env.told if not isinstance(frame, Deliver)]
    return found


def fates(env: WorkerEnv) -> list[tuple[str, Fate]]:
    return [(name, fate) for each in env.of(LettersAck) for _, name, fate in each.fates]


def test_first_words_go_at_once_and_later_ones_not_more_often_than_every_second() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.clear()
    for number in range(1, 50):
        env.now += 0.01
        env.say(runner, Says(words(number, f"s{number}")))
    assert said(env) == ["s1"]
    env.run_for(config.SAY_S)
    assert said(env) == ["s49"]


def test_what_is_given_back_goes_at_once() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.clear()
    env.say(runner, Says(words(1, "a")))
    env.say(runner, Says(words(2, "b", decreased={"db": 1.0})))
    assert said(env) == ["a", "b"]


def test_words_are_repeated_until_the_newest_are_heard() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.clear()
    env.say(runner, Says(words(1, "a")))
    env.run_for(10.0)
    assert said(env).count("a") > 2
    env.say(runner, Says(words(2, "b")))
    env.run_for(2.0)
    heard(env, 1)
    env.clear()
    env.run_for(20.0)
    assert said(env)[0] == "b"
    heard(env, 2)
    env.clear()
    env.run_for(200.0)
    assert said(env) == []


def test_words_are_said_again_in_a_new_session() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.say(runner, Says(words(1, "a")))
    heard(env, 1)
    env.turn(Rejoin("1.1"))
    env.clear()
    env.join("1.2")
    (again,) = env.of(Said)
    assert (again.session, again.words[0].status) == ("1.2", "a")


def test_last_words_go_before_the_report_and_are_then_forgotten() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.say(runner, Says(words(1, "a")))
    env.clear()
    env.say(runner, Says(words(2, "last")), Finished([done(1)]))
    assert [type(message) for message in env.sent] == [Said, Results]
    assert said(env) == ["last"]
    assert env.worker.speech.speakers == {}
    env.rack(tok(1))
    env.clear()
    env.say(runner, Says(words(3, "too late")))
    env.run_for(30.0)
    assert said(env) == []


def test_words_of_a_token_that_another_process_runs_are_dropped() -> None:
    env = WorkerEnv(slots=2)
    runner = env.run(grant(1))
    env.clear()
    env.say(runner + 77, Says(words(1, "who am I")))
    env.say(runner, Says(Words(tok(9), 1, "of nobody")))
    env.run_for(5.0)
    assert said(env) == []
    assert env.worker.speech.speakers == {}


def test_words_while_the_coordinator_is_away_wait_and_only_the_newest_is_said() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.turn(Rejoin("1.1"))
    env.clear()
    for number in range(1, 5):
        env.say(runner, Says(words(number, f"s{number}")))
    assert said(env) == []
    env.join("1.2")
    assert said(env) == ["s4"]


def test_letter_is_handed_on_once_and_its_fate_is_told_each_time_it_comes() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1, accepts_messages=True))
    env.clear()
    for _ in range(3):
        letter(env, "m1")
    assert delivered(env) == ["m1"]
    assert fates(env) == []
    env.say(runner, Taken(tok(1), "m1", Fate.TAKEN))
    assert fates(env) == [("m1", Fate.TAKEN)]
    letter(env, "m1")
    assert delivered(env) == []
    assert fates(env) == [("m1", Fate.TAKEN)]


def test_letter_that_was_refused_stays_refused() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1, accepts_messages=True))
    letter(env, "m1")
    delivered(env)
    env.say(runner, Taken(tok(1), "m1", Fate.FULL))
    assert fates(env) == [("m1", Fate.FULL)]
    letter(env, "m1")
    assert delivered(env) == []
    assert fates(env) == [("m1", Fate.FULL)]


@pytest.mark.unread("Results")
def test_letter_to_what_is_deaf_gone_or_unknown_is_answered_so() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    letter(env, "m1")
    letter(env, "m2", 99)
    assert fates(env) == [("m1", Fate.DEAF), ("m2", Fate.GONE)]
    env.say(runner, Finished([done(1)]))
    letter(env, "m3")
    assert fates(env) == [("m3", Fate.GONE)]
    assert delivered(env) == []


def test_letter_to_what_has_not_begun_is_left_to_its_sender() -> None:
    env = WorkerEnv()
    env.run(grant(1))
    env.dispatch(grant(2, accepts_messages=True))
    letter(env, "m1", 2)
    assert (delivered(env), fates(env)) == ([], [])


@pytest.mark.unread("Yield")
def test_letter_to_a_parked_generator_reaches_its_process() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1, accepts_messages=True))
    env.say(runner, Parked(tok(1), 1, [stub(1)]))
    letter(env, "m1")
    assert delivered(env) == ["m1"]


@pytest.mark.unread("Results")
def test_letter_to_what_is_being_killed_is_gone_and_stays_unknown_after_it() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1, accepts_messages=True))
    letter(env, "m1")
    assert delivered(env) == ["m1"]
    env.worker.tokens.kill([tok(1)], 5.0, env.now, at_once=False)
    letter(env, "m2")
    assert fates(env) == [("m2", Fate.GONE)]
    env.die(runner, signal=9)
    assert env.worker.speech.speakers == {}
    letter(env, "m1")
    assert (delivered(env), fates(env)) == ([], [("m1", Fate.GONE)])


@pytest.mark.unread("LettersAck")
def test_reply_is_repeated_until_heard_and_told_again_to_who_asks_again() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1, accepts_messages=True))
    letter(env, "m1")
    env.say(runner, Taken(tok(1), "m1", Fate.TAKEN))
    env.clear()
    env.say(runner, Says(words(0), [("m1", "yes"), ("never sent", "what")]))
    (first,) = env.of(Said)
    assert first.replies == [(tok(1), "m1", "yes")]
    env.run_for(4.0)
    assert [one.replies for one in env.of(Said)] == [first.replies] * 2
    heard(env, 0, "m1")
    env.run_for(60.0)
    assert env.of(Said) == []
    letter(env, "m1")
    assert [one.replies for one in env.of(Said)] == [first.replies]
    env.say(runner, Says(words(0), [("m1", "no, not that")]))
    assert all(("no, not that") not in str(one) for one in env.of(Said))


@pytest.mark.unread("LettersAck", "Results", "Said")
def test_reply_just_before_the_end_goes_before_the_report() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1, accepts_messages=True))
    letter(env, "m1")
    env.clear()
    end = Finished([Report(tok(1), Outcome.FAILED)])
    env.say(runner, Taken(tok(1), "m1", Fate.TAKEN), Says(words(1), [("m1", "bye")]), end)
    assert [type(message) for message in env.sent] == [LettersAck, Said, Results]


def test_attempt_gets_a_bounded_number_of_letters(monkeypatch) -> None:
    monkeypatch.setattr("flow_worker.core.speech.LETTERS_MAX", 5)
    env = WorkerEnv()
    env.run(grant(1, accepts_messages=True))
    for n in range(7):
        letter(env, f"m{n}")
    assert len(delivered(env)) == 5
    assert fates(env) == [("m5", Fate.FULL), ("m6", Fate.FULL)]


@pytest.mark.unread("Execute", "Results")
def test_silent_tasks_are_unknown_here() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1, accepts_messages=True), grant(2))
    env.say(runner, Finished([done(1)]))
    assert env.worker.speech.speakers == {}
    assert env.of(Said) == []
