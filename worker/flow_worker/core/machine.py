"""The worker agent's decisions: events in, effects out, no other contact with the world.

The shell calls ``handle`` for every event of a turn and ends the turn with ``TurnEnded``, where
tasks are placed and everything new is said in batches; it sends ``Tick`` when ``next_deadline``
has passed. ``now`` is seconds on a clock that counts sleep. Rules W1-W8.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

from flow.wire.ids import Token
from flow.wire.messages.shared import Outcome, Verdict
from flow.wire.messages.worker import (
    Challenge,
    Clean,
    Define,
    Denied,
    Dispatch,
    Drain,
    Drained,
    Extend,
    Extended,
    Heard,
    HeartbeatAck,
    Kill,
    Letters,
    Piece,
    Plan,
    PlanEnd,
    PlanNext,
    Rack,
    Recall,
    Rejoin,
    Resume,
    ToCoordinator,
    Welcome,
)
from flow_worker import channel
from flow_worker.channel import Role
from flow_worker.core import events
from flow_worker.core.cleaning import Cleaning
from flow_worker.core.config import FAREWELL_S, WorkerConfig
from flow_worker.core.effects import Effect, Exit, Note, Send
from flow_worker.core.events import StopKind
from flow_worker.core.fetching import Fetching
from flow_worker.core.joining import Joining
from flow_worker.core.lease import Lease
from flow_worker.core.outbox import Outbox
from flow_worker.core.placement import Placement
from flow_worker.core.planning import Planning
from flow_worker.core.processes import Processes, death
from flow_worker.core.programs import Programs
from flow_worker.core.records import Holding, Process
from flow_worker.core.refusals import Refusals
from flow_worker.core.speech import Speech
from flow_worker.core.templates import Templates
from flow_worker.core.tokens import Tokens
from flow_worker.core.transitions import Link, Stand

EXIT_DENIED = 78
EXIT_GUARD_LOST = 70
_STOP_ORDER = {StopKind.DRAIN: 0, StopKind.NOW: 1, StopKind.GONE: 2}


class Worker:
    """One worker agent. Not thread-safe; ``handle`` is its only way in."""

    def __init__(self, config: WorkerConfig, rng: Random) -> None:
        self.config = config
        self._effects: list[Effect] = []
        self.lease = Lease()
        self.speech = Speech(self._emit, self._send)
        self.outbox = Outbox(self._send, self.speech)
        self.processes = Processes(config, self._emit)
        self.fetching = Fetching(self._emit, self._send)
        self.programs = Programs(config, self.processes)
        self.refusals = Refusals(self._emit)
        known = self.processes, self.programs
        self.templates = Templates(config, *known, self.fetching, self.refusals, self._emit)
        self.tokens = Tokens(config, *known, self.outbox, self.refusals, self._emit)
        self.placement = Placement(config, self.processes, self.programs, self.tokens, self._emit)
        self.planning = Planning(config, self.processes, self.programs, self._emit, self._send)
        planners = config.planners
        self.cleaning = Cleaning(self.processes, self.programs, planners, self._emit, self._send)
        self.joining = Joining(config, rng, self.lease, self._emit, self._send)
        self.processes.on_kill = self.joining.kill_begun
        self.stopping: StopKind | None = None
        self.ended = False
        self._fit = True
        self._load = (0.0, 0)
        self._exit = (0, "ended as asked")
        self._now_at = math.inf  #: when a drain becomes a stop
        self._farewell_at = math.inf  #: when an empty worker stops waiting for acks
        self._farewell_over = False
        self._urgent = False  #: say a heartbeat at the end of this turn
        self._now = 0.0
        self._on_event: dict[type, Callable[[Any], None]] = {
            events.Received: self._received,
            events.ProcessSaid: self._said,
            events.ProcessExited: self._exited,
            events.ProcessStuck: self._stuck,
            events.GuardLost: self._guard_lost,
            events.StopRequested: self._stop_requested,
            events.Tick: self._tick,
            events.Measured: self._measured,
            events.PackageAt: lambda e: self.fetching.at(e, self._now),
            events.TurnEnded: self._turn_ended,
        }
        joining: dict[type, Callable[[Any], None]] = {
            Challenge: self._challenge,
            Denied: self._denied,
            Welcome: self._welcome,
            Rejoin: lambda m: self.joining.rejoin(m, self._now),
        }
        self._on_joining = joining
        self._on_session: dict[type, Callable[[Any], None]] = {
            HeartbeatAck: self._acknowledged,
            Define: lambda m: self.programs.define(m.programs, self._now, prepare=m.prepare),
            Dispatch: lambda m: self.tokens.dispatch(m.grants, self._accepting, self._now),
            Rack: self._rack,
            Kill: lambda m: self.tokens.kill(m.tokens, m.grace_s, self._now, at_once=False),
            Recall: lambda m: self.tokens.recall(m.tokens),
            Resume: lambda m: self.tokens.resume(m.yields),
            Plan: lambda m: self.planning.plan(m, self._now),
            PlanNext: lambda m: self.planning.next_chunk(m, self._now),
            PlanEnd: lambda m: self.planning.end(m.request),
            Clean: lambda m: self.cleaning.clean(m, self._now),
            Extend: self._extend,
            Drain: lambda m: self._stop(StopKind.DRAIN),
            Heard: self.speech.heard,
            Letters: self._letters,
            Piece: self.fetching.piece,
        }

    def _emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def _send(self, message: ToCoordinator) -> None:
        self._effects.append(Send(message))

    # ------------------------------------------------------------ the way in

    def handle(self, event: events.Event, now: float) -> list[Effect]:
        """Decide what follows from one event."""
        self._effects = []
        if self.ended:
            return self._effects
        self._now = now
        if self.lease.must_fence(now):  # W4: deadline first, messages after
            self._fence(now)
        self._on_event[type(event)](event)
        return self._effects

    def next_deadline(self) -> float | None:
        """When to send a Tick, at the latest. None: nothing is due."""
        if self.ended:
            return None
        due = min(
            self.lease.next_fence(),
            self.joining.next_deadline(),
            self.tokens.next_deadline(),
            self.processes.next_deadline(self._now),
            self.cleaning.next_deadline(),
            self.templates.next_deadline(self._now),
            self.planning.next_deadline(),
            self._now_at,
            self._farewell_at,
        )
        if self.joining.session is not None:
            due = min(due, self.outbox.next_deadline(), self.speech.next_deadline())
            due = min(due, self.fetching.next_deadline())
        return None if due == math.inf else due

    # ------------------------------------------------------------ fence

    def _fence(self, now: float) -> None:
        """The lease ends: nothing that holds a token may live beyond it (W3)."""
        self.lease.fenced = True
        self.cleaning.fence(now)
        if self.tokens.live:
            fields: dict[str, object] = {"held": self.tokens.live}
            self._emit(Note("lease ends, killing everything", fields, "error"))
            self.tokens.kill_all("the lease ended", self.lease.fence_grace_s(now), now)

    # ------------------------------------------------------------ messages

    def _received(self, event: events.Received) -> None:
        message = event.message
        kind = type(message)
        on_session = self._on_session.get(kind)
        if on_session is None:
            self._on_joining[kind](message)
        elif getattr(message, "session", None) == self.joining.session:  # W2
            on_session(message)

    def _challenge(self, message: Challenge) -> None:
        if self.joining.challenge(message):
            fields: dict[str, object] = {"held": self.tokens.live}
            self._emit(Note("the coordinator has another history", fields, "error"))
            self.tokens.kill_all("of a lost history", 0.0, self._now)
            self.tokens.history_changed()
            self.programs.history_changed()
        self._join_when_reaped()

    def _join_when_reaped(self) -> None:
        if self.joining.state is Link.KILLING and self.processes.dying == 0:
            self.joining.join(self.tokens.held(), list(self.outbox.reports), self._now)

    def _welcome(self, message: Welcome) -> None:
        if not self.joining.welcome(message):
            return
        timing = message.timing
        self.tokens.kill_s = timing.kill_s
        self.planning.session_changed(message.session)
        self.cleaning.session_changed(self._now)
        self.fetching.session_changed(message.session, self._now)
        fields: dict[str, object] = {"session": message.session, "held": self.tokens.live}
        self._emit(Note("joined", fields))
        self.tokens.kill(message.kill, 0.0, self._now, at_once=True)  # W7
        self.outbox.joined(self.tokens.said_started(), self.tokens.said_resumed())
        self.speech.joined(self._now)

    def _acknowledged(self, message: HeartbeatAck) -> None:
        self.lease.acknowledge(message.number, self._now)
        self.programs.heard(message.number)
        if message.over:
            self.programs.over(message.over)

    def _extend(self, message: Extend) -> None:
        self.lease.extend(message.lease_s, self._now)
        self._send(Extended(message.session))

    def _denied(self, message: Denied) -> None:
        if self.joining.denied(message):
            self._exit = (EXIT_DENIED, message.reason)
            self._stop(StopKind.NOW)

    def _rack(self, message: Rack) -> None:
        for token, verdict in message.verdicts:
            if verdict is Verdict.STALE:
                self.tokens.stale(token, self._now)
            else:
                self.tokens.racked(token)
        for token, number in message.yields:
            self.outbox.rack_yield(token, number)

    def _letters(self, message: Letters) -> None:
        for letter in message.letters:
            self.speech.deliver(letter, self.tokens.holdings.get(letter.token), self._now)

    # ------------------------------------------------------------ processes

    def _said(self, event: events.ProcessSaid) -> None:
        frame = event.frame
        if type(frame) is channel.Up:
            self.processes.heard_up(event.process)
            return
        process = self.processes.all.get(event.process)
        if process is None:
            return
        _FRAMES[type(frame)](self, process, frame)

    def _finished(self, process: Process, frame: channel.Finished) -> None:
        self.templates.served(process)
        self.tokens.finished(process, frame.reports, self._now)

    def _parked(self, process: Process, frame: channel.Parked) -> None:
        self.tokens.yielded(process, frame, self._now)

    def _chunk(self, process: Process, frame: channel.Chunk) -> None:
        self.templates.served(process)
        self.planning.chunk(process, frame)

    def _removed(self, process: Process, frame: channel.Removed) -> None:
        self.cleaning.removed(process, frame)

    def _loaded(self, process: Process, frame: channel.Loaded) -> None:
        self.templates.loaded(process, frame, self._now)

    def _dirty(self, process: Process, frame: channel.Dirty) -> None:
        self.tokens.dirty(process, frame, self._now)
        for token in frame.returned:
            self.speech.returned(token)

    def _says(self, process: Process, frame: channel.Says) -> None:
        self.speech.says(self._held_by(process, frame.words.token), frame, self._now)

    def _taken(self, process: Process, frame: channel.Taken) -> None:
        self.speech.taken(self._held_by(process, frame.token), frame)

    def _held_by(self, process: Process, token: Token) -> Holding | None:
        """Find a token that this process may speak for."""
        holding = self.tokens.holdings.get(token)
        return holding if holding is not None and holding.process == process.number else None

    def _exited(self, event: events.ProcessExited) -> None:
        process = self.processes.exited(event, self._now)
        if process is None:
            return
        self.templates.exited(process, event, self._now)
        self.tokens.exited(process, event)
        self.planning.exited(process, death(event), event.tail)
        self.cleaning.exited(process)
        if process.batch:
            fields: dict[str, object] = {"process": process.number, "reason": death(event)}
            self._emit(Note("runner ended", fields, "warning"))
        if process.role == Role.BOTH:
            self._exit = (0, "the attached program ended")
            self._stop(StopKind.NOW)

    def _stuck(self, event: events.ProcessStuck) -> None:
        self.processes.got_stuck(event.process)

    def _check_fit(self) -> None:
        fit = self.processes.stuck == 0
        if fit != self._fit:
            self._fit = fit
            self._urgent = True

    def _measured(self, event: events.Measured) -> None:
        self._load = (event.cpu, event.memory_bytes)

    # ------------------------------------------------------------ ending

    @property
    def _accepting(self) -> bool:
        return self.stopping is None and self._fit

    def _guard_lost(self, event: events.GuardLost) -> None:
        self._emit(Note("supervisor is gone", {}, "error"))
        self._exit = (EXIT_GUARD_LOST, "the supervisor is gone")
        self.processes.closed = True
        self.tokens.kill_all("the supervisor is gone", 0.0, self._now)
        self._stop(StopKind.NOW)

    def _stop_requested(self, event: events.StopRequested) -> None:
        self._stop(event.kind)

    def _stop(self, kind: StopKind) -> None:
        if self.stopping is not None and _STOP_ORDER[kind] <= _STOP_ORDER[self.stopping]:
            return
        self.stopping = kind
        self._urgent = True
        self._emit(Note("stopping", {"how": kind.value, "held": self.tokens.live}))
        if kind is not StopKind.DRAIN:
            self.tokens.kill_all("its worker stopped", self.tokens.kill_s, self._now)
        elif self.config.drain_grace_s:
            self._now_at = self._now + self.config.drain_grace_s

    def _leave(self, now: float) -> None:
        """End once nothing is held, everything said was heard, and no process is left."""
        if self.tokens.live:
            return
        heard = not self.outbox.reports or self.joining.state is Link.ENDED
        if not heard and not self._farewell_over and self.stopping is not StopKind.GONE:
            if self._farewell_at == math.inf:
                self._farewell_at = self._patience_until(now)
            if now < self._farewell_at:
                return
            fields: dict[str, object] = {"reports": len(self.outbox.reports)}
            self._emit(Note("leaving unheard", fields, "warning"))
        self._farewell_over = True
        self._farewell_at = math.inf
        if not self.processes.closed:
            self.processes.closed = True
            self.planning.session_changed(self.joining.session)
        left: list[Process] = [p for p in self.processes.all.values() if p.role != Role.BOTH]
        for process in left:
            self.processes.kill(process, 0.0, now)
        if left:
            return
        if self.joining.session is not None:
            self._send(Drained(self.joining.session))
        self.joining.leave()
        self.ended = True
        self._emit(Exit(*self._exit))

    def _patience_until(self, now: float) -> float:
        """How long to wait for acks: in a drain as long as the results are worth something."""
        patience_s = now + FAREWELL_S
        return max(patience_s, self.lease.end) if self.stopping is StopKind.DRAIN else patience_s

    def _place_programs(self, now: float) -> None:
        """Have a template for each program that is used; what can have none goes back."""
        self.templates.place(now)
        for program in self.programs.all.values():
            if program.stand is Stand.FAILED:
                self.tokens.give_back(program, Outcome.REFUSED, program.text)
                self.planning.refuse(program, program.text)
                self.cleaning.refuse(program)
            elif program in self.templates.hopeless:
                reason = self.templates.hopeless[program]
                self.tokens.give_back(program, Outcome.RELEASED, reason)
                self.planning.refuse(program, "")
                self.cleaning.refuse(program)
            elif program.is_foreign:
                # whoever has the code of the run takes it; if nobody does, it comes again
                self.tokens.give_back(program, Outcome.RELEASED, "its code here is another one")
                self.planning.refuse(program, "")

    # ------------------------------------------------------------ turns

    def _tick(self, event: events.Tick) -> None:
        now = self._now
        self.tokens.kill_overdue(now)
        self.cleaning.kill_overdue(now)
        self.templates.kill_overdue(now)
        self.planning.forget_silent(now)
        if now >= self._now_at:
            self._now_at = math.inf
            self._stop(StopKind.NOW)
        self.joining.retry(now)

    def _turn_ended(self, event: events.TurnEnded) -> None:
        now = self._now
        self._check_fit()
        if not self._accepting:
            self.tokens.release_queue("its worker takes no more")
        if self.stopping is not None:
            self.tokens.abandon_parked()
        if not self.processes.closed:
            self._place_programs(now)
        if self._fit and self.stopping is None and self.lease.may_start(now):  # W2
            self.placement.place(now)
        if self.cleaning.waits and self.lease.may_start(now):
            self.cleaning.place(now)
        self.planning.place(now)
        if self.stopping is None and not self.processes.closed:
            self.placement.prewarm(now)  # behind the planner, for which somebody waits
            self.templates.prewarm(now)
        if not self.processes.closed:
            self.templates.tidy(now)
        self._join_when_reaped()
        if self._urgent or self.programs.news or self.joining.heartbeat_due(now):
            self._urgent = False
            told = self.programs.seen(), self.programs.wanted(), self.programs.room
            stopping = self.stopping is not None
            number = self.joining.heartbeat(self._load, stopping, self._fit, told, now)
            if number:
                self.programs.told(number)
        self.speech.flush(self.joining.session, now)
        self.outbox.flush(self.joining.session, now)
        self.fetching.ask(self.joining.session, now)  # last: all else goes first
        if self.stopping is not None:
            self._leave(now)


#: What a process may say, but for that it is up.
_FRAMES: dict[type, Callable[[Worker, Process, Any], None]] = {
    channel.Finished: Worker._finished,
    channel.Parked: Worker._parked,
    channel.Chunk: Worker._chunk,
    channel.Removed: Worker._removed,
    channel.Loaded: Worker._loaded,
    channel.Dirty: Worker._dirty,
    channel.Says: Worker._says,
    channel.Taken: Worker._taken,
}
