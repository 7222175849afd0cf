"""The task objects that a program made itself, for when its tasks run inside it.

In its own process a task need not be made again from its parameters: what ``run()`` stores on the
instance is seen by whoever holds it, and private parameters keep their values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flow.wire.messages.shared import Stub
from flow_worker.process.attempt import stub_of

Key = tuple[str, str, bytes]


class Instances:
    """Tasks by module, family and packed parameters; of equal ones the first stays."""

    def __init__(self, tasks: Iterable[Any] = ()) -> None:
        self._known: dict[Key, Any] = {}
        for task in tasks:
            self.add(stub_of(task), task)

    def add(self, stub: Stub, task: Any) -> None:
        """Remember a task under the stub that names it."""
        self._known.setdefault((stub.module, stub.family, stub.params), task)

    def get(self, module: str, family: str, params: bytes) -> Any | None:
        """Return the task of this name, if the program has it."""
        return self._known.get((module, family, params))
