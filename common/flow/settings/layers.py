"""Where settings are written: the environment and the files, strongest first, still unchecked."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from flow.errors import ConfigError

FILE_NAME = "flow.toml"
PYPROJECT_NAME = "pyproject.toml"
SYSTEM_FILE = Path("/etc/flow/flow.toml")
PREFIX = "FLOW_"
#: Between section and key in a variable's name; variables without it are not settings.
SEPARATOR = "__"
#: The one setting with a variable name of its own.
COORDINATOR_VARIABLE = "FLOW_COORDINATOR"
#: Bounds a mistaken path such as a device or a data file.
FILE_BYTES_MAX = 1 << 20


class Layer(msgspec.Struct):
    """What one place says: section -> key -> value."""

    source: str  #: as shown to people
    sections: dict[str, Any]
    folder: Path | None = None  #: relative paths in it start here; None: the current directory


def from_environment(env: Mapping[str, str]) -> Layer:
    """Read ``FLOW_COORDINATOR`` and every ``FLOW_SECTION__KEY``; sections and keys in any case.

    Family and parameter of ``FLOW_TASK__Family__parameter`` are spelled exactly. A variable with
    no text says nothing.
    """
    sections: dict[str, Any] = {}
    if env.get(COORDINATOR_VARIABLE):
        sections["core"] = {"coordinator": env[COORDINATOR_VARIABLE]}
    for name in sorted(env):
        if not name.startswith(PREFIX) or SEPARATOR not in name or not env[name]:
            continue
        section, _, key = name.removeprefix(PREFIX).partition(SEPARATOR)
        section = section.lower()
        _check_variable(name, section, key, env[name])
        if section == "task":
            family, _, parameter = key.rpartition(SEPARATOR)
            sections.setdefault(section, {}).setdefault(family, {})[parameter] = env[name]
        elif section == "resources":
            sections.setdefault(section, {})[key] = env[name]
        else:
            sections.setdefault(section, {})[key.lower()] = env[name]
    return Layer("the environment (FLOW_*)", sections)


def _check_variable(name: str, section: str, key: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{name}: {text!r} is not valid UTF-8", hint=f"correct {name}") from None
    family, _, parameter = key.rpartition(SEPARATOR)
    if not key or (section == "task" and not (family and parameter)):
        what = "Family__parameter" if section == "task" else "KEY"
        raise ConfigError(
            f"{name} names no setting", hint=f"spell it {PREFIX}{section.upper()}__{what}"
        )


def from_files(env: Mapping[str, str], cwd: Path, system: Path = SYSTEM_FILE) -> Iterator[Layer]:
    """Read the project's, the user's and the machine's file, as far as they exist."""
    for path in files(env, cwd, system):
        yield _read(path, env)


def files(env: Mapping[str, str], cwd: Path, system: Path = SYSTEM_FILE) -> Iterator[Path]:
    """Yield the files of settings that exist, the strongest first."""
    project = _project_file(cwd)
    if project is not None:
        yield project
    user = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "/")) / ".config")
    yield from (path for path in (user / "flow" / "config.toml", system) if path.is_file())


def project_folder(cwd: Path) -> Path:
    """Return the folder of the project's settings, or ``cwd`` where there are none."""
    found = _project_file(cwd)
    return found.parent if found is not None else cwd


def _project_file(cwd: Path) -> Path | None:
    """Look upwards as far as the repository's root; without a repository, only in ``cwd``.

    Going further would obey files that others may write, such as ``/tmp/flow.toml``.
    """
    folders = [cwd, *cwd.parents]
    root = next((index for index, each in enumerate(folders) if (each / ".git").exists()), 0)
    for folder in folders[: root + 1]:
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
        pyproject = folder / PYPROJECT_NAME
        tools = _parse(pyproject, lenient=True).get("tool") if pyproject.is_file() else None
        if isinstance(tools, dict) and "flow" in tools:
            return pyproject
    return None


def _read(path: Path, env: Mapping[str, str]) -> Layer:
    values = _parse(path)
    source = str(path)
    if path.name == PYPROJECT_NAME:
        values = values["tool"]["flow"]
        source = f"{path} [tool.flow]"
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: tool.flow is not a section", hint="write [tool.flow] above")
    return Layer(source, _interpolated(values, env, source), path.parent)


@functools.lru_cache(maxsize=8)
def _loads(text: bytes) -> dict[str, Any]:
    """Parse once what is read anew for each program; the result is shared: do not change it."""
    import tomllib

    return tomllib.loads(text.decode("utf-8-sig"))


def _parse(path: Path, *, lenient: bool = False) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            raise ValueError(f"larger than {FILE_BYTES_MAX} bytes")
        return _loads(text)
    except (OSError, ValueError) as error:
        # A project file of other tools with a mistake in it is theirs to complain about.
        if lenient:
            return {}
        raise ConfigError(f"{path}: {error}", hint=f"correct {path}") from error


def _interpolated(value: Any, env: Mapping[str, str], source: str, key: str = "") -> Any:
    """Replace ``${NAME}`` in every text; ``$${NAME}`` stays as ``${NAME}``."""
    if isinstance(value, dict):
        inner = f"{key}." if key else ""
        return {
            name: _interpolated(each, env, source, f"{inner}{name}") for name, each in value.items()
        }
    if isinstance(value, list):
        return [_interpolated(each, env, source, key) for each in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    import re

    def replace(match: re.Match[str]) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        if match[1] not in env:
            raise ConfigError(
                f"{source}: {key} = {value!r} names the variable {match[1]}, which is not set",
                hint=f"export {match[1]}=...",
            )
        return env[match[1]]

    return re.sub(r"\$?\$\{([A-Za-z_][A-Za-z0-9_]*)\}", replace, value)


def environment() -> Mapping[str, str]:
    """Return the variables of this process."""
    return os.environ
