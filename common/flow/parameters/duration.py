"""A parameter that holds a span of time."""

from __future__ import annotations

import datetime
import re
import warnings
from typing import Any, Final

from flow.parameters.base import FRAMES_TO_CALLER, Parameter
from flow.parameters.errors import plain

_UNITS: Final = ("weeks", "days", "hours", "minutes", "seconds")
_ISO: Final = re.compile(
    r"P(?:(?P<weeks>\d+(?:\.\d+)?)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?"
    r"(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_WORDS: Final = re.compile(
    r"\s*"
    + r"\s*".join(
        rf"(?:(?P<{unit}>\d+(?:\.\d+)?)\s*(?:{unit}|{unit[:-1]}|{unit[0]}))?" for unit in _UNITS
    )
    + r"\s*"
)


class TimeDeltaParameter(Parameter[datetime.timedelta]):
    """A span of time: seconds as a number, ISO 8601 (``P1DT2H``), or words (``1 day 2 h``)."""

    what = "a span of time, expected seconds, P1DT2H, or like '1 d 2 h 3 m'"
    exact_type = datetime.timedelta
    ambiguous = False

    def parse(self, text: str) -> datetime.timedelta:
        try:
            return datetime.timedelta(seconds=float(text))
        except (ValueError, TypeError, OverflowError):
            pass
        for form in (_ISO, _WORDS):
            found = form.fullmatch(text)
            if found is not None and any(found.groups()):
                parts = {unit: float(number or 0) for unit, number in found.groupdict().items()}
                try:
                    return datetime.timedelta(**parts)
                except OverflowError:
                    break
        raise self.reject(text)

    def serialize(self, value: Any) -> str:
        """Write ``{w} w {d} d {h} h {m} m {s} s`` as Luigi does, with a fraction if there is one.

        A negative span has no such form and is written in seconds.
        """
        if value is None or value < datetime.timedelta(0):
            return str(None if value is None else value.total_seconds())
        weeks, days = divmod(value.days, 7)
        hours, rest = divmod(value.seconds, 3600)
        minutes, seconds = divmod(rest, 60)
        fraction = f".{value.microseconds:06d}".rstrip("0") if value.microseconds else ""
        return f"{weeks} w {days} d {hours} h {minutes} m {seconds}{fraction} s"

    def normalize(self, value: Any) -> datetime.timedelta:
        if isinstance(value, datetime.timedelta):
            # A subclass, such as pandas', may hold what the text does not say.
            return datetime.timedelta(value.days, value.seconds, value.microseconds)
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            return self.parse(str(value))
        raise self.reject(value)

    def warn_of(self, family: str, name: str, value: Any) -> None:
        if value is not None and not isinstance(value, datetime.timedelta):
            warnings.warn(
                f'Parameter "{name}" with value "{plain(value)}" is not of type timedelta. '
                f"{family} has it converted",
                UserWarning,
                stacklevel=FRAMES_TO_CALLER,
            )
