"""Settings of all three programs: flag > FLOW_* > flow.toml > user > machine > luigi > default.

One file for all of them, each section one type here. Every place is checked by itself, so that a
mistake is reported with the file and the key it is in, also when something stronger hides it.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from flow.errors import ConfigError, UsageError
from flow.settings.layers import SYSTEM_FILE, Layer, environment, from_environment, from_files
from flow.settings.luigi_sections import luigi_layer

if TYPE_CHECKING:
    from flow.wire.messages.shared import Timing

DEFAULT_ADDRESS = "tcp://127.0.0.1:5570"
ROOT_STATE_DIR = Path("/var/lib/flow")
#: Bounds of the timing, on which rule W3 rests.
MARGIN_S_MIN = 1.0
HEARTBEAT_S_MIN = 0.2
HEARTBEATS_A_LEASE_MIN = 4
#: What people can have meant by an unknown key: difflib's similarity, 0..1.
SUGGESTION_SIMILARITY = 0.5

Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]
ExitStatus = Annotated[int, Meta(ge=0, le=255)]
CountFromOne = Annotated[int, Meta(ge=1)]


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every section."""


class CoreSettings(Section, frozen=True):
    """``[core]``: what commands and workers need to know."""

    coordinator: str = DEFAULT_ADDRESS
    project: str = "default"
    #: runs end what the code that planned them cannot run any more, instead of using other code
    strict_code: bool = False
    code_dir: str = ""  #: packed and sent along by ``flow submit``; empty: workers have the code


class CoordinatorSettings(Section, frozen=True):
    """``[coordinator]``"""

    bind: str = DEFAULT_ADDRESS
    state_dir: str = ""  #: empty: see ``Settings.state_path``
    lease_profile: Literal["default", "fast", "hpc"] = "default"
    #: single values on top of the profile
    heartbeat_s: Seconds | None = None
    lease_s: Seconds | None = None
    kill_s: Seconds | None = None
    margin_s: Seconds | None = None
    extend_s: Seconds = 300.0  #: promised to workers at a planned restart
    external_check_s: Annotated[float, Meta(gt=0)] = 60.0
    #: ended runs kept in the store: as long as one is, its submission is not taken for a new one
    history_runs_max: Count = 1000
    packages_bytes_max: Count = 2 << 30  #: of packed code; what no open run needs goes


class WorkerSettings(Section, frozen=True):
    """``[worker]``"""

    slots: Count = 0  #: 0: one per CPU of this worker
    resources: dict[str, float] = {}
    path: list[str] = []  #: folders to import task modules from
    name: str = ""  #: empty: the host's name
    log_dir: str = ""
    drain_grace_s: Seconds = 0.0  #: 0: as long as the running tasks take
    planners: CountFromOne = 1
    runner_tasks_max: CountFromOne = 10_000
    runner_memory_max: Count = 0  #: bytes, or text such as "2GiB"; 0: no bound
    fork: Literal["auto", "never"] = "auto"  #: never: each task process imports for itself
    #: code: a run may use what an earlier one of equal code, settings and values has imported
    reuse: Literal["run", "code"] = "run"
    import_timeout_s: Annotated[float, Meta(gt=0)] = 600.0  #: an import that takes longer is killed
    packages_bytes_max: Count = 2 << 30  #: of unpacked code; what no program uses goes
    environments_bytes_max: Count = 10 << 30  #: of what that code requires, installed
    yields_max: CountFromOne = 10_000_000  #: of one run(): what yields more is taken for endless
    task_process_context: str = ""  #: dotted class whose instances stand around every run()


class RetrySettings(Section, frozen=True):
    """``[retry]``: for tasks whose class says nothing."""

    count: CountFromOne = 1  #: failed attempts that end a task
    delay_s: Seconds = 1.0
    delay_max_s: Seconds = 900.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.2  #: share of a delay that is random
    disable_window_s: Seconds = 3600.0
    disable_hard_timeout_s: Seconds | None = None  #: since the first failure; None: no limit
    crash_max: CountFromOne = 3
    timeout_s: Seconds = 0.0  #: of one attempt; 0: none


