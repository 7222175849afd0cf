"""Tasks that take over the parameters of others: ``inherits``, ``requires``, ``common_params``."""

from __future__ import annotations

from typing import Any, TypeVar

from flow.registry import Register

_Cls = TypeVar("_Cls", bound=type)


class inherits:
    """Give a task class the parameters of other classes, where it has none of that name.

    The class also gets ``clone_parents()``, which makes the tasks it inherits from with its own
    values: a list, or a dict for classes given by name. Classes given by position add
    ``clone_parent()``, which makes the first.

    Raises:
        TypeError: No class is given, or some by position and others by name.
    """

    def __init__(self, *tasks_to_inherit: Any, **kw_tasks_to_inherit: Any) -> None:
        if not tasks_to_inherit and not kw_tasks_to_inherit:
            raise TypeError(f"@{type(self).__name__} needs at least one task class")
        if tasks_to_inherit and kw_tasks_to_inherit:
            raise TypeError(
                f"@{type(self).__name__} takes task classes by position or by name, not both"
            )
        for each in (*tasks_to_inherit, *kw_tasks_to_inherit.values()):
            if not isinstance(each, Register):
                raise TypeError(f"@{type(self).__name__} takes task classes, not {each!r:.100}")
        self.tasks_to_inherit = tasks_to_inherit
        self.kw_tasks_to_inherit = kw_tasks_to_inherit

    def __call__(self, task_that_inherits: _Cls) -> _Cls:
        """Add to the class, and return it."""
        taken: Any = task_that_inherits
        for source in self.tasks_to_inherit or self.kw_tasks_to_inherit.values():
            for name, param in source.get_params():
                if not hasattr(taken, name):
                    setattr(taken, name, param)
        if self.tasks_to_inherit:
            taken.clone_parent, taken.clone_parents = _cloners(self.tasks_to_inherit)
        else:
            taken.clone_parents = _cloner_by_name(self.kw_tasks_to_inherit)
        return task_that_inherits


class requires(inherits):
    """Like ``inherits``; and ``requires()`` returns the tasks: the one, a list, or a dict."""

    def __call__(self, task_that_requires: _Cls) -> _Cls:
        """Add to the class, and return it."""
        cls: Any = super().__call__(task_that_requires)
        single = len(self.tasks_to_inherit) == 1

        def requires(task: Any) -> Any:
            return task.clone_parent() if single else task.clone_parents()

        cls.requires = requires
        return task_that_requires


def common_params(task_instance: Any, task_cls: Any) -> dict[str, Any]:
    """Return the values of a task for those parameters which a class has too.

    Raises:
        TypeError: ``task_cls`` is no task class.
    """
    if not isinstance(task_cls, Register):
        raise TypeError(f"task_cls must be a task class, it is {task_cls!r:.100}")
    theirs: Any = task_cls
    values = task_instance.param_kwargs
    return {
        name: param.accept(values[name]) for name, param in theirs.get_params() if name in values
    }


def _cloners(classes: tuple[Any, ...]) -> tuple[Any, Any]:
    def clone_parent(task: Any, **kwargs: Any) -> Any:
        """Make the task this one inherits from, the first of several."""
        return task.clone(cls=classes[0], **kwargs)

    def clone_parents(task: Any, **kwargs: Any) -> list[Any]:
        """Make all tasks this one inherits from."""
        return [task.clone(cls=cls, **kwargs) for cls in classes]

    return clone_parent, clone_parents


def _cloner_by_name(classes: dict[str, Any]) -> Any:
    def clone_parents(task: Any, **kwargs: Any) -> dict[str, Any]:
        """Make all tasks this one inherits from, by name."""
        return {name: task.clone(cls=cls, **kwargs) for name, cls in classes.items()}

    return clone_parents
