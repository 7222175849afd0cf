"""The execution summary: golden texts, and how a run looks."""

from __future__ import annotations

import pytest

from flow.client.summary import StatusCode, duration, one_line, render, status, tasks
from flow.wire.messages.client import Category, Example
from flow.wire.states import SummaryCategory
from tests.support.run_messages import category, summary


def numbers(*values: object) -> list[dict[str, str]]:
    return [{"num": str(each)} for each in values]


def test_render_mixed_run_reads_like_luigi() -> None:
    shown = summary(
        category("complete", Extract=[{"date": f"2026-01-0{n}"} for n in range(1, 6)]),
        category("ran", Bar=numbers(4, 1, 3, 2), Foo=[{"a": "x"}]),
        category("failed", Load=[{"region": "EU"}]),
        category("upstream_failed", Top=1),
        exit_code=30,
        causes=[(1, "ValueError: boom", "m.py:8")],
    )
    assert render(shown) == "\n".join(
        [
            "===== Flow Execution Summary =====",
            "Run r-1  Top()   1:01, 3 attempts on 1 worker",
            "",
            "Scheduled 12 tasks of which:",
            "* 5 complete ones were encountered:",
            "    - 5 Extract(date=2026-01-01...2026-01-05)",
            "* 5 ran successfully:",
            "    - 4 Bar(num=1...4)",
            "    - 1 Foo(a=x)",
            "* 1 failed:",
            "    - 1 Load(region=EU)",
            "* 1 were left pending, among these:",
            "    * 1 had failed dependencies:",
            "        - 1 Top()",
            "",
            "1 cause of failure:",
            "  1 x  ValueError: boom     m.py:8",
            "",
            "This progress looks :( because there were failed tasks",
            "===== Flow Execution Summary =====",
        ]
    )


def test_render_nothing_scheduled_says_so() -> None:
    assert "Did not schedule any tasks" in render(summary())


def test_render_everything_complete_says_that_nothing_ran() -> None:
    text = render(summary(category("complete", Top=1)))
    assert "Scheduled 1 task of which:" in text
    assert "Did not run any tasks" in text
    assert "This progress looks :) because there were no failed tasks or missing" in text


def test_render_many_families_cuts_unless_full() -> None:
    shown = summary(category("ran", **{f"F{n}": 1 for n in range(9)}))
    short, full = render(shown), render(shown, full=True)
    assert "- 1 F4()\n    ..." in short
    assert "F5" not in short
    assert "- 1 F8()" in full
    assert "..." not in full


def test_render_every_category_has_a_sentence() -> None:
    for name in SummaryCategory:
        assert "- 1 Odd()" in render(summary(category(name, Odd=1))), name


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (numbers(7), "Bar(num=7)"),
        (numbers(1, 2), "Bar(num=1) and Bar(num=2)"),
        (numbers(1, 2, 3), "Bar(num=1,2,3)"),
        (numbers(1, 2, 3, 4), "Bar(num=1...4)"),
        (numbers(9, 10, 11, 8), "Bar(num=8...11)"),
        (numbers(-1, 0, 1, 2), "Bar(num=-1...2)"),
        (numbers(1, 2, 3, 5), "Bar(num=...)"),
        (numbers("01", "02", "03", "04"), "Bar(num=...)"),
        (numbers("2026-11", "2026-12", "2027-01", "2027-02"), "Bar(num=2026-11...2027-02)"),
        (
            numbers("2026-01-01T23", "2026-01-02T00", "2026-01-02T01", "2026-01-02T02"),
            "Bar(num=2026-01-01T23...2026-01-02T02)",
        ),
        (numbers("2026-02-30", "2026-02-31", "2026-02-28", "2026-02-29"), "Bar(num=...)"),
        (
            [{"region": "EU", "num": str(n)} for n in range(5)],
            "Bar(region=EU, num=0...4)",
        ),
    ],
)
def test_tasks_of_one_family_become_one_expression(
    params: list[dict[str, str]], expected: str
) -> None:
    assert tasks(Example("Bar", len(params), params)) == expected


def test_tasks_more_than_examples_claim_no_range() -> None:
    assert tasks(Example("Bar", 100, numbers(1, 2, 3, 4))) == "Bar(num=...)"


def test_tasks_long_parameters_are_cut() -> None:
    one = tasks(Example("Bar", 1, [{"text": "x" * 500}]))
    assert len(one) < 80
    many = tasks(Example("Bar", 1, [{f"name{n}": "x" * 50 for n in range(10)}]))
    assert many == "Bar(...)"


@pytest.mark.parametrize(
    ("categories", "fields", "expected"),
    [
        (["ran", "complete"], {}, StatusCode.SUCCESS),
        (["ran"], {"retried": True}, StatusCode.SUCCESS_WITH_RETRY),
        (["failed", "not_run"], {"retried": True}, StatusCode.FAILED),
        (["disabled"], {}, StatusCode.FAILED),
        (["lost"], {}, StatusCode.FAILED),
        (["failed", "scheduling_error"], {}, StatusCode.FAILED_AND_SCHEDULING_FAILED),
        (["scheduling_error", "missing_external"], {}, StatusCode.SCHEDULING_FAILED),
        (["not_run", "missing_external"], {}, StatusCode.NOT_RUN),
        (["missing_external", "upstream_missing"], {}, StatusCode.MISSING_EXT),
        (["cancelled"], {"state": "cancelled"}, StatusCode.CANCELLED),
    ],
)
def test_status_follows_the_order_of_luigi(
    categories: list[str], fields: dict[str, object], expected: StatusCode
) -> None:
    shown = summary(*(category(name, T=1) for name in categories), **fields)
    assert status(shown) is expected
    assert one_line(shown) == f"This progress looks {expected.value[0]} because {expected.value[1]}"


def test_status_empty_category_counts_nothing() -> None:
    assert status(summary(Category("failed", 0, []))) is StatusCode.SUCCESS


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(7, "0:07"), (381, "6:21"), (3731, "1:02:11"), (12 * 86400, "12 d"), (-1, "0:00")],
)
def test_duration_reads_like_a_clock(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected
