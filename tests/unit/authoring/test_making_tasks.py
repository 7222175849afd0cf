"""A task is made from texts in one way, by commands, planners and runners alike."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from flow.errors import UsageError
from flow.modules.loading import load_task
from flow.wire.messages.shared import Stub
from flow.wire.params import pack_params
from flow_worker.planner.walk import RequirementWalk
from tests.support.house_rules import SOURCE_FOLDERS, read_all

MODULE = """
import flow

class Forgetful(flow.Task):
    n = flow.IntParameter(default=1)

    def __init__(self, *args, **kwargs):
        pass
"""
#: Where else a dialect makes a task, and of what.
ELSEWHERE = {
    "flow.modules.loading": "make_task itself",
    "flow.local.observing": "of what a coordinator says of a task that was made before",
    "flow_worker.process.joining": "of the members of a batch, and of what they are together",
}


@pytest.mark.parametrize("named", [{}, {"m": "1"}, {"n": "x"}], ids=["init", "name", "value"])
def test_what_cannot_be_made_is_said_alike_everywhere(
    named: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "forgetful_making.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)

    def walk() -> Any:
        stub = Stub("", "forgetful_making", "Forgetful", pack_params(named))
        return RequirementWalk([stub], 1, None, ()).build(stub)

    with pytest.raises(UsageError) as by_command:
        load_task("forgetful_making", "Forgetful", named)
    with pytest.raises(UsageError) as by_planner:
        walk()
    assert str(by_command.value) == str(by_planner.value)


def test_nothing_else_makes_tasks_of_texts() -> None:
    found = {
        source.module
        for source in read_all(*SOURCE_FOLDERS)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "make"
        and "dialect" in ast.unparse(node.func.value)
    }
    assert found == set(ELSEWHERE)
