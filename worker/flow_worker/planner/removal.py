"""Removing the temporary artifacts of tasks that nobody needs any more."""

from __future__ import annotations

import time
from collections.abc import Callable

from flow.task import Task
from flow.wire.messages.shared import Stub
from flow_worker.channel import Remove, Removed
from flow_worker.process.failure import Terminated, failure_of

#: After this the rest is left for the next request; well below what the agent allows.
BUDGET_S = 5.0
#: Errors in one answer; the others would only repeat them.
ERRORS_MAX = 10


def remove(frame: Remove, build: Callable[[Stub], Task]) -> Removed:
    """Build each task again and remove what its output says is temporary, nothing else."""
    from flow.artifacts.cleaning import remove_temporary

    until = time.monotonic() + BUDGET_S
    errors: list[str] = []
    done = 0
    for stub in frame.stubs:
        if done and time.monotonic() > until:
            break
        done += 1
        try:
            remove_temporary(build(stub))
        except Terminated:
            raise
        except Exception as error:  # modules, constructors, output() and stores have their own
            errors.append(f"{stub.task_id}: {failure_of(error).error}")
    return Removed(frame.request, done, errors[:ERRORS_MAX])
