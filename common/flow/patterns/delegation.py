"""Tasks whose ``run()`` is made of others': ``copies`` and ``delegates``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from flow.patterns.inheritance import requires
from flow.registry import wrapped
from flow.task import flatten

_Cls = TypeVar("_Cls", bound=type)


class copies:
    """Make a task class require another and copy its only input to its only output, by lines."""

    def __init__(self, task_to_copy: Any) -> None:
        self.requires_decorator = requires(task_to_copy)

    def __call__(self, task_that_copies: _Cls) -> _Cls:
        """Return a subclass of the same name that copies."""
        original: Any = self.requires_decorator(task_that_copies)

        def run(task: Any) -> None:
            source, copy = task.input(), task.output()
            with source.open("r") as lines, copy.open("w") as out:
                for line in lines:
                    out.write(line)

        return wrapped(original, {"run": run})  # type: ignore[no-any-return]


def delegates(task_that_delegates: _Cls) -> _Cls:
    """Make a task class run its ``subtasks()`` within its own attempt, before its own ``run()``.

    The subtasks are not planned; what they require, this task requires. Unlike in Luigi a ``run()``
    that is a generator works, a subtask's as well as the task's own.

    Raises:
        AttributeError: The class has no ``subtasks()``.
    """
    original: Any = task_that_delegates
    if not hasattr(original, "subtasks"):
        raise AttributeError(f'{original} needs to implement the method "subtasks"')

    def deps(task: Any) -> list[Any]:
        subtasks = flatten(task.subtasks())
        return flatten(task.requires()) + flatten([each.deps() for each in subtasks])

    def run(task: Any) -> Any:
        steps = [each.run for each in flatten(task.subtasks())]
        return _in_turn([*steps, lambda: original.run(task)])

    return wrapped(original, {"deps": deps, "run": run})  # type: ignore[no-any-return]


def _in_turn(steps: Sequence[Callable[[], Any]]) -> Any:
    """Call all; from the first that is a generator on, the result is one."""
    for at, step in enumerate(steps, start=1):
        result = step()
        if hasattr(result, "send"):
            return _go_on(result, steps[at:])
    return None


def _go_on(first: Any, rest: Sequence[Callable[[], Any]]) -> Iterator[Any]:
    yield from first
    for step in rest:
        result = step()
        if hasattr(result, "send"):
            yield from result
