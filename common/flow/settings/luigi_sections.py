"""What luigi's own configuration files say that settings of flow say too, as their weakest place.

Only what has a counterpart counts: limits of resources, retries, mail, logging, exit codes, the
marks of databases.
Parameters of tasks in them are read by ``flow.settings.luigi_files``, the rest by luigi itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from flow.settings import luigi_files
from flow.settings.layers import Layer
from flow.settings.luigi_files import (
    ADDED,
    PARSER_VARIABLE,
    PATH_VARIABLE,
    handed_on,
    standard_paths,
)
from flow.settings.luigi_flags import RETCODES

#: (section, option) of luigi -> (section, key) of flow. Of several for one key the first counts.
_COUNTERPARTS: Final = {
    ("email", "receiver"): ("email", "receiver"),
    ("email", "sender"): ("email", "sender"),
    ("email", "prefix"): ("email", "prefix"),
    ("email", "format"): ("email", "format"),
    ("email", "force_send"): ("email", "force_send"),
    ("email", "traceback_max_length"): ("email", "traceback_characters_max"),
    ("core", "error-email"): ("email", "receiver"),
    ("core", "email-sender"): ("email", "sender"),
    ("core", "email-prefix"): ("email", "prefix"),
    ("core", "email-type"): ("email", "format"),
    ("smtp", "host"): ("smtp", "host"),
    ("smtp", "port"): ("smtp", "port"),
    ("smtp", "username"): ("smtp", "username"),
    ("smtp", "password"): ("smtp", "password"),
    ("smtp", "ssl"): ("smtp", "ssl"),
    ("smtp", "no_tls"): ("smtp", "no_tls"),
    ("smtp", "timeout"): ("smtp", "timeout_s"),
    ("smtp", "local_hostname"): ("smtp", "local_hostname"),
    ("core", "smtp_host"): ("smtp", "host"),
    ("core", "smtp_port"): ("smtp", "port"),
    ("core", "smtp_login"): ("smtp", "username"),
    ("core", "smtp_password"): ("smtp", "password"),
    ("core", "smtp_ssl"): ("smtp", "ssl"),
    ("core", "smtp_without_tls"): ("smtp", "no_tls"),
    ("core", "smtp_timeout"): ("smtp", "timeout_s"),
    ("core", "smtp_local_hostname"): ("smtp", "local_hostname"),
    ("core", "log_level"): ("logs", "level"),
    ("core", "logging_conf_file"): ("logs", "config"),
    ("core", "no_configure_logging"): ("logs", "no_configure_logging"),
    ("scheduler", "retry_count"): ("retry", "count"),
    ("scheduler", "retry_delay"): ("retry", "delay_s"),
    ("scheduler", "disable_window"): ("retry", "disable_window_s"),
    ("scheduler", "disable_hard_timeout"): ("retry", "disable_hard_timeout_s"),
    ("worker", "timeout"): ("retry", "timeout_s"),
    ("worker", "task_process_context"): ("worker", "task_process_context"),
    **{("retcode", name): ("retcode", name) for name in RETCODES},
    ("sqlalchemy", "marker-table"): ("sql", "marker_table"),
    ("redis", "marker-prefix"): ("redis", "marker_prefix"),
}
_RESOURCES: Final = "resources"
_WORDS: Final = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_SWITCHES: Final = ("force_send", "ssl", "no_tls", "no_configure_logging")


def luigi_layer(env: Mapping[str, str], cwd: Path) -> Layer | None:
    """Read the files; None where there is none.

    Raises:
        ConfigError: One of them cannot be read.
    """
    toml = env.get(PARSER_VARIABLE) == "toml"
    here = "" if cwd == Path.cwd() else str(cwd)  # luigi names its files as it finds them
    paths = standard_paths("toml" if toml else "cfg", here)
    paths += [env.get(PATH_VARIABLE, "")]
    paths += [path for path in added_files(env) if path.endswith(".toml") == toml]
    found = [path for path in paths if path and os.path.isfile(path)]
    if not found:
        return None
    config: Any = luigi_files.LuigiTomlParser() if toml else luigi_files.LuigiConfigParser()
    config.load(found)
    sections: dict[str, dict[str, Any]] = {}
    for (section, option), (ours, key) in _COUNTERPARTS.items():
        value = _value(config, section, option)
        if value is not None and value != "":
            sections.setdefault(ours, {}).setdefault(key, _spelled(key, value))
    if config.has_section(_RESOURCES):
        limits = {name: config.get(_RESOURCES, name) for name in config.own_options(_RESOURCES)}
        sections[_RESOURCES] = limits
    # luigi takes paths in them (logging_conf_file) from where the program runs.
    return Layer(" and ".join(found), sections, cwd.absolute())


def added_files(env: Mapping[str, str]) -> list[str]:
    """Return what ``add_config_path`` (of either) added, here or in the program around."""
    configuration = sys.modules.get("luigi.configuration.core")
    parsers = getattr(configuration, "PARSERS", {}).values()
    found = [path for parser in parsers for path in parser._config_paths]
    found += luigi_files.added()
    by_itself = {env.get(PATH_VARIABLE), *standard_paths("cfg"), *standard_paths("toml")}
    here = [os.path.abspath(path) for path in found if path not in by_itself]
    return list(dict.fromkeys([*handed_on(env), *here]))


def inherited() -> dict[str, str]:
    """Return the environment that makes task processes see the files this program added."""
    added = added_files(os.environ)
    return {ADDED: os.pathsep.join(added)} if added else {}


def _value(config: Any, section: str, option: str) -> Any:
    """Look up both spellings, as luigi does."""
    for name in (option.replace("-", "_"), option.replace("_", "-")):
        if config.has_option(section, name):
            return config.get(section, name)
    return None


def _spelled(key: str, value: Any) -> Any:
    if key in _SWITCHES and isinstance(value, str):
        return _WORDS.get(value.lower(), value.lower())
    return value
