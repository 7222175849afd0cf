"""Legal moves of the link, of a token and of a program at the worker, as data.

The machine and its tests read the same tables; what their cells mean is said in
``flow.wire.moves``. Each table lists the events that others cause by what they say: there a refusal
is their fault, and everywhere else it is a bug of this agent.
"""

from __future__ import annotations

import enum

from flow.wire.moves import Go, Ignore, Move, Moves, Refuse

# ---------------------------------------------------------------- the link


class Link(enum.IntEnum):
    """How this agent stands with the coordinator."""

    OFFLINE = 0  #: nothing said yet
    HELLO = 1  #: said HELLO, waits for a CHALLENGE
    KILLING = 2  #: has a CHALLENGE, waits until everything being killed is reaped (rule W5)
    JOINING = 3  #: said JOIN, waits for WELCOME
    JOINED = 4
    ENDED = 5  #: denied, or left


class LinkEvent(enum.IntEnum):
    """What moves the link."""

    STARTED = 0
    RETRY = 1  #: no answer in time
    CHALLENGE = 2
    REAPED = 3  #: nothing is being killed any more
    KILL_BEGUN = 4  #: something that holds a token is being killed
    WELCOME = 5  #: with the nonce of the last JOIN
    REJOIN = 6  #: with the current session
    DENIED = 7
    LEFT = 8


_NO_SESSION = Ignore("there is no session to lose")
_NOT_ASKED = Ignore("no JOIN waits for it")
_OVER = Ignore("the agent ends")
_ALIVE = Ignore("started already")

_LINK_CELLS: dict[tuple[Link, LinkEvent], Move[Link]] = {
    (Link.OFFLINE, LinkEvent.STARTED): Go(Link.HELLO),
    (Link.OFFLINE, LinkEvent.RETRY): Ignore("nothing was said yet"),
    (Link.OFFLINE, LinkEvent.CHALLENGE): Ignore("nothing was said yet"),
    (Link.OFFLINE, LinkEvent.REAPED): Ignore("no CHALLENGE yet"),
    (Link.OFFLINE, LinkEvent.KILL_BEGUN): Ignore("no JOIN to void"),
    (Link.OFFLINE, LinkEvent.WELCOME): _NOT_ASKED,
    (Link.OFFLINE, LinkEvent.REJOIN): _NO_SESSION,
    (Link.OFFLINE, LinkEvent.DENIED): Go(Link.ENDED),
    (Link.OFFLINE, LinkEvent.LEFT): Go(Link.ENDED),
    (Link.HELLO, LinkEvent.STARTED): _ALIVE,
    (Link.HELLO, LinkEvent.RETRY): Go(Link.HELLO),
    (Link.HELLO, LinkEvent.CHALLENGE): Go(Link.KILLING),
    (Link.HELLO, LinkEvent.REAPED): Ignore("no CHALLENGE yet"),
    (Link.HELLO, LinkEvent.KILL_BEGUN): Ignore("no JOIN to void"),
    (Link.HELLO, LinkEvent.WELCOME): Go(Link.JOINED),
    (Link.HELLO, LinkEvent.REJOIN): _NO_SESSION,
    (Link.HELLO, LinkEvent.DENIED): Go(Link.ENDED),
    (Link.HELLO, LinkEvent.LEFT): Go(Link.ENDED),
    (Link.KILLING, LinkEvent.STARTED): _ALIVE,
    (Link.KILLING, LinkEvent.RETRY): Go(Link.HELLO),
    (Link.KILLING, LinkEvent.CHALLENGE): Go(Link.KILLING),
    (Link.KILLING, LinkEvent.REAPED): Go(Link.JOINING),
    (Link.KILLING, LinkEvent.KILL_BEGUN): Ignore("no JOIN to void"),
    (Link.KILLING, LinkEvent.WELCOME): Ignore("a newer CHALLENGE came after its JOIN"),
    (Link.KILLING, LinkEvent.REJOIN): _NO_SESSION,
    (Link.KILLING, LinkEvent.DENIED): Go(Link.ENDED),
    (Link.KILLING, LinkEvent.LEFT): Go(Link.ENDED),
    (Link.JOINING, LinkEvent.STARTED): _ALIVE,
    (Link.JOINING, LinkEvent.RETRY): Go(Link.HELLO),
    (Link.JOINING, LinkEvent.CHALLENGE): Go(Link.KILLING),
    (Link.JOINING, LinkEvent.REAPED): Ignore("JOIN was sent already"),
    (Link.JOINING, LinkEvent.KILL_BEGUN): Go(Link.HELLO),
    (Link.JOINING, LinkEvent.WELCOME): Go(Link.JOINED),
    (Link.JOINING, LinkEvent.REJOIN): _NO_SESSION,
    (Link.JOINING, LinkEvent.DENIED): Go(Link.ENDED),
    (Link.JOINING, LinkEvent.LEFT): Go(Link.ENDED),
    (Link.JOINED, LinkEvent.STARTED): _ALIVE,
    (Link.JOINED, LinkEvent.RETRY): Ignore("joined"),
    (Link.JOINED, LinkEvent.CHALLENGE): Ignore("an answer to a HELLO from before this session"),
    (Link.JOINED, LinkEvent.REAPED): Ignore("joined"),
    (Link.JOINED, LinkEvent.KILL_BEGUN): Ignore("reported in this session"),
    (Link.JOINED, LinkEvent.WELCOME): Ignore("a copy"),
    (Link.JOINED, LinkEvent.REJOIN): Go(Link.HELLO),
    (Link.JOINED, LinkEvent.DENIED): Go(Link.ENDED),
    (Link.JOINED, LinkEvent.LEFT): Go(Link.ENDED),
    **{(Link.ENDED, event): _OVER for event in LinkEvent},
}

LINK_MOVES = Moves(
    "link",
    Link,
    LinkEvent,
    _LINK_CELLS,
    heard=(LinkEvent.CHALLENGE, LinkEvent.WELCOME, LinkEvent.REJOIN, LinkEvent.DENIED),
)


# ---------------------------------------------------------------- a token


class Hold(enum.IntEnum):
    """Where a token is in its life at this worker."""

    QUEUED = 0  #: granted, in no process yet
    ASSIGNED = 1  #: in a runner's batch, behind another task
    RUNNING = 2
    PARKED = 3  #: its generator waits for yielded tasks
    RESUMING = 4  #: may continue, waits for its runner and a slot
    KILLING = 5  #: must die, its process may still live
    ENDED = 6  #: its one report waits for RACK (rule W6)
    ACKED = 7  #: remembered only, so that it never starts again (rule W1)


class HoldEvent(enum.IntEnum):
    """What moves a token."""

    DISPATCHED = 0  #: granted again: a copy
    ASSIGNED = 1  #: given to a runner
    BEGAN = 2
    FINISHED = 3  #: its runner reported
    YIELDED = 4
    RESUMED = 5  #: RESUME of its last yield
    CONTINUED = 6  #: given back to its runner
    RECALLED = 7
    KILLED = 8  #: KILL, kill list, timeout, fence, the agent ends
    GONE = 9  #: its process and whole tree are gone
    RACKED = 10
    RETURNED = 11  #: its runner became dirty before it began


_NO_PROCESS = Refuse("no process has it")
_HAS_PROCESS = Refuse("a process has it already")
_NO_REPORT = Ignore("no report is out")
_SAY_AGAIN = Ignore("a copy: say STARTED again")
_IN_PROCESS = Ignore("a process has it already")
_NOT_PARKED = Ignore("it is not parked: a copy")
_DYING = Ignore("it must die")
_ENDED = Ignore("it has its one report")

