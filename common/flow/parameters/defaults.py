"""Where a parameter's value may come from besides the constructor and its own default.

In this order: ``--Family-parameter`` of the command line, whatever was put in with
``add_resolver``, ``[task.Family]`` of the settings, ``[Family]`` of luigi's configuration files,
and the deprecated ``config_path``.
"""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flow.errors import FlowError
from flow.parameters.base import NO_VALUE, Parameter
from flow.parameters.errors import UnconsumedParameterWarning, plain

if TYPE_CHECKING:
    from flow.settings.sections import Settings

#: (family, parameter) -> text to parse, a value to check, or ``NO_VALUE``.
Resolver = Callable[[str, str], Any]

#: Asked in order, the first value wins. Changed in place only.
resolvers: list[Resolver] = []


class Found(NamedTuple):
    """A value, and where it is from as shown to people."""

    value: Any
    source: str


_NOTHING: Final = Found(NO_VALUE, "")
_given: Mapping[str, str] = {}
#: Where the settings of this process were first read, if they were.
_folder: list[str] = []


def add_resolver(resolver: Resolver) -> Callable[[], None]:
    """Ask this resolver before a parameter's own default; returns how to take it out again."""
    resolvers.append(resolver)
    return lambda: resolvers.remove(resolver)


def resolve_default(family: str, name: str, param: Parameter[Any] | None = None) -> Found:
    """Return what command line and settings say about a parameter, or a ``NO_VALUE``.

    Raises:
        ConfigError: Settings cannot be read, or name a variable that is not set.
    """
    if _given:
        text = _given.get(f"{family}_{name}")
        if text is not None:
            return Found(text, f"--{family}-{name}".replace("_", "-"))
    for resolver in resolvers:
        value = resolver(family, name)
        if value is not NO_VALUE:
            return Found(value, "settings")
    text = settings().task_default(family, name)
    if text is not None:
        return Found(text, f"[task.{family}]")
    found = _of_luigi(family, name)
    if found is _NOTHING and param is not None and param.config_path is not None:
        return _of_path(family, name, param.config_path)
    return found


def given() -> Mapping[str, str]:
    """Return what the command line of the run at hand gives to tasks, by ``Family_parameter``."""
    return _given


def give(values: Mapping[str, str]) -> None:
    """Replace ``given``. Called by ``parameters.given`` alone, which drops what others made."""
    global _given
    _given = values


@functools.cache
def settings() -> Settings:
    """Read the settings, once a process, when the first default is looked up.

    What is read again after ``cache_clear`` is what counts in the same folder, wherever the program
    has gone since.

    Raises:
        ConfigError: They cannot be read.
    """
    # not at import: most programs only define tasks
    from pathlib import Path

    from flow.settings import luigi_files
    from flow.settings.sections import load

    if settings.cache_clear not in luigi_files.listeners:
        luigi_files.listeners.append(settings.cache_clear)
    if not _folder:
        _folder.append(os.getcwd())
    return load(cwd=Path(_folder[0]))


def read_now() -> None:
    """Read all of it now, for the processes that are forked from this one.

    What cannot be read is told to who asks for it, with the parameter that it is about.
    """
    for read in (settings, _luigi):
        with contextlib.suppress(FlowError):
            read()


def forget() -> None:
    """Have everything read again when it is next asked for, in what is the current folder then."""
    settings.cache_clear()
    _folder.clear()
    if _luigi.cache_info().currsize:
        from flow.settings import luigi_files

        luigi_files.forget()
    _luigi.cache_clear()


def warn_of_unconsumed(family: str, names: Iterable[str], ignored: Iterable[str]) -> None:
    """Warn of settings of a family that are none of its parameters. Called once a class."""
    known = {*names, *ignored}
    config = _luigi()
    found = dict(settings().task.get(family, {}))
    if config.has_section(family):
        for option in config.own_options(family):
            found.setdefault(option.replace("-", "_"), config.get(family, option))
    for name, value in found.items():
        if name not in known:
            warnings.warn(
                f"The configuration contains the parameter '{name}' with value '{plain(value)}' "
                f"that is not consumed by the task '{family}'.",
                UnconsumedParameterWarning,
                stacklevel=4,
            )


@functools.cache
def _luigi() -> Any:
    from flow.settings import luigi_files  # not at import: most programs only define tasks

    return luigi_files.get_config()


def _of_luigi(section: str, option: str) -> Found:
    config = _luigi()
    if not config.has_section(section) or not config.has_option(section, option):
        return _NOTHING
    return Found(config.get(section, option), f"luigi's configuration [{section}]")


def _of_path(family: str, name: str, path: Mapping[str, str]) -> Found:
    found = _of_luigi(path["section"], path["name"])
    if found is not _NOTHING:
        warnings.warn(
            f"The use of the configuration [{path['section']}] {path['name']} is deprecated. "
            f"Please use [{family}] {name}",
            DeprecationWarning,
            stacklevel=6,
        )
    return found
