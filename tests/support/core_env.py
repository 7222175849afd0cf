"""Drive the coordinator core without a shell: fake workers, the real codec, a store on demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, TypeVar

import msgspec

from flow.wire.messages import client, codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import (
    PROTOCOL,
    Grant,
    Outcome,
    PlanChunk,
    PlanError,
    Policy,
    Report,
    Spec,
    SpecStatus,
    Stub,
    readable_params,
)
from flow.wire.params import pack_params
from flow.wire.states import TaskState
from flow_coordinator.core import invariants, twins
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.effects import Alert, Note, PackageEffect, Send, SendNow
from flow_coordinator.core.events import Event, Received, TurnEnded
from flow_coordinator.core.machine import Coordinator
from flow_coordinator.core.records import RunRecord, TaskRecord
from flow_coordinator.shell import recovery, rows
from tests.support.memory_store import MemoryStore
from tests.support.watched import watch

M = TypeVar("M", bound=msgspec.Struct)
#: Where the tasks of the synthetic graphs are from, unless their name says otherwise.
MODULE = "mod"
#: What every worker is told in the course of things and takes without a word; the tests of these
#: read them all the same.
ROUTINE = (wire.Define, wire.PlanEnd, wire.Rack, wire.HeartbeatAck)


def stub(name: str, family: str = "T") -> Stub:
    """Name a task of the synthetic graphs; ``a@x`` is the ``a`` of module ``x``."""
    name, _, module = name.partition("@")
    return Stub(f"{family}_{name}", module or MODULE, family, pack_params({"name": name}))


def name_of(one: Stub | Grant) -> str:
    """Say what a task is called in the synthetic graphs."""
    name = msgspec.msgpack.decode(one.params, type=dict[str, str])["name"]
    return name if one.module == MODULE else f"{name}@{one.module}"


class Graph:
    """A synthetic DAG that a fake planner expands: name -> requirements."""

    def __init__(self, edges: dict[str, list[str]], policies: dict[str, Policy] | None = None):
        self.edges = edges
        self.policies = policies or {}
        self.complete: set[str] = set()
        self.external: set[str] = set()
        #: (worker uid or "", name) -> (kind, text) of a planning error
        self.errors: dict[tuple[str, str], tuple[str, str]] = {}
        #: the relative path of an output, if one has any
        self.relative = ""
        #: how often each name was expanded
        self.expanded: Counter[str] = Counter()

    def _error(self, uid: str, name: str) -> tuple[str, str] | None:
        return self.errors.get((uid, name)) or self.errors.get(("", name))

    def answer(self, plan: wire.Plan, uid: str) -> PlanChunk:
        """Expand everything asked, in one chunk, as this worker."""
        chunk = PlanChunk([], [], [], [], [], self.relative)
        index: dict[str, int] = {}

        def mention(name: str) -> int:
            if name not in index:
                index[name] = len(chunk.stubs)
                error = self._error(uid, name)
                lost = error is not None and error[0] in ("import", "unknown_task")
                one = stub(name)
                if lost and name in roots:
                    one = Stub("", one.module, one.family, one.params)
                chunk.stubs.append(one)
            return index[name]

        names = [name_of(one) for one in plan.stubs]
        roots = [n for n, one in zip(names, plan.stubs, strict=True) if not one.task_id]
        queue = list(names)
        for name in names:
            mention(name)
        done: set[str] = set()
        while queue and len(done) < plan.expand_max:
            name = queue.pop(0)
            if name in done:
                continue
            done.add(name)
            self.expanded[name] += 1
            error = self._error(uid, name)
            if error is not None:
                chunk.errors.append(PlanError(mention(name), *error))
                continue
            policy = self.policies.get(name, Policy())
            if policy not in chunk.policies:
                chunk.policies.append(policy)
            at = chunk.policies.index(policy)
            if name in self.complete:
                chunk.specs.append(Spec(mention(name), SpecStatus.COMPLETE, at))
                continue
            if name in self.external:
                chunk.specs.append(Spec(mention(name), SpecStatus.EXTERNAL, at))
                continue
            deps = self.edges.get(name, [])
            chunk.edges.append((mention(name), [mention(dep) for dep in deps]))
            chunk.specs.append(Spec(mention(name), SpecStatus.INCOMPLETE, at))
            queue.extend(deps)
        return chunk


class FakeWorker:
    """One joined agent that does what the test says."""

    def __init__(self, env: Env, name: str, slots: int, capacity: dict[str, float] | None = None):
        self.env = env
        self.name = name
        self.uid = f"uid-{name}"
        self.host_key = f"host-{name}"
        self.boot_id = "boot-1"
        self.peer = f"peer-{name}".encode()
        self.slots = slots
        self.capacity = capacity or {}
        self.folder = ""
        self.session = ""
        self.beats = 0
        self.grants: list[Grant] = []

    def join(
        self, held: Iterable[str] = (), reporting: Iterable[str] = (), dead: Iterable[str] = ()
    ) -> wire.Welcome:
        """Go through HELLO and JOIN."""
        self.env.say(self.peer, wire.Hello(self.uid, PROTOCOL))
        nonce = self.env.heard(self.peer, wire.Challenge)[-1].nonce
        self.env.say(self.peer, self.join_message(nonce, held, reporting, dead))
        welcome = self.env.heard(self.peer, wire.Welcome)[-1]
        self.session = welcome.session
        self.beats = 0
        return welcome

    def join_message(
        self,
        nonce: str,
        held: Iterable[str] = (),
        reporting: Iterable[str] = (),
        dead: Iterable[str] = (),
    ) -> wire.Join:
        """Spell a JOIN."""
        return wire.Join(
            self.uid,
            nonce,
            list(held),
            list(reporting),
            list(dead),
            self.name,
            self.name,
            self.host_key,
            self.boot_id,
            self.slots,
            self.capacity,
            folder=self.folder,
        )

    def beat(self, **fields: Any) -> None:
        """Send a heartbeat."""
        self.beats += 1
        self.say(wire.Heartbeat(self.session, self.beats, **fields))

    def say(self, message: msgspec.Struct) -> None:
        """Send a message of this worker."""
        self.env.say(self.peer, message)

    def take(self) -> list[Grant]:
        """Collect what was dispatched since the last call."""
        new = [g for d in self.env.heard(self.peer, wire.Dispatch) for g in d.grants]
        self.grants.extend(new)
        return new

    def start(self, *grants: Grant) -> None:
        """Confirm grants."""
        self.say(wire.Started(self.session, [g.token for g in grants]))

    def resumed(self, grant: Grant, number: int) -> None:
        """Confirm the RESUME of a yield."""
        self.say(wire.Started(self.session, [grant.token], [(grant.token, number)]))

    def run(self, *names: str) -> list[str]:
        """Take what was dispatched, start it and report it done; return the names in order.

        With names: only what was dispatched under these, the rest stays.
        """
        grants = self.take()
        for grant in grants:
            assert grant.task_id.startswith("T_")
        chosen = [g for g in grants if not names or name_of(g) in names]
        if chosen:
            self.start(*chosen)
            self.end(*chosen)
        return [name_of(grant) for grant in chosen]

    def run_all(self) -> list[str]:
        """Run whatever is dispatched until nothing more comes; return the names in order."""
        ran: list[str] = []
        while True:
            more = self.run()
            if not more:
                return ran
            ran.extend(more)

    def yields(self, grant: Grant, number: int, *names: str, part: int = 0, parts: int = 1) -> None:
        """Say that a generator yielded these."""
        stubs = [stub(name) for name in names]
        self.say(wire.Yield(self.session, grant.token, number, part, parts, stubs))

    def end(self, *grants: Grant, outcome: Outcome = Outcome.DONE, **fields: Any) -> None:
        """Report grants."""
        fields.setdefault("run_s", 1.0)
        reports = [Report(g.token, outcome, **fields) for g in grants]
        self.say(wire.Results(self.session, reports))


class Env:
    """A core, its clock, its fake peers and everything it said."""

    def __init__(self, config: CoreConfig | None = None, seed: int = 0) -> None:
        self.now = 100.0
        self.utc_s = 1_700_000_000.0 - self.now
        self.config = config or CoreConfig()
        self.store = MemoryStore(lineage="feed")
        self.core = self._restore(seed)
        self.graph = Graph({})
        #: planning questions stay in ``said`` for the test to answer
        self.plan_by_hand = False
        self.notes: list[Note] = []
        self.alerts: list[Alert] = []
        #: what was to be done to files of packed code
        self.shipped: list[PackageEffect] = []
        self.said: dict[bytes, list[msgspec.Struct]] = {}
        self.request = 0
        watch(self)

    def worker(
        self, name: str = "a", slots: int = 2, capacity: dict[str, float] | None = None
    ) -> FakeWorker:
        """Join a worker."""
        worker = FakeWorker(self, name, slots, capacity)
        worker.join()
        return worker

    def _restore(self, seed: int) -> Coordinator:
        snapshot = self.store.load()
        ended = self.store.runs_ended(200)
        utc_s = self.now + self.utc_s
        return recovery.restore(snapshot, ended, self.config, Random(seed), self.now, utc_s)

    def restart(self, config: CoreConfig | None = None, *, seed: int = 0) -> None:
        """Lose the coordinator and start it again from what was committed, on another clock."""
        self.config = config or self.config
        self.store = self.store.reopen()
        self.said.clear()
        self.now += 5_000.0
        self.utc_s -= 5_000.0
        self.core = self._restore(seed)
        self.check()

    def commit(self) -> None:
        """Write what changed, as the shell does at the end of a turn."""
        changes = self.core.take_changes()
        if changes:
            self.store.commit(rows.batch_of(changes, self.now, self.now + self.utc_s))

    def handle(self, event: Event) -> None:
        """Give the core an event of its shell."""
        self._collect(self.core.handle(event, self.now))

    def say(self, peer: bytes, message: msgspec.Struct, *, end_turn: bool = True) -> None:
        """Deliver a message through the codec and end the turn."""
        decoded = codec.decode_at_coordinator(codec.encode(message))
        self._collect(self.core.handle(Received(peer, decoded), self.now))
        if end_turn:
            self.turn()

    def turn(self, *, drained: bool = True) -> None:
        """End the turn until there is nothing left to do at once; plan what is asked."""
        while True:
            self._collect(self.core.handle(TurnEnded(drained), self.now))
            self.commit()
            if not self._plan() and not self.core.busy:
                return

    def wait(self, seconds: float) -> None:
        """Let time pass, waking the core at each of its deadlines."""
        until = self.now + seconds
        while True:
            deadline = self.core.next_deadline()
            if deadline is None or deadline > until:
                break
            self.now = max(self.now, deadline) + 1e-6
            self.turn()
        self.now = until
        self.turn()

    def submit(self, *roots: str, **options: Any) -> str:
        """Submit a run of these roots; return its id."""
        self.request += 1
        stubs = [stub(root) for root in roots]
        tasks = [client.RootTask(one.module, "T", readable_params(one.params)) for one in stubs]
        message = client.Submit(
            self.request, f"key-{self.request}", "default", tasks, client.SubmitOptions(**options)
        )
        self.say(b"client", message)
        return self.heard(b"client", client.Submitted)[-1].run

    def ask(self, make: Callable[[int], msgspec.Struct], kind: type[M]) -> M:
        """Send a request built from its number; return the reply."""
        self.request += 1
        self.say(b"client", make(self.request))
        return self.heard(b"client", kind)[-1]

    def task(self, name: str) -> TaskRecord:
        """Find a task of the synthetic graph."""
        one = stub(name)
        task = twins.find(self.core.state, "default", one.task_id, one.module)
        assert task is not None, f"{name} is not in memory"
        return task

    def state(self, name: str) -> TaskState:
        """Tell where a task is."""
        return self.task(name).state

    def run(self, number: int = 1) -> RunRecord:
        """Find a run, ended or not."""
        s = self.core.state
        return s.runs.get(number) or s.ended[number]

    def ended(self, number: int = 1) -> int:
        """Give the exit code of a run that has ended."""
        summary = self.run(number).summary
        assert summary is not None, f"run {number} is open: {self.run(number).tallies}"
        return summary.exit_code

    def heard(self, peer: bytes, kind: type[M]) -> list[M]:
        """Take the messages of one kind that a peer was sent."""
        all_of_it = self.said.get(peer, [])
        found = [one for one in all_of_it if isinstance(one, kind)]
        self.said[peer] = [one for one in all_of_it if not isinstance(one, kind)]
        return found

    def check(self) -> None:
        """Check every invariant."""
        invariants.check(self.core.state)

    def unread(self) -> set[str]:
        """Name the kinds of messages, and of errands to files, that the test did not take."""
        said = [one for messages in self.said.values() for one in messages]
        return {type(one).__name__ for one in (*said, *self.shipped) if type(one) not in ROUTINE}

    def _collect(self, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, Note):
                self.notes.append(effect)
                continue
            if isinstance(effect, Alert):
                self.alerts.append(effect)
                continue
            if isinstance(effect, PackageEffect):
                self.shipped.append(effect)
                continue
            assert isinstance(effect, (Send, SendNow))
            data = codec.encode(effect.message)
            decode = (
                codec.decode_at_client
                if effect.peer.startswith(b"client")
                else codec.decode_at_worker
            )
            self.said.setdefault(effect.peer, []).append(decode(data))

    def _plan(self) -> bool:
        planned = False
        if self.plan_by_hand:
            return False
        for worker in list(self.core.state.workers.values()):
            for plan in self.heard(worker.peer, wire.Plan):
                planned = True
                body = codec.encode_chunk(self.graph.answer(plan, worker.uid))
                message = wire.Planned(worker.session, plan.request, 0, True, body)
                decoded = codec.decode_at_coordinator(codec.encode(message))
                self._collect(self.core.handle(Received(worker.peer, decoded), self.now))
        return planned
