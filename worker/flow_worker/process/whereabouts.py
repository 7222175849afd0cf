"""Where the outputs of tasks are on this host: for the error about one that is not here.

A grant means that the requirements are done. One that is missing all the same was made elsewhere:
under a path that is another one there, or that this host does not see. The report of such a failure
names the output, so that the coordinator can ask who made it for its path (``Plan.where``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgspec

from flow.task import Task, flatten
from flow.wire.messages.shared import Missing, sendable
from flow_worker.process.failure import UserFailure

#: What is said where nobody can tell where it was made.
_MADE_ELSEWHERE = (
    "this output of it is not here: it ran on a host whose files are not seen here (storage.root, "
    "a shared folder), or its path has something that is made when the module is imported (a time "
    "stamp, a random name), which is another one on each worker: make that a parameter"
)


def paths_of(task: Any) -> Iterator[str]:
    """Yield the paths of a task's outputs, as they are written; what has none is left out."""
    for target in flatten(task.output()):
        path = getattr(target, "path", None)
        if isinstance(path, str):
            yield path


def missing_requirement(task: Task, error: BaseException) -> Missing | None:
    """Find the output of a requirement that a ``FileNotFoundError`` is about. Calls user code."""
    asked = getattr(error, "filename", None)
    if not isinstance(error, FileNotFoundError) or not isinstance(asked, str | os.PathLike):
        return None
    return _requirement_at(os.path.abspath(os.fspath(asked)), task)


def with_the_requirement(failure: UserFailure, missing: Missing) -> UserFailure:
    """Add to a failure whose output it is that is not here."""
    text = f"{failure.error}\n{missing.family} is done, but {_MADE_ELSEWHERE}"
    return msgspec.structs.replace(failure, error=text, missing=missing)


def _requirement_at(asked: str, task: Task) -> Missing | None:
    for one in flatten(task.requires()):
        for index, path in enumerate(paths_of(one)):
            if os.path.abspath(path) == asked:
                relative = "" if os.path.isabs(path) else sendable(path)
                return Missing(one.task_id, one.task_family, index, sendable(asked), relative)
    return None
