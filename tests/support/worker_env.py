"""A worker core in a box: events go in and effects come out through the real codecs.

A whole turn at a time: ``env.turn(...)`` handles the events and ends the turn; ``env.advance(s)``
lets time pass. What the core did is in what they return and, until taken, in ``env.sent``,
``env.told``, ``env.killed`` and ``env.started``.
"""

from __future__ import annotations

from random import Random
from typing import Any, TypeVar

from flow.wire.ids import token
from flow.wire.messages.codec import decode_at_coordinator, decode_at_worker, encode
from flow.wire.messages.shared import Grant, Outcome, Program, Report, Stub, Timing
from flow.wire.messages.worker import (
    Challenge,
    Define,
    Dispatch,
    Heartbeat,
    HeartbeatAck,
    Join,
    Plan,
    PlanEnd,
    Rack,
    Results,
    Started,
    Welcome,
)
from flow_worker import channel
from flow_worker.core import effects, events, invariants
from flow_worker.core.config import QUIET_S, WorkerConfig
from flow_worker.core.machine import Worker
from tests.support.watched import watch

MessageT = TypeVar("MessageT")
UID = "77" * 16
LINEAGE = "ab" * 8
TIMING = Timing(heartbeat_s=5.0, lease_s=60.0, kill_s=5.0, margin_s=2.0)
START_S = 1000.0
#: A question of this room's own.
WARM_REQUEST = 1_000_000
#: The program of every grant and question that names no other.
PROGRAM = Program(1, "default", ["mod"])
#: What every coordinator hears in the course of things; the tests of these read them all the same.
ROUTINE = (Heartbeat, Started)


def tok(number: int, lineage: str = LINEAGE) -> str:
    """Spell the token of grant ``number``."""
    return token(lineage, 1, number)


def grant(number: int, family: str = "Task", **fields: Any) -> Grant:
    """Make a grant of ``tok(number)``."""
    fields.setdefault("program", PROGRAM.number)
    return Grant(tok(number), f"{family}_{number}", "mod", family, b"\x80", 1, **fields)


def done(number: int, run_s: float = 0.1) -> Report:
    """Make the report of a task that went well."""
    return Report(tok(number), Outcome.DONE, run_s)


def stub(number: int, params: bytes = b"\x80") -> Stub:
    """Name a task."""
    return Stub(f"Sub_{number}", "mod", "Sub", params)


