"""What a task class is: parameters read once, instances kept, Luigi's methods."""

import abc
import copy
import os
import subprocess
import sys
import textwrap
import warnings

import pytest

import flow
from flow import registry
from flow.dynamic import DynamicRequirements
from flow.parameters import DuplicateParameter, MissingParameter, UnknownParameter
from flow.parameters.defaults import NO_VALUE, add_resolver
from flow.registry import Register
from flow.targets.mock import MockTarget
from flow.task import (
    BulkCompleteNotImplementedError,
    externalize,
    flatten_output,
    is_external,
)
from flow.usercode.completeness import ask


class Base(flow.Task):
    a = flow.IntParameter()
    b = flow.StrParameter(default="b")


class Leaf(flow.Task):
    n = flow.IntParameter(default=0)

    def output(self):
        return MockTarget(f"leaf-{self.n}")

    def run(self):
        with self.output().open("w") as out:
            out.write(str(self.n))


class Plain(flow.Task):
    pass


@pytest.fixture(autouse=True)
def no_mock_content():
    yield
    MockTarget("any").fs.clear()


# ------------------------------------------------------------ parameters of a class


def test_parameters_of_subclass_are_inherited_in_declaration_order():
    class Sub(Base):
        c = flow.IntParameter(default=3)

    assert Sub.get_param_names() == ["a", "b", "c"]
    assert (Sub(1, "x").a, Sub(1, "x").b, Sub(1).c) == (1, "x", 3)


def test_parameter_hidden_by_a_plain_attribute_is_none_any_more():
    class Sub(Base):
        b = "fixed"

    assert Sub.get_param_names() == ["a"]
    assert Sub(a=1).b == "fixed"


def test_parameters_of_a_mixin_that_is_no_task_count():
    class Mixin:
        m = flow.IntParameter(default=1)

    class Sub(Mixin, flow.Task):
        pass

    assert Sub(m=2).m == 2


def test_parameter_set_on_a_finished_class_is_read_by_it_and_its_subclasses():
    class Late(flow.Task):
        pass

    class Sub(Late):
        pass

    Late.x = flow.IntParameter(default=4)
    assert Late().x == 4
    assert Sub(x=5).x == 5
    del Late.x
    assert Late.get_param_names() == []
    assert Sub.get_param_names() == []


def test_class_attribute_is_the_parameter_itself():
    assert isinstance(Base.a, flow.IntParameter)


def test_missing_value_names_task_parameter_and_kind():
    with pytest.raises(MissingParameter, match=r"Base --a: no value given.*IntParameter"):
        Base()


def test_unknown_name_suggests_a_near_one():
    class Report(flow.Task):
        region = flow.StrParameter(default="")

    with pytest.raises(UnknownParameter, match=r"no parameter 'regoin'. Did you mean 'region'"):
        Report(regoin="EU")


def test_value_by_position_and_by_name_is_refused():
    with pytest.raises(DuplicateParameter, match="Base --a"):
        Base(1, a=2)


def test_too_many_positions_are_refused_and_keyword_only_ones_do_not_count():
    class Keyword(flow.Task):
        k = flow.IntParameter(default=1, positional=False)
        p = flow.IntParameter(default=2)

    assert Keyword(9).p == 9
    with pytest.raises(UnknownParameter, match="at most 1 positional"):
        Keyword(1, 2)


def test_value_order_constructor_then_settings_then_default():
    remove = add_resolver(lambda family, name: "7" if (family, name) == ("Base", "a") else NO_VALUE)
    try:
        assert Base().a == 7
        assert Base(a=1).a == 1
        assert Base().b == "b"
    finally:
        remove()
    with pytest.raises(MissingParameter):
        Base()


def test_bad_value_in_settings_says_where_it_came_from():
    remove = add_resolver(lambda family, name: "seven" if name == "a" else NO_VALUE)
    try:
        with pytest.raises(ValueError, match="Base --a from settings: 'seven' is not a whole"):
            Base()
    finally:
        remove()


# ------------------------------------------------------------ instances


def test_equal_values_give_the_same_object_however_they_are_given():
    assert Base(1) is Base(a=1) is Base(1, b="b")
    assert Base(1) is not Base(2)


def test_instances_kept_are_bounded(monkeypatch):
    monkeypatch.setattr(registry, "INSTANCES_KEPT_MAX", 10)
    Register.clear_instance_cache()
    first = Leaf(0)
    for n in range(1, 10):
        Leaf(n)
    assert Leaf(0) is first
    for n in range(10, 100):
        Leaf(n)
    assert len(Leaf._flow_young) + len(Leaf._flow_old) <= 20
    assert Leaf(0) is not first
    assert Leaf(0) == first


