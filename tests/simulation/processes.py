"""Runners and planners as the agent meets them: frames in, frames out, and ways to die.

A simulated process belongs to one host; everything it does goes through the host's clock, so a
frozen host freezes it. User code is the ``Node`` of ``graph``.
"""

from __future__ import annotations

import signal
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from flow.wire.messages.codec import encode_chunk
from flow.wire.messages.shared import (
    Grant,
    Outcome,
    PlanChunk,
    PlanError,
    Policy,
    Program,
    Report,
    Spec,
    SpecStatus,
    Stub,
)
from flow.wire.messages.speech import Fate
from flow_worker import channel
from flow_worker.core.config import IMPORT_DEATHS_MAX
from tests.simulation.graph import NEVER, Node, name_of
from tests.simulation.kernel import Violation
from tests.simulation.talk import Talk
from tests.simulation.truth import Execution

if TYPE_CHECKING:
    from tests.simulation.host import Agent, Host

#: The programs of which numbers must not be forked.
ALONE_EVERY = 7
#: Stubs in one planning chunk: small, so that answers come in several.
CHUNK_STUBS_MAX = 12


class Process:
    """A process tree: alive from fork to reaped."""

    def __init__(
        self, agent: Agent, number: int, role: str, template: Template | None = None
    ) -> None:
        self.agent = agent
        self.host: Host = agent.host
        self.number = number
        self.role = role
        self.template = template
        #: what was imported here, or in the template it was forked from
        self.program: Program | None = template.program if template is not None else None
        if template is not None and template.stale:
            self.host.world.truth.broken("program", f"{number} is forked from files of before")
        self.alive = True
        self.dying = False
        #: the agent's core has had it killed
        self.told_to_die = False
        #: somebody sent SIGKILL
        self.shot = False
        #: false once it died by itself: what follows a kill is not its fault
        self.up = False

    def boot(self) -> None:
        """Be forked and imported: ready for work, unless it dies on the way."""
        if self.alive and not self.dying:
            self.up = True
            self.say(channel.Up(1000 + self.number))

    def say(self, frame: channel.Frame) -> None:
        """Write to the agent."""
        if self.alive:
            body = channel.pack(frame)
            self.agent.hear_process(self.number, channel.unpack_at_agent(body[4:]))

    def hear(self, body: bytes) -> None:
        """Read one frame from the agent."""
        if not self.alive or self.dying:
            return
        frame = channel.unpack_at_process(body[4:])
        if isinstance(frame, channel.Load):
            self.load(frame.program)
        else:
            self.on_frame(frame)

    def load(self, program: Program) -> None:
        """Import a program: once in the life of a process, and never a second one."""
        if self.program is not None:
            self.host.world.truth.broken("program", f"{self.number} imports a second program")
        self.program = program
        rng = self.host.kernel.rng
        stillborn = self.host.world.profile.stillborn
        if self.host.import_faults[program.number] + 1 >= IMPORT_DEATHS_MAX:
            stillborn = 0.0  # else the program would count as one that cannot be imported here
        if rng.random() < stillborn:
            self.host.kernel.counts["fault: import kills its process"] += 1
            self.host.import_faults[program.number] += 1
            self.die(signal.SIGSEGV, 0, 0.01)
        elif self.role == "template" and rng.random() < stillborn:
            self.host.kernel.counts["fault: import hangs"] += 1
            self.host.import_faults[program.number] += 1
        else:
            alone = "a thread" if program.number % ALONE_EVERY == 0 else ""
            loaded = channel.Loaded("c0de", 0.1, alone)
            self.host.after(0.001 + rng.random() * 0.2, self.say, loaded)

    def on_frame(self, frame: channel.ToProcess) -> None:
        """Act on it."""
        raise NotImplementedError

    def ignores_term(self) -> bool:
        """Whether SIGTERM has no effect now."""
        return False

    def term(self) -> None:
        """Receive SIGTERM."""
        if self.alive and not self.dying and not self.ignores_term():
            self.die(signal.SIGTERM, 0, self.host.kernel.rng.random() * 0.5)

    def kill(self) -> None:
        """Receive SIGKILL, the whole tree."""
        self.shot = True
        if self.alive:
            self.die(signal.SIGKILL, 0, 0.002 + self.host.kernel.rng.random() * 0.03)

    def die(self, by_signal: int, code: int, delay_s: float) -> None:
        """Begin to die; reaped ``delay_s`` later."""
        self.dying = True
        self.host.after(delay_s, self.reaped, by_signal, code)

    def reaped(self, by_signal: int, code: int) -> None:
        """Be gone with everything below."""
        if self.alive:
            self.alive = False
            self.drop()
            self.host.processes.pop((self.agent.uid, self.number), None)
            self.agent.hear_exit(self.number, int(by_signal), code)

    def vanish(self) -> None:
        """The host is gone: nobody is told."""
        self.alive = False
        self.drop()

    def drop(self) -> None:
        """Forget what it was doing."""


