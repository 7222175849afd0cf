"""The target that ``task.artifact()`` returns."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from flow.artifacts.contents import content_of, required_content, suffix_of
from flow.artifacts.errors import ArtifactError, BadArtifactName, MissingArtifact
from flow.artifacts.identity import folder_of
from flow.artifacts.location import StorageRoot, name_parts, storage_root
from flow.artifacts.marks import NAMES, TEMPORARY
from flow.artifacts.stores import file_at, shown
from flow.targets.base import FileSystem, FileSystemTarget
from flow.targets.formats import Format, Gzip, Nop, Text
from flow.targets.paths import join_inside

if TYPE_CHECKING:
    from flow.task import Task


class Artifact(FileSystemTarget):
    """A file or directory that belongs to one task; it appears whole or not at all.

    ``path`` is where it is: a path of this host, or a URL. Made by ``task.artifact()``.
    """

    def __init__(self, root: StorageRoot, inside: str, *, temporary: bool = False) -> None:
        super().__init__(f"{root.path}/{inside}")
        self.root = root
        #: removed when every task that needs it is done
        self.temporary = temporary
        self._inside = inside

    def __str__(self) -> str:
        return shown(self.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory, which is filled under ``temporary_path()``."""
        return self.path.endswith("/")

    @property
    def fs(self) -> FileSystem:
        """The file system the path is in."""
        return file_at(self.path).fs

    def exists(self) -> bool:
        """Tell whether it is there, as a whole."""
        return self.fs.exists(self.path)

    def dump(self, value: Any, **options: Any) -> None:
        """Write a value, in the form that the suffix says.

        ``options`` go to what writes it: ``json.dumps``, ``pickle.dump``, ``csv.writer`` or
        pandas's ``to_csv`` and ``to_parquet``.

        Raises:
            UnknownContent: The value does not fit to the suffix, or nothing is known about it.
        """
        content = required_content(self.path)
        with self._open("w", Nop) as stream:
            content.dump(value, stream, **options)

    def load(self, **options: Any) -> Any:
        """Read the value: str, bytes, what JSON or pickle says, or a pandas DataFrame.

        ``options`` go to what reads it. ``load(rows=True)`` of a .csv is a list of dicts of text.

        Raises:
            MissingArtifact: It is not there.
        """
        content = required_content(self.path)
        with self._open("r", Nop) as stream:
            return content.load(stream, **options)

    def open(self, mode: str = "r") -> IO[Any]:
        """Open for reading ("r") or writing ("w"); with "b" for bytes. ``.gz`` is (de)compressed.

        Text is UTF-8; suffixes that are no text are bytes. What is written appears when it is
        closed, and not at all if an exception ends the ``with`` block.
        """
        plain = mode.replace("b", "").replace("t", "")
        if plain not in ("r", "w"):
            raise ValueError(f"cannot open {self} with mode {mode!r}: expected 'r' or 'w'")
        content = content_of(self.path)
        is_text = "b" not in mode and ("t" in mode or content is None or content.is_text)
        return self._open(plain, Text if is_text else Nop)

    def remove(self) -> None:
        """Remove it; nothing happens if it is not there."""
        join_inside(self.root.path or "/", self._inside)
        with contextlib.suppress(FileNotFoundError):
            self.fs.remove(self.path.rstrip("/"))
        if not self.root.is_remote:
            # Only the task's own folder: others may be making theirs beside it right now.
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(self.path.rstrip("/")))

    @contextmanager
    def temporary_path(self) -> Iterator[str]:
        """Give a path or URL for a program to write to; it becomes the artifact after the block.

        For a directory (``artifact("model/")``) it exists already, empty.
        """
        join_inside(self.root.path or "/", self._inside)
        with file_at(self.path).temporary_path() as path:
            if self.is_directory:
                os.mkdir(path)
            yield path

    def _open(self, mode: str, outer: Format) -> IO[Any]:
        if self.is_directory:
            raise ArtifactError(
                f"{self} is a directory",
                hint="with self.output().temporary_path() as folder: write files into it",
            )
        _, compressed = suffix_of(self.path)
        form = outer >> Gzip if compressed and outer is not Nop else Gzip if compressed else outer
        if mode == "w":
            join_inside(self.root.path or "/", self._inside)
        try:
            return file_at(self.path, form).open(mode)
        except FileNotFoundError as error:
            if mode == "w":
                raise
            raise self._missing() from error

    def _missing(self) -> MissingArtifact:
        hint = f"storage.root is {shown(self.root.path)} (from {self.root.source})"
        if self.root.is_default:
            hint += ", which only this host has: where several hosts run tasks, set storage.root"
        return MissingArtifact(f"{self} is not there", hint=hint)


def artifact_of(task: Task, name: str, temporary: bool) -> Artifact:
    """Make the artifact of a task; see ``Task.artifact``."""
    is_directory = isinstance(name, str) and name.endswith("/")
    parts = name_parts(name[:-1] if is_directory else name, task.task_family)
    known: tuple[str, ...] = task.__dict__.get(NAMES, ())
    if name not in known:
        for other in known:
            if other.casefold() == name.casefold():
                raise BadArtifactName(
                    f"{task.task_family}: the artifacts {other!r} and {name!r} are one file where "
                    "upper and lower case are the same",
                    hint="rename one of them",
                )
        task.__dict__[NAMES] = (*known, name)
    if temporary:
        task.__dict__[TEMPORARY] = True
    root = storage_root()
    if is_directory and root.is_remote:
        raise ArtifactError(
            f"{task.task_family}: a directory {name!r} needs a storage root that is one, "
            f"but it is {shown(root.path)}",
            hint="write several files: {name: self.artifact(name) for name in ...}",
        )
    inside = "/".join((*folder_of(task), *parts))
    return Artifact(root, inside + "/" * is_directory, temporary=temporary)
