"""Packed code at the coordinator: uploaded once, kept while needed, sent when all is quiet."""

from __future__ import annotations

from typing import Any

import pytest

from flow.wire.messages import client
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import PACKAGE_BYTES_MAX
from flow_coordinator.core import shipping
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.effects import RemovePackage, SendPiece, TouchPackage, WritePackage
from flow_coordinator.core.events import PackageRefused, PackageWritten
from flow_coordinator.core.packages import PackageRecord
from tests.support.core_env import Env, FakeWorker, Graph

A, B, C = "a" * 64, "b" * 64, "c" * 64


def ask(env: Env, package: str = A, size: int = 6, at: int = 0, body: bytes = b"") -> None:
    env.request += 1
    env.say(b"client", client.Upload(env.request, package, size, at, body))


def answer(env: Env) -> client.Uploaded:
    return env.heard(b"client", client.Uploaded)[-1]


def written(env: Env, package: str, have: int) -> None:
    env.handle(PackageWritten(package, have))
    env.turn()


def of(env: Env, kind: type[Any]) -> list[Any]:
    found = [one for one in env.shipped if type(one) is kind]
    env.shipped = [one for one in env.shipped if type(one) is not kind]
    return found


def keep(env: Env, package: str = A, size: int = 6, age_s: float = 1_000.0) -> None:
    env.core.state.packages.kept[package] = PackageRecord(size, env.now - age_s)


def refusal(env: Env) -> client.Failed:
    return env.heard(b"client", client.Failed)[-1]


@pytest.mark.unread("WritePackage")
def test_upload_in_pieces_is_whole_when_the_last_one_is_written() -> None:
    env = Env()
    ask(env)
    assert answer(env) == client.Uploaded(env.request, 0, False)
    ask(env, at=0, body=b"abc")
    assert of(env, WritePackage) == [WritePackage(A, 0, 6, b"abc")]
    assert not env.heard(b"client", client.Uploaded), "not before it is kept"
    written(env, A, 3)
    assert answer(env) == client.Uploaded(env.request, 3, False)
    assert not shipping.has(env.core.state, A)
    ask(env, at=3, body=b"def")
    written(env, A, 6)
    assert answer(env) == client.Uploaded(env.request, 6, True)
    assert shipping.has(env.core.state, A)


def test_upload_of_a_piece_again_is_written_once_and_told_where_to_go_on() -> None:
    env = Env()
    ask(env, body=b"abc")
    written(env, A, 3)
    ask(env, body=b"abc")
    assert len(of(env, WritePackage)) == 1
    assert answer(env).have_bytes == 3


def test_upload_after_a_restart_begins_anew() -> None:
    env = Env()
    ask(env, body=b"abc")
    written(env, A, 3)
    env.restart()
    env.shipped.clear()
    ask(env, at=3, body=b"def")
    assert not of(env, WritePackage)
    assert answer(env) == client.Uploaded(env.request, 0, False)


def test_upload_of_what_is_kept_is_whole_at_once() -> None:
    env = Env()
    keep(env)
    ask(env)
    assert answer(env).whole
    assert of(env, TouchPackage) == [TouchPackage(A)]


@pytest.mark.unread("WritePackage")
def test_upload_that_the_shell_refuses_is_told_to_the_asker_and_forgotten() -> None:
    env = Env()
    ask(env, size=3, body=b"abc")
    env.handle(PackageRefused(A, "its hash differs"))
    assert "its hash differs" in refusal(env).error
    assert not env.core.state.packages.uploads


@pytest.mark.parametrize(
    ("package", "size", "at", "body"),
    [
        ("../../etc/passwd", 6, 0, b""),
        (A.upper(), 6, 0, b""),
        (A, 0, 0, b""),
        (A, PACKAGE_BYTES_MAX + 1, 0, b""),
        (A, 2, 0, b"abc"),
    ],
)
def test_upload_that_makes_no_sense_is_refused(
    package: str, size: int, at: int, body: bytes
) -> None:
    env = Env()
    ask(env, package, size, at, body)
    assert refusal(env).code == 61
    assert not env.shipped


@pytest.mark.unread("Uploaded")
def test_upload_over_the_bound_removes_what_was_unused_longest() -> None:
    env = Env(CoreConfig(packages_bytes_max=20))
    keep(env, A, 8, age_s=200.0)
    keep(env, B, 8, age_s=300.0)
    ask(env, C, 10)
    assert of(env, RemovePackage) == [RemovePackage(B)]
    assert list(env.core.state.packages.kept) == [A]


@pytest.mark.unread("TouchPackage")
def test_upload_over_the_bound_spares_open_runs_and_is_refused_with_a_sentence() -> None:
    env = Env(CoreConfig(packages_bytes_max=20))
    keep(env, A, 18)
    env.submit("x", package=A)
    env.now += 1_000.0
    ask(env, C, 10)
    told = refusal(env)
    assert "open runs need" in told.error
    assert "packages_bytes_max" in told.hint
    assert not of(env, RemovePackage)


