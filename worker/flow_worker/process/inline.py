"""A worker without an agent or any process of its own: the caller's thread runs the tasks.

For tests and debuggers. It speaks with the coordinator core like any worker, and plans and runs
with the same ``Planner`` and ``Runner`` as a task process, on the instances that the program
already has. What only an agent can do is missing: nothing runs beside anything else, and nothing is
killed, so ``worker_timeout`` has no effect.
"""

from __future__ import annotations

import os
import socket
from bdb import BdbQuit
from collections import deque

from flow.wire import ids
from flow.wire.messages import codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import PROTOCOL, Grant, Outcome, Report
from flow_worker import channel
from flow_worker.planner.planner import Planner
from flow_worker.process.failure import Terminated
from flow_worker.process.instances import Instances
from flow_worker.process.runner import Runner
from flow_worker.process.streams import NoOutput

#: What ends the whole run when a task lets it out: Ctrl-C, and "quit" in a debugger.
PASSING = (Terminated, KeyboardInterrupt, BdbQuit)


class InlineWorker:
    """One slot, one planner, one thread: whoever calls ``step``."""

    def __init__(self, capacity: dict[str, float], instances: Instances) -> None:
        self._capacity = capacity
        self._said: list[wire.ToCoordinator] = []
        output = NoOutput()
        self._planner = Planner(self._from_process, output, instances, PASSING)
        self._runner = Runner(self._from_process, output, instances=instances, passing=PASSING)
        self._queue: deque[Grant | channel.Continue] = deque()
        self._parked: set[ids.Token] = set()
        self._killed: set[ids.Token] = set()
        self._session = ""
        self._heartbeats = 0
        self._uid = ids.new_uid()
        self._said.append(wire.Hello(self._uid, PROTOCOL))

    def take_said(self) -> list[wire.ToCoordinator]:
        """Return what the coordinator should hear now; always the last sign of life."""
        if self._session:
            # However long a task was looked at in a debugger: whoever steps is alive.
            self._heartbeats += 1
            self._said.append(wire.Heartbeat(self._session, self._heartbeats))
        said, self._said = self._said, []
        return said

    def step(self) -> bool:
        """Plan or run a little; tell whether there was anything to do.

        Raises:
            KeyboardInterrupt, BdbQuit: As they came out of a task.
        """
        if self._planner.busy:
            self._planner.step()
            return True
        if not self._queue:
            return False
        item = self._queue.popleft()
        if isinstance(item, Grant):
            self._runner.on_execute(channel.Execute([item]))
        else:
            self._parked.discard(item.token)
            self._runner.on_continue(item)
        self._run()
        return True

    def close(self) -> None:
        """Give up every parked generator; their ``finally`` blocks run."""
        self._runner.abandon_all()
        self._run()
        self._runner.speech.stop()

    def hear(self, message: wire.ToWorker) -> None:
        """Take one message of the coordinator."""
        if isinstance(message, wire.Challenge):
            self._join(message)
        elif isinstance(message, wire.Welcome):
            self._session = message.session
        elif isinstance(message, wire.Dispatch):
            self._queue.extend(message.grants)
            tokens = [grant.token for grant in message.grants]
            self._say(wire.Started(self._session, tokens))
        elif isinstance(message, wire.Resume):
            for token, number in message.yields:
                self._queue.append(channel.Continue(token, number))
            self._say(wire.Started(self._session, [], message.yields))
        elif isinstance(message, wire.Plan):
            expand = (message.request, message.stubs, message.expand_max)
            self._planner.on_expand(channel.Expand(*expand))
        elif isinstance(message, wire.PlanNext):
            self._planner.on_more(channel.More(message.request, message.chunk))
        elif isinstance(message, wire.PlanEnd):
            self._planner.on_stop(channel.Stop(message.request))
        elif isinstance(message, wire.Clean):
            self._planner.on_remove(channel.Remove(message.request, message.stubs))
        elif isinstance(message, wire.Kill):
            for token in message.tokens:
                self._kill(token)
        elif isinstance(message, wire.Recall):
            for token in message.tokens:
                if self._unqueue(token):
                    self._report(Report(token, Outcome.RELEASED))

    # ------------------------------------------------------------ inside

    def _say(self, message: wire.ToCoordinator) -> None:
        self._said.append(codec.told(message))

    def _report(self, report: Report) -> None:
        self._say(wire.Results(self._session, [report]))

    def _join(self, message: wire.Challenge) -> None:
        host = socket.gethostname()
        self._say(
            wire.Join(
                self._uid,
                message.nonce,
                held=[],
                reporting=[],
                predecessors=[],
                name="this process",
                host=host,
                host_key="",
                boot_id="",
                slots=1,
                capacity=self._capacity,
                pid=os.getpid(),
            )
        )

    def _run(self) -> None:
        while self._runner.busy:
            self._runner.step()

    def _unqueue(self, token: ids.Token) -> bool:
        """Take a grant out of the queue that has not started."""
        for item in self._queue:
            if isinstance(item, Grant) and item.token == token:
                self._queue.remove(item)
                return True
        return False

    def _kill(self, token: ids.Token) -> None:
        if token in self._parked:
            self._parked.discard(token)
            self._killed.add(token)
            self._runner.on_abandon(channel.Abandon([token]))
            self._run()
        else:
            self._unqueue(token)
            self._report(Report(token, Outcome.KILLED))

    def _from_process(self, frame: channel.Frame) -> None:
        session = self._session
        if isinstance(frame, channel.Finished):
            for report in frame.reports:
                if report.token in self._killed:
                    self._killed.discard(report.token)
                    report = Report(report.token, Outcome.KILLED)
                self._report(report)
        elif isinstance(frame, channel.Parked):
            self._parked.add(frame.token)
            self._say(wire.Yield(session, frame.token, frame.number, 0, 1, frame.stubs))
        elif isinstance(frame, channel.Says):
            # By whatever thread: appending is all that it does.
            self._say(wire.Said(session, [frame.words]))
        elif isinstance(frame, channel.Removed):
            self._say(wire.Cleaned(session, frame.request, frame.done, frame.errors))
        elif isinstance(frame, channel.Chunk):
            self._say(wire.Planned(session, frame.request, frame.chunk, frame.last, frame.body))