class Template(Process):
    """Imports a program and is the parent of its processes."""

    def __init__(self, agent: Agent, number: int) -> None:
        super().__init__(agent, number, "template")
        self.leaving = False
        self.stale = False  #: it has found that its files have changed

    @property
    def children(self) -> list[Process]:
        """What it forked and that is not reaped."""
        return [one for one in self.host.processes.values() if one.template is self]

    def on_frame(self, frame: channel.ToProcess) -> None:
        """Act on it."""
        if isinstance(frame, channel.Leave):
            self.leaving = True
            self._end()
        elif isinstance(frame, channel.LoadAgain):
            self._load_again()

    def _load_again(self) -> None:
        """Serve another run, which must be one of the very program that was imported."""
        core = self.agent.core.processes.all[self.number].program
        assert core is not None and core.definition is not None and self.program is not None
        wanted = msgspec.structs.replace(core.definition, number=0, code="")
        if wanted != msgspec.structs.replace(self.program, number=0, code=""):
            self.host.world.truth.broken("program", f"{self.number} is to serve another program")
        self.program = core.definition
        rng = self.host.kernel.rng
        self.stale = rng.random() < self.host.world.profile.stillborn
        self.host.kernel.counts[f"probe: {'stale' if self.stale else 'reused'} template"] += 1
        loaded = channel.Loaded("" if self.stale else "c0de", 0.0, stale=self.stale)
        self.host.after(0.001 + rng.random() * 0.05, self.say, loaded)

    def _end(self) -> None:
        """End once all that was forked has ended."""
        if self.alive and not self.dying:
            if self.children:
                self.host.after(0.01, self._end)
            else:
                self.die(0, 0, 0.001)

    def drop(self) -> None:
        """The kernel kills what it forked."""
        for child in self.children:
            child.kill()


class Attempt:
    """One grant inside a runner."""

    def __init__(self, grant: Grant, nodes: list[Node], began_at: float) -> None:
        self.grant = grant
        #: the task, or all members of a batch
        self.nodes = nodes
        #: rounds of yields: of a batch, those of all its members together
        self.yields: list[list[Node]] = []
        for node in nodes:
            for at, awaited in enumerate(node.yields):
                if at == len(self.yields):
                    self.yields.append([])
                self.yields[at] += [one for one in awaited if one not in self.yields[at]]
        self.began_at = began_at
        self.round = 0
        self.number = 0
        self.executions: list[Execution] = []
        self.talk: Talk | None = None

    def died(self) -> None:
        """Its process died by itself: that counts for each task it ran."""
        for node in self.nodes:
            node.deaths += 1


