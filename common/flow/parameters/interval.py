"""A parameter that holds a day, week, month, year or span of days."""

from __future__ import annotations

from typing import Any

from flow import date_interval
from flow.date_interval import DateInterval
from flow.parameters.base import Parameter


class DateIntervalParameter(Parameter[DateInterval]):
    """An interval of dates, see ``flow.date_interval``: ``2026``, ``2026-11``, ``2026-W35``, ..."""

    what = (
        "an interval of dates, expected like 2026, 2026-11, 2026-W35, 2026-11-04 or "
        "2026-11-04-2026-12-04"
    )
    exact_type = None
    ambiguous = False

    def parse(self, text: str) -> DateInterval:
        return date_interval.parse(text)

    def normalize(self, value: Any) -> DateInterval:
        if isinstance(value, DateInterval):
            return value
        if isinstance(value, str):
            return self.parse(value)
        raise self.reject(value)
