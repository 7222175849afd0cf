"""Whatever a user can set has a test that holds its effect: ``effects.toml`` names it."""

from __future__ import annotations

import ast
import functools
import tomllib

import pytest

from tests.support.declared import declared
from tests.support.house_rules import REPOSITORY

TABLE = REPOSITORY / "tests" / "support" / "effects.toml"
#: How many were without a proven test when the table was begun: it only gets fewer.
NOT_YET_COUNT_MAX = 58


def table() -> tuple[dict[str, list[str]], list[str]]:
    """Return the names by test, and those without one."""
    files = tomllib.loads(TABLE.read_text())
    not_yet = files.pop("not_yet")
    held = {f"{file}::{test}": names for file in files for test, names in files[file].items()}
    return held, not_yet


def complaints(names: list[str], held_by: dict[str, list[str]], not_yet: list[str]) -> list[str]:
    """Say which names have no entry, which entries no name, and which tests do not exist."""
    held = [name for each in held_by.values() for name in each] + not_yet
    return [
        *(f"{name}: no test holds its effect" for name in names if name not in held),
        *(f"{name}: there is no such thing" for name in held if name not in names),
        *(f"{name}: twice" for name in set(held) if held.count(name) > 1),
        *(f"{test}: there is no such test" for test in held_by if not exists(test)),
    ]


@functools.cache
def exists(test: str) -> bool:
    """Tell whether a file has a test function of that name."""
    path, _, name = test.partition("::")
    file = REPOSITORY / path
    if not file.is_file():
        return False
    body = ast.parse(file.read_text()).body
    return any(isinstance(each, ast.FunctionDef) and each.name == name for each in body)


def test_all_that_can_be_set_has_a_test_of_its_effect() -> None:
    held_by, not_yet = table()
    assert complaints(declared(), held_by, not_yet) == []
    assert len(not_yet) <= NOT_YET_COUNT_MAX


THIS = "tests/unit/house/test_effects.py::test_list_that_is_wrong_is_refused"


@pytest.mark.parametrize(
    ("names", "held_by", "said"),
    [
        (["a", "b"], {THIS: ["a"]}, "b: no test holds its effect"),
        (["a"], {THIS: ["a", "b"]}, "b: there is no such thing"),
        (["a"], {THIS: ["a", "a"]}, "a: twice"),
        (["a"], {f"{THIS}_now": ["a"]}, f"{THIS}_now: there is no such test"),
        (["a"], {"tests/unit/test_nothing.py::test_a": ["a"]}, "there is no such test"),
    ],
)
def test_list_that_is_wrong_is_refused(
    names: list[str], held_by: dict[str, list[str]], said: str
) -> None:
    [complaint] = complaints(names, held_by, [])
    assert said in complaint
