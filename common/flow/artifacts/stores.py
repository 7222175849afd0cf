"""How a file gets to its place as a whole: a local directory, or a store behind a URL."""

from __future__ import annotations

import os
import tempfile
from typing import IO, Any, Final, cast

from flow.artifacts.location import SCHEME_END
from flow.extras import need
from flow.targets.base import FileSystem, FileSystemTarget, temporary_beside
from flow.targets.formats import Format, Nop
from flow.targets.local import LocalTarget

#: An upload to these appears whole or not at all; elsewhere a file is uploaded beside and moved.
_WHOLE_UPLOADS: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"})


def file_at(path: str, form: Format = Nop) -> FileSystemTarget:
    """Return the target at a path or URL."""
    if SCHEME_END not in path:
        return LocalTarget(path, form)
    return RemoteFile(path, form)


class RemoteFile(FileSystemTarget):
    """A file behind a URL."""

    def __init__(self, path: str, form: Format) -> None:
        super().__init__(path)
        self.format = form

    @property
    def fs(self) -> RemoteFiles:
        """The store."""
        return RemoteFiles(self.path)

    def open(self, mode: str = "r") -> IO[Any]:
        """Open for reading or, appearing when closed, for writing."""
        if mode.startswith("w"):
            return cast(IO[Any], Upload(self.fs, self.path, self.format))
        return self.format.pipe_reader(self.fs.store.open(self.path, "rb"))


class RemoteFiles(FileSystem):
    """The store of one URL."""

    def __init__(self, url: str) -> None:
        fsspec = need("fsspec", "remote", f"the storage root {url.partition(SCHEME_END)[0]}://")
        # Listings that are remembered would hide what other hosts have made.
        self.store, _ = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self.uploads_whole = url.partition(SCHEME_END)[0] in _WHOLE_UPLOADS

    def exists(self, path: str) -> bool:
        self.store.invalidate_cache()
        return bool(self.store.exists(path))

    def remove(self, path: str, recursive: bool = True) -> None:
        self.store.rm(path, recursive=recursive and self.store.isdir(path))

    def mkdir(self, path: str, parents: bool = True, raise_if_exists: bool = False) -> None:
        self.store.makedirs(path, exist_ok=not raise_if_exists)

    def put(self, local: str, path: str) -> None:
        """Copy a local file to a URL, where it appears whole."""
        if self.uploads_whole:
            self.store.put_file(local, path)
            return
        self.mkdir(path.rpartition("/")[0])
        beside = temporary_beside(path)
        self.store.put_file(local, beside)
        self.store.mv(beside, path)


class Upload:
    """A file that is written here, and at its URL when it is closed."""

    def __init__(self, files: RemoteFiles, path: str, form: Format) -> None:
        self._files = files
        self._path = path
        raw = tempfile.NamedTemporaryFile(prefix="flow-", delete=False)  # noqa: SIM115
        self._local = raw.name
        self._stream = form.pipe_writer(cast(IO[bytes], raw))
        self.write = self._stream.write
        self.closed = False

    def close(self) -> None:
        """Upload. A second call does nothing."""
        if self.closed:
            return
        self.closed = True
        try:
            self._stream.close()
            self._files.put(self._local, self._path)
        finally:
            os.remove(self._local)

    def abort(self) -> None:
        """Drop it."""
        if not self.closed:
            self.closed = True
            try:
                self._stream.close()
            finally:
                os.remove(self._local)

    def __getattr__(self, name: str) -> Any:
        if name == "_stream":
            raise AttributeError(name)
        return getattr(self._stream, name)

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
