"""Imports inside functions have one of two good reasons, and circles are known."""

from __future__ import annotations

from tests.support.house_rules import SOURCE_FOLDERS, parse, read_all
from tests.support.late_imports import CIRCLE, OPTIONAL, START_UP, circles, reasons

#: Modules that import inside functions, and why: what a command never needs costs it nothing.
ALLOWED: dict[str, set[str]] = {
    "flow.artifacts.cleaning": {START_UP},
    "flow.artifacts.contents": {START_UP},
    "flow.artifacts.identity": {CIRCLE},
    "flow.artifacts.location": {CIRCLE},
    "flow.blame": {START_UP},
    "flow.cli": {START_UP},
    "flow.cli.address": {START_UP},
    "flow.cli.asking": {START_UP},
    "flow.cli.cancel": {START_UP},
    "flow.cli.clean": {START_UP},
    "flow.cli.errors": {START_UP},
    "flow.cli.graph": {START_UP},
    "flow.cli.group": {START_UP},
    "flow.cli.inuse": {START_UP},
    "flow.cli.listing": {START_UP},
    "flow.cli.message": {START_UP},
    "flow.cli.options": {START_UP},
    "flow.cli.output": {START_UP},
    "flow.cli.resources": {START_UP},
    "flow.cli.retry": {START_UP},
    "flow.cli.run": {START_UP},
    "flow.cli.script": {START_UP, CIRCLE},
    "flow.cli.status": {START_UP},
    "flow.cli.submit": {START_UP},
    "flow.cli.tasks": {START_UP},
    "flow.cli.uploading": {START_UP},
    "flow.cli.views": {START_UP},
    "flow.cli.why": {START_UP},
    "flow.cli.workers": {START_UP},
    "flow.configuration": {START_UP, CIRCLE},
    "flow.dialects": {CIRCLE},
    "flow.dialects.luigi_policy": {OPTIONAL},
    "flow.dialects.luigi_tasks": {START_UP, CIRCLE},
    "flow.embedded": {START_UP, CIRCLE},
    "flow.events": {START_UP},
    "flow.execution": {START_UP, CIRCLE},
    "flow.forking": {START_UP},
    "flow.held": {CIRCLE},
    "flow.inprocess": {START_UP, CIRCLE},
    "flow.layers": {START_UP},
    "flow.luigi_sections": {CIRCLE},
    "flow.notifications": {START_UP},
    "flow.parameter": {START_UP},
    "flow.parameters.container": {OPTIONAL},
    "flow.parameters.defaults": {START_UP, CIRCLE},
    "flow.parameters.errors": {START_UP},
    "flow.parameters.task": {START_UP, CIRCLE},
    "flow.places": {START_UP},
    "flow.ranges": {START_UP},
    "flow.retcodes": {START_UP, CIRCLE},
    "flow.settings": {START_UP},
    "flow.speech": {START_UP},
    "flow.targets.atomic": {START_UP},
    "flow.targets.base": {START_UP},
    "flow.targets.formats": {START_UP},
    "flow.targets.local": {START_UP},
    "flow.targets.opening": {START_UP},
    "flow.targets.stores": {START_UP},
    "flow.task": {START_UP, CIRCLE},
    "flow.tasklogs": {START_UP},
    "flow.testing": {START_UP},
    "flow.tools.deps_tree": {START_UP},
    "flow_coordinator.cli": {START_UP},
    "flow_coordinator.notify": {START_UP, CIRCLE},
    "flow_coordinator.shell.settings": {START_UP},
    "flow_worker.cli": {START_UP},
    "flow_worker.process.nursery": {START_UP},
    "flow_worker.process.places": {START_UP},
    "flow_worker.process.removal": {START_UP},
    "flow_worker.process.serve": {START_UP, CIRCLE},
    "flow_worker.process.supervisor": {START_UP},
}
#: Groups of modules that import each other, to be opened. No further one is allowed.
KNOWN_CIRCLES = [
    [
        "flow.artifacts.artifact",
        "flow.artifacts.identity",
        "flow.artifacts.location",
        "flow.artifacts.stores",
        "flow.completeness",
        "flow.configuration",
        "flow.dialects",
        "flow.dialects.luigi_policy",
        "flow.dialects.luigi_tasks",
        "flow.given",
        "flow.held",
        "flow.loading",
        "flow.luigi_sections",
        "flow.packing",
        "flow.parameters",
        "flow.parameters.defaults",
        "flow.parameters.signature",
        "flow.parameters.task",
        "flow.patterns.ranges",
        "flow.registry",
        "flow.settings",
        "flow.task",
    ],
    [
        "flow.cli.script",
        "flow.embedded",
        "flow.retcodes",
    ],
    [
        "flow.execution",
        "flow.inprocess",
    ],
    [
        "flow_coordinator.core.state",
        "flow_coordinator.core.twins",
    ],
    [
        "flow_coordinator.mailtext",
        "flow_coordinator.notify",
    ],
    [
        "flow_worker.process.serve",
        "flow_worker.process.template",
    ],
]


def test_late_imports_have_a_reason_that_is_allowed() -> None:
    assert reasons(read_all(*SOURCE_FOLDERS)) == ALLOWED


def test_no_circle_but_those_that_are_known() -> None:
    assert circles(read_all(*SOURCE_FOLDERS)) == KNOWN_CIRCLES


def test_each_reason_is_told_from_the_others() -> None:
    texts = {
        "a": "def f():\n    import json\n    from flow import c",
        "b": "def f():\n    import pandas",
        "c": "class A:\n    def f(self):\n        from flow.d import x",
        "d": "import flow.c\nimport pandas",
    }
    sources = [parse(f"common/flow/{name}.py", text) for name, text in texts.items()]
    assert reasons(sources) == {"flow.a": {START_UP}, "flow.b": {OPTIONAL}, "flow.c": {CIRCLE}}


def test_circle_is_found_through_late_imports_and_those_for_type_checkers() -> None:
    texts = {
        "a": "if TYPE_CHECKING:\n    from flow.b import x",
        "b": "def f():\n    from flow import c",
        "c": "import flow.a",
        "d": "import flow.a",
    }
    sources = [parse(f"common/flow/{name}.py", text) for name, text in texts.items()]
    assert circles(sources) == [["flow.a", "flow.b", "flow.c"]]
