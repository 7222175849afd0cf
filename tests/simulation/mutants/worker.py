"""One mutant for each further rule of the worker, W1-W8, and of its table of tokens.

W9 and W10 are about real process trees: the simulation has none, see ``tests/integration``.
"""

from __future__ import annotations

import math
from typing import Any

from pytest import MonkeyPatch

from flow.wire.messages.shared import Outcome, Report, Timing
from flow_worker.core import events as ev
from flow_worker.core import placement
from flow_worker.core import tokens as tokens_module
from flow_worker.core.joining import Joining
from flow_worker.core.lease import Lease
from flow_worker.core.machine import Worker
from flow_worker.core.outbox import Outbox
from flow_worker.core.placement import Placement
from flow_worker.core.records import Holding, LocalProgram, Process
from flow_worker.core.tokens import Tokens
from flow_worker.core.transitions import Hold
from tests.simulation.host import Agent
from tests.simulation.mutants.registry import mutant

# ---------------------------------------------------------------- W1, W2


@mutant("W1", "network")
def acknowledged_tokens_are_forgotten(patch: MonkeyPatch) -> None:
    """A late copy of a grant whose report is acknowledged starts again."""
    real = Tokens.dispatch

    def mutated(self: Tokens, grants: Any, accepting: bool, now: float) -> None:
        self._seen.clear()
        real(self, grants, accepting, now)

    patch.setattr(Tokens, "dispatch", mutated)


@mutant("W1", "network")
def forgotten_tokens_count_as_new(patch: MonkeyPatch) -> None:
    """A grant older than what is remembered starts, though it may have run here."""
    real = Tokens.racked

    def mutated(self: Tokens, token: str) -> None:
        real(self, token)
        self._seen_floor = -1

    patch.setattr(tokens_module, "SEEN_TOKENS_MAX", 3)
    patch.setattr(Tokens, "racked", mutated)


@mutant("W2", "network")
def starts_until_the_fence(patch: MonkeyPatch) -> None:
    """Something is started though there is hardly any lease left."""
    patch.setattr(Lease, "may_start", lambda self, now: self.granted and not self.fenced)


# ---------------------------------------------------------------- W3, W8


@mutant("W3", "network")
def fence_at_the_end(patch: MonkeyPatch) -> None:
    """Killing begins when the lease is over, not a kill budget before."""
    patch.setattr(Lease, "fence_at", property(lambda self: self.end))


@mutant("W3", "freezes")
def fence_counted_from_now(patch: MonkeyPatch) -> None:
    """A WELCOME begins a lease when it comes, not when its JOIN left."""
    real = Joining.welcome

    def mutated(self: Joining, message: Any) -> bool:
        self._join_sent_at = math.inf
        taken = real(self, message)
        self._lease._base = getattr(self, "_now", 0.0)
        return taken

    def handle(self: Worker, event: ev.Event, now: float) -> list[Any]:
        self.joining._now = now  # type: ignore[attr-defined]
        return handle_before(self, event, now)

    handle_before = Worker.handle
    patch.setattr(Worker, "handle", handle)
    patch.setattr(Joining, "welcome", mutated)


@mutant("W3", "restarts", equivalent="the JOIN before it has ended the promise already")
def extension_outlives_its_session(patch: MonkeyPatch) -> None:
    """What the last coordinator promised counts under the next one, too."""
    real = Lease.begin

    def mutated(self: Lease, timing: Timing, sent_at: float) -> None:
        extended = self._extended_end
        real(self, timing, sent_at)
        self._extended_end = extended

    patch.setattr(Lease, "begin", mutated)


@mutant("W3", "restarts")
def extension_outlives_a_join(patch: MonkeyPatch) -> None:
    """A JOIN that nobody answered leaves the last coordinator's promise as it was."""
    patch.setattr(Lease, "joining", lambda self, now: None)


@mutant("W8", "freezes")
def no_watchdog(patch: MonkeyPatch) -> None:
    """Nobody notices that the agent's loop stands still (a rule of the shell)."""
    real = Agent.stall
    patch.setattr(Agent, "stall", lambda self, seconds, guard_s: real(self, seconds, math.inf))


@mutant("W8", "crashes")
def unguarded_agent_goes_on(patch: MonkeyPatch) -> None:
    """The agent survives its supervisor."""
    patch.setattr(Worker, "_guard_lost", lambda self, event: None)


# ---------------------------------------------------------------- W5, W6, W7


@mutant("W5")
def join_while_killing(patch: MonkeyPatch) -> None:
    """JOIN is said though something that is being killed may live."""

    def mutated(self: Worker) -> None:
        self.joining.join(self.tokens.held(), list(self.outbox.reports), self._now)

    patch.setattr(Worker, "_join_when_reaped", mutated)


@mutant("W6", "network")
def reports_are_said_once(patch: MonkeyPatch) -> None:
    """A report that gets lost is not said again."""
    real = Outbox._send_wave

    def mutated(self: Outbox, session: str, tokens: list[str], now: float, delay_s: float) -> None:
        real(self, session, tokens, now, delay_s)
        self._waves.clear()

    patch.setattr(Outbox, "_send_wave", mutated)


