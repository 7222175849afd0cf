"""``task_process_context``: a class of the user's whose instances stand around every ``run()``."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from flow.errors import ConfigError
from flow.parameters import defaults
from flow.seam import others
from flow.task import Task
from flow_worker.process.voice import AttemptVoice

#: Makes the context manager for one stretch of ``run()``.
Around = Callable[[Task, AttemptVoice], contextlib.AbstractContextManager[Any]]


class StatusReporter:
    """What a context may say about its task."""

    def __init__(self, voice: AttemptVoice) -> None:
        self.update_tracking_url = voice.set_tracking_url
        self.update_status_message = voice.set_status_message
        self.update_progress_percentage = voice.set_progress_percentage
        self.decrease_running_resources = voice.decrease_running_resources
        self.scheduler_messages = voice.scheduler_messages
        self._voice = voice

    def report_task_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Show numbers that measure the attempt, by name: ``flow why`` and ``flow status``."""
        self._voice.report_statistics(statistics)


class TaskProcess:
    """What the class is constructed with."""

    def __init__(self, task: Task, voice: AttemptVoice) -> None:
        self.task = task
        self.status_reporter = StatusReporter(voice)


def configured() -> Around | None:
    """Import the class that ``[worker] task_process_context`` names, here or in ``luigi.cfg``.

    None: there is none.

    Raises:
        ConfigError: It cannot be imported.
    """
    dotted = defaults.settings().worker.task_process_context
    for library in others():
        dotted = dotted or library.process_context()
    if not dotted:
        return None
    module, _, name = dotted.rpartition(".")
    try:
        made = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"[worker] task_process_context: cannot import {dotted!r}: {error}",
            hint='name a class that workers can import: task_process_context = "package.Class"',
        ) from error
    return lambda task, voice: made(TaskProcess(task, voice))
