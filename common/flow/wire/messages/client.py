"""Messages between a command and the coordinator.

Each request carries a number that its reply repeats; a command may ask again after silence
(every request is idempotent: SUBMIT by its ``key``). WATCH subscribes this peer to the updates of
one run; they end with ``RunUpdate.ended``.
"""

from __future__ import annotations

from flow.errors import UsageError
from flow.wire.ids import RunId, Token, WorkerUid
from flow.wire.messages.shared import PROTOCOL, Value
from flow.wire.messages.worker import Message
from flow.wire.states import FailureKind, SummaryCategory

#: What one command line may give to tasks besides its root, packed: it travels with each grant.
GIVEN_BYTES_MAX = 16 << 10
#: Roots of one run.
ROOTS_MAX = 100_000


def check_root_count(count: int) -> None:
    """Raise ``UsageError`` for more roots than one run may have."""
    if count > ROOTS_MAX:
        raise UsageError(
            f"a run has at most {ROOTS_MAX:,} root tasks, these are {count:,}: let one task, such "
            "as a WrapperTask, require them"
        )


# ---------------------------------------------------------------- values


class SubmitOptions(Value, frozen=True):
    """What ``flow submit`` may set for one run."""

    name: str = ""
    priority: float = 0.0  #: added to the priority of every task of the run
    retry_count: int | None = None  #: replaces the setting for tasks that say nothing
    fail_fast: bool = False
    wait_external_s: float = 0.0  #: how long to wait for external data; 0: not
    wait_unmet: bool = True  #: False: a demand that nothing can meet ends its task at once
    by: str = ""  #: who submits, for display
    #: packed map ``Family_parameter`` -> text: defaults for every task that is planned for this run
    given: bytes = b""
    strict_code: bool = False  #: only workers with the code that planned it may execute it
    package: str = ""  #: SHA-256 of the packed code that was uploaded; empty: workers have it


class RootTask(Value, frozen=True):
    """A root as the command line names it; the planner makes the task id."""

    module: str
    family: str
    params: dict[str, str]


class FamilyCounts(Value, frozen=True):
    """How many tasks of one family are in which state, for one run."""

    family: str
    counts: dict[str, int]  #: by ``TaskState.label``


class Failure(Value, frozen=True):
    """One failed attempt (or planning error), as shown above the progress block."""

    number: int  #: grows within a run
    task: str  #: ``Family(param=value, ...)``
    task_id: str
    kind: FailureKind
    worker: str
    attempt: int
    attempts_max: int
    run_s: float
    error: str
    where: str = ""
    tail: str = ""
    again_in_s: float = -1.0  #: below 0: not tried again
    trace: str = ""
    code: int = 0  #: exit code this cause asks for (2 for an unknown task, ...); 0: by state
    family: str = ""  #: empty: the parameters are too long to send
    params: dict[str, str] = {}


class Example(Value, frozen=True):
    """Some tasks of one family in one category of the summary."""

    family: str
    count: int
    params: list[dict[str, str]]  #: at most a bounded number of them, significant parameters


class Category(Value, frozen=True):
    """One line of the execution summary with its tasks."""

    name: SummaryCategory
    count: int
    examples: list[Example]


class RunSummary(Value, frozen=True):
    """How a run stands or ended; ``flow.client.summary`` renders it in Luigi's form."""

    run: RunId
    name: str
    root: str  #: display of the roots
    state: str  #: RunState.label
    exit_code: int
    elapsed_s: float
    attempts: int
    workers: int
    scheduled: int  #: number of tasks of the run
    categories: list[Category]
    causes: list[tuple[int, str, str]]  #: (count, error, where)
    retried: bool = False  #: a task failed once and ran later
    notes: list[str] = []  #: sentences about its code on its workers, bounded


class RunRow(Value, frozen=True):
    """One line of ``flow status``."""

    run: RunId
    name: str
    root: str
    state: str
    done: int
    total: int
    failed: int
    running: int
    elapsed_s: float
    by: str
    planning: bool = False


class TaskRow(Value, frozen=True):
    """One line of a task listing."""

    task_id: str
    task: str  #: display
    state: str
    worker: str
    attempt: int
    since_s: float
    reason: str = ""
    status: str = ""  #: what its last attempt said
    progress: float = -1.0  #: percent; below 0: nothing said
    tracking_url: str = ""


class WorkerProgram(Value, frozen=True):
    """One program of a worker: what the tasks of one run are executed in."""

    run: RunId
    code: str  #: identity of the code that was imported; empty: none yet
    import_s: float  #: how long that took; below 0: it is not over
    state: str  #: "importing" | "ready" | "alone" (each process imports for itself) | "failed"
    text: str = ""  #: why the run gets nothing from this worker, or why it is alone
    differs: bool = False  #: the code is not that of the run


