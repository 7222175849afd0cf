"""Plain values that the records, the events and the effects of this core share."""

from __future__ import annotations

#: Names a connection; opaque to the core.
Peer = bytes
#: Times are seconds of the shell's monotonic clock; never stored.
Instant = float
