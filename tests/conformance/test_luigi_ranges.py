"""The ranges require what luigi's ranges require, tell the same events and refuse the same."""

from __future__ import annotations

import datetime
import logging
import threading
from typing import Any

import luigi
import luigi.tools.range
import pytest

import flow
import flow.parameters.errors
import flow.tools.range
from flow.usercode.completeness import Checker

#: 2026-03-10T15:20:00Z
NOW = 1773156000
logging.getLogger("luigi-interface").setLevel(logging.WARNING)


def of_kind(library: Any, kind: str, done: set[str]) -> Any:
    class Report(library.Task):
        when = getattr(library, kind)()
        other = library.Parameter(default="x")

        def complete(self) -> bool:
            return self.to_str_params()["when"] in done

    return Report


def required(library: Any, name: str, kind: str, done: set[str], **options: Any) -> Any:
    """Return (required tasks, events, task id) of a range."""
    found: list[Any] = []
    cls = getattr(library.tools.range, name)
    # luigi infers completeness from file listings where it has no bulk_complete.
    report = of_kind(library, kind, done)
    handlers = []
    for event in ("DELAY", "COMPLETE_COUNT", "COMPLETE_FRACTION"):
        text = getattr(library.tools.range.RangeEvent, event)

        def handler(family: str, number: float, event: str = event) -> None:
            found.append((event, family, number))

        cls.event_handler(text)(handler)
        handlers.append((text, handler))
    parameter = {
        "RangeMonthly": "MonthParameter",
        "RangeDailyBase": "DateParameter",
        "RangeHourlyBase": "DateHourParameter",
        "RangeByMinutesBase": "DateMinuteParameter",
    }[name]
    for end in ("start", "stop"):
        if end in options:
            options[end] = getattr(library, parameter)().parse(options[end])
    try:
        task = cls(of=report, now=NOW, **options)
        tasks = [each.to_str_params() for each in task.requires()]
    finally:
        for text, handler in handlers:
            cls.remove_event_handler(text, handler)
    return tasks, sorted(found), task.task_id


DAYS = {"2026-03-02", "2026-03-05"}
HOURS = {"2026-03-10T03", "2026-03-10T11"}
MINUTES = {"2026-03-10T1505", "2026-03-10T1510"}
MONTHS = {"2025-12", "2026-01"}


@pytest.mark.parametrize(
    ("name", "kind", "done", "options"),
    [
        ("RangeDailyBase", "DateParameter", DAYS, {"start": "2026-03-01"}),
        ("RangeDailyBase", "DateParameter", DAYS, {"start": "2026-03-01", "stop": "2026-03-06"}),
        ("RangeDailyBase", "DateParameter", DAYS, {"start": "2026-03-01", "task_limit": 2}),
        (
            "RangeDailyBase",
            "DateParameter",
            DAYS,
            {"start": "2026-03-01", "task_limit": 2, "reverse": True},
        ),
        ("RangeDailyBase", "DateParameter", DAYS, {"stop": "2026-03-06", "reverse": True}),
        ("RangeDailyBase", "DateParameter", DAYS, {"start": "2020-01-01", "days_back": 4}),
        (
            "RangeDailyBase",
            "DateParameter",
            DAYS,
            {"start": "2026-03-08", "stop": "2030-01-01", "days_forward": 2},
        ),
        ("RangeDailyBase", "DateParameter", DAYS, {"start": "2026-03-01", "stop": "2026-03-01"}),
        ("RangeDailyBase", "DateParameter", DAYS, {"start": "2027-03-01"}),
        (
            "RangeDailyBase",
            "DateParameter",
            DAYS,
            {"start": "2026-03-08", "of_params": {"other": "y"}},
        ),
        (
            "RangeDailyBase",
            "DateParameter",
            DAYS,
            {"start": "2026-03-08", "param_name": "when"},
        ),
        ("RangeHourlyBase", "DateHourParameter", HOURS, {"start": "2026-03-10T01"}),
        (
            "RangeHourlyBase",
            "DateHourParameter",
            HOURS,
            {"start": "2026-03-09T01", "hours_back": 5, "hours_forward": 3, "task_limit": 5},
        ),
        (
            "RangeByMinutesBase",
            "DateMinuteParameter",
            MINUTES,
            {"start": "2026-03-10T1459", "minutes_interval": 5},
        ),
        (
            "RangeByMinutesBase",
            "DateMinuteParameter",
            MINUTES,
            {"start": "2026-03-10T1459", "stop": "2026-03-10T1504"},
        ),
        ("RangeMonthly", "MonthParameter", MONTHS, {"start": "2025-10"}),
        ("RangeMonthly", "MonthParameter", MONTHS, {"start": "2020-10", "months_back": 3}),
        (
            "RangeMonthly",
            "MonthParameter",
            MONTHS,
            {"stop": "2026-03", "reverse": True, "months_forward": 2},
        ),
    ],
)
def test_range_requires_and_tells_what_luigis_does(
    name: str, kind: str, done: set[str], options: dict[str, Any]
) -> None:
    ours = required(flow, name, kind, done, **options)
    theirs = required(luigi, name, kind, done, **options)
    assert ours == theirs


