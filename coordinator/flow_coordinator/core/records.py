"""What the coordinator remembers: slotted records, changed in place and marked dirty.

Memory holds what is unfinished. A record never points into the store, a socket or a message.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from flow.wire.ids import Session, Token, WorkerUid
from flow.wire.messages.client import Failure, Printed, RootTask, RunSummary, SubmitOptions
from flow.wire.messages.shared import Policy, ProgramSeen, Stub, shown
from flow.wire.messages.speech import Words
from flow.wire.messages.worker import Join
from flow.wire.states import HELD, RunState, TaskState
from flow_coordinator.core.doom import Doom
from flow_coordinator.core.values import Instant, Peer

#: Roots of a run in one row of the store.
ROOTS_A_ROW = 1_000


class FamilyRecord:
    """One task family of one project."""

    __slots__ = ("family", "mean_run_s", "module", "number", "project")

    def __init__(self, number: int, project: str, module: str, family: str) -> None:
        self.number = number
        self.project = project
        self.module = module
        self.family = family
        #: moving average of the time inside the runner; below 0: never measured
        self.mean_run_s = -1.0


class PolicyRecord:
    """An interned policy: thousands of tasks share one."""

    __slots__ = ("demand", "joins", "number", "policy")

    def __init__(self, number: int, policy: Policy) -> None:
        self.number = number
        self.policy = policy
        #: equal for policies whose tasks may run as one (only their priorities differ); empty: none
        self.joins = b""
        if policy.batched and policy.batch_max != 1:
            self.joins = msgspec.msgpack.encode(msgspec.structs.replace(policy, priority=0.0))
        #: what it takes besides a slot, sorted by name
        self.demand: Demand = tuple(sorted(policy.resources.items()))


#: (resource, amount) pairs, sorted by name.
Demand = tuple[tuple[str, float], ...]


#: The members of a lease that runs one task.
ALONE: Mapping[TaskRecord, int] = {}


class LeaseRecord:
    """The right of one worker to run one task, or several as one.

    Of several the first is ``task``: the slot and the demand are taken once, in its name, and it is
    the one that is suspended, and waits, when their generator yields.
    """

    __slots__ = (
        "confirmed",
        "expected_s",
        "granted_at",
        "holds",
        "killed_at",
        "members",
        "resumed",
        "sent",
        "task",
        "token",
        "uid",
        "yielded",
    )

    def __init__(self, token: Token, task: TaskRecord, uid: WorkerUid, now: Instant) -> None:
        self.token = token
        self.task = task
        #: the other tasks that this one attempt runs, in order, with their places from 1
        self.members: Mapping[TaskRecord, int] = ALONE
        self.uid = uid
        self.granted_at = now
        #: STARTED arrived: the last DISPATCH or RESUME need not be repeated
        self.confirmed = False
        #: how often DISPATCH was handed to the socket
        self.sent = 0
        #: slot and resources are taken (not while suspended)
        self.holds = True
        #: what this grant adds to the expected load of its worker, seconds
        self.expected_s = 0.0
        #: number of the last accepted yield
        self.yielded = 0
        #: number of the last yield that was resumed
        self.resumed = 0
        #: when its worker was last asked to kill it: once, however many members are cancelled
        self.killed_at: Instant = -1.0

    @property
    def doomed(self) -> bool:
        """Whether the attempt is being killed. Cost: O(members)."""
        return self.task.doomed or any(member.doomed for member in self.members)


class Extra:
    """What few tasks need: failures, backoff, doom. Made on demand."""

    __slots__ = (
        "again_at",
        "code",
        "collecting",
        "doom",
        "failed_at",
        "failure",
        "first_failed_at",
        "maybe_done",
        "parts",
        "refused_by",
        "retried",
        "solo",
        "why",
        "words",
    )

    def __init__(self) -> None:
        #: when backoff ends
        self.again_at: Instant = 0.0
        #: what becomes of the task once its killed lease is reported, and why
        self.doom: tuple[Doom, str] | None = None
        #: recent counted failures, for ``disable_window``
        self.failed_at: list[Instant] = []
        #: when the first attempt failed, for ``disable_hard_timeout``; a restart begins it again
        self.first_failed_at: Instant | None = None
        self.failure: Failure | None = None
        #: the incoming yield: its token and number
        self.collecting: tuple[Token, int] | None = None
        #: its stubs, by part
        self.parts: dict[int, list[Stub]] = {}
        #: workers that could not import it
        self.refused_by: list[WorkerUid] = []
        #: a counted attempt failed before
        self.retried = False
        #: an attempt may have run to its end unheard (lost, crashed, killed) since a run wanted it
        self.maybe_done = False
        #: next attempt alone on its worker (blame isolation)
        self.solo = False
        #: one line: why it is disabled, missing, upstream failed ...
        self.why = ""
        #: identity of the code of its last attempt, where it is not that of its run
        self.code = ""
        #: what its last attempt said; what it gave back counts while its token is current
        self.words: Words | None = None


class TaskRecord:
    """One task: a project, an origin (the module of its family) and an id."""

    __slots__ = (
        "asked",
        "attempt",
        "blocked",
        "crashes",
        "downstream",
        "extra",
        "failures",
        "family",
        "lease",
        "maker",
        "number",
        "order",
        "params",
        "policy",
        "priority",
        "program",
        "runs",
        "since",
        "state",
        "task_id",
        "ticket",
        "upstream",
        "waits",
    )

    def __init__(
        self, number: int, task_id: str, family: FamilyRecord, params: bytes, order: int
    ) -> None:
        self.number = number
        self.task_id = task_id
        self.family = family
        self.params = params
        #: topological position: always above that of every requirement
        self.order = order
        self.state = TaskState.UNPLANNED
        self.policy: PolicyRecord | None = None
        #: the run for which it was planned: it is executed in its program
        self.program: RunRecord | None = None
        #: effective: its own, or the highest positive one of what waits for it
        self.priority = 0.0
        self.upstream: list[TaskRecord] | tuple[TaskRecord, ...] = ()
        #: edges to tasks that wait for it; one entry an edge, emptied when satisfied
        self.downstream: list[TaskRecord] | None = None
        #: requirements not satisfied yet
        self.waits = 0
        #: requirements that ended badly
        self.blocked = 0
        #: runs that count it
        self.runs: tuple[RunRecord, ...] = ()
        self.attempt = 0
        self.failures = 0
        self.crashes = 0
        self.lease: LeaseRecord | None = None
        #: the worker that ran it; empty: nobody did since this start
        self.maker: WorkerUid = ""
        #: planning request that may expand it; 0: none
        self.asked = 0
        #: its valid entry in the ready queue; 0: none
        self.ticket = 0
        self.since: Instant = 0.0
        self.extra: Extra | None = None

    def more(self) -> Extra:
        """Give the rarely used fields, made on first use."""
        if self.extra is None:
            self.extra = Extra()
        return self.extra

    @property
    def held(self) -> bool:
        """Whether a lease exists."""
        return self.state in HELD

    @property
    def doomed(self) -> bool:
        """Whether its attempt is being killed: what it becomes then is decided."""
        return self.extra is not None and self.extra.doom is not None

    @property
    def name(self) -> str:
        """``Family(param=value)`` for people. Cost: decodes the parameters."""
        return shown(self.family.family, self.params)


class Watcher:
    """A command that follows a run."""

    __slots__ = ("heard", "noted", "peer", "request", "seen", "told")

    def __init__(self, peer: Peer, request: int, seen: int) -> None:
        self.peer = peer
        self.request = request
        #: how many notes it has
        self.noted = 0
        #: how much it has of what was printed while planning
        self.heard = 0
        #: last failure number it has
        self.seen = seen
        #: families whose counts it knows (others are sent whole at first)
        self.told: dict[str, tuple[int, ...]] = {}


class OtherCode(msgspec.Struct, array_like=True):
    """Code that some workers have, and that a run was not planned with. Stored with the run."""

    files: list[str]  #: names of those that differ, the first ones
    workers: list[str] = []  #: names of those on which attempts ran with it; bounded


class RunRecord:
    """One submission of root tasks."""

    __slots__ = (
        "allowed",
        "asking",
        "attempts",
        "barred",
        "cancelled",
        "changed",
        "code",
        "codes",
        "cold_at",
        "differing",
        "ended_at",
        "failed_fast",
        "failures",
        "files",
        "home",
        "key",
        "last_tag",
        "left",
        "links",
        "name",
        "notes",
        "number",
        "open",
        "options",
        "printed",
        "project",
        "relative",
        "retried",
        "root_count",
        "root_tasks",
        "rooted",
        "roots",
        "started_at",
        "state",
        "summary",
        "tallies",
        "tasks",
        "unplanned",
        "unresolved",
        "update_at",
        "watchers",
        "words",
        "workers",
    )

    def __init__(
        self,
        number: int,
        key: str,
        project: str,
        roots: list[RootTask],
        options: SubmitOptions,
        now: Instant,
    ) -> None:
        self.number = number
        self.key = key
        self.project = project
        #: as they were submitted; of an ended run that had many perhaps only the first row
        self.root_tasks = roots
        self.root_count = len(roots)
        self.options = options
        self.name = options.name
        self.state = RunState.RUNNING
        self.started_at = now
        self.ended_at: Instant | None = None
        #: those whose task id is known, in order; two may be one task
        self.roots: list[TaskRecord] = []
        #: the same, with the place of each
        self.rooted: dict[TaskRecord, int] = {}
        #: roots whose task id is not known yet
        self.unresolved = len(roots)
        #: the planning request that resolves them; 0: none under way
        self.asking = 0
        self.tasks: list[TaskRecord] = []
        #: tasks that others go on with, and what they count as here
        self.left: dict[TaskRecord, TaskState] = {}
        #: family name -> counts by state
        self.tallies: dict[str, list[int]] = {}
        #: (family, family that a task of it requires); kept when the edges are gone; bounded
        self.links: dict[tuple[str, str], None] = {}
        #: tasks in no terminal state
        self.open = 0
        #: tasks in state unplanned
        self.unplanned = 0
        self.failures: list[Failure] = []
        self.attempts = 0
        self.workers: dict[str, None] = {}
        self.cancelled = ""
        self.failed_fast = False
        self.retried = False
        #: fair share: tag of its last queued task
        self.last_tag = 0.0
        self.watchers: dict[Peer, Watcher] = {}
        self.changed = False
        self.update_at: Instant = 0.0
        self.summary: RunSummary | None = None
        #: last words of its tasks by their display; bounded
        self.words: dict[str, Words] = {}
        self._begin_program()

    def _begin_program(self) -> None:
        """Know nothing yet of what its tasks are executed in."""
        #: the worker that plans it while it is small: what its program computes when it is
        #: imported has one value then
        self.home: WorkerUid = ""
        #: identity of the code that planned it first; empty: not known yet
        self.code = ""
        #: names and hashes of that code's files, the first ones
        self.files: dict[str, str] = {}
        #: workers that get nothing of its program, and why
        self.barred: dict[WorkerUid, str] = {}
        #: of those, the ones whose code is another, and which; if no worker is left they get it
        self.differing: dict[WorkerUid, str] = {}
        #: of those, the ones that were told to go on with what they have
        self.allowed: dict[WorkerUid, None] = {}
        #: what is known of other code than ``code``, by its identity; bounded
        self.codes: dict[str, OtherCode] = {}
        #: when another worker is to be looked for that may import its program
        self.cold_at: Instant = 0.0
        #: one of its outputs whose path depends on the folder in which a worker was started
        self.relative = ""
        #: sentences about its program for people; bounded
        self.notes: list[str] = []
        self.printed: list[Printed] = []  #: while it was planned; bounded

    @property
    def id(self) -> str:
        """``r-<number>``."""
        return f"r-{self.number}"


class PlanRecord:
    """One question to a planner."""

    __slots__ = (
        "asked_at",
        "chunk",
        "edges",
        "first",
        "items",
        "number",
        "policies",
        "program",
        "refs",
        "root_count",
        "run",
        "runs",
        "uid",
        "width",
    )

    def __init__(
        self,
        number: int,
        uid: WorkerUid,
        items: list[TaskRecord],
        run: RunRecord | None,
        program: RunRecord,
        now: Instant,
    ) -> None:
        self.number = number
        self.uid = uid
        self.items = items
        #: set when it resolves roots of this run: so many, from this one on
        self.run = run
        self.first = 0
        self.root_count = 0
        #: what the question was for: what its answer names is counted in these
        self.runs = (run,) if run is not None else items[0].runs
        #: in whose program it is answered
        self.program = program
        #: the answer's stubs so far, by index
        self.refs: list[TaskRecord] = []
        self.policies: list[PolicyRecord] = []
        #: edges of tasks whose spec has not come yet
        self.edges: dict[int, list[int]] = {}
        #: the chunk expected next
        self.chunk = 0
        #: the most that one of its tasks requires: about how many may run at a time
        self.width = 0
        self.asked_at = now


class WorkerState(enum.StrEnum):
    """How a joined worker stands, for people: the first that holds."""

    UNFIT = "unfit"
    DRAINING = "draining"
    SUSPECT = "suspect"
    ACTIVE = "active"


class WorkerRecord:
    """One joined worker agent."""

    __slots__ = (
        "alone",
        "boot_id",
        "capacity",
        "code",
        "cpu",
        "draining",
        "extended",
        "fit",
        "folder",
        "heard_at",
        "heartbeat",
        "held",
        "host",
        "host_key",
        "joined_at",
        "load_s",
        "long",
        "memory_bytes",
        "name",
        "outbox",
        "peer",
        "planners",
        "plans",
        "programs",
        "python",
        "recalled_at",
        "recent",
        "recent_before",
        "reserved",
        "resumes",
        "roomy",
        "seen",
        "session",
        "slots",
        "suspect",
        "uid",
        "used",
        "used_slots",
    )

    def __init__(self, join: Join, peer: Peer, session: Session, now: Instant) -> None:
        self.uid = join.uid
        self.name = join.name
        self.host = join.host
        self.host_key = join.host_key
        self.boot_id = join.boot_id
        self.folder = join.folder
        self.slots = join.slots
        self.capacity = dict(sorted(join.capacity.items()))
        self.planners = join.planners
        self.python = join.python
        self.code = join.code
        self.peer = peer
        self.session = session
        self.joined_at = now
        #: receive time of the last counted heartbeat (JOIN is the first)
        self.heard_at = now
        self.heartbeat = 0
        self.extended = False  #: knows that the coordinator restarts
        self.draining = False
        self.fit = True
        self.suspect = False
        self.cpu = 0.0
        self.memory_bytes = 0
        #: token -> lease, oldest grant first
        self.held: dict[Token, LeaseRecord] = {}
        #: leases that hold a slot
        self.used_slots = 0
        #: of those, how many are not expected to end soon (or were never measured)
        self.long = 0
        #: sum of ``expected_s`` of the others
        self.load_s = 0.0
        self.used: dict[str, float] = dict.fromkeys(self.capacity, 0.0)
        #: an isolated attempt runs: nothing else is granted
        self.alone = False
        #: kept free for an isolated attempt: nothing else is granted
        self.reserved = False
        #: programs defined to it in this session, by number
        self.programs: dict[int, None] = {}
        #: how programs stand there, by its last heartbeat
        self.seen: dict[int, ProgramSeen] = {}
        #: it has room for another program
        self.roomy = True
        #: open planning requests
        self.plans: dict[int, PlanRecord] = {}
        #: suspended tasks whose yields are done, oldest first
        self.resumes: list[TaskRecord] = []
        #: grants to send at the end of the turn
        self.outbox: list[LeaseRecord] = []
        #: tokens committed lately, in two generations (bounded)
        self.recent: dict[Token, None] = {}
        self.recent_before: dict[Token, None] = {}
        self.recalled_at: Instant = 0.0

    @property
    def state(self) -> WorkerState:
        """How it stands."""
        if not self.fit:
            return WorkerState.UNFIT
        if self.draining:
            return WorkerState.DRAINING
        return WorkerState.SUSPECT if self.suspect else WorkerState.ACTIVE

    @property
    def accepting(self) -> bool:
        """Whether new work may be granted."""
        return self.fit and not (self.draining or self.suspect or self.alone or self.reserved)


class Entry(NamedTuple):
    """A ready task in a queue. Compares by priority, fair share, age."""

    urgency: float  #: minus priority
    tag: float
    ticket: int
    task: TaskRecord
    since: Instant
