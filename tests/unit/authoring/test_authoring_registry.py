"""Which class a family means, and who hears what happens to its tasks."""

import functools
import sys
import threading

import pytest

import flow
from flow import registry
from flow.registry import AmbiguousTask, Register, UnknownTask


class LeafTask(flow.Task):
    pass


class Other(flow.Task):
    pass


# ------------------------------------------------------------ events


def test_handlers_of_a_class_hear_its_subclasses_and_errors_do_not_stop_others(caplog):
    class Loud(LeafTask):
        pass

    heard = []

    @LeafTask.event_handler(flow.Event.START)
    def broken(task):
        raise RuntimeError("handler broke")

    listen = LeafTask.event_handler(flow.Event.START)(functools.partial(heard.append))
    try:
        Loud().trigger_event(flow.Event.START, Loud())
        Other().trigger_event(flow.Event.START, Other())
    finally:
        LeafTask.remove_event_handler(flow.Event.START, listen)
        LeafTask.remove_event_handler(flow.Event.START, broken)
    assert heard == [Loud()]
    assert "handler broke" in caplog.text


# ------------------------------------------------------------ registry


def test_subclass_of_the_same_family_takes_its_place():
    old = Register("Replaced", (flow.Task,), {"__qualname__": "one.<locals>.Replaced"})
    new = Register("Replaced", (old,), {"__qualname__": "two.<locals>.Replaced"})
    assert registry.find("Replaced") is new


def test_two_classes_of_one_family_are_ambiguous_and_both_are_named():
    for place in ("one", "two"):
        Register("Doubled", (flow.Task,), {"__qualname__": f"{place}.<locals>.Doubled"})
    with pytest.raises(AmbiguousTask, match=r"one\.<locals>\.Doubled.*two\.<locals>\.Doubled"):
        registry.find("Doubled")


def test_class_defined_again_in_one_place_replaces_the_old_one():
    body = {"__qualname__": "CellTask", "__module__": "__main__"}
    Register("CellTask", (flow.Task,), dict(body))
    again = Register("CellTask", (flow.Task,), dict(body))
    assert registry.find("CellTask") is again


def test_unknown_family_suggests_a_near_one():
    with pytest.raises(UnknownTask, match=r"no task 'LaefTask'\. Did you mean 'LeafTask'"):
        registry.find("LaefTask")


def test_namespace_is_part_of_the_family():
    class Named(flow.Task):
        task_namespace = "team.etl"

    class Inherits(Named):
        pass

    assert Named.task_family == Named().task_family == "team.etl.Named"
    assert Inherits().task_id.startswith("team.etl.Inherits__")
    assert registry.find("team.etl.Named") is Named


def test_namespace_that_was_taken_back_hides_no_wider_one():
    try:
        flow.namespace("outer")
        flow.namespace("inner", scope=__name__)
        flow.namespace(scope=__name__)

        class Wide(flow.Task):
            pass

        assert Wide.task_family == "outer.Wide"
    finally:
        registry._namespaces.clear()


def test_namespace_calls_apply_to_later_classes_of_the_nearest_scope():
    try:
        flow.namespace("outer")
        flow.namespace("inner", scope=__name__)

        class Scoped(flow.Task):
            pass

        flow.auto_namespace(scope=__name__)

        class Auto(flow.Task):
            pass
    finally:
        registry._namespaces.clear()
    assert Scoped.task_family == "inner.Scoped"
    assert Auto.task_family == f"{__name__}.Auto"


def test_parameter_named_like_the_first_argument_of_a_constructor_is_a_parameter():
    class Holder(flow.Task):
        _visible_in_registry = False
        cls = flow.Parameter()
        self = flow.Parameter()

        def __init__(self, /, *args, **kwargs):
            super().__init__(*args, **kwargs)

    assert Holder(cls="a", self="b").to_str_params() == {"cls": "a", "self": "b"}


def test_threads_that_make_the_same_task_get_the_same_object():
    class Shared(flow.Task):
        _visible_in_registry = False
        number = flow.IntParameter()

    made = []

    def make():
        made.append([Shared(number=number) for number in range(2000)])

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval_s)
    for same in zip(*made, strict=True):
        assert len({id(task) for task in same}) == 1
