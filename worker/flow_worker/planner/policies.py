"""What tasks ask for and how their failures are treated, read once for all that say the same."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import msgspec

from flow.artifacts.marks import has_temporary
from flow.errors import UsageError
from flow.modules import blame
from flow.seam import dialect_of
from flow.task import Task
from flow.wire.messages.shared import Policy
from flow.wire.resources import parse_demand
from flow_worker.process.failure import Complaint, Terminated

_NO_BULK = Task.__dict__["bulk_complete"].__func__


class Policies:
    """The policies of one planning answer; most tasks share a few."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._joined: dict[type[Task], tuple[str, ...]] = {}
        self._silent: dict[type[Task], bool] = {}

    def of(self, task: Task) -> tuple[int, Policy | None]:
        """Return the number of a task's policy, and the policy itself where it is new.

        Raises:
            Complaint: An attribute of the task is impossible; and what its properties raise.
        """
        cls = type(task)
        resources = task.process_resources() or {}
        if not isinstance(resources, Mapping):
            raise _wrong(task, "resources", f"resources = {resources!r:.100} is no dict")
        batched = self._batched(task)
        temporary = self._makes_temporary(task)
        own, task = task, dialect_of(cls).policy(task)
        key = (
            task.priority,
            tuple(resources.items()),
            task.retry_count,
            task.retry_delay,
            task.disable_window,
            task.worker_timeout,
            task.disabled,
            task.on_lost,
            task.accepts_messages,
            task.max_batch_size if batched else 0,
            batched,
            tuple(task.owner_list()) if task.owner_email else (),
            temporary,
            task.disable_hard_timeout,
        )
        try:
            number = self._numbers.get(key)
        except TypeError:  # one of them is a list, say, and that is wrong
            _checked_policy(own, task, resources, batched, temporary)
            raise
        if number is None:
            policy = _checked_policy(own, task, resources, batched, temporary)
            number = self._numbers[key] = len(self._numbers)
            return number, policy
        return number, None

    def _batched(self, task: Task) -> tuple[str, ...]:
        """Name the parameters in which a task may differ from what runs as one with it."""
        cls = type(task)
        names = self._joined.get(cls)
        if names is None:
            names = self._joined[cls] = tuple(cls.batch_param_names())
        return names if names and task.batchable else ()

    def _makes_temporary(self, task: Task) -> bool:
        """Tell whether a task's output has a temporary artifact."""
        if has_temporary(task):
            return True
        cls = type(task)
        silent = self._silent.get(cls)
        if silent is None:
            # What answers by its own means may never have called output().
            own = _own_completeness(cls)
            silent = self._silent[cls] = own and cls.output is not Task.output
        if silent:
            try:
                task.output()
            except Terminated:
                raise
            except Exception:  # user code; nobody asks it otherwise
                return False
        return has_temporary(task)


def _own_completeness(cls: type) -> bool:
    if not issubclass(cls, Task):
        return False
    bulk = getattr(cls.bulk_complete, "__func__", None)
    return cls.complete is not Task.complete or bulk is not _NO_BULK


def _checked_policy(
    own: Task, task: Task, resources: Any, batched: tuple[str, ...], temporary: bool
) -> Policy:
    """Make the policy of a task from ``task``, as its dialect reads it. Raises ``Complaint``."""
    try:
        demand = parse_demand(resources)
    except UsageError as e:
        raise _wrong(own, "resources", str(e)) from e
    values = {
        "priority": _number(task.priority),
        "resources": demand,
        "retry_count": _number(task.retry_count),
        "retry_delay": _number(task.retry_delay),
        "disable_window": _number(task.disable_window),
        "worker_timeout": _number(task.worker_timeout),
        "disabled": bool(task.disabled),
        "on_lost": task.on_lost,
        "accepts_messages": bool(task.accepts_messages),
        "batched": list(batched),
        "max_batch_size": _batch_max(own, task) if batched else 0,
        "owners": [one for one in task.owner_list() if one] if task.owner_email else [],
        "temporary": temporary,
        "disable_hard_timeout": _number(task.disable_hard_timeout),
    }
    try:
        policy = msgspec.convert(list(values.values()), Policy)
    except msgspec.ValidationError as e:
        raise _wrong(own, *_named(e, values)) from e
    for name, value in values.items():
        if isinstance(value, float) and math.isnan(value):
            raise _wrong(own, name, f"{name} = nan: nan is no number")
    if policy.on_lost not in ("retry", "hold"):
        text = f'on_lost must be "retry" or "hold", it is {policy.on_lost!r:.100}'
        raise _wrong(own, "on_lost", text)
    return policy


def _wrong(task: Task, name: str, text: str) -> Complaint:
    """Make the error about an attribute of a task, with the line that declares it."""
    cls: Any = type(task)
    base: Any = dialect_of(cls).task
    if name == "resources" and cls.process_resources is not base.process_resources:
        name = "process_resources"
    where = blame.declared(cls, name) or blame.declared(cls, "__init__")
    return Complaint(f"{task.task_family} has a wrong attribute: {text}", where)


def _number(value: Any) -> Any:
    """Take numbers of numpy and others of their kind for Python's; leave the rest."""
    if isinstance(value, bool) or type(value) in (int, float):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


def _batch_max(own: Task, task: Task) -> Any:
    """Return how many may run as one, 0 for no limit. Luigi's default is infinity, a float."""
    most = task.max_batch_size
    if most is None or most == math.inf:
        return 0
    if isinstance(most, float) and most.is_integer():
        most = int(most)
    if not isinstance(most, int) or most < 1:
        text = f"max_batch_size = {most!r:.100} is no whole number above 0"
        raise _wrong(own, "max_batch_size", text)
    return most


def _named(error: msgspec.ValidationError, values: dict[str, Any]) -> tuple[str, str]:
    """Say which attribute a validation error is about, and what: it knows only its position."""
    what, _, place = str(error).partition(" - at `$[")
    number = place.partition("]")[0]
    if not number.isdecimal():
        return "", what
    name, value = list(values.items())[int(number)]
    return name, f"{name} = {value!r:.100}: {what}"