@pytest.mark.parametrize("library", [flow, luigi], ids=["flow", "luigi"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("RangeDailyBase", {}),
        ("RangeDailyBase", {"stop": "2026-03-01"}),
        ("RangeDailyBase", {"start": "2026-03-02", "stop": "2026-03-01"}),
        ("RangeByMinutesBase", {"start": "2026-03-10T1459", "minutes_interval": 7}),
        ("RangeByMinutesBase", {"start": "2026-03-10T1459", "minutes_interval": 60}),
        ("RangeByMinutesBase", {"start": "2026-03-10T1459", "minutes_interval": 0}),
    ],
)
def test_range_refuses_what_luigis_refuses(
    library: Any, name: str, options: dict[str, Any]
) -> None:
    error = (
        flow.parameters.errors.ParameterException
        if library is flow
        else luigi.parameter.ParameterException
    )
    with pytest.raises(error):
        required(library, name, "DateParameter", set(), **options)


@pytest.mark.parametrize("library", [flow, luigi], ids=["flow", "luigi"])
def test_range_asks_bulk_complete_once_with_the_other_parameters(library: Any) -> None:
    asked: list[Any] = []

    class Report(library.Task):
        day = library.DateParameter()
        region = library.Parameter()

        @classmethod
        def bulk_complete(cls, parameter_tuples: Any) -> Any:
            days = list(parameter_tuples)
            asked.append((cls(days[0]).region, days))
            return days[:2]

    task = library.tools.range.RangeDaily(
        of=Report,
        of_params={"region": "EU"},
        start=datetime.date(2026, 3, 1),
        stop=datetime.date(2026, 3, 5),
        now=NOW,
    )
    assert [each.day.day for each in task.requires()] == [3, 4]
    assert task.requires() is task.requires()
    assert asked == [("EU", [datetime.date(2026, 3, day) for day in range(1, 5)])]


@pytest.mark.parametrize("library", [flow, luigi], ids=["flow", "luigi"])
@pytest.mark.parametrize("name", ["RangeDaily", "RangeHourly", "RangeByMinutes"])
def test_range_with_the_naive_mixin_asks_each(library: Any, name: str) -> None:
    kind = {"RangeDaily": "Date", "RangeHourly": "DateHour", "RangeByMinutes": "DateMinute"}[name]

    class Report(library.task.MixinNaiveBulkComplete, library.Task):
        when = getattr(library, f"{kind}Parameter")()

        def complete(self) -> bool:
            moment = self.when
            return getattr(moment, "minute", moment.day) % 2 == 0

    start: Any = datetime.datetime(2026, 3, 10, 15, 0)
    task = getattr(library.tools.range, name)(
        of=Report, start=start.date() if kind == "Date" else start, now=NOW
    )
    assert all(not each.complete() for each in task.requires())
    assert task.requires() or kind != "DateMinute"


def test_range_without_bulk_complete_asks_slow_tasks_at_the_same_time() -> None:
    together = threading.Barrier(4, timeout=30)

    class Report(flow.Task):
        day = flow.DateParameter()

        def complete(self) -> bool:
            if self.day.day > 20:  # the first ones are asked one by one
                together.wait()
            threading.Event().wait(0.002)
            return False

    task = flow.RangeDaily(
        of=Report, start=datetime.date(2026, 2, 1), stop=datetime.date(2026, 2, 25), now=NOW
    )
    assert len(task.requires()) == 24