class Runner(Process):
    """Executes grants one after the other; keeps parked generators."""

    def __init__(self, agent: Agent, number: int, template: Template | None = None) -> None:
        super().__init__(agent, number, "runner", template)
        self.dirty = False
        self.given_back: set[str] = set()
        self.queue: deque[Grant | channel.Continue | str] = deque()
        self.current: Attempt | None = None
        self.parked: dict[str, Attempt] = {}
        self.leaving = False
        self.early: list[channel.Deliver] = []

    def on_frame(self, frame: channel.ToProcess) -> None:
        """Act on it."""
        if isinstance(frame, channel.Execute):
            for grant in frame.grants:
                self.host.world.truth.handed_over(grant, self.program)
            if self.dirty:
                self._give_back(frame.grants)
            else:
                self.queue.extend(frame.grants)
                self._next()
        elif isinstance(frame, channel.Continue):
            self.queue.append(frame)
            self._next()
        elif isinstance(frame, channel.Abandon):
            self.queue.extend(frame.tokens)
            self._next()
        elif isinstance(frame, channel.Leave):
            self.leaving = True
            self._next()
        elif isinstance(frame, channel.Deliver):
            self._deliver(frame)

    def _give_back(self, grants: list[Grant]) -> None:
        """Take nothing new any more: what comes now was sent before this was known."""
        for grant in grants:
            if grant.token in self.given_back:
                raise Violation("L4", f"{grant.token} was offered to a dirty runner again")
            self.given_back.add(grant.token)
        self.say(channel.Dirty("a thread", [grant.token for grant in grants]))

    def _soil(self) -> None:
        """A task left something that cannot be put back."""
        self.host.kernel.counts["probe: dirty runner"] += 1
        self.dirty = True
        self._give_back([item for item in self.queue if isinstance(item, Grant)])
        self.queue = deque(item for item in self.queue if not isinstance(item, Grant))

    def _deliver(self, frame: channel.Deliver) -> None:
        letter = frame.letter
        if any(isinstance(item, Grant) and item.token == letter.token for item in self.queue):
            self.early.append(frame)
            return
        for attempt in (self.current, *self.parked.values()):
            if attempt is not None and attempt.talk and attempt.grant.token == letter.token:
                attempt.talk.hear(letter)
                return
        self.say(channel.Taken(letter.token, letter.id, Fate.GONE))

    def ignores_term(self) -> bool:
        """Whether the current task's handler swallows it."""
        return self.current is not None and any(n.ignores_term for n in self.current.nodes)

    def drop(self) -> None:
        """Every copy in this tree is gone."""
        truth = self.host.world.truth
        for attempt in [self.current, *self.parked.values()]:
            if attempt is not None:
                truth.ended(attempt.executions)
        self.current = None
        self.parked = {}

    def _next(self) -> None:
        while self.current is None and self.alive and not self.dying:
            if not self.queue:
                if self.leaving:
                    self.die(0, 0, 0.001)
                return
            item = self.queue.popleft()
            if isinstance(item, Grant):
                self._begin(item)
            elif isinstance(item, str):
                self._release(item)
            else:
                attempt = self.parked.get(item.token)
                if attempt is not None and attempt.number == item.number:
                    self._go_on(self.parked.pop(item.token))

    def _release(self, token: str) -> None:
        attempt = self.parked.pop(token, None)
        if attempt is not None and attempt.executions:
            self.host.world.truth.ended(attempt.executions)
            self.say(channel.Finished([Report(token, Outcome.RELEASED)]))

    def _begin(self, grant: Grant) -> None:
        world = self.host.world
        nodes = world.truth.nodes_of(grant)
        attempt = self.current = Attempt(grant, nodes, world.kernel.now)
        if all(node.complete for node in nodes):
            if not grant.maybe_done and not any(map(world.truth.is_told, nodes)):
                # with a complete() of its own and no output it would be done twice
                raise Violation("P3", f"{grant.task_id} is done, and its grant does not tell")
            world.kernel.counts["skipped"] += 1
            self.host.after(0.001, self._end, attempt, Outcome.DONE, "", True)
            return
        attempt.executions = world.truth.started(nodes, grant.token, self.host, alone=grant.alone)
        attempt.talk = Talk(self, attempt)
        early, self.early = self.early, []
        for frame in early:
            self._deliver(frame)
        self._segment(attempt)

    def _go_on(self, attempt: Attempt) -> None:
        self.current = attempt
        awaited = attempt.yields[attempt.round]
        self.host.world.truth.resumed(attempt.executions, awaited)
        attempt.round += 1
        self._segment(attempt)

    def _segment(self, attempt: Attempt) -> None:
        """Run until the next yield or the end."""
        nodes = attempt.nodes
        seconds = max(node.seconds for node in nodes) / (len(attempt.yields) + 1)
        if hanging := [node for node in nodes if node.hangs_left > 0]:
            for node in hanging:
                node.hangs_left -= 1
            return
        self.host.after(seconds, self._segment_over, attempt)

    def _segment_over(self, attempt: Attempt) -> None:
        if self.current is not attempt or not self.alive or self.dying:
            return
        nodes = attempt.nodes
        while attempt.round < len(attempt.yields):
            awaited = attempt.yields[attempt.round]
            if not all(below.complete and not below.policy.temporary for below in awaited):
                self._park(attempt, awaited)
                return
            attempt.round += 1
        if crashing := [node for node in nodes if node.crashes_left > 0]:
            crashing[0].crashes_left -= 1
            attempt.died()
            self.die(signal.SIGSEGV, 0, 0.001)
        elif exiting := [node for node in nodes if node.exits_left > 0]:
            exiting[0].exits_left -= 1
            attempt.died()
            self.die(0, 0, 0.001)
        elif failing := [node for node in nodes if node.fails_left > 0]:
            for node in failing:
                node.fails_left -= 1
            self._end(attempt, Outcome.FAILED, "ValueError: as drawn", False)
        else:
            for node in nodes:
                node.complete = True
                node.made_by = attempt.grant.token
                node.late = self.host.world.truth.excused(self.host)
            self._end(attempt, Outcome.DONE, "", False)

    def _park(self, attempt: Attempt, awaited: list[Node]) -> None:
        attempt.number += 1
        self.current = None
        self.parked[attempt.grant.token] = attempt
        self.host.world.truth.parked(attempt.executions)
        stubs = [below.stub for below in awaited]
        run_s = self.host.world.kernel.now - attempt.began_at
        self.say(channel.Parked(attempt.grant.token, attempt.number, stubs, run_s))
        self._next()

    def _end(self, attempt: Attempt, outcome: Outcome, error: str, skipped: bool) -> None:
        if self.current is not attempt or not self.alive or self.dying:
            return
        self.current = None
        self.host.world.truth.ended(attempt.executions)
        run_s = self.host.world.kernel.now - attempt.began_at
        report = Report(attempt.grant.token, outcome, run_s, error, skipped=skipped)
        self.say(channel.Finished([report]))
        if not self.dirty and self.host.kernel.chance(self.host.world.profile.dirty_share):
            self._soil()
        self._next()


