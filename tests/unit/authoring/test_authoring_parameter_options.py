"""What parameters take besides a default, and the kinds that hold tasks, lists and bounds."""

from __future__ import annotations

import enum
import importlib.util
import json
import operator
import subprocess
import sys
from pathlib import Path

import pytest

import flow
from flow.parameters import BadDeclaration, BadParameter, ParameterError
from flow.registry import Register


class Kernel(flow.Task):
    n = flow.IntParameter()
    note = flow.Parameter(default="", significant=False)
    secret = flow.Parameter(default="x", visibility=flow.ParameterVisibility.PRIVATE)


class Outer(flow.Task):
    inner = flow.TaskInstanceParameter()


class Family(flow.Task):
    of = flow.TaskParameter()


def task_with(parameter):
    """Make a class with one parameter, ``p``."""
    return Register("Holder", (flow.Task,), {"p": parameter, "_visible_in_registry": False})


def test_task_as_value_counts_for_identity_with_its_own_parameters():
    ids = {Outer(inner=Kernel(n=n)).task_id for n in (1, 2, 3)}
    assert len(ids) == 3
    assert {Family(of=Kernel).task_id, Family(Kernel).task_id} == {Family(of="Kernel").task_id}


def test_task_as_value_is_the_same_after_text():
    outer = Outer(inner=Kernel(n=5, note="why"))
    again = Outer.from_str_params(outer.to_str_params())
    assert again is outer
    assert again.inner is Kernel(n=5, note="why")
    assert json.loads(outer.to_str_params()["inner"]) == {
        "module": __name__,
        "family": "Kernel",
        "params": {"n": "5", "note": "why"},
    }


def test_tasks_as_values_that_differ_in_what_is_not_significant_stay_apart():
    first, second = Outer(inner=Kernel(n=5, note="a")), Outer(inner=Kernel(n=5, note="b"))
    assert first.task_id == second.task_id
    assert (first.inner.note, second.inner.note) == ("a", "b")


def test_task_as_value_reaches_a_process_that_knows_only_the_outer_one(tmp_path: Path):
    (tmp_path / "inside.py").write_text(
        "import flow\nclass In(flow.Task):\n    n = flow.IntParameter()\n"
    )
    (tmp_path / "outside.py").write_text(
        "import flow\nclass Out(flow.Task):\n    of = flow.TaskInstanceParameter()\n"
    )
    one = "import inside, outside; t = outside.Out(inside.In(7)); print(t.to_str_params()['of'])"
    two = (
        "import sys; from flow.modules.loading import load_task;"
        "print(load_task('outside', 'Out', {'of': sys.argv[1]}).of.n)"
    )

    def said(*words: str) -> str:
        ran = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return ran.stdout.strip()

    assert said("-c", two, said("-c", one)) == "7"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Kernel, "is a class, not a task"),
        (5, '5 is not a task, expected JSON with "module", "family" and "params"'),
        ("x", "'x' is not a task"),
        ('{"family": "Kernel"}', "is not a task"),
        ('{"module": 1, "family": "Kernel", "params": {}}', "is not a task"),
        ('{"module": "flow", "family": "Kernel", "params": [1]}', "is not a task"),
        (
            json.dumps({"module": __name__, "family": "Kernl", "params": {}}),
            "Did you mean 'Kernel'?",
        ),
        (
            json.dumps({"module": __name__, "family": "Kernel", "params": {"n": "x"}}),
            "'x' is not a whole number",
        ),
    ],
)
def test_what_is_no_task_is_refused_by_name(value, text):
    with pytest.raises(ParameterError) as caught:
        Outer(inner=value)
    assert text in str(caught.value)


@pytest.mark.parametrize(("value", "text"), [(5, "5 is not a task class"), ("Kerne", "Kernel")])
def test_what_is_no_task_class_is_refused_by_name(value, text):
    with pytest.raises(BadParameter, match=r"^Family --of: ") as caught:
        Family(of=value)
    assert text in str(caught.value)


class Size(enum.Enum):
    S = 1
    L = 2


DIGIT = {"var_type": int, "min_value": 0, "max_value": 9}


@pytest.mark.parametrize(
    ("parameter", "value", "text"),
    [
        (flow.NumericalParameter(**DIGIT), 9, "9 is not int in [0, 9)"),
        (flow.NumericalParameter(**DIGIT), 1.5, "1.5 is not int in"),
        (flow.NumericalParameter(**DIGIT), None, "None is not int"),
        (flow.ChoiceListParameter(choices=["a"]), ["a", "b"], "'b' is not one of a"),
        (flow.ChoiceListParameter(choices=["a"]), 5, "5 is not a list, each one of a"),
        (flow.EnumListParameter(enum=Size), [Size.S, 1], "1 is not one of S, L"),
        (flow.EnumListParameter(enum=Size), "S,XL", "'XL' is not one of S, L"),
        (flow.DictParameter(), {"a": {1: 2}}, "the key 1 of a map is not text"),
        (flow.DictParameter(), {"a": Size.S}, "cannot be written as text"),
        (flow.OptionalListParameter(), {"a": 1}, "is not a list"),
    ],
)  # fmt: skip
def test_value_that_does_not_fit_is_refused_when_the_task_is_made(parameter, value, text):
    with pytest.raises(BadParameter, match=r"^Holder --p: ") as caught:
        task_with(parameter)(p=value)
    assert text in str(caught.value)


