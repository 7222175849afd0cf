"""Luigi's ``tools.range``."""

from __future__ import annotations

from flow.patterns.calendar_ranges import (
    RangeByMinutes,
    RangeByMinutesBase,
    RangeDaily,
    RangeDailyBase,
    RangeHourly,
    RangeHourlyBase,
    RangeMonthly,
)
from flow.patterns.ranges import RangeBase, RangeEvent

__all__ = [
    "RangeBase",
    "RangeByMinutes",
    "RangeByMinutesBase",
    "RangeDaily",
    "RangeDailyBase",
    "RangeEvent",
    "RangeHourly",
    "RangeHourlyBase",
    "RangeMonthly",
]
