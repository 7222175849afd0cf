"""Parameters that hold a task class, or a task."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flow import registry
from flow.parameters.base import Parameter, T
from flow.parameters.errors import not_initialized, shown
from flow.parameters.parts import Made

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from flow.task import Task

    TaskT = TypeVar("TaskT", bound=Task, default=Task)
else:
    TaskT = T

_MEMBERS = ("module", "family", "params")


class TaskParameter(Parameter["type[TaskT]"]):
    """A task class, written as its family.

    Another process knows a class only once something imported its module; where nothing that the
    task's own module imports does that, use ``TaskInstanceParameter``, which names the module.
    """

    what = "a task class, expected the name of its family"
    exact_type = None
    ambiguous = False
    holds_tasks = True

    def parse(self, text: str) -> Any:
        return registry.find(text)

    def serialize(self, value: Any) -> str:
        return str(None if value is None else value.get_task_family())

    def normalize(self, value: Any) -> Any:
        if isinstance(value, registry.Register):
            return value
        if isinstance(value, str):
            return self.parse(value)
        raise self.reject(value)


class TaskInstanceParameter(Parameter[TaskT]):
    """A task with its parameters, as a value of another task.

    The identity of that task counts for the identity of this one. As text it is JSON with
    ``module``, ``family`` and ``params``, so that any process can make it again; of one that holds
    tasks itself, a list with each of them once (``flow.parameters.held``).
    """

    what = 'a task, expected JSON with "module", "family" and "params"'
    exact_type = None
    # Tasks that differ only in what is not significant are equal, but not the same.
    ambiguous = True
    holds_tasks = True
    #: asked of the class itself: another one may write it otherwise
    holds_one_task = True

    def read(self, text: Any) -> Any:
        if isinstance(text, Made):
            return self.accept(text.tasks[0])
        return super().read(text)

    def parse(self, text: str) -> Any:
        from flow.modules.loading import load_task  # most programs never read a task from text
        from flow.parameters import held

        if held.is_written(text):
            return held.read(text)[0]
        try:
            named = json.loads(text)
        except ValueError:
            raise self.reject(text) from None
        if not isinstance(named, dict) or sorted(named) != sorted(_MEMBERS):
            raise self.reject(text)
        module, family, params = (named[key] for key in _MEMBERS)
        texts = [module, family, *params.values()] if isinstance(params, dict) else [None]
        if not all(isinstance(each, str) for each in texts):
            raise self.reject(text)
        return load_task(module, family, params)

    def serialize(self, value: Any) -> str:
        if value is None:
            return str(None)
        from flow.parameters import held
        from flow.seam import dialect_of, module_of

        if dialect_of(type(value)).parts(value).held:
            return held.write([value])
        members = (module_of(value), value.task_family, value.to_str_params())
        return json.dumps(dict(zip(_MEMBERS, members, strict=True)), separators=(",", ":"))

    def identify(self, value: Any, text: str) -> str:
        return text if value is None else str(value.task_id)

    def normalize(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, registry.Register):
            raise ValueError(f"{shown(value)} is a class, not a task: call it with its parameters")
        if not isinstance(type(value), registry.Register):
            raise self.reject(value)
        if not value.initialized():
            raise not_initialized(type(value))
        return value
