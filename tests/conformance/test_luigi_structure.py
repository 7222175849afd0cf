"""Shapes of tasks and targets: the helpers do what luigi's do."""

from __future__ import annotations

from typing import Any

import luigi
import luigi.mock
import luigi.task
import pytest

import flow
import flow.mock
import flow.task

LIBRARIES = pytest.mark.parametrize("library", [flow, luigi], ids=["flow", "luigi"])


def target(library: Any, name: str) -> Any:
    return library.mock.MockTarget(name)


def paths(found: Any) -> list[str]:
    return [each.path for each in found]


@LIBRARIES
def test_flatten_output_looks_through_wrappers_once(library: Any) -> None:
    class File(library.Task):
        n = library.IntParameter()

        def output(self) -> Any:
            return {"a": target(library, f"a{self.n}"), "b": [target(library, f"b{self.n}")]}

        def requires(self) -> Any:
            raise AssertionError("what has outputs is not looked through")

    class Inner(library.WrapperTask):
        n = library.IntParameter()

        def requires(self) -> Any:
            return [File(n=self.n), File(n=self.n + 1)]

    class Outer(library.WrapperTask):
        def requires(self) -> Any:
            return {"x": Inner(n=1), "y": [Inner(n=2), File(n=9)]}

    found = library.task.flatten_output(Outer())
    assert paths(found) == ["a9", "b9", "a1", "b1", "a2", "b2", "a3", "b3"]
    assert paths(library.task.flatten_output(File(n=4))) == ["a4", "b4"]
    assert library.task.flatten_output(library.Task()) == []


@LIBRARIES
def test_naive_bulk_complete_takes_tuples_dicts_and_values(library: Any) -> None:
    class Two(library.task.MixinNaiveBulkComplete, library.Task):
        n = library.IntParameter()
        m = library.IntParameter(default=0)

        def complete(self) -> bool:
            return (self.n + self.m) % 2 == 0

    assert Two.bulk_complete([1, 2, 3, 4]) == [2, 4]
    assert Two.bulk_complete([(1, 1), (1, 2), [3, 3]]) == [(1, 1), [3, 3]]
    assert Two.bulk_complete([{"n": 1}, {"n": 1, "m": 3}]) == [{"n": 1, "m": 3}]
    assert Two.bulk_complete(iter([2])) == [2]


@LIBRARIES
def test_bulk_complete_of_a_plain_task_is_not_implemented(library: Any) -> None:
    with pytest.raises(NotImplementedError):
        library.Task.bulk_complete([1])
    assert issubclass(library.task.BulkCompleteNotImplementedError, NotImplementedError)


@LIBRARIES
def test_externalized_class_is_a_copy_that_nobody_runs(library: Any) -> None:
    class Made(library.Task):
        """It has a docstring."""

        n = library.IntParameter(default=1)

        def run(self) -> None:
            raise AssertionError("not run")

    external = library.task.externalize(Made)
    assert external is not Made
    assert external.run is None
    assert Made.run is not None
    assert external.__name__ == "Made"
    assert external.__doc__ == "It has a docstring."
    assert external.__module__ == Made.__module__
    assert external(n=2).task_id == Made(n=2).task_id
    assert external(n=2).run is None
    assert library.task.externalize(external)(n=2).task_id == Made(n=2).task_id


@LIBRARIES
def test_externalized_object_is_a_copy_that_nobody_runs(library: Any) -> None:
    class Made(library.Task):
        n = library.IntParameter(default=1)

        def run(self) -> None:
            raise AssertionError("not run")

    task = Made(n=3)
    external = library.task.externalize(task)
    assert external is not task
    assert external.run is None
    assert task.run is not None
    assert external.task_id == task.task_id
    assert external == task
    assert Made(n=3).run is not None


@LIBRARIES
def test_externalized_class_leaves_the_family_alone(library: Any) -> None:
    class OnlyOnce(library.Task):
        pass

    library.task.externalize(OnlyOnce)
    if library is flow:
        from flow.registry import find

        assert find("OnlyOnce") is OnlyOnce
    else:
        assert luigi.task_register.Register.get_task_cls("OnlyOnce") is OnlyOnce


@pytest.mark.parametrize(
    "name",
    [
        *("Task", "ExternalTask", "WrapperTask", "Config", "Register", "DynamicRequirements"),
        *("MixinNaiveBulkComplete", "BulkCompleteNotImplementedError", "externalize"),
        *("flatten", "flatten_output", "getpaths", "namespace", "auto_namespace", "task_id_str"),
    ],
)
def test_module_task_has_luigis_names(name: str) -> None:
    assert hasattr(luigi.task, name)
    assert hasattr(flow.task, name)


@LIBRARIES
@pytest.mark.parametrize(
    ("shape", "flat"),
    [
        (None, []),
        ("abc", ["abc"]),
        (["a", ["b", ("c",)]], ["a", "b", "c"]),
        ({"x": "a", "y": {"z": "b"}}, ["a", "b"]),
        ([None, "a"], ["a"]),
        (42, [42]),
    ],
)
def test_flatten_is_luigis(library: Any, shape: Any, flat: list[Any]) -> None:
    assert library.task.flatten(shape) == flat


@LIBRARIES
def test_getpaths_keeps_the_shape(library: Any) -> None:
    class File(library.Task):
        n = library.IntParameter()

        def output(self) -> Any:
            return target(library, f"p{self.n}")

    shape = {"x": [File(n=1), (File(n=2),)], "y": (File(n=n) for n in (3, 4))}
    found = library.task.getpaths(shape)
    assert paths(found["x"][:1]) == ["p1"]
    assert isinstance(found["x"][1], tuple)
    assert paths(found["y"]) == ["p3", "p4"]
    with pytest.raises(Exception, match=r"(?i)cannot map"):
        library.task.getpaths(42)
