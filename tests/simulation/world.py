"""One seed: a world is built, breaks for a while, heals, and must come to a good end."""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flow.wire.messages.client import RunSummary, SubmitOptions
from flow.wire.messages.shared import Verdict
from flow.wire.moves import IllegalMove
from flow.wire.params import pack_params
from flow.wire.states import TERMINAL, TaskState
from flow_coordinator.core.resources import EPSILON
from tests.simulation import audit
from tests.simulation.clients import Client
from tests.simulation.coordinator import SimCoordinator
from tests.simulation.cores import simulated
from tests.simulation.faults import Faults, draw_profile
from tests.simulation.graph import LIMITS, Graph, make_graph, name_of, reach
from tests.simulation.host import Host
from tests.simulation.kernel import Kernel, Violation
from tests.simulation.network import Network
from tests.simulation.talk import TalkJudge
from tests.simulation.truth import Truth

if TYPE_CHECKING:
    from flow.wire.messages.worker import Welcome
    from flow_coordinator.core.machine import Coordinator
    from flow_coordinator.store.base import Batch

#: Where command lines give values to tasks: such runs share less, and others shall share all.
GIVING_PROFILES = ("calm", "freezes", "crashes", "restarts")
#: Steps between two full recounts of the coordinator's state.
CHECK_EVERY = 500
#: Virtual seconds a world may be broken at most.
BROKEN_MAX_S = 6_000.0
#: Time for the last words after the last run ended.
SETTLE_S = 60.0
#: Whoever can talk has joined after this, seconds, and how often that is looked at.
JOIN_S_MAX = 10.0
LOOK_S = 1.0
#: How long runs wait for external data, seconds.
EXTERNAL_WAIT_S = 600.0
EVENTS_DEFAULT = 10_000


