"""Every task class there is, under the names it has in Luigi."""

from flow.modules.loading import load_task
from flow.registry import AmbiguousTask as TaskClassAmbigiousException
from flow.registry import Register
from flow.registry import UnknownTask as TaskClassNotFoundException

#: The base of both errors.
TaskClassException = TaskClassNotFoundException

__all__ = [
    "Register",
    "TaskClassAmbigiousException",
    "TaskClassException",
    "TaskClassNotFoundException",
    "load_task",
]