_HOLD_ROWS: dict[Hold, dict[HoldEvent, Move[Hold]]] = {
    Hold.QUEUED: {
        HoldEvent.DISPATCHED: _SAY_AGAIN,
        HoldEvent.ASSIGNED: Go(Hold.ASSIGNED),
        HoldEvent.BEGAN: _NO_PROCESS,
        HoldEvent.FINISHED: _NO_PROCESS,
        HoldEvent.YIELDED: _NO_PROCESS,
        HoldEvent.RESUMED: _NOT_PARKED,
        HoldEvent.CONTINUED: _NO_PROCESS,
        HoldEvent.RECALLED: Go(Hold.ENDED),
        HoldEvent.KILLED: Go(Hold.ENDED),
        HoldEvent.GONE: Ignore("no process has it"),
        HoldEvent.RACKED: _NO_REPORT,
        HoldEvent.RETURNED: _NO_PROCESS,
    },
    Hold.ASSIGNED: {
        HoldEvent.DISPATCHED: _SAY_AGAIN,
        HoldEvent.ASSIGNED: _HAS_PROCESS,
        HoldEvent.BEGAN: Go(Hold.RUNNING),
        HoldEvent.FINISHED: Refuse("another task of its batch comes first"),
        HoldEvent.YIELDED: Refuse("another task of its batch comes first"),
        HoldEvent.RESUMED: _NOT_PARKED,
        HoldEvent.CONTINUED: _HAS_PROCESS,
        HoldEvent.RECALLED: _IN_PROCESS,
        HoldEvent.KILLED: Go(Hold.KILLING),
        HoldEvent.GONE: Go(Hold.QUEUED),
        HoldEvent.RACKED: _NO_REPORT,
        HoldEvent.RETURNED: Go(Hold.QUEUED),
    },
    Hold.RUNNING: {
        HoldEvent.DISPATCHED: _SAY_AGAIN,
        HoldEvent.ASSIGNED: _HAS_PROCESS,
        HoldEvent.BEGAN: _IN_PROCESS,
        HoldEvent.FINISHED: Go(Hold.ENDED),
        HoldEvent.YIELDED: Go(Hold.PARKED),
        HoldEvent.RESUMED: _NOT_PARKED,
        HoldEvent.CONTINUED: _HAS_PROCESS,
        HoldEvent.RECALLED: _IN_PROCESS,
        HoldEvent.KILLED: Go(Hold.KILLING),
        HoldEvent.GONE: Go(Hold.ENDED),
        HoldEvent.RACKED: _NO_REPORT,
        HoldEvent.RETURNED: Go(Hold.QUEUED),
    },
    Hold.PARKED: {
        HoldEvent.DISPATCHED: _SAY_AGAIN,
        HoldEvent.ASSIGNED: _HAS_PROCESS,
        HoldEvent.BEGAN: Refuse("it was not told to continue"),
        HoldEvent.FINISHED: Go(Hold.ENDED),
        HoldEvent.YIELDED: Refuse("it was not told to continue"),
        HoldEvent.RESUMED: Go(Hold.RESUMING),
        HoldEvent.CONTINUED: Refuse("its yield is not done"),
        HoldEvent.RECALLED: _IN_PROCESS,
        HoldEvent.KILLED: Go(Hold.KILLING),
        HoldEvent.GONE: Go(Hold.ENDED),
        HoldEvent.RACKED: _NO_REPORT,
        HoldEvent.RETURNED: Refuse("it began here"),
    },
    Hold.RESUMING: {
        HoldEvent.DISPATCHED: _SAY_AGAIN,
        HoldEvent.ASSIGNED: _HAS_PROCESS,
        HoldEvent.BEGAN: Refuse("it was not told to continue"),
        HoldEvent.FINISHED: Go(Hold.ENDED),
        HoldEvent.YIELDED: Refuse("it was not told to continue"),
        HoldEvent.RESUMED: Ignore("a copy"),
        HoldEvent.CONTINUED: Go(Hold.RUNNING),
        HoldEvent.RECALLED: _IN_PROCESS,
        HoldEvent.KILLED: Go(Hold.KILLING),
        HoldEvent.GONE: Go(Hold.ENDED),
        HoldEvent.RACKED: _NO_REPORT,
        HoldEvent.RETURNED: Refuse("it began here"),
    },
    Hold.KILLING: {
        HoldEvent.DISPATCHED: _SAY_AGAIN,
        HoldEvent.ASSIGNED: _HAS_PROCESS,
        HoldEvent.BEGAN: _DYING,
        HoldEvent.FINISHED: Go(Hold.ENDED),
        HoldEvent.YIELDED: _DYING,
        HoldEvent.RESUMED: _DYING,
        HoldEvent.CONTINUED: _HAS_PROCESS,
        HoldEvent.RECALLED: _IN_PROCESS,
        HoldEvent.KILLED: Go(Hold.KILLING),
        HoldEvent.GONE: Go(Hold.ENDED),
        HoldEvent.RACKED: _NO_REPORT,
        HoldEvent.RETURNED: Go(Hold.ENDED),
    },
    Hold.ENDED: {
        **dict.fromkeys(HoldEvent, _ENDED),
        HoldEvent.DISPATCHED: Ignore("a copy: send the report again"),
        HoldEvent.ASSIGNED: Refuse("it has its one report"),
        HoldEvent.CONTINUED: Refuse("it has its one report"),
        HoldEvent.RACKED: Go(Hold.ACKED),
    },
    Hold.ACKED: {
        **dict.fromkeys(HoldEvent, Ignore("its report is acknowledged")),
        HoldEvent.ASSIGNED: Refuse("its report is acknowledged"),
        HoldEvent.CONTINUED: Refuse("its report is acknowledged"),
    },
}

HOLD_MOVES = Moves(
    "token",
    Hold,
    HoldEvent,
    {(state, event): move for state, row in _HOLD_ROWS.items() for event, move in row.items()},
    heard=(
        HoldEvent.DISPATCHED,
        HoldEvent.FINISHED,
        HoldEvent.YIELDED,
        HoldEvent.RESUMED,
        HoldEvent.RACKED,
        HoldEvent.RETURNED,
    ),
)