class World:
    """Everything of one seed."""

    def __init__(
        self, seed: int, profile: str = "mixed", events: int = EVENTS_DEFAULT, *, log: bool = False
    ) -> None:
        self.seed = seed
        self.events = events
        self.kernel = Kernel(seed, keep_log=log)
        rng = self.kernel.rng
        self.profile = draw_profile(profile, rng)
        self.truth = Truth(self.kernel)
        self.network = Network(self.kernel, self._arrived)
        self.graphs: list[Graph] = []
        self.clients: list[Client] = []
        self.members: Counter[str] = Counter()
        #: the tasks that each token was granted for, all in one commit
        self.tokens: dict[str, set[int]] = {}
        self.names: dict[int, str] = {}
        #: number of a family -> its module and name
        self.families: dict[int, tuple[str, str]] = {}
        self.failures: Counter[str] = Counter()
        self.attempts: dict[int, tuple[int, str | None]] = {}
        self.coordinator = SimCoordinator(self)
        error = self.profile.rate_error
        self.hosts = [
            Host(self, f"h{n}", 1.0 + rng.uniform(-error, error), rng.randrange(1, 4))
            for n in range(self.profile.hosts)
        ]
        self.broken = True
        #: hosts that could talk all the time, and since when they are not joined
        self._able_since: dict[str, float] = {}
        self._submit()
        self.talk = TalkJudge(self)
        self.faults = Faults(self)

    def new_uid(self) -> str:
        """Draw the identity of an agent."""
        return f"{self.kernel.rng.getrandbits(128):032x}"

    def _arrived(self, peer: bytes, data: bytes) -> None:
        self.coordinator.arrived(peer, data)

    # ------------------------------------------------------------ runs

    def _submit(self) -> None:
        """Submit something now and again while the world is broken."""
        if not self.broken:
            return
        rng = self.kernel.rng
        open_runs = sum(client.ended is None for client in self.clients)
        if open_runs < 4:
            if not self.graphs or rng.random() < 0.7:
                work = make_graph(
                    len(self.graphs), rng, self.profile.size, self.profile.trouble, self.kernel.now
                )
                self.graphs.append(work)
                self.truth.nodes.update({node.task_id: node for node in work.nodes})
            else:
                work = self.graphs[-1]
            tops = rng.sample(work.tops, rng.randrange(1, min(2, len(work.tops)) + 1))
            # every other one has values of its own for all tasks
            number = len(self.clients)
            own = self.profile.name in GIVING_PROFILES and number % 2
            given = pack_params({"given": str(number)}) if own else b""
            options = SubmitOptions(
                priority=float(rng.choice((0, 0, 3))), wait_external_s=EXTERNAL_WAIT_S, given=given
            )
            members = {node.task_id: node for top in tops for node in reach(top)}
            for task_id in members:
                self.members[task_id] += 1
                self.truth.given.setdefault(task_id, []).append(given)
                if self.members[task_id] > 1:
                    self.truth.shared.add(task_id)
            self.clients.append(Client(self, len(self.clients), tops, options))
        self.kernel.after(rng.expovariate(1 / self.profile.submit_every_s), self._submit)

    def any_client(self, wish: str) -> None:
        """Let somebody change their mind."""
        client = self.kernel.rng.choice(self.clients)
        if wish == "cancel":
            client.cancel()
        else:
            self.truth.shared.update(node.task_id for top in client.tops for node in reach(top))
            client.retry()

    def run_ended(self, client: Client, summary: RunSummary) -> None:
        """A run came to an end: was it the right one?"""
        self.kernel.counts[f"run {summary.state}"] += 1
        members = {node.task_id: node for top in client.tops for node in reach(top)}
        if client.cancelled or any(node.deaths >= 3 for node in members.values()):
            return
        doomed = any(node.broken for node in members.values())
        wanted = "failed" if doomed else "succeeded"
        story = f"{client.run} ended {summary.state}, should be {wanted}: {summary}"
        if summary.state != wanted:
            self.truth.broken("P5", story)
        if not doomed:
            missing = [
                top.task_id for top in client.tops if not top.complete and not top.policy.temporary
            ]
            if missing:
                self.truth.broken("S5", f"{client.run} succeeded without {missing}")

    def submitted(self, client: Client) -> None:
        """The coordinator acknowledged a run."""
        self.kernel.counts["run submitted"] += 1

    # ------------------------------------------------------------ watching the coordinator

    def committed(self, batch: Batch) -> None:
        """Rows became durable."""
        for family_row in batch.families:
            self.families[family_row[0]] = family_row[2], family_row[3]
        for task_row in batch.tasks:
            module, family = self.families[task_row[2]]
            self.names[task_row[0]] = name_of(module, family, task_row[5])
        for token, numbers in _granted(batch).items():
            self.tokens.setdefault(token, numbers)
        for row in batch.progress:
            number, attempt, token = row[0], row[2], row[5]
            self._budget(self.names.get(number, ""), row[1], row[3])
            before = self.attempts.get(number, (0, None))
            if token is not None and token != before[1]:
                if attempt <= before[0] or number not in self.tokens[token]:
                    self.truth.broken("S6", f"{token}, attempt {attempt} of {number}: {before}")
                self.attempts[number] = (attempt, token)

    def _budget(self, task_id: str, state: int, failures: int) -> None:
        """A task fails for good with its last allowed failure, and failures are not forgotten."""
        node = self.truth.nodes.get(task_id)
        if node is None or task_id in self.truth.shared:
            return
        most = node.policy.retry_count
        if failures < self.failures[task_id]:
            self.truth.broken("retry", f"{task_id} had {self.failures[task_id]}, now {failures}")
        self.failures[task_id] = failures
        if state == TaskState.FAILED and failures != most:
            self.truth.broken("retry", f"{task_id} ended after {failures} failures of {most}")

    def recovered(self, core: Coordinator) -> None:
        """A coordinator came back: what was acknowledged must still be so."""
        for token, verdict in self.truth.acked.items():
            if verdict == Verdict.COMMITTED and token in core.state.leases:
                self.truth.broken("S5", f"{token} was acknowledged and is a lease again")
        for token, lease in core.state.leases.items():
            words = lease.task.extra.words if lease.task.extra is not None else None
            number = words.number if words is not None and words.token == token else 0
            if number < self.talk.acked.get(token, 0):
                self.truth.broken("S5", f"words {self.talk.acked[token]} of {token} are forgotten")
        for name, limit in LIMITS.items():
            used = core.state.resources.used.get(name, 0.0)
            if used > limit + EPSILON:
                self.truth.broken("S7", f"{used} of {limit} {name} in use right after a start")
        for run in core.state.runs.values():
            if run.id in self.truth.cancelled and not run.cancelled:
                self.truth.broken("S5", f"{run.id} was cancelled and goes on")

    def welcomed(self, message: Welcome, held: list[str]) -> None:
        """A JOIN is in force."""
        if self.coordinator.generation > 1 and set(held) - set(message.kill):
            self.kernel.counts["probe: adopt after restart"] += 1

    def coordinator_restart(self) -> None:
        """A planned restart."""
        self.coordinator.stop()

    # ------------------------------------------------------------ the whole story

    def run(self) -> None:
        """Tell it. Raises ``Violation``."""
        kernel = self.kernel
        next_check = CHECK_EVERY
        while kernel.events < self.events and kernel.now < BROKEN_MAX_S:
            kernel.step()
            if kernel.events >= next_check:
                next_check += CHECK_EVERY
                self.check()
        self._heal()
        deadline = kernel.now + self._patience()
        while any(client.ended is None for client in self.clients):
            kernel.step()
            if kernel.events >= next_check:
                next_check += CHECK_EVERY
                self.check()
            if kernel.now > deadline:
                self._stuck()
        self._settle()

    def _heal(self) -> None:
        """Faults stop; what is down comes back by itself."""
        kernel = self.kernel
        kernel.note("world", "heals")
        self.broken = False
        self.faults.stop()
        self.network.heal()
        self.coordinator.crash_at = ""
        self.coordinator.full_until = 0.0
        kernel.after(LOOK_S, self._look_joined)

    def _look_joined(self) -> None:
        """L3: who could join for a while has joined."""
        now = self.kernel.now
        boss = self.coordinator
        awake = boss.alive and boss.frozen_until < now
        for host in self.hosts:
            agent = host.agent
            able = awake and host.up and not host.frozen and agent is not None and agent.able
            if not able:
                self._able_since.pop(host.name, None)
            elif agent is not None and agent.core.joining.session is not None:
                self._able_since[host.name] = now
            elif now - self._able_since.setdefault(host.name, now) > JOIN_S_MAX:
                self.truth.broken("L3", f"{agent.name if agent else host.name} does not join")
        self.kernel.after(LOOK_S, self._look_joined)

    def _patience(self) -> float:
        """L1: how long everything may take from now."""
        work = sum(node.seconds for work in self.graphs for node in work.nodes)
        return 4 * self.profile.timing.term_s + EXTERNAL_WAIT_S + 600.0 + 2 * work

    def _settle(self) -> None:
        """After the last run: nothing may be left anywhere."""
        kernel = self.kernel
        until = kernel.now + SETTLE_S + 2 * self.profile.timing.term_s
        while kernel.now < until or not self._is_settled():
            kernel.step()
        kernel.counts["settled"] += 1
        self.check()
        truth = self.truth
        if truth.running:
            truth.broken("L6", f"still executing: {sorted(truth.running)}")
        for host in self.hosts:
            agent = host.agent
            if (agent is not None and len(agent.core.outbox)) or agent.core.tokens.live:
                truth.broken("L5", f"{agent.name} still has {agent.core.tokens.held()} to report")
            left = [key for key, one in host.processes.items() if one.agent is not agent]
            if left:
                truth.broken("L6", f"processes of agents that are gone: {left}")
            programs = agent.core.programs
            if programs.all or programs.ending:
                numbers = [*programs.all, *(one.number for one in programs.ending)]
                truth.broken("L6", f"{agent.name} has programs of ended runs: {numbers}")
        self.talk.check_end()
        state = self.coordinator.core.state
        if state.leases:
            truth.broken("L2", f"leases left: {sorted(state.leases)}")

    def _is_settled(self) -> bool:
        """Whether all hosts are back, and no lease is kept for longer than its term."""
        boss = self.coordinator
        kept = boss.core.state.orphans_until.values()
        back = all(host.name in self._able_since for host in self.hosts)
        return back and boss.alive and not any(until > boss.clock() - LOOK_S for until in kept)

    def _stuck(self) -> None:
        """L1: say what does not come to an end."""
        state = self.coordinator.core.state
        story = [
            f"{client.name} {client.run or 'not submitted'}"
            for client in self.clients
            if client.ended is None
        ]
        story += [
            f"{task.task_id} {task.state.label} waits={task.waits} asked={task.asked}"
            for tasks in state.tasks.values()
            for task in tasks.values()
            if task.runs and task.state not in TERMINAL and task.waits == 0
        ]
        story += [f"plan {plan.number} chunk {plan.chunk}" for plan in state.plans.values()]
        story += [f"frontier {len(state.frontier)}", f"unresolved {len(state.unresolved)}"]
        self.truth.broken("L1", "; ".join(story[:60]))

    def check(self) -> None:
        """Recount what the cores hold."""
        audit.recount(self)


