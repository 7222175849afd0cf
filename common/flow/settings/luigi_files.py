"""luigi's own configuration files, for pipelines that come with one.

``luigi.cfg`` (or ``luigi.toml`` with ``LUIGI_CONFIG_PARSER=toml``), the machine's file in
``/etc/luigi`` and the one that ``LUIGI_CONFIG_PATH`` names; the last one that has an option wins.
A section named like a task family gives that task's parameters their defaults, behind
``[task.Family]`` of flow's settings; ``[resources]`` holds limits for ``flow run``. Of the sections
that configure luigi itself (``[core]``, ``[worker]``, ``[scheduler]``, ``[retcode]``, ...) counts
what flow has a setting for: see ``flow.settings.luigi_sections``.
"""

from __future__ import annotations

import configparser
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final

from flow.errors import ConfigError

#: Where luigi looks: which files, and others that the environment names.
PARSER_VARIABLE: Final = "LUIGI_CONFIG_PARSER"
PATH_VARIABLE: Final = "LUIGI_CONFIG_PATH"
_SYSTEM_FOLDER: Final = "/etc/luigi"
_NAMES: Final = {"cfg": ("client.cfg", "luigi.cfg"), "toml": ("luigi.toml",)}
#: Names further files to the processes that a program starts.
ADDED: Final = "FLOW_LUIGI_CONFIG"
DEFAULT_PARSER: Final = "cfg"
_NO_DEFAULT: Final = object()


def standard_paths(parser: str, folder: str = "") -> list[str]:
    """Return the files luigi looks for by itself, weakest first; no ``folder``: the current one."""
    return [
        os.path.join(place, name) for place in (_SYSTEM_FOLDER, folder) for name in _NAMES[parser]
    ]


def handed_on(env: Mapping[str, str]) -> list[str]:
    """Return the files that the program added which started this process."""
    return [path for path in env.get(ADDED, "").split(os.pathsep) if path]


class InterpolationMissingEnvvarError(ConfigError, configparser.InterpolationError):
    """An option names an environment variable that is not set."""

    def __init__(self, option: str, section: str, value: str, variable: str, path: str) -> None:
        configparser.InterpolationError.__init__(
            self,
            option,
            section,
            f"{path}: [{section}] {option} = {value!r} names the variable {variable}, which is not "
            "set",
        )
        self.hint = f"export {variable}=..."


class _Interpolation(configparser.BasicInterpolation):
    """``%(option)s`` first, then ``${VARIABLE}`` of the environment."""

    def before_get(self, parser: Any, section: str, option: str, value: str, defaults: Any) -> str:
        import re

        text = super().before_get(parser, section, option, value, defaults)

        def variable(found: re.Match[str]) -> str:
            if found[1] not in os.environ:
                path = parser.origin(section, option)
                raise InterpolationMissingEnvvarError(option, section, text, found[1], path)
            return os.environ[found[1]]

        return re.sub(r"\$\{([^}]+)\}", variable, text)


class _Singleton:
    """What luigi's parsers offer as classes."""

    @classmethod
    def instance(cls) -> Any:
        """Return what the files say, read once a process."""
        return _instance(cls)

    @classmethod
    def add_config_path(cls, path: str) -> bool:
        """Read one more file, as the function of this name, whatever its ending says."""
        return _add(cls, path)