class EmailSettings(Section, frozen=True):
    """``[email]``: mail about tasks that failed for good, sent by the coordinator."""

    receiver: str = ""  #: addresses, separated by commas; a task's ``owner_email`` gets it as well
    sender: str = ""  #: empty: flow@ and the host's name
    prefix: str = ""  #: of every subject
    format: Literal["plain", "html", "none"] = "plain"  #: none: no mail
    force_send: bool = False  #: also for ``flow run`` on a terminal
    failures_max: CountFromOne = 20  #: described in one mail; of others it has the number
    traceback_characters_max: Count = 5000
    interval_s: Seconds = 10.0  #: without a further failure, before a run is mailed about
    interval_max_s: Seconds = 900.0  #: between two mails of a run to one address, which grows


class SmtpSettings(Section, frozen=True):
    """``[smtp]``: the server that takes mail."""

    host: str = "localhost"
    port: Annotated[int, Meta(ge=0, le=65535)] = 0  #: 0: 25, or 465 with ``ssl``
    username: str = ""
    password: str = ""  #: better from FLOW_SMTP__PASSWORD, or a file
    password_file: str = ""
    ssl: bool = False  #: encrypted from the first byte
    no_tls: bool = False  #: no STARTTLS, even if the server offers it
    verify: bool | None = None  #: of the server's certificate; None: if a password is sent
    timeout_s: Annotated[float, Meta(gt=0)] = 10.0
    local_hostname: str = ""  #: how this host introduces itself; empty: by its name


class StorageSettings(Section, frozen=True):
    """``[storage]``: where ``task.artifact()`` puts what tasks make."""

    #: A directory or any fsspec URL, the same for all hosts; empty: ``artifacts`` in the
    #: project's folder, where ``flow.toml`` is, or in the current one; only this host sees that.
    root: str = ""


class LogsSettings(Section, frozen=True):
    """``[logs]``: what tasks log; see ``flow.usercode.tasklogs``."""

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    format: Literal["plain", "json"] = "plain"
    file: str = ""  #: gets every line as well, of all task processes of a host
    config: str = ""  #: a file for ``logging.config``: .toml or .json (dict), or .ini
    no_configure_logging: bool = False  #: leave it as Python has it


class RetcodeSettings(Section, frozen=True):
    """``[retcode]``: what commands exit with, if not with flow's own codes. Luigi's names."""

    unhandled_exception: ExitStatus | None = None
    missing_data: ExitStatus | None = None
    task_failed: ExitStatus | None = None
    scheduling_error: ExitStatus | None = None
    not_run: ExitStatus | None = None


class SqlSettings(Section, frozen=True):
    """``[sql]``: targets in databases."""

    marker_table: str = "table_updates"  #: says which loads are complete


class RedisSettings(Section, frozen=True):
    """``[redis]``: targets in Redis."""

    marker_prefix: str = "luigi"  #: of the keys; what Luigi marked counts


class Settings(Section, frozen=True):
    """Everything, checked, with where each value came from."""

    core: CoreSettings = CoreSettings()
    coordinator: CoordinatorSettings = CoordinatorSettings()
    worker: WorkerSettings = WorkerSettings()
    retry: RetrySettings = RetrySettings()
    storage: StorageSettings = StorageSettings()
    logs: LogsSettings = LogsSettings()
    email: EmailSettings = EmailSettings()
    smtp: SmtpSettings = SmtpSettings()
    retcode: RetcodeSettings = RetcodeSettings()
    sql: SqlSettings = SqlSettings()
    redis: RedisSettings = RedisSettings()
    resources: dict[str, float] = {}
    task: dict[str, dict[str, str]] = {}
    sources: dict[str, str] = {}  #: "section.key" -> place, for values that are not defaults

    def source(self, key: str) -> str:
        """Say in words where ``"section.key"`` came from."""
        return self.sources.get(key, "the default")

    def task_default(self, family: str, parameter: str) -> str | None:
        """Return the text of ``[task.FAMILY] parameter``, to be parsed, or None."""
        return self.task.get(family, {}).get(parameter)

    def timing(self) -> Timing:
        """Return the lease timing: the profile with single values on top.

        Raises:
            ConfigError: It breaks a bound of the protocol's timing.
        """
        from flow.wire.messages.shared import Timing

        profile = {
            "default": Timing(),
            "fast": Timing(heartbeat_s=1.0, lease_s=10.0, kill_s=2.0, margin_s=1.0),
            "hpc": Timing(heartbeat_s=10.0, lease_s=300.0, kill_s=15.0, margin_s=10.0),
        }[self.coordinator.lease_profile]
        single = {
            name: value
            for name in ("heartbeat_s", "lease_s", "kill_s", "margin_s")
            if (value := getattr(self.coordinator, name)) is not None
        }
        return check_timing(msgspec.structs.replace(profile, **single))

    def state_path(self, env: Mapping[str, str] | None = None) -> Path:
        """Name the state directory: as set, else the platform's place for this user."""
        if self.coordinator.state_dir:
            return Path(self.coordinator.state_dir)
        if os.geteuid() == 0:
            return ROOT_STATE_DIR
        env = environment() if env is None else env
        home = Path(env.get("XDG_STATE_HOME") or Path(env.get("HOME", "/")) / ".local" / "state")
        return home / "flow"

    def prepare_state_path(self, env: Mapping[str, str] | None = None) -> Path:
        """Name the state directory and make the folders above the platform's default.

        Above one that somebody named nothing is made: a missing parent is a typo or a volume that
        is not mounted, and the store refuses it.
        """
        path = self.state_path(env)
        if not self.coordinator.state_dir:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"state directory {path} cannot be created: {error.strerror}",
                    hint="name one that can be written with --state-dir",
                ) from error
        return path


