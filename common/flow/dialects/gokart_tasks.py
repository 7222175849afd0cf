"""What gokart's ``TaskOnKart`` expects of whoever runs it, beyond what luigi's tasks do.

gokart is looked up, never imported. Two things of it live in instances that luigi hands from the
planning process to its forks, and that other processes do not get: insignificant parameters of
tasks that are parameters (``TaskInstanceParameter`` serialises only significant ones, so a given
``workspace_directory`` or ``rerun`` of theirs would be lost; ``flow.parameters.held`` has all), and
whether ``rerun=True`` was obeyed already.

What cannot leave a process: ``InMemoryTarget`` (nobody but the task that made it finds its content,
unless the run is ``in_process``).
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from flow.structure import flatten


def holds(param: Any) -> bool:
    """Tell whether the values of a parameter are tasks, or lists of them."""
    module = sys.modules.get("gokart.parameter")
    return module is not None and isinstance(
        param, (module.TaskInstanceParameter, module.ListTaskInstanceParameter)
    )


def made(param: Any, tasks: list[Any]) -> Any:
    """Return the value of a parameter that holds these."""
    listed = isinstance(param, sys.modules["gokart.parameter"].ListTaskInstanceParameter)
    return tasks if listed else tasks[0]


def keep_texts() -> None:
    """Have gokart write what it writes of a task once, not once for each task that holds it.

    Ids are hashes of texts that hold the texts of the tasks within, and luigi spells all arguments
    of each call. Where two parameters lead to one task, and so on, the time for that doubles with
    each step. What is written stays the same.
    """
    parameter: Any = sys.modules.get("gokart.parameter")
    task: Any = sys.modules.get("gokart.task")
    if parameter is None or not hasattr(task, "TaskOnKart"):
        return  # it is not there, or being imported
    _keep(parameter.TaskInstanceParameter, "serialize")
    _keep(task.TaskOnKart, "__repr__")


def _keep(cls: Any, name: str) -> None:
    """Let a method that spells a task, its last argument, keep the text with the task."""
    write = getattr(cls, name)
    key = f"_flow_kept_{name}"
    if hasattr(write, key):
        return

    @functools.wraps(write)
    def kept(*args: Any) -> Any:
        task = args[-1]
        text = task.__dict__.get(key)
        if text is None:
            text = write(*args)
            if task.cache_unique_id:  # which is in some of the texts
                task.__dict__[key] = text
        return text

    setattr(kept, key, True)
    setattr(cls, name, kept)


def settle(task: Any) -> None:
    """Take ``rerun=True`` as obeyed: the planner asked ``complete()``, which removed the outputs.

    In another process the first question would remove them again, those of a requirement, which
    were made meanwhile, included.
    """
    seen = set()
    queue = [task]
    for each in queue:
        if id(each) in seen or "_rerun_state" not in getattr(each, "__dict__", ()):
            continue
        seen.add(id(each))
        each._rerun_state = False
        if each.strict_check or each.modification_time_check:
            queue += flatten(each.requires())
