"""The whole coordinator core under random histories: who may run a task, and when.

Agents here say whatever a real one may say, at any time and again, and some of what only a
confused one would. After every step: every index of the core agrees with its records, no lease
ended without one of the reasons of rule C2, no grant went where none may go, and no task ran again
in a run that had its result acknowledged. At the end all faults stop, and every run must end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flow.wire.ids import Token, WorkerUid, token_seq
from flow.wire.messages import client
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Grant, Outcome, Policy, Report, Verdict
from flow.wire.states import TERMINAL, RunState, TaskState
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.events import PeerUnreachable, StoreResumed, StoreStalled
from flow_coordinator.core.records import LeaseRecord, WorkerRecord
from tests.property.profiles import LONG_S_MAX, long, short
from tests.support.core_env import Env, FakeWorker, stub

T = TypeVar("T")
picks = st.integers(0, 200)
#: A choice of some of a changing list: bit by bit.
masks = st.integers(0, 255)
NAMES = [f"t{at}" for at in range(9)]
POLICIES = [
    Policy(),
    Policy(),
    Policy(priority=3.0),
    Policy(resources={"db": 1.0}),
    Policy(resources={"gpu": 1.0}),
    Policy(resources={"db": 2.0, "gpu": 1.0}),
    Policy(on_lost="hold"),
    Policy(retry_count=3, retry_delay_s=0.0),
]
LIMITS = {"db": 2.0}
CONFIG = CoreConfig(limits=LIMITS, retry_count=2, retry_delay_max_s=20.0)
#: Rounds in which healthy workers must end everything: each is a wait, then all that is granted.
ROUNDS_MAX = 150


@dataclass
class Agent:
    """A worker and what it believes to hold."""

    worker: FakeWorker
    #: token -> grant, dispatched and not reported
    live: dict[Token, Grant] = field(default_factory=dict)
    #: reported, whatever became of that: may be said again
    old: dict[Token, Report] = field(default_factory=dict)
    #: reported and acknowledged as committed
    committed: set[Token] = field(default_factory=set)
    #: token -> number of its last yield
    yields: dict[Token, int] = field(default_factory=dict)
    #: generators told to go on since
    resumed: set[Token] = field(default_factory=set)

    @property
    def uid(self) -> WorkerUid:
        return self.worker.uid


def some(pool: list[T], mask: int) -> list[T]:
    """Choose by the bits of a number."""
    return [one for at, one in enumerate(pool) if mask >> (at % 8) & 1]


def place(token: Token) -> tuple[int, int]:
    """Say where a token stands among all: epoch and number."""
    return int(token.split(".")[1]), token_seq(token)


class Leases(RuleBasedStateMachine):
    """One core, three agents, one small graph, everything that may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.env = Env(CONFIG)
        self.agents = [
            Agent(FakeWorker(self.env, "a", 1)),
            Agent(FakeWorker(self.env, "b", 2, {"gpu": 1.0})),
            Agent(FakeWorker(self.env, "c", 3)),
        ]
        self.runs: list[str] = []
        #: whether what is done is found complete when it is planned again
        self.outputs = False
        #: (run, task id) whose result was acknowledged
        self.done: set[tuple[int, str]] = set()
        #: every token ever dispatched -> (task id, uid)
        self.granted: dict[Token, tuple[str, WorkerUid]] = {}
        self.newest = (0, 0)
        #: when a worker was last heard, by this start of the coordinator
        self.heard_at: dict[WorkerUid, float] = {}
        # as of the end of the last step
        self.leases: dict[Token, LeaseRecord] = {}
        self.closed: dict[WorkerUid, str] = {}
        self.was_stalled = False
        # what this step may end (rule C2)
        self.may_end: set[Token] = set()
        self.may_lose: set[WorkerUid] = set()

    @initialize(
        edges=st.lists(masks, min_size=len(NAMES), max_size=len(NAMES)),
        policies=st.lists(st.sampled_from(POLICIES), min_size=len(NAMES), max_size=len(NAMES)),
        outputs=st.booleans(),
        early=st.sampled_from([7, 7, 7, 3, 0]),
        roots=st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
    )
    def work_begins(
        self,
        edges: list[int],
        policies: list[Policy],
        outputs: bool,
        early: int,
        roots: list[str],
    ) -> None:
        for at, name in enumerate(NAMES):
            self.env.graph.edges[name] = some(NAMES[:at], edges[at])[:3]
        self.env.graph.policies = dict(zip(NAMES, policies, strict=True))
        self.outputs = outputs
        for agent in some(self.agents, early):
            self._join(agent, [], [], [])
        for root in roots:
            self.runs.append(self.env.submit(root))

    # ------------------------------------------------------------ workers come, speak and go

    def record(self, agent: Agent) -> WorkerRecord | None:
        """Find what the core has of an agent's session, if that is current."""
        record = self.env.core.state.workers.get(agent.uid)
        return record if record and record.session == agent.worker.session else None

    def joined(self) -> list[Agent]:
        return [agent for agent in self.agents if self.record(agent)]

    @rule(which=picks, held=masks, reporting=masks, dead=st.sampled_from([0, 0, 0, 1, 2]))
    def join(self, which: int, held: int, reporting: int, dead: int) -> None:
        """Certify any part of what it holds, and some that it does not."""
        agent = self.agents[which % 3]
        holds = some(list(agent.live), held) + some(sorted(self.granted), held >> 5 if which else 0)
        reports = some(list(agent.old), reporting)
        gone = [self.agents[(which + dead) % 3].uid] if dead else []
        self.may_lose |= {agent.uid, *gone}
        self._join(agent, holds, reports, gone)

    def _join(
        self, agent: Agent, held: list[Token], reporting: list[Token], dead: list[str]
    ) -> None:
        welcome = agent.worker.join(held, reporting, dead)
        self.heard_at[agent.uid] = self.env.now
        current = self.env.core.state.leases
        for token in held:
            mine = token in current and current[token].uid == agent.uid
            assert mine or token in welcome.kill, f"{token} lives on at {agent.uid}"
        agent.live = {t: g for t, g in agent.live.items() if t in held and t not in welcome.kill}

    @precondition(lambda self: self.joined())
    @rule(which=picks)
    def join_again_holding_all(self, which: int) -> None:
        """A connection was lost, nothing else: every lease must survive."""
        agent = self.joined()[which % len(self.joined())]
        kept = {t for t, lease in self.leases.items() if lease.uid == agent.uid}
        agent.live |= {t: g for t, g in self.unseen(agent).items() if t in kept}
        held = [*agent.live, *(t for t in kept if t not in agent.live)]
        self._join(agent, held, [], [])
        assert kept <= set(self.env.core.state.leases)

    def unseen(self, agent: Agent) -> dict[Token, Grant]:
        return {g.token: g for g in agent.worker.grants if g.token not in agent.old}

    @rule(which=picks)
    def old_nonce_has_no_power(self, which: int) -> None:
        agent = self.agents[which % 3]
        agent.worker.say(agent.worker.join_message("0.0"))
        assert not self.env.heard(agent.worker.peer, wire.Welcome)

    @precondition(lambda self: self.joined())
    @rule(which=picks, draining=st.sampled_from([False, False, True]), fit=st.booleans())
    def heartbeat(self, which: int, draining: bool, fit: bool) -> None:
        agent = self.joined()[which % len(self.joined())]
        self._beat(agent, draining, fit)

    def _beat(self, agent: Agent, draining: bool = False, fit: bool = True) -> None:
        worker = agent.worker
        worker.beats += 1
        worker.say(wire.Heartbeat(worker.session, worker.beats, draining, fit=fit))
        self.heard_at[agent.uid] = self.env.now

    @rule(which=picks)
    def old_session_gets_rejoin(self, which: int) -> None:
        worker = self.agents[which % 3].worker
        before = dict(self.env.core.state.leases)
        report = Report(next(iter(before), "x.1.1"), Outcome.DONE)
        self.env.said.pop(worker.peer, None)
        worker.say(wire.Results("0.7", [report]))
        assert self.env.heard(worker.peer, wire.Rejoin)
        assert not self.env.heard(worker.peer, wire.Rack)

    @rule(
        seconds=st.sampled_from([0.5, 4.0, 16.0, 30.0, 70.0]), beating=st.sampled_from([7, 7, 5, 2])
    )
    def time_passes(self, seconds: float, beating: int) -> None:
        """Some go on with their heartbeats, the others are silent."""
        until = self.env.now + seconds
        while self.env.now < until:
            self.env.wait(min(4.0, until - self.env.now))
            for agent in some(self.agents, beating):
                if self.record(agent):
                    self._beat(agent)

    @precondition(lambda self: self.joined())
    @rule(which=picks, certain=st.booleans())
    def drain(self, which: int, certain: bool) -> None:
        agent = self.joined()[which % len(self.joined())]
        if certain:
            self.may_lose.add(agent.uid)
            agent.worker.say(wire.Drained(agent.worker.session))
            agent.live = {}
        else:
            self.ask(lambda n: client.WorkerCommand(n, agent.uid, "drain"))

    @precondition(lambda self: self.joined())
    @rule(which=picks)
    def operator_declares_dead(self, which: int) -> None:
        agent = self.joined()[which % len(self.joined())]
        self.may_lose.add(agent.uid)
        self.ask(lambda n: client.WorkerCommand(n, agent.uid, "declare-dead"))

    # ------------------------------------------------------------ tasks run

    def busy(self) -> list[Agent]:
        return [agent for agent in self.agents if agent.live]

    @precondition(lambda self: self.busy())
    @rule(which=picks, mask=masks)
    def started(self, which: int, mask: int) -> None:
        agent = self.busy()[which % len(self.busy())]
        agent.worker.start(*some(list(agent.live.values()), mask))

    @precondition(lambda self: self.busy())
    @rule(
        which=picks,
        outcome=st.sampled_from([Outcome.DONE] * 6 + list(Outcome)),
        copies=st.sampled_from([1, 1, 2]),
        error=st.sampled_from(["", "it broke"]),
    )
    def result(self, which: int, outcome: Outcome, copies: int, error: str) -> None:
        agent = self.busy()[which % len(self.busy())]
        token = list(agent.live)[which // 3 % len(agent.live)]
        del agent.live[token]
        report = agent.old[token] = Report(token, outcome, 1.0, error=error)
        self._report(agent, [report] * copies)

    @precondition(lambda self: any(agent.old for agent in self.agents))
    @rule(which=picks, mask=masks, from_another=st.sampled_from([False, False, True]))
    def old_results(self, which: int, mask: int, from_another: bool) -> None:
        """Said again, also by somebody who never held them."""
        owners = [agent for agent in self.agents if agent.old]
        owner = owners[which % len(owners)]
        agent = self.agents[which // 3 % 3] if from_another else owner
        self._report(agent, some(list(owner.old.values()), mask))

    @precondition(lambda self: self.busy())
    @rule(which=picks, by=st.sampled_from([1, 2]))
    def result_of_what_another_holds(self, which: int, by: int) -> None:
        """Says nothing about the task, whoever says it."""
        owner = self.busy()[which % len(self.busy())]
        agent = self.agents[(self.agents.index(owner) + by) % 3]
        self._report(agent, [Report(token, Outcome.DONE) for token in owner.live])

    def _report(self, agent: Agent, reports: list[Report]) -> None:
        """Say results; the verdicts must be those of rule C3."""
        s, worker = self.env.core.state, agent.worker
        speaks = self.record(agent) is not None
        current = {t: lease for t, lease in s.leases.items() if speaks and lease.uid == agent.uid}
        runs = {t: [run.number for run in lease.task.runs] for t, lease in current.items()}
        self.may_end |= {report.token for report in reports if report.token in current}
        self.env.heard(worker.peer, wire.Rack)
        worker.say(wire.Results(worker.session, reports))
        racks = self.env.heard(worker.peer, wire.Rack)
        verdicts = dict(pair for rack in racks for pair in rack.verdicts)
        assert set(verdicts) == ({report.token for report in reports} if speaks else set())
        for report in reports if speaks else []:
            token, verdict = report.token, verdicts[report.token]
            if token in current:
                assert verdict == Verdict.COMMITTED and token not in s.leases
                agent.committed.add(token)
                if report.outcome == Outcome.DONE:
                    task_id = current[token].task.task_id
                    self.done |= {(run, task_id) for run in runs[token]}
                    if self.outputs:
                        self.env.graph.complete.add(task_id[2:])
            elif token not in agent.committed:
                assert verdict == Verdict.STALE

    @precondition(lambda self: self.busy())
    @rule(which=picks, names=masks, copies=st.sampled_from([1, 1, 2]))
    def yields(self, which: int, names: int, copies: int) -> None:
        agent = self.busy()[which % len(self.busy())]
        token = list(agent.live)[which // 3 % len(agent.live)]
        number = agent.yields.get(token, 0)
        if not number or token in agent.resumed:
            agent.resumed.discard(token)
            number = agent.yields[token] = number + 1
        wanted = [stub(name) for name in some(NAMES, names)[:2]]
        for _ in range(copies):
            agent.worker.say(wire.Yield(agent.worker.session, token, number, 0, 1, wanted))

    @precondition(lambda self: self.joined())
    @rule(which=picks)
    def obeys(self, which: int) -> None:
        """Do what the coordinator asked last: kill, give back, continue."""
        agent = self.joined()[which % len(self.joined())]
        heard, worker = self.env.heard, agent.worker
        killed = [t for one in heard(worker.peer, wire.Kill) for t in one.tokens]
        killed += [t for one in heard(worker.peer, wire.Recall) for t in one.tokens]
        for resume in heard(worker.peer, wire.Resume):
            for token, number in resume.yields:
                if token in agent.live and number == agent.yields.get(token):
                    agent.resumed.add(token)
                    worker.say(wire.Started(worker.session, [], [(token, number)]))
        reports = [Report(t, Outcome.KILLED) for t in dict.fromkeys(killed) if t in agent.live]
        for report in reports:
            del agent.live[report.token]
            agent.old[report.token] = report
        if reports:
            self._report(agent, reports)

    @precondition(lambda self: self.joined())
    @rule(which=picks)
    def works(self, which: int) -> None:
        """Start and end everything it holds."""
        agent = self.joined()[which % len(self.joined())]
        reports = [Report(token, Outcome.DONE, 1.0) for token in agent.live]
        agent.worker.start(*agent.live.values())
        agent.old |= {report.token: report for report in reports}
        agent.live = {}
        if reports:
            self._report(agent, reports)

    # ------------------------------------------------------------ commands

    def ask(self, make: Callable[[int], msgspec.Struct]) -> None:
        """Say a command; what it answers does not matter here."""
        self.env.request += 1
        self.env.say(b"client", make(self.env.request))
        self.env.said.pop(b"client", None)

    @precondition(lambda self: len(self.env.core.state.runs) < 6)
    @rule(
        roots=st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True),
        priority=st.sampled_from([0.0, 0.0, 5.0]),
        fail_fast=st.sampled_from([False, False, True]),
        retry_count=st.sampled_from([None, None, 1]),
        wait_unmet=st.booleans(),
    )
    def submit(
        self,
        roots: list[str],
        priority: float,
        fail_fast: bool,
        retry_count: int | None,
        wait_unmet: bool,
    ) -> None:
        run = self.env.submit(
            *roots,
            priority=priority,
            fail_fast=fail_fast,
            retry_count=retry_count,
            wait_unmet=wait_unmet,
        )
        self.runs.append(run)

    @precondition(lambda self: self.runs)
    @rule(which=picks, task=st.sampled_from(["", "", *NAMES]))
    def cancel(self, which: int, task: str) -> None:
        target = f"T_{task}" if task else self.runs[-1 - which % len(self.runs)]
        self.ask(lambda n: client.Cancel(n, target))

    @precondition(lambda self: self.runs)
    @rule(which=picks, task=st.sampled_from(["", "", *NAMES]))
    def retry(self, which: int, task: str) -> None:
        open_runs = [run for run in self.runs if int(run[2:]) in self.env.core.state.runs]
        target = f"T_{task}" if task else (open_runs or self.runs)[which % len(open_runs or [""])]
        self.ask(lambda n: client.Retry(n, target))

    @rule(name=st.sampled_from(["db", "gpu"]), limit=st.sampled_from([0.0, 1.0, 2.0, 3.0]))
    def limit_changes(self, name: str, limit: float) -> None:
        self.ask(lambda n: client.SetResource(n, name, limit))

    # ------------------------------------------------------------ planning and the disk

    @rule(name=st.sampled_from(NAMES), kind=st.sampled_from(["", "", "requires"]))
    def planning_breaks_or_heals(self, name: str, kind: str) -> None:
        self.env.graph.errors.pop(("", name), None)
        if kind:
            self.env.graph.errors["", name] = (kind, "it cannot be planned")

    @rule(hang=st.sampled_from([False, False, True]))
    def planners_hang_or_go_on(self, hang: bool) -> None:
        self.env.plan_by_hand = hang
        self.env.turn()

    @rule(full=st.sampled_from([False, False, True]))
    def disk_is_full_or_not(self, full: bool) -> None:
        self.env.handle(StoreStalled() if full else StoreResumed())
        self.env.turn()

    @rule()
    def coordinator_restarts(self) -> None:
        """Leases of tasks that no open run has may end with it, all others survive."""
        self.may_end |= {
            t
            for t, lease in self.leases.items()
            if not any(run.state == RunState.RUNNING for run in lease.task.runs)
        }
        self.env.restart()
        for uid in {lease.uid for lease in self.leases.values()}:
            self.heard_at[uid] = self.env.now
        kept = set(self.leases) - set(self.env.core.state.leases)
        assert kept <= self.may_end, f"lost by the restart: {kept}"
        self.leases = dict(self.env.core.state.leases)
        self.was_stalled = False
        self.env.turn()

    @precondition(lambda self: self.joined())
    @rule(which=picks)
    def dispatch_is_unreachable(self, which: int) -> None:
        """What was sent for the first time certainly did not arrive."""
        agent = self.joined()[which % len(self.joined())]
        leases = self.env.core.state.leases
        fresh = [
            g
            for g in agent.live.values()
            if g.token in leases and leases[g.token].sent == 1 and not leases[g.token].confirmed
        ]
        if fresh:
            self.may_end |= {g.token for g in fresh}
            agent.live = {t: g for t, g in agent.live.items() if g not in fresh}
            message = wire.Dispatch(agent.worker.session, fresh)
            self.env.handle(PeerUnreachable(agent.worker.peer, message))
            self.env.turn()

    # ------------------------------------------------------------ what always holds

    @invariant()
    def indexes_agree_with_records(self) -> None:
        self.env.check()

    @invariant()
    def leases_end_for_a_reason(self) -> None:
        """Rules C2 and C5."""
        now, term_s = self.env.now, CONFIG.timing.term_s
        current = self.env.core.state.leases
        for token, lease in self.leases.items():
            silent_s = now - self.heard_at.get(lease.uid, now)
            if token not in current and token not in self.may_end:
                reason = lease.uid in self.may_lose or silent_s >= term_s
                assert reason, f"{token} of {lease.uid} ended after {silent_s} s of silence"
        for token, lease in current.items():
            silent_s = now - self.heard_at[lease.uid]
            assert silent_s <= term_s + 1.0, f"{token} is held for the silent {lease.uid}"
        assert len({lease.task for lease in current.values()}) == len(current)
        self.leases = dict(current)
        self.may_end, self.may_lose = set(), set()

    @invariant()
    def grants_go_where_they_may(self) -> None:
        """Every dispatched token is new and of a current session, or said again to its holder."""
        s = self.env.core.state
        for agent in self.agents:
            for said in self.env.heard(agent.worker.peer, wire.Dispatch):
                for grant in said.grants:
                    self._granted(agent, said.session, grant)
        self.closed = {w.uid: w.session for w in s.workers.values() if w.draining}
        self.was_stalled = s.stalled
        self.newest = max(map(place, self.granted), default=self.newest)

    def _granted(self, agent: Agent, session: str, grant: Grant) -> None:
        token, owner = grant.token, (grant.task_id, agent.uid)
        known = self.granted.setdefault(token, owner)
        assert known == owner, f"{token} is {known} and {owner}"
        lease = self.leases.get(token)
        if token not in agent.old and lease is not None:
            agent.live[token] = grant
        if token in {g.token for g in agent.worker.grants}:
            return
        agent.worker.grants.append(grant)
        assert place(token) > self.newest, f"{token} is not above {self.newest}"
        assert self.closed.get(agent.uid) != session, f"{agent.uid} was draining"
        assert not self.was_stalled or not self.env.core.state.stalled, "the disk is full"
        if lease is not None:
            # a restart counts what a later run does again in the earlier ones, too
            fresh = [run for run in lease.task.runs if (run.number, grant.task_id) not in self.done]
            assert fresh, f"{grant.task_id} runs again in {[run.id for run in lease.task.runs]}"

    # ------------------------------------------------------------ the end

    def teardown(self) -> None:
        """All faults stop: every run ends."""
        if sys.exc_info()[0] is not None:
            return
        self.disk_is_full_or_not(False)
        self.planners_hang_or_go_on(False)
        self.env.graph.errors.clear()
        for name in ("db", "gpu"):
            self.limit_changes(name, 3.0)
        for agent in self.agents:
            self.may_lose.add(agent.uid)
            self._join(agent, [], [], [])
        for _ in range(ROUNDS_MAX):
            self.check_all()
            if not self.env.core.state.runs and not self.env.core.state.leases:
                break
            for at in range(len(self.agents)):
                self.obeys(at)
                self.check_all()
                self.works(at)
                self.check_all()
            self.time_passes(4.0, 7)
        s = self.env.core.state
        assert not s.runs, {
            run.id: [(t.task_id, t.state.name) for t in run.tasks if t.state not in TERMINAL]
            for run in s.runs.values()
        }
        assert not s.leases
        left = [t.state for tasks in s.tasks.values() for t in tasks.values()]
        assert all(state in TERMINAL | {TaskState.UNPLANNED} for state in left), left

    def check_all(self) -> None:
        self.indexes_agree_with_records()
        self.leases_end_for_a_reason()
        self.grants_go_where_they_may()


TestLeases = Leases.TestCase
TestLeases.settings = short(250, 40)


@pytest.mark.long
@pytest.mark.timeout(LONG_S_MAX)
def test_leases_over_many_histories_end_for_a_reason_and_runs_end() -> None:
    run_state_machine_as_test(Leases, settings=long(800, 60))