def check_timing(timing: Timing) -> Timing:
    """Return the timing if the protocol holds with it; else raise ``ConfigError``."""
    beats = HEARTBEATS_A_LEASE_MIN * timing.heartbeat_s
    if timing.heartbeat_s < HEARTBEAT_S_MIN:
        wrong = f"heartbeat_s is {timing.heartbeat_s:g}, at least {HEARTBEAT_S_MIN:g} is needed"
    elif timing.margin_s < MARGIN_S_MIN:
        wrong = f"margin_s is {timing.margin_s:g}, at least {MARGIN_S_MIN:g} is needed"
    elif timing.lease_s <= timing.kill_s + beats:
        wrong = (
            f"lease_s is {timing.lease_s:g}, but must be more than kill_s + "
            f"{HEARTBEATS_A_LEASE_MIN} x heartbeat_s = {timing.kill_s + beats:g}"
        )
    else:
        return timing
    raise ConfigError(
        f"lease timing: {wrong}",
        hint='set lease_profile = "default", "fast" or "hpc" in [coordinator], or other values',
    )


def load(
    flags: Mapping[str, object] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    system: Path = SYSTEM_FILE,
) -> Settings:
    """Read every place and merge them, key by key.

    ``flags`` maps ``"section.key"`` to a value, or to None where the flag was not given.

    Raises:
        ConfigError: Something in one of them is unknown or impossible.
    """
    env = environment() if env is None else env
    layers = [_from_flags(flags or {}), from_environment(env)]
    folder = (cwd or Path.cwd()).absolute()
    layers.extend(from_files(env, folder, system))
    of_luigi = luigi_layer(env, folder)
    if of_luigi is not None:
        layers.append(of_luigi)
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in reversed(layers):
        for section, values in _checked(layer).items():
            if section == "task":
                for family, parameters in values.items():
                    merged.setdefault("task", {}).setdefault(family, {}).update(parameters)
            else:
                merged.setdefault(section, {}).update(values)
                sources.update({f"{section}.{key}": layer.source for key in values})
    return msgspec.convert({**merged, "sources": sources}, Settings, strict=False)


def _from_flags(flags: Mapping[str, object]) -> Layer:
    sections: dict[str, Any] = {}
    for name, value in flags.items():
        section, _, key = name.partition(".")
        if value is not None:
            sections.setdefault(section, {})[key] = value
    return Layer("the command line", sections)


def _checked(layer: Layer) -> dict[str, dict[str, Any]]:
    """Return the sections of one place with texts made values, or raise naming the key."""
    _refuse_unknown(layer, "section", layer.sections, set(_fields(Settings)) - {"sources"})
    return {name: _checked_section(layer, name, raw) for name, raw in layer.sections.items()}