class LuigiConfigParser(_Singleton, configparser.ConfigParser):
    """What ``luigi.cfg`` says. Option names keep their case; dashes in them are deprecated."""

    paths: ClassVar[list[str]] = standard_paths("cfg")

    def __init__(self) -> None:
        super().__init__(interpolation=_Interpolation())
        self._origins: dict[tuple[str, str], str] = {}

    def optionxform(self, optionstr: str) -> str:
        """Keep names as they are written."""
        return optionstr

    def load(self, paths: Iterable[str]) -> None:
        """Read files, the strongest last. Raises ``ConfigError`` for one that is none."""
        for path in paths:
            if os.path.basename(path) == "client.cfg" and os.path.exists(path):
                warnings.warn(f"{path}: rename it to luigi.cfg", DeprecationWarning, stacklevel=3)
            before = {name: dict(self._options(name)) for name in self.sections()}
            try:
                self.read(path)
            except (configparser.Error, UnicodeDecodeError) as error:
                raise ConfigError(f"{path}: {error}", hint=f"correct {path}") from error
            for section in self.sections():
                for option, text in self._options(section):
                    if before.get(section, {}).get(option, _NO_DEFAULT) != text:
                        self._origins[section, option] = path

    def origin(self, section: str, option: str) -> str:
        """Say which file an option is from."""
        return self._origins.get((section, option), "luigi.cfg")

    def get(  # type: ignore[override]
        self, section: str, option: str, default: Any = _NO_DEFAULT, **kwargs: Any
    ) -> Any:
        """Return an option as text, interpolated; ``default`` where there is none."""
        return self._with_default(super().get, section, option, default, kwargs)

    def getint(self, section: str, option: str, default: Any = _NO_DEFAULT, **kwargs: Any) -> Any:
        """Return an option as a whole number."""
        return self._with_default(super().getint, section, option, default, kwargs)

    def getfloat(self, section: str, option: str, default: Any = _NO_DEFAULT, **kwargs: Any) -> Any:
        """Return an option as a number."""
        return self._with_default(super().getfloat, section, option, default, kwargs)

    def getboolean(
        self, section: str, option: str, default: Any = _NO_DEFAULT, **kwargs: Any
    ) -> Any:
        """Return an option as true or false."""
        return self._with_default(super().getboolean, section, option, default, kwargs)

    def getintdict(self, section: str) -> dict[str, int]:
        """Return a whole section of numbers; none where there is no such section."""
        if not self.has_section(section):
            return {}
        numbers = {}
        for name in self.own_options(section):
            text = self.get(section, name)
            try:
                numbers[name] = int(text)
            except ValueError:
                raise ConfigError(
                    f"{self.origin(section, name)}: [{section}] {name} = {text!r} is not a whole "
                    "number",
                    hint="correct it there",
                ) from None
        return numbers

    def has_option(self, section: str, option: str) -> bool:
        """Tell whether there is such an option, with underscores or dashes."""
        return self._spelled(section, option) is not None

    def set(self, section: str, option: str, value: str | None = None) -> None:
        """Set an option, in this process only."""
        if section and not self.has_section(section):
            self.add_section(section)
        super().set(section, option, value)

    def own_options(self, section: str) -> list[str]:
        """Return the names a section itself has, without those of ``[DEFAULT]``."""
        return [option for option, _ in self._options(section)]

    def _options(self, section: str) -> list[tuple[str, Any]]:
        return list(self._sections.get(section, {}).items())  # type: ignore[attr-defined]

    def _spelled(self, section: str, option: str) -> str | None:
        name = option.replace("-", "_")
        if super().has_option(section, name):
            return name
        dashed = name.replace("_", "-")
        if dashed == name or not super().has_option(section, dashed):
            return None
        warnings.warn(
            f"Configuration [{section}] {dashed} (with dashes) should be avoided. Please use "
            f"underscores: {name}.",
            DeprecationWarning,
            stacklevel=4,
        )
        return dashed

    def _with_default(
        self, method: Any, section: str, option: str, default: Any, kwargs: Any
    ) -> Any:
        name = self._spelled(section, option)
        if name is None and default is not _NO_DEFAULT:
            return default
        return method(section, name or option, **kwargs)


class LuigiTomlParser(_Singleton):
    """What ``luigi.toml`` says; its values keep their types."""

    paths: ClassVar[list[str]] = standard_paths("toml")

    def __init__(self) -> None:
        self.data: dict[str, dict[str, Any]] = {}

    def load(self, paths: Iterable[str]) -> None:
        """Read files, the strongest last. Raises ``ConfigError`` for one that is none."""
        import tomllib

        for path in paths:
            if not os.path.isfile(path):
                continue
            try:
                with open(path, "rb") as file:
                    read = tomllib.load(file)
            except (OSError, ValueError) as error:
                raise ConfigError(f"{path}: {error}", hint=f"correct {path}") from error
            for section, options in read.items():
                if isinstance(options, dict):
                    self.data.setdefault(section, {}).update(options)

    def get(self, section: str, option: str, default: Any = _NO_DEFAULT, **_: Any) -> Any:
        """Return an option; ``default``, or a ``KeyError``, where there is none."""
        if default is _NO_DEFAULT:
            return self.data[section][option]
        return self.data.get(section, {}).get(option, default)

    getint = getfloat = getboolean = get

    def getintdict(self, section: str) -> dict[str, int]:
        """Return a whole section."""
        return dict(self.data.get(section, {}))

    def has_option(self, section: str, option: str) -> bool:
        """Tell whether there is such an option."""
        return option in self.data.get(section, {})

    def has_section(self, section: str) -> bool:
        """Tell whether there is such a section."""
        return section in self.data

    def sections(self) -> list[str]:
        """Return the names of all sections."""
        return list(self.data)

    def own_options(self, section: str) -> list[str]:
        """Return the names a section has."""
        return list(self.data.get(section, {}))

    def set(self, section: str, option: str, value: Any = None) -> None:
        """Set an option, in this process only."""
        self.data.setdefault(section, {})[option] = value


