"""A target for tasks that run each time they are asked for."""

from __future__ import annotations

import os
from typing import Any, Final

from flow.targets.base import Target

#: The lease token of the task that runs in this process.
_TOKEN: Final = "FLOW_TOKEN"
_done: Final[set[tuple[str, str, str]]] = set()


class RunAnywayTarget(Target):
    """The output of a task that runs in every run, once::

        def output(self):
            return RunAnywayTarget(self)

        def run(self):
            ...
            self.output().done()

    ``done()`` counts for the attempt that says it and for nobody else: the next run finds nothing.
    Luigi keeps it in a file for the whole process tree; here tasks run in processes that live
    longer than a run, on many hosts, and the coordinator remembers what was done in a run. In a
    program without running tasks it counts for that process.
    """

    def __init__(self, task_obj: Any) -> None:
        self.task_id: str = task_obj.task_id
        cls = type(task_obj)
        self._origin = f"{cls.__module__}.{cls.__qualname__}"

    def __str__(self) -> str:
        return self.task_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.task_id!r})"

    def exists(self) -> bool:
        """Tell whether the task that runs here said ``done()``."""
        return (os.environ.get(_TOKEN, ""), self._origin, self.task_id) in _done

    def done(self) -> None:
        """Say that the task is done, until it is asked for again."""
        _done.add((os.environ.get(_TOKEN, ""), self._origin, self.task_id))