def _checked_section(layer: Layer, name: str, raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ConfigError(f"{layer.source}: {name} is not a section", hint=f"write [{name}] above")
    if name == "task":
        found: dict[str, Any] = {}
        for family, each in raw.items():
            _add_family(found, layer, family, each)
        return found
    if name == "resources":
        return {key: _amount(layer, f"[resources] {key}", value) for key, value in raw.items()}
    kind = _fields(Settings)[name]
    _refuse_unknown(layer, f"key in [{name}]", raw, set(_fields(kind)))
    values = {key: _prepared(layer, name, key, value) for key, value in raw.items()}
    for key, value in values.items():
        where = f"{layer.source}: [{name}] {key}"
        if isinstance(value, str) and value.lower() in ("nan", "inf", "-inf"):
            value = math.nan
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where}: expected a finite number", hint="correct it there")
        try:
            section = msgspec.convert({key: value}, kind, strict=False)
        except msgspec.ValidationError as error:
            text = str(error).partition(" - at")[0]
            got = "something else" if key == "password" else repr(value)
            raise ConfigError(f"{where}: {text}, got {got}", hint="correct it there") from None
        values[key] = getattr(section, key)
    return values


def _prepared(layer: Layer, section: str, key: str, value: Any) -> Any:
    """Turn the texts that have a form of their own into what the section's type says."""
    where = f"[{section}] {key}"
    if (section, key) == ("worker", "resources"):
        if isinstance(value, str):
            return _pairs(layer, where, value)
        if isinstance(value, dict):
            return {name: _amount(layer, f"{where} {name}", each) for name, each in value.items()}
    if (section, key) == ("worker", "runner_memory_max") or key.endswith("_bytes_max"):
        return int(_amount(layer, where, value))
    if (section, key) == ("worker", "path"):
        parts = value.split(os.pathsep) if isinstance(value, str) else value
        if isinstance(parts, (list, tuple)):
            return [_path(layer, part) for part in parts if part]
    if (section, key) == ("storage", "root") and isinstance(value, str) and "://" in value:
        return value
    if (section, key) in (("logs", "level"), ("email", "format")) and isinstance(value, str):
        return value.lower()
    files = key in ("file", "config") and section == "logs"
    if (files or key in ("state_dir", "log_dir", "root", "password_file", "code_dir")) and value:
        return _path(layer, value)
    if key in ("coordinator", "bind") and isinstance(value, str) and "://" not in value:
        return f"tcp://{value}"
    return value


def _path(layer: Layer, text: Any) -> Any:
    """Start a relative path where it was written: at its file, else in the current directory."""
    if not isinstance(text, (str, Path)):
        return text
    path = Path(text).expanduser()
    return str(layer.folder / path if layer.folder else path.absolute())


def _amount(layer: Layer, where: str, value: Any) -> float:
    from flow.wire.resources import parse_amount

    try:
        return parse_amount(where, value)
    except UsageError as error:
        raise ConfigError(f"{layer.source}: {error}", hint="correct it there") from None


def _pairs(layer: Layer, where: str, text: str) -> dict[str, float]:
    from flow.wire.resources import parse_pairs

    try:
        return parse_pairs(text)
    except UsageError as error:
        raise ConfigError(f"{layer.source}: {where}: {error}", hint="correct it there") from None


def _add_family(found: dict[str, dict[str, str]], layer: Layer, family: str, values: Any) -> None:
    """Read ``[task.Family]``; TOML makes ``[task.space.Family]`` a map inside ``[task.space]``."""
    found.setdefault(family, {}).update(_task_texts(layer, family, values))
    for name, value in values.items():
        if isinstance(value, dict):
            _add_family(found, layer, f"{family}.{name}", value)


def _task_texts(layer: Layer, family: str, values: Any) -> dict[str, str]:
    if not isinstance(values, dict):
        raise ConfigError(
            f"{layer.source}: [task] {family} is not a section",
            hint=f"write [task.{family}] above its parameters",
        )
    return {name.replace("-", "_"): _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    """Spell a TOML value as it would be typed on a command line."""
    if isinstance(value, str):
        return value
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    import json

    return json.dumps(value, default=_text)


@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def _refuse_unknown(layer: Layer, what: str, given: Mapping[str, Any], known: set[str]) -> None:
    for name in given:
        if name in known:
            continue
        import difflib

        close = difflib.get_close_matches(name, sorted(known), 1, SUGGESTION_SIMILARITY)
        raise ConfigError(
            f"{layer.source}: unknown {what}: {name!r}",
            hint=f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}",
        )
