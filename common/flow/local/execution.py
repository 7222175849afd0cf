"""Run root tasks to their end in child processes of this one: what ``flow run`` and build share."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flow.client.attempts import Attempts
from flow.client.interrupts import CleanExit, Interrupts
from flow.errors import DiskFull, ExitCode, Unreachable
from flow.local import forking
from flow.local.children import Children
from flow.local.work import Work, last_words, submission, told, view_of

if TYPE_CHECKING:
    from flow.client.client import Client
    from flow.client.follow import Ended
    from flow.client.views import View
    from flow.local.observing import Observer
    from flow.wire.messages.client import Failure

#: Serves tasks in the calling process. Named, not imported: flow imports neither side.
SERVE_MODULE = "flow_worker.process.serve"
#: How long a run waits for room on a full disk: nobody else would notice, and its state is its own.
HELD_S_MAX = 5.0


def execute(work: Work, tasks: Iterable[Any] = ()) -> Ended:
    """Start the engine, run the tasks, show how it goes, and leave nothing behind.

    With the option ``in_process`` all of it is in this thread, on the given task instances.
    """
    if work.options.get("in_process"):
        from flow.local.inprocess import execute_in_process

        return execute_in_process(work, tasks)
    with CleanExit(), told(work.qualified):
        reason = forking.why_not() if work.forks else ""
        if work.here and reason:
            return _execute_here(work)
        template = forking.CallersTemplate() if work.forks and not reason else None
        return _execute(work._replace(here=False), template, reason)


def _execute(work: Work, template: forking.CallersTemplate | None, unseen: str) -> Ended:
    """Run the tasks in processes. ``unseen``: why they do not have what this process has set."""
    slots = work.options.get("workers") or os.cpu_count() or 1
    state_dir = work.options.get("state_dir", "")
    with Children(slots=slots, path=work.path, state_dir=state_dir, template=template) as children:
        return _submit_and_follow(work, children, Interrupts(), forking.unseen(unseen))


def _execute_here(work: Work) -> Ended:
    """Serve the tasks in this thread; submit and follow in another."""
    theirs, ours = socket.socketpair()
    found: list[Any] = []
    stop = threading.Event()
    interrupts = Interrupts(raising=True)
    with theirs, ours, interrupts:
        state_dir = work.options.get("state_dir", "")
        with Children(slots=1, state_dir=state_dir, attach=theirs.fileno()) as children:
            theirs.close()

            def lead() -> None:
                try:
                    found.append(_submit_and_follow(work, children, interrupts))
                except BaseException as e:  # handed to the calling thread
                    found.append(e)
                finally:
                    stop.set()

            thread = threading.Thread(target=lead, name="flow-client", daemon=True)
            thread.start()
            try:
                importlib.import_module(SERVE_MODULE).serve_in_process(ours, stop.is_set)
                thread.join()
            finally:
                children.close()
    ended: Ended | BaseException = found[0]
    if isinstance(ended, BaseException):
        raise ended
    return ended._replace(code=int(ExitCode.INTERRUPTED)) if interrupts.presses > 1 else ended


def _submit_and_follow(
    work: Work, children: Children, interrupts: Interrupts, sentence: str = ""
) -> Ended:
    # The children load meanwhile: everything heavy is imported only now.
    from flow.client.client import Client
    from flow.client.follow import follow

    view = view_of(work)
    children.wait_ready()
    with _room_wanted(children), Client(children.address, held_s_max=HELD_S_MAX) as client:
        if work.here:
            sentence = "These tasks exist only in this process, so they run in it, one at a time."
        if sentence:
            view.say(sentence)
        try:
            submitted = client.submit(submission(work))
        except Unreachable:
            children.check()  # says more, if that is why
            raise
        observer = _observer(work)
        policy = Draining(children, view, observer)
        timeout_s = work.options.get("timeout")
        with contextlib.nullcontext() if work.here else interrupts:
            try:
                view.accepted(submitted.run, submitted.name)
                ended = follow(client, submitted.run, view, policy, interrupts, timeout_s=timeout_s)
                policy.attempts.show(view, all_now=True)
            finally:
                view.close()
            if ended.summary is None and not policy.killed:
                ended = _so_far(client, submitted.run, ended)
        last_words(view, ended, work)
    if observer is not None:
        observer.ended(ended.summary)
    return ended


@contextlib.contextmanager
def _room_wanted(children: Children) -> Iterator[None]:
    """Say what to set where the engine's disk is full."""
    try:
        yield
    except DiskFull as error:
        error.hint = f"Free some, or set {children.state_option} to a directory that has room"
        raise


def _observer(work: Work) -> Observer | None:
    """Make what calls this program's event handlers, unless it cannot have any."""
    if not {"flow.task", "luigi.task"} & set(sys.modules):
        return None
    from flow.local.observing import Observer

    return Observer(here=work.here)


def _so_far(client: Client, run: str, ended: Ended) -> Ended:
    """Add the summary of a run that was left before its end."""
    from flow.wire.messages.client import RunShown, ShowRun

    return ended._replace(summary=client.ask(ShowRun(0, run), RunShown).summary)


class Draining:
    """Ctrl-C finishes what runs; a second one kills; the clock kills too."""

    def __init__(self, children: Children, view: View, observer: Observer | None) -> None:
        self._children, self._view, self._observer = children, view, observer
        self._draining = False
        self.attempts = Attempts(children.log_dir)
        #: nothing more can be asked: the processes are about to be killed
        self.killed = False

    def pressed(self, presses: int) -> int | None:
        """Drain at the first press, kill at the second."""
        if presses > 1:
            self.killed = True
            return int(ExitCode.INTERRUPTED)
        self._draining = True
        self._children.drain()
        self._view.say("\nFinishing what runs; nothing new starts. Ctrl-C again kills.")
        return None

    def tick(self) -> int | None:
        """Leave when the drained worker has; complain about one that ends by itself."""
        if self._draining and self._children.worker_ended:
            return int(ExitCode.INTERRUPTED)
        self._children.check(worker=not self._draining)
        self.attempts.show(self._view)
        return None

    def heard(self, failures: list[Failure]) -> None:
        """Their output was shown with them; handlers are called."""
        self.attempts.failed.update((each.task_id, each.attempt) for each in failures)
        if self._observer is not None:
            self._observer.failed(failures)

    def timed_out(self) -> int:
        """The run ends with this process."""
        self._view.say("Timeout: what still runs is killed.")
        return int(ExitCode.TIMEOUT)

    def no_workers(self) -> str:
        """Nothing to type: the worker is ours, and starting."""
        return ""
