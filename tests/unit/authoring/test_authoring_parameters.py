"""Every kind of parameter: what it reads, writes, accepts and refuses, and how it says so."""

import datetime as dt
import decimal
import enum
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flow
from flow.parameters import (
    BadDeclaration,
    BadParameter,
    MissingParameterException,
    ParameterError,
    ParameterException,
)
from flow.parameters.container import FrozenOrderedDict, recursively_unfreeze


class Color(enum.Enum):
    RED = 1
    GREEN = 2


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


class _Day(dt.date):
    def __str__(self):
        return "some day"


#: Told, as by Luigi, of a value that is then converted or refused; what becomes of it is the point.
NOT_OF_ITS_TYPE = pytest.mark.filterwarnings("ignore:.* is not of type .*:UserWarning")


def task_with(parameter):
    """Make a class with one parameter, ``p``."""
    return flow.registry.Register(
        "Holder", (flow.Task,), {"p": parameter, "_visible_in_registry": False}
    )


def through_text(parameter, value):
    """Return what another process gets of a value."""
    cls = task_with(parameter)
    task = cls(p=value)
    return cls.from_str_params(task.to_str_params()).p


ROUND_TRIPS = [
    (flow.Parameter(), "any text\n\t", "any text\n\t"),
    (flow.StrParameter(), 5, "5"),
    (flow.IntParameter(), -7, -7),
    (flow.IntParameter(), "12", 12),
    (flow.IntParameter(), True, 1),
    (flow.FloatParameter(), 2, 2.0),
    (flow.FloatParameter(), 0.1, 0.1),
    (flow.FloatParameter(), float("inf"), float("inf")),
    (flow.BoolParameter(), True, True),
    (flow.BoolParameter(), "FALSE", False),
    (flow.DateParameter(), dt.date(987, 1, 2), dt.date(987, 1, 2)),
    (flow.DateParameter(), dt.datetime(2026, 1, 2, 3), dt.date(2026, 1, 2)),
    (flow.DateParameter(interval=7), dt.date(1970, 1, 14), dt.date(1970, 1, 8)),
    (flow.MonthParameter(), dt.date(2026, 5, 17), dt.date(2026, 5, 1)),
    (flow.MonthParameter(interval=3), dt.date(1970, 6, 1), dt.date(1970, 4, 1)),
    (flow.YearParameter(), dt.date(2026, 5, 17), dt.date(2026, 1, 1)),
    (flow.DateHourParameter(), dt.datetime(2026, 1, 2, 3, 4, 5), dt.datetime(2026, 1, 2, 3)),
    (flow.DateHourParameter(interval=6), dt.datetime(2026, 1, 2, 17), dt.datetime(2026, 1, 2, 12)),
    (flow.DateHourParameter(), dt.date(2026, 1, 2), dt.datetime(2026, 1, 2)),
    (flow.DateMinuteParameter(), dt.datetime(2026, 1, 2, 3, 4, 5), dt.datetime(2026, 1, 2, 3, 4)),
    (flow.DateSecondParameter(), dt.datetime(1969, 1, 2, 0, 0, 5, 6), dt.datetime(1969, 1, 2, 0, 0, 5)),  # noqa: E501
    (flow.TimeDeltaParameter(), dt.timedelta(9, 3661), dt.timedelta(9, 3661)),
    (flow.TimeDeltaParameter(), dt.timedelta(microseconds=250), dt.timedelta(microseconds=250)),
    (flow.TimeDeltaParameter(), dt.timedelta(seconds=-5), dt.timedelta(seconds=-5)),
    (flow.TimeDeltaParameter(), 90, dt.timedelta(seconds=90)),
    (flow.EnumParameter(enum=Color), Color.GREEN, Color.GREEN),
    (flow.EnumParameter(enum=Color), "RED", Color.RED),
    (flow.ListParameter(), [1, [2, "x"], None], (1, (2, "x"), None)),
    (flow.ListParameter(), {"b", "a"}, ("a", "b")),
    (flow.TupleParameter(), ((1, 2), (3, 4)), ((1, 2), (3, 4))),
    (flow.DictParameter(), {"b": [1], "a": {"c": 2}}, {"b": (1,), "a": {"c": 2}}),
    (flow.ChoiceParameter(choices=[1, 5], var_type=int), 5, 5),
    (flow.PathParameter(), "a/b", Path("a/b")),
    (flow.PathParameter(absolute=True), "a", Path.cwd() / "a"),
    (flow.OptionalParameter(), None, None),
    (flow.OptionalStrParameter(), "x", "x"),
    (flow.OptionalIntParameter(), None, None),
    (flow.OptionalIntParameter(), 3, 3),
    (flow.OptionalFloatParameter(), 3, 3.0),
    (flow.OptionalBoolParameter(), None, None),
    (flow.OptionalBoolParameter(), True, True),
    (flow.OptionalDateParameter(), None, None),
    (flow.OptionalDateParameter(), dt.date(2026, 1, 2), dt.date(2026, 1, 2)),
    (flow.IntParameter(default=None), None, None),
    (flow.Parameter(default=None), None, None),
    (flow.StrParameter(default=None), "None", None),
    (flow.ListParameter(default=None), None, None),
    (flow.EnumParameter(enum=Color, default=None), None, None),
    (flow.EnumListParameter(enum=Color, default=None), None, None),
    (flow.ChoiceListParameter(choices=["a"], default=None), None, None),
    (flow.TaskParameter(default=None), None, None),
    (flow.TaskInstanceParameter(default=None), None, None),
    (flow.IntParameter(), 1448928000.0, 1448928000),
    (flow.NumericalParameter(var_type=int, min_value=0, max_value=9), np.float64(3), 3),
    (flow.ChoiceParameter(choices=[True, False], var_type=bool), False, False),
    (flow.DateParameter(), _Day(2026, 1, 2), dt.date(2026, 1, 2)),
    (flow.DateSecondParameter(), pd.Timestamp("2026-01-02 03:04:05.6789", tz="UTC"), dt.datetime(2026, 1, 2, 3, 4, 5)),  # noqa: E501
    (flow.TimeDeltaParameter(), pd.Timedelta("1 s 7 ns"), dt.timedelta(seconds=1)),
]  # fmt: skip