def test_bounds_say_whether_they_are_included():
    parameter = flow.NumericalParameter(
        var_type=float, min_value=0, max_value=1, left_op=operator.lt, right_op=operator.le
    )
    cls = task_with(parameter)
    assert cls(p=1).p == 1.0
    with pytest.raises(BadParameter, match=r"0 is not float in \(0, 1\]"):
        cls(p=0)
    with pytest.raises(BadParameter, match="nan"):
        cls(p="nan")


def test_list_of_choices_that_are_no_text_survives_text():
    cls = task_with(flow.ChoiceListParameter(choices=[1, 2], var_type=int))
    task = cls(p=[2, 1, 2])
    assert task.to_str_params() == {"p": "2,1,2"}
    assert cls.from_str_params({"p": "2,1,2"}) is task


@pytest.mark.parametrize("choice", ["a,b", ""])
def test_choice_that_a_list_cannot_hold_is_refused_where_it_is_declared(choice):
    with pytest.raises(BadDeclaration, match="comma-separated list"):
        flow.ChoiceListParameter(choices=["x", choice])


# Luigi's warning about a value of another type; what becomes of it is the point.
@pytest.mark.filterwarnings("ignore:.* is not of type .*:UserWarning")
@pytest.mark.parametrize(
    "parameter",
    [flow.OptionalParameter(), flow.OptionalStrParameter(), flow.OptionalIntParameter()],
)
def test_empty_text_in_code_is_nothing_as_in_every_other_process(parameter):
    assert task_with(parameter)(p="").p is None


def test_value_of_ones_own_kind_that_cannot_be_written_is_refused_when_the_task_is_made():
    class Named(flow.Parameter):
        def serialize(self, value):
            return value.name

    with pytest.raises(BadParameter, match=r"^Holder --p: 5 cannot be written as text"):
        task_with(Named())(p=5)

    class Own(flow.Task):
        p = Named()

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

    with pytest.raises(BadParameter, match=r"^Own --p: 5 cannot be written as text"):
        Own(p=5)


def test_text_that_is_not_unicode_is_refused_when_the_task_is_made():
    with pytest.raises(BadParameter, match=r"^Holder --p: .*udcff' is not valid Unicode text"):
        task_with(flow.Parameter())(p="a\udcff")
    assert task_with(flow.Parameter())(p="\N{SNOWMAN}").p == "\N{SNOWMAN}"


SCHEMA = {"type": "array", "items": {"type": "number", "maximum": 10}, "minItems": 1}


@pytest.mark.skipif(importlib.util.find_spec("jsonschema") is None, reason="needs jsonschema")
def test_json_schema_checks_values_and_texts():
    cls = task_with(flow.ListParameter(schema=SCHEMA))
    assert cls(p=[1, 2.5]).p == (1, 2.5)
    for wrong in ([], "[]", [1, 11], "x"):
        with pytest.raises(BadParameter, match=r"^Holder --p: "):
            cls(p=wrong)
    with pytest.raises(BadParameter, match=r"11 is greater than .* at \[1\], says its schema"):
        cls(p=[1, 11])
    words = task_with(flow.DictParameter(schema={"additionalProperties": {"enum": ["web"]}}))
    assert words(p={"role": "web"}).p == {"role": "web"}
    with pytest.raises(BadParameter, match="'db' is not one of"):
        words.from_str_params({"p": '{"role": "db"}'})


def test_schema_without_its_package_warns_once_and_checks_nothing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match=r"pip install 'flow-workflows\[schema\]'"):
        parameter = flow.ListParameter(schema=SCHEMA)
    assert task_with(parameter)(p=[]).p == ()


def test_schema_may_fill_in_what_is_missing():
    class Filling:
        def validate(self, value):
            value.setdefault("port", 80)

    assert task_with(flow.DictParameter(schema=Filling()))(p={}).p == {"port": 80}


def test_global_parameter_is_no_longer_one():
    with pytest.warns(DeprecationWarning, match="is_global is no longer supported"):
        parameter = flow.Parameter(is_global=True)
    assert not parameter.positional


def test_visibility_of_no_known_kind_is_public():
    assert flow.Parameter(visibility=7).visibility is flow.ParameterVisibility.PUBLIC
    assert flow.Parameter(visibility=2).visibility == flow.ParameterVisibility.PRIVATE
    assert flow.ParameterVisibility.has_value(1)
    assert flow.ParameterVisibility.HIDDEN.serialize() == 1


def test_parsing_of_truth_is_what_it_was_at_the_declaration(monkeypatch):
    before = flow.BoolParameter()
    monkeypatch.setattr(flow.BoolParameter, "parsing", flow.BoolParameter.EXPLICIT_PARSING)
    assert before.parsing == flow.BoolParameter.IMPLICIT_PARSING
    assert flow.BoolParameter().parsing == flow.BoolParameter.EXPLICIT_PARSING
    with pytest.raises(BadDeclaration, match="unknown parsing 'loud'"):
        flow.BoolParameter(parsing="loud")


def test_option_that_does_not_exist_is_refused():
    with pytest.raises(TypeError, match="signifcant"):
        flow.IntParameter(signifcant=False)


def test_list_of_texts_needs_a_batch_method_and_at_least_one():
    with pytest.raises(BadParameter, match="has no batch_method"):
        task_with(flow.IntParameter()).from_str_params({"p": ["1"]})
    largest = task_with(flow.IntParameter(batch_method=max))
    assert largest.from_str_params({"p": ["1", "12", "3"]}).p == 12
    with pytest.raises(BadParameter, match="empty list"):
        largest.from_str_params({"p": []})
