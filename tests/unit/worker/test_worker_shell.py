"""The thin parts of the agent: command line, sockets to processes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.errors import ExitCode
from flow.wire.transport import Poller
from flow_worker import channel, cli
from flow_worker.core import events
from flow_worker.shell.pipes import Pipes
from tests.support.worker_env import done, grant


@pytest.fixture(autouse=True)
def no_supervisor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing here may start a worker; and no settings of this machine count."""
    from flow_worker.guard import marker, supervisor

    monkeypatch.setattr(marker, "ensure_marked", lambda: "")
    monkeypatch.setattr(supervisor, "supervise", lambda run, settings: pytest.fail("it started"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ["--slots", "0"],
        ["--slots", "-1"],
        ["--slots", "many"],
        ["--slots", "1.5"],
        ["--resources", "gpu"],
        ["--resources", "gpu=-1"],
        ["--resources", "gpu=nan"],
        ["--path", "/does/not/exist"],
        ["--drain-grace", "soon"],
        ["--drain-grace", "-1"],
        ["--unknown"],
        ["extra"],
    ],
)
def test_bad_command_line_is_a_usage_error(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == ExitCode.USAGE
    assert capsys.readouterr().err.strip()


def started(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    """What the command line would start a worker with."""
    found: list[object] = []

    def supervise(agent: object, parent_fd: int, template: tuple[int, ...]) -> int:
        found.append(agent)
        return 0

    monkeypatch.setattr(cli, "_supervise", supervise)
    assert cli.main(list(words)) == 0
    return found[0]


def test_defaults_are_loopback_the_cpus_and_what_is_detected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FLOW_COORDINATOR", raising=False)
    monkeypatch.setattr("flow_worker.capacity.cpus", lambda: 3.5)
    monkeypatch.setattr("flow_worker.capacity.memory_bytes", lambda: 1000)
    agent = started(monkeypatch)
    assert agent.coordinator == "tcp://127.0.0.1:5570"  # type: ignore[attr-defined]
    assert (agent.slots, agent.planners) == (3, 2)  # type: ignore[attr-defined]
    assert agent.capacity == {"cpu": 3.5, "memory": 1000.0}  # type: ignore[attr-defined]


def test_flags_win_over_the_environment_and_detection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLOW_COORDINATOR", "tcp://other:1")
    agent = started(
        monkeypatch,
        *("--slots", "1", "--resources", "gpu=1,memory=2KiB", "--drain-grace", "50m"),
        *("--name", "node-1", "--path", str(tmp_path)),
    )
    assert agent.coordinator == "tcp://other:1"  # type: ignore[attr-defined]
    assert agent.name == "node-1"  # type: ignore[attr-defined]
    assert (agent.slots, agent.planners) == (1, 1)  # type: ignore[attr-defined]
    capacity = agent.capacity  # type: ignore[attr-defined]
    assert (capacity["gpu"], capacity["memory"]) == (1.0, 2048.0)
    assert agent.drain_grace_s == 3000.0  # type: ignore[attr-defined]


# ---------------------------------------------------------------- pipes


@pytest.fixture
def ends() -> Iterator[tuple[Pipes, Poller, socket.socket]]:
    ours, theirs = socket.socketpair()
    poller = Poller()
    pipes = Pipes(poller)
    pipes.add(7, ours)
    yield pipes, poller, theirs
    pipes.close()
    theirs.close()


def test_frames_arrive_whole_though_the_bytes_come_in_pieces(
    ends: tuple[Pipes, Poller, socket.socket],
) -> None:
    pipes, poller, theirs = ends
    data = channel.pack(channel.Finished([done(1)]))
    theirs.sendall(data[:5])
    assert poller.poll(5) == [("process", 7)]
    assert pipes.read(7) == ([], False)
    theirs.sendall(data[5:] + data)
    said, deaf = pipes.read(7)
    assert said == [events.ProcessSaid(7, channel.Finished([done(1)]))] * 2
    assert not deaf


def test_writes_wait_for_a_process_that_does_not_read_and_lose_nothing(
    ends: tuple[Pipes, Poller, socket.socket],
) -> None:
    pipes, poller, theirs = ends
    frame = channel.Execute([grant(n) for n in range(20_000)])
    pipes.tell(7, frame)
    pipes.tell(7, frame)
    pipes.flush()
    assert poller.poll(0) == []
    theirs.setblocking(False)
    splitter = channel.Splitter()
    frames: list[bytes] = []
    for _ in range(100_000):
        try:
            frames += splitter.feed(theirs.recv(1 << 20))
        except BlockingIOError:
            if len(frames) == 2:
                break
            assert poller.poll(5) == [("process", 7)]
            pipes.read(7)
    assert [channel.unpack_at_process(each) for each in frames] == [frame, frame]
    assert poller.poll(0) == []


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\x01\x00\x00\x00\xc1", b""])
def test_garbage_or_end_makes_a_process_deaf(
    ends: tuple[Pipes, Poller, socket.socket], garbage: bytes
) -> None:
    pipes, poller, theirs = ends
    theirs.sendall(garbage)
    if not garbage:
        theirs.close()
    assert poller.poll(5) == [("process", 7)]
    assert pipes.read(7) == ([], True)
    assert poller.poll(0) == []
    pipes.tell(7, channel.Leave())
    pipes.flush()


def test_last_words_of_a_dead_process_are_heard(
    ends: tuple[Pipes, Poller, socket.socket],
) -> None:
    pipes, _, theirs = ends
    theirs.sendall(channel.pack(channel.Up(1)) + channel.pack(channel.Finished([done(1)])))
    theirs.close()
    assert [type(e.frame) for e in pipes.drain(7)] == [channel.Up, channel.Finished]
    assert pipes.drain(7) == []
