"""Nothing is defined that nothing uses, and the check for it can fail."""

from __future__ import annotations

import pytest

from tests.support.dead_names import dead_names
from tests.support.house_rules import SOURCE_FOLDERS, parse, read_all

#: Names that stay although nothing here uses them, and why.
KEPT = {
    "flow.artifacts.contents:add_content": "for users: an artifact of another suffix names it",
    "flow.errors:DiskFull.retryable": "for programs that catch errors of flow",
    "flow.errors:FlowError.retryable": "for programs that catch errors of flow",
    "flow.errors:StoreFull.retryable": "for programs that catch errors of flow",
    "flow.errors:Unreachable.retryable": "for programs that catch errors of flow",
    "flow.parameters.defaults:add_resolver": "for users: values of parameters from elsewhere",
}
X = "common/flow/x.py"


def test_nothing_is_defined_that_nothing_uses() -> None:
    found = set(dead_names(read_all(*SOURCE_FOLDERS)))
    assert sorted(found - set(KEPT)) == []
    assert sorted(set(KEPT) - found) == [], "these are used, or gone"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A_LIMIT = 1", "flow.x:A_LIMIT"),
        ("A_LIMIT: int = 1", "flow.x:A_LIMIT"),
        ("def left(): ...", "flow.x:left"),
        ("class Left: ...", "flow.x:Left"),
        ("class A:\n    def left(self): ...\nA()", "flow.x:A.left"),
        ("class A:\n    left: int = 0\nA()", "flow.x:A.left"),
        ("class A:\n    class Left: ...\nA()", "flow.x:A.Left"),
        ("if True:\n    def left(): ...", "flow.x:left"),
        ("a = 0\na = 1", "flow.x:a"),
    ],
)
def test_name_that_nothing_uses_is_found(text: str, found: str) -> None:
    assert found in list(dead_names([parse(X, text)]))


@pytest.mark.parametrize(
    "text",
    [
        "def used(): ...\nused()",
        "def used(): ...\nprint(x.used)",
        "def used(): ...\n__all__ = ['used']",
        "class A:\n    used = 1\ngetattr(A, 'used')",
        "class A:\n    def __len__(self): ...\nA()",
        "def get_task_cls(): ...",
        "@group.command('list')\ndef list_(): ...",
    ],
)
def test_name_that_is_used_or_luigis_is_not_found(text: str) -> None:
    assert list(dead_names([parse(X, text)])) == []
