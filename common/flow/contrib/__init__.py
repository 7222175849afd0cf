"""Where Luigi keeps what works with other programs, under the same names."""

from __future__ import annotations

from types import ModuleType

from flow.lazy import submodule


def __getattr__(name: str) -> ModuleType:
    """Import a module of this package when it is first named: ``flow.contrib.external_program``."""
    return submodule(__name__, name)
