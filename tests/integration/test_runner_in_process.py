"""Tasks run inside somebody else's program: same answers, and nothing of it is touched."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading

import msgspec

from flow.task import Task
from flow.wire.messages.shared import Grant, Outcome, PlanChunk, Stub
from flow_worker import channel
from flow_worker.process.serve import serve_in_process


class Here(Task):
    """A task of this very module, as one of a notebook would be."""

    def run(self) -> None:
        Here.seen = os.getpid()


def test_in_process_server_plans_runs_and_leaves_the_program_alone() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    stop = threading.Event()
    helper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    handler, stdout = signal.getsignal(signal.SIGTERM), sys.stdout
    thread = threading.Thread(target=serve_in_process, args=(theirs, stop.is_set))
    thread.start()
    try:
        splitter = channel.Splitter()

        def get() -> channel.FromProcess:
            while True:
                for frame in splitter.feed(ours.recv(1 << 20)):
                    return channel.unpack_at_agent(frame)

        assert isinstance(get(), channel.Up)
        params = msgspec.msgpack.encode({})
        ours.sendall(channel.pack(channel.Expand(1, [Stub("", __name__, "Here", params)], 10)))
        answer = get()
        assert isinstance(answer, channel.Chunk) and answer.last
        (planned,) = msgspec.msgpack.decode(answer.body, type=PlanChunk).stubs
        grant = Grant("ab.1.1", planned.task_id, __name__, "Here", params, 1)
        ours.sendall(channel.pack(channel.Execute([grant])))
        finished = get()
        assert isinstance(finished, channel.Finished)
        assert finished.reports[0].outcome is Outcome.DONE
        assert Here.seen == os.getpid()
        assert helper.poll() is None
        assert (signal.getsignal(signal.SIGTERM), sys.stdout) == (handler, stdout)
    finally:
        stop.set()
        thread.join(10)
        helper.communicate(b"\n")
        ours.close()
        theirs.close()
    assert not thread.is_alive()
