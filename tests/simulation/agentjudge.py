"""The worker's rules W1-W8, judged where an agent speaks and acts.

``truth`` knows when two copies execute; that takes bad luck on top of a broken rule. Here each rule
is held against what it says, by a clock and a count of acknowledgements of the judge's own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flow.wire.messages.shared import Outcome
from flow.wire.messages.worker import (
    Cleaned,
    Drain,
    Extend,
    Heartbeat,
    HeartbeatAck,
    Join,
    Kill,
    Rack,
    Results,
    Started,
    ToCoordinator,
    Welcome,
)
from flow_worker.core import events as ev
from tests.simulation.processes import Process, Runner
from tests.simulation.truth import WAKE_GRACE_S

if TYPE_CHECKING:
    from tests.simulation.host import Agent

#: Two readings of the same moment may differ by this, seconds.
CLOCK_ERROR_S = 1e-6
#: Reaping after a kill that was in time, seconds. The coordinator's margin is at least 1 s.
REAP_S = 0.5
#: Messages whose handling may come only after the fence was looked at (W4).
_INPUT = (ev.Received, ev.ProcessSaid, ev.Tick)


class AgentJudge:
    """What one agent promised, and until when."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.truth = agent.world.truth
        self.timing = agent.world.profile.timing
        self._joins: dict[str, float] = {}  #: nonce -> when it was quoted; void ones are gone
        self._beats: dict[tuple[str, int], float] = {}
        self._base = self._extended = -math.inf
        self._started: dict[str, None] = {}  #: accepted, no end of it was acknowledged
        self._unheard: dict[str, None] = {}
        self._told: set[str] = set()  #: killed on purpose
        self._checked_at = -math.inf
        self._leaving = False
        self._cleaned = 0  #: the last removal that it answered for in its session
        self._session: str | None = None  #: the last one it took
        self._answered = False  #: the WELCOME being handled answers a JOIN that is not void
        self._answered_at = 0.0

    @property
    def end(self) -> float:
        """When the lease ends, by the send time of what was acknowledged (W3)."""
        return max(self._base + self.timing.lease_s, self._extended)

    def _broken(self, rule: str, story: str) -> None:
        self.truth.broken(rule, f"{self.agent.name} {story}")

    def _own(self) -> list[Process]:
        agent = self.agent
        return [one for one in agent.host.processes.values() if one.agent is agent]

    def _copies(self) -> list[tuple[str, Process]]:
        """Tokens that execute or are parked here, with their processes."""
        found: list[tuple[str, Process]] = []
        for process in self._own():
            if isinstance(process, Runner):
                for attempt in (process.current, *process.parked.values()):
                    if attempt is not None and attempt.executions:
                        found.append((attempt.grant.token, process))
        return found

    # ------------------------------------------------------------ what it says

    def said(self, message: ToCoordinator) -> None:
        """A message leaves the agent."""
        kind = type(message)
        now = self.agent.host.clock()
        if isinstance(message, Heartbeat):
            self._beats[message.session, message.number] = now
            self.agent.world.coordinator.judge.beats.add((message.session, message.number))
        elif isinstance(message, Join):
            self._joined(message)
            self._joins = {message.nonce: now}
            # whoever hears it counts a plain lease from then on
            self._extended = min(self._extended, now + self.timing.lease_s)
        elif isinstance(message, Started):
            self._started.update(dict.fromkeys(message.tokens))
        elif isinstance(message, Cleaned):
            self._cleaned = message.request
        elif isinstance(message, Results):
            for report in message.reports:
                self._unheard[report.token] = None
                if report.outcome is Outcome.CRASHED and report.token in self._told:
                    self._broken("crash", f"blames {report.token}, which it killed itself")
        self.agent.kernel.counts[f"said {kind.__name__}"] += 1

    def notes(self, phrase: str, note: object) -> None:
        """It logs something. All processes here obey, so it can have nothing to refuse."""
        if phrase in ("refused what was said", "process broke the protocol"):
            self._broken("S10", f"notes {note}")

    def _joined(self, message: Join) -> None:
        dying = [one.number for one in self._own() if one.told_to_die and one.alive]
        if dying:
            self._broken("W5", f"says JOIN while processes {dying} are being killed")
        held, reporting = set(message.held), set(message.reporting)
        for token, process in self._copies():
            if token not in held:
                self._broken("W5", f"says JOIN without {token}, alive in {process.number}")
        lost = [t for t in (*self._started, *self._unheard) if t not in held | reporting]
        if lost:
            self._broken("W6", f"says JOIN without {lost}, whose end nobody has acknowledged")

    # ------------------------------------------------------------ what it does

    def comes(self, event: ev.Event) -> None:
        """The core is about to handle an event."""
        message = event.message if isinstance(event, ev.Received) else None
        self._answered = isinstance(message, Welcome) and message.nonce in self._joins
        if isinstance(message, Welcome) and self._answered:
            self._answered_at = self._joins.pop(message.nonce)

    def handled(self, event: ev.Event) -> None:
        """The core has handled an event, and what it wanted was done."""
        agent = self.agent
        now = agent.host.clock()
        if isinstance(event, _INPUT) and now > self.end - self.timing.kill_s + CLOCK_ERROR_S:
            living = [token for token, process in self._copies() if not process.told_to_die]
            if living:
                self._broken("W4", f"handles {type(event).__name__}, {living} not yet killed")
        if isinstance(event, ev.StopRequested):
            self._leaving = True
        elif isinstance(event, ev.GuardLost):
            if living := [token for token, process in self._copies() if not process.shot]:
                self._broken("W8", f"lets {living} live on unguarded")
        elif isinstance(event, ev.Received):
            self._took(event, now)

    def _took(self, event: ev.Received, now: float) -> None:
        message = event.message
        session = self.agent.core.joining.session
        if isinstance(message, Welcome):
            if session != message.session or session == self._session:
                return
            self._session = session
            self._cleaned = 0
            if not self._answered:
                self._broken("W5", f"takes {session} from a JOIN that was void")
            self._base, self._extended = self._answered_at, -math.inf
            self._watch()
            self._killed(message.kill, "the kill list")
            return
        if getattr(message, "session", None) != session:
            return
        if isinstance(message, HeartbeatAck):
            sent = self._beats.get((message.session, message.number), -math.inf)
            self._base = max(self._base, sent)
        elif isinstance(message, Extend):
            self._extended = max(self._extended, self._base + message.lease_s)
        elif isinstance(message, Rack):
            for token, _ in message.verdicts:
                self._unheard.pop(token, None)
                self._started.pop(token, None)
        elif isinstance(message, Kill) and not message.grace_s:
            self._killed(message.tokens, "KILL")
        elif isinstance(message, Drain):
            self._leaving = True

    def _killed(self, tokens: list[str], why: str) -> None:
        for process in self._own():
            current = process.current if isinstance(process, Runner) else None
            if current is None or self.agent.unheard_frames:
                continue
            if current.grant.token in tokens and not process.shot:
                self._broken("W7", f"lets {current.grant.token} live on after {why}")

    def kills(self, process: Process) -> None:
        """The core has a process killed: a JOIN under way is void (W5)."""
        if isinstance(process, Runner) and (process.current or process.queue or process.parked):
            self._joins = {}
        self._told.update(token for token, one in self._copies() if one is process)

    def hands_over(self) -> None:
        """The core gives a grant to a runner."""
        now = self.agent.host.clock()
        left_s = self.end - now
        if left_s < self.timing.kill_s + self.timing.heartbeat_s - CLOCK_ERROR_S:
            self._broken("W2", f"starts something with {left_s:.3f} s of lease left")
        if self._leaving:
            self._broken("drain", "starts something after it was told to leave")

    def removes(self, request: int) -> None:
        """The core has a process remove temporary outputs."""
        if request <= self._cleaned:
            self._broken("temporary", f"sees to removal {request} again, which it has answered")

    # ------------------------------------------------------------ the end of the lease

    def _watch(self) -> None:
        if self._checked_at < self.agent.host.clock():
            self._look_at(self.end + REAP_S)

    def _look_at(self, at: float) -> None:
        self._checked_at = at
        host = self.agent.host
        host.after(at - host.clock(), self._look)

    def _look(self) -> None:
        """At the lease's end everything is gone, also where the agent is (W3, W8)."""
        host = self.agent.host
        now = host.clock()
        if host.kernel.now < host.thawed_at + WAKE_GRACE_S:
            self._look_at(now + WAKE_GRACE_S)
        elif now < self.end + REAP_S - CLOCK_ERROR_S:
            self._look_at(self.end + REAP_S)
        elif copies := [token for token, _ in self._copies()]:
            self._broken("W3", f"has {copies} {now - self.end:.1f} s after its lease")
