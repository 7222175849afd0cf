"""The judge: what really executes, what was really promised, and the rules both must obey.

Nothing here asks a core. Executions are recorded by the simulated runners, promises where a
message leaves or a commit returns. Rule names are those of the protocol document, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from flow.ids import Token
from flow.messages.shared import Grant, Outcome, Verdict
from tests.simulation.graph import CAPACITY, LIMITS, Node
from tests.simulation.kernel import Kernel, Violation

#: After a freeze a stale copy must be dead this soon (agent's wake-up and the kernel's kill).
WAKE_GRACE_S = 0.1


class Place(Protocol):
    """The host of an execution, as far as the judge must know it."""

    name: str
    frozen: bool
    thawed_at: float


@dataclass(eq=False)
class Execution:
    """One process tree that executes (or has parked) one task."""

    node: Node
    token: Token
    place: Place
    since: float
    parked: bool = False
    #: nothing may run beside it
    alone: bool = False


@dataclass
class Truth:
    """Everything the judge remembers."""

    kernel: Kernel
    nodes: dict[str, Node] = field(default_factory=dict)
    running: dict[str, list[Execution]] = field(default_factory=dict)
    by_token: dict[Token, Execution] = field(default_factory=dict)
    #: what executing tasks take, by resource (cluster-wide) or (place, resource)
    in_use: dict[str | tuple[str, str], list[Execution]] = field(default_factory=dict)
    granted: dict[Token, tuple[str, int, str]] = field(default_factory=dict)
    outcomes: dict[Token, Outcome] = field(default_factory=dict)
    #: reports that arrived while their token was current
    accepted: set[Token] = field(default_factory=set)
    acked: dict[Token, Verdict] = field(default_factory=dict)
    #: tasks whose DONE was acknowledged
    done_acked: dict[str, Token] = field(default_factory=dict)
    #: tasks that more than one run counts, or that somebody retried: they may start again
    shared: set[str] = field(default_factory=set)
    #: tasks whose last counted attempt crashed
    crashed: set[str] = field(default_factory=set)
    #: runs whose cancel was acknowledged
    cancelled: set[str] = field(default_factory=set)

    def broken(self, rule: str, story: str) -> None:
        """Stop the world."""
        raise Violation(rule, story)

    # ------------------------------------------------------------ executions

    def started(self, node: Node, token: Token, place: Place, *, alone: bool) -> Execution:
        """User code of ``node`` begins in a process on ``place``."""
        kernel = self.kernel
        kernel.counts["start"] += 1
        kernel.note(place.name, "executes", f"{node.task_id} {token}")
        execution = Execution(node, token, place, kernel.now, alone=alone)
        if token in self.by_token:
            self.broken("S3", f"{token} of {node.task_id} executed twice")
        self.by_token[token] = execution
        for below in node.requires:
            if not below.complete:
                self.broken("S8", f"{node.task_id} runs before {below.task_id}")
        self.running.setdefault(node.task_id, []).append(execution)
        self._alone(execution)
        self._unaccompanied(execution)
        self._take(execution)
        return execution

    def resumed(self, execution: Execution, awaited: list[Node]) -> None:
        """A parked generator goes on."""
        execution.parked = False
        self.kernel.counts["probe: yield resumed"] += 1
        for below in awaited:
            if not below.complete:
                self.broken("S8", f"{execution.node.task_id} resumed before {below.task_id}")
        self._alone(execution)
        self._unaccompanied(execution)
        self._take(execution)

    def parked(self, execution: Execution) -> None:
        """It waits: it still counts as a copy, but takes nothing."""
        execution.parked = True
        self._give(execution)

    def ended(self, execution: Execution) -> None:
        """Its code is over or its tree is gone."""
        others = self.running[execution.node.task_id]
        others.remove(execution)
        if not others:
            del self.running[execution.node.task_id]
        self._give(execution)
        self.kernel.note(execution.place.name, "over", f"{execution.node.task_id}")

    def _excused(self, place: Place) -> bool:
        return place.frozen or self.kernel.now - place.thawed_at < WAKE_GRACE_S

    def _alone(self, execution: Execution) -> None:
        copies = self.running[execution.node.task_id]
        if len(copies) < 2 or self._excused(execution.place):
            return
        for other in copies:
            if other is execution:
                continue
            if self._excused(other.place):
                self.kernel.counts["probe: frozen copy"] += 1
            else:
                self.broken(
                    "S3",
                    f"{execution.node.task_id} executes on {execution.place.name} under"
                    f" {execution.token} and on {other.place.name} under {other.token}"
                    f" since {other.since:.3f}",
                )

    def _unaccompanied(self, execution: Execution) -> None:
        """After a crash a task runs with nothing beside it on its worker (section 4)."""
        if execution.alone:
            self.kernel.counts["probe: alone after a crash"] += 1
        for copies in self.running.values():
            for other in copies:
                beside = other is not execution and other.place is execution.place
                if beside and not other.parked and (other.alone or execution.alone):
                    names = f"{execution.node.task_id} and {other.node.task_id}"
                    self.broken("crash", f"{names} run on {other.place.name}, one must be alone")

    def woke(self, place: Place) -> None:
        """The grace after a freeze is over: nothing stale may be left there."""
        if place.frozen or self._excused(place):
            return
        for copies in list(self.running.values()):
            if len(copies) > 1:
                for copy in copies:
                    if copy.place is place:
                        self._alone(copy)

    def _take(self, execution: Execution) -> None:
        for name, amount in execution.node.policy.resources.items():
            if name in LIMITS:
                key: str | tuple[str, str] = name
                limit = LIMITS[name]
            else:
                key, limit = (execution.place.name, name), CAPACITY[name]
            users = self.in_use.setdefault(key, [])
            users.append(execution)
            used = sum(
                user.node.policy.resources[name] for user in users if not self._excused(user.place)
            )
            if used > limit and not self._excused(execution.place):
                names = ", ".join(f"{user.node.task_id}@{user.place.name}" for user in users)
                self.broken("S7", f"{used} of {limit} {key} in use by {names} (+{amount})")

    def _give(self, execution: Execution) -> None:
        for name in execution.node.policy.resources:
            key = name if name in LIMITS else (execution.place.name, name)
            users = self.in_use.get(key)
            if users and execution in users:
                users.remove(execution)

    # ------------------------------------------------------------ promises

    def dispatched(self, grant: Grant, uid: str, epoch: int) -> None:
        """A grant leaves the coordinator: its token must be new, or this very grant again."""
        known = self.granted.get(grant.token)
        if known is not None:
            if known != (grant.task_id, grant.attempt, uid):
                self.broken("S6", f"{grant.token} was {known}, now {grant.task_id} to {uid}")
            return
        _, token_epoch, _ = grant.token.split(".")
        if int(token_epoch) != epoch:
            self.broken("S6", f"{grant.token} is granted by epoch {epoch}")
        self.granted[grant.token] = (grant.task_id, grant.attempt, uid)
        if grant.task_id in self.crashed - self.shared and not grant.alone:
            self.broken("crash", f"{grant.task_id} crashed and is not granted alone")
        before = self.done_acked.get(grant.task_id)
        if before is not None and grant.task_id not in self.shared:
            self.broken("S5", f"{grant.task_id} is granted again after {before} was acknowledged")

    def reported(self, token: Token, outcome: Outcome) -> None:
        """A worker says how a token ended: never two different ends."""
        before = self.outcomes.setdefault(token, outcome)
        if before != outcome:
            self.broken("W6", f"{token} ended {before.name}, then {outcome.name}")

    def judged(self, token: Token, verdict: Verdict) -> None:
        """An acknowledgement leaves the coordinator."""
        again = token in self.acked
        before = self.acked.setdefault(token, verdict)
        if verdict == Verdict.STALE:
            self.kernel.counts["probe: stale result rejected"] += 1
            return
        if before != verdict:
            self.broken("S4", f"{token} was judged {before.name}, then {verdict.name}")
        if token not in self.accepted:
            self.broken("S4", f"{token} was committed though it was not current")
        granted = self.granted.get(token)
        outcome = self.outcomes.get(token)
        if again:
            return
        if granted is not None and outcome == Outcome.CRASHED:
            # a yield that cannot come true decides over its task before the crash does
            if not self.nodes[granted[0]].yields:
                self.crashed.add(granted[0])
        elif granted is not None and outcome in (Outcome.DONE, Outcome.FAILED, Outcome.TIMEOUT):
            self.crashed.discard(granted[0])
        if granted is not None and self.outcomes.get(token) == Outcome.DONE:
            self.done_acked[granted[0]] = token
