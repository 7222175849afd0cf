"""What gokart's ``TaskOnKart`` expects of whoever runs it, beyond what luigi's tasks do.

gokart is looked up, never imported. Two things of it live in instances that luigi hands from the
planning process to its forks, and that other processes do not get: insignificant parameters of
tasks that are parameters (``TaskInstanceParameter`` serialises only significant ones, so a given
``workspace_directory`` or ``rerun`` of theirs would be lost), and whether ``rerun=True`` was
obeyed already.

What cannot leave a process: ``InMemoryTarget`` (nobody but the task that made it finds its content,
unless the run is ``in_process``).
"""

from __future__ import annotations

import bz2
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from flow.structure import flatten

#: What describes a task that is a parameter.
_DESCRIPTION: Final = {"type", "params", "module"}


def wire_text(param: Any, value: Any) -> str | None:
    """Spell a task that is a parameter with all its parameters; None: not such a parameter.

    gokart's own parser reads it, and the id of the task around it stays what gokart makes of it.
    """
    module = sys.modules.get("gokart.parameter")
    if module is None or value is None:
        return None
    if isinstance(param, module.TaskInstanceParameter):
        return _spell(value)
    if isinstance(param, module.ListTaskInstanceParameter):
        return json.dumps([_spell(each) for each in value])
    return None


def import_for(cls: Any, named: Mapping[str, Any]) -> None:
    """Import the modules of the tasks within parameters, so that their families are known."""
    module = sys.modules.get("gokart.parameter")
    if module is None:
        return
    for name, param in cls.get_params():
        text = named.get(name)
        if not isinstance(text, str):
            continue
        if isinstance(param, module.TaskInstanceParameter):
            _import(text)
        elif isinstance(param, module.ListTaskInstanceParameter):
            for each in _read(text, list):
                _import(each)


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


def _spell(task: Any) -> str:
    from flow.dialects import module_of, strings_of  # those ask here

    params = bz2.compress(json.dumps(strings_of(task)).encode()).hex()
    # gokart ignores the module; it is what lets another process find the family.
    return json.dumps({"type": task.get_task_family(), "params": params, "module": module_of(task)})


def _import(text: Any) -> None:
    from flow.loading import load_module  # loading asks dialects

    described = _read(text, dict)
    if described.keys() == _DESCRIPTION:
        load_module(str(described["module"]))
        try:
            inner = bz2.decompress(bytes.fromhex(described["params"])).decode()
        except (TypeError, ValueError, OSError):
            return  # gokart says what is wrong with it
        for value in _read(inner, dict).values():
            _import(value)


def _read(text: Any, kind: type) -> Any:
    if not isinstance(text, str) or text[:1] not in "{[":
        return kind()
    try:
        value = json.loads(text)
    except ValueError:
        return kind()
    if isinstance(value, list) and kind is dict:
        for each in value:
            _import(each)
        return {}
    return value if isinstance(value, kind) else kind()
