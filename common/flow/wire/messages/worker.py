"""Messages between a worker agent and the coordinator, both directions.

Joining: HELLO -> CHALLENGE -> JOIN -> WELCOME. Then HEARTBEAT/HEARTBEAT_ACK, DISPATCH -> STARTED,
RESULTS and YIELD -> RACK, KILL, RECALL, RESUME, PLAN -> PLANNED, CLEAN -> CLEANED, FETCH -> PIECE.
What a grant, a PLAN and a CLEAN run in they name by its number; DEFINE says what that is.
Everything is idempotent; a message with a session that is not current is answered with REJOIN and
nothing else (rule C7).
"""

from __future__ import annotations

import msgspec

from flow.wire.ids import Session, Token, WorkerUid
from flow.wire.messages.shared import Grant, Program, ProgramSeen, Report, Stub, Timing, Verdict
from flow.wire.messages.speech import Fate, Letter, Words


class Message(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Base of every message; ``tag`` is its number on the wire."""


# ---------------------------------------------------------------- worker -> coordinator


class Hello(Message, frozen=True, tag=1):
    """I am here. Changes nothing at the coordinator but the nonce it remembers (rule C6)."""

    uid: WorkerUid
    protocol: tuple[int, int]
    version: str = ""


class Join(Message, frozen=True, tag=2):
    """Certify what this uid still holds; everything it does not list is released (rule C2)."""

    uid: WorkerUid
    nonce: str
    held: list[Token]  #: tokens whose process (or parked generator, or queue place) lives
    reporting: list[Token]  #: tokens ended here whose report is not acknowledged yet
    predecessors: list[WorkerUid]  #: uids whose processes are certainly dead
    name: str
    host: str
    host_key: str  #: stable name of the machine (machine-id), for release after a reboot
    boot_id: str
    slots: int
    capacity: dict[str, float]
    pid: int = 0
    python: str = ""
    code: str = ""
    planners: int = 1  #: plan requests worked on at the same time
    folder: str = ""  #: in which it was started


class Heartbeat(Message, frozen=True, tag=3):
    """Extend every lease of this session. ``number`` only grows (an older one is ignored)."""

    session: Session
    number: int
    draining: bool = False
    cpu: float = 0.0  #: load of the host, 0..1
    memory_bytes: int = 0  #: used by this worker's processes
    fit: bool = True  #: False: a process tree cannot be killed; no new work
    programs: list[ProgramSeen] = []  #: all that this worker has
    wanted: list[int] = []  #: programs that it was told to use and has no definition of
    room: bool = True  #: False: it has as many programs as it can, and all of them are in use


class Started(Message, frozen=True, tag=4):
    """These tokens were accepted and will run (or run already)."""

    session: Session
    tokens: list[Token]
    #: (token, number) of RESUMEs that arrived: ``tokens`` may be a late copy from before the yield
    resumed: list[tuple[Token, int]] = []


class Results(Message, frozen=True, tag=5):
    """How tokens ended. Resent until RACK."""

    session: Session
    reports: list[Report]


class Yield(Message, frozen=True, tag=6):
    """``run()`` yielded tasks; the generator is parked. In parts when large; resent until RACK.

    ``number`` counts the yields of this token from 1, so that a repeated one is recognised.
    """

    session: Session
    token: Token
    number: int
    part: int
    parts: int
    stubs: list[Stub]


class Planned(Message, frozen=True, tag=7):
    """One chunk of the answer to PLAN. ``body`` is an encoded ``PlanChunk``, opaque to the agent.

    With ``lost``, an error in it tells how the planner process died.
    """

    session: Session
    request: int
    chunk: int
    last: bool
    body: bytes
    lost: bool = False  #: the request is unknown here, or its planner died; ask somebody again
    code: str = ""  #: identity of the code that answered


class Drained(Message, frozen=True, tag=8):
    """This worker ends now and certifies that none of its processes is left."""

    session: Session


class Extended(Message, frozen=True, tag=9):
    """EXTEND arrived: this worker waits for the next coordinator."""

    session: Session


class Said(Message, frozen=True, tag=12):
    """What attempts say, and their replies (token, letter id, text). Resent until HEARD."""

    session: Session
    words: list[Words]
    replies: list[tuple[Token, str, str]] = []


class LettersAck(Message, frozen=True, tag=13):
    """What became of letters: (token, letter id, fate). Said again when a letter comes again."""

    session: Session
    fates: list[tuple[Token, str, Fate]]


class Cleaned(Message, frozen=True, tag=20):
    """The answer to CLEAN: the first ``done`` of its tasks were seen to; the rest had no time."""

    session: Session
    request: int
    done: int = 0
    errors: list[str] = []  #: one line each, for people
    lost: bool = False  #: its process died; ask somebody again


class Fetch(Message, frozen=True, tag=21):
    """Send me packed code from this place on. Asked again until a PIECE of it comes."""

    session: Session
    package: str
    at_bytes: int


# ---------------------------------------------------------------- coordinator -> worker


class Challenge(Message, frozen=True, tag=32):
    """Answer to HELLO: what a JOIN must quote."""

    epoch: int
    lineage: str
    nonce: str


class Denied(Message, frozen=True, tag=33):
    """Refused for good (protocol major, name taken); both sides log the reason."""

    reason: str


class Welcome(Message, frozen=True, tag=34):
    """The JOIN with this nonce is in force."""

    nonce: str
    session: Session
    timing: Timing
    kill: list[Token]  #: held by the worker, not current here: kill hard (rule W7)


class HeartbeatAck(Message, frozen=True, tag=35):
    """Heartbeat ``number`` arrived; the lease runs from when it was *sent*."""

    session: Session
    number: int
    over: list[int] = []  #: of the programs that it listed, those that nobody needs any more


class Rejoin(Message, frozen=True, tag=36):
    """Your session is not current: say HELLO again. Kills nothing by itself."""

    session: Session


class Dispatch(Message, frozen=True, tag=37):
    """Tasks granted to this session, in the order to run them."""

    session: Session
    grants: list[Grant]


class Rack(Message, frozen=True, tag=38):
    """Reports and yields that are durable (or stale): stop resending them."""

    session: Session
    verdicts: list[tuple[Token, Verdict]]
    yields: list[tuple[Token, int]] = []  #: (token, number) of accepted yields


class Kill(Message, frozen=True, tag=39):
    """Kill these hard and report KILLED."""

    session: Session
    tokens: list[Token]
    grace_s: float = 0.0  #: above 0: SIGTERM first (cancel with grace)


class Recall(Message, frozen=True, tag=40):
    """Give back what has not started: report RELEASED for those, ignore the others."""

    session: Session
    tokens: list[Token]


class Resume(Message, frozen=True, tag=41):
    """All tasks of this yield are done: continue the generators."""

    session: Session
    yields: list[tuple[Token, int]]  #: (token, number)


class Plan(Message, frozen=True, tag=42):
    """Expand these tasks: complete()? requires()? Read-only, idempotent, needs no lease."""

    session: Session
    request: int
    stubs: list[Stub]
    expand_max: int  #: how many tasks to expand at most, requested ones included
    program: int = 0  #: whose planner is asked
    #: do not plan: say where the outputs are, in one chunk with a ``PlanError`` of the kind "where"
    #: for each output of the only task that has a path
    where: bool = False


class PlanNext(Message, frozen=True, tag=43):
    """Send this chunk of the answer (again, if it was sent)."""

    session: Session
    request: int
    chunk: int


class PlanEnd(Message, frozen=True, tag=44):
    """Forget this request."""

    session: Session
    request: int


class Extend(Message, frozen=True, tag=45):
    """A planned restart of the coordinator: keep running this long without acks; say EXTENDED.

    Answered because closing a connection on which something arrives can cost what was said last.
    """

    session: Session
    lease_s: float


class Define(Message, frozen=True, tag=51):
    """What these programs are. Said before their first use in a session, and when asked for."""

    session: Session
    programs: list[Program]
    prepare: bool = False  #: import them now: their tasks will need this worker, too


class Drain(Message, frozen=True, tag=46):
    """Take no new task; end when the running ones have."""

    session: Session


class Heard(Message, frozen=True, tag=48):
    """Words (token, number) that are durable, and replies (token, letter id) that arrived."""

    session: Session
    words: list[tuple[Token, int]]
    replies: list[tuple[Token, str]] = []


class Letters(Message, frozen=True, tag=49):
    """Put these into the queues of their attempts, each once; answered with LETTERS_ACK."""

    session: Session
    letters: list[Letter]


class Clean(Message, frozen=True, tag=50):
    """Remove the temporary artifacts of these tasks: nobody needs them. Repeated until CLEANED.

    Numbers grow; no PLAN is open meanwhile, so no planner sees half of it.
    """

    session: Session
    request: int
    stubs: list[Stub]
    program: int = 0  #: in which they were all planned


class Piece(Message, frozen=True, tag=52):
    """The answer to FETCH, said when nothing else waits to be said."""

    session: Session
    package: str
    at_bytes: int
    size_bytes: int  #: of the whole
    body: bytes = b""
    error: str = ""  #: why there is none, for people


ToCoordinator = (
    Hello
    | Join
    | Heartbeat
    | Started
    | Results
    | Yield
    | Planned
    | Drained
    | Extended
    | Said
    | LettersAck
    | Cleaned
    | Fetch
)
ToWorker = (
    Challenge
    | Denied
    | Welcome
    | HeartbeatAck
    | Rejoin
    | Dispatch
    | Rack
    | Kill
    | Recall
    | Resume
    | Plan
    | PlanNext
    | PlanEnd
    | Extend
    | Drain
    | Heard
    | Letters
    | Clean
    | Define
    | Piece
)
