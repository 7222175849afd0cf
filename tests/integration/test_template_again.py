"""A template asked to serve another run says what it has of the first, or that it cannot."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.wire.messages.shared import Program
from flow_worker import channel
from flow_worker.guard import birth
from flow_worker.process import template

DEADLINE_S = 30.0


class Talk:
    """The agent's end of a template in a child of this process."""

    def __init__(self, log_dir: Path) -> None:
        ours, theirs = socket.socketpair()
        self._line, line = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            birth.reset_signals()
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the time-out of the test
            ours.close()
            self._line.close()
            birth.finish(lambda: template.serve_as_template(theirs, line, log_dir))
        theirs.close()
        line.close()
        ours.settimeout(DEADLINE_S)
        self._sock = ours
        self._splitter = channel.Splitter()

    def ask(self, frame: channel.Frame) -> channel.Loaded:
        """Say something that is answered with ``Loaded``."""
        self._sock.sendall(channel.pack(frame))
        while True:
            for body in self._splitter.feed(self._sock.recv(1 << 16)):
                answer = channel.unpack_at_agent(body)
                if isinstance(answer, channel.Loaded):
                    return answer

    def close(self) -> None:
        """End it."""
        self._sock.close()
        os.waitpid(self.pid, 0)
        self._line.close()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "asked_again.py"
    path.write_text("VERSION = 1\n")
    monkeypatch.setenv("FLOW_WORKER__REUSE", "code")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def talk(module: Path, tmp_path: Path) -> Iterator[Talk]:
    talk = Talk(tmp_path / "logs")
    yield talk
    talk.close()


def test_template_says_again_what_it_has_until_a_file_changes(talk: Talk, module: Path) -> None:
    first = talk.ask(channel.Load(Program(1, "p", [module.stem], b"")))
    assert not first.error and first.memory_bytes > 0
    again = talk.ask(channel.LoadAgain())
    assert (again.code, again.files, again.stale) == (first.code, first.files, False)
    assert again.memory_bytes > 0, "it counts for the bound of memory as before"
    module.write_text("VERSION = 2\n")
    assert talk.ask(channel.LoadAgain()).stale


@pytest.mark.parametrize("name", ["flow.toml", "luigi.cfg"])
def test_template_is_stale_where_a_file_of_settings_came_or_went(
    talk: Talk, module: Path, name: str
) -> None:
    talk.ask(channel.Load(Program(1, "p", [module.stem], b"")))
    path = module.parent / name
    path.write_text("[core]\n")
    assert talk.ask(channel.LoadAgain()).stale
    path.unlink()
    assert not talk.ask(channel.LoadAgain()).stale
