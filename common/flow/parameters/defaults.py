"""Where a parameter's value may come from besides the constructor and its own default.

``[task.FAMILY]`` of the settings is asked last; others may be put before it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flow.parameters.base import NO_VALUE

if TYPE_CHECKING:
    from flow.settings import Settings

#: (family, parameter) -> text to parse, a value to check, or ``NO_VALUE``.
Resolver = Callable[[str, str], Any]

#: Asked in order, the first value wins. Changed in place only.
resolvers: list[Resolver] = []


def add_resolver(resolver: Resolver) -> Callable[[], None]:
    """Ask this resolver before a parameter's own default; returns how to take it out again."""
    resolvers.append(resolver)
    return lambda: resolvers.remove(resolver)


def resolve_default(family: str, name: str) -> Any:
    """Return what settings say about a parameter, or ``NO_VALUE``."""
    for resolver in resolvers:
        value = resolver(family, name)
        if value is not NO_VALUE:
            return value
    text = settings().task_default(family, name)
    return NO_VALUE if text is None else text


@functools.cache
def settings() -> Settings:
    """Read the settings, once a process, when the first default is looked up.

    Raises:
        ConfigError: They cannot be read.
    """
    from flow.settings import load  # not at import: most programs only define tasks

    return load()
