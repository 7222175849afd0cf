"""Everything the coordinator core knows, in one place, and the marks of what changed.

Handlers are functions over this state. They change records, mark them dirty and append effects;
the shell writes every dirty record once a turn, then acts.
"""

from __future__ import annotations

from collections import deque
from heapq import heappush
from random import Random

import msgspec

from flow.wire.ids import Token, WorkerUid, session, token
from flow.wire.messages.client import Failure
from flow.wire.messages.shared import Policy
from flow.wire.states import TaskState
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.effects import Alert, Effect, Note, Send, SendNow
from flow_coordinator.core.packages import Packages
from flow_coordinator.core.ready import ReadyQueue
from flow_coordinator.core.records import (
    ROOTS_A_ROW,
    FamilyRecord,
    LeaseRecord,
    PlanRecord,
    PolicyRecord,
    RunRecord,
    TaskRecord,
    WorkerRecord,
)
from flow_coordinator.core.resources import ResourcePool
from flow_coordinator.core.temporary import Temporary
from flow_coordinator.core.timers import Timer
from flow_coordinator.core.transitions import TaskEvent
from flow_coordinator.core.values import Instant, Peer
from flow_coordinator.core.waiting import Intake, Question, SenderRecord

#: Moves of tasks remembered, for the story that is told of a bug.
MOVES_MAX = 4_096
#: How soon it is looked whether twins wait for each other, seconds.
LOOK_S = 0.5


class Twins:
    """The side index of those ids that several tasks have. Empty nearly always."""

    __slots__ = ("by_id", "look_at", "pause_s", "waiting")

    def __init__(self) -> None:
        #: (project, task id) -> all tasks of that id, the one that is found by id first
        self.by_id: dict[tuple[str, str], list[TaskRecord]] = {}
        #: what could be ready but for the lease of a twin
        self.waiting: dict[TaskRecord, None] = {}
        #: when it is looked for those that wait for each other; 0: no timer is set
        self.look_at: Instant = 0.0
        self.pause_s = LOOK_S


class Changes:
    """Records changed since the last commit, in the order of their first change."""

    __slots__ = (
        "families",
        "meta",
        "policies",
        "progress",
        "resources",
        "roots",
        "runs",
        "tasks",
        "workers",
        "workers_gone",
    )

    def __init__(self) -> None:
        self.families: dict[FamilyRecord, None] = {}
        self.policies: dict[PolicyRecord, None] = {}
        self.tasks: dict[TaskRecord, None] = {}
        self.progress: dict[TaskRecord, None] = {}
        self.runs: dict[RunRecord, None] = {}
        #: (run, row) of roots that are not in the run's own row
        self.roots: dict[tuple[RunRecord, int], None] = {}
        self.workers: dict[WorkerUid, WorkerRecord] = {}
        self.workers_gone: dict[WorkerUid, None] = {}
        self.resources: dict[str, float] = {}
        self.meta: dict[str, str] = {}

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)


class Known(msgspec.Struct):
    """What is known of a worker uid that is not joined: enough to release its leases."""

    host_key: str
    boot_id: str
    name: str