def test_cleared_cache_makes_new_but_equal_objects():
    task = Base(1)
    Register.clear_instance_cache()
    assert Base(1) is not task
    assert Base(1) == task


def test_equal_containers_written_differently_are_different_tasks():
    class Listing(flow.Task):
        items = flow.ListParameter()

    assert Listing([1]).items == (1,)
    assert Listing([True]).items[0] is True
    assert Listing([1]).task_id != Listing([True]).task_id


def test_constructor_of_ones_own_runs_once_and_may_add_attributes():
    calls = []

    class Own(flow.Task):
        x = flow.IntParameter()

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            calls.append(self.x)
            self.twice = self.x * 2

    assert Own(x=2).twice == 4
    assert Own(2) is Own(x=2)
    assert calls == [2]


def test_constructor_that_forgets_super_is_noticed():
    class Forgetful(flow.Task):
        def __init__(self):
            pass

    assert not Forgetful().initialized()
    assert Plain().initialized()


def test_attribute_changed_later_does_not_change_identity():
    task = Leaf(n=41)
    task_id = task.task_id
    task.n = 5
    assert task.param_kwargs == {"n": 41}
    assert task.to_str_params() == {"n": "41"}
    assert task.task_id == task_id
    Register.clear_instance_cache()


def test_copied_tasks_are_equal():
    task = Base(a=1)
    assert copy.copy(task) == task
    assert copy.deepcopy(task) == task


def test_abstract_task_cannot_be_made():
    class Abstract(flow.Task):
        @abc.abstractmethod
        def query(self):
            """Subclasses say what."""

    with pytest.raises(TypeError, match="abstract"):
        Abstract()


# ------------------------------------------------------------ methods


def test_clone_takes_what_both_have_and_what_is_given():
    class Other(flow.Task):
        a = flow.IntParameter()
        c = flow.IntParameter(default=9)

    assert Base(1, "x").clone(Other) == Other(a=1)
    assert Base(1, "x").clone(b="y") is Base(1, "y")


def test_complete_is_whether_all_outputs_exist():
    class Two(flow.Task):
        def output(self):
            return {"one": MockTarget("one"), "rest": [MockTarget("two")]}

    assert not Two().complete()
    for name in ("one", "two"):
        MockTarget(name).open("w").close()
    assert Two().complete()


def test_complete_without_outputs_is_false_and_warns_once_a_family():
    class NoOutput(flow.Task):
        n = flow.IntParameter()

    with pytest.warns(UserWarning, match="without outputs has no custom complete"):
        assert NoOutput(1).complete() is False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert NoOutput(2).complete() is False


def test_ask_default_complete_asks_for_the_outputs_once_and_warns_of_none(recwarn):
    asked = []

    class Twice(flow.Task):
        def output(self):
            asked.append(self)
            return [flow.LocalTarget("/"), flow.LocalTarget("/nowhere")]

    class EmptyOutput(flow.Task):
        def output(self):
            return []

    class OwnComplete(flow.Task):
        def complete(self):
            return True

    assert [ask(task) for task in (Twice(), EmptyOutput(), Plain())] == [False] * 3
    assert asked == [Twice()]
    assert ask(OwnComplete())
    assert not recwarn.list


class WrapsTwo(flow.WrapperTask):
    def requires(self):
        return {"one": Leaf(1), "more": (Leaf(2), [Leaf(3)])}


def test_input_keeps_the_shape_of_requires():
    paths = WrapsTwo().input()
    assert paths["one"].path == "leaf-1"
    assert isinstance(paths["more"], tuple)
    assert paths["more"][1][0].path == "leaf-3"
    assert [task.n for task in WrapsTwo().deps()] == [1, 2, 3]


def test_input_of_no_requirements_is_empty():
    class Nothing(flow.Task):
        def requires(self):
            return None

    assert Nothing().deps() == []
    assert Nothing().input() == []


def test_getpaths_of_something_else_says_what_is_expected():
    with pytest.raises(TypeError, match="expected a task, list, tuple or dict"):
        flow.getpaths(5)


def test_flatten_reaches_every_leaf_in_order():
    generated = (each for each in ["c", ["d"]])
    assert flow.flatten({"x": "a", "y": [None, ("b",), generated], "z": 1}) == [
        "a", "b", "c", "d", 1,
    ]  # fmt: skip


def test_wrapper_is_complete_when_its_requirements_are():
    assert not WrapsTwo().complete()
    for task in WrapsTwo().deps():
        task.run()
    assert WrapsTwo().complete()


class Unwilling:
    """An output that is one, and says so when it is asked for its parts."""

    def __iter__(self):
        raise TypeError("one thing")

    def exists(self):
        return True


