"""Files on other hosts, in every kind of store that fsspec reaches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, cast

from flow.targets.base import FileSystemException, FileSystemTarget
from flow.targets.formats import Format, get_default_format
from flow.targets.paths import masked
from flow.targets.remote_files import RemoteFileSystem


class RemoteTarget(FileSystemTarget):
    """A file in a store on other hosts: ``RemoteTarget("s3://bucket/name.csv")``.

    What is written appears when it is closed, and whole: readers never see half a file, whatever
    is killed. How, depends on the store:

    * ``s3`` ``gs``: uploaded while it is written, visible when the upload is completed;
    * ``az`` ``abfs``, ``memory``: collected on this host, uploaded when it is complete;
    * ``sftp`` ``ftp`` ``file``: a temporary name beside it, then renamed;
    * ``hdfs`` ``webhdfs`` ``smb`` and others that fsspec knows: the same, but a file that is
      replaced is missing for a moment, because their rename does not replace;
    * ``http`` ``https``: only read.

    ``memory`` is of one process (and of those it forks, as it was then): for tests.

    Making one connects to nothing and imports nothing. It may be used by many threads, and after a
    fork. A store that cannot be asked makes ``exists()`` raise: that is no answer.

    Args:
        url: Where it is. Patterns are taken literally.
        format: How its bytes are read and written: text by default.
        storage_options: For the fsspec driver, such as ``{"endpoint_url": "http://minio:9000"}``.
            What all targets of a scheme share is better said once per host, where fsspec looks:
            ``FSSPEC_S3_ENDPOINT_URL=...`` or ``FSSPEC_S3='{"anon": true}'`` in the environment, or
            ``~/.config/fsspec/*.json``; the stores' own variables (``AWS_PROFILE``...) work too.
    """

    def __init__(
        self,
        url: str,
        format: Format | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(url)
        self.format = format or get_default_format()
        self._fs = RemoteFileSystem(self.path, storage_options)

    @property
    def fs(self) -> RemoteFileSystem:
        """The store."""
        return self._fs

    def __str__(self) -> str:
        return masked(self.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({masked(self.path)!r})"

    def exists(self) -> bool:
        """Tell whether it is there. Raises what the store does where it cannot tell."""
        with self._named():
            return self._fs.exists(self.path)

    def open(self, mode: str = "r") -> IO[Any]:
        """Open for reading ("r") or writing ("w"). A written file appears when it is closed."""
        plain = str.replace(mode, "b", "").replace("t", "")
        with self._named():
            if plain == "w":
                return cast(IO[Any], self._fs.publish(self.path, self.format))
            if plain == "r":
                return self.format.pipe_reader(self._fs.open(self.path))
        raise ValueError(f"cannot open {self} with mode {mode!r}: expected 'r' or 'w'")

    @contextmanager
    def temporary_path(self) -> Iterator[str]:
        """Give a URL beside the target's for a program to write one file to.

        At the end of the ``with`` block it becomes the target; after an exception it is removed.
        A directory is only possible where the store has them (not in s3, gs, az): elsewhere its
        files would appear one by one.
        """
        store = self._fs.writable("write to")
        if store.scheme.flat and self.path.endswith("/"):
            raise FileSystemException(
                f"{self} is a directory, whose files would appear one by one in {store.name}://"
            )
        with super().temporary_path() as path:
            yield path

    def move(self, new_path: str, raise_if_exists: bool = False) -> None:
        """Move the file within its store; this object keeps its path."""
        self._fs.move(self.path, new_path, raise_if_exists)

    def copy(self, new_path: str, raise_if_exists: bool = False) -> None:
        """Copy the file within its store."""
        self._fs.copy(self.path, new_path, raise_if_exists)

    def listdir(self) -> list[str]:
        """Return the URLs of all files under it, at any depth."""
        return list(self._fs.listdir(self.path))

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Stores say what is wrong ("Access Denied"), and not with what."""
        try:
            yield
        except Exception as error:
            error.add_note(f"The target is {self}")
            raise

    def _make_parent(self) -> None:
        self._fs.make_parent(self.path)