_KINDS: Final[dict[str, Any]] = {
    "cfg": LuigiConfigParser,
    "conf": LuigiConfigParser,
    "ini": LuigiConfigParser,
    "toml": LuigiTomlParser,
}
_read: dict[Any, Any] = {}
#: Called when a file was added: what was made of the others is outdated.
listeners: list[Callable[[], None]] = []
_added: dict[Any, list[str]] = {LuigiConfigParser: [], LuigiTomlParser: []}


def get_config(parser: str | None = None) -> Any:
    """Return what the files say, read once a process, by a ``cfg`` or a ``toml`` parser.

    Raises:
        ConfigError: One of them cannot be read.
    """
    return _instance(_KINDS[parser or _chosen()])


def _instance(kind: Any) -> Any:
    if kind not in _read:
        config = kind()
        around = [path for path in handed_on(os.environ) if _kind_of(path) is kind]
        config.load([*kind.paths, *_from_environment(kind), *around, *_added[kind]])
        _read[kind] = config
    return _read[kind]


def add_config_path(path: str) -> bool:
    """Read one more file, stronger than the others; false, with a warning, where there is none."""
    if os.path.isfile(path) and _kind_of(path) is not _KINDS[_chosen()]:
        _warn_of_other_kind(path)
    return _add(_kind_of(path), path)


def _add(kind: Any, path: str) -> bool:
    if not os.path.isfile(path):
        warnings.warn(f"Config file does not exist: {path}", stacklevel=3)
        return False
    _added[kind].append(path)
    if kind in _read:
        _read[kind].load([path])
    for settings_changed in listeners:
        settings_changed()
    return True


def added() -> list[str]:
    """Return the files that this process itself added, of every kind."""
    return [path for paths in _added.values() for path in paths]


def files() -> list[str]:
    """Return the files that are read, of every kind, also those that do not exist."""
    found: dict[str, None] = {os.environ.get(PATH_VARIABLE, ""): None}
    for kind in dict.fromkeys(_KINDS.values()):
        found.update(dict.fromkeys([*kind.paths, *_added[kind]]))
    return [path for path in found if path]


def forget() -> None:
    """Have all files read again when they are next asked for; added ones are forgotten."""
    _read.clear()
    for paths in _added.values():
        paths.clear()


def _chosen() -> str:
    name = os.environ.get(PARSER_VARIABLE, DEFAULT_PARSER)
    if name in _KINDS:
        return name
    warnings.warn(f"Invalid parser: {name} (of {PARSER_VARIABLE})", stacklevel=3)
    return DEFAULT_PARSER


def _from_environment(kind: Any) -> list[str]:
    path = os.environ.get(PATH_VARIABLE)
    if not path:
        return []
    if not os.path.isfile(path):
        warnings.warn(f"Config file does not exist: {path} (of {PATH_VARIABLE})", stacklevel=3)
        return []
    if _kind_of(path) is not kind:
        _warn_of_other_kind(path)
        return []
    return [path]


def _kind_of(path: str) -> Any:
    return _KINDS.get(os.path.splitext(path)[1][1:]) or _KINDS[_chosen()]


def _warn_of_other_kind(path: str) -> None:
    ending = os.path.splitext(path)[1][1:]
    warnings.warn(
        f"Config for {ending} parser added, but used {_chosen()} parser. "
        f"Set up right parser via env var: export {PARSER_VARIABLE}={ending}",
        stacklevel=3,
    )
