"""Random walks of the worker core: whatever comes in whatever order, its promises hold.

Model processes run their batches one after the other, as real runners do. After every event the
core's invariants are checked, and at the end of each walk: no token began twice (W1), every token
ended in exactly one kind of report (W6), and nothing is left when all is acknowledged.
"""

from __future__ import annotations

from collections import deque
from random import Random

import pytest

from flow.wire.messages.shared import Outcome, Program, Report, Verdict
from flow.wire.messages.worker import (
    Define,
    Dispatch,
    Heartbeat,
    HeartbeatAck,
    Join,
    Kill,
    Rack,
    Recall,
    Rejoin,
    Results,
    Resume,
)
from flow_worker.channel import (
    Abandon,
    Continue,
    Dirty,
    Execute,
    Finished,
    Leave,
    Load,
    Loaded,
    Parked,
    Up,
)
from flow_worker.core import events
from flow_worker.core.records import ProcessState
from tests.support.worker_env import WorkerEnv, grant, stub, tok

STEPS = 250


class Runner:
    """A task process that does what it is told, in order."""

    def __init__(self) -> None:
        self.up = False
        self.queue: deque[tuple[str, str]] = deque()
        self.running: str | None = None
        self.parked: dict[str, int] = {}
        self.leaving = False
        self.loading = False
        self.dirty = False


