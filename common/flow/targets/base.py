"""What a target is, and what a target that is a path in some file system is."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from typing import IO, Any, Final

TEMPORARY_MARK: Final = "-flow-tmp-"
_TEMPORARY_BYTES: Final = 5
#: What file systems allow for one name.
_NAME_BYTES_MAX: Final = 255
_GLOB_CHARACTERS: Final = frozenset("*?[{")


class FileSystemException(Exception):
    """Something in a file system is not as it must be."""


class FileAlreadyExists(FileSystemException):
    """There is something where something else was to be put."""


class MissingParentDirectory(FileSystemException):
    """The directory around a path does not exist."""


class NotADirectory(FileSystemException):
    """A path that must be a directory is something else."""


class Target(ABC):
    """Something a task makes. That it exists means the task is complete."""

    @abstractmethod
    def exists(self) -> bool:
        """Tell whether it is there, as a whole."""


class FileSystem(ABC):
    """What flow asks of a file system."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Tell whether there is a file or a directory."""

    @abstractmethod
    def remove(self, path: str, recursive: bool = True) -> None:
        """Remove a file, or a directory with everything in it."""

    def mkdir(self, path: str, parents: bool = True, raise_if_exists: bool = False) -> None:
        """Make a directory."""
        raise NotImplementedError(f"{type(self).__name__} cannot make directories")

    def isdir(self, path: str) -> bool:
        """Tell whether a path is a directory."""
        raise NotImplementedError(f"{type(self).__name__} has no isdir()")

    def listdir(self, path: str) -> Iterable[str]:
        """Give the paths of all files under a directory, at any depth."""
        raise NotImplementedError(f"{type(self).__name__} cannot list directories")

    def move(self, path: str, dest: str) -> None:
        """Move a file or directory."""
        raise NotImplementedError(f"{type(self).__name__} cannot move files")

    def copy(self, path: str, dest: str) -> None:
        """Copy a file."""
        raise NotImplementedError(f"{type(self).__name__} cannot copy files")

    def rename(self, *args: Any, **kwargs: Any) -> None:
        """Move a file or directory."""
        self.move(*args, **kwargs)

    def rename_dont_move(self, path: str, dest: str) -> None:
        """Move, and never into a directory that is at ``dest``."""
        if self.exists(dest):
            raise FileAlreadyExists(dest)
        self.move(path, dest)


class FileSystemTarget(Target):
    """A target that is a path. Subclasses set ``fs`` and ``open()``."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = fspath(path)

    def __str__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    @property
    @abstractmethod
    def fs(self) -> FileSystem:
        """The file system the path is in."""

    @abstractmethod
    def open(self, mode: str) -> IO[Any]:
        """Open for reading ("r") or, atomically, for writing ("w")."""

    def exists(self) -> bool:
        """Tell whether there is a file or a directory at the path."""
        if not _GLOB_CHARACTERS.isdisjoint(self.path):
            import logging  # only a dubious path needs it

            logging.getLogger("flow.targets").warning(
                "a target's path is taken literally, not as a pattern: %s", self.path
            )
        return self.fs.exists(self.path)

    def remove(self) -> None:
        """Remove what is at the path."""
        self.fs.remove(self.path)

    @contextmanager
    def temporary_path(self) -> Iterator[str]:
        """Give a path beside the target's for a program to write to, a file or a directory.

        At the end of the ``with`` block it becomes the target; after an exception it is removed.
        """
        path = self.path.rstrip("/")
        slash = self.path[len(path) :]
        temporary = temporary_beside(path)
        self._make_parent()
        try:
            yield temporary + slash
            self.fs.rename_dont_move(temporary, path)
        except BaseException:
            if self.fs.exists(temporary):
                self.fs.remove(temporary)
            raise

    def _touchz(self) -> None:
        with self.open("w"):
            pass

    def _make_parent(self) -> None:
        parent = self.path.rstrip("/").rpartition("/")[0]
        if parent:
            self.fs.mkdir(parent, parents=True, raise_if_exists=False)


def temporary_beside(path: str) -> str:
    """Return a name in the same directory that nobody else uses."""
    suffix = TEMPORARY_MARK + secrets.token_hex(_TEMPORARY_BYTES)
    directory, slash, name = path.rpartition("/")
    if len(name.encode("utf-8", "surrogateescape")) + len(suffix) > _NAME_BYTES_MAX:
        name = ""
    return f"{directory}{slash}{name}{suffix}"