class Sequence:
    """What has its parts by number only."""

    def __getitem__(self, at):
        return ["a", "b"][at]


class MakesUnwilling(flow.Task):
    def output(self):
        return Unwilling()


def broken():
    yield "a"
    raise TypeError("a bug while it is gone through")


def test_flatten_asks_iter_itself_as_luigi_does():
    one = Unwilling()
    assert flow.flatten([one, {"x": one}]) == [one, one]
    assert flow.flatten(Sequence()) == ["a", "b"]
    assert MakesUnwilling().complete()
    assert len(flatten_output(MakesUnwilling())) == 1
    with pytest.raises(TypeError, match="a bug"):
        flow.flatten(broken())
    with pytest.raises(TypeError, match="expected a task"):
        flow.getpaths(one)


def test_flatten_output_looks_through_wrappers():
    assert [target.path for target in flatten_output(WrapsTwo())] == ["leaf-1", "leaf-2", "leaf-3"]


def test_external_tasks_are_those_without_run():
    class Given(flow.ExternalTask):
        pass

    class Unwritten(flow.Task):
        run = NotImplemented

    assert is_external(Given())
    assert is_external(Unwritten())
    assert not is_external(Plain())


def test_externalized_copies_leave_the_original_alone():
    task = externalize(Leaf(5))
    assert is_external(task)
    assert task == Leaf(5)
    assert not is_external(Leaf(5))
    cls = externalize(Leaf)
    assert is_external(cls(6))
    assert cls(6).task_id == Leaf(6).task_id
    assert registry.find("Leaf") is Leaf


def test_bulk_complete_is_not_implemented_unless_somebody_does():
    class Naive(flow.MixinNaiveBulkComplete, Leaf):
        pass

    with pytest.raises(BulkCompleteNotImplementedError):
        Leaf.bulk_complete([1])
    Naive(1).run()
    assert Naive.bulk_complete([1, (1,), {"n": 1}, 2]) == [1, (1,), {"n": 1}]


def test_dynamic_requirements_ask_the_custom_function_instead():
    wanted = DynamicRequirements(
        {"one": Leaf(1), "two": Leaf(2)},
        custom_complete=lambda complete: complete(Leaf(1)),
    )
    assert not wanted.complete()
    Leaf(1).run()
    assert wanted.complete()
    assert not DynamicRequirements([Leaf(1), Leaf(2)]).complete()
    assert wanted.paths["two"].path == "leaf-2"


def test_batch_parameters_join_lists_of_strings():
    class Batch(flow.Task):
        n = flow.IntParameter(batch_method=max)

    assert Batch(1).batchable
    assert Batch.batch_param_names() == ["n"]
    assert Batch.from_str_params({"n": ["3", "10", "4"]}).n == 10


def test_owner_list_splits_addresses():
    class Owned(flow.Task):
        owner_email = "a@x.org, b@x.org"

    assert Owned().owner_list() == ["a@x.org", "b@x.org"]
    assert Plain().owner_list() == []


# ------------------------------------------------------------ import cost


def test_import_flow_loads_nothing_heavy():
    code = """
        import sys, flow
        heavy = {"zmq", "msgspec", "msgpack", "rich", "click", "datetime", "logging", "asyncio",
                 "sqlite3", "flow.task", "flow_worker", "flow_coordinator"}
        print(sorted(heavy & set(sys.modules)))
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert found.stdout.strip() == "[]"


def test_every_public_name_can_be_imported():
    for name in flow.__all__:
        assert getattr(flow, name) is not None


def test_namespace_is_the_one_in_force_when_the_class_was_made():
    flow.namespace("inforce", scope=__name__)
    try:

        class SpacedBase(flow.Task):
            extra = flow.Parameter(default="")

    finally:
        flow.namespace(scope=__name__)
    SpacedBase.another = flow.Parameter(default="")  # read again: still the same family

    assert SpacedBase.get_task_namespace() == "inforce"
    assert SpacedBase().task_family == "inforce.SpacedBase"


def test_old_names_still_answer_with_a_warning():
    class Old(flow.Task):
        a = flow.IntParameter()
        b = flow.Parameter(default="x")
        disable_window = 7

    with pytest.warns(DeprecationWarning, match="param_args"):
        assert Old(3).param_args == (3, "x")
    with pytest.warns(DeprecationWarning, match="disable_window"):
        assert Old(3).disable_window_seconds == 7


def test_renamed_class_is_found_by_its_new_name():
    class Unnamed(flow.Task):
        pass

    Unnamed.__name__ = "NamedLater"

    assert registry.find("NamedLater") is Unnamed
    assert Unnamed().task_id.startswith("NamedLater_")
    assert registry.classes_of("Unnamed") == []
