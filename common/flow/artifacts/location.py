"""Where artifacts are: one storage root, and below it the folder of each task.

``<root>/<Family>/<summary>_<hash>/<name>``; a task class with a ``version`` has
``<root>/<Family>/v<version>/<summary>_<hash>/<name>``. The summary is for people, the hash of
``identity`` decides, so names that differ only in case or in odd characters never meet.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Final, NamedTuple

from flow.artifacts.errors import BadArtifactName
from flow.errors import ConfigError
from flow.settings.layers import project_folder

#: Of one part of an artifact's name; file systems hold 255, temporary names are longer.
NAME_BYTES_MAX: Final = 200
#: Between the scheme of a URL and the rest.
SCHEME_END: Final = "://"
#: The setting as a variable.
VARIABLE: Final = "FLOW_STORAGE__ROOT"

#: Characters that mean something to a URL, to a pattern or to some file system.
_NOT_IN_NAMES: Final = frozenset('\\:%?#*<>|"')

_used: list[StorageRoot] = []


class StorageRoot(NamedTuple):
    """The storage root."""

    path: str  #: an absolute directory, or an fsspec URL; no slash at its end
    source: str  #: where the setting came from, for people

    @property
    def is_remote(self) -> bool:
        """Whether it is a URL."""
        return SCHEME_END in self.path

    @property
    def is_default(self) -> bool:
        """Whether nobody chose it: a directory that only this host has."""
        return self.source == "the default"


def storage_root() -> StorageRoot:
    """Return the root that the settings of this process name.

    Raises:
        ConfigError: It cannot be one.
    """
    from flow.parameters.defaults import settings

    found = settings()
    root = checked_root(found.storage.root, found.source("storage.root"))
    _used[:] = (root,)
    return root


def inherited() -> dict[str, str]:
    """Return what the environment of child processes must say to find the same artifacts.

    Nothing, unless artifacts were asked for here: then their processes read the settings again,
    but from a current directory that may be another one by now.
    """
    return {VARIABLE: _used[0].path or "/"} if _used else {}


@functools.lru_cache
def checked_root(text: str, source: str) -> StorageRoot:
    """Bring a root to its canonical form; empty text means the default."""
    if not text:
        return StorageRoot(default_root(), "the default")
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if SCHEME_END in text:
        scheme, _, rest = text.partition(SCHEME_END)
        if not scheme.replace("+", "").replace("::", "").isalnum() or not rest.strip("/"):
            raise ConfigError(
                f"{source}: storage.root is {text!r}, not a directory or a URL with a place in it",
                hint='write  storage.root = "s3://bucket/prefix"',
            )
        return StorageRoot(text.rstrip("/"), source)
    if not os.path.isabs(text):
        raise ConfigError(
            f"{source}: storage.root is {text!r}, which depends on the current directory",
            hint="write an absolute path",
        )
    path = os.path.normpath(text)
    return StorageRoot("" if path == "/" else path, source)


def default_root() -> str:
    """Name the root of a laptop: ``artifacts`` beside ``flow.toml``, else in the current directory.

    It belongs to the project: two that happen to have equal tasks must not share their outputs.
    """
    return str(project_folder(Path.cwd()) / "artifacts")


def name_parts(name: str, family: str) -> list[str]:
    """Return the parts of an artifact's name; ``.suffix`` alone is named after the task's class.

    Raises:
        BadArtifactName: It would lead elsewhere.
    """
    if not isinstance(name, str):
        raise _bad(name, family, "a name is text")
    if name.startswith(".") and "/" not in name and name.strip("."):
        name = family.rpartition(".")[2] + name
    parts = name.split("/")
    for part in parts:
        problem = _problem(part)
        if problem:
            raise _bad(name, family, problem)
    return parts


def _problem(part: str) -> str:
    if not part:
        return "it is empty, absolute, or has an empty part"
    if part.strip(" .") == "":
        return f"{part!r} would lead out of the task's folder"
    if not part.isprintable() or not _NOT_IN_NAMES.isdisjoint(part):
        return "it has characters that no file system agrees about"
    try:
        size = len(part.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if size > NAME_BYTES_MAX:
        return f"a part of it has {size} bytes, at most {NAME_BYTES_MAX} are allowed"
    return ""


def _bad(name: object, family: str, problem: str) -> BadArtifactName:
    shown = repr(name)
    if len(shown) > NAME_BYTES_MAX:
        shown = shown[:NAME_BYTES_MAX] + "…"
    return BadArtifactName(
        f"{family}: {shown} cannot be the name of an artifact: {problem}",
        hint='write self.artifact(".parquet"), self.artifact("report.csv") or "parts/a.json"',
    )