@mutant("W6", "network")
def yields_are_said_once(patch: MonkeyPatch) -> None:
    """A yield that gets lost is not said again."""
    real = Outbox._flush_yields

    def mutated(self: Outbox, session: str, now: float) -> None:
        real(self, session, now)
        self._yield_due = math.inf

    patch.setattr(Outbox, "_flush_yields", mutated)


@mutant("W6")
def reports_end_with_the_session(patch: MonkeyPatch) -> None:
    """What is not acknowledged is forgotten when the session is lost."""
    real = Joining.rejoin

    def mutated(self: Worker, message: Any) -> None:
        if message.session == self.joining.session:
            for token in list(self.outbox.reports):
                self.tokens.racked(token)
        real(self.joining, message, self._now)

    def build(self: Worker, config: Any, rng: Any) -> None:
        init(self, config, rng)
        for kind in list(self._on_joining):
            if kind.__name__ == "Rejoin":
                self._on_joining[kind] = lambda message: mutated(self, message)

    init = Worker.__init__
    patch.setattr(Worker, "__init__", build)


@mutant("W6")
def second_word_counts(patch: MonkeyPatch) -> None:
    """What was reported done is reported killed where its process dies before the RACK."""
    real = Tokens.kill_all

    def mutated(self: Tokens, reason: str, grace_s: float, now: float) -> None:
        for holding in self.holdings.values():
            if holding.state is Hold.ENDED:
                self._outbox.report(Report(holding.token, Outcome.KILLED, error=reason))
        real(self, reason, grace_s, now)

    patch.setattr(Tokens, "kill_all", mutated)


@mutant("W7")
def kills_are_ignored(patch: MonkeyPatch) -> None:
    """KILL and the kill list do nothing."""
    patch.setattr(Tokens, "kill", lambda self, tokens, grace_s, now, *, at_once: None)


# ---------------------------------------------------------------- what the tables refuse


@mutant("table", "network")
def recalled_tokens_are_handed_out(patch: MonkeyPatch) -> None:
    """A queue is emptied as it is: what was given back meanwhile begins here all the same."""

    def mutated(
        self: Placement, program: LocalProgram, process: Process, most: int
    ) -> list[Holding]:
        batch = []
        while program.queue and len(batch) < most:
            batch.append(program.queue.popleft())
            self._tokens.assign(batch[-1], process, 0.0)
        return batch

    patch.setattr(Placement, "_take", mutated)


@mutant("table")
def generators_go_on_before_their_yield_is_done(patch: MonkeyPatch) -> None:
    """A suspended generator continues in its runner as soon as that is free."""
    real = Placement.place

    def mutated(self: Placement, now: float) -> None:
        for holding in list(self._tokens.parked.values()):
            process = self._processes.all[holding.process]
            if not process.batch and self._tokens.busy < self._config.slots:
                self._tokens.continue_in(process, holding, now)
        real(self, now)

    patch.setattr(Placement, "place", mutated)


@mutant("table")
def batches_are_told_backwards(patch: MonkeyPatch) -> None:
    """A runner is told its batch in another order than it is kept: it reports out of turn."""
    real = placement.Execute
    patch.setattr(placement, "Execute", lambda grants: real(grants[::-1]))


# ---------------------------------------------------------------- bounds, ends, counts


@mutant("drain", "crashes")
def leaving_worker_starts_more(patch: MonkeyPatch) -> None:
    """A worker that was told to leave goes on as before, and leaves when nothing is left."""
    real = Worker._turn_ended

    def mutated(self: Worker, event: ev.TurnEnded) -> None:
        if self.lease.may_start(self._now):
            self.placement.place(self._now)
        real(self, event)

    patch.setattr(Worker, "_turn_ended", mutated)


@mutant("yield")
def parked_without_bound(patch: MonkeyPatch) -> None:
    """No generator is ever given up."""
    patch.setattr(Tokens, "_abandon_oldest", lambda self: None)


@mutant("yield", "network")
def resume_of_any_yield(patch: MonkeyPatch) -> None:
    """A RESUME counts for whatever its generator waits for now."""
    real = Tokens.resume

    def mutated(self: Tokens, yields: list[tuple[str, int]]) -> None:
        holdings = self.holdings
        real(self, [(t, holdings[t].number if t in holdings else n) for t, n in yields])

    patch.setattr(Tokens, "resume", mutated)


@mutant("timeout")
def overdue_tasks_run_on(patch: MonkeyPatch) -> None:
    """A timeout is never enforced."""

    def mutated(self: Tokens, now: float) -> None:
        self.due.clear()
        self.closing.clear()

    patch.setattr(Tokens, "kill_overdue", mutated)


@mutant("crash")
def killed_counts_as_crashed(patch: MonkeyPatch) -> None:
    """What died because it was told to is blamed for it."""
    real = Tokens._settle

    def mutated(self: Tokens, holding: Holding, report: Report) -> None:
        if report.outcome is Outcome.KILLED:
            report = Report(report.token, Outcome.CRASHED, error=report.error)
        real(self, holding, report)

    patch.setattr(Tokens, "_settle", mutated)


@mutant("crash", equivalent="the coordinator neither grants nor resumes anything beside it")
def lone_task_gets_company(patch: MonkeyPatch) -> None:
    """The worker starts other tasks beside one that must be alone."""
    real = Placement.place

    def mutated(self: Placement, now: float) -> None:
        self._tokens.alone = None
        real(self, now)

    patch.setattr(Placement, "place", mutated)
