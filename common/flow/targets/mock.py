"""Targets for tests: no files of their own, yet seen by every process of a run.

The content lies in one private temporary directory, whose name processes inherit in their
environment. So it is shared

* within a process, and between it and all processes it starts or forks after importing this;
* between the task processes of ``flow run``, for as long as the run;
* between a program and the tasks of its ``flow.build(...)``, before, during and after it.

It is not shared between hosts, and on a ``flow-worker`` each task process has its own: targets for
tests are for runs on one machine.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, MutableMapping
from os import PathLike
from typing import IO, Any, Final, cast
from urllib.parse import quote, unquote

from flow.targets.atomic import AtomicFile
from flow.targets.base import FileAlreadyExists, FileSystem, FileSystemTarget
from flow.targets.formats import Format, Nop, get_default_format

#: Names the directory with the contents, for this process and those it starts.
DIRECTORY: Final = "FLOW_MOCK_DIR"
#: Ends the file name of what is written; quoted names have none in them.
_END: Final = "="
#: A longer name goes into directories.
_PIECE_CHARACTERS_MAX: Final = 200
#: Names may have characters that are none.
_ODD: Final = "surrogatepass"


def _announce() -> str:
    """Name the directory, in the environment too if this is the first process that asks."""
    if os.environ.get(DIRECTORY):
        return os.environ[DIRECTORY]
    name = f"flow-mock-{os.getpid()}-{secrets.token_hex(4)}"
    directory = os.path.join(tempfile.gettempdir(), name)
    os.environ[DIRECTORY] = directory
    owner = os.getpid()

    def clean() -> None:
        if os.getpid() == owner:
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(clean)
    return directory


# At import: processes started later inherit the environment, and an output() that is first asked
# for in one of them must not make a directory of its own.
_announced: Final = _announce()


def directory() -> str:
    """Where the contents are now.

    Without the variable too: a task process forgets those that a task's import set, and a program
    may clear its environment.
    """
    return os.environ.get(DIRECTORY) or _announced


class MockFileSystem(FileSystem):
    """Named contents that all processes of a run share. Directories are only prefixes of names."""

    def get_data(self, path: str) -> bytes:
        """Return the content. Raises ``KeyError`` if there is none."""
        try:
            with open(_place(path), "rb") as stream:
                return stream.read()
        except FileNotFoundError:
            raise KeyError(path) from None

    def get_all_data(self) -> MutableMapping[str, bytes]:
        """Return all contents by name; what is changed there is changed here."""
        return _Contents()

    def clear(self) -> None:
        """Forget everything."""
        self.get_all_data().clear()

    def exists(self, path: str) -> bool:
        return os.path.exists(_place(path))

    def remove(self, path: str, recursive: bool = True) -> None:
        """Remove one content, or every one whose name starts with ``path``."""
        if recursive:
            for name in self.listdir(path):
                os.remove(_place(name))
        else:
            os.remove(_place(path))

    def move(self, path: str, dest: str, raise_if_exists: bool = False) -> None:
        if raise_if_exists and self.exists(dest):
            raise FileAlreadyExists(dest)
        os.replace(_place(path), _place(dest))

    def copy(self, path: str, dest: str, raise_if_exists: bool = False) -> None:
        if raise_if_exists and self.exists(dest):
            raise FileAlreadyExists(dest)
        self.get_all_data()[dest] = self.get_data(path)

    def listdir(self, path: str) -> list[str]:
        """Return the names that start with ``path``."""
        return [name for name in _Contents() if name.startswith(path)]

    def isdir(self, path: str) -> bool:
        return any(self.listdir(path))

    def mkdir(self, path: str, parents: bool = True, raise_if_exists: bool = False) -> None:
        """Do nothing: directories are only prefixes of names."""


class _Contents(MutableMapping[str, bytes]):
    """The directory as a mapping."""

    def __getitem__(self, name: str) -> bytes:
        return MockFileSystem().get_data(name)

    def __setitem__(self, name: str, data: bytes) -> None:
        with AtomicFile(_place(name), Nop) as out:
            out.write(data)

    def __delitem__(self, name: str) -> None:
        try:
            os.remove(_place(name))
        except FileNotFoundError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        top = directory()
        found = (os.path.join(at, name) for at, _, files in os.walk(top) for name in files)
        whole = (os.path.relpath(each, top) for each in found if each.endswith(_END))
        names = (each.removesuffix(_END).replace("+/", "") for each in whole)
        return iter(sorted(unquote(name, errors=_ODD) for name in names))

    def clear(self) -> None:
        for name in list(self):
            self.pop(name, None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))


class MockTarget(FileSystemTarget):
    """A target for tests. ``mirror_on_stderr`` shows what is written to it."""

    fs: MockFileSystem = MockFileSystem()

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

    def exists(self) -> bool:
        """Tell whether there is content of this name, which is never a pattern."""
        return self.fs.exists(self.path)

    def open(self, mode: str = "r") -> IO[Any]:
        """Open for reading ("r") or writing ("w"); what is written appears when it is closed."""
        plain = str.replace(mode, "b", "").replace("t", "")
        if plain == "r":
            try:
                return self.format.pipe_reader(open(_place(self.path), "rb"))
            except FileNotFoundError:
                raise FileNotFoundError(f"nothing was written to {self!r}") from None
        if plain != "w":
            raise ValueError(f"cannot open {self.path} with mode {mode!r}: expected 'r' or 'w'")
        written = AtomicFile(_place(self.path), self.format)
        if self._mirror_on_stderr:
            _mirror(written, self.path)
        return cast(IO[Any], written)

    def move(self, path: str, raise_if_exists: bool = False) -> None:
        """Give the content another name."""
        self.fs.move(self.path, path, raise_if_exists)

    def rename(self, path: str, raise_if_exists: bool = False) -> None:
        """Give the content another name."""
        self.move(path, raise_if_exists)


def _place(path: str) -> str:
    """Return the file for a name: no name leaves the directory, or is too long for one file."""
    at = directory()
    os.makedirs(at, mode=0o700, exist_ok=True)
    quoted = quote(str(path), safe="", errors=_ODD) + _END
    while len(quoted) > _PIECE_CHARACTERS_MAX:
        at = os.path.join(at, quoted[:_PIECE_CHARACTERS_MAX] + "+")
        os.makedirs(at, exist_ok=True)
        quoted = quoted[_PIECE_CHARACTERS_MAX:]
    return os.path.join(at, quoted)


def _mirror(written: AtomicFile, name: str) -> None:
    """Show every line with the target's name before it."""
    write = written.write
    starts = True

    def both(data: Any) -> int:
        nonlocal starts
        text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
        for line in text.splitlines(keepends=True):
            sys.stderr.write(f"{name}: {line}" if starts else line)
            starts = line.endswith("\n")
        return write(data)

    written.write = both
