"""Packed code at the worker core: looked for, fetched piece by piece, then imported."""

from __future__ import annotations

import pytest

from flow.wire.messages.shared import Outcome, Program
from flow.wire.messages.worker import Fetch, Heartbeat, Piece, Plan, Planned
from flow_worker import channel
from flow_worker.core.config import FETCH_RESEND_S
from flow_worker.core.effects import KeepPiece, LetGo, SeekPackage
from flow_worker.core.events import PackageAt
from flow_worker.core.transitions import Stand
from tests.support.worker_env import WorkerEnv, grant

PACKAGE, OTHER = "a" * 64, "b" * 64
SHIPPED = Program(7, "default", ["mod"], package=PACKAGE)


def use(env: WorkerEnv, program: Program = SHIPPED, number: int = 1) -> None:
    env.define(program)
    env.dispatch(grant(number, program=program.number))


def stand(env: WorkerEnv, number: int = 7) -> Stand:
    return env.worker.programs.all[number].stand


def asked(env: WorkerEnv) -> list[int]:
    return [one.at_bytes for one in env.of(Fetch)]


def piece(env: WorkerEnv, at: int, body: bytes, size: int = 6, package: str = PACKAGE) -> None:
    env.turn(Piece(env.session, package, at, size, body))


def loads(env: WorkerEnv) -> list[channel.Load]:
    return [frame for _, frame in env.told if isinstance(frame, channel.Load)]


@pytest.fixture
def env() -> WorkerEnv:
    env = WorkerEnv()
    env.up_all()
    env.clear()
    return env


@pytest.mark.unread("Execute", "SeekPackage")
def test_program_whose_code_is_here_is_loaded_from_there(env: WorkerEnv) -> None:
    use(env)
    assert env.packages == [SeekPackage(PACKAGE)]
    assert (stand(env), loads(env)) == (Stand.FETCHING, [])
    env.turn(PackageAt(PACKAGE, archive="/cache/a.zip"))
    assert loads(env) == [channel.Load(SHIPPED, "/cache/a.zip")]
    assert not env.of(Fetch)
    env.up_all()
    assert stand(env) is Stand.READY


@pytest.mark.unread("KeepPiece", "Load", "SeekPackage")
def test_program_whose_code_is_not_here_fetches_it_piece_by_piece(env: WorkerEnv) -> None:
    use(env)
    env.turn(PackageAt(PACKAGE))
    assert asked(env) == [0]
    piece(env, 0, b"abc")
    assert env.packages[-1] == KeepPiece(PACKAGE, 0, 6, b"abc")
    assert asked(env) == [], "the next one only when this one is kept"
    env.turn(PackageAt(PACKAGE, 3))
    assert asked(env) == [3]
    piece(env, 3, b"def")
    env.turn(PackageAt(PACKAGE, 6, "/cache/a.zip"))
    assert loads(env) == [channel.Load(SHIPPED, "/cache/a.zip")]


@pytest.mark.unread("SeekPackage")
def test_piece_that_is_lost_is_asked_for_again(env: WorkerEnv) -> None:
    use(env)
    env.turn(PackageAt(PACKAGE))
    env.of(Fetch)
    env.advance(FETCH_RESEND_S * 0.9)
    assert asked(env) == []
    env.run_for(FETCH_RESEND_S)
    assert asked(env) == [0]


@pytest.mark.unread("Fetch", "KeepPiece", "SeekPackage")
def test_piece_that_comes_twice_is_kept_once(env: WorkerEnv) -> None:
    use(env)
    env.turn(PackageAt(PACKAGE))
    piece(env, 0, b"abc")
    piece(env, 0, b"abc")
    env.turn(PackageAt(PACKAGE, 3))
    piece(env, 0, b"abc")
    assert len([one for one in env.packages if isinstance(one, KeepPiece)]) == 1


@pytest.mark.unread("Hello", "SeekPackage")
def test_fetch_is_said_again_in_the_next_session(env: WorkerEnv) -> None:
    use(env)
    env.turn(PackageAt(PACKAGE))
    env.of(Fetch)
    from flow.wire.messages.worker import Rejoin

    env.turn(Rejoin(env.session))
    env.run_for(FETCH_RESEND_S * 3, acks=False)
    assert asked(env) == [], "there is no session"
    env.join("1.2")
    assert asked(env) == [0]


@pytest.mark.unread("KeepPiece", "Load", "SeekPackage")
def test_packages_are_fetched_one_after_the_other(env: WorkerEnv) -> None:
    use(env)
    use(env, Program(8, "default", ["mod"], package=OTHER), 2)
    env.turn(PackageAt(PACKAGE), PackageAt(OTHER))
    assert [one.package for one in env.of(Fetch)] == [PACKAGE]
    piece(env, 0, b"abcdef")
    env.turn(PackageAt(PACKAGE, 6, "/cache/a.zip"))
    assert [one.package for one in env.of(Fetch)] == [OTHER]