@NOT_OF_ITS_TYPE
@pytest.mark.parametrize(("parameter", "given_value", "held"), ROUND_TRIPS)
def test_value_is_the_same_here_and_in_another_process(parameter, given_value, held):
    value = task_with(parameter)(p=given_value).p
    assert value == held
    assert type(value) is type(through_text(parameter, given_value))
    assert through_text(parameter, given_value) == held


REFUSED = [
    (flow.IntParameter(), "1.5", "'1.5' is not a whole number (IntParameter)"),
    (flow.IntParameter(), 1.5, "1.5 is not a whole number (IntParameter)"),
    (flow.IntParameter(), float("nan"), "nan is not a whole number (IntParameter)"),
    pytest.param(flow.IntParameter(), 10**5000, "cannot be written as text", id="digits"),
    (flow.FloatParameter(), 10**400, "too large"),
    (flow.OptionalFloatParameter(), dt.date(2026, 1, 2), "is not a number"),
    (flow.OptionalBoolParameter(), 1, "1 is not true or false (OptionalBoolParameter)"),
    (flow.EnumParameter(enum=Mode), Mode.READ | Mode.WRITE, "is not one of READ, WRITE"),
    (flow.DateParameter(), pd.NaT, "NaT is not a date"),
    (flow.DateHourParameter(), pd.NaT, "NaT is not an hour"),
    (flow.IntParameter(), None, "None is not a whole number (IntParameter)"),
    (flow.FloatParameter(), "much", "'much' is not a number (FloatParameter)"),
    (flow.BoolParameter(), "yes", "'yes' is not true or false (BoolParameter)"),
    (flow.DateParameter(), "2026-02-30", "expected YYYY-MM-DD (DateParameter)"),
    (flow.DateParameter(), 20260102, "expected YYYY-MM-DD (DateParameter)"),
    (flow.MonthParameter(), "2026-13", "is not a month, expected YYYY-MM (MonthParameter)"),
    (flow.DateHourParameter(), "2026-01-02", "expected YYYY-MM-DDTHH (DateHourParameter)"),
    (flow.TimeDeltaParameter(), "soon", "is not a span of time"),
    (flow.TimeDeltaParameter(), "", "is not a span of time"),
    (flow.EnumParameter(enum=Color), "REED", "is not one of RED, GREEN. Did you mean 'RED'?"),
    (flow.EnumParameter(enum=Color), 1, "1 is not one of RED, GREEN"),
    (flow.ListParameter(), "x", "'x' is not a list"),
    (flow.TupleParameter(), 5, "5 is not a tuple"),
    (flow.DictParameter(), [1], "[1] is not a map"),
    (flow.ListParameter(), [object], "cannot be written as text"),
    (flow.ChoiceParameter(choices=["day", "week"]), "weak", "Did you mean 'week'?"),
    (flow.PathParameter(), 5, "5 is not a path"),
    (flow.PathParameter(exists=True), "/no/such/place", "'/no/such/place' does not exist"),
    (flow.OptionalIntParameter(), "x", "'x' is not a whole number (OptionalIntParameter)"),
]


