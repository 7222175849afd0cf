"""Origins: which code a task is, and what takes equal ids for equal tasks no more."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flow.modules import loading, origins, places
from flow.parameters.packing import unpack_values
from flow.seam import key_of, module_of, strings_of
from flow.usercode.completeness import Checker
from flow.usercode.exploring import explore
from flow.wire.messages.codec import decode_chunk
from flow_worker.planner.walk import RequirementWalk
from flow_worker.process.attempt import stub_of
from flow_worker.process.failure import Terminated

LIBRARIES = ("flow", "luigi")

REGION = """
    import {0} as lib
    class Sales_{0}(lib.Task):
        done = {1}
        def complete(self):
            return self.done
        def run(self):
            pass
"""
REPEATS = """
    import {0} as lib
    class Twice_{0}(lib.Task):
        of = lib.TaskParameter()
"""
ROOT = """
    import {0} as lib
    import o_north_{0}, o_south_{0}
    from o_repeats_{0} import Twice_{0}
    class Root_{0}(lib.Task):
        def requires(self):
            regions = [o_north_{0}.Sales_{0}, o_south_{0}.Sales_{0}]
            return [*[each() for each in regions], *[Twice_{0}(of=each) for each in regions]]
"""


@pytest.fixture(params=LIBRARIES)
def root(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    library = request.param
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(places, "shares", True)
    sources = {
        f"o_north_{library}": REGION.format(library, "True"),
        f"o_south_{library}": REGION.format(library, "False"),
        f"o_repeats_{library}": REPEATS.format(library),
        f"o_root_{library}": ROOT.format(library),
    }
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
    importlib.invalidate_caches()
    yield loading.load_module(f"o_root_{library}")
    for name in sources:
        sys.modules.pop(name, None)


def root_task(root: ModuleType) -> Any:
    return getattr(root, root.__name__.replace("o_root", "Root"))()


def test_walk_names_tasks_of_one_id_apart(root: ModuleType) -> None:
    task = root_task(root)
    chunks = RequirementWalk([stub_of(task)], 100, None, (Terminated,)).chunks()
    (chunk,) = [decode_chunk(body) for body in chunks]
    assert not chunk.errors
    assert len(chunk.stubs) == 5
    assert len({(stub.task_id, stub.module) for stub in chunk.stubs}) == 5
    assert len({stub.task_id for stub in chunk.stubs}) == 3
    assert chunk.edges[0] == (0, [1, 2, 3, 4])


def test_stub_of_a_task_that_is_given_a_class_makes_that_very_task(root: ModuleType) -> None:
    for task in root_task(root).requires():
        stub = stub_of(task)
        again = loading.load_task(stub.module, stub.family, unpack_values(stub.params))
        assert key_of(again) == key_of(task)
        assert stub_of(again) == stub
    north, south = root_task(root).requires()[2:]
    assert north.task_id == south.task_id
    library = root.__name__.removeprefix("o_root_")
    assert module_of(north) == f"o_repeats_{library}//o_north_{library}"
    assert module_of(south) == f"o_repeats_{library}//o_south_{library}"
    assert strings_of(north) == strings_of(south)


def test_checker_and_graph_know_tasks_of_one_id_apart(root: ModuleType) -> None:
    task = root_task(root)
    north, south = task.requires()[:2]
    assert Checker().level([north, south, north]) == [True, False, True]
    assert len(explore([task]).nodes) == 5


@pytest.mark.parametrize(
    ("module", "named", "origin"),
    [
        ("a", [], "a"),
        ("a", ["a", "a"], "a"),
        ("a", ["b.c"], "a//b.c"),
        ("file:/x@y/a.py", ["b"], "file:/x@y/a.py//b"),
        ("file://x/a.py", [], "file://x/a.py"),
        ("file://x/a.py", ["file://b.py"], "file:/x/a.py//file:/b.py"),
    ],
)
def test_origin_is_read_as_it_was_spelled(module: str, named: list[str], origin: str) -> None:
    assert origins.spell(module, named) == origin
    alone = all(each == module for each in named)
    said = [each.replace("file://", "file:/") for each in (module, *named)]
    assert origins.split(origin) == ((module, []) if alone else (said[0], said[1:]))


def test_origin_tells_apart_in_which_order_modules_are_named() -> None:
    one = origins.spell("a", ["b", "c", "c"])
    other = origins.spell("a", ["b", "b", "c"])
    assert one != other
    assert origins.split(one) == origins.split(other) == ("a", ["b", "c"])


def test_origin_of_many_modules_is_bounded() -> None:
    many = [f"m{n}" for n in range(1000)]
    origin = origins.spell("a", many)
    assert len(origin) < 100
    assert origin != origins.spell("a", many[::-1])
    assert origins.split(origin)[1] == many[: origins.NAMED_MAX]
