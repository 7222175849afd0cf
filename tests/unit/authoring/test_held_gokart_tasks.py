"""gokart tasks that hold tasks that hold tasks: on the wire each of them is there once."""

from __future__ import annotations

import base64
import json
import sys
import textwrap
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flow import seam, testing
from flow.errors import UsageError
from flow.parameters import held
from flow.parameters.packing import unpack_values
from flow.wire.messages.shared import display

gokart = pytest.importorskip("gokart")

PIPELINE = """
    import gokart, luigi

    class Data(gokart.TaskOnKart):
        name = luigi.Parameter(default="raw")

    class Step(gokart.TaskOnKart):
        source = gokart.TaskInstanceParameter()
        n = luigi.IntParameter()

    class Join(gokart.TaskOnKart):
        left = gokart.TaskInstanceParameter()
        n = luigi.IntParameter()
        others = gokart.ListTaskInstanceParameter(default=[])

    def diamonds(depth, **kwargs):
        task = Data(**kwargs)
        for n in range(depth):
            task = Join(left=task, others=[Step(source=task, n=n)], n=n)
        return task
"""


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "held_steps.py").write_text(textwrap.dedent(PIPELINE))
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    with testing.isolated():
        module = importlib.import_module("held_steps")
        yield module
        del sys.modules["held_steps"]


def again(task: Any) -> Any:
    """Make a task as another process does."""
    dialect = seam.dialect_of(type(task))
    return dialect.make(type(task), unpack_values(dialect.packed(task)))


def forgetting(task: Any) -> Any:
    dialect = seam.dialect_of(type(task))
    packed = dialect.packed(task)
    type(type(task)).clear_instance_cache()
    return dialect.make(type(task), unpack_values(packed))


@pytest.mark.parametrize("make", [again, forgetting])
def test_held_tasks_are_made_again_with_their_ids_and_all_parameters(
    steps: Any, make: Callable[[Any], Any]
) -> None:
    task = steps.diamonds(3, workspace_directory="./there")
    made = make(task)
    assert made.task_id == task.task_id
    (step,) = made.others
    assert step.task_id == task.others[0].task_id
    assert step.source is made.left, "what was one task is one"
    inner = made.left.left.left
    assert (type(inner).__name__, inner.workspace_directory) == ("Data", "./there")
    assert seam.key_of(made) == seam.key_of(task)
    assert seam.module_of(made) == seam.module_of(task)


def test_text_of_held_tasks_grows_with_their_number(steps: Any) -> None:
    seam.dialect_of(steps.Data).make(steps.Data, {})  # as a task process has begun
    sizes = []
    for depth in (4, 8, 12):
        task = steps.diamonds(depth)
        sizes.append(len(seam.dialect_of(steps.Join).packed(task)))
        assert len(seam.key_of(task)) == 2 * depth + 1
    assert sizes[2] - sizes[1] < 1.2 * (sizes[1] - sizes[0])
    assert sizes[2] < 10_000


def test_text_of_held_tasks_does_not_tell_which_objects_they_are(steps: Any) -> None:
    task = steps.diamonds(2)
    registry = type(steps.Data)
    kept = [steps.Data()]
    registry.clear_instance_cache()
    kept.append(steps.Data())
    assert kept[0] is not kept[1]
    shared = steps.Join(left=kept[0], others=[kept[0]], n=7)
    registry.clear_instance_cache()
    apart = steps.Join(left=kept[0], others=[kept[1]], n=7)
    assert apart.others[0] is not apart.left
    packed = seam.dialect_of(steps.Join).packed
    assert packed(shared) == packed(apart)
    assert seam.key_of(shared) == seam.key_of(apart)
    assert held.write([task]) == held.write([steps.diamonds(2)])


def test_people_are_shown_which_tasks_are_held(steps: Any) -> None:
    task = steps.diamonds(1)
    packed = seam.dialect_of(steps.Join).packed(task)
    name = display("Join", packed, 10_000)
    ids = [task.left.task_id[-10:], task.others[0].task_id[-10:]]
    assert name.endswith(f", left=Data_{ids[0]}, n=0, others=Step_{ids[1]})")


def test_text_of_gokart_itself_is_read(steps: Any) -> None:
    data = steps.Data(name="typed")
    text = steps.Step.source.serialize(data)
    made = seam.dialect_of(steps.Step).make(steps.Step, {"source": text, "n": "1"})
    assert made.source == data


def packing(rows: Any, at: Any) -> str:
    spelled = zlib.compress(json.dumps({"rows": rows, "at": at}).encode())
    return json.dumps({"held": "", "packed": base64.b64encode(spelled).decode()})


@pytest.mark.parametrize(
    "text",
    [
        '{"held": "',
        '{"held": ""}',
        '{"held": "", "packed": "AAAA"}',
        '{"held": "", "packed": 7}',
        packing([], [0]),
        packing([], [-1]),
        packing([["m", "F", {}]], [0]),
        packing([["m", "F", {}, {"a": [0]}]], [0]),
    ],
    ids=["cut", "empty", "no zlib", "number", "beyond", "before", "short", "itself"],
)
def test_damaged_text_of_held_tasks_is_a_sentence(steps: Any, text: str) -> None:
    with pytest.raises(UsageError, match="not tasks as flow writes them"):
        seam.dialect_of(steps.Step).make(steps.Step, {"source": text, "n": "1"})


def test_error_of_another_parameter_is_not_blamed_on_held_tasks(steps: Any) -> None:
    named = seam.dialect_of(steps.Step).strings(steps.Step(source=steps.Data(), n=1))
    with pytest.raises(UsageError, match=r"n.*'x'"):
        seam.dialect_of(steps.Step).make(steps.Step, {**named, "n": "x"})
