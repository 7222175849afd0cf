"""Every parameter class of luigi has one here that reads, writes and identifies alike."""

from __future__ import annotations

import datetime as dt
import enum
import json
import operator
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema  # type: ignore[import-untyped]
import pytest

import flow
from flow.parameters.base import NO_VALUE
from flow.parameters.container import FrozenOrderedDict

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    luigi = pytest.importorskip("luigi")

pytestmark = pytest.mark.filterwarnings("ignore")


class Color(enum.Enum):
    RED = 1
    GREEN = 2


class Kind(NamedTuple):
    """One class with its options, and what is tried with it."""

    name: str
    texts: list[str]  #: read by both, to the same value, which is written alike
    values: list[Any] = []  #: given in code, accepted by both
    refused: list[str] = []  #: texts that neither reads
    options: dict[str, Any] = {}


BOUNDS = {"var_type": int, "min_value": -3, "max_value": 7}
CHOICES = {"choices": ["day", "week", "month"]}
MOMENT = dt.datetime(2014, 7, 10, 19, 7, 38, 55)
KINDS = [
    Kind("Parameter", ["", "x", "a b\n", "ü"], ["y"]),
    Kind("StrParameter", ["", "x", "None"], ["y"]),
    Kind("IntParameter", ["0", "-7", " 12 ", "1_000"], [5, -1], ["x", "", "1.5", "0x1"]),
    Kind("FloatParameter", ["1.5", "2", "-1e300", "inf"], [0.1], ["x", ""]),
    Kind("BoolParameter", ["true", "False", "TRUE"], [True, False], ["x", "", "1", "yes"]),
    Kind("DateParameter", ["2014-07-10", "2014-7-1"], [dt.date(2020, 1, 1), MOMENT], ["x", "2014"]),
    Kind("DateParameter", ["2014-07-10"], [MOMENT], [], {"interval": 7}),
    Kind(
        "DateParameter",
        ["2014-07-10", "1999-01-01"],
        [],
        [],
        {"interval": 3, "start": dt.date(2000, 1, 2)},
    ),
    Kind("MonthParameter", ["2014-07"], [dt.date(2020, 5, 17)], ["2014-07-01", "2014-13"]),
    Kind("MonthParameter", ["2014-07", "1960-01"], [], [], {"interval": 5}),
    Kind("YearParameter", ["2014"], [dt.date(2020, 5, 17)], ["14", "x"]),
    Kind("YearParameter", ["2014", "1961"], [], [], {"interval": 3}),
    Kind("DateHourParameter", ["2014-07-10T19"], [MOMENT, dt.date(2014, 1, 1)], ["2014-07-10"]),
    Kind("DateHourParameter", ["2014-07-10T19"], [MOMENT], [], {"interval": 5}),
    Kind("DateMinuteParameter", ["2014-07-10T1907", "2014-07-10T19H07"], [MOMENT], ["x"]),
    Kind("DateMinuteParameter", ["2014-07-10T1907"], [MOMENT], [], {"interval": 15}),
    Kind("DateSecondParameter", ["2014-07-10T190738"], [MOMENT], ["x"]),
    Kind("DateSecondParameter", ["2014-07-10T190738"], [MOMENT], [], {"interval": 10}),
    Kind("DateIntervalParameter", ["2015", "2015-11", "2015-W35", "2015-11-04"], [], ["x", "15"]),
    Kind(
        "TimeDeltaParameter",
        ["90", "1.0", "P2W", "P1DT2H3M4S", "PT5M", "1 w 2 d 3 h 4 m 5 s", "1 week 2 days", "1 h"],
        [dt.timedelta(9, 3661)],
        ["x", "soon", ""],
    ),
    Kind("TaskParameter", ["Chosen"], [], ["Nowhere"]),
    Kind("EnumParameter", ["RED"], [Color.GREEN], ["BLUE", "1"], {"enum": Color}),
    Kind("EnumListParameter", ["", "RED", "RED,GREEN,RED"], [(Color.RED,)], ["B"], {"enum": Color}),
    Kind("DictParameter", ["{}", '{"b": [1, {"c": null}], "a": 2.5}'], [{"b": 1, "a": [2]}], ["x"]),
    Kind("ListParameter", ["[]", '[1, "x", [2, {"a": 3}]]'], [[1, [2]], ("a", 1)], ["x"]),
    Kind("TupleParameter", ["[]", "[[1, 2], [3, 4]]", "((1,2),(3,4))", "(1,)"], [((1, 2),)], ["x"]),
    Kind("NumericalParameter", ["-3", "6"], [0], ["7", "-4", "x", ""], BOUNDS),
    Kind(
        "NumericalParameter",
        ["0.5", "1"],
        [0.25],
        ["0", "1.01", "nan"],
        {
            "var_type": float,
            "min_value": 0.0,
            "max_value": 1.0,
            "left_op": operator.lt,
            "right_op": operator.le,
        },
    ),
    Kind("ChoiceParameter", ["day", "week"], ["month"], ["year", ""], CHOICES),
    Kind("ChoiceParameter", ["1"], [5], ["2", "x"], {"choices": [1, 5], "var_type": int}),
    Kind("ChoiceListParameter", ["", "day", "day,week,day"], [["day"]], ["year"], CHOICES),
    Kind("PathParameter", ["a/b", "/x", "."], [Path("c"), "d/e"]),
    Kind("PathParameter", ["/"], [], ["/no/such/place"], {"exists": True}),
    Kind("PathParameter", ["a"], ["b"], [], {"absolute": True}),
    Kind("OptionalParameter", ["", "x"], [None, "y"]),
    Kind("OptionalStrParameter", ["", "x"], [None, "y"]),
    Kind("OptionalIntParameter", ["", "5"], [None, 6], ["x"]),
    Kind("OptionalFloatParameter", ["", "5"], [None, 6.5], ["x"]),
    Kind("OptionalBoolParameter", ["", "true"], [None, True], ["x"]),
    Kind("OptionalDateParameter", ["", "2014-07-10"], [None, MOMENT], ["x"]),
    Kind("OptionalPathParameter", ["", "a"], [None, Path("b"), "c"]),
    Kind("OptionalDictParameter", ["", '{"a": [1]}'], [None, {"b": 2}], ["x"]),
    Kind("OptionalListParameter", ["", "[1]"], [None, [2]], ["x"]),
    Kind("OptionalTupleParameter", ["", "[1]", "(1, 2)"], [None, (2,)], ["x"]),
    Kind("OptionalChoiceParameter", ["", "day"], [None, "week"], ["year"], CHOICES),
    Kind("OptionalNumericalParameter", ["", "3"], [None, 4], ["9", "x"], BOUNDS),
]
# Not every version of luigi has this one.
KINDS = [kind for kind in KINDS if hasattr(luigi.parameter, kind.name)]


