"""Names of a package that are imported when they are first used, so that importing it is cheap."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any


def member(package: str, homes: Mapping[str, str], name: str, names: dict[str, Any]) -> Any:
    """Import a public name from the module of the package that ``homes`` gives, and keep it.

    ``names`` are the globals of the package. Raises ``AttributeError``.
    """
    home = homes.get(name)
    if home is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value = names[name] = getattr(importlib.import_module(f"{package}.{home}"), name)
    return value


def submodule(package: str, name: str) -> ModuleType:
    """Import a module of the package. Raises ``AttributeError``."""
    full_name = f"{package}.{name}"
    try:
        if not name.startswith("_"):
            return importlib.import_module(full_name)
    except ModuleNotFoundError as error:
        if error.name != full_name:
            raise
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