class WorkerRow(Value, frozen=True):
    """One line of ``flow workers``."""

    uid: WorkerUid
    name: str
    host: str
    state: str  #: "active" | "suspect" | "draining" | "unfit" | "lost"
    slots: int
    busy: int
    capacity: dict[str, tuple[float, float]]  #: name: (used, capacity)
    cpu: float
    memory_bytes: int
    since_s: float
    heartbeat_age_s: float
    tasks: list[tuple[str, float]]  #: (display, seconds), bounded
    programs: list[WorkerProgram] = []  #: the newest first, bounded


class ResourceRow(Value, frozen=True):
    """One line of ``flow resources``."""

    name: str
    used: float
    limit: float
    waiting: int
    declared: bool


class WhyAnswer(Value, frozen=True):
    """Why a task is in its state, as labelled lines, and what to type to change it."""

    task_id: str
    task: str
    state: str
    since_s: float
    lines: list[tuple[str, str]]
    hints: list[str]
    status: str = ""  #: what its last attempt said
    progress: float = -1.0  #: percent; below 0: nothing said
    tracking_url: str = ""
    statistics: dict[str, str] = {}


class GraphNode(Value, frozen=True):
    """One box of the graph of a run: a family, or a task (then ``task_id`` is set)."""

    name: str  #: the family, or the task as people write it
    counts: dict[str, int]  #: by ``TaskState.label``; of a task: its state
    requires: list[int] = []  #: indices into ``Graph.nodes``
    more: int = 0  #: so many more requirements are not shown
    task_id: str = ""
    family: str = ""
    reasons: list[str] = []  #: what it waits for, bounded
    run_s: float = -1.0  #: mean time in ``run()`` of the family; below 0: never measured


# ---------------------------------------------------------------- requests


class Submit(Message, frozen=True, tag=64):
    """Start a run. The same ``key`` starts no second one as long as the store keeps the first.

    It keeps every open run, and ``coordinator.history_runs_max`` ended ones, the newest.

    One with many roots comes in parts, each after the answer to the one before. It starts with the
    last part; until then nothing of it is durable.
    """

    request: int
    key: str
    project: str
    roots: list[RootTask]
    options: SubmitOptions
    protocol: tuple[int, int] = PROTOCOL
    at: int = 0  #: how many roots came before these
    total: int = 0  #: how many the run has; 0: these are all


class Watch(Message, frozen=True, tag=65):
    """Send me this run's updates until it ends. ``seen`` is the last failure number I have."""

    request: int
    run: RunId
    seen: int = 0


class Unwatch(Message, frozen=True, tag=66):
    """Stop the updates."""

    request: int
    run: RunId


class ListRuns(Message, frozen=True, tag=67):
    """Ask for runs, newest first."""

    request: int
    limit: int = 20


class ShowRun(Message, frozen=True, tag=68):
    """Ask for one run: its summary so far. ``run`` may be a piece of an id or name, or ``last``."""

    request: int
    run: str


class ListTasks(Message, frozen=True, tag=69):
    """Ask for tasks by piece of id or display, optionally of one run or state."""

    request: int
    match: str = ""
    run: str = ""
    states: list[str] = []
    limit: int = 100


class ListWorkers(Message, frozen=True, tag=70):
    """Ask for the workers, beyond so many of them."""

    request: int
    at: int = 0


class Why(Message, frozen=True, tag=71):
    """Ask why a task is not running (or ran)."""

    request: int
    task: str
    run: str = ""


class Cancel(Message, frozen=True, tag=72):
    """Cancel a run, or tasks. Kills what runs, unless another run needs it."""

    request: int
    target: str  #: run or task, any unambiguous piece
    reason: str = ""
    grace_s: float = 0.0


class Retry(Message, frozen=True, tag=73):
    """Run failed tasks of a run, or one task, again now; forgives backoff and counts."""

    request: int
    target: str


class ListResources(Message, frozen=True, tag=74):
    """Ask for limits and use, beyond so many of them."""

    request: int
    at: int = 0


class SetResource(Message, frozen=True, tag=75):
    """Set a cluster limit, durably."""

    request: int
    name: str
    limit: float


class WorkerCommand(Message, frozen=True, tag=76):
    """Tell a worker something, or declare it dead (an operator's word, logged)."""

    request: int
    worker: str  #: uid, name, or unambiguous piece
    command: str  #: "drain" | "declare-dead"


class About(Message, frozen=True, tag=77):
    """Ask who answers."""

    request: int


class FindAttempt(Message, frozen=True, tag=80):
    """Ask for the running attempt of a task that accepts messages."""

    request: int
    task: str
    run: str = ""


class SendLetter(Message, frozen=True, tag=81):
    """Give this to the attempt with this token, once for each ``id`` however often it is asked."""

    request: int
    token: Token
    id: str
    content: str
    payload: dict[str, str] = {}
    wait_s: float = 0.0  #: above 0: answer when the attempt has replied, or after this long


class ShowGraph(Message, frozen=True, tag=83):
    """Ask what requires what in a run, by family or by task, from its roots or one of either."""

    request: int
    run: str  #: any unambiguous piece, or ``last``
    by: str = "families"  #: or "tasks"
    root: str = ""  #: a family, or a piece of a task; empty: the roots of the run
    depth: int = -1  #: steps below the root; below 0: all
    limit: int = 200  #: nodes of the reply, which is bounded in any case


