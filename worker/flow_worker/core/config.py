"""What one start of a worker agent is: frozen facts and limits, read by the core only."""

from __future__ import annotations

import msgspec

from flow.wire.ids import WorkerUid
from flow.wire.messages.shared import PROTOCOL


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Identity, size and limits of one worker. Times are seconds."""

    uid: WorkerUid
    name: str
    host: str
    host_key: str = ""
    boot_id: str = ""
    folder: str = ""  #: in which it was started; relative paths of outputs begin there
    pid: int = 0
    python: str = ""
    code: str = ""
    version: str = ""
    protocol: tuple[int, int] = PROTOCOL
    slots: int = 1
    planners: int = 1  #: planner processes, each works on one request
    capacity: dict[str, float] = {}
    predecessors: list[WorkerUid] = []  #: uids whose processes are certainly dead
    #: one process exists already, serves both roles, is never killed; nothing is forked
    attached: bool = False
    #: the program that this worker works for was forked before the worker began: nothing else has
    #: what it had set
    inherits: bool = False
    adopted: bool = False  #: that fork exists: it is ``ADOPTED_PROCESS``, a template
    drain_grace_s: float = (
        0.0  #: how long running tasks may go on in a drain; 0: as long as it takes
    )
    parked_max: int = 1000  #: suspended generators; beyond it the oldest is given up
    runner_tasks_max: int = 10_000  #: a runner is replaced after this many tasks
    runner_bytes_max: int = 0  #: or when a task's peak memory was above this; 0: no bound
    imports_max: int = 2  #: programs that are imported at the same time
    reuse_code: bool = False  #: templates of runs that are over may serve equal ones
    templates_bytes_max: int = 0  #: of memory, of all templates but the only one; 0: no bound
    import_timeout_s: float = 600.0  #: an import that takes longer is killed

    @property
    def processes_max(self) -> int:
        """Runner processes, idle ones and those that only hold parked generators included."""
        return max(4 * self.slots, self.slots + 4)

    @property
    def programs_max(self) -> int:
        """Programs with a template."""
        return max(8, self.slots)


#: The number of a process that exists before the agent does.
ADOPTED_PROCESS = 1
#: Timing before the first WELCOME: only how often to knock.
HELLO_RETRY_S = 0.02
HELLO_RETRY_MAX_S = 5.0
#: Jitter of heartbeats and retries, as a share of the interval.
JITTER = 0.1
#: Resend of reports and yields without an answer.
RESEND_S = 1.0
RESEND_MAX_S = 15.0
#: Small tasks are handed over together, up to this much work or this many.
BATCH_FILL_S = 0.004
BATCH_TASKS_MAX = 32
#: A family slower than this, or unknown, gets one task at a time.
SMALL_TASK_S = 0.002
#: Weight of the newest duration in a family's mean.
NEWEST_WEIGHT = 0.2
#: Families whose durations are remembered.
FAMILIES_MAX = 10_000
#: One message to the coordinator carries at most this much.
MESSAGE_FILL_BYTES = 512 << 10
MESSAGE_ITEMS_MAX = 5000
#: Texts of one report; the runner bounds them too.
REPORT_TEXT_MAX = 64 << 10
#: Acknowledged tokens remembered, so that a late copy of their DISPATCH is known.
SEEN_TOKENS_MAX = 20_000
#: Restart of a task process that dies before it is up.
RESTART_S = 0.1
RESTART_MAX_S = 5.0
#: After an import nothing is forked or ended for this long but what its program needs: what is
#: short is over by then.
QUIET_S = 0.025
#: Templates in a row that may die while they import a program, before it counts as broken here.
IMPORT_DEATHS_MAX = 3
#: Starts in a row of one program's processes that may fail, before it counts as broken here.
STARTS_FAILED_MAX = 5
#: A piece of packed code that does not come is asked for again after this.
FETCH_RESEND_S = 2.0
FETCH_RESEND_MAX_S = 15.0
#: Of a sentence about a program, in heartbeats.
SEEN_TEXT_MAX = 1_000
#: Tasks named at once as not to be planned here, each with the whole sentence.
REFUSED_STUBS_MAX = 100
#: A planning request that nobody asks about this long was ended by a message that got lost (the
#: coordinator asks again every few seconds while it waits for an answer).
REQUEST_SILENCE_S = 30.0
#: How long an ending worker waits for its last reports to be acknowledged.
FAREWELL_S = 5.0
#: Heartbeats whose send time is remembered.
HEARTBEATS_MAX = 64
#: What a token says goes out at most this often, unless it frees something.
SAY_S = 1.0
#: Letters one attempt may get; their ids are remembered as long as it lives.
LETTERS_MAX = 100_000
#: Letters refused by one attempt that are remembered, so that a late copy is refused, too.
REFUSED_LETTERS_MAX = 10_000
#: Replies of one attempt that can be told again.
REPLIES_KEPT_MAX = 256
