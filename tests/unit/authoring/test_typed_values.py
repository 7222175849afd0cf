"""Values of plain parameters that are no text reach other processes as what they are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import luigi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flow
from flow.parameters import typed
from flow.parameters.container import FrozenOrderedDict
from flow.parameters.errors import BadParameter
from flow.parameters.packing import unpack_values
from flow.seam import dialect_of
from flow.wire.messages.shared import display
from flow.wire.messages.shared import readable_params as for_display

pytestmark = pytest.mark.filterwarnings("ignore:.*is not of type string")


class Native(flow.Task):
    """One plain parameter."""

    value: Any = flow.Parameter()
    other: Any = flow.Parameter(default=None)


class Luigis(luigi.Task):
    """The same with luigi."""

    value: Any = luigi.Parameter()
    other: Any = luigi.Parameter(default=True)
    maybe: Any = luigi.OptionalParameter(default=None)


PARAMS = {"value", "other", "maybe"}

plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.dates(),
    st.datetimes(timezones=st.sampled_from([None, dt.UTC])),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.just(Path("a/b")),
    st.just(PurePosixPath("c")),
)
nested = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(), inner, max_size=3),
        st.dictionaries(st.text(), inner, max_size=3).map(FrozenOrderedDict),
        st.frozensets(st.integers(), max_size=3),
    ),
    max_leaves=8,
)


@given(nested)
def test_value_is_read_as_it_was_written_with_its_type(value: Any) -> None:
    found = typed.read(typed.write({"x": value}))["x"]
    assert found == value and typed.write({"x": found}) == typed.write({"x": value})
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ['{"x": {"os": 1}}', "[]", "x", '{"x": {"date": "soon"}}'])
def test_what_is_no_map_of_known_kinds_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        typed.read(text)


def elsewhere(task: Any) -> Any:
    """Make a task as another process would, from what messages carry."""
    cls: Any = type(task)
    dialect = dialect_of(cls)
    clear: Callable[[], None] | None = getattr(cls, "clear_instance_cache", None)
    if clear is not None:
        clear()
    return dialect.make(cls, unpack_values(dialect.packed(task)))


#: None equals another one: luigi gives out the instance that it has for what is equal.
VALUES = [
    False,
    7,
    1.5,
    None,
    dt.date(2026, 1, 2),
    ("a", 1),
    Path("x"),
    Decimal("2.25"),
    UUID(int=1),
]


@pytest.mark.parametrize("cls", [Native, Luigis])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_parameter_has_its_value_in_every_process(cls: Any, value: Any) -> None:
    task = cls(value=value)
    made = elsewhere(task)
    assert made.value == value and type(made.value) is type(value)
    assert made.task_id == task.task_id
    assert made.other == task.other and type(made.other) is type(task.other)


@pytest.mark.parametrize("cls", [Native, Luigis])
def test_text_travels_as_text_and_what_is_shown_is_text(cls: Any) -> None:
    packed = dialect_of(cls).packed(cls(value="False"))
    assert elsewhere(cls(value="False")).value == "False"
    assert b"bool" not in packed and for_display(packed)["value"] == "False"
    packed = dialect_of(cls).packed(cls(value=False))
    assert for_display(packed)["value"] == "False" and set(for_display(packed)) <= PARAMS
    assert "False" in display("F", packed) and "=," not in display("F", packed)


def test_value_that_equals_the_default_and_is_another_is_told() -> None:
    made = elsewhere(Luigis(value="other", other=1))
    assert made.other == 1 and type(made.other) is int


def test_number_of_numpy_is_a_number() -> None:
    assert type(elsewhere(Native(value=np.int64(3))).value) is int
    assert elsewhere(Luigis(value=np.float64(0.5))).value == 0.5


@pytest.mark.parametrize("cls", [Native, Luigis])
@pytest.mark.parametrize(
    "value", [object(), luigi.Task, dt.UTC, abs], ids=["object", "class", "zone", "function"]
)
def test_value_that_cannot_be_told_is_refused_with_its_name_and_type(cls: Any, value: Any) -> None:
    with pytest.raises(BadParameter, match=r"--value: .*cannot be told to another process"):
        dialect_of(cls).packed(cls(value=value))