class Walk:
    """One core, its processes, and a source of events."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        slots = self.rng.choice([1, 2, 3])
        self.env = WorkerEnv(slots=slots, joined=False, parked_max=4, runner_tasks_max=15)
        self.processes: dict[int, Runner] = {}
        self.dying: set[int] = set()
        self.next = 0
        self.lineage = "00" * 8
        self.since = 1  #: the first token of this lineage
        self.sessions = 0
        self.began: dict[str, int] = {}
        self.ends: dict[str, set[Outcome]] = {}
        self.dispatched: list[str] = []
        self.env.advance(0)
        self.join()

    # ------------------------------------------------------------ the world obeys

    def settle(self) -> None:
        """Do what the core asked, until it asks nothing more."""
        env = self.env
        for number, _ in env.started:
            self.processes[number] = Runner()
        env.started.clear()
        for number, frame in env.told:
            self.hear(number, frame)
        env.told.clear()
        self.dying |= {n for n, _ in env.killed if n in self.processes}
        env.killed.clear()
        for message in env.of(Results):
            for report in message.reports:
                self.ends.setdefault(report.token, set()).add(report.outcome)

    def hear(self, number: int, frame: object) -> None:
        runner = self.processes.get(number)
        if runner is None:
            return
        if isinstance(frame, Execute) and runner.dirty:
            self.env.say(number, Dirty("a thread", [g.token for g in frame.grants]))
        elif isinstance(frame, Execute):
            runner.queue.extend(("run", g.token) for g in frame.grants)
        elif isinstance(frame, Load):
            runner.loading = True
        elif isinstance(frame, Continue):
            runner.queue.append(("go on", frame.token))
        elif isinstance(frame, Abandon):
            runner.queue.extend(("give up", token) for token in frame.tokens)
        elif isinstance(frame, Leave):
            runner.leaving = True
        self.step(number)

    def step(self, number: int) -> None:
        """Begin what is next, if nothing runs."""
        runner = self.processes[number]
        while runner.running is None and runner.queue:
            what, token = runner.queue.popleft()
            if what == "run":
                self.began[token] = self.began.get(token, 0) + 1
                runner.running = token
            elif what == "go on" and token in runner.parked:
                runner.running = token
            elif what == "give up" and runner.parked.pop(token, None) is not None:
                self.env.say(number, Finished([Report(token, Outcome.RELEASED)]))

    def some_runner(self) -> int | None:
        busy = [n for n, r in self.processes.items() if r.running and n not in self.dying]
        return self.rng.choice(busy) if busy else None

    # ------------------------------------------------------------ what may happen

    def come_up(self) -> None:
        for number, runner in list(self.processes.items()):
            if not runner.up and self.rng.random() < 0.8:
                runner.up = True
                self.env.say(number, Up(number))

    def load(self) -> None:
        for number, runner in list(self.processes.items()):
            if runner.loading and self.rng.random() < 0.8:
                runner.loading = False
                alone = "a thread" if self.rng.random() < 0.1 else ""
                self.env.say(number, Loaded("c0de", 0.1, alone))

    def define(self) -> None:
        """Answer the heartbeats: define what is wanted, end some of what is there."""
        env = self.env
        for message in env.of(Heartbeat)[-1:]:
            over = [one.number for one in message.programs if self.rng.random() < 0.3]
            programs = [Program(number, "default", ["mod"]) for number in message.wanted]
            if self.rng.random() < 0.8:
                env.turn(Define(env.session, programs))
            env.turn(HeartbeatAck(env.session, message.number, over))

    def soil(self) -> None:
        """A task leaves something behind: what its runner has not begun comes back."""
        number = self.some_runner()
        if number is None:
            return
        runner = self.processes[number]
        token, runner.running = runner.running, None
        assert token is not None
        runner.parked.pop(token, None)
        runner.dirty = True
        returned = [token for what, token in runner.queue if what == "run"]
        runner.queue = deque(one for one in runner.queue if one[0] != "run")
        report = Report(token, Outcome.FAILED, 0.1)
        self.env.say(number, Finished([report]), Dirty("a thread", returned))
        self.step(number)

    def dispatch(self) -> None:
        grants = []
        for _ in range(self.rng.randint(1, 6)):
            self.next += 1
            fields = {"alone": True} if self.rng.random() < 0.1 else {}
            if self.rng.random() < 0.2:
                fields["timeout_s"] = self.rng.choice([1.0, 20.0])
            grants.append(grant(self.next, program=self.next % 11 // 5 + 1, **fields))
            self.dispatched.append(tok(self.next))
        copies = [
            grant(number, program=number % 11 // 5 + 1)
            for number in (
                self.rng.randint(self.since, self.next) for _ in range(self.rng.randint(0, 2))
            )
        ]
        self.env.turn(Dispatch(self.env.session, grants), Dispatch(self.env.session, copies))

    def finish(self) -> None:
        number = self.some_runner()
        if number is None:
            return
        runner = self.processes[number]
        reports = []
        for _ in range(self.rng.randint(1, 4)):
            if runner.running is None:
                break
            token, runner.running = runner.running, None
            runner.parked.pop(token, None)
            run_s = self.rng.choice([0.00005, 0.001, 0.1])
            outcome = self.rng.choice([Outcome.DONE, Outcome.FAILED])
            reports.append(Report(token, outcome, run_s))
            if runner.queue and runner.queue[0][0] == "run":
                self.step(number)
        self.env.say(number, Finished(reports))
        self.step(number)

    def park(self) -> None:
        number = self.some_runner()
        if number is None:
            return
        runner = self.processes[number]
        token, runner.running = runner.running, None
        assert token is not None
        runner.parked[token] = runner.parked.get(token, 0) + 1
        self.env.say(number, Parked(token, runner.parked[token], [stub(1)]))
        self.step(number)

    def resume(self) -> None:
        pairs = [pair for r in self.processes.values() for pair in r.parked.items()]
        if pairs:
            self.env.turn(Resume(self.env.session, [self.rng.choice(pairs)]))

    def kill(self) -> None:
        grace_s = self.rng.choice([0.0, 2.0])
        self.env.turn(Kill(self.env.session, self.some_tokens(), grace_s))

    def recall(self) -> None:
        self.env.turn(Recall(self.env.session, self.some_tokens()))

    def some_tokens(self) -> list[str]:
        # of this history only: a coordinator names no others
        numbers = range(self.since, max(self.since, self.next) + 2)
        return [tok(self.rng.choice(numbers)) for _ in range(self.rng.randint(1, 3))]

    def rack(self) -> None:
        tokens = [t for t in self.env.worker.outbox.reports if self.rng.random() < 0.7]
        self.env.turn(Rack(self.env.session, [(t, Verdict.COMMITTED) for t in tokens]))
        yields = [(t, y.number) for t, y in self.env.worker.outbox.yields.items()]
        self.env.turn(Rack(self.env.session, [], yields))

    def crash(self) -> None:
        if self.processes and self.rng.random() < 0.5:
            self.bury(self.rng.choice(sorted(self.processes)), 11)

    def reap(self) -> None:
        for number in sorted(self.dying):
            if self.rng.random() < 0.7:
                self.bury(number, 9)
        for number, runner in sorted(self.processes.items()):
            if runner.leaving and not runner.running and not runner.queue:
                self.bury(number, 0)

    def bury(self, number: int, signal: int) -> None:
        self.processes.pop(number, None)
        self.dying.discard(number)
        self.env.die(number, signal=signal)

    def stuck(self) -> None:
        for number in sorted(self.dying):
            self.env.turn(events.ProcessStuck(number))

    def rejoin(self) -> None:
        self.env.turn(Rejoin(self.env.session))
        self.join()

    def join(self) -> None:
        self.sessions += 1
        if self.rng.random() < 0.1:
            self.lineage = f"{self.sessions:016x}"
            self.next += 2  # some were named already before they were granted
            self.since = self.next + 1
        lineage = {"lineage": self.lineage}
        env = self.env
        env.of(Join)
        env.challenge(f"n{self.sessions}", **lineage)
        for _ in range(20):
            self.settle()
            if any(isinstance(message, Join) for message in env.sent):
                break
            for number in sorted(self.dying):
                self.bury(number, 9)
            env.challenge(f"n{self.sessions}", **lineage)
        kill = [t for t in self.some_tokens() if self.rng.random() < 0.3] if self.next else []
        env.welcome(f"1.{self.sessions}", *kill)

    def wait(self) -> None:
        seconds = self.rng.choice([0.01, 1.0, 4.0, 30.0])
        self.env.run_for(seconds, acks=self.rng.random() < 0.9)

    def freeze(self) -> None:
        if self.rng.random() < 0.2:
            self.env.advance(self.rng.choice([10.0, 100.0]))

    def ack(self) -> None:
        for number in list(self.env.worker.lease._sent):
            self.env.turn(HeartbeatAck(self.env.session, number))

    # ------------------------------------------------------------ a walk

    def run(self) -> None:
        moves = [self.come_up, self.come_up, self.dispatch, self.finish, self.finish, self.finish]
        moves += [self.park, self.resume, self.resume, self.rack, self.wait, self.ack, self.reap]
        moves += [self.load, self.load, self.define, self.soil]
        rare = [self.kill, self.recall, self.crash, self.stuck, self.rejoin, self.freeze]
        for _ in range(STEPS):
            self.rng.choice(moves if self.rng.random() < 0.85 else rare)()
            self.settle()

    def end(self) -> None:
        """Everything goes well from now on, then the worker is drained."""
        self.rejoin()
        self.env.turn(events.StopRequested(events.StopKind.DRAIN))
        for _ in range(300):
            self.settle()
            self.ack()
            self.come_up()
            self.define()
            self.load()
            self.reap()
            for number in sorted(self.dying):
                self.bury(number, 9)
            self.finish()
            self.settle()
            self.rack()
            if self.env.exit is not None:
                return
            self.env.run_for(1.0)
        states = {t: h.state.name for t, h in self.env.worker.tokens.holdings.items()}
        pytest.fail(f"the worker does not end; held {states}")


@pytest.mark.parametrize("block", range(10))
def test_random_walk_starts_nothing_twice_and_ends_everything_once(block: int) -> None:
    seen = 0
    for seed in range(block * 8, block * 8 + 8):
        walk = Walk(seed)
        walk.run()
        walk.end()
        twice = {t: n for t, n in walk.began.items() if n > 1}
        assert not twice, f"seed {seed}: began more than once: {twice}"
        changed = {t: o for t, o in walk.ends.items() if len(o) > 1}
        assert not changed, f"seed {seed}: ended in two ways: {changed}"
        lost = [t for t in walk.began if t not in walk.ends]
        assert not lost, f"seed {seed}: began and never ended: {lost}"
        assert not walk.env.worker.outbox.reports
        assert all(p.state is ProcessState.DYING for p in walk.env.worker.processes.all.values())
        seen += len(walk.began)
    assert seen > 50, "the walks ran too little to mean anything"
