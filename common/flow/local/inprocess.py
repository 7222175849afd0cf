"""Run root tasks in the calling thread: no process, no socket, no file, breakpoints work.

The coordinator's core decides here as it does everywhere; its messages are handed over as objects.
For tests, debuggers, and systems on which workers cannot guard processes.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flow.client.follow import Ended
from flow.errors import ExitCode, UsageError
from flow.local.work import Work, last_words, submission, told, view_of

if TYPE_CHECKING:
    from flow.client.views import View

# Named, not imported: flow imports neither side.
_COORDINATOR = "flow_coordinator.shell.inline"
_WORKER = "flow_worker.process.inline"
_INSTANCES = "flow_worker.process.instances"

_CLIENT = b"client"
_PEER = b"worker"
#: Longest sleep while everything waits for a time: a retry, external data.
SLEEP_S_MAX = 0.2


def execute_in_process(work: Work, tasks: Iterable[Any] = ()) -> Ended:
    """Run the roots to their end in this thread, on the instances given where they are needed.

    Raises:
        KeyboardInterrupt: Ctrl-C; the task that ran was unwound, nothing else was started.
        UsageError: More than one worker is asked for.
    """
    if (work.options.get("workers") or 1) != 1:
        raise UsageError(
            "in one process only one task runs at a time",
            hint="leave workers out, or run without in_process",
        )
    sys.path[:0] = [each for each in work.path if each not in sys.path]
    view = view_of(work, live=False)  # tasks print to this terminal, and debuggers read from it
    engine = _Engine(view, tasks)
    with told(work.qualified):
        try:
            ended = engine.run(work)
        finally:
            engine.close()
            view.close()
    last_words(view, ended, work)
    return ended


class _Engine:
    """Coordinator core, worker and the client that watches, handing each other messages."""

    def __init__(self, view: View, tasks: Iterable[Any]) -> None:
        from flow.local.observing import Observer
        from flow.settings.sections import load

        settings = load()
        instances = importlib.import_module(_INSTANCES).Instances(tasks)
        self._coordinator = importlib.import_module(_COORDINATOR).InlineCoordinator(settings)
        self._worker = importlib.import_module(_WORKER).InlineWorker(
            _capacity(settings.worker.resources), instances
        )
        self._view = view
        self._failures: list[Any] = []
        #: of all that fails, tells what no task was there to tell: nothing can ever run it
        self._observer = Observer(here=True)
        self._ended: Ended | None = None

    def close(self) -> None:
        """Close the generators that are left, and tell whom failures concern."""
        self._worker.close()
        self._coordinator.close()

    def run(self, work: Work) -> Ended:
        """Submit the roots and turn until their run has ended."""
        self._coordinator.hear(_CLIENT, submission(work))
        timeout_s = work.options.get("timeout")
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while self._ended is None:
            for message in self._worker.take_said():
                self._coordinator.hear(_PEER, message)
            heard = self._deliver()
            worked = self._worker.step()
            if time.monotonic() >= deadline:
                return self._timed_out()
            if not heard and not worked:
                self._view.tick()
                self._coordinator.sleep(SLEEP_S_MAX)
        return self._ended

    def _deliver(self) -> bool:
        """Hand on what the coordinator says; tell whether it said anything but signs of life."""
        heard = False
        for peer, message in self._coordinator.turn():
            if peer == _PEER:
                heard = heard or not _is_sign_of_life(message)
                self._worker.hear(message)
            else:
                heard = True
                self._hear(message)
        return heard

    def _hear(self, message: Any) -> None:
        """Be the client."""
        from flow.client.client import refusal
        from flow.wire.messages.client import Failed, RunUpdate, Submitted, Watch

        if isinstance(message, Failed):
            raise refusal(message)
        if isinstance(message, Submitted):
            self._view.accepted(message.run, message.name)
            self._coordinator.hear(_CLIENT, Watch(2, message.run))
        elif isinstance(message, RunUpdate):
            self._failures += message.failures
            self._observer.failed(message.failures)
            self._view.update(message)
            if message.ended is not None:
                code = message.ended.exit_code
                self._ended = Ended(code, message.ended, self._failures)

    def _timed_out(self) -> Ended:
        self._view.say("Timeout: nothing more is started.")
        return Ended(int(ExitCode.TIMEOUT), None, self._failures)


def _is_sign_of_life(message: object) -> bool:
    from flow.wire.messages.worker import HeartbeatAck

    return isinstance(message, HeartbeatAck)


def _capacity(declared: dict[str, float]) -> dict[str, float]:
    import psutil  # type: ignore[import-untyped]

    memory_bytes = float(psutil.virtual_memory().total)
    return {"cpu": float(os.cpu_count() or 1), "memory": memory_bytes, **declared}