class Upload(Message, frozen=True, tag=84):
    """Keep a piece of packed code, which the hash of the whole names. Empty: only asks.

    Pieces come in order; the answer to each says where the next one begins.
    """

    request: int
    package: str
    size_bytes: int  #: of the whole
    at_bytes: int = 0
    body: bytes = b""


# ---------------------------------------------------------------- replies


class Failed(Message, frozen=True, tag=96):
    """The request was refused; ``code`` is the exit code of the command."""

    request: int
    code: int
    error: str
    hint: str = ""
    matches: list[str] = []


class Held(Message, frozen=True, tag=116):
    """The request is heard; nothing that has to be stored is answered for now. Says why."""

    request: int
    why: str
    workers: int = 0


class Submitted(Message, frozen=True, tag=97):
    """The run is durable."""

    request: int
    run: RunId
    name: str


class Printed(Value, frozen=True):
    """What user code printed on a worker while a run was planned there."""

    worker: str
    text: str  #: whole lines


class SubmitTaken(Message, frozen=True, tag=115):
    """A part of a run is held in memory: send the rest, from ``count`` on."""

    request: int
    count: int  #: roots that are held; fewer than were sent where it has to be said again


class RunUpdate(Message, frozen=True, tag=98):
    """News of a watched run, at most a few a second; ``ended`` comes last."""

    request: int
    run: RunId
    name: str
    planning: bool
    total: int
    families: list[FamilyCounts]  #: all families whose counts changed since the last update
    failures: list[Failure]
    waiting: list[str]  #: reasons, bounded
    slots: int
    busy: int
    elapsed_s: float
    ended: RunSummary | None = None
    workers: int = 0
    notes: list[str] = []  #: sentences about its code on workers since the last update, bounded
    printed: list[Printed] = []  #: while it was planned, since the last update, bounded


class Runs(Message, frozen=True, tag=99):
    """Answer to ListRuns."""

    request: int
    runs: list[RunRow]
    workers: int
    slots: int
    busy: int
    notes: list[str] = []


class RunShown(Message, frozen=True, tag=100):
    """Answer to ShowRun."""

    request: int
    summary: RunSummary
    families: list[FamilyCounts]
    failures: list[Failure]


class Tasks(Message, frozen=True, tag=101):
    """Answer to ListTasks."""

    request: int
    tasks: list[TaskRow]
    more: int = 0


class Workers(Message, frozen=True, tag=102):
    """Answer to ListWorkers. ``more`` follow: who asks again gets them."""

    request: int
    workers: list[WorkerRow]
    more: int = 0


class WhyShown(Message, frozen=True, tag=103):
    """Answer to Why."""

    request: int
    answer: WhyAnswer


class Changed(Message, frozen=True, tag=104):
    """Answer to Cancel, Retry, SetResource, WorkerCommand: what was changed, for people."""

    request: int
    text: str
    count: int = 0


class Resources(Message, frozen=True, tag=105):
    """Answer to ListResources. ``more`` follow: who asks again gets them."""

    request: int
    resources: list[ResourceRow]
    more: int = 0


class AboutShown(Message, frozen=True, tag=106):
    """Answer to About."""

    request: int
    version: str
    epoch: int
    up_s: float
    workers: int
    slots: int


class AttemptFound(Message, frozen=True, tag=110):
    """Answer to FindAttempt."""

    request: int
    token: Token
    task_id: str
    task: str  #: display
    attempt: int
    worker: str


class LetterSent(Message, frozen=True, tag=111):
    """Answer to SendLetter that reached its attempt."""

    request: int
    replied: bool = False
    reply: str = ""


class Graph(Message, frozen=True, tag=113):
    """Answer to ShowGraph. Nodes are in the order they were found, breadth first."""

    request: int
    run: RunId
    name: str
    state: str  #: RunState.label
    planning: bool
    nodes: list[GraphNode]
    roots: list[int]  #: indices of the nodes that drawing begins with
    more: int = 0  #: families of the run that are not among the nodes
    waiting: list[str] = []  #: what the run waits for, as in RunUpdate
    notes: list[str] = []


class Uploaded(Message, frozen=True, tag=114):
    """Answer to Upload: what is kept. ``whole``: runs may name it."""

    request: int
    have_bytes: int
    whole: bool = False


Request = (
    Submit
    | Watch
    | Unwatch
    | ListRuns
    | ShowRun
    | ListTasks
    | ListWorkers
    | Why
    | Cancel
    | Retry
    | ListResources
    | SetResource
    | WorkerCommand
    | About
    | FindAttempt
    | SendLetter
    | ShowGraph
    | Upload
)
Reply = (
    Failed
    | Held
    | Submitted
    | SubmitTaken
    | RunUpdate
    | Runs
    | RunShown
    | Tasks
    | Workers
    | WhyShown
    | Changed
    | Resources
    | AboutShown
    | AttemptFound
    | LetterSent
    | Graph
    | Uploaded
)
