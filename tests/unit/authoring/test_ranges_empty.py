"""A range in which nothing is says so, and names what would have to be given."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from typing import Any

import pytest

import flow
from flow.patterns.calendar_ranges import RangeByMinutes, RangeDaily, RangeHourly, RangeMonthly

NOW = int(datetime(2026, 3, 10, 12, 30, tzinfo=UTC).timestamp())


class Day(flow.Task):
    date = flow.DateParameter()


class Hour(flow.Task):
    hour = flow.DateHourParameter()


class Minute(flow.Task):
    minute = flow.DateMinuteParameter()


class Month(flow.Task):
    month = flow.MonthParameter()


def warned(caplog: pytest.LogCaptureFixture, range_of: Any, **params: Any) -> str:
    with caplog.at_level(logging.WARNING, "flow.range"):
        task = range_of(now=NOW, **params)
        assert task.requires() == [] and task.complete()
    (record,) = caplog.records
    return record.getMessage()


@pytest.mark.parametrize(
    ("range_of", "params", "told"),
    [
        (
            RangeDaily,
            {"of": Day, "start": date(2020, 1, 1), "stop": date(2020, 2, 1)},
            "--days-back 100 leaves out all before 2025-11-30",
        ),
        (
            RangeDaily,
            {"of": Day, "start": date(2027, 1, 1)},
            "--days-forward 0 leaves out all from 2026-03-10 12:30 on",
        ),
        (
            RangeDaily,
            {"of": Day, "start": date(2026, 3, 1), "stop": date(2026, 3, 1)},
            "it begins at 2026-03-01 00:00 and ends before 2026-03-01 00:00",
        ),
        (
            RangeDaily,
            {"of": Day, "stop": date(2020, 1, 1), "reverse": True},
            "--days-back 100 leaves out all before",
        ),
        (
            RangeHourly,
            {
                "of": Hour,
                "start": datetime(2026, 3, 1),
                "stop": datetime(2026, 3, 2),
                "hours_back": 5,
            },
            "--hours-back 5 leaves out all before 2026-03-10 07:30",
        ),
        (
            RangeByMinutes,
            {"of": Minute, "start": datetime(2026, 3, 1), "stop": datetime(2026, 3, 2)},
            "--minutes-back 1440 leaves out all before 2026-03-09 12:30",
        ),
        (
            RangeMonthly,
            {"of": Month, "start": date(2026, 3, 1)},
            "--months-forward 0 leaves out all from 2026-03-01",
        ),
    ],
    ids=["too old", "to come", "no day", "reverse", "hours", "minutes", "this month"],
)
def test_empty_range_names_the_limit_that_leaves_everything_out(
    caplog: pytest.LogCaptureFixture, range_of: Any, params: dict[str, Any], told: str
) -> None:
    text = warned(caplog, range_of, **params)
    family = params["of"].task_family
    assert text.startswith(f"{range_of.__name__}: nothing of {family} is in range: {told}"), text


def test_range_with_something_in_it_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert RangeDaily(of=Day, start=date(2026, 3, 9), now=NOW).requires()
    assert not caplog.records
