"""What a pipeline's own tests need: run tasks here and now, and leave nothing behind.

::

    from flow import testing

    def test_report_counts_words():
        with testing.isolated({"task.Words.language": "en"}):
            result = testing.run(Report(date=date(2026, 11, 20)))
            assert result, result.summary_text
            assert Report(date=date(2026, 11, 20)).output().open().read() == "2"

Tasks run in the calling thread, on the instances the test holds, through the same scheduler as
everywhere; ``flow.targets.mock.MockTarget`` keeps outputs out of the way. ``isolated`` around each
test (an autouse fixture of pytest is a good place) keeps tests from meeting.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flow import events, registry
from flow.parameters import defaults
from flow.registry import Register

if TYPE_CHECKING:
    from flow.local.results import RunResult
    from flow.task import Task

__all__ = ["fresh_registry", "isolated", "memory_targets", "run", "settings"]


def run(*tasks: Task, **options: Any) -> RunResult:
    """Run tasks to their end in this thread; the result is true if they are complete.

    Args:
        *tasks: What to run; their requirements run too.
        **options: As for ``flow.build``; quiet unless ``quiet=False``.
    """
    from flow.local.embedded import build

    return build(tasks, in_process=True, **{"quiet": True, **options})


@contextmanager
def isolated(values: Mapping[str, object] | None = None) -> Iterator[None]:
    """Have classes, instances, handlers, in-memory targets and settings of one test only."""
    with settings(values or {}), fresh_registry(), memory_targets():
        yield


@contextmanager
def settings(values: Mapping[str, object]) -> Iterator[None]:
    """Set settings for a while, by ``"section.key"`` or ``"task.Family.parameter"``.

    They beat every file, here and in processes started meanwhile. An empty text says nothing.
    """
    named = {_variable(name): _text(name, value) for name, value in values.items()}
    before = {name: os.environ.get(name) for name in named}
    try:
        os.environ.update(named)
        _forget()
        yield
    finally:
        for name, text in before.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text
        _forget()


@contextmanager
def fresh_registry() -> Iterator[None]:
    """Forget afterwards which task classes, namespaces and event handlers were made meanwhile.

    Classes made before stay known, but their instances are made anew.
    """
    restore_classes, restore_handlers = registry.keep(), events.keep()
    Register.clear_instance_cache()
    try:
        yield
    finally:
        Register.clear_instance_cache()
        restore_classes()
        restore_handlers()


@contextmanager
def memory_targets() -> Iterator[None]:
    """Begin without any ``MockTarget`` content, and drop what is made meanwhile."""
    from flow.targets.mock import DIRECTORY

    before = os.environ[DIRECTORY]
    os.environ[DIRECTORY] = tempfile.mkdtemp(prefix="flow-mock-")
    try:
        yield
    finally:
        shutil.rmtree(os.environ[DIRECTORY], ignore_errors=True)
        os.environ[DIRECTORY] = before


def _variable(name: str) -> str:
    """Spell a setting as the environment does."""
    from flow.errors import UsageError

    section, _, key = name.partition(".")
    if not key:
        raise UsageError(f"{name!r} is no setting", hint='write "section.key"')
    if section == "task":
        family, _, parameter = key.rpartition(".")
        if not family:
            raise UsageError(f"{name!r} is no setting", hint='write "task.Family.parameter"')
        return f"FLOW_TASK__{family}__{parameter}"
    return f"FLOW_{section.upper()}__{key if section == 'resources' else key.upper()}"


def _text(name: str, value: object) -> str:
    """Write a value as the environment has it: a parameter's as text that it reads."""
    if isinstance(value, str):
        return value
    if not name.startswith("task."):
        if isinstance(value, Mapping):
            return ",".join(f"{key}={each}" for key, each in value.items())
        if isinstance(value, (list, tuple)):
            return os.pathsep.join(str(each) for each in value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    import json

    return json.dumps(value)


def _forget() -> None:
    """Have settings read again, and defaults that were taken from them."""
    defaults.forget()
    Register.clear_instance_cache()
