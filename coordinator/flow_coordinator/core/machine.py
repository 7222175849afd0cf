"""The coordinator core: every event goes through ``Coordinator.handle``, in one funnel.

Pure: no socket, clock, file, log or randomness of its own. The shell drains what has arrived,
calls ``handle`` for each, then ``handle(TurnEnded())``, writes the changes in one transaction and
only then acts on the effects (``SendNow`` may go at once).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop
from random import Random
from typing import Any

from flow.errors import FlowError, ProtocolError
from flow.wire.messages import worker as wire
from flow.wire.messages.codec import decode_chunk
from flow.wire.messages.shared import PlanChunk
from flow_coordinator.core import (
    cleaning,
    dispatch,
    graph,
    intake,
    leases,
    letters,
    locating,
    outcomes,
    planning,
    runs,
    shipping,
    story,
    tally,
    words,
    workers,
    yields,
)
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.effects import Effect
from flow_coordinator.core.events import (
    Event,
    PackageRefused,
    PackageWritten,
    PeerUnreachable,
    Received,
    RunRecalled,
    Stopping,
    StoreResumed,
    StoreStalled,
    TurnEnded,
)
from flow_coordinator.core.queries import answers
from flow_coordinator.core.records import RunRecord, WorkerRecord
from flow_coordinator.core.state import Changes, State
from flow_coordinator.core.timers import Timer
from flow_coordinator.core.values import Instant

#: Timers handled in one turn.
TIMERS_MAX = 1_000


class Coordinator:
    """Decides; never acts."""

    def __init__(
        self, config: CoreConfig, lineage: str, epoch: int, random: Random, now: Instant
    ) -> None:
        self.state = State(config, lineage, epoch, random, now)
        #: more could be done at once: the next turn follows without waiting
        self.busy = False

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """Apply one event; return what to do. An error is a bug, and carries its story."""
        s = self.state
        s.now = now
        try:
            self._apply(s, event)
        except Exception as bug:
            bug.add_note(story.tell(s, event, bug))
            if isinstance(bug, FlowError):  # an error for people anywhere else
                raise RuntimeError("an error left the coordinator's core") from bug
            raise
        effects, s.effects = s.effects, []
        return effects

    def _apply(self, s: State, event: Event) -> None:
        if isinstance(event, Received):
            _received(s, event)
        elif isinstance(event, TurnEnded):
            self._turn_ended(event)
        elif isinstance(event, PeerUnreachable):
            _unreachable(s, event)
        elif isinstance(event, StoreStalled):
            s.stalled = event.why
        elif isinstance(event, StoreResumed):
            s.stalled = ""
        elif isinstance(event, PackageWritten):
            shipping.written(s, event)
        elif isinstance(event, PackageRefused):
            shipping.refused(s, event)
        elif isinstance(event, RunRecalled):
            runs.recall(s, event.run)
        elif isinstance(event, Stopping):
            workers.stop(s)

    def next_deadline(self) -> Instant | None:
        """Tell when ``TurnEnded`` is due though nothing arrives."""
        s = self.state
        if self.busy:
            return s.now
        timer = s.timers[0][0] if s.timers else None
        update = runs.next_update(s)
        if timer is None or update is None:
            return timer if update is None else update
        return min(timer, update)

    def knows(self, key: str) -> bool:
        """Tell whether the run with this submit key is in memory."""
        return key in self.state.keys

    @property
    def may_end(self) -> bool:
        """Whether every worker knows that the coordinator ends on purpose."""
        return all(worker.extended for worker in self.state.workers.values())

    def take_changes(self) -> Changes:
        """Hand over what changed since the last call, to be written in one transaction."""
        changes, self.state.changes = self.state.changes, Changes()
        return changes

    def _turn_ended(self, event: TurnEnded) -> None:
        s = self.state
        _timers(s, event.drained)
        _release_some(s)
        if s.unheard:
            letters.turn(s)
        runs.forget(s)
        cleaning.turn(s)
        planning.turn(s)
        if s.gathering:
            graph.gathered(s)
        more = dispatch.turn(s)
        runs.turn(s)
        if s.term_kept or s.unknowing_term_s > s.config.timing.term_s:
            workers.forget_terms(s)
        more = not s.stalled and bool(more or s.releasing or s.forgetting)
        self.busy = shipping.turn(s, nothing_waits=event.drained and not more) or more


def _received(s: State, event: Received) -> None:
    message = event.message
    handler = _SESSION_HANDLERS.get(type(message))
    if handler is not None:
        worker = workers.current(s, event.peer, message.session)  # type: ignore[union-attr]
        if worker is not None:
            handler(s, worker, message)
    elif isinstance(message, wire.Hello):
        workers.hello(s, event.peer, message)
    elif isinstance(message, wire.Join):
        workers.join(s, event.peer, message)
    else:
        answers.answer(s, event.peer, message)  # type: ignore[arg-type]


def _planned(s: State, worker: WorkerRecord, message: wire.Planned) -> None:
    try:
        chunk = decode_chunk(message.body) if message.body else PlanChunk()
    except ProtocolError as error:
        s.note("planning answer unreadable", "warning", worker=worker.name, error=str(error))
        return
    if not (s.questions and locating.answer(s, worker, message, chunk)):
        planning.answer(s, worker, message, chunk)


_SESSION_HANDLERS: dict[type, Callable[[State, WorkerRecord, Any], None]] = {
    wire.Heartbeat: workers.heartbeat,
    wire.Started: workers.started,
    wire.Results: workers.results,
    wire.Yield: yields.yielded,
    wire.Planned: _planned,
    wire.Cleaned: cleaning.cleaned,
    wire.Drained: workers.drained,
    wire.Extended: workers.extended,
    wire.Said: words.said,
    wire.LettersAck: letters.acked,
    wire.Fetch: shipping.fetch,
}


def _unreachable(s: State, event: PeerUnreachable) -> None:
    worker = s.by_peer.get(event.peer)
    if worker is not None:
        if isinstance(event.message, wire.Dispatch):
            dispatch.unreachable(s, worker, event.message)
    else:
        for run in s.runs.values():
            run.watchers.pop(event.peer, None)


def _timers(s: State, drained: bool) -> None:
    later = []
    count = 0
    while s.timers and s.timers[0][0] <= s.now and count < TIMERS_MAX:
        timer = heappop(s.timers)
        count += 1
        _, _, kind, what = timer
        if kind in _OF_SILENCE and not drained:
            later.append(timer)
            continue
        _TIMER_HANDLERS[kind](s, what)
    for at, _, kind, what in later:
        s.timer(at, kind, what)


def _look_for_room(s: State, what: None) -> None:
    s.ready.open_parked(leases.WORKER_ROOM)


def _wake(s: State, what: RunRecord) -> None:
    """Do nothing: the turn looks by itself."""


_TIMER_HANDLERS: dict[Timer, Callable[[State, Any], None]] = {
    Timer.PLAN: planning.ask_again,
    Timer.CLEAN: cleaning.ask_again,
    Timer.CLEAN_END: tally.changed,
    Timer.BACKOFF: outcomes.backoff_over,
    Timer.EXTERNAL: planning.recheck,
    Timer.SILENCE: workers.silence,
    Timer.ORPHANS: workers.orphans_expired,
    Timer.KILL: dispatch.kill,
    Timer.FAIL_FAST: runs.fail_fast,
    Timer.UNMET: runs.unmet,
    Timer.ROOM: _look_for_room,
    Timer.GATHER: _wake,
    Timer.TWINS: graph.part_twins,
    Timer.INTAKE: intake.overdue,
    Timer.LETTER: letters.overdue,
}
#: Judged only when all that has arrived was read: queued heartbeats come first.
_OF_SILENCE = frozenset({Timer.SILENCE, Timer.ORPHANS})


def _release_some(s: State) -> None:
    if not s.releasing:
        return
    waiting, at = s.releasing.popleft()
    stop = min(at + graph.RELEASE_MAX, len(waiting))
    graph.release(s, waiting, at, stop)
    if stop < len(waiting):
        s.releasing.appendleft((waiting, stop))
