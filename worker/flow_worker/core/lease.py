"""How long this worker may run what it holds: heartbeats, the lease's end, the fence.

Everything counts from the *send* time of the last acknowledged heartbeat (JOIN is the first), on a
clock that also counts sleep. Rules W2 and W3.
"""

from __future__ import annotations

import math

from flow.wire.messages.shared import Timing
from flow_worker.core.config import HEARTBEATS_MAX

#: A fence found later than this share of the kill budget leaves no time for SIGTERM.
LATE_SHARE = 0.2


class Lease:
    """The lease of everything this worker holds."""

    def __init__(self) -> None:
        self.timing = Timing()
        self.granted = False  #: a session was ever in force
        self.fenced = False  #: everything was killed because of this lease's end
        self._base = 0.0
        self._extended_end = 0.0
        self._number = 0
        self._sent: dict[int, float] = {}

    @property
    def end(self) -> float:
        """When the coordinator may count everything here as dead, at the earliest."""
        return max(self._base + self.timing.lease_s, self._extended_end)

    @property
    def fence_at(self) -> float:
        """When killing starts."""
        return self.end - self.timing.kill_s

    def begin(self, timing: Timing, sent_at: float) -> None:
        """A JOIN sent at ``sent_at`` is in force."""
        self.timing = timing
        self.granted = True
        self.fenced = False
        self._base = sent_at
        self._extended_end = 0.0
        self._number = 0
        self._sent.clear()

    def heartbeat(self, now: float) -> int:
        """Count one heartbeat sent now; return its number."""
        self._number += 1
        self._sent[self._number] = now
        if len(self._sent) > HEARTBEATS_MAX:
            del self._sent[next(iter(self._sent))]
        return self._number

    def acknowledge(self, number: int, now: float) -> None:
        """Heartbeat ``number`` arrived at the coordinator."""
        sent_at = self._sent.get(number)
        if sent_at is None:
            return
        for older in [n for n in self._sent if n <= number]:
            del self._sent[older]
        self._base = max(self._base, sent_at)
        if now < self.fence_at:
            self.fenced = False

    def extend(self, lease_s: float, now: float) -> None:
        """The coordinator restarts and promised to keep leases this long."""
        self._extended_end = max(self._extended_end, self._base + lease_s)
        if now < self.fence_at:
            self.fenced = False

    def joining(self, now: float) -> None:
        """JOIN is said: a coordinator that hears it counts a plain lease from then on.

        Whether it did is known with WELCOME only, so what EXTEND promised ends with the first JOIN.
        """
        self._extended_end = min(self._extended_end, now + self.timing.lease_s)

    def must_fence(self, now: float) -> bool:
        """Tell whether the fence is due (W3)."""
        return self.granted and not self.fenced and now >= self.fence_at

    def may_start(self, now: float) -> bool:
        """Tell whether enough is left to start something (W2)."""
        needed_s = self.timing.kill_s + self.timing.heartbeat_s
        return self.granted and not self.fenced and self.end - now >= needed_s

    def fence_grace_s(self, now: float) -> float:
        """Kill budget of a fence at ``now``: what is left; 0 (hard) where it is found late."""
        late_s = now - self.fence_at
        if late_s > LATE_SHARE * self.timing.kill_s:
            return 0.0
        return self.timing.kill_s - late_s

    def next_fence(self) -> float:
        """When ``must_fence`` turns true; infinity: never."""
        return self.fence_at if self.granted and not self.fenced else math.inf
