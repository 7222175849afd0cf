"""``flow.util`` does what ``luigi.util`` does: the same body runs with both libraries."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import luigi
import luigi.date_interval
import luigi.mock
import luigi.util
import pytest

import flow
import flow.targets.mock
import flow.util


@pytest.fixture(params=[flow, luigi], ids=["flow", "luigi"])
def library(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    from luigi.task_register import Register

    before = list(Register._reg)
    yield request.param
    Register._reg[:] = before


def params_of(cls: Any) -> list[str]:
    return [name for name, _ in cls.get_params()]


def parents(lib: Any) -> tuple[Any, Any]:
    class A(lib.Task):
        p = lib.IntParameter(default=1)
        common = lib.Parameter(default="a")

    class B(lib.Task):
        q = lib.Parameter(default="q")
        common = lib.Parameter(default="b")

    return A, B


def test_inherits_one_class_adds_its_parameters_and_clone_parent(library: Any) -> None:
    A, _ = parents(library)

    @library.util.inherits(A)
    class C(library.Task):
        own = library.Parameter(default="o")

    assert sorted(params_of(C)) == ["common", "own", "p"]
    task = C(p=5, own="x")
    assert task.clone_parent().p == 5
    assert task.clone_parent(p=7).p == 7
    assert [type(each) for each in task.clone_parents()] == [A]
    assert C(p=5, own="x").task_id != C(p=6, own="x").task_id


def test_inherits_several_classes_first_parameter_wins(library: Any) -> None:
    A, B = parents(library)

    @library.util.inherits(A, B)
    class C(library.Task):
        pass

    task = C()
    assert task.common == "a"
    assert [type(each) for each in task.clone_parents()] == [A, B]
    assert type(task.clone_parent()) is A
    assert task.clone_parents()[1].common == "a"


def test_inherits_keeps_what_the_class_has_itself(library: Any) -> None:
    A, _ = parents(library)

    @library.util.inherits(A)
    class C(library.Task):
        p = 42
        common = library.Parameter(default="mine")

    assert params_of(C) == ["common"]
    assert C().common == "mine"
    assert C().clone_parent().p == 42


def test_inherits_by_name_gives_a_dict(library: Any) -> None:
    A, B = parents(library)

    @library.util.inherits(first=A, second=B)
    class C(library.Task):
        pass

    found = C(p=3).clone_parents()
    assert {name: type(each) for name, each in found.items()} == {"first": A, "second": B}
    assert not hasattr(C(), "clone_parent")


def test_inherits_nothing_or_both_ways_is_a_type_error(library: Any) -> None:
    A, B = parents(library)
    with pytest.raises(TypeError):
        library.util.inherits()
    with pytest.raises(TypeError):
        library.util.inherits(A, second=B)
    with pytest.raises(TypeError):

        @library.util.requires()
        class C(library.Task):
            pass


def test_requires_returns_the_task_the_list_or_the_dict(library: Any) -> None:
    A, B = parents(library)

    @library.util.requires(A)
    class One(library.Task):
        pass

    @library.util.requires(A, B)
    class Two(library.Task):
        pass

    @library.util.requires(a=A)
    class Named(library.Task):
        pass

    assert One(p=4).requires() == A(p=4, common="a")
    assert [type(each) for each in Two().requires()] == [A, B]
    assert list(Named().requires()) == ["a"]


def test_inherited_parameters_reach_subclasses(library: Any) -> None:
    A, _ = parents(library)

    class Base(library.Task):
        pass

    class Sub(Base):
        pass

    library.util.inherits(A)(Base)
    assert Sub(p=9).p == 9
    assert Sub(p=9).clone_parent() == A(p=9, common="a")


def test_decorators_stack(library: Any) -> None:
    A, B = parents(library)

    @library.util.inherits(B)
    @library.util.requires(A)
    class C(library.Task):
        pass

    task = C(q="z")
    assert type(task.requires()) is B  # the last decorator owns clone_parent()
    assert task.q == "z"


def test_common_params_are_those_of_both(library: Any) -> None:
    A, B = parents(library)
    assert library.util.common_params(A(p=3, common="c"), B) == {"common": "c"}
    with pytest.raises(TypeError):
        library.util.common_params(A(), B())


def test_copies_copies_lines_and_keeps_the_name(library: Any) -> None:
    target = library.targets.mock.MockTarget if library is flow else luigi.mock.MockTarget

    class Source(library.Task):
        day = library.DateParameter()

        def output(self) -> Any:
            return target(f"source-{self.day}")

        def run(self) -> None:
            with self.output().open("w") as out:
                out.write("one\ntwo\n")

    @library.util.copies(Source)
    class Copied(library.Task):
        """It has a docstring."""

        def output(self) -> Any:
            return target(f"copy-{self.day}")

    task = Copied(day=datetime.date(2026, 1, 2))
    assert Copied.__name__ == "Copied"
    assert Copied.__doc__ == "It has a docstring."
    assert task.task_id == f"Copied_2026_01_02_{task.task_id[-10:]}"
    task.requires().run()
    task.run()
    with task.output().open("r") as copy:
        assert copy.read() == "one\ntwo\n"


def delegating(lib: Any, log: list[str]) -> Any:
    class Needed(lib.Task):
        n = lib.IntParameter(default=0)

    class Sub(lib.Task):
        n = lib.IntParameter()

        def requires(self) -> Any:
            return Needed(n=self.n)

        def run(self) -> None:
            log.append(f"sub {self.n}")

    @lib.util.delegates
    class Main(lib.Task):
        def requires(self) -> Any:
            return Needed(n=100)

        def subtasks(self) -> Any:
            return [Sub(n=1), Sub(n=2)]

        def run(self) -> None:
            log.append("main")

    return Main


def test_delegates_runs_subtasks_first_and_needs_what_they_need(library: Any) -> None:
    log: list[str] = []
    task = delegating(library, log)()
    assert [each.n for each in task.deps()] == [100, 1, 2]
    assert task.requires().n == 100
    task.run()
    assert log == ["sub 1", "sub 2", "main"]


def test_delegates_without_subtasks_is_an_attribute_error(library: Any) -> None:
    with pytest.raises(AttributeError, match="subtasks"):

        @library.util.delegates
        class Main(library.Task):
            pass


def test_delegates_with_a_generator_runs_it() -> None:
    log: list[str] = []

    class Sub(flow.Task):
        def run(self) -> Any:
            got = yield "a task"
            log.append(got)

    @flow.util.delegates
    class Main(flow.Task):
        def subtasks(self) -> Any:
            return Sub()

        def run(self) -> Any:
            log.append("main")
            yield "another"

    steps = Main().run()
    assert next(steps) == "a task"
    assert steps.send("its target") == "another"
    assert log == ["its target", "main"]


DAY = datetime.date(2026, 3, 1)
MOMENT = datetime.datetime(2026, 3, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("DateParameter", DAY),
        ("MonthParameter", DAY),
        ("YearParameter", datetime.date(2026, 1, 1)),
        ("DateHourParameter", MOMENT),
        ("DateMinuteParameter", MOMENT),
        ("DateSecondParameter", MOMENT),
    ],
)
def test_previous_steps_as_luigi_does(kind: str, value: Any) -> None:
    found = []
    for library in (flow, luigi):

        class Dated(library.Task):  # type: ignore[name-defined,misc]
            when = getattr(library, kind)()
            other = library.Parameter(default="x")

        task = library.util.previous(Dated(when=value, other="y"))
        found.append((task.when, task.other))
    assert found[0] == found[1]
    assert found[0][0] < value


@pytest.mark.parametrize("text", ["2026", "2026-03", "2026-W10", "2026-03-01"])
def test_previous_of_an_interval_is_luigis(text: str) -> None:
    found = []
    for library in (flow, luigi):

        class Dated(library.Task):  # type: ignore[name-defined,misc]
            when = library.DateIntervalParameter()

        task = Dated.from_str_params({"when": text})
        found.append(library.util.previous(task).to_str_params())
    assert found[0] == found[1]


def test_previous_of_a_custom_interval_is_refused(library: Any) -> None:
    class Dated(library.Task):
        when = library.DateIntervalParameter()

    with pytest.raises(NotImplementedError):
        library.util.previous(Dated.from_str_params({"when": "2026-03-01-2026-03-05"}))


def test_previous_without_or_with_two_dates_is_refused(library: Any) -> None:
    class None_(library.Task):
        p = library.Parameter(default="x")

    class Two(library.Task):
        a = library.DateParameter(default=DAY)
        b = library.DateHourParameter(default=MOMENT)

    for cls in (None_, Two):
        with pytest.raises(NotImplementedError):
            library.util.previous(cls())


def test_get_previous_completed_looks_back_so_far(library: Any) -> None:
    class Dated(library.Task):
        day = library.DateParameter()

        def complete(self) -> bool:
            return bool(self.day <= datetime.date(2026, 1, 1))

    start = Dated(day=datetime.date(2026, 1, 5))
    assert library.util.get_previous_completed(start).day == datetime.date(2026, 1, 1)
    assert library.util.get_previous_completed(start, 3) is None


@pytest.mark.parametrize(
    "name", ["event", "execution_summary", "interface", "parameter", "task", "target", "util"]
)
def test_modules_have_luigis_names_without_being_imported(name: str) -> None:
    code = f"import flow as luigi; print(luigi.{name}.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith(("flow.", "flow\n")), done.stderr


def test_externalized_class_keeps_its_family_in_a_new_namespace() -> None:
    class Plain(flow.Task):
        pass

    flow.namespace("elsewhere", scope=__name__)
    try:
        assert flow.externalize(Plain).get_task_family() != Plain.task_family
        assert flow.externalize(Plain).task_family == Plain.task_family
        assert flow.externalize(Plain)().task_id == Plain().task_id
    finally:
        flow.namespace(None, scope=__name__)
