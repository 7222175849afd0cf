"""A real task process at the other end of a real socket pair, without agent and supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from flow.identity import task_id_str
from flow.wire.messages.shared import Grant, PlanChunk, Report, Stub
from flow_worker import channel

DEADLINE_S = 20.0

_BE_ONE = """
import os, socket, sys
from pathlib import Path
from flow_worker.guard import birth
from flow_worker.process import serve
birth.die_with(os.getppid())
sys.exit(serve.serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], Path(sys.argv[3])))
"""


def wait_until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Poll until it holds; fail with its last value after the deadline."""
    until = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < until, f"{what} did not come true; last: {value!r}"
        time.sleep(0.01)


def pack(params: dict[str, str]) -> bytes:
    """Spell parameters as a stub or grant carries them."""
    return msgspec.msgpack.encode(params)


def stub(module: str, family: str, **params: str) -> Stub:
    """Name a task as a submit does: without its id."""
    return Stub("", module, family, pack(params))


class TaskProcess:
    """Speak to one task process. Everything read has a deadline."""

    def __init__(self, module_dir: Path, log_dir: Path, role: str = "runner") -> None:
        ours, theirs = socket.socketpair()
        self.log_dir = log_dir
        self._sock = ours
        self._sock.settimeout(DEADLINE_S)
        self._splitter = channel.Splitter()
        self._frames: list[channel.FromProcess] = []
        self._seq = 0
        #: why it takes nothing new any more, once it has said so
        self.dirty = ""
        # What the tests themselves are told to import, task processes import too.
        path = [str(module_dir), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        args = [sys.executable, "-c", _BE_ONE, str(theirs.fileno()), role, str(log_dir)]
        self.popen = subprocess.Popen(
            args, pass_fds=[theirs.fileno()], env=env, start_new_session=True
        )
        theirs.close()
        up = self.get()
        assert up == channel.Up(self.popen.pid)

    def send(self, *frames: channel.Frame) -> None:
        """Send frames in one write."""
        self._sock.sendall(b"".join(channel.pack(frame) for frame in frames))

    def get(self) -> channel.FromProcess:
        """Return the next frame; ``EOFError`` when the process is gone."""
        while not self._frames:
            try:
                data = self._sock.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError("the task process closed its socket")
            self._frames = [channel.unpack_at_agent(one) for one in self._splitter.feed(data)]
        return self._frames.pop(0)

    def grant(self, module: str, family: str, **params: str) -> Grant:
        """Make a grant with the next token."""
        self._seq += 1
        task_id = task_id_str(family, params)
        token = f"abcdef.1.{self._seq}"
        return Grant(token, task_id, module, family, pack(params), 1)

    def reports(self, count: int) -> list[Report]:
        """Return the next reports."""
        found: list[Report] = []
        while len(found) < count:
            frame = self.get()
            if isinstance(frame, channel.Dirty):
                self.dirty = frame.reason
                assert not frame.returned, frame
                continue
            assert isinstance(frame, channel.Finished), frame
            found += frame.reports
        return found

    def run(self, module: str, family: str, **params: str) -> Report:
        """Run one task to its report."""
        self.send(channel.Execute([self.grant(module, family, **params)]))
        return self.reports(1)[0]

    def plan(self, stubs: list[Stub], expand_max: int = 100_000, request: int = 1) -> PlanChunk:
        """Plan and return the whole answer as one chunk."""
        self.send(channel.Expand(request, stubs, expand_max))
        whole = PlanChunk([], [], [], [], [])
        while True:
            frame = self.get()
            assert isinstance(frame, channel.Chunk) and frame.request == request, frame
            piece = msgspec.msgpack.decode(frame.body, type=PlanChunk)
            for name in PlanChunk.__struct_fields__:
                if isinstance(part := getattr(piece, name), list):
                    getattr(whole, name).extend(part)
            if frame.last:
                return whole
            self.send(channel.More(request, frame.chunk))

    def exit_code(self) -> int:
        """Wait for the end; negative: a signal."""
        return self.popen.wait(DEADLINE_S)

    def close(self) -> None:
        """End the process if it still lives."""
        self._sock.close()
        with contextlib.suppress(ProcessLookupError):
            if self.popen.poll() is None:
                os.kill(self.popen.pid, signal.SIGKILL)
        self.popen.wait(DEADLINE_S)


def start(module_dir: Path, role: str = "runner") -> Iterator[TaskProcess]:
    """Yield a task process and end it: the body of a fixture."""
    process = TaskProcess(module_dir, module_dir / "logs", role)
    try:
        yield process
    finally:
        process.close()
