"""Parameters that hold a date or a moment, cut to what they count in."""

from __future__ import annotations

import datetime
import warnings
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from flow.parameters.base import NO_VALUE, NoValue, Parameter
from flow.parameters.optional import OptionalMixin

if TYPE_CHECKING:
    from typing import Unpack

    from flow.date_interval import Month, Year
    from flow.parameters.base import Options

    _Day = datetime.date | Month | Year

_EPOCH_DAY: Final = datetime.date(1970, 1, 1)
_EPOCH: Final = datetime.datetime(1970, 1, 1)
_Moment = TypeVar("_Moment", bound=datetime.date)
_Given = TypeVar("_Given")


class _Interval(Parameter[_Moment, _Given], Generic[_Moment, _Given]):
    """What all share: a format, and values cut down to every ``interval``-th unit since ``start``.

    Args:
        interval: How many units lie between two values.
        start: From which value the units are counted; 1970 by default.
    """

    ambiguous = False
    #: As ``strptime`` wants it.
    date_format: str

    def __init__(
        self,
        default: _Given | NoValue = NO_VALUE,
        *,
        interval: int = 1,
        start: datetime.date | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(default, **options)
        self.interval = interval
        self.start = start

    def parse(self, text: str) -> Any:
        try:
            return datetime.datetime.strptime(text, self.date_format)
        except (ValueError, TypeError):
            raise self.reject(text) from None

    def serialize(self, value: Any) -> str:
        if value is None:
            return str(value)
        if self.date_format == "%Y-%m-%d":
            return str(value)[:10]
        return _written(value, self.date_format)

    def _plain(self, value: datetime.date) -> datetime.date:
        """Return the day as any other process will have it, whatever subclass it is of."""
        try:
            return datetime.date(value.year, value.month, value.day)
        except (ValueError, TypeError):  # pandas' NaT is a datetime without a year
            raise self.reject(value) from None


class DateParameter(_Interval[datetime.date, "_Day"]):
    """A day, ``YYYY-MM-DD``."""

    what = "a date, expected YYYY-MM-DD"
    date_format = "%Y-%m-%d"
    exact_type = None
    #: Class of ``flow.date_interval`` whose first day is taken.
    interval_type = ""

    def parse(self, text: str) -> datetime.date:
        if self.date_format == "%Y-%m-%d" and len(text) == 10 and text[4] == text[7] == "-":
            # A twentieth of the time of strptime, which still reads 2026-1-2.
            try:
                return datetime.date.fromisoformat(text)
            except ValueError:
                raise self.reject(text) from None
        moment: datetime.datetime = super().parse(text)
        return moment.date()

    def normalize(self, value: Any) -> datetime.date:
        day = self._day(value)
        if self.interval == 1:
            return day
        start = self._day(self.start or _EPOCH_DAY)
        return day - datetime.timedelta(days=(day - start).days % self.interval)

    def next_in_enumeration(self, value: datetime.date) -> datetime.date:
        return value + datetime.timedelta(days=self.interval)

    def _day(self, value: Any) -> datetime.date:
        if type(value) is datetime.date:
            return value
        if isinstance(value, datetime.date):
            return self._plain(value)
        if isinstance(value, str):
            return self.parse(value)
        if self.interval_type and type(value).__name__ == self.interval_type:
            day: datetime.date = value.date_a  # of flow.date_interval, or of luigi's
            return day
        raise self.reject(value)


class OptionalDateParameter(OptionalMixin["datetime.date | None"], DateParameter):
    """A day or nothing."""

    def __init__(
        self,
        default: datetime.date | None = None,
        *,
        interval: int = 1,
        start: datetime.date | None = None,
        **options: Unpack[Options],
    ) -> None:
        chosen: Any = default
        DateParameter.__init__(self, chosen, interval=interval, start=start, **options)


class MonthParameter(DateParameter):
    """A month, ``YYYY-MM`` or ``date_interval.Month``, held as its first day."""

    what = "a month, expected YYYY-MM"
    date_format = "%Y-%m"
    interval_type = "Month"

    def normalize(self, value: Any) -> datetime.date:
        start = self._day(self.start or _EPOCH_DAY)
        months = _months(self._day(value))
        return _first_of(months - (months - _months(start)) % self.interval)

    def next_in_enumeration(self, value: datetime.date) -> datetime.date:
        return _first_of(_months(value) + self.interval)


class YearParameter(DateParameter):
    """A year, ``YYYY`` or ``date_interval.Year``, held as its first day."""

    what = "a year, expected YYYY"
    date_format = "%Y"
    interval_type = "Year"

    def normalize(self, value: Any) -> datetime.date:
        start = self._day(self.start or _EPOCH_DAY)
        year = self._day(value).year
        return datetime.date(year - (year - start.year) % self.interval, 1, 1)

    def next_in_enumeration(self, value: datetime.date) -> datetime.date:
        return datetime.date(value.year + self.interval, 1, 1)


class _MomentParameter(_Interval[datetime.datetime, datetime.date]):
    """A moment, cut to ``unit``. Time zones are dropped: only the clock reading counts."""

    unit: datetime.timedelta

    def normalize(self, value: Any) -> datetime.datetime:
        moment = self._moment(value)
        start = self._moment(self.start or _EPOCH)
        step = self.unit * self.interval
        return moment - (moment - start) % step

    def next_in_enumeration(self, value: datetime.datetime) -> datetime.datetime:
        return value + self.unit * self.interval

    def _moment(self, value: Any) -> datetime.datetime:
        if isinstance(value, datetime.datetime):
            day = self._plain(value)
            clock = datetime.time(value.hour, value.minute, value.second)
            return datetime.datetime.combine(day, clock)
        if isinstance(value, datetime.date):
            return datetime.datetime(value.year, value.month, value.day)
        if isinstance(value, str):
            return self._moment(self.parse(value))
        raise self.reject(value)


class DateHourParameter(_MomentParameter):
    """An hour, ``YYYY-MM-DDTHH``."""

    what = "an hour, expected YYYY-MM-DDTHH"
    date_format = "%Y-%m-%dT%H"
    unit = datetime.timedelta(hours=1)


class DateMinuteParameter(_MomentParameter):
    """A minute, ``YYYY-MM-DDTHHMM``; Luigi's old ``THHHMM`` with the letter H is read, too."""

    what = "a minute, expected YYYY-MM-DDTHHMM"
    date_format = "%Y-%m-%dT%H%M"
    _old_format = "%Y-%m-%dT%HH%M"
    unit = datetime.timedelta(minutes=1)

    def parse(self, text: str) -> datetime.datetime:
        try:
            moment = datetime.datetime.strptime(text, self._old_format)
        except (ValueError, TypeError):
            moment = super().parse(text)
        else:
            warnings.warn(
                "DateMinuteParameter with an H between hour and minute is deprecated, "
                "write YYYY-MM-DDTHHMM",
                DeprecationWarning,
                stacklevel=2,
            )
        return moment


class DateSecondParameter(_MomentParameter):
    """A second, ``YYYY-MM-DDTHHMMSS``."""

    what = "a second, expected YYYY-MM-DDTHHMMSS"
    date_format = "%Y-%m-%dT%H%M%S"
    unit = datetime.timedelta(seconds=1)


def _written(value: datetime.date, date_format: str) -> str:
    if date_format.startswith("%Y"):
        # strftime writes the year 987 without its leading zero, and does not read that back.
        return f"{value.year:04d}{value.strftime(date_format[2:])}"
    return value.strftime(date_format)


def _months(day: datetime.date) -> int:
    return day.year * 12 + day.month - 1


def _first_of(months: int) -> datetime.date:
    return datetime.date(months // 12, months % 12 + 1, 1)