class State:
    """The coordinator's memory."""

    def __init__(
        self, config: CoreConfig, lineage: str, epoch: int, random: Random, now: Instant
    ) -> None:
        self.config = config
        self.lineage = lineage
        self.epoch = epoch
        self.random = random
        self.now = now
        self.started_at = now
        self.changes = Changes()
        self.effects: list[Effect] = []
        self.kept: dict[TaskRecord, int] = {}  #: left to others, by how many runs in memory
        #: disk full: grant and acknowledge nothing; says which. Empty: it has room
        self.stalled = ""
        #: no grants: the coordinator ends on purpose
        self.stopping = False
        #: the stored term is longer than the configured one, for leases of an earlier start
        self.term_kept = False
        #: longest term that a worker may count on who has not heard of the configured one
        self.unknowing_term_s = config.timing.term_s

        self.families: dict[tuple[str, str, str], FamilyRecord] = {}
        self.policies: dict[bytes, PolicyRecord] = {}
        #: project -> task id -> record; where several tasks have that id, one of them
        self.tasks: dict[str, dict[str, TaskRecord]] = {}
        self.twins = Twins()
        self.runs: dict[int, RunRecord] = {}
        #: ended runs for display, oldest first, bounded
        self.ended: dict[int, RunRecord] = {}
        self.keys: dict[str, int] = {}
        #: half-said runs by submit key, the oldest first
        self.intakes: dict[str, Intake] = {}
        self.workers: dict[WorkerUid, WorkerRecord] = {}
        self.by_peer: dict[Peer, WorkerRecord] = {}
        #: uid -> latest nonce given out (rule C6); bounded
        self.nonces: dict[WorkerUid, str] = {}
        self.known: dict[WorkerUid, Known] = {}
        self.leases: dict[Token, LeaseRecord] = {}
        #: leases of workers that are not joined: uid -> token -> lease
        self.orphans: dict[WorkerUid, dict[Token, LeaseRecord]] = {}
        #: when the leases of a worker that is not joined end (rule C5)
        self.orphans_until: dict[WorkerUid, Instant] = {}
        self.ready = ReadyQueue()
        #: what could be ready but for tasks that may join it: by run, until when, and the tasks
        self.gathering: dict[RunRecord, tuple[Instant, list[TaskRecord]]] = {}
        self.resources = ResourcePool(config.limits)
        self.plans: dict[int, PlanRecord] = {}
        #: planner processes that died over a task (by number) or over a run's roots (below zero)
        self.planner_deaths: dict[int, int] = {}
        self.temporary = Temporary()
        #: reports (by token) that wait to learn where a missing output was made; bounded
        self.questions: dict[Token, Question] = {}
        self.packages = Packages()
        #: tasks to be planned
        self.frontier: deque[TaskRecord] = deque()
        #: runs whose roots are to be resolved
        self.unresolved: deque[RunRecord] = deque()
        #: edges that satisfied tasks still have to release: (downstream, next index)
        self.releasing: deque[tuple[list[TaskRecord], int]] = deque()
        #: tasks of ended runs to be dropped from memory: (run's tasks, next index)
        self.forgetting: deque[tuple[RunRecord, int]] = deque()
        #: (instant, sequence, kind, what it is about)
        self.timers: list[tuple[Instant, int, Timer, object]] = []
        #: who waits for a letter's fate or reply: token of its attempt -> letter id -> sender
        self.letters: dict[Token, dict[str, SenderRecord]] = {}
        #: of those, whose attempt ended in this turn
        self.unheard: list[SenderRecord] = []
        #: runs with watchers that have news
        self.news: dict[int, RunRecord] = {}
        self._count_from_start()

    def _count_from_start(self) -> None:
        #: the newest moves: when, task id, what happened, its state then
        self.moves: deque[tuple[Instant, str, TaskEvent, TaskState]] = deque(maxlen=MOVES_MAX)
        self.token_seq = 0
        self.session_seq = 0
        self.plan_seq = 0
        #: roots of a run that has more were asked about last: it is the turn of other tasks
        self.roots_asked = False
        self.failure_seq = 0
        self.timer_seq = 0
        self.next_task = 1
        self.next_run = 1
        self.next_family = 1
        self.next_policy = 1
        #: topological positions: new tasks go below everything
        self.lowest = 0

    def send(self, peer: Peer, message: msgspec.Struct) -> None:
        """Say something once it is durable."""
        self.effects.append(Send(peer, message))

    def send_now(self, peer: Peer, message: msgspec.Struct) -> None:
        """Say something that needs no durability."""
        self.effects.append(SendNow(peer, message))

    def show(self, peer: Peer, message: msgspec.Struct) -> None:
        """Show how things stand; on a full disk at once, with what may have to be done again."""
        if self.stalled:
            self.send_now(peer, message)
        else:
            self.send(peer, message)

    def note(self, phrase: str, level: str = "info", **fields: object) -> None:
        """Log a constant phrase with fields."""
        self.effects.append(Note(phrase, fields, level))

    def alert(self, run: RunRecord, task: TaskRecord, failure: Failure) -> None:
        """Tell people that a task of a run failed for good."""
        owners = task.policy.policy.owners if task.policy is not None else []
        self.effects.append(Alert(run.id, run.name, failure, owners))

    def roots_changed(self, run: RunRecord, index: int) -> None:
        """Mark the row in which one root of a run is."""
        row = index // ROOTS_A_ROW
        if row:
            self.changes.roots[run, row] = None
        else:
            self.changes.runs[run] = None

    def timer(self, at: Instant, kind: Timer, what: object) -> None:
        """Ask to be woken."""
        self.timer_seq += 1
        heappush(self.timers, (at, self.timer_seq, kind, what))

    def new_token(self) -> Token:
        """Allocate the next token (rule C1: durable with the lease that carries it)."""
        self.token_seq += 1
        return token(self.lineage, self.epoch, self.token_seq)

    def new_session(self) -> str:
        """Name the next session."""
        self.session_seq += 1
        return session(self.epoch, self.session_seq)

    def nonce(self) -> str:
        """Make a nonce that no other start of a coordinator makes."""
        return f"{self.epoch}.{self.random.getrandbits(64):016x}"

    def family(self, project: str, module: str, family: str) -> FamilyRecord:
        """Intern a family."""
        key = (project, module, family)
        record = self.families.get(key)
        if record is None:
            record = self.families[key] = FamilyRecord(self.next_family, *key)
            self.next_family += 1
            self.changes.families[record] = None
        return record

    def policy(self, policy: Policy) -> PolicyRecord:
        """Intern a policy."""
        key = msgspec.msgpack.encode(policy)
        record = self.policies.get(key)
        if record is None:
            record = self.policies[key] = PolicyRecord(self.next_policy, policy)
            self.next_policy += 1
            self.changes.policies[record] = None
        return record
