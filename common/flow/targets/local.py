"""Files of this host, written beside their place and put there whole."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import IO, Any, Final, cast

from flow.targets.atomic import AtomicFile
from flow.targets.base import (
    FileAlreadyExists,
    FileSystem,
    FileSystemTarget,
    MissingParentDirectory,
    NotADirectory,
    temporary_beside,
)
from flow.targets.formats import Format, get_default_format

_TMP_NUMBER_MAX: Final = 10**10


class LocalFileSystem(FileSystem):
    """The file system of this host."""

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def isdir(self, path: str) -> bool:
        return os.path.isdir(path)

    def mkdir(self, path: str, parents: bool = True, raise_if_exists: bool = False) -> None:
        if os.path.isdir(path) and not raise_if_exists:
            return
        try:
            if parents:
                os.makedirs(path, exist_ok=not raise_if_exists)
            else:
                os.mkdir(path)
        except FileExistsError:
            if raise_if_exists:
                raise FileAlreadyExists(path) from None
            if not os.path.isdir(path):
                raise NotADirectory(path) from None
        except FileNotFoundError:
            raise MissingParentDirectory(path) from None

    def listdir(self, path: str) -> Iterator[str]:
        for directory, _, names in os.walk(path):
            for name in names:
                yield os.path.join(directory, name)

    def remove(self, path: str, recursive: bool = True) -> None:
        if recursive and os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.remove(path)

    def move(self, path: str, dest: str, raise_if_exists: bool = False) -> None:
        """Move, atomically also between devices: what is at ``dest`` is never half a file."""
        if raise_if_exists and os.path.exists(dest):
            raise FileAlreadyExists(dest)
        self._make_parent(dest)
        try:
            _replace(path, dest)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with _beside(dest) as temporary:
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.copytree(path, temporary, symlinks=True)
                else:
                    shutil.copy2(path, temporary, follow_symlinks=False)
            self.remove(path)

    def copy(self, path: str, dest: str, raise_if_exists: bool = False) -> None:
        """Copy a file; ``dest`` appears whole."""
        if raise_if_exists and os.path.exists(dest):
            raise FileAlreadyExists(dest)
        self._make_parent(dest)
        with _beside(dest) as temporary:
            shutil.copy(path, temporary)

    def rename_dont_move(self, path: str, dest: str) -> None:
        """Put a file in the place of another, as ``open("w")`` does; a directory stays.

        Luigi's refuses to replace a file too, so that of two attempts at ``temporary_path()`` the
        second fails.
        """
        self.move(path, dest)

    def _make_parent(self, path: str) -> None:
        parent = os.path.dirname(path)
        if parent:
            self.mkdir(parent)


@contextmanager
def _beside(dest: str) -> Iterator[str]:
    """Give a name that takes the place of ``dest`` at the end; after an exception it is removed."""
    temporary = temporary_beside(dest)
    try:
        yield temporary
        _replace(temporary, dest)
    except BaseException:
        if os.path.lexists(temporary):
            LocalFileSystem().remove(temporary)
        raise


def _replace(path: str, dest: str) -> None:
    try:
        os.replace(path, dest)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR):
            raise FileAlreadyExists(dest) from error
        raise


class LocalTarget(FileSystemTarget):
    """A file, or a directory, of this host.

    Args:
        path: Where it is; without it, a name in the temporary directory (with ``is_tmp``).
        format: How its bytes are read and written: text by default.
        is_tmp: Remove the file when this object goes, in the process that made it.
    """

    fs: LocalFileSystem = LocalFileSystem()

    def __init__(
        self,
        path: str | PathLike[str] | None = None,
        format: Format | None = None,
        is_tmp: bool = False,
    ) -> None:
        if not path:
            if not is_tmp:
                raise ValueError("a LocalTarget needs a path, or is_tmp=True")
            number = random.randrange(_TMP_NUMBER_MAX)
            path = os.path.join(tempfile.gettempdir(), f"flow-tmp-{number:010d}")
        super().__init__(path)
        self.format = format or get_default_format()
        self.is_tmp = is_tmp
        self._owner = os.getpid()

    def open(self, mode: str = "r") -> IO[Any]:
        """Open for reading ("r") or writing ("w"). A written file appears when it is closed."""
        plain = str.replace(mode, "b", "").replace("t", "")
        if plain == "w":
            self.makedirs()
            return cast(IO[Any], AtomicFile(self.path, self.format))
        if plain == "r":
            return self.format.pipe_reader(open(self.path, "rb"))
        raise ValueError(f"cannot open {self.path} with mode {mode!r}: expected 'r' or 'w'")

    def makedirs(self) -> None:
        """Make the directories around the path."""
        self._make_parent()

    def move(self, new_path: str, raise_if_exists: bool = False) -> None:
        """Move the file; this object keeps its path."""
        self.fs.move(self.path, new_path, raise_if_exists=raise_if_exists)

    def move_dir(self, new_path: str) -> None:
        """Move the directory."""
        self.move(new_path)

    def copy(self, new_path: str, raise_if_exists: bool = False) -> None:
        """Copy the file."""
        self.fs.copy(self.path, new_path, raise_if_exists)

    @property
    def fn(self) -> str:
        """The path. Deprecated, as in Luigi."""
        import warnings

        warnings.warn("use LocalTarget.path instead of .fn", DeprecationWarning, stacklevel=2)
        return self.path

    def __del__(self) -> None:
        mine = self.__dict__.get("is_tmp") and self._owner == os.getpid()
        if mine and os.path.exists(self.path):
            self.remove()