@pytest.mark.unread("Execute", "SeekPackage")
def test_programs_with_the_same_code_fetch_it_once(env: WorkerEnv) -> None:
    use(env)
    use(env, Program(8, "default", ["mod"], package=PACKAGE), 2)
    assert env.packages == [SeekPackage(PACKAGE)]
    env.turn(PackageAt(PACKAGE, archive="/cache/a.zip"))
    env.up_all()
    assert (stand(env), stand(env, 8)) == (Stand.READY, Stand.READY)


@pytest.mark.unread("LetGo")
@pytest.mark.parametrize(
    "answer",
    [
        Piece("1.1", PACKAGE, 0, 0, b"", "it is gone"),
        Piece("1.1", PACKAGE, 0, 2, b"abc"),
        Piece("1.1", PACKAGE, 0, 1 << 40, b"abc"),
        Piece("1.1", PACKAGE, 0, 6, b""),
        PackageAt(PACKAGE, error="the disk is full"),
    ],
    ids=["gone", "too long", "too large", "empty", "disk"],
)
def test_code_that_cannot_be_had_fails_the_program_with_a_sentence(
    env: WorkerEnv, answer: object
) -> None:
    use(env)
    env.turn(PackageAt(PACKAGE))
    env.clear()
    env.turn(answer)
    assert stand(env) is Stand.FAILED
    assert LetGo(PACKAGE) in env.packages
    [seen] = [one for one in env.of(Heartbeat)[-1].programs if one.number == 7]
    assert seen.failed
    assert "the code of mod cannot be had: " in seen.text
    assert [outcome for _, outcome in env.reports()] == [Outcome.REFUSED]


@pytest.mark.unread("LetGo", "SeekPackage")
def test_code_that_cannot_be_had_is_an_import_error_of_what_is_planned(env: WorkerEnv) -> None:
    from flow.wire.messages.codec import decode_chunk
    from tests.support.worker_env import stub

    env.define(SHIPPED)
    env.turn(Plan(env.session, 5, [stub(1), stub(2)], 10, 7))
    env.turn(PackageAt(PACKAGE, error="the disk is full"))
    [planned] = env.of(Planned)
    assert (planned.request, planned.last, planned.lost) == (5, True, False)
    errors = decode_chunk(planned.body).errors
    assert [(one.index, one.kind) for one in errors] == [(0, "import"), (1, "import")]
    assert "the disk is full" in errors[0].text


@pytest.mark.unread("SeekPackage")
def test_code_that_could_not_be_had_is_looked_for_again_by_the_next_program(
    env: WorkerEnv,
) -> None:
    use(env)
    env.turn(PackageAt(PACKAGE, error="the disk is full"))
    env.clear()
    use(env, Program(8, "default", ["mod"], package=PACKAGE), 2)
    assert SeekPackage(PACKAGE) in env.packages
    assert stand(env, 8) is Stand.FETCHING


@pytest.mark.unread("Results")
def test_name_that_is_no_hash_never_reaches_the_shell(env: WorkerEnv) -> None:
    use(env, Program(7, "default", ["mod"], package="../../etc"))
    assert stand(env) is Stand.FAILED
    assert env.packages == []


@pytest.mark.unread("Leave", "LetGo", "Load", "SeekPackage")
def test_code_that_a_template_refuses_fails_the_program(env: WorkerEnv) -> None:
    use(env)
    env.turn(PackageAt(PACKAGE, archive="/cache/a.zip"))
    [template] = [p for p, frame in env.told if isinstance(frame, channel.Load)]
    env.say(template, channel.Loaded("", 0.1, error="its name leads elsewhere", refused=True))
    assert stand(env) is Stand.FAILED
    assert [outcome for _, outcome in env.reports()] == [Outcome.REFUSED]
    env.die(template)
    assert stand(env) is Stand.FAILED


@pytest.mark.unread("Fetch", "LetGo", "Results", "SeekPackage")
def test_code_is_let_go_when_its_program_is_over(env: WorkerEnv) -> None:
    from flow.wire.messages.worker import HeartbeatAck, Recall

    use(env)
    env.turn(PackageAt(PACKAGE))
    env.turn(Recall(env.session, [grant(1).token]))
    env.turn(HeartbeatAck(env.session, 1, [7]))
    assert LetGo(PACKAGE) in env.packages
    assert env.worker.fetching.ways == {}


@pytest.mark.unread("Fetch", "SeekPackage")
def test_other_programs_run_while_code_is_on_its_way(env: WorkerEnv) -> None:
    use(env)
    env.turn(PackageAt(PACKAGE))
    assert env.run(grant(2))
