"""``import flow as luigi``: names, modules, and the errors of a constructor."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import flow
from flow import testing
from flow.registry import Register

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    luigi = pytest.importorskip("luigi")

#: What a client of luigi's own server needs, and a name that would hide a builtin.
NOT_HERE = {"rpc", "RemoteScheduler", "RPCError", "range"}
#: Module -> names in it that belong to other rooms of luigi, or to its inside.
MODULES = {
    "parameter": {"ConfigPath"},
    "date_interval": set(),
    "freezing": set(),
    "event": set(),
    "configuration": {"LuigiConfigParser", "LuigiTomlParser"},
}


def public(module: Any) -> set[str]:
    """Return classes and functions that a module defines itself."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "").startswith(module.__name__)
        and callable(value)
    }


def test_every_name_of_luigi_is_here() -> None:
    missing = {name for name in luigi.__all__ if not hasattr(flow, name)}
    assert missing - NOT_HERE == set()


@pytest.mark.parametrize("name", MODULES)
def test_every_name_of_a_module_is_here(name: str) -> None:
    theirs = importlib.import_module(f"luigi.{name}")
    ours = getattr(flow, name)
    assert {each for each in public(theirs) - MODULES[name] if not hasattr(ours, each)} == set()


def make(module: Any) -> Any:
    """Declare the same task with either library."""
    body = {
        "a": module.IntParameter(),
        "b": module.Parameter(default="x"),
        "c": module.Parameter(default="y", positional=False),
        "_visible_in_registry": False,
    }
    return type(module.Task)("Load", (module.Task,), body)


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "pieces"),
    [
        ((), {}, "MissingParameterException", ["Load --a", "no value"]),
        ((1, "x", "y"), {}, "UnknownParameterException", ["Load takes at most 2", "a, b"]),
        ((1,), {"d": 2}, "UnknownParameterException", ["Load has no parameter 'd'", "a, b, c"]),
        ((1,), {"a": 2}, "DuplicateParameterException", ["Load --a", "given both"]),
    ],
)
def test_constructor_raises_what_luigis_does(
    args: tuple[Any, ...], kwargs: dict[str, Any], error: str, pieces: list[str]
) -> None:
    for module in (luigi, flow):
        with pytest.raises(getattr(module.parameter, error)) as caught:
            make(module)(*args, **kwargs)
        assert isinstance(caught.value, module.parameter.ParameterException)
    for piece in pieces:
        assert piece in str(caught.value)


def test_default_that_cannot_be_read_is_a_value_error_in_both() -> None:
    found = []
    for module in (luigi, flow):
        module.configuration.get_config().set("Load", "a", "many")
        try:
            with pytest.raises(ValueError, match=r"'a'|--a") as caught:
                make(module)()
        finally:
            module.configuration.get_config().remove_section("Load")
        found.append(caught.value)
    assert "Load --a from luigi's configuration [Load]: 'many' is not a whole" in str(found[1])


@pytest.fixture
def registries() -> Iterator[None]:
    """Forget classes that a test makes."""
    before = luigi.task_register.Register._get_reg()
    with testing.fresh_registry():
        yield
    luigi.task_register.Register._set_reg(before)


@pytest.mark.usefixtures("registries")
def test_class_of_a_family_is_found_or_missed_alike() -> None:
    body = {"__module__": "flow.made_up"}
    for module in (luigi, flow):
        register = importlib.import_module(f"{module.__name__}.task_register")
        before = register.Register("Extracted", (module.Task,), dict(body))
        assert register.Register.get_task_cls("Extracted") is before
        after = register.Register("Extracted", (before,), {"__module__": "flow.later"})
        assert register.Register.get_task_cls("Extracted") is after
        with pytest.raises(register.TaskClassNotFoundException, match="Extracted"):
            register.Register.get_task_cls("Extractet")
        register.Register("Extracted", (module.Task,), {"__module__": "flow.elsewhere"})
        with pytest.raises(register.TaskClassAmbigiousException):
            register.Register.get_task_cls("Extracted")


def test_instances_are_one_until_the_cache_is_cleared_or_disabled() -> None:
    class Kept(flow.Task):
        n = flow.IntParameter()

    first = Kept(1)
    assert Kept(1) is first
    Register.clear_instance_cache()
    assert Kept(1) is not first
    Register.disable_instance_cache()
    assert Kept(2) is not Kept(2)
    assert Kept(2) == Kept(2)
    Register.clear_instance_cache()
    assert Kept(2) is Kept(2)