def make(module: Any, kind: Kind, **options: Any) -> Any:
    """Declare a task with one parameter of this kind."""
    body = {"p": getattr(module, kind.name)(**kind.options, **options)}
    return type(module.Task)("Held", (module.Task,), {**body, "_visible_in_registry": False})


def plain(value: Any) -> Any:
    """Spell a value of either library the same."""
    if isinstance(value, FrozenOrderedDict | luigi.freezing.FrozenOrderedDict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, flow.date_interval.DateInterval | luigi.date_interval.DateInterval):
        return type(value).__name__, str(value)
    if isinstance(value, type):
        return value.__name__
    return type(value), value


def seen(task: Any) -> Any:
    """Return all that a task says of its parameter."""
    return plain(task.p), task.to_str_params(), task.task_id, repr(task)


@pytest.fixture(autouse=True)
def chosen() -> Any:
    """Families for parameters that hold a class."""
    before = luigi.task_register.Register._get_reg()
    luigi.task_register.Register("Chosen", (luigi.Task,), {})
    ours = flow.registry.Register("Chosen", (flow.Task,), {})
    yield
    luigi.task_register.Register._set_reg(before)
    flow.registry._classes["Chosen"].remove(ours)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_texts_are_read_written_and_identified_alike(kind: Kind) -> None:
    ours, theirs = make(flow, kind), make(luigi, kind)
    for text in kind.texts:
        read = [cls.from_str_params({"p": text}) for cls in (ours, theirs)]
        assert seen(read[0]) == seen(read[1]), text
        again = ours.from_str_params(read[0].to_str_params())
        assert again == read[0]
        assert again.p == read[0].p


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_values_in_code_are_held_and_identified_alike(kind: Kind) -> None:
    for value in kind.values:
        assert seen(make(flow, kind)(p=value)) == seen(make(luigi, kind)(p=value)), value


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_texts_that_luigi_refuses_are_refused_by_name(kind: Kind) -> None:
    ours, theirs = make(flow, kind), make(luigi, kind)
    for text in kind.refused:
        with pytest.raises(Exception):  # noqa: B017
            theirs(p=theirs.p.normalize(theirs.p.parse(text)))
        with pytest.raises(flow.parameters.ParameterException, match=r"^Held --p"):
            ours.from_str_params({"p": text})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_default_without_one_is_the_same_or_missing_in_both(kind: Kind) -> None:
    found: list[Any] = []
    for module in (flow, luigi):
        try:
            found.append(seen(make(module, kind)()))
        except (flow.parameters.MissingParameterException, luigi.parameter.ParameterException):
            found.append("missing")
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_default_given_is_held_alike(kind: Kind) -> None:
    for value in kind.values[:1]:
        tasks = [make(module, kind, default=value)() for module in (flow, luigi)]
        assert seen(tasks[0]) == seen(tasks[1])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_next_value_is_the_same(kind: Kind) -> None:
    found = []
    for module in (flow, luigi):
        cls = make(module, kind)
        values = [cls.from_str_params({"p": text}).p for text in kind.texts]
        found.append([plain(cls.p.next_in_enumeration(value)) for value in values])
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_insignificant_hidden_and_private_count_alike(kind: Kind) -> None:
    text = kind.texts[-1]
    visibility = [luigi.parameter.ParameterVisibility, flow.ParameterVisibility]
    for name in ("HIDDEN", "PRIVATE"):
        tasks = [
            make(module, kind, visibility=getattr(known, name)).from_str_params({"p": text})
            for module, known in zip((luigi, flow), visibility, strict=True)
        ]
        assert seen(tasks[0]) == seen(tasks[1])
    tasks = [
        make(module, kind, significant=False).from_str_params({"p": text})
        for module in (flow, luigi)
    ]
    assert seen(tasks[0]) == seen(tasks[1])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_several_texts_are_joined_alike(kind: Kind) -> None:
    def last(values: Any) -> Any:
        return list(values)[-1]

    tasks = [
        make(module, kind, batch_method=last).from_str_params({"p": [*kind.texts]})
        for module in (flow, luigi)
    ]
    assert seen(tasks[0]) == seen(tasks[1])
    assert tasks[0].batchable


