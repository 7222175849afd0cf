"""The client against a coordinator that loses, delays, refuses and garbles."""

from __future__ import annotations

import msgspec
import pytest

from flow.client.client import Client
from flow.errors import (
    DiskFull,
    FlowError,
    Refused,
    SchedulingError,
    Unreachable,
    UsageError,
)
from flow.wire.messages.client import (
    About,
    AboutShown,
    Failed,
    Held,
    Printed,
    Request,
    RootTask,
    Submit,
    SubmitOptions,
    SubmitTaken,
    Submitted,
    Unwatch,
    Watch,
)
from flow.wire.messages.worker import Message
from tests.support.fake_coordinator import FakeCoordinator
from tests.support.run_messages import failure, summary, update


def about(request: Request) -> list[Message]:
    return [AboutShown(request.request, "0.1.0", 1, 60.0, 2, 8)]


def test_ask_answer_arrives() -> None:
    with FakeCoordinator() as fake, Client(fake.address) as client:
        fake.answers[About] = about
        assert client.ask(About(0), AboutShown).slots == 8


def test_ask_first_question_lost_is_asked_again_with_the_same_number() -> None:
    with FakeCoordinator() as fake, Client(fake.address) as client:
        lost: list[Request] = []

        def answer(request: Request) -> list[Message]:
            if not lost:
                lost.append(request)
                return []
            return about(request)

        fake.answers[About] = answer
        client.ask(About(0), AboutShown)
        assert fake.wait_for(About, 2).request == lost[0].request


def test_ask_old_answers_are_skipped() -> None:
    with FakeCoordinator() as fake, Client(fake.address) as client:
        fake.answers[About] = lambda r: [Failed(r.request + 7, 40, "stale"), *about(r)]
        client.ask(About(0), AboutShown)


def test_ask_nobody_there_is_unreachable() -> None:
    with (
        Client("tcp://127.0.0.1:1", connect_timeout_s=0.2) as client,
        pytest.raises(Unreachable) as raised,
    ):
        client.ask(About(0), AboutShown)
    assert raised.value.exit_code == 60
    assert "no coordinator at tcp://127.0.0.1:1" in str(raised.value)


def test_ask_garbage_answers_are_refused() -> None:
    with FakeCoordinator() as fake, Client(fake.address, connect_timeout_s=0.5) as client:

        def garble(request: Request) -> list[Message]:
            fake.push_raw(b"\xff not a message")
            return []

        fake.answers[About] = garble
        with pytest.raises(Refused, match="does not speak this protocol"):
            client.ask(About(0), AboutShown)


@pytest.mark.parametrize(
    ("code", "kind"), [(2, UsageError), (35, SchedulingError), (61, Refused), (25, FlowError)]
)
def test_ask_refused_has_the_code_the_coordinator_asks_for(
    code: int, kind: type[FlowError]
) -> None:
    with FakeCoordinator() as fake, Client(fake.address) as client:
        fake.answers[About] = lambda r: [Failed(r.request, code, "no", "type this", ["r-1", "r-2"])]
        with pytest.raises(kind) as raised:
            client.ask(About(0), AboutShown)
        assert raised.value.exit_code == code
        assert raised.value.hint == "  r-1\n  r-2\ntype this"


def test_watch_ends_with_the_summary() -> None:
    with FakeCoordinator() as fake, Client(fake.address) as client:
        fake.answers[Watch] = lambda r: [update(r.request), update(r.request, summary())]
        seen = [each for each in client.watch("r-1") if each]
        assert [each.ended is None for each in seen] == [True, False]


def test_watch_left_early_unsubscribes() -> None:
    with FakeCoordinator() as fake, Client(fake.address) as client:
        fake.answers[Watch] = lambda r: [update(r.request)]
        watching = client.watch("r-1")
        assert any(watching)
        watching.close()
        fake.wait_for(Unwatch)


def test_watch_failures_sent_again_are_given_once() -> None:
    with FakeCoordinator() as fake, Client(fake.address) as client:
        fake.answers[Watch] = lambda r: [
            update(r.request, failures=[failure(1)]),
            update(r.request, failures=[failure(1), failure(2)]),
            update(r.request, summary(), failures=[failure(2)]),
        ]
        numbers = [f.number for each in client.watch("r-1") if each for f in each.failures]
        assert numbers == [1, 2]


def test_watch_coordinator_restarts_subscribes_again_behind_the_last_failure() -> None:
    first = FakeCoordinator()
    first.answers[Watch] = lambda r: [update(r.request, failures=[failure(5)])]
    with Client(first.address) as client:
        watching = client.watch("r-1")
        assert any(watching)
        first.close()
        with FakeCoordinator(first.address) as second:
            second.answers[Watch] = lambda r: [update(r.request, summary())]
            last = [each for each in watching if each][-1]
            assert last.ended is not None
            again = second.wait_for(Watch)
            assert isinstance(again, Watch)
            assert again.seen == 5


def test_watch_silence_too_long_is_unreachable() -> None:
    with FakeCoordinator() as fake, Client(fake.address) as client:
        fake.answers[Watch] = lambda _: []
        with pytest.raises(Unreachable):
            list(client.watch("r-1", lost_s=0.5))


def _run_of(count: int, text: str = "x") -> Submit:
    roots = [RootTask("mod", "T", {"n": str(number), "text": text}) for number in range(count)]
    return Submit(0, "key", "default", roots, SubmitOptions())


class _Intake:
    """What a coordinator holds; ``forgets``: once, when so many parts came."""

    def __init__(self, forgets: int = 0) -> None:
        self.roots: list[RootTask] = []
        self.parts: list[int] = []
        self.forgets = forgets

    def __call__(self, request: Request) -> list[Message]:
        assert isinstance(request, Submit)
        self.parts.append(len(request.roots))
        if len(self.parts) == self.forgets:
            self.roots = []
        elif request.at == len(self.roots):
            self.roots += request.roots
        if len(self.roots) == request.total:
            return [Submitted(request.request, "r-1", "calm-elk")]
        return [SubmitTaken(request.request, len(self.roots))]


