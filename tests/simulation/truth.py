"""The judge: what really executes, what was really promised, and the rules both must obey.

Nothing here asks a core. Executions are recorded by the simulated runners, promises where a
message leaves or a commit returns. The names of promises are those of PROTOCOL.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from flow.wire.ids import Token
from flow.wire.messages.shared import Grant, Outcome, Program, Verdict
from flow_worker.channel import Expand
from tests.simulation.graph import CAPACITY, LIMITS, Node, name_of
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
    #: what it gave back, by resource
    given: dict[str, float] = field(default_factory=dict)

    def takes(self, name: str) -> float:
        """Tell how much of a resource it takes now."""
        return max(0.0, self.node.policy.resources[name] - self.given.get(name, 0.0))


@dataclass
class Truth:
    """Everything the judge remembers."""

    kernel: Kernel
    nodes: dict[str, Node] = field(default_factory=dict)
    running: dict[str, list[Execution]] = field(default_factory=dict)
    by_token: dict[Token, list[Execution]] = field(default_factory=dict)
    #: what executing tasks take, by resource (cluster-wide) or (place, resource)
    in_use: dict[str | tuple[str, str], list[Execution]] = field(default_factory=dict)
    granted: dict[Token, tuple[str, int, str]] = field(default_factory=dict)
    #: the tasks that a token runs: one, or the members of a batch
    named: dict[Token, list[str]] = field(default_factory=dict)
    outcomes: dict[Token, Outcome] = field(default_factory=dict)
    #: reports that arrived while their token was current
    accepted: set[Token] = field(default_factory=set)
    acked: dict[Token, Verdict] = field(default_factory=dict)
    #: tasks whose DONE was acknowledged
    done_acked: dict[str, Token] = field(default_factory=dict)
    #: tasks that more than one run counts, or that somebody retried: they may start again
    shared: set[str] = field(default_factory=set)
    #: what the command lines of the runs that count a task give to it
    given: dict[str, list[bytes]] = field(default_factory=dict)
    #: tasks whose last counted attempt crashed
    crashed: set[str] = field(default_factory=set)
    #: runs whose cancel was acknowledged
    cancelled: set[str] = field(default_factory=set)

    def broken(self, rule: str, story: str) -> None:
        """Stop the world."""
        raise Violation(rule, story)

    # ------------------------------------------------------------ executions

    def nodes_of(self, grant: Grant) -> list[Node]:
        """Find what a grant runs: its task, or the members of its batch."""
        params = grant.members or [grant.params]
        return [self.nodes[name_of(grant.module, grant.family, one)] for one in params]

    def started(
        self, nodes: list[Node], token: Token, place: Place, *, alone: bool
    ) -> list[Execution]:
        """User code of these begins in one process on ``place``: one task, or a batch of them."""
        kernel = self.kernel
        kernel.counts["start"] += 1
        if len(nodes) > 1:
            kernel.counts["probe: batch"] += 1
        if token in self.by_token:
            self.broken("S3", f"{token} of {nodes[0].task_id} executed twice")
        executions = self.by_token[token] = [
            Execution(node, token, place, kernel.now, alone=alone) for node in nodes
        ]
        for node, execution in zip(nodes, executions, strict=True):
            kernel.note(place.name, "executes", f"{node.task_id} {token}")
            for below in node.requires:
                if not below.complete:
                    self.broken("S8", f"{node.task_id} runs before {below.task_id}")
            self.running.setdefault(node.task_id, []).append(execution)
            self._alone(execution)
            self._unaccompanied(execution)
        self._take(executions[0])
        return executions

    def resumed(self, executions: list[Execution], awaited: list[Node]) -> None:
        """A parked generator goes on."""
        self.kernel.counts["probe: yield resumed"] += 1
        if len(executions) > 1:
            self.kernel.counts["probe: batch resumed"] += 1
        for execution in executions:
            execution.parked = False
            for below in awaited:
                if not below.complete:
                    self.broken("S8", f"{execution.node.task_id} resumed before {below.task_id}")
            self._alone(execution)
            self._unaccompanied(execution)
        self._take(executions[0])

    def parked(self, executions: list[Execution]) -> None:
        """It waits: it still counts as a copy, but takes nothing."""
        for execution in executions:
            execution.parked = True
        self._give(executions[0])

    def ended(self, executions: list[Execution]) -> None:
        """Its code is over or its tree is gone."""
        for execution in executions:
            others = self.running[execution.node.task_id]
            others.remove(execution)
            if not others:
                del self.running[execution.node.task_id]
            self._give(execution)
            self.kernel.note(execution.place.name, "over", f"{execution.node.task_id}")

    def is_told(self, node: Node) -> bool:
        """Whether who made it was heard, or an answer from before that may plan it anew."""
        made_by = node.made_by
        return not made_by or made_by in self.accepted or node.late or node.task_id in self.shared

    def excused(self, place: Place) -> bool:
        """Whether what goes on here may be a copy whose lease is over."""
        return place.frozen or self.kernel.now - place.thawed_at < WAKE_GRACE_S

    def _alone(self, execution: Execution) -> None:
        copies = self.running[execution.node.task_id]
        twin = execution.node.twin
        if twin is not None:
            self.kernel.counts["probe: twin executes"] += 1
            copies = [*copies, *self.running.get(twin.task_id, ())]
        if len(copies) < 2 or self.excused(execution.place):
            return
        for other in copies:
            if other is execution:
                continue
            if self.excused(other.place):
                self.kernel.counts["probe: frozen copy"] += 1
            else:
                self.broken(
                    "S3",
                    f"{execution.node.task_id} executes on {execution.place.name} under"
                    f" {execution.token} and {other.node.task_id} on {other.place.name} under"
                    f" {other.token}"
                    f" since {other.since:.3f}",
                )

    def _unaccompanied(self, execution: Execution) -> None:
        """After a crash a task runs with nothing beside it on its worker (section 4)."""
        if execution.alone:
            self.kernel.counts["probe: alone after a crash"] += 1
        for copies in self.running.values():
            for other in copies:
                beside = other.token != execution.token and other.place is execution.place
                if beside and not other.parked and (other.alone or execution.alone):
                    names = f"{execution.node.task_id} and {other.node.task_id}"
                    self.broken("crash", f"{names} run on {other.place.name}, one must be alone")

    def woke(self, place: Place) -> None:
        """The grace after a freeze is over: nothing stale may be left there."""
        if place.frozen or self.excused(place):
            return
        for copies in list(self.running.values()):
            for copy in copies:
                if copy.place is place and (len(copies) > 1 or copy.node.twin):
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
            used = sum(user.takes(name) for user in users if not self.excused(user.place))
            if used > limit and not self.excused(execution.place):
                names = ", ".join(f"{user.node.task_id}@{user.place.name}" for user in users)
                self.broken("S7", f"{used} of {limit} {key} in use by {names} (+{amount})")

    def gave_back(self, execution: Execution, given: dict[str, float]) -> None:
        """It needs so much less from now on, until it ends."""
        execution.given = given
        self.kernel.counts["probe: given back"] += 1

    def _give(self, execution: Execution) -> None:
        for name in execution.node.policy.resources:
            key = name if name in LIMITS else (execution.place.name, name)
            users = self.in_use.get(key)
            if users and execution in users:
                users.remove(execution)

    def removed(self, node: Node, place: Place) -> None:
        """The temporary output of a task is removed: nobody who executes may need it."""
        kernel = self.kernel
        kernel.note(place.name, "removes", node.task_id)
        if node.complete:
            kernel.counts["probe: temporary output removed"] += 1
        for copies in self.running.values():
            for copy in copies:
                if node in copy.node.requires and not self.excused(copy.place):
                    self.broken(
                        "temporary", f"{copy.node.task_id} executes and needs {node.task_id}"
                    )
        node.complete = False
        # whoever needs it later has it made again
        self.shared.add(node.task_id)
        self.done_acked.pop(node.task_id, None)

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
        self._batch(grant)
        for task_id in self.named[grant.token]:
            if task_id in self.crashed - self.shared and not grant.alone:
                self.broken("crash", f"{task_id} crashed and is not granted alone")
            before = self.done_acked.get(task_id)
            if before is not None and task_id not in self.shared:
                self.broken("S5", f"{task_id} is granted again after {before} was acknowledged")

    def handed_over(self, grant: Grant, program: Program | None) -> None:
        """A process has a grant: it must be of the program in which its tasks were planned."""
        if program is None or program.number != grant.program:
            own = program.number if program is not None else "no program"
            self.broken("program", f"{grant.token} of {grant.program} is in a process of {own}")
            return
        for task_id in self.named[grant.token]:
            self._of_its_run(task_id, program)

    def planned(self, frame: Expand, program: Program | None) -> None:
        """A process answers a question: its program must be that of a run that asks."""
        if program is None:
            self.broken("program", "a question is answered in no program")
            return
        for stub in frame.stubs:
            name = name_of(stub.module, stub.family, stub.params)
            if stub.task_id and name in self.given:
                self._of_its_run(name, program)

    def _of_its_run(self, task_id: str, program: Program) -> None:
        if program.given not in self.given[task_id]:
            self.broken("program", f"{task_id} is in the program of {program.given!r}, a stranger")
        elif program.given:
            self.kernel.counts["probe: run with values of its run"] += 1

    def _batch(self, grant: Grant) -> None:
        """What a grant runs as one must be of one kind, and not too many."""
        nodes = self.nodes_of(grant)
        names = self.named[grant.token] = [node.task_id for node in nodes]
        if nodes[0].stub.task_id != grant.task_id or len(set(names)) < len(names):
            self.broken("batch", f"{grant.token} of {grant.task_id} runs {names}")
        first = msgspec.structs.replace(nodes[0].policy, priority=0.0)
        for node in nodes[1:]:
            policy = msgspec.structs.replace(node.policy, priority=0.0)
            if policy != first or not policy.batched or node.family != nodes[0].family:
                self.broken("batch", f"{node.task_id} runs with {grant.task_id}, of another kind")
        if 0 < first.batch_max < len(nodes):
            self.broken("batch", f"{grant.task_id} is one of {len(nodes)}, {first.batch_max} may")
        if grant.alone and len(nodes) > 1:
            self.broken("crash", f"{grant.task_id} runs alone, with {names[1:]}")

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
        names = self.named.get(token, [])
        outcome = self.outcomes.get(token)
        if again:
            return
        if outcome == Outcome.CRASHED:
            # a yield that cannot come true decides over its task before the crash does
            if not any(self.nodes[name].yields for name in names):
                self.crashed.update(names)
        elif outcome in (Outcome.DONE, Outcome.FAILED, Outcome.TIMEOUT):
            self.crashed.difference_update(names)
        if outcome == Outcome.DONE:
            self.done_acked.update(dict.fromkeys(names, token))
