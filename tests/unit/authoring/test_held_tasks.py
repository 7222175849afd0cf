"""Tasks that hold tasks that hold tasks: as text each of them is there once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import flow
from flow import testing
from flow.errors import UsageError
from flow.parameters import held
from flow.parameters.packing import packed_params, unpack_values
from flow.registry import Register
from flow.seam import dialect_of, key_of, module_of


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with testing.isolated():
        yield


class Data(flow.Task):
    name = flow.Parameter(default="raw")
    hidden = flow.Parameter(default="", visibility=flow.ParameterVisibility.HIDDEN)


class Step(flow.Task):
    source: Any = flow.TaskInstanceParameter()
    n = flow.IntParameter()
    secret: Any = flow.TaskInstanceParameter(
        default=None, visibility=flow.ParameterVisibility.PRIVATE
    )


class Join(flow.Task):
    left: Any = flow.TaskInstanceParameter()
    right: Any = flow.TaskInstanceParameter()
    n = flow.IntParameter()


def diamonds(depth: int, hidden: str = "") -> Any:
    task: Any = Data(hidden=hidden)
    for n in range(depth):
        task = Join(left=task, right=Step(source=task, n=n), n=n)
    return task


def made_again(task: Any) -> Any:
    packed = packed_params(task)
    Register.clear_instance_cache()
    return dialect_of(type(task)).make(type(task), unpack_values(packed))


def test_held_tasks_are_made_again_as_they_were() -> None:
    task = diamonds(3, "here")
    made = made_again(task)
    assert made is not task
    assert (made.task_id, key_of(made)) == (task.task_id, key_of(task))
    assert module_of(made) == module_of(task) == __name__
    assert made.right.source is made.left
    assert made.left.left.left.hidden == "here", "which no id has"


def test_text_grows_with_the_number_of_held_tasks() -> None:
    sizes = [len(packed_params(diamonds(depth))) for depth in (4, 8, 12)]
    assert sizes[2] - sizes[1] < 1.2 * (sizes[1] - sizes[0])
    assert sizes[2] < 5_000
    assert len(key_of(diamonds(12))) == 25


def test_text_of_a_task_that_holds_none_stays_readable() -> None:
    texts = Step(source=Data(), n=1).to_str_params()
    assert texts["source"].startswith(f'{{"module":"{__name__}","family":"Data","params":{{')


def test_private_tasks_are_not_sent() -> None:
    inner = Step(source=Data(), n=1, secret=Data(name="mine"))
    text = Step(source=inner, n=2).to_str_params()["source"]
    assert held.is_written(text) and "mine" not in text


def test_equal_tasks_that_are_several_objects_have_one_text() -> None:
    one = Step(source=Data(), n=1)
    Register.clear_instance_cache()
    two = Step(source=Data(), n=1)
    assert one.source is not two.source
    assert held.write([one, one]) == held.write([one, two])


@pytest.mark.parametrize("packed", [False, True])
def test_tasks_are_read_as_they_were_written(packed: bool) -> None:
    tasks = [diamonds(2), Data(name="other")]
    assert held.read(held.write(tasks, packed=packed)) == tasks


def test_damaged_text_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="not tasks as flow writes them"):
        dialect_of(Step).make(Step, {"source": '{"held": "', "n": "1"})