@pytest.mark.unread("Uploaded")
def test_uploads_that_stand_still_give_way_to_new_ones() -> None:
    env = Env()
    for number in range(shipping.UPLOADS_MAX + 1):
        env.now += 1.0
        ask(env, f"{number:064x}")
    assert of(env, RemovePackage) == [RemovePackage(f"{0:064x}")]
    assert len(env.core.state.packages.uploads) == shipping.UPLOADS_MAX


def test_submit_with_unknown_code_is_refused_with_what_to_type() -> None:
    env = Env()
    root = client.RootTask("mod", "T", {"name": "x"})
    options = client.SubmitOptions(package=A)
    env.say(b"client", client.Submit(1, "k", "default", [root], options))
    told = refusal(env)
    assert (told.code, "does not have the code" in told.error) == (2, True)
    assert "--code-dir" in told.hint


@pytest.mark.unread("TouchPackage")
def test_submit_again_with_its_key_is_answered_also_when_its_code_is_gone() -> None:
    env = Env()
    keep(env)
    run = env.submit("x", package=A)
    env.core.state.packages.kept.clear()
    root = client.RootTask("mod", "T", {"name": "x"})
    message = client.Submit(9, "key-1", "default", [root], client.SubmitOptions(package=A))
    env.say(b"client", message)
    assert env.heard(b"client", client.Submitted)[-1].run == run


@pytest.mark.unread("TouchPackage")
def test_retry_of_an_ended_run_without_its_code_is_refused() -> None:
    env = Env()
    env.graph = Graph({"x": []})
    keep(env)
    worker = env.worker()
    env.submit("x", package=A)
    worker.run_all()
    assert env.ended() == 0
    env.core.state.packages.kept.clear()
    env.ask(lambda number: client.Retry(number, "r-1"), client.Failed)
    assert len(env.core.state.runs) == 0


@pytest.mark.unread("Dispatch", "TouchPackage")
def test_program_tells_workers_the_code_of_its_run() -> None:
    env = Env()
    keep(env)
    worker = env.worker()
    env.submit("x", package=A)
    [define] = env.heard(worker.peer, wire.Define)
    assert define.programs[0].package == A


# ---------------------------------------------------------------- to workers


def fetch(env: Env, worker: FakeWorker, package: str = A, at: int = 0) -> None:
    worker.say(wire.Fetch(worker.session, package, at))


def test_fetch_is_answered_with_one_piece() -> None:
    env = Env()
    keep(env)
    worker = env.worker()
    fetch(env, worker, at=2)
    [sent] = of(env, SendPiece)
    assert sent.message == wire.Piece(worker.session, A, 2, 6)
    assert sent.peer == worker.peer


@pytest.mark.unread("TouchPackage")
def test_fetch_again_before_the_answer_is_answered_once() -> None:
    env = Env()
    keep(env)
    worker = env.worker()
    for _ in range(3):
        env.say(worker.peer, wire.Fetch(worker.session, A, 0), end_turn=False)
    env.turn()
    assert len(of(env, SendPiece)) == 1


def test_fetch_waits_while_something_else_is_to_do_but_not_for_ever() -> None:
    env = Env()
    keep(env)
    worker = env.worker()
    env.say(worker.peer, wire.Fetch(worker.session, A, 0), end_turn=False)
    assert shipping.turn(env.core.state, nothing_waits=False)
    env.core.state.now += shipping.PIECE_WAIT_MAX_S
    assert not shipping.turn(env.core.state, nothing_waits=False)


def test_fetches_of_several_workers_are_answered_one_a_turn() -> None:
    env = Env()
    keep(env)
    workers = [env.worker(name) for name in "abc"]
    for worker in workers:
        env.say(worker.peer, wire.Fetch(worker.session, A, 0), end_turn=False)
    assert shipping.turn(env.core.state, nothing_waits=True)
    assert shipping.turn(env.core.state, nothing_waits=True)
    assert not shipping.turn(env.core.state, nothing_waits=True)


@pytest.mark.parametrize(("package", "at"), [(B, 0), ("../x", 0), (A, 6), (A, -1)])
def test_fetch_of_what_is_not_there_is_answered_with_a_sentence(package: str, at: int) -> None:
    env = Env()
    keep(env)
    worker = env.worker()
    fetch(env, worker, package, at)
    [piece] = env.heard(worker.peer, wire.Piece)
    assert "does not have the code" in piece.error
    assert not of(env, SendPiece)


def test_fetch_of_a_worker_that_left_is_forgotten() -> None:
    env = Env()
    keep(env)
    worker = env.worker()
    env.say(worker.peer, wire.Fetch(worker.session, A, 0), end_turn=False)
    env.say(worker.peer, wire.Drained(worker.session))
    assert not of(env, SendPiece)
    assert not env.core.state.packages.fetches
