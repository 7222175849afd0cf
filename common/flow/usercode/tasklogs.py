"""What becomes of the ``logging`` of tasks, by ``[logs]`` of the settings.

Every logger comes out, ``luigi-interface`` like a module's own, on the stderr of the attempt. With
nothing set, a program that sets up logging itself (``logging.basicConfig()``) has its way; a
``format`` or ``file`` that is set holds for everything; ``config`` replaces all of it.

This is for user code. The servers' own lines are in ``flow.logs``.
"""

from __future__ import annotations

import configparser
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flow.errors import ConfigError, FlowError

if TYPE_CHECKING:
    from flow.settings.sections import LogsSettings

#: Source: what Luigi writes by default.
PLAIN: Final = "%(levelname)s: %(message)s"
#: Of the settings file for ``logging``; a mistaken path is no config.
CONFIG_BYTES_MAX: Final = 1 << 20


class StderrHandler(logging.Handler):
    """Writes to what ``sys.stderr`` is at the time: a task may close it or put another there."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + "\n"
        except Exception:  # __str__ of what is logged is user code
            self.handleError(record)
            return
        try:
            sys.stderr.write(line)
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            return  # it was closed: what a task logs after that is its loss


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, attempt, and extra fields."""

    _usual = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("FLOW_TOKEN", "FLOW_ATTEMPT"):
            if name in os.environ:
                line[name.removeprefix("FLOW_").lower()] = os.environ[name]
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        extra = {name: value for name, value in vars(record).items() if name not in self._usual}
        try:
            return json.dumps({**extra, **line}, default=str, allow_nan=False)
        except (TypeError, ValueError):  # keys that are no text, circles, __str__ of a user's
            shown = {name: repr(value) for name, value in extra.items()}
            return json.dumps({**shown, **line})


def configure(logs: LogsSettings) -> None:
    """Set up logging of this process.

    Raises:
        ConfigError: A file that the settings name cannot be used.
    """
    if logs.no_configure_logging:
        return
    if logs.config:
        _by_file(Path(logs.config))
        return
    level = logs.level.upper()
    form = JsonFormatter() if logs.format == "json" else logging.Formatter(PLAIN)
    handlers: list[logging.Handler] = [StderrHandler()]
    if logs.file:
        try:
            handlers.append(
                logging.FileHandler(logs.file, encoding="utf-8", errors="backslashreplace")
            )
        except OSError as error:
            hint = "make its folder, or name another"
            raise ConfigError(f"[logs] file: {error}", hint=hint) from None
    for handler in handlers:
        handler.setFormatter(form)
        handler.addFilter(_is_of_a_task)
    root = logging.getLogger()
    root.setLevel(level)
    if len(handlers) == 1 and logs.format == "plain":
        # Python asks this one only where a program has set up none.
        logging.lastResort = handlers[0]
    else:
        root.handlers[:] = handlers


def _is_of_a_task(record: logging.LogRecord) -> bool:
    """Leave out what luigi says of its configuration files when it is imported, in any process."""
    return not (record.name == "luigi-interface" and record.msg == "Loaded %r")


def configure_or_tell(logs: LogsSettings) -> None:
    """Set up logging of a task process; what is wrong is logged, and the tasks still run."""
    try:
        configure(logs)
    except ConfigError as error:
        tell(error)


def tell(error: FlowError) -> None:
    """Log what is wrong with the settings."""
    logging.getLogger("flow").error("%s: %s", error, error.hint)


def check(logs: LogsSettings) -> None:
    """Find out at the start of a worker what would fail in its task processes.

    Raises:
        ConfigError: A file that the settings name cannot be used.
    """
    if logs.config and not logs.no_configure_logging:
        _read(Path(logs.config))
    if logs.file and not Path(logs.file).parent.is_dir():
        raise ConfigError(
            f"[logs] file: there is no folder {Path(logs.file).parent}",
            hint="make it, or name another file",
        )


def _read(path: Path) -> tuple[str, Any]:
    """Read a file for ``dictConfig`` (TOML, JSON) or ``fileConfig`` (anything else)."""
    try:
        with path.open("rb") as file:
            text = file.read(CONFIG_BYTES_MAX + 1).decode()
        if len(text) > CONFIG_BYTES_MAX:
            raise ValueError(f"larger than {CONFIG_BYTES_MAX} bytes")
        if path.suffix == ".json":
            return "dict", json.loads(text)
        if path.suffix == ".toml":
            import tomllib

            return "dict", tomllib.loads(text)
        parser = configparser.RawConfigParser()
        parser.read_string(text)
        return "file", parser
    except (OSError, ValueError, configparser.Error) as error:
        raise ConfigError(f"[logs] config = {path}: {error}", hint="correct it") from None


def _by_file(path: Path) -> None:
    import logging.config

    kind, values = _read(path)
    try:
        if kind == "dict":
            logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, **values})
        else:
            logging.config.fileConfig(values, disable_existing_loggers=False)
    except Exception as error:  # handlers are classes of anybody
        why = error.__cause__ or error
        raise ConfigError(f"[logs] config = {path}: {error}: {why}", hint="correct it") from None
