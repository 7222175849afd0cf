"""Where Luigi keeps its tools: ``flow.tools.range``, ``flow.tools.deps``."""

from __future__ import annotations

from types import ModuleType

from flow.lazy import submodule


def __getattr__(name: str) -> ModuleType:
    """Import a module of this package when it is first named: ``flow.tools.range``."""
    return submodule(__name__, name)