def test_every_parameter_class_of_luigi_is_offered_and_compared() -> None:
    names = {name for name in luigi.__all__ if name.endswith("Parameter")}
    assert names <= set(dir(flow))
    assert names == {kind.name for kind in KINDS}
    assert len(names) >= 34


def test_description_names_what_is_permitted_as_luigis_does() -> None:
    for name, options in (("NumericalParameter", BOUNDS), ("ChoiceParameter", {"choices": ["a"]})):
        told = [
            getattr(module, name)(description="How many.", **options).description
            for module in (flow, luigi)
        ]
        assert told[0] == told[1]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("NumericalParameter", {"min_value": 1, "max_value": 2}),
        ("NumericalParameter", {"var_type": int, "max_value": 2}),
        ("NumericalParameter", {"var_type": int, "min_value": 2}),
        ("EnumParameter", {}),
        ("EnumListParameter", {}),
        ("ChoiceParameter", {}),
        ("ChoiceListParameter", {}),
        ("Parameter", {"config_path": {"section": "x"}}),
    ],
)
def test_declaration_that_luigi_refuses_is_refused(name: str, options: dict[str, Any]) -> None:
    for module in (flow, luigi):
        with pytest.raises(
            (luigi.parameter.ParameterException, flow.parameters.ParameterException)
        ):
            getattr(module, name)(**options)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind("Parameter", []), 5),
        (Kind("OptionalParameter", []), 5),
        (Kind("OptionalIntParameter", []), "5"),
        (Kind("OptionalFloatParameter", []), "5"),
        (Kind("OptionalNumericalParameter", [], options=BOUNDS), "5"),
    ],
)
@pytest.mark.filterwarnings("default")
def test_warning_of_a_wrong_type_begins_as_luigis(kind: Kind, value: Any) -> None:
    with pytest.warns(UserWarning) as theirs:
        make(luigi, kind)(p=value)
    with pytest.warns(UserWarning) as ours:
        make(flow, kind)(p=value)
    said = [str(each.message).rstrip(".") for each in (theirs[0], ours[0])]
    assert said[1].startswith(said[0])
    assert ours[0].category.__name__ == theirs[0].category.__name__
    assert ours[0].filename == __file__