# ---------------------------------------------------------------- a program


class Stand(enum.IntEnum):
    """How a program stands at this worker."""

    NEW = 0  #: nothing of it is imported
    FETCHING = 1  #: its code is on its way here
    LOADING = 2  #: its template imports it
    READY = 3  #: its template forks
    ALONE = 4  #: it must not be forked: each of its processes imports for itself
    #: its template died as often as is tolerated, or its code cannot be had
    FAILED = 5


class StandEvent(enum.IntEnum):
    """What moves a program."""

    LOAD = 0  #: a template was told to import it
    LOADED = 1
    FOUND_ALONE = 2  #: imported, with something that does not survive a fork
    GONE = 3  #: its template is gone
    GIVE_UP = 4
    FETCH = 5  #: its code was asked for
    FETCHED = 6  #: its code is here


_NOT_LOADING = Refuse("no template imports it")
_LOADED_ALREADY = Ignore("it is imported")
_FETCHED_ALREADY = Ignore("its code is here")
_FAILED = Ignore("it was given up")

_STAND_CELLS: dict[tuple[Stand, StandEvent], Move[Stand]] = {
    (Stand.NEW, StandEvent.LOAD): Go(Stand.LOADING),
    (Stand.NEW, StandEvent.LOADED): _NOT_LOADING,
    (Stand.NEW, StandEvent.FOUND_ALONE): _NOT_LOADING,
    (Stand.NEW, StandEvent.GONE): Ignore("it has no template"),
    (Stand.NEW, StandEvent.GIVE_UP): Go(Stand.FAILED),
    (Stand.NEW, StandEvent.FETCH): Go(Stand.FETCHING),
    (Stand.NEW, StandEvent.FETCHED): Refuse("its code was not asked for"),
    (Stand.FETCHING, StandEvent.LOAD): Refuse("its code is not here"),
    (Stand.FETCHING, StandEvent.LOADED): _NOT_LOADING,
    (Stand.FETCHING, StandEvent.FOUND_ALONE): _NOT_LOADING,
    (Stand.FETCHING, StandEvent.GONE): Ignore("it has no template"),
    (Stand.FETCHING, StandEvent.GIVE_UP): Go(Stand.FAILED),
    (Stand.FETCHING, StandEvent.FETCH): Ignore("it is asked for"),
    (Stand.FETCHING, StandEvent.FETCHED): Go(Stand.NEW),
    (Stand.LOADING, StandEvent.LOAD): Ignore("a template imports it"),
    (Stand.LOADING, StandEvent.LOADED): Go(Stand.READY),
    (Stand.LOADING, StandEvent.FOUND_ALONE): Go(Stand.ALONE),
    (Stand.LOADING, StandEvent.GONE): Go(Stand.NEW),
    (Stand.LOADING, StandEvent.GIVE_UP): Go(Stand.FAILED),
    (Stand.LOADING, StandEvent.FETCH): _FETCHED_ALREADY,
    (Stand.LOADING, StandEvent.FETCHED): _FETCHED_ALREADY,
    (Stand.READY, StandEvent.LOAD): _LOADED_ALREADY,
    (Stand.READY, StandEvent.LOADED): _LOADED_ALREADY,
    (Stand.READY, StandEvent.FOUND_ALONE): _LOADED_ALREADY,
    (Stand.READY, StandEvent.GONE): Go(Stand.NEW),
    (Stand.READY, StandEvent.GIVE_UP): Go(Stand.FAILED),
    (Stand.READY, StandEvent.FETCH): _FETCHED_ALREADY,
    (Stand.READY, StandEvent.FETCHED): _FETCHED_ALREADY,
    (Stand.ALONE, StandEvent.LOAD): _LOADED_ALREADY,
    (Stand.ALONE, StandEvent.LOADED): _LOADED_ALREADY,
    (Stand.ALONE, StandEvent.FOUND_ALONE): _LOADED_ALREADY,
    (Stand.ALONE, StandEvent.GONE): Ignore("it needs no template"),
    (Stand.ALONE, StandEvent.GIVE_UP): Go(Stand.FAILED),
    (Stand.ALONE, StandEvent.FETCH): _FETCHED_ALREADY,
    (Stand.ALONE, StandEvent.FETCHED): _FETCHED_ALREADY,
    **{(Stand.FAILED, event): _FAILED for event in StandEvent},
}

STAND_MOVES = Moves(
    "program",
    Stand,
    StandEvent,
    _STAND_CELLS,
    heard=(StandEvent.LOADED, StandEvent.FOUND_ALONE),
)
