"""One plan of a task that does nothing, in the process that all others are forked from.

What Python, msgspec and flow work out at first use (caches of classes, types and settings' forms,
modules that are imported late) costs a process some 10 ms, and each run begins with a process that
has planned nothing yet. Done here it is done in all forks. Nothing of it stays that a program could
see: settings and instances are forgotten, and no user's code and no other library is touched.
"""

from __future__ import annotations

from flow import registry
from flow.parameters import defaults
from flow.parameters.packing import pack_checked
from flow.seam import NATIVE
from flow.wire.messages.shared import Stub
from flow_worker.planner.walk import RequirementWalk
from flow_worker.process import places


def rehearse() -> None:
    """Plan ``flow.Task`` once. What is wrong with the settings becomes an error of that plan."""
    places.of_python_and_flow()
    task = Stub("Task", "flow.task", "Task", pack_checked({}, "Task"))
    for _ in RequirementWalk([task], 1, None, ()).chunks():
        pass
    registry.asked_of = ""
    NATIVE.forget()
    defaults.forget()
