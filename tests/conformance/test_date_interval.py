"""Intervals of dates behave as luigi's."""

from __future__ import annotations

import datetime as dt
import operator
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flow
from flow import date_interval as ours

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    theirs = pytest.importorskip("luigi.date_interval")

TEXTS = [
    "2014", "2014-02", "2012-02-29", "2009-W53", "2015-W01", "1999-12", "2014-12-31",
    "2015-11-04-2015-12-04", "2015-12-04-2015-11-04", "2015-11-04-2015-11-04",
]  # fmt: skip
KINDS = ("Year", "Month", "Week", "Date", "Custom")
days = st.dates(dt.date(1002, 1, 10), dt.date(9990, 1, 1))


def parsed(module, text):
    """Try luigi's parsers in luigi's order."""
    return next(found for kind in KINDS if (found := getattr(module, kind).parse(text)))


def everything(interval):
    """Return all that can be read from an interval."""
    found = {
        "type": type(interval).__name__,
        "text": (str(interval), repr(interval), interval.to_string()),
        "ends": (interval.date_a, interval.date_b),
        "dates": interval.dates(),
        "iterated": list(interval),
        "hours": list(interval.hours())[:30],
        "contains": [
            day in interval for day in (interval.date_a, interval.date_b, dt.datetime(2014, 2, 3))
        ],
    }
    for name in ("prev", "next"):
        try:
            found[name] = str(getattr(interval, name)())
        except NotImplementedError:
            found[name] = "none"
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_interval_read_from_text_is_the_same(text):
    assert everything(parsed(ours, text)) == everything(parsed(theirs, text))
    assert everything(ours.parse(text)) == everything(parsed(theirs, text))


@given(days)
def test_interval_around_any_day_is_the_same(day):
    for kind in KINDS[:4]:
        mine, other = (getattr(module, kind).from_date(day) for module in (ours, theirs))
        assert everything(mine) == everything(other)
        assert type(mine).parse(str(mine)) == mine


@pytest.mark.parametrize("text", ["2014-13", "2014-W54", "2013-W53", "2014-02-30", "2014-00"])
def test_interval_that_does_not_exist_is_refused_by_both(text):
    for module in (ours, theirs):
        with pytest.raises(ValueError):
            parsed(module, text)


@pytest.mark.parametrize(
    "text", ["", "14", "2014-1", "2014-W1", "x", "2014-02-03-2014", "20140203"]
)
def test_other_text_is_read_by_neither(text):
    for module in (ours, theirs):
        assert [getattr(module, kind).parse(text) for kind in KINDS] == [None] * len(KINDS)
    with pytest.raises(ValueError, match="2026-W35"):
        ours.parse(text)


@pytest.mark.parametrize(
    "compare", [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
)
def test_comparison_gives_the_same_or_the_same_type_of_error(compare):
    def outcomes(module):
        some = [parsed(module, text) for text in (*TEXTS, "2014-03", "2013")]
        for one in [*some, 5]:
            for other in [*some, "2014"]:
                try:
                    yield str(one), str(other), compare(one, other)
                except TypeError:
                    yield str(one), str(other), TypeError

    assert list(outcomes(ours)) == list(outcomes(theirs))


def test_equal_intervals_are_one_key():
    assert {ours.Week(2014, 1): 1}[ours.Week.parse("2014-W01")] == 1
    assert ours.Month(2014, 1) != "2014-01"


def test_parameter_reads_all_forms_and_a_task_keeps_its_id():
    import luigi

    class Interval(flow.Task):
        d = flow.DateIntervalParameter()

    mine = Interval

    class Interval(luigi.Task):
        d = luigi.DateIntervalParameter()

    for text in TEXTS:
        ids = [cls.from_str_params({"d": text}).task_id for cls in (mine, Interval)]
        assert ids[0] == ids[1]
        assert mine(d=text) is mine(d=ours.parse(text))
    for wrong in ("2014-13", "", 5):
        with pytest.raises(flow.parameters.BadParameter, match="Interval --d: "):
            mine(d=wrong)


def test_month_and_year_parameters_take_their_interval():
    class Bill(flow.Task):
        month = flow.MonthParameter()
        year = flow.YearParameter(interval=2)

    bill = Bill(ours.Month(2015, 7), ours.Year(2015))
    assert (bill.month, bill.year) == (dt.date(2015, 7, 1), dt.date(2014, 1, 1))
    with pytest.raises(flow.parameters.BadParameter, match="Bill --month"):
        Bill(ours.Year(2015), ours.Year(2015))
