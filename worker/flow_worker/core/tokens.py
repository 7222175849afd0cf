"""The life of every token at this worker, from DISPATCH to the acknowledged report.

One funnel, ``_move``, reads the table of ``transitions``; each handler asks it before it changes
anything, so what is refused leaves all as it was. Handlers never look at a process's frames twice
and never start anything: placement does, once at the end of a turn.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable

from flow.wire.ids import Token, token_seq
from flow.wire.messages.shared import Grant, Outcome, Report, Timing
from flow.wire.moves import Go, Refuse
from flow_worker.channel import Abandon, Dirty, Parked
from flow_worker.core.config import BATCH_FILL_S, SEEN_TOKENS_MAX, WorkerConfig
from flow_worker.core.durations import Durations
from flow_worker.core.effects import Effect, Note, Tell
from flow_worker.core.events import ProcessExited
from flow_worker.core.outbox import Outbox
from flow_worker.core.processes import Processes, death
from flow_worker.core.programs import Programs
from flow_worker.core.records import Holding, LocalProgram, Process, ProcessState
from flow_worker.core.refusals import Refusals
from flow_worker.core.transitions import HOLD_MOVES, Hold, HoldEvent

_MOVES = HOLD_MOVES.rows
#: What a process did that spoke of a task which is not its to speak of.
_DID = {
    HoldEvent.FINISHED: "reported",
    HoldEvent.YIELDED: "yielded from",
    HoldEvent.RETURNED: "returned",
}


class Tokens:
    """Everything held, queued, parked and ended-but-not-acknowledged."""

    def __init__(
        self,
        config: WorkerConfig,
        processes: Processes,
        programs: Programs,
        outbox: Outbox,
        refusals: Refusals,
        emit: Callable[[Effect], None],
    ) -> None:
        self._config = config
        self._processes = processes
        self._programs = programs
        self._outbox = outbox
        self._refusals = refusals
        self._emit = emit
        self.kill_s = Timing().kill_s  #: of the timing in force
        self.durations = Durations()
        self.holdings: dict[Token, Holding] = {}  #: live ones, then ENDED until RACK
        self.live = 0  #: holdings that are not ENDED
        self.queued = 0  #: in the queues of all programs
        self.parked: dict[Token, Holding] = {}  #: PARKED, oldest first
        self.resuming: deque[Holding] = deque()  #: may contain entries that are not RESUMING
        self.busy = 0  #: runners with a batch: used slots
        self.alone: Holding | None = None  #: the task that runs with nothing beside it
        self.due: dict[int, float] = {}  #: process: when its running task's time is over
        self.closing: dict[Token, float] = {}  #: killed generators: when patience with them ends
        self._seen: dict[Token, None] = {}  #: acknowledged, the newest (rule W1)
        self._seen_floor = -1  #: tokens up to here may have been forgotten

    def _move(self, holding: Holding, event: HoldEvent) -> bool:
        """Apply an event; tell whether it moved. Raises ``IllegalMove`` for a bug of ours."""
        move = _MOVES[holding.state][event]
        if type(move) is not Go:
            self._refusals.check(HOLD_MOVES, holding.state, event, holding.token)
            return False
        if holding.state is Hold.QUEUED:
            self.queued -= 1
            holding.program.queued -= 1
        holding.state = move.state
        if move.state is Hold.QUEUED:
            self.queued += 1
            holding.program.queued += 1
        elif move.state is Hold.ENDED:
            self.live -= 1
            holding.program.holdings -= 1
        return True

    def said_started(self) -> list[Token]:
        """Tokens a new session must hear STARTED of: all held but those that only wait."""
        quiet = (Hold.ENDED, Hold.PARKED)
        return [t for t, h in self.holdings.items() if h.state not in quiet]

    def said_resumed(self) -> list[tuple[Token, int]]:
        """Of those, the ones whose RESUME arrived, with the number of its yield."""
        holdings = self.holdings
        return [(t, holdings[t].number) for t in self.said_started() if holdings[t].number]

    def held(self) -> list[Token]:
        """Tokens whose process, generator or queue place lives."""
        return [t for t, h in self.holdings.items() if h.state is not Hold.ENDED]

    # ------------------------------------------------------------ from the coordinator

    def dispatch(self, grants: list[Grant], accepting: bool, now: float) -> None:
        """Accept grants; each token once (rule W1)."""
        for grant in grants:
            token = grant.token
            holding = self.holdings.get(token)
            if holding is not None:
                self._move(holding, HoldEvent.DISPATCHED)
                if holding.state is Hold.ENDED:
                    self._outbox.again(token)
                else:
                    self._outbox.started(token)
            elif token in self._seen:
                continue
            elif self._seen_floor >= 0 and token_seq(token) <= self._seen_floor:
                self._outbox.report(
                    Report(token, Outcome.REFUSED, error="this grant came too late to be told new")
                )
            else:
                program = self._programs.use(grant.program, now)
                holding = Holding(grant, program)
                self.holdings[token] = holding
                self.live += 1
                program.holdings += 1
                program.queue.append(holding)
                program.queued += 1
                self.queued += 1
                if accepting:
                    self._outbox.started(token)

    def recall(self, tokens: list[Token]) -> None:
        """Give back what is in no process yet."""
        for token in tokens:
            holding = self.holdings.get(token)
            if holding is not None and self._move(holding, HoldEvent.RECALLED):
                self._outbox.report(Report(token, Outcome.RELEASED))

    def release_queue(self, reason: str) -> None:
        """Give back everything that is in no process yet."""
        for program in [one for one in self._programs.all.values() if one.queue]:
            self.give_back(program, Outcome.RELEASED, reason)

    def give_back(self, program: LocalProgram, outcome: Outcome, reason: str) -> None:
        """Report what is queued for a program and cannot begin here."""
        while program.queue:
            holding = program.queue.popleft()
            if holding.state is Hold.QUEUED:
                self._move(holding, HoldEvent.RECALLED)
                self._outbox.report(Report(holding.token, outcome, error=reason))

    def resume(self, yields: list[tuple[Token, int]]) -> None:
        """Queue parked generators that may continue."""
        for token, number in yields:
            self._outbox.rack_yield(token, number)
            holding = self.holdings.get(token)
            if holding is None:
                continue
            if holding.state is Hold.ENDED:
                self._outbox.again(token)
            elif holding.number == number:
                self._outbox.resumed(token, number)
                if self._move(holding, HoldEvent.RESUMED):
                    del self.parked[token]
                    self.resuming.append(holding)

    def stale(self, token: Token, now: float) -> None:
        """The coordinator does not know this token: its report is void, a living copy must die."""
        holding = self.holdings.get(token)
        if holding is not None and holding.state is not Hold.ENDED:
            self._outbox.yields.pop(token, None)
            self.kill_one(holding, Outcome.KILLED, "not current any more", 0.0, now, at_once=True)
        else:
            self.racked(token)

    def racked(self, token: Token) -> None:
        """A report is durable, or stale: forget all but that the token was here."""
        holding = self.holdings.get(token)
        known = self._outbox.rack(token)
        if holding is not None:
            if not self._move(holding, HoldEvent.RACKED):
                return
            del self.holdings[token]
        elif not known:
            return
        self._see(token)

    def _see(self, token: Token) -> None:
        """Remember that a token was here, so that a late copy of its grant starts nothing."""
        self._seen[token] = None
        if len(self._seen) > SEEN_TOKENS_MAX:
            oldest = next(iter(self._seen))
            del self._seen[oldest]
            self._seen_floor = max(self._seen_floor, token_seq(oldest))

    def history_changed(self) -> None:
        """Another lineage counts its tokens anew."""
        self._seen.clear()
        self._seen_floor = -1

    # ------------------------------------------------------------ from placement

    def assign(self, holding: Holding, process: Process, cost_s: float) -> None:
        """Put a queued token behind a runner's batch."""
        self._move(holding, HoldEvent.ASSIGNED)
        holding.process = process.number
        holding.cost_s = cost_s
        process.load_s += cost_s

    def continue_in(self, process: Process, holding: Holding, now: float) -> None:
        """Let a generator go on in its idle runner."""
        self._move(holding, HoldEvent.CONTINUED)
        del process.parked[holding.token]
        process.batch.append(holding)
        process.load_s = holding.cost_s = BATCH_FILL_S
        process.begun_at = now
        self.busy += 1
        if holding.grant.timeout_s > 0:
            self.due[process.number] = now + holding.grant.timeout_s - holding.used_s

    # ------------------------------------------------------------ killing

    def kill(self, tokens: list[Token], grace_s: float, now: float, *, at_once: bool) -> None:
        """Kill tokens. ``at_once`` also costs the innocent task ahead in the same batch.

        A token whose grant got lost on the way is answered for too, or its lease never ends.
        """
        for token in tokens:
            holding = self.holdings.get(token)
            if holding is not None:
                self.kill_one(holding, Outcome.KILLED, "killed", grace_s, now, at_once=at_once)
            elif token not in self._seen:
                self._see(token)
                self._outbox.report(
                    Report(token, Outcome.KILLED, error="killed before its grant arrived")
                )

    def kill_one(
        self,
        holding: Holding,
        outcome: Outcome,
        reason: str,
        grace_s: float,
        now: float,
        *,
        at_once: bool,
    ) -> None:
        """Kill one token's process tree (rule W7), or drop its queue place."""
        before = holding.state
        if not self._move(holding, HoldEvent.KILLED):
            return
        if holding.state is Hold.ENDED:
            self._outbox.report(Report(holding.token, outcome, error=reason))
            return
        if before is not Hold.KILLING:
            holding.outcome = outcome
            holding.reason = reason
        process = self._processes.all[holding.process]
        if before is Hold.PARKED:
            del self.parked[holding.token]
        if holding.token in process.parked:
            if not at_once:
                # its ``finally`` blocks run; behind a task that runs they wait for its end
                self._abandon(holding)
                self.closing[holding.token] = now + max(grace_s, self.kill_s)
            elif len(process.parked) == 1 and not process.batch:
                self._processes.kill(process, grace_s, now)
            else:
                self._abandon(holding)
        elif at_once or process.batch[0] is holding:
            self._processes.kill(process, grace_s, now)

    def kill_all(self, reason: str, grace_s: float, now: float) -> None:
        """End everything: the fence, a lost history, or the agent ends."""
        for holding in list(self.holdings.values()):
            if holding.state is Hold.QUEUED or holding.state is Hold.ASSIGNED:
                outcome = Outcome.RELEASED
            else:
                outcome = Outcome.KILLED
            self.kill_one(holding, outcome, reason, grace_s, now, at_once=True)
        for process in self._processes.all.values():
            if process.parked or process.batch:
                self._processes.kill(process, grace_s, now)

    def kill_overdue(self, now: float) -> None:
        """Kill running tasks whose time is over, and generators that do not close."""
        for token in [t for t, due in self.closing.items() if due <= now]:
            del self.closing[token]
            holding = self.holdings.get(token)
            process = self._processes.all.get(holding.process) if holding is not None else None
            if process is not None and token in process.parked and not process.batch:
                self._processes.kill(process, 0.0, now)
        for number in [n for n, due in self.due.items() if due <= now]:
            del self.due[number]
            process = self._processes.all.get(number)
            if process is not None and process.batch:
                holding = process.batch[0]
                reason = f"ran longer than its timeout of {holding.grant.timeout_s:g} s"
                self.kill_one(holding, Outcome.TIMEOUT, reason, self.kill_s, now, at_once=True)

    def _abandon(self, holding: Holding) -> None:
        if not holding.abandoned:
            holding.abandoned = True
            self._emit(Tell(holding.process, Abandon([holding.token])))

    def abandon_parked(self) -> None:
        """Give up every suspended generator; each runner answers with RELEASED."""
        for holding in itertools.chain(self.parked.values(), self.resuming):
            if holding.state is Hold.PARKED or holding.state is Hold.RESUMING:
                self._abandon(holding)

    # ------------------------------------------------------------ from processes

    def begin(self, process: Process, now: float) -> None:
        """The head of a runner's batch has begun."""
        holding = process.batch[0]
        process.begun_at = now
        if holding.state is Hold.KILLING:
            self._processes.kill(process, 0.0, now)
            return
        self._move(holding, HoldEvent.BEGAN)
        if holding.grant.timeout_s > 0:
            self.due[process.number] = now + holding.grant.timeout_s - holding.used_s

    def _next(self, process: Process, now: float) -> None:
        """The head of the batch left it."""
        if self.due:
            self.due.pop(process.number, None)
        if process.batch:
            self.begin(process, now)
        else:
            self._idle(process, now)

    def _idle(self, process: Process, now: float) -> None:
        process.load_s = 0.0
        process.idle_since = now
        self.busy -= 1

    def finished(self, process: Process, reports: list[Report], now: float) -> None:
        """A runner reported, in the order its tasks ran."""
        batch = process.batch
        for report in reports:
            runs = bool(batch) and batch[0].token == report.token
            holding = batch[0] if runs else process.parked.get(report.token)
            if holding is None or _refuses(holding, HoldEvent.FINISHED):
                self._stray(process, report.token, HoldEvent.FINISHED, now)
                return
            report = _true_end(holding, report)
            self._move(holding, HoldEvent.FINISHED)
            if runs:
                batch.popleft()
                process.load_s -= holding.cost_s
                process.done += 1
                if report.peak_bytes > process.peak_bytes:
                    process.peak_bytes = report.peak_bytes
                self.durations.learn(holding.grant.family, report.run_s)
                self._settle(holding, report)
                self._next(process, now)
            else:
                del process.parked[report.token]
                self.parked.pop(report.token, None)
                self._settle(holding, report)
        if process.stuck and not any(h.state is Hold.KILLING for h in process.batch):
            self._processes.freed(process)

    def yielded(self, process: Process, frame: Parked, now: float) -> None:
        """A generator waits for tasks: its slot is free at once."""
        holding = process.batch[0] if process.batch else None
        if holding is None or holding.token != frame.token or _refuses(holding, HoldEvent.YIELDED):
            self._stray(process, frame.token, HoldEvent.YIELDED, now)
            return
        moved = self._move(holding, HoldEvent.YIELDED)  # else it must die
        process.batch.popleft()
        process.load_s -= holding.cost_s
        process.parked[frame.token] = holding
        holding.used_s += now - process.begun_at
        if holding is self.alone:
            self.alone = None
        if moved:
            holding.number = frame.number
            self.parked[frame.token] = holding
            self._outbox.yielded(frame.token, frame.number, frame.stubs)
            if len(self.parked) > self._config.parked_max:
                self._abandon_oldest()
        self._next(process, now)

    def dirty(self, process: Process, frame: Dirty, now: float) -> None:
        """A runner takes no new task; what it has not begun goes back, in its order."""
        returned = set(frame.returned)
        back = [holding for holding in process.batch if holding.token in returned]
        for token in frame.returned:
            if not any(one.token == token and _may_return(one) for one in back):
                self._stray(process, token, HoldEvent.RETURNED, now)
                return
        process.dirty = process.dirty or frame.reason
        if not back:
            return
        process.batch = deque(h for h in process.batch if h.token not in returned)
        for holding in reversed(back):
            process.load_s -= holding.cost_s
            if holding is self.alone:
                self.alone = None
            self._requeue(holding)
        # what is still on its way there comes back, too
        self._next(process, now)

    def _requeue(self, holding: Holding) -> None:
        """Put what a process had and did not begin where it came from."""
        self._move(holding, HoldEvent.RETURNED)
        if holding.state is Hold.ENDED:
            self._settle(holding, Report(holding.token, holding.outcome, error=holding.reason))
            return
        holding.process = 0
        holding.cost_s = 0.0
        holding.program.queue.appendleft(holding)

    def abandon_one_of_dirty(self) -> None:
        """Give up the generator that waits longest in a runner that takes nothing new."""
        for holding in self.parked.values():
            process = self._processes.all[holding.process]
            if process.dirty:
                if not holding.abandoned:
                    self._abandon(holding)
                return

    def _abandon_oldest(self) -> None:
        excess = len(self.parked) - self._config.parked_max
        for holding in itertools.islice(self.parked.values(), excess):
            self._abandon(holding)

    def exited(self, process: Process, event: ProcessExited) -> None:
        """A runner and its tree are gone: end what it ran, take back what it had not begun."""
        self.due.pop(process.number, None)
        self.busy -= bool(process.batch)
        told = process.state is ProcessState.DYING
        if event.began >= 0:
            self._begin_unsaid(process, event.began)
        for holding in reversed(process.batch):
            self._gone(holding, told, event)
        for holding in process.parked.values():
            self.parked.pop(holding.token, None)
            self._gone(holding, told, event)

    def _begin_unsaid(self, process: Process, began: int) -> None:
        """The process began this token: those before it ended with their reports unsaid."""
        batch = process.batch
        for at, holding in enumerate(batch):
            if at and token_seq(holding.token) == began:
                for passed in itertools.islice(batch, at):
                    if passed.state is not Hold.KILLING:
                        self._move(passed, HoldEvent.KILLED)
                        passed.reason = "its result was lost with its process"
                self._move(holding, HoldEvent.BEGAN)
                return

    def _gone(self, holding: Holding, told: bool, event: ProcessExited) -> None:
        before = holding.state
        self._move(holding, HoldEvent.GONE)
        if holding.state is Hold.QUEUED:
            holding.process = 0
            holding.cost_s = 0.0
            holding.program.queue.appendleft(holding)
            return
        if before is Hold.KILLING:
            report = Report(holding.token, holding.outcome, error=holding.reason, tail=event.tail)
        elif before is not Hold.RUNNING:
            report = Report(holding.token, Outcome.RELEASED, error="its process ended")
        elif told:
            report = Report(holding.token, Outcome.KILLED, error="killed with its process")
        else:
            report = Report(holding.token, Outcome.CRASHED, error=death(event), tail=event.tail)
        self._settle(holding, report)

    def _settle(self, holding: Holding, report: Report) -> None:
        if holding is self.alone:
            self.alone = None
        if self.closing:
            self.closing.pop(holding.token, None)
        self._outbox.report(report)

    def _stray(self, process: Process, token: Token, event: HoldEvent, now: float) -> None:
        """A process spoke of a task that is not its to speak of: nothing it said counts."""
        holding = self.holdings.get(token)
        why = "it does not have it"
        if holding is not None:
            refusal = self._refusals.check(HOLD_MOVES, holding.state, event, token)
            why = refusal or "it had begun it"
        self._broken(process, f"{_DID[event]} a task out of turn: {why}", now)

    def _broken(self, process: Process, what: str, now: float) -> None:
        fields: dict[str, object] = {"process": process.number, "what": what}
        self._emit(Note("process broke the protocol", fields, "error"))
        if process.batch:
            reason = f"its process {what}"
            self.kill_one(process.batch[0], Outcome.CRASHED, reason, 0.0, now, at_once=True)
        self._processes.kill(process, 0.0, now)

    def next_deadline(self) -> float:
        """When a running task's time is over; infinity: never."""
        due = min(self.due.values(), default=math.inf)
        return min(due, *self.closing.values()) if self.closing else due


def _refuses(holding: Holding, event: HoldEvent) -> bool:
    return type(_MOVES[holding.state][event]) is Refuse


def _may_return(holding: Holding) -> bool:
    """Tell whether it has not begun: what yielded once has, though it only waits to go on (W1)."""
    return not holding.number and not _refuses(holding, HoldEvent.RETURNED)


def _true_end(holding: Holding, report: Report) -> Report:
    """Correct what a runner says: what a task says while it is being killed is not why it ended."""
    if holding.state is not Hold.KILLING or report.outcome is Outcome.DONE:
        return report
    return Report(
        report.token,
        holding.outcome,
        run_s=report.run_s,
        error=holding.reason,
        where=report.where,
        trace=report.trace,
        tail=report.tail,
    )
