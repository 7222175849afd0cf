"""What the core may ask to be woken for: a closed list. ``machine`` says who handles each."""

from __future__ import annotations

import enum


class Timer(enum.Enum):
    """Why a turn is due though nothing arrives; each comes with what it is about."""

    PLAN = "plan"  #: a question to a planner (its number) without an answer
    CLEAN = "clean"  #: a request to remove outputs (its number) without an answer; None: look again
    CLEAN_END = "clean end"  #: a run has waited long enough for its outputs to be removed
    BACKOFF = "backoff"  #: a task may be tried again
    EXTERNAL = "external"  #: an external task is to be looked at again
    SILENCE = "silence"  #: a worker may have been silent for too long
    ORPHANS = "orphans"  #: the leases of a worker (its uid) that has not come back end
    KILL = "kill"  #: a worker is to be told that a lease (its token) is doomed
    FAIL_FAST = "fail fast"  #: a run whose task failed starts nothing more
    UNMET = "unmet"  #: a group of ready tasks (its key) has a demand that nothing can meet
    ROOM = "room"  #: who waits for room at a worker is to be looked at again
    GATHER = "gather"  #: tasks have waited long enough for others that may run as one with them
    TWINS = "twins"  #: tasks of one id may wait for each other in a circle
    INTAKE = "intake"  #: the client of a half-said run (its key) may be silent
    LETTER = "letter"  #: a sender (token, id of its letter) has waited long enough
