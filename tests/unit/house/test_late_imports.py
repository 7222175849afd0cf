"""Imports inside functions have one of two good reasons."""

from __future__ import annotations

from tests.support.house_rules import SOURCE_FOLDERS, parse, read_all
from tests.support.late_imports import OPTIONAL, START_UP, reasons

#: Modules that import inside functions, and why: what a command never needs costs it nothing.
ALLOWED: dict[str, set[str]] = {
    "flow.artifacts.cleaning": {START_UP},
    "flow.artifacts.contents": {START_UP},
    "flow.artifacts.location": {START_UP},
    "flow.cli": {START_UP},
    "flow.cli.asking": {START_UP},
    "flow.cli.cancel": {START_UP},
    "flow.cli.clean": {START_UP},
    "flow.cli.graph": {START_UP},
    "flow.cli.group": {START_UP},
    "flow.cli.inuse": {START_UP},
    "flow.cli.message": {START_UP},
    "flow.cli.resources": {START_UP},
    "flow.cli.retry": {START_UP},
    "flow.cli.run": {START_UP},
    "flow.cli.status": {START_UP},
    "flow.cli.submit": {START_UP},
    "flow.cli.tasks": {START_UP},
    "flow.cli.uploading": {START_UP},
    "flow.cli.why": {START_UP},
    "flow.cli.workers": {START_UP},
    "flow.client.address": {START_UP},
    "flow.client.exitcodes": {START_UP},
    "flow.client.options": {START_UP},
    "flow.client.output": {START_UP},
    "flow.client.ranges": {START_UP},
    "flow.client.views": {START_UP},
    "flow.dialects.luigi_policy": {OPTIONAL},
    "flow.dialects.luigi_tasks": {START_UP},
    "flow.events": {START_UP},
    "flow.guarded": {START_UP},
    "flow.local.embedded": {START_UP},
    "flow.local.execution": {START_UP},
    "flow.local.forking": {START_UP},
    "flow.local.inprocess": {START_UP},
    "flow.local.listing": {START_UP},
    "flow.local.results": {START_UP},
    "flow.local.script": {START_UP},
    "flow.local.work": {START_UP},
    "flow.modules.blame": {START_UP},
    "flow.modules.places": {START_UP},
    "flow.notifications": {START_UP},
    "flow.parameter": {START_UP},
    "flow.parameters.container": {OPTIONAL},
    "flow.parameters.defaults": {START_UP},
    "flow.parameters.errors": {START_UP},
    "flow.parameters.held": {START_UP},
    "flow.parameters.task": {START_UP},
    "flow.retcodes": {START_UP},
    "flow.settings.layers": {START_UP},
    "flow.settings.luigi_files": {START_UP},
    "flow.settings.sections": {START_UP},
    "flow.speech": {START_UP},
    "flow.targets.atomic": {START_UP},
    "flow.targets.base": {START_UP},
    "flow.targets.formats": {START_UP},
    "flow.targets.local": {START_UP},
    "flow.targets.opening": {START_UP},
    "flow.targets.stores": {START_UP},
    "flow.task": {START_UP},
    "flow.testing": {START_UP},
    "flow.tools.deps_tree": {START_UP},
    "flow.usercode.tasklogs": {START_UP},
    "flow_coordinator.cli": {START_UP},
    "flow_coordinator.notify": {START_UP},
    "flow_coordinator.shell.settings": {START_UP},
    "flow_worker.cli": {START_UP},
    "flow_worker.guard.supervisor": {START_UP},
    "flow_worker.planner.removal": {START_UP},
    "flow_worker.process.places": {START_UP},
    "flow_worker.process.preloading": {START_UP},
    "flow_worker.shell.nursery": {START_UP},
}


def test_late_imports_have_a_reason_that_is_allowed() -> None:
    assert reasons(read_all(*SOURCE_FOLDERS)) == ALLOWED


def test_each_reason_is_told_from_the_other() -> None:
    texts = {
        "a": "def f():\n    import json\n    from flow import c",
        "b": "def f():\n    import pandas",
        "c": "class A:\n    def f(self):\n        import flow.d, numpy",
        "d": "import flow.c\nimport pandas",
    }
    sources = [parse(f"common/flow/{name}.py", text) for name, text in texts.items()]
    assert reasons(sources) == {
        "flow.a": {START_UP},
        "flow.b": {OPTIONAL},
        "flow.c": {START_UP, OPTIONAL},
    }
