"""Optional packages: imported where they are used, and missed with the line that installs them."""

from __future__ import annotations

import importlib
from typing import Any

from flow.errors import ConfigError

DISTRIBUTION = "flow-workflows"


class MissingExtra(ConfigError, ImportError):
    """A package that only some of flow needs is not installed here."""


def need(module: str, extra: str, what: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: Its importable name.
        extra: The extra of the distribution that brings it.
        what: What of flow needs it, for people.

    Raises:
        MissingExtra: It is not installed; the message ends with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # it is here, but something it needs itself is not
        raise missing(module.partition(".")[0], extra, what) from None


def missing(package: str, extra: str, what: str) -> MissingExtra:
    """Make the error that says what is missing and how it is installed."""
    command = f"pip install '{DISTRIBUTION}[{extra}]'"
    return MissingExtra(f"{what} needs {package}, which is not installed: {command}")