def _granted(batch: Batch) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for row in batch.progress:
        if row[5] is not None:
            found.setdefault(row[5], set()).add(row[0])
    return found


@dataclass
class Result:
    """What became of one seed."""

    seed: int
    events: int
    digest: str
    seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    rule: str = ""
    violation: str = ""
    story: list[str] = field(default_factory=list)


def run_seed(
    seed: int, profile: str = "mixed", events: int = EVENTS_DEFAULT, *, log: bool = False
) -> Result:
    """Run one world to its end, or to the first broken promise."""
    with simulated():
        return _run_world(World(seed, profile, events, log=log))


def _run_world(world: World) -> Result:
    kernel = world.kernel
    rule = violation = ""
    story: list[str] = []
    try:
        world.run()
    except Violation as broken:
        rule, violation = broken.rule, str(broken)
    except IllegalMove as move:
        rule, violation = "S10", f"S10: {move}"
    except Exception:  # a core fell over: the seed is what matters
        rule, violation = "bug", f"bug: {traceback.format_exc()}"
    if violation:
        story = kernel.story(80)
    if world.kernel.log is not None:
        story = world.kernel.log
    return Result(
        world.seed,
        kernel.events,
        kernel.digest(),
        kernel.now,
        kernel.counts,
        rule,
        violation,
        story,
    )
