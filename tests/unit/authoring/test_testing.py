"""``flow.testing``: what one test makes, the next does not see."""

from __future__ import annotations

import datetime
import os
from typing import Any

import pytest

import flow
from flow import registry, testing
from flow.errors import UsageError
from flow.targets.mock import MockFileSystem, MockTarget


class Configured(flow.Task):
    date = flow.DateParameter(default=datetime.date(2000, 1, 1))
    label = flow.Parameter(default="plain")


def test_settings_reach_defaults_for_a_while_only() -> None:
    before = Configured()
    with testing.settings(
        {"task.Configured.date": datetime.date(2026, 11, 20), "task.Configured.label": "set"}
    ):
        inside = Configured()
        with testing.settings({"task.Configured.label": "deeper"}):
            assert Configured().label == "deeper"
        assert Configured().label == "set"

    assert (inside.date, inside.label) == (datetime.date(2026, 11, 20), "set")
    assert Configured().label == before.label == "plain"


@pytest.mark.parametrize("name", ["nothing", "task.Configured"])
def test_settings_of_an_impossible_name_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no setting"), testing.settings({name: "x"}):
        pass


def test_classes_and_handlers_of_a_test_are_forgotten() -> None:
    fired: list[str] = []
    generation = registry.generation

    with testing.isolated():
        flow.namespace("temporary")

        class Passing(flow.Task):
            def complete(self) -> bool:
                return bool(fired)

        @flow.Task.event_handler(flow.Event.SUCCESS)
        def note(task: Any) -> None:
            fired.append(task.task_id)

        assert registry.classes_of("temporary.Passing") == [Passing]
        assert testing.run(Passing())
        assert fired == [Passing().task_id]
    assert registry.classes_of("temporary.Passing") == []
    assert registry.generation > generation

    class Later(flow.Task):
        pass

    assert Later.task_family == "Later"
    Later().trigger_event(flow.Event.SUCCESS, Later())
    assert len(fired) == 1


def test_memory_targets_do_not_meet_those_outside() -> None:
    with MockTarget("outer").open("w") as out:
        out.write("kept")
    with testing.memory_targets():
        assert not MockTarget("outer").exists()
        with MockTarget("inner").open("w") as out:
            out.write("dropped")
        assert MockFileSystem().get_all_data() == {"inner": b"dropped"}

    assert MockTarget("outer").exists() and not MockTarget("inner").exists()
    MockTarget("outer").remove()


def test_instances_made_before_keep_their_attributes_out_of_a_test() -> None:
    outer: Any = Configured()
    outer.touched = True
    with testing.fresh_registry():
        assert not hasattr(Configured(), "touched")


def test_settings_of_several_values_are_written_as_the_environment_has_them() -> None:
    from flow.settings.sections import load

    values = {"worker.path": ["/a", "/b"], "worker.resources": {"gpu": 2}, "resources.db": 3}
    with testing.settings(values):
        found = load()
    assert found.worker.path == ["/a", "/b"]
    assert found.worker.resources == {"gpu": 2.0}
    assert found.resources == {"db": 3.0}


def test_settings_that_cannot_be_set_leave_nothing_behind() -> None:
    before = dict(os.environ)
    values = {"core.project": "other", "storage.root": "a\0b"}
    with pytest.raises(ValueError, match="null"), testing.settings(values):
        pass
    assert dict(os.environ) == before
