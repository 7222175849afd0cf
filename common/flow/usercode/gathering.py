"""Which files of a folder are its code: a walk that obeys ``.gitignore`` and ``.flowignore``.

Never code are ``.git``, ``__pycache__``, virtual environments, sockets, pipes and devices. Links
count as what they point to, also where a pattern is for directories only. Whatever stands against
taking the folder whole is an error that names it, for what is left out silently is missed late.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from flow.errors import UsageError
from flow.usercode import ignoring
from flow.wire.resources import said_bytes

#: Of files, and of folders.
FILES_MAX = 20_000
#: How many files a complaint names.
NAMED_MAX = 5
HINT = "list what tasks do not need in .flowignore"

_NEVER = frozenset((".git", "__pycache__", ".venv"))
_VENV_MARK = "pyvenv.cfg"

_Rules = tuple[tuple[str, ignoring.Patterns], ...]


class File(msgspec.Struct):
    """A file to take. ``name`` is below the folder, ``path`` is where it is, links resolved."""

    name: str
    path: str
    size: int


class _Folder(msgspec.Struct):
    #: How it is reached, through links if there are any: names and patterns go by it.
    path: str
    #: The same with links resolved.
    real: str
    #: ``real`` of the folders on the way to it.
    above: tuple[str, ...]
    rules: _Rules


def gather(root: str) -> list[File]:
    """Return the files of a real folder, by name.

    Raises:
        UsageError: Something cannot be read; a link leads out, in a circle or nowhere; there are
            more than ``FILES_MAX`` files.
    """
    walk = _Walk(root)
    walk.run()
    return sorted(walk.files, key=lambda file: file.name)


class _Walk:
    def __init__(self, root: str) -> None:
        self.files: list[File] = []
        self._root = root
        self._folder_count = 0
        self._unreadable: list[str] = []

    def run(self) -> None:
        todo = [_Folder(self._root, self._root, (), tuple(_rules_above(self._root)))]
        while todo:
            folder = todo.pop()
            self._folder_count += 1
            if max(self._folder_count, len(self.files)) > FILES_MAX:
                raise too_big(self._root, self.files, f"more than {FILES_MAX} files or folders")
            try:
                todo.extend(self._enter(folder))
            except OSError as error:
                self._unreadable.append(f"{self._name(folder.path)} ({error.strerror})")
        if self._unreadable:
            raise unreadable(self._unreadable)

    def _enter(self, folder: _Folder) -> Iterator[_Folder]:
        names = sorted(os.listdir(folder.real))
        if _VENV_MARK in names and folder.real != self._root:
            return
        own = ignoring.read(folder.real)
        rules = (*folder.rules, (folder.path, own)) if own else folder.rules
        above = (*folder.above, folder.real)
        for name in names:
            path, real = os.path.join(folder.path, name), os.path.join(folder.real, name)
            if name in _NEVER:
                continue
            if is_link := os.path.islink(real):
                real = os.path.realpath(real)
            is_folder = os.path.isdir(real)
            if _left_out(rules, path, is_folder=is_folder):
                continue
            if is_link:
                if is_folder and os.path.lexists(os.path.join(real, _VENV_MARK)):
                    continue
                self._check_link(self._name(path), real, above)
            if is_folder:
                yield _Folder(path, real, above, rules)
            else:
                self._add(self._name(path), real)

    def _check_link(self, name: str, real: str, above: tuple[str, ...]) -> None:
        if real != self._root and not real.startswith(f"{self._root.rstrip('/')}/"):
            raise UsageError(f"{name} is a link out of {self._root}, to {real}", hint=HINT)
        if real in above:
            raise UsageError(f"{name} is a link to a folder that it is in: {real}", hint=HINT)
        if not os.path.exists(real):
            raise UsageError(f"{name} is a link to what is not there: {real}", hint=HINT)

    def _add(self, name: str, real: str) -> None:
        try:
            found = os.lstat(real)
        except FileNotFoundError:
            return  # removed since it was listed: as if it had been a moment earlier
        if not stat.S_ISREG(found.st_mode):
            return
        if not os.access(real, os.R_OK):
            self._unreadable.append(f"{name} (Permission denied)")
        self.files.append(File(name, real, found.st_size))

    def _name(self, path: str) -> str:
        return os.path.relpath(path, self._root)


def _rules_above(root: str) -> Iterator[tuple[str, ignoring.Patterns]]:
    """Read the patterns of the folders above, if the folder is below the top of a repository."""
    around = [root, *map(str, Path(root).parents)]
    tops = [at for at, each in enumerate(around) if os.path.lexists(os.path.join(each, ".git"))]
    for folder in reversed(around[1 : tops[0] + 1] if tops else []):
        try:
            patterns = ignoring.read(folder)
        except OSError as error:
            raise unreadable([f"the patterns in {folder} ({error.strerror})"]) from error
        if patterns:
            yield folder, patterns


def _left_out(rules: _Rules, path: str, *, is_folder: bool) -> bool:
    """Ask the patterns of the nearest folder first: the first that says something is right."""
    for folder, patterns in reversed(rules):
        said = patterns.decide(os.path.relpath(path, folder), is_folder=is_folder)
        if said is not None:
            return said
    return False


# ---------------------------------------------------------------------------------- complaints


def too_big(root: str, files: list[File], over: str) -> UsageError:
    """Say what a folder holds too much of, and which files are the biggest."""
    biggest = sorted(files, key=lambda file: (-file.size, file.name))[:NAMED_MAX]
    named = ", ".join(f"{file.name} ({said_bytes(file.size)})" for file in biggest)
    return UsageError(f"{root} holds {over}; the biggest are {named}: {HINT}", hint=HINT)


def unreadable(names: list[str]) -> UsageError:
    """Name what cannot be read, and why."""
    named = ", ".join(sorted(names)[:NAMED_MAX])
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return UsageError(f"cannot be read: {named}{more}", hint=f"allow it, or {HINT}")