class Planner(Process):
    """Answers complete() and requires() for the nodes of the world."""

    def __init__(self, agent: Agent, number: int, template: Template | None = None) -> None:
        super().__init__(agent, number, "planner", template)
        self.answers: dict[int, deque[tuple[int, bool, bytes]]] = {}

    def on_frame(self, frame: channel.ToProcess) -> None:
        """Act on it."""
        if isinstance(frame, channel.Expand):
            delay = self.host.kernel.rng.random() * 0.05
            self.host.after(delay, self._expand, frame)
        elif isinstance(frame, channel.More):
            self._release(frame.request, frame.chunk + 1)
        elif isinstance(frame, channel.Stop):
            self.answers.pop(frame.request, None)
        elif isinstance(frame, channel.Remove):
            self.host.after(self.host.kernel.rng.random() * 0.05, self._remove, frame, 0)
        elif isinstance(frame, channel.Leave):
            self.die(0, 0, 0.001)

    def _remove(self, frame: channel.Remove, done: int) -> None:
        """Remove one output after the other."""
        if not self.alive or self.dying:
            return
        if done == len(frame.stubs):
            self.say(channel.Removed(frame.request, done, []))
            return
        truth = self.host.world.truth
        node = find_node(truth.nodes, frame.stubs[done])
        if node is not None and node.policy.temporary:
            truth.removed(node, self.host)
        self.host.after(self.host.kernel.rng.random() * 0.01, self._remove, frame, done + 1)

    def _expand(self, frame: channel.Expand) -> None:
        if not self.alive or self.dying:
            return
        self.host.world.truth.planned(frame, self.program)
        chunks = expand(self.host.world.truth.nodes, frame, self.host.kernel.now)
        last = len(chunks) - 1
        self.answers[frame.request] = deque(
            (at, at == last, encode_chunk(chunk)) for at, chunk in enumerate(chunks)
        )
        self._release(frame.request, 1)

    def _release(self, request: int, upto: int) -> None:
        answer = self.answers.get(request)
        while answer and answer[0][0] <= upto:
            at, last, body = answer.popleft()
            self.say(channel.Chunk(request, at, last, body))


