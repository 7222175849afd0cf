"""Targets for tests: no files of their own, yet seen by every process of a run.

The content lies in a private temporary directory, named in the environment so that the processes a
run starts find it, and removed when the process that made it ends.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from os import PathLike
from typing import IO, Any, Final, cast
from urllib.parse import quote, unquote

from flow.targets.base import TEMPORARY_MARK, FileAlreadyExists, FileSystem, FileSystemTarget
from flow.targets.formats import Format, get_default_format
from flow.targets.local import AtomicFile

#: Names the directory with the contents, for this process and those it starts.
DIRECTORY: Final = "FLOW_MOCK_DIR"


def _announce() -> None:
    if DIRECTORY in os.environ:
        return
    name = f"flow-mock-{os.getpid()}-{secrets.token_hex(4)}"
    directory = os.path.join(tempfile.gettempdir(), name)
    os.environ[DIRECTORY] = directory
    owner = os.getpid()

    def clean() -> None:
        if os.getpid() == owner:
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(clean)


# At import: processes started later inherit the environment, and an output() that is first asked
# for in one of them must not make a directory of its own.
_announce()


class MockFileSystem(FileSystem):
    """Named contents that all processes of a run share. Directories are only prefixes of names."""

    def get_data(self, path: str) -> bytes:
        """Return the content. Raises ``KeyError`` if there is none."""
        try:
            with open(self._place(path), "rb") as stream:
                return stream.read()
        except FileNotFoundError:
            raise KeyError(path) from None

    def get_all_data(self) -> dict[str, bytes]:
        """Return all contents by name."""
        return {name: self.get_data(name) for name in self._names()}

    def clear(self) -> None:
        """Forget everything."""
        for name in self._names():
            os.remove(self._place(name))

    def exists(self, path: str) -> bool:
        return os.path.exists(self._place(path))

    def remove(self, path: str, recursive: bool = True) -> None:
        if recursive:
            for name in self._names():
                if name.startswith(path):
                    os.remove(self._place(name))
        else:
            os.remove(self._place(path))

    def move(self, path: str, dest: str, raise_if_exists: bool = False) -> None:
        if raise_if_exists and self.exists(dest):
            raise FileAlreadyExists(dest)
        os.replace(self._place(path), self._place(dest))

    def copy(self, path: str, dest: str, raise_if_exists: bool = False) -> None:
        if raise_if_exists and self.exists(dest):
            raise FileAlreadyExists(dest)
        shutil.copyfile(self._place(path), self._place(dest))

    def listdir(self, path: str) -> Iterator[str]:
        return (name for name in self._names() if name.startswith(path))

    def isdir(self, path: str) -> bool:
        return any(self.listdir(path))

    def mkdir(self, path: str, parents: bool = True, raise_if_exists: bool = False) -> None:
        """Do nothing: directories are only prefixes of names."""

    def _place(self, path: str) -> str:
        directory = os.environ[DIRECTORY]
        os.makedirs(directory, mode=0o700, exist_ok=True)
        return os.path.join(directory, quote(str(path), safe=""))

    def _names(self) -> list[str]:
        try:
            names = os.listdir(os.environ[DIRECTORY])
        except FileNotFoundError:
            return []
        return sorted(unquote(name) for name in names if TEMPORARY_MARK not in name)


class MockTarget(FileSystemTarget):
    """A target for tests. ``mirror_on_stderr`` shows what is written to it."""

    _fs = MockFileSystem()

    def __init__(
        self,
        fn: str | PathLike[str],
        is_tmp: bool | None = None,
        mirror_on_stderr: bool = False,
        format: Format | None = None,
    ) -> None:
        super().__init__(fn)
        self.format = format or get_default_format()
        self._mirror_on_stderr = mirror_on_stderr

    @property
    def fs(self) -> MockFileSystem:
        """The contents that all mock targets share."""
        return self._fs

    def open(self, mode: str = "r") -> IO[Any]:
        """Open for reading ("r") or writing ("w"); what is written appears when it is closed."""
        place = self.fs._place(self.path)
        plain = mode.replace("b", "").replace("t", "")
        if plain == "r":
            return self.format.pipe_reader(open(place, "rb"))
        if plain != "w":
            raise ValueError(f"cannot open {self.path} with mode {mode!r}: expected 'r' or 'w'")
        written = AtomicFile(place, self.format)
        if self._mirror_on_stderr:
            _mirror(written)
        return cast(IO[Any], written)

    def move(self, path: str, raise_if_exists: bool = False) -> None:
        """Give the content another name."""
        self.fs.move(self.path, path, raise_if_exists)


def _mirror(written: AtomicFile) -> None:
    write = written.write

    def both(data: Any) -> int:
        text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
        sys.stderr.write(text)
        return write(data)

    written.write = both