def test_no_value_is_not_a_value() -> None:
    with pytest.raises(flow.parameters.MissingParameterException):
        make(flow, Kind("IntParameter", []))(p=NO_VALUE)


def outcome(work: Any) -> Any:
    try:
        return plain(work())
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ListParameter", "[1, [2, 3]]"),
        ("ListParameter", "null"),
        ("ListParameter", "7"),
        ("ListParameter", "(1, 2)"),
        ("TupleParameter", "[1, 2]"),
        ("TupleParameter", "[[1, 2], [3, 4]]"),
        ("TupleParameter", "((1, 2), (3, 4))"),
        ("TupleParameter", "('a', 'b')"),
        ("TupleParameter", "[]"),
        ("TupleParameter", '("abcd")'),
        ("TupleParameter", "((1, 2), (3, 4"),
        ("TupleParameter", "7"),
        ("DictParameter", '{"a": {"b": [1, 2]}, "A": 2}'),
        ("DictParameter", "{}"),
        ("DictParameter", '{"a"}'),
    ],
)
def test_parse_alone_gives_what_luigis_gives(name: str, text: str) -> None:
    ours, theirs = (outcome(lambda m=m: getattr(m, name)().parse(text)) for m in (flow, luigi))
    if isinstance(theirs, Exception):
        kinds = (json.JSONDecodeError, ValueError, TypeError, SyntaxError)
        kind = next(each for each in kinds if isinstance(theirs, each))
        assert isinstance(ours, ValueError if kind is json.JSONDecodeError else kind)
        assert isinstance(ours, ValueError)
    else:
        assert (ours, type(ours).__name__) == (theirs, type(theirs).__name__)


def test_maps_in_maps_are_frozen_when_they_are_parsed() -> None:
    for module in (luigi, flow):
        found = module.DictParameter().parse('{"a": {"b": {"c": 1}}}')
        for each in (found, found["a"], found["a"]["b"]):
            assert type(each).__name__ == "FrozenOrderedDict"
        assert {found: 1}[found] == 1
        with pytest.raises(TypeError):
            hash(module.DictParameter().parse('{"a": []}'))


@pytest.mark.parametrize("module", [luigi, flow], ids=["luigi", "flow"])
def test_schema_raises_the_error_of_jsonschema(module: Any) -> None:
    numbers = module.ListParameter(schema={"type": "array", "items": {"type": "number"}})
    with pytest.raises(jsonschema.ValidationError, match="'x' is not of type 'number'") as caught:
        numbers.normalize([1, "x"])
    assert list(caught.value.absolute_path) == [1]
    assert caught.value.validator == "type"


def test_schema_error_is_a_value_error_in_one_line() -> None:
    numbers = flow.ListParameter(schema={"type": "array", "items": {"type": "number"}})
    with pytest.raises(ValueError, match="x") as caught:
        numbers.normalize([1, "x"])
    assert str(caught.value) == "'x' is not of type 'number' at [1], says its schema"


@pytest.mark.parametrize("name", ["ChoiceParameter", "ChoiceListParameter"])
@pytest.mark.parametrize("module", [luigi, flow], ids=["luigi", "flow"])
def test_choice_of_another_type_fails_an_assertion(module: Any, name: str) -> None:
    with pytest.raises(AssertionError):
        getattr(module, name)(var_type=int, choices=[1, 2, "3"])
    with pytest.raises(module.parameter.ParameterException):
        getattr(module, name)(var_type=int)