class _Answer:
    """One planning answer under construction, cut into chunks."""

    def __init__(self) -> None:
        self.chunks: list[PlanChunk] = []
        self.index: dict[str, int] = {}
        self.order: list[Node | None] = []
        self._policies: dict[bytes, int] = {}
        self._fresh()

    def _fresh(self) -> None:
        self.part = PlanChunk([], [], [], [], [])

    def see(self, node: Node) -> int:
        """Name a node; return its index."""
        at = self.index.get(node.task_id)
        if at is None:
            at = self.index[node.task_id] = self.see_stub(node.stub, node)
        return at

    def see_stub(self, stub: Stub, node: Node | None) -> int:
        """Name a requested item under its own index."""
        self.order.append(node)
        self.part.stubs.append(stub)
        return len(self.order) - 1

    def policy(self, policy: Policy) -> int:
        """Number a policy."""
        key = msgspec.msgpack.encode(policy)
        at = self._policies.get(key)
        if at is None:
            at = self._policies[key] = len(self._policies)
            self.part.policies.append(policy)
        return at

    def cut(self, *, force: bool = False) -> None:
        """End a chunk where it is large enough."""
        if force or len(self.part.stubs) + len(self.part.specs) >= CHUNK_STUBS_MAX:
            self.chunks.append(self.part)
            self._fresh()


def expand(nodes: dict[str, Node], frame: channel.Expand, now: float) -> list[PlanChunk]:
    """Walk breadth-first from the requested stubs, as a planner does."""
    answer = _Answer()
    for stub in frame.stubs:
        node = find_node(nodes, stub)
        if node is not None and node.task_id not in answer.index:
            answer.see(node)
        else:
            answer.see_stub(node.stub if node is not None else stub, node)
    at = 0
    while at < len(answer.order) and at < frame.expand_max:
        node = answer.order[at]
        if node is None:
            answer.part.errors.append(PlanError(at, "unknown_task", "no such task"))
        elif answer.index[node.task_id] == at:
            _visit(answer, at, node, now)
        at += 1
        answer.cut()
    answer.cut(force=True)
    return answer.chunks


def find_node(nodes: dict[str, Node], stub: Stub) -> Node | None:
    """Find a task by its parameters, as a task class would be built."""
    return nodes.get(name_of(stub.module, stub.family, stub.params))


def _visit(answer: _Answer, at: int, node: Node, now: float) -> None:
    part = answer.part
    if node.plan_error:
        part.errors.append(PlanError(at, node.plan_error, f"{node.plan_error} as drawn"))
        return
    if node.appears_at is not None and node.appears_at <= now and node.appears_at != NEVER:
        node.complete = True
    policy = answer.policy(node.policy)
    if node.complete:
        part.specs.append(Spec(at, SpecStatus.COMPLETE, policy))
        return
    if node.appears_at is not None:
        part.specs.append(Spec(at, SpecStatus.EXTERNAL, policy))
        return
    if node.requires:
        below = [answer.see(other) for other in node.requires]
        # a wide task's edges come in pieces, all before its spec
        for start in range(0, len(below), 7):
            part.edges.append((at, below[start : start + 7]))
    part.specs.append(Spec(at, SpecStatus.INCOMPLETE, policy))
