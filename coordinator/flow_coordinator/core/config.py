"""Settings of the coordinator core, as plain values."""

from __future__ import annotations

import msgspec

from flow.wire.messages.shared import Timing


class CoreConfig(msgspec.Struct, frozen=True):
    """What the shell read from settings. Units are in the names."""

    timing: Timing = Timing()
    version: str = ""
    #: cluster-wide limits by resource name
    limits: dict[str, float] = {}
    #: failures that end a task whose class says nothing
    retry_count: int = 1
    retry_delay_s: float = 1.0
    retry_delay_max_s: float = 900.0
    #: part of the backoff that is random, 0..1
    retry_jitter: float = 0.2
    disable_window_s: float = 3600.0
    #: since the first failure; what fails later is not tried again. None: no limit
    disable_hard_timeout_s: float | None = None
    #: crashed attempts that disable a task
    crash_max: int = 3
    #: hard limit of one attempt whose class says nothing; 0: none
    timeout_s: float = 0.0
    #: how often external data is looked for while a run waits
    external_check_s: float = 60.0
    #: lease length promised to workers at a planned restart
    extend_s: float = 300.0
    #: ended runs kept in memory for display
    ended_runs_max: int = 200
    #: whether quick tasks are granted ahead of a free slot; else priorities decide at each end
    prefetch: bool = True
    #: packed code that is kept
    packages_bytes_max: int = 2 << 30
