"""Where a parameter's value may come from besides the constructor and its own default.

Settings install a resolver here, so that tasks need not know about settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flow.parameters.base import NO_VALUE

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
    return NO_VALUE