class WorkerEnv:
    """One core, its clock, and what it did."""

    def __init__(self, *, slots: int = 1, joined: bool = True, **config: Any) -> None:
        config.setdefault("planners", 1)
        self.worker = Worker(
            WorkerConfig(uid=UID, name="w", host="h", slots=slots, **config), Random(7)
        )
        self.now = START_S
        self.session = ""
        self.sent: list[Any] = []
        self.told: list[tuple[int, Any]] = []
        self.killed: list[tuple[int, float]] = []
        self.started: list[tuple[int, str]] = []
        self.notes: list[str] = []
        #: what the shell was to do about packed code
        self.packages: list[effects.Effect] = []
        self.exit: effects.Exit | None = None
        watch(self)
        if joined:
            self.advance(0)
            self.join()
            self.up_all()
            self.warm_up()
            self.clear()

    # ------------------------------------------------------------ driving

    def turn(self, *what: Any) -> None:
        """Handle events (messages and frames are wrapped) and end the turn."""
        for event in what:
            self._handle(self._wrapped(event))
        self._handle(events.TurnEnded())

    def say(self, process: int, *frames: channel.Frame) -> None:
        """A task process says something, then the turn ends."""
        self.turn(*(events.ProcessSaid(process, _through_channel(f)) for f in frames))

    def die(self, process: int, **how: Any) -> None:
        """A task process and its tree are gone, then the turn ends."""
        self.turn(events.ProcessExited(process, **how))

    def advance(self, seconds: float) -> None:
        """Let time pass at once, as after a freeze; then a tick and the end of the turn."""
        self.now += seconds
        self.turn(events.Tick())

    def run_for(self, seconds: float, *, acks: bool = True) -> None:
        """Let time pass deadline by deadline, heartbeats answered or not."""
        end = self.now + seconds
        while (due := self.worker.next_deadline()) is not None and due <= end:
            before = len(self.sent)
            self.advance(max(0.0, due - self.now))
            for message in self.sent[before:]:
                if acks and type(message).__name__ == "Heartbeat":
                    self.turn(HeartbeatAck(message.session, message.number))
        self.now = end

    def _wrapped(self, event: Any) -> events.Event:
        if isinstance(event, events.Event):
            return event
        return events.Received(decode_at_worker(encode(event)))

    def _handle(self, event: events.Event) -> None:
        for effect in self.worker.handle(event, self.now):
            self._do(effect)
        self.check()

    def _do(self, effect: effects.Effect) -> None:
        assert self.exit is None, f"{effect} after the exit"
        if isinstance(effect, effects.Send):
            self.sent.append(decode_at_coordinator(encode(effect.message)))
        elif isinstance(effect, effects.Tell):
            self.told.append((effect.process, _through_channel(effect.frame, at_process=True)))
        elif isinstance(effect, effects.KillProcess):
            self.killed.append((effect.process, effect.grace_s))
        elif isinstance(effect, effects.StartProcess):
            self.started.append((effect.process, effect.role))
        elif isinstance(effect, effects.Exit):
            self.exit = effect
        elif isinstance(effect, effects.SeekPackage | effects.KeepPiece | effects.LetGo):
            self.packages.append(effect)
        else:
            assert isinstance(effect, effects.Note)
            self.notes.append(effect.phrase)

    # ------------------------------------------------------------ what the core did

    def clear(self) -> None:
        """Forget what the core did so far."""
        for each in (self.sent, self.told, self.killed, self.started, self.notes, self.packages):
            each.clear()

    def check(self) -> None:
        """Check every invariant."""
        invariants.check(self.worker)

    def unread(self) -> set[str]:
        """Name the kinds of what the core said, and did to processes, that the test did not take.

        Processes that were started are no words: ``up_all`` answers for them.
        """
        frames = [frame for _, frame in self.told]
        said = {type(one).__name__ for one in (*self.sent, *frames, *self.packages)}
        said -= {kind.__name__ for kind in ROUTINE}
        return said | ({"KillProcess"} if self.killed else set())

    def of(self, kind: type[MessageT]) -> list[MessageT]:
        """Take the messages of one kind sent so far."""
        found = [message for message in self.sent if type(message) is kind]
        self.sent = [message for message in self.sent if type(message) is not kind]
        return found

    def reports(self) -> list[tuple[str, Outcome]]:
        """Take the reports sent so far as (token, outcome)."""
        return [(r.token, r.outcome) for m in self.of(Results) for r in m.reports]

    def executed(self) -> dict[int, list[str]]:
        """Take the tokens handed to each runner so far."""
        handed: dict[int, list[str]] = {}
        for process, frame in self.told:
            if isinstance(frame, channel.Execute):
                handed.setdefault(process, []).extend(g.token for g in frame.grants)
        self.told = [(p, f) for p, f in self.told if not isinstance(f, channel.Execute)]
        return handed

    # ------------------------------------------------------------ the usual

    def challenge(self, nonce: str = "n1", *, epoch: int = 1, lineage: str = LINEAGE) -> None:
        """Answer a HELLO."""
        self.turn(Challenge(epoch, lineage, nonce))

    def welcome(self, session: str, *kill: str, timing: Timing = TIMING) -> Join:
        """Answer the last JOIN; returns it."""
        join = self.of(Join)[-1]
        self.session = session
        self.turn(Welcome(join.nonce, session, timing, list(kill)))
        return join

    def join(self, session: str = "1.1", timing: Timing = TIMING) -> Join:
        """Go from HELLO to joined."""
        self.challenge(f"nonce of {session}")
        return self.welcome(session, timing=timing)

    def up_all(self) -> None:
        """Every process that was asked for comes up, and imports what it is told to.

        Then so much time passes that the worker keeps its house again.
        """
        self._up()
        self.advance(QUIET_S)
        self._up()

    def _up(self) -> None:
        while self.started or self._unloaded():
            for process, _ in self.take_started():
                self.say(process, channel.Up(process))
            for process in self._unloaded():
                self.told = [each for each in self.told if not _is_load(each, process)]
                self.say(process, channel.Loaded("c0de", 0.1))

    def take_started(self) -> list[tuple[int, str]]:
        """Take the processes that were asked for."""
        started = list(self.started)
        self.started.clear()
        return started

    def _unloaded(self) -> list[int]:
        return [process for process, frame in self.told if isinstance(frame, channel.Load)]

    def define(self, *programs: Program) -> None:
        """Say what programs are."""
        self.turn(Define(self.session, list(programs)))

    def warm_up(self, program: Program = PROGRAM) -> None:
        """Have a program imported, and a runner and a planner of it idle: ask it something."""
        self.define(program)
        if not self.worker.config.attached:
            self.turn(Plan(self.session, WARM_REQUEST, [], 1, program.number))
            self.up_all()
            for process, frame in list(self.told):
                if isinstance(frame, channel.Expand) and frame.request == WARM_REQUEST:
                    self.say(process, channel.Chunk(WARM_REQUEST, 0, True, b""))
            self.turn(PlanEnd(self.session, WARM_REQUEST))
            self.up_all()

    def dispatch(self, *grants: Grant) -> None:
        """Receive grants in the current session."""
        self.turn(Dispatch(self.session, list(grants)))

    def rack(self, *tokens: str) -> None:
        """Receive acknowledgements of reports."""
        from flow.wire.messages.shared import Verdict

        self.turn(Rack(self.session, [(each, Verdict.COMMITTED) for each in tokens]))

    def runners(self) -> list[int]:
        """Numbers of the runners that exist."""
        return [p.number for p in self.worker.processes.all.values() if p.role == "runner"]

    def planners(self) -> list[int]:
        """Numbers of the planners that exist."""
        return [p.number for p in self.worker.processes.all.values() if p.role == "planner"]

    def run(self, *grants: Grant) -> int:
        """Have the first of these running; returns its runner (one slot)."""
        self.dispatch(*grants)
        self.up_all()
        handed = self.executed()
        assert handed, "nothing was handed to a runner"
        return next(iter(handed))


def _is_load(told: tuple[int, Any], process: int) -> bool:
    return told[0] == process and isinstance(told[1], channel.Load)


def _through_channel(frame: channel.Frame, *, at_process: bool = False) -> Any:
    [body] = channel.Splitter().feed(channel.pack(frame))
    return channel.unpack_at_process(body) if at_process else channel.unpack_at_agent(body)