@pytest.mark.parametrize("forgets", [0, 2, 3])
def test_submit_of_many_roots_comes_in_parts(forgets: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flow.client.client.SUBMIT_ROOTS_MAX", 10)
    run, held = _run_of(25), _Intake(forgets)
    with FakeCoordinator() as fake, Client(fake.address) as client:
        fake.answers[Submit] = held
        assert client.submit(run).run == "r-1"
    assert held.roots == run.roots
    assert (
        held.parts == {0: [10, 10, 5], 2: [10, 10, 10, 10, 5], 3: [10, 10, 5, 10, 10, 5]}[forgets]
    )


def test_submit_of_large_roots_comes_in_parts_that_can_be_sent() -> None:
    run, held = _run_of(5, "x" * 200_000), _Intake()
    with FakeCoordinator() as fake, Client(fake.address) as client:
        fake.answers[Submit] = held
        assert client.submit(run).run == "r-1"
    assert held.roots == run.roots and held.parts == [1] * 5


def test_submit_of_too_many_roots_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flow.wire.messages.client.ROOTS_MAX", 3)
    with (
        FakeCoordinator() as fake,
        Client(fake.address) as client,
        pytest.raises(UsageError, match=r"at most 3 root tasks, these are 4: .*WrapperTask"),
    ):
        client.submit(_run_of(4))
    assert not fake.seen


def test_submit_to_one_who_forgets_for_ever_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flow.client.client.SUBMITS_MAX", 3)
    with (
        FakeCoordinator() as fake,
        Client(fake.address) as client,
        pytest.raises(SchedulingError, match="again and again"),
    ):
        fake.answers[Submit] = lambda r: [SubmitTaken(r.request, 0)]
        client.submit(_run_of(2))


# ---------------------------------------------------------------- a full disk of the coordinator

FULL = "the coordinator's disk is full (/state)"


def test_ask_answer_that_is_kept_back_is_told_once_and_waited_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flow.client.client.ASK_AGAIN_S", 0.05)
    with FakeCoordinator() as fake, Client(fake.address, connect_timeout_s=0.2) as client:
        held = [1, 2, 3, 4, 5, 6, 7, 8]

        def answer(request: Request) -> list[Message]:
            return [Held(request.request, FULL)] if held and held.pop() else about(request)

        fake.answers[About] = answer
        assert client.ask(About(0), AboutShown).slots == 8
    assert capsys.readouterr().err == f"! {FULL}: what must be stored waits\n"


def test_ask_answer_that_is_kept_back_for_too_long_is_an_error() -> None:
    with FakeCoordinator() as fake, Client(fake.address, held_s_max=0.1) as client:
        fake.answers[About] = lambda r: [Held(r.request, FULL)]
        with pytest.raises(DiskFull, match=r"is full \(/state\), for more than") as raised:
            client.ask(About(0), AboutShown)
    assert raised.value.exit_code == 78


def test_watch_that_is_kept_back_waits_for_the_disk_and_then_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flow.client.client.WATCH_AGAIN_S", 0.05)
    with FakeCoordinator() as fake, Client(fake.address) as client:
        answers = [
            lambda n: update(n, waiting=["a free slot"]),
            lambda n: Held(n, FULL, 3),
            lambda n: Held(n, FULL, 3),
            lambda n: update(n, ended=summary()),
        ]
        fake.answers[Watch] = lambda r: [answers.pop(0)(r.request)]
        news = [each for each in client.watch("r-1") if each is not None]
    assert [each.waiting for each in news[:3]] == [["a free slot"], [FULL], [FULL]]
    assert [each.workers for each in news[1:3]] == [3, 3]
    assert [each.notes for each in news] == [
        [],
        [f"{FULL}: nothing starts until it has room"],
        [],
        ["the coordinator goes on"],
    ]


def test_watch_that_is_kept_back_shows_what_was_printed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flow.client.client.WATCH_AGAIN_S", 0.05)
    said = Printed("w1", "hello")
    with FakeCoordinator() as fake, Client(fake.address) as client:
        answers = [
            lambda n: msgspec.structs.replace(update(n), printed=[said]),
            lambda n: Held(n, FULL, 3),
            lambda n: update(n, ended=summary()),
        ]
        fake.answers[Watch] = lambda r: [answers.pop(0)(r.request)]
        news = [each for each in client.watch("r-1") if each is not None]
    assert [each.printed for each in news] == [[said], [], []]


def test_watch_of_a_run_that_was_kept_back_before_it_was_stored_begins_anew() -> None:
    with FakeCoordinator() as fake, Client(fake.address, held_s_max=30.0) as client:
        held = [True]

        def answer(request: Request) -> list[Message]:
            kept = [Held(request.request, FULL)] if held and held.pop() else []
            return [*kept, Submitted(request.request, "r-1", "calm-elk")]

        fake.answers[Submit] = answer
        client.submit(_run_of(1))
        client._held_since -= 60.0  # the run goes on for long
        fake.answers[Watch] = lambda r: []
        watching = client.watch("r-1")
        assert next(watching) is None
        watching.close()


def test_watch_that_is_kept_back_for_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flow.client.client.WATCH_AGAIN_S", 0.05)
    with FakeCoordinator() as fake, Client(fake.address, held_s_max=0.1) as client:
        fake.answers[Watch] = lambda r: [Held(r.request, FULL)]
        with pytest.raises(DiskFull, match="/state"):
            list(client.watch("r-1"))
