"""All kinds of parameters and what they raise, under the names they have in Luigi.

Kinds are imported when first used, as in ``flow.parameters``, which has the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flow import parameters

if TYPE_CHECKING:
    from flow.parameters import *  # noqa: F403
    from flow.parameters.optional import OptionalMixin as OptionalParameterMixin

_RENAMED = {
    "OptionalParameterMixin": ("flow.parameters.optional", "OptionalMixin"),
    "_no_value": ("flow.parameters.base", "NO_VALUE"),
}

__all__ = [*parameters.__all__, "OptionalParameterMixin"]


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        import importlib

        module, attribute = _RENAMED[name]
        return getattr(importlib.import_module(module), attribute)
    if name in parameters.__all__:
        return getattr(parameters, name)
    raise AttributeError(f"module 'flow.parameter' has no attribute {name!r}")