def test_range_whose_task_breaks_breaks() -> None:
    class Report(flow.Task):
        day = flow.DateParameter()

        def complete(self) -> bool:
            raise KeyError("broken")

    with pytest.raises(KeyError):
        flow.RangeDaily(of=Report, start=datetime.date(2026, 3, 1), now=NOW).requires()


def test_range_second_parameter_is_named_also_with_bulk_complete() -> None:
    class Report(flow.MixinNaiveBulkComplete, flow.Task):
        region = flow.StrParameter()
        day = flow.DateParameter()

        def complete(self) -> bool:
            return self.region == "EU" and self.day.day == 2

    task = flow.RangeDaily(
        of=Report,
        of_params={"region": "EU"},
        param_name="day",
        start=datetime.date(2026, 3, 1),
        stop=datetime.date(2026, 3, 4),
        now=NOW,
    )
    assert [each.day.day for each in task.requires()] == [1, 3]


def test_range_lives_where_its_task_does() -> None:
    report = of_kind(flow, "DateParameter", set())
    task = flow.RangeDaily(of=report, start=datetime.date(2026, 3, 1))
    assert task.task_module == __name__

    class Mine(flow.RangeDaily):
        pass

    assert Mine(of=report, start=datetime.date(2026, 3, 1)).task_module == __name__


def old_range(library: Any) -> Any:
    """A range of the time when ``missing_datetimes`` took the task, too."""

    class Old(library.tools.range.RangeDailyBase):
        def missing_datetimes(self, task_cls: Any, finite_datetimes: list[Any]) -> list[Any]:
            assert task_cls is self.of
            return finite_datetimes[1:]

    return Old


def test_old_range_is_given_the_task_and_the_moments_as_by_luigi() -> None:
    found = []
    for library in (luigi, flow):
        report = of_kind(library, "DateParameter", set())
        days = {"start": datetime.date(2026, 3, 6), "stop": datetime.date(2026, 3, 9)}
        with pytest.warns(Warning, match="missing_datetimes"):
            required = old_range(library)(of=report, now=NOW, **days).requires()
        found.append([each.to_str_params() for each in required])
    assert found[1] == found[0]
    assert [each["when"] for each in found[1]] == ["2026-03-07", "2026-03-08"]


def test_type_error_of_a_new_range_is_its_own() -> None:
    class New(flow.tools.range.RangeDailyBase):
        def missing_datetimes(self, finite_datetimes: list[Any]) -> list[Any]:
            raise TypeError("missing_datetimes() has a mistake")

    report = of_kind(flow, "DateParameter", set())
    with pytest.raises(TypeError, match="has a mistake"):
        New(of=report, now=NOW, start=datetime.date(2026, 3, 6)).requires()


@pytest.mark.parametrize("library", [luigi, flow], ids=["luigi", "flow"])
def test_range_in_which_nothing_is_says_so_when_it_is_planned(
    library: Any, caplog: pytest.LogCaptureFixture
) -> None:
    report = of_kind(library, "DateParameter", set())
    days = {"start": datetime.date(2020, 1, 1), "stop": datetime.date(2020, 2, 1)}
    with caplog.at_level("WARNING", "flow.range"):
        assert Checker().one(library.tools.range.RangeDaily(of=report, now=NOW, **days))
    (told,) = [each.getMessage() for each in caplog.records if each.name == "flow.range"]
    assert "is in range: --days-back 100 leaves out all before 20" in told


def test_range_of_luigi_whose_tasks_are_all_done_says_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Done(luigi.Task):
        when = luigi.DateParameter()

        def complete(self) -> bool:
            return True

    days = {"start": datetime.date(2026, 3, 6), "stop": datetime.date(2026, 3, 9)}
    with caplog.at_level("WARNING", "flow.range"):
        assert Checker().one(luigi.tools.range.RangeDaily(of=Done, now=NOW, **days))
    assert [each for each in caplog.records if each.name == "flow.range"] == []
