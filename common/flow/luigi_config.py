"""What ``luigi.cfg`` and ``luigi.toml`` say to flow itself, read without importing luigi.

``flow run`` and ``flow.build()`` take the limits of ``[resources]`` from there; what flow's own
settings say about a resource is stronger. Everything else in these files is read by luigi, in the
process that plans or runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Final

#: Weakest first, as luigi reads them.
_FILES: Final = ("/etc/luigi/client.cfg", "/etc/luigi/luigi.cfg", "client.cfg", "luigi.cfg")
_TOML_FILES: Final = ("/etc/luigi/luigi.toml", "luigi.toml")
#: Further files that the program added, for the processes it starts.
ADDED: Final = "FLOW_LUIGI_CONFIG"
_SECTION: Final = "resources"


def inherited() -> dict[str, str]:
    """Return the environment that makes task processes see the same limits and files."""
    variables = {}
    limits = _limits(os.environ)
    if limits:
        from flow.settings import load  # only programs with luigi's limits need both

        known = load().resources
        for name, amount in limits.items():
            if name not in known:
                variables[f"FLOW_RESOURCES__{name}"] = amount
    added = _added()
    if added:
        variables[ADDED] = os.pathsep.join(added)
    return variables


def _limits(env: Mapping[str, str]) -> dict[str, str]:
    path = env.get("LUIGI_CONFIG_PATH")
    more = (path, *_added()) if path else tuple(_added())
    if env.get("LUIGI_CONFIG_PARSER", "cfg") == "toml":
        return _from_toml([*_TOML_FILES, *more])
    return _from_cfg([*_FILES, *more])


def _from_cfg(paths: list[str]) -> dict[str, str]:
    paths = [path for path in paths if os.path.isfile(path)]
    if not paths:
        return {}
    from configparser import ConfigParser, Error  # most directories have none of these files

    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    try:
        parser.read(paths)
    except (Error, UnicodeDecodeError):
        return {}  # luigi says what is wrong, where somebody uses it
    return dict(parser[_SECTION]) if parser.has_section(_SECTION) else {}


def _from_toml(paths: list[str]) -> dict[str, str]:
    import tomllib  # as above

    found: dict[str, Any] = {}
    for path in paths:
        if os.path.isfile(path):
            try:
                with open(path, "rb") as file:
                    found.update(tomllib.load(file).get(_SECTION, {}))
            except (OSError, tomllib.TOMLDecodeError):
                continue  # as above
    return {name: str(amount) for name, amount in found.items()}


def _added() -> list[str]:
    """Return the files that this program added with ``luigi.configuration.add_config_path``."""
    configuration = sys.modules.get("luigi.configuration.core")
    parsers = getattr(configuration, "PARSERS", {}).values()
    known = {*_FILES, *_TOML_FILES, os.environ.get("LUIGI_CONFIG_PATH")}
    paths = [path for parser in parsers for path in parser._config_paths if path not in known]
    return list(dict.fromkeys(os.path.abspath(path) for path in paths))
