"""Days, weeks, months, years and spans between two days, as values.

Every one is half-open: ``date_a`` belongs to it, ``date_b`` does not. As text they are ISO 8601:
``2026``, ``2026-11``, ``2026-W35``, ``2026-11-04``, and ``2026-11-04-2026-12-04`` for a span.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Any, Final, Self

_DAY: Final = datetime.timedelta(days=1)
_WEEK_DAYS: Final = 7


class DateInterval:
    """Base of all. Two of different types have no order and no equality: that is a TypeError.

    Attributes:
        date_a: The first day.
        date_b: The day after the last one.
    """

    _form: re.Pattern[str]

    def __init__(self, date_a: datetime.date, date_b: datetime.date) -> None:
        self.date_a = date_a
        self.date_b = date_b

    @classmethod
    def from_date(cls, d: datetime.date) -> Self:
        """Return the interval of this type that the day is in."""
        raise NotImplementedError(f"{cls.__name__} is not known by one of its days")

    @classmethod
    def parse(cls, s: str) -> Self | None:
        """Read the text form of this type; None for any other text.

        Raises:
            ValueError: The form is right, but there is no such day, week or month.
        """
        found = cls._form.fullmatch(s)
        return cls._of_numbers(*map(int, found.groups())) if found else None

    @classmethod
    def _of_numbers(cls, *numbers: int) -> Self:
        return cls(*numbers)  # type: ignore[arg-type]

    def to_string(self) -> str:
        """Write the text form."""
        raise NotImplementedError

    def dates(self) -> list[datetime.date]:
        """Return all its days in order."""
        return [self.date_a + n * _DAY for n in range((self.date_b - self.date_a).days)]

    def hours(self) -> Iterator[datetime.datetime]:
        """Yield all its hours in order, 24 a day."""
        for date in self.dates():
            for hour in range(24):
                yield datetime.datetime.combine(date, datetime.time(hour))

    def prev(self) -> Self:
        """Return the interval of this type before this one."""
        return self.from_date(self.date_a - _DAY)

    def next(self) -> Self:
        """Return the interval of this type after this one."""
        return self.from_date(self.date_b)

    def __str__(self) -> str:
        return self.to_string()

    def __repr__(self) -> str:
        return self.to_string()

    def __contains__(self, date: object) -> bool:
        if not isinstance(date, datetime.date) or isinstance(date, datetime.datetime):
            return False
        return self.date_a <= date < self.date_b

    def __iter__(self) -> Iterator[datetime.date]:
        return iter(self.dates())

    def __hash__(self) -> int:
        return hash(self.to_string())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DateInterval):
            return False
        return self._ends() == self._ends_of(other)

    def __lt__(self, other: Any) -> bool:
        return self._ends() < self._ends_of(other)

    def __le__(self, other: Any) -> bool:
        return self._ends() <= self._ends_of(other)

    def __gt__(self, other: Any) -> bool:
        return self._ends() > self._ends_of(other)

    def __ge__(self, other: Any) -> bool:
        return self._ends() >= self._ends_of(other)

    def _ends(self) -> tuple[datetime.date, datetime.date]:
        return self.date_a, self.date_b

    def _ends_of(self, other: Any) -> tuple[datetime.date, datetime.date]:
        if not isinstance(other, DateInterval) or not isinstance(self, type(other)):
            # Whether the year 2026 is less than a span of 2026 has no answer.
            raise TypeError(
                f"{self!r} ({type(self).__name__}) and {other!r} ({type(other).__name__}) "
                "cannot be compared: they are not intervals of one type"
            )
        return other._ends()


class Date(DateInterval):
    """One day, ``2026-11-04``."""

    _form = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")

    def __init__(self, y: int, m: int, d: int) -> None:
        day = datetime.date(y, m, d)
        super().__init__(day, day + _DAY)

    def to_string(self) -> str:
        """Write ``YYYY-MM-DD``."""
        return self.date_a.isoformat()

    @classmethod
    def from_date(cls, d: datetime.date) -> Self:
        """Return this day."""
        return cls(d.year, d.month, d.day)


class Week(DateInterval):
    """A week from Monday, ``2026-W35``; of ISO 8601, so 2008-12-29 is in 2009-W01."""

    _form = re.compile(r"([0-9]{4})-W([0-9]{2})")

    def __init__(self, y: int, w: int) -> None:
        monday = datetime.date.fromisocalendar(y, w, 1)
        super().__init__(monday, monday + _WEEK_DAYS * _DAY)

    def to_string(self) -> str:
        """Write ``YYYY-Www``."""
        year, week, _ = self.date_a.isocalendar()
        return f"{year:04d}-W{week:02d}"

    @classmethod
    def from_date(cls, d: datetime.date) -> Self:
        """Return the week around a day."""
        return cls(*d.isocalendar()[:2])


class Month(DateInterval):
    """A month, ``2026-11``."""

    _form = re.compile(r"([0-9]{4})-([0-9]{2})")

    def __init__(self, y: int, m: int) -> None:
        first = datetime.date(y, m, 1)
        super().__init__(first, datetime.date(y + m // 12, 1 + m % 12, 1))

    def to_string(self) -> str:
        """Write ``YYYY-MM``."""
        return self.date_a.isoformat()[:7]

    @classmethod
    def from_date(cls, d: datetime.date) -> Self:
        """Return the month around a day."""
        return cls(d.year, d.month)


class Year(DateInterval):
    """A year, ``2026``."""

    _form = re.compile(r"([0-9]{4})")

    def __init__(self, y: int) -> None:
        super().__init__(datetime.date(y, 1, 1), datetime.date(y + 1, 1, 1))

    def to_string(self) -> str:
        """Write ``YYYY``."""
        return self.date_a.isoformat()[:4]

    @classmethod
    def from_date(cls, d: datetime.date) -> Self:
        """Return the year around a day."""
        return cls(d.year)


class Custom(DateInterval):
    """The days from ``date_a`` until the day before ``date_b``; it has no next and no previous."""

    _form = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})-([0-9]{4})-([0-9]{2})-([0-9]{2})")

    def to_string(self) -> str:
        """Write ``YYYY-MM-DD-YYYY-MM-DD``: a slash, as ISO 8601 has it, would break paths."""
        return f"{self.date_a.isoformat()}-{self.date_b.isoformat()}"

    @classmethod
    def _of_numbers(cls, *numbers: int) -> Self:
        return cls(datetime.date(*numbers[:3]), datetime.date(*numbers[3:]))


def parse(text: str) -> DateInterval:
    """Read the text form of any of them.

    Raises:
        ValueError: It is none, or there is no such day, week or month.
    """
    for kind in (Year, Month, Week, Date, Custom):
        found = kind.parse(text)
        if found is not None:
            return found
    raise ValueError(
        f"{text!r} is not an interval of dates, expected like 2026, 2026-11, 2026-W35, "
        "2026-11-04 or 2026-11-04-2026-12-04"
    )
