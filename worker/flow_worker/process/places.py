"""Where user code is: which files are somebody's own, and what they are called on every host.

Whether a file is user code depends on its directory alone, with symbolic links resolved, and is
found out once for each directory: imports ask it for every module.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import sysconfig
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib import metadata

#: Part of flow even where flow itself is an editable install in somebody's folder.
OWN_PACKAGES = ("flow", "flow_coordinator", "flow_worker")
_INSTALLED = frozenset(("site-packages", "dist-packages"))


class Places:
    """The folders that were named, against those of Python and of flow."""

    def __init__(self, folders: Sequence[str]) -> None:
        #: The deepest first: that is the one a file is named after.
        self._folders = sorted({os.path.realpath(each) for each in folders}, key=len, reverse=True)
        self._not_theirs, self._programs = of_python_and_flow()
        #: Directory, as loaders spell it -> where it really is if it holds user code, else "".
        self._known: dict[str, str] = {}

    def holds(self, path: str) -> bool:
        """Tell whether this is a user file. Cost: a few links are read, once a directory."""
        return bool(self._real_folder(path))

    def is_program(self, path: str) -> bool:
        """Tell whether this is what pip made to start a command, and no folder that was named."""
        folder = self._real_folder(path)
        return folder == self._programs and folder not in self._folders

    def outside(self, path: str) -> str:
        """Return where a user file really is if that is below none of the folders, else ""."""
        real = f"{self._real_folder(path)}/{os.path.basename(path)}"
        return "" if self._folder_of(real) else real

    def name_of(self, module: str, path: str) -> str:
        """Return what a user file is called, the same on every host that has it.

        The module's name decides, if the file is called so: folders may be nested, and a current
        directory that lies above or below on another host must not change the name.
        """
        pieces = path.split("/")
        stem = pieces[-1].partition(".")[0]
        words = [*module.split("."), *(["__init__"] if stem == "__init__" else [])]
        if [*pieces[:-1], stem][-len(words) :] == words:
            return "/".join(pieces[-len(words) :])
        real = f"{self._real_folder(path)}/{pieces[-1]}"
        if folder := self._folder_of(real):
            return os.path.relpath(real, folder)
        return pieces[-1] if module == "__main__" else module

    def _folder_of(self, real: str) -> str:
        return next((each for each in self._folders if is_below(real, each)), "")

    def _real_folder(self, path: str) -> str:
        folder = path.rpartition("/")[0]
        known = self._known.get(folder)
        if known is None:
            known = self._known[folder] = self._judge(folder, absolute=path.startswith("/"))
        return known

    def _judge(self, folder: str, *, absolute: bool) -> str:
        real = os.path.realpath(folder or ("/" if absolute else "."))
        if not _INSTALLED.isdisjoint(real.split("/")):
            return ""
        return (
            "" if any(real == each or is_below(real, each) for each in self._not_theirs) else real
        )


@functools.cache
def of_python_and_flow() -> tuple[tuple[str, ...], str]:
    """Return the folders that hold no user code, and that of commands. Cost: 1 ms, the first time.

    They are the same in every process that is forked from this one.
    """
    standard = {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    return (*standard, *_own_folders()), os.path.realpath(sysconfig.get_path("scripts"))


def is_below(path: str, folder: str) -> bool:
    """Tell whether a real path is inside a real folder."""
    return path.startswith(folder if folder == "/" else f"{folder}/")


def _own_folders() -> Iterator[str]:
    for name in OWN_PACKAGES:
        spec = importlib.util.find_spec(name)
        for folder in (spec and spec.submodule_search_locations) or ():
            yield os.path.realpath(folder)


def versions_of(paths: Sequence[str]) -> list[str]:
    """Return ``name==version`` of the distributions that these real paths are installed from.

    Cost: a small file of each installed distribution is read, unless there are no paths.
    """
    if not paths:
        return []
    from importlib import metadata  # slow to import, and few programs need it

    found = set()
    for each in metadata.distributions():
        root = _root(each)
        if root and any(is_below(path, root) for path in paths):
            found.add(f"{each.metadata['Name']}=={each.version}")
    return sorted(found)


def _root(distribution: metadata.Distribution) -> str:
    """Return the folder that a distribution is used from in place, or nothing. Source: PEP 610."""
    try:
        from urllib.parse import unquote, urlparse  # the same

        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            url = urlparse(origin["url"])
            return os.path.realpath(unquote(url.path)) if url.scheme == "file" else ""
    except (ValueError, KeyError, AttributeError):
        pass  # not what an installer writes: look at where the distribution is, as without it
    real = os.path.realpath(str(distribution.locate_file("")))
    return real if _INSTALLED.isdisjoint(real.split("/")) else ""
