"""Requirements that ``run()`` finds out about while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flow.structure import flatten, getpaths


class DynamicRequirements:
    """What a ``run()`` generator may yield instead of plain tasks, to say when they are complete.

    Args:
        requirements: Tasks in any nesting of lists, tuples and dicts.
        custom_complete: Called with a function that asks one task; replaces "all are complete".
    """

    def __init__(
        self,
        requirements: Any,
        custom_complete: Callable[[Callable[[Any], bool]], bool] | None = None,
    ) -> None:
        self.requirements = requirements
        self.custom_complete = custom_complete

    @property
    def flat_requirements(self) -> list[Any]:
        """All tasks, in the order they are written."""
        return flatten(self.requirements)

    @property
    def paths(self) -> Any:
        """The targets, in the shape of the requirements: the value of ``yield``."""
        return getpaths(self.requirements)

    def complete(self, complete_fn: Callable[[Any], bool] | None = None) -> bool:
        """Tell whether the generator can go on."""
        ask = complete_fn or (lambda task: bool(task.complete()))
        if self.custom_complete is not None:
            return bool(self.custom_complete(ask))
        return all(ask(task) for task in self.flat_requirements)
