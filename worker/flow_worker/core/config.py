"""What one start of a worker agent is: frozen facts and limits, read by the core only."""

from __future__ import annotations

import msgspec

from flow.ids import WorkerUid
from flow.messages.shared import PROTOCOL


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Identity, size and limits of one worker. Times are seconds."""

    uid: WorkerUid
    name: str
    host: str
    host_key: str = ""
    boot_id: str = ""
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
    drain_grace_s: float = (
        0.0  #: how long running tasks may go on in a drain; 0: as long as it takes
    )
    parked_max: int = 1000  #: suspended generators; beyond it the oldest is given up
    runner_tasks_max: int = 10_000  #: a runner is replaced after this many tasks
    runner_bytes_max: int = 0  #: or when a task's peak memory was above this; 0: no bound

    @property
    def processes_max(self) -> int:
        """Runner processes, those that only hold parked generators included."""
        return self.slots + max(4, self.slots)


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
EWMA_WEIGHT = 0.2
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
