"""The wings keep their walls, and no import goes round in a circle."""

from __future__ import annotations

import pytest

from tests.support import walls
from tests.support.house_rules import SOURCE_FOLDERS, Source, parse, read_all

#: The one circle that is left, for type checkers only: a task makes artifacts, which know their
#: task.
TYPING_CIRCLES = [["flow.artifacts.artifact", "flow.artifacts.identity", "flow.task"]]


@pytest.fixture(scope="module")
def packages() -> list[Source]:
    return read_all(*SOURCE_FOLDERS)


def test_every_module_is_in_a_wing_and_keeps_its_walls(packages: list[Source]) -> None:
    assert [complaint for source in packages for complaint in walls.check_walls(source)] == []


def test_no_import_is_a_circle_not_even_a_late_one(packages: list[Source]) -> None:
    assert walls.circles(packages, typing=False) == []


def test_for_type_checkers_one_circle_is_left(packages: list[Source]) -> None:
    assert walls.circles(packages, typing=True) == TYPING_CIRCLES


def test_walls_name_modules_that_exist(packages: list[Source]) -> None:
    modules = {source.module for source in packages}
    named = {each for own, others in walls.WINGS.values() for each in (*own, *others)}
    assert sorted(named - modules) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("coordinator/flow_coordinator/shell/x.py", "from flow.task import Task"),
        ("coordinator/flow_coordinator/shell/x.py", "def f():\n    import flow.modules.loading"),
        ("coordinator/flow_coordinator/cli.py", "from flow import client"),
        ("worker/flow_worker/core/x.py", "from flow.client import client"),
        ("worker/flow_worker/x.py", "from flow.dialects import luigi_tasks"),
        ("common/flow/wire/x.py", "from flow.settings import sections"),
        ("common/flow/settings/x.py", "from flow.parameters import errors"),
        ("common/flow/parameters/x.py", "from flow.wire.messages import shared"),
        ("common/flow/targets/x.py", "from flow.usercode import completeness"),
        ("common/flow/client/x.py", "from flow.local import children"),
        ("common/flow/local/x.py", "from flow.cli import run"),
        ("common/flow/usercode/x.py", "from flow.dialects import luigi_tasks"),
        ("common/flow/cli/x.py", "from flow.configuration import get_config"),
        ("common/flow/errors.py", "from flow.wire import ids"),
        ("common/flow/cli/x.py", "import flow_worker.cli"),
        ("common/flow/cli/x.py", "if True:\n    from flow_coordinator import cli"),
        ("worker/flow_worker/x.py", "def f():\n    import flow_coordinator.cli"),
        ("coordinator/flow_coordinator/core/x.py", "from flow_worker.core import events"),
        ("common/flow/task.py", "from flow.wire import transport"),
        ("common/flow/targets/x.py", "import flow.client.client"),
        ("worker/flow_worker/process/x.py", "def f():\n    import luigi.task"),
    ],
)
def test_wall_stops_what_goes_through_it(path: str, text: str) -> None:
    assert list(walls.check_walls(parse(path, text)))


def test_wall_lets_type_checkers_through() -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import flow.client.client"
    assert list(walls.check_walls(parse("common/flow/task.py", text))) == []


def test_module_without_a_wing_is_refused() -> None:
    with pytest.raises(KeyError, match="give it a place"):
        list(walls.check_walls(parse("common/flow/novelty.py", "import flow.errors")))


def test_circle_is_found_also_by_late_imports_and_for_type_checkers() -> None:
    def sources(late: str) -> list[Source]:
        return [
            parse("common/flow/errors.py", "from flow.visible import x"),
            parse("common/flow/visible.py", "import flow.lazy"),
            parse("common/flow/lazy.py", late),
        ]

    whole = [["flow.errors", "flow.lazy", "flow.visible"]]
    late = "def f():\n    import flow.errors"
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import flow.errors"
    assert walls.circles(sources("import flow.errors"), typing=False) == whole
    assert walls.circles(sources(late), typing=False) == whole
    assert walls.circles(sources(typed), typing=False) == []
    assert walls.circles(sources(typed), typing=True) == whole