@NOT_OF_ITS_TYPE
@pytest.mark.parametrize(("parameter", "value", "text"), REFUSED)
def test_value_in_code_that_does_not_fit_is_refused_with_a_reason(parameter, value, text):
    with pytest.raises(BadParameter) as caught:
        task_with(parameter)(p=value)
    assert str(caught.value).startswith("Holder --p: ")
    assert text in str(caught.value)


REFUSED_TEXTS = [
    (flow.IntParameter(), "0x1F"),
    (flow.DateParameter(), "20261120"),
    (flow.DateParameter(), "2026-W01-1"),
    (flow.ListParameter(), "[1"),
    (flow.ListParameter(), '{"a": 1}'),
    (flow.DictParameter(), "[1]"),
    (flow.TupleParameter(), "'text'"),
    (flow.TupleParameter(), "__import__('os')"),
    (flow.ChoiceParameter(choices=[1, 2], var_type=int), "x"),
    (flow.BoolParameter(), ""),
]


@pytest.mark.parametrize(("parameter", "text"), REFUSED_TEXTS)
def test_text_that_cannot_be_read_is_refused(parameter, text):
    with pytest.raises(BadParameter, match="Holder --p: "):
        task_with(parameter).from_str_params({"p": text})


READ = [
    (flow.DateParameter(), "2026-1-2", dt.date(2026, 1, 2)),
    (flow.TimeDeltaParameter(), "1 w 2 days 3h 4 minutes 5 s", dt.timedelta(9, 3 * 3600 + 245)),
    (flow.TimeDeltaParameter(), "P1DT2H", dt.timedelta(days=1, hours=2)),
    (flow.TimeDeltaParameter(), "P2W", dt.timedelta(weeks=2)),
    (flow.TimeDeltaParameter(), "1.5", dt.timedelta(seconds=1.5)),
    (flow.TupleParameter(), "(1, (2, 3))", (1, (2, 3))),
    (flow.TupleParameter(), "[[1, 2]]", ((1, 2),)),
    (flow.OptionalParameter(), "", None),
]


@pytest.mark.parametrize(("parameter", "text", "value"), READ)
def test_text_of_every_accepted_form_is_read(parameter, text, value):
    assert task_with(parameter).from_str_params({"p": text}).p == value


def test_old_form_of_minutes_is_read_with_a_warning():
    with pytest.warns(DeprecationWarning, match="YYYY-MM-DDTHHMM"):
        task = task_with(flow.DateMinuteParameter()).from_str_params({"p": "2026-01-02T03H04"})
    assert task.p == dt.datetime(2026, 1, 2, 3, 4)


@given(st.timedeltas(min_value=dt.timedelta(0), max_value=dt.timedelta(days=10_000)))
def test_any_span_of_time_survives_text(span):
    assert through_text(flow.TimeDeltaParameter(), span) == span


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), JSON, max_size=3))
def test_any_map_survives_text_in_its_order(value):
    parameter = flow.DictParameter()
    held = task_with(parameter)(p=value).p
    assert hash(held) == hash(task_with(parameter)(p=value).p)
    assert recursively_unfreeze(through_text(parameter, value)) == value
    assert list(held) == list(value)


def test_frozen_map_cannot_be_changed():
    held = FrozenOrderedDict(a=1)
    with pytest.raises(TypeError):
        held["a"] = 2
    assert held == {"a": 1}


def test_set_is_written_alike_under_every_hash_seed():
    code = (
        "import flow\n"
        "class T(flow.Task):\n"
        "    p = flow.ListParameter()\n"
        "print(T(p={'north', 'south', 'east', 'west'}).task_id)\n"
    )
    ids = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in (1, 2, 3)
    }  # fmt: skip
    assert len(ids) == 1


