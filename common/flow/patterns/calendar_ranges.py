"""Ranges of days, hours, minutes and months.

Every module offers them: ``flow run MODULE RangeDaily --of Report --start 2026-01-01``.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from flow.parameters.errors import ParameterError
from flow.parameters.scalar import IntParameter
from flow.parameters.temporal import (
    DateHourParameter,
    DateMinuteParameter,
    DateParameter,
    MonthParameter,
)
from flow.patterns.ranges import NOTHING, BulkRange, RangeBase

_START = "the first {}; none: far back, which needs --reverse"
_STOP = "the {} after the last; none: now"
_BACK = "no further back than so many {} before now"
_FORWARD = "no further than so many {} after now"


class RangeDailyBase(RangeBase):
    """Requires the missing days of a task; each is asked whether it is complete."""

    start = DateParameter(default=NOTHING, description=_START.format("day"))
    stop = DateParameter(default=NOTHING, description=_STOP.format("day"))
    days_back = IntParameter(default=100, description=_BACK.format("days"))
    days_forward = IntParameter(default=0, description=_FORWARD.format("days"))

    def datetime_to_parameter(self, dt: datetime) -> Any:
        return dt.date()

    def parameter_to_datetime(self, p: Any) -> datetime:
        return datetime(p.year, p.month, p.day)

    def moving_start(self, now: datetime) -> datetime:
        return now - timedelta(days=self.days_back)

    def moving_stop(self, now: datetime) -> datetime:
        return now + timedelta(days=self.days_forward)

    def finite_datetimes(self, finite_start: datetime, finite_stop: datetime) -> list[datetime]:
        first = datetime(finite_start.year, finite_start.month, finite_start.day)
        return _steps(first, timedelta(days=1), finite_start, finite_stop)


class RangeHourlyBase(RangeBase):
    """Requires the missing hours of a task; each is asked whether it is complete."""

    start = DateHourParameter(default=NOTHING, description=_START.format("hour"))
    stop = DateHourParameter(default=NOTHING, description=_STOP.format("hour"))
    hours_back = IntParameter(default=100 * 24, description=_BACK.format("hours"))
    hours_forward = IntParameter(default=0, description=_FORWARD.format("hours"))

    def datetime_to_parameter(self, dt: datetime) -> Any:
        return dt

    def parameter_to_datetime(self, p: Any) -> datetime:
        return datetime(p.year, p.month, p.day, p.hour)

    def moving_start(self, now: datetime) -> datetime:
        return now - timedelta(hours=self.hours_back)

    def moving_stop(self, now: datetime) -> datetime:
        return now + timedelta(hours=self.hours_forward)

    def finite_datetimes(self, finite_start: datetime, finite_stop: datetime) -> list[datetime]:
        first = finite_start.replace(minute=0, second=0, microsecond=0)
        return _steps(first, timedelta(hours=1), finite_start, finite_stop)


class RangeByMinutesBase(RangeBase):
    """Requires the missing ones of a task that repeats every few minutes."""

    start = DateMinuteParameter(default=NOTHING, description=_START.format("minute"))
    stop = DateMinuteParameter(default=NOTHING, description=_STOP.format("minute"))
    minutes_back = IntParameter(default=60 * 24, description=_BACK.format("minutes"))
    minutes_forward = IntParameter(default=0, description=_FORWARD.format("minutes"))
    minutes_interval = IntParameter(default=1, description="minutes between two; must divide 60")

    def datetime_to_parameter(self, dt: datetime) -> Any:
        return dt

    def parameter_to_datetime(self, p: Any) -> datetime:
        return datetime(p.year, p.month, p.day, p.hour, p.minute)

    def moving_start(self, now: datetime) -> datetime:
        return now - timedelta(minutes=self.minutes_back)

    def moving_stop(self, now: datetime) -> datetime:
        return now + timedelta(minutes=self.minutes_forward)

    def finite_datetimes(self, finite_start: datetime, finite_stop: datetime) -> list[datetime]:
        interval = self.minutes_interval
        if not 0 < interval < 60:
            raise ParameterError(f"minutes-interval must be within 0..60, it is {interval}")
        if 60 % interval:
            raise ParameterError(f"minutes-interval does not evenly divide 60: {interval}")
        minute = finite_start.minute // interval * interval
        first = finite_start.replace(minute=minute, second=0, microsecond=0)
        return _steps(first, timedelta(minutes=interval), finite_start, finite_stop)


class RangeMonthly(RangeBase):
    """Requires the missing months of a task, the current one not included."""

    start = MonthParameter(default=NOTHING, description=_START.format("month"))
    stop = MonthParameter(default=NOTHING, description=_STOP.format("month"))
    months_back = IntParameter(default=13, description=_BACK.format("months"))
    months_forward = IntParameter(default=0, description=_FORWARD.format("months"))

    def datetime_to_parameter(self, dt: datetime) -> Any:
        return date(dt.year, dt.month, 1)

    def parameter_to_datetime(self, p: Any) -> datetime:
        return datetime(p.year, p.month, 1)

    def moving_start(self, now: datetime) -> datetime:
        return _month(now, -self.months_back)

    def moving_stop(self, now: datetime) -> datetime:
        return _month(now, self.months_forward)

    def finite_datetimes(self, finite_start: datetime, finite_stop: datetime) -> list[datetime]:
        stop = _month(finite_stop, 0)
        months = (stop.year - finite_start.year) * 12 + stop.month - finite_start.month
        found = [_month(finite_start, step) for step in range(months)]
        return [month for month in found if month >= finite_start]


class RangeDaily(BulkRange, RangeDailyBase):
    """Requires the missing days of a task: ``--of Report --start 2026-01-01``."""


class RangeHourly(BulkRange, RangeHourlyBase):
    """Requires the missing hours of a task: ``--of Report --start 2026-01-01T00``."""


class RangeByMinutes(BulkRange, RangeByMinutesBase):
    """Requires the missing ones of a task that repeats: ``--of Report --start 2026-01-01T0000``."""


def _steps(
    first: datetime, step: timedelta, not_before: datetime, before: datetime
) -> list[datetime]:
    found = []
    moment = first
    while moment < before:
        if moment >= not_before:
            found.append(moment)
        moment += step
    return found


def _month(moment: datetime, step: int) -> datetime:
    """Return the first of the month so many months later."""
    months = moment.year * 12 + moment.month - 1 + step
    return datetime(months // 12, months % 12 + 1, 1)