def test_default_that_does_not_fit_is_refused_when_it_is_used():
    cls = task_with(flow.IntParameter(default="many"))
    assert cls(p=1).p == 1
    with pytest.raises(BadParameter, match="from the default: 'many' is not a whole number"):
        cls()


def test_plain_parameter_warns_of_what_will_be_text_elsewhere():
    with pytest.warns(UserWarning, match='^Parameter "p" with value "5" is not of type string$'):
        task_with(flow.Parameter())(p=5)


def test_parameter_of_ones_own_is_used_for_text_and_for_values():
    class Upper(flow.Parameter):
        def parse(self, text):
            return text.lower()

        def serialize(self, value):
            return value.upper()

        def normalize(self, value):
            if "!" in value:
                raise RuntimeError("too loud")
            return value.strip()

    cls = task_with(Upper())
    assert cls(p=" a ").p == "a"
    assert cls(p="a").to_str_params() == {"p": "A"}
    assert cls.from_str_params({"p": "A"}) is cls(p="a")
    with pytest.raises(BadParameter, match=r"Holder --p: RuntimeError: too loud \(Upper\)"):
        cls(p="a!")


def test_value_that_cannot_be_hashed_is_no_error():
    class Raw(flow.Parameter):
        def normalize(self, value):
            return {"raw": value}

    task = task_with(Raw())(p="x")
    assert task.p == {"raw": "x"}


def test_schema_object_checks_the_unfrozen_value():
    class Schema:
        def validate(self, value):
            if value["n"] != [1]:
                raise ValueError("n must be [1]")

    cls = task_with(flow.DictParameter(schema=Schema()))
    assert cls(p={"n": [1]}).p["n"] == (1,)
    with pytest.raises(BadParameter, match=r"n must be \[1\]"):
        cls(p={"n": [2]})


def test_choices_of_mixed_types_are_refused_where_they_are_declared():
    with pytest.raises(BadDeclaration, match="choices of type int"):
        flow.ChoiceParameter(choices=[1, "2"], var_type=int)


@pytest.mark.parametrize(
    ("parameter", "value", "following"),
    [
        (flow.IntParameter(), 3, 4),
        (flow.DateParameter(), dt.date(2026, 1, 31), dt.date(2026, 2, 1)),
        (flow.MonthParameter(), dt.date(2026, 12, 1), dt.date(2027, 1, 1)),
        (flow.YearParameter(interval=2), dt.date(2026, 1, 1), dt.date(2028, 1, 1)),
        (flow.DateHourParameter(), dt.datetime(2026, 1, 1, 23), dt.datetime(2026, 1, 2)),
        (flow.OptionalIntParameter(), None, None),
        (flow.StrParameter(), "a", None),
    ],
)
def test_next_value_of_countable_kinds(parameter, value, following):
    assert parameter.next_in_enumeration(value) == following


def test_errors_of_huge_values_stay_short():
    with pytest.raises(BadParameter) as caught:
        task_with(flow.IntParameter())(p="9" * 1_000_000 + "x")
    assert len(str(caught.value)) < 300


def test_errors_have_luigis_names_too():
    assert ParameterException is ParameterError
    with pytest.raises(MissingParameterException):
        task_with(flow.IntParameter())()


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        (flow.Parameter, [1, True, 1.0, "1"]),
        (flow.FloatParameter, [0.0, -0.0]),
    ],
)
@pytest.mark.filterwarnings("ignore:Parameter")
def test_values_that_are_equal_but_written_otherwise_are_other_tasks(parameter, values):
    cls = task_with(parameter())
    made = [cls(p=value) for value in values]
    assert [task.to_str_params()["p"] for task in made] == [str(value) for value in values]
    assert made == [cls(p=value) for value in values]


def test_decimals_that_are_equal_but_written_otherwise_are_other_tasks():
    cents = flow.NumericalParameter(
        var_type=decimal.Decimal, min_value=decimal.Decimal(0), max_value=decimal.Decimal(9)
    )
    cls = task_with(cents)
    assert cls(p=decimal.Decimal("1.50")).to_str_params() == {"p": "1.50"}
    assert cls(p=decimal.Decimal("1.5")).to_str_params() == {"p": "1.5"}
