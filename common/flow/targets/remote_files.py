"""A store on other hosts as a file system: list, move, read, write whole."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Final

from flow.errors import UsageError
from flow.targets.atomic import Written
from flow.targets.base import (
    FileAlreadyExists,
    FileSystem,
    FileSystemException,
    MissingParentDirectory,
    NotADirectory,
)
from flow.targets.formats import Format, Nop
from flow.targets.paths import masked, split_url
from flow.targets.stores import SCHEMES, ReadOnlyStore, RemoteStore, store_of
from flow.targets.uploads import put_in_place, upload

_PATTERN: Final = frozenset("*?[")
#: A web server that says so knows that there is nothing.
_GONE: Final = (404, 410)


class RemoteFileSystem(FileSystem):
    """The store behind a URL. Paths are URLs of it, or as the store itself names things."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.scheme = split_url(url)[0]
        if not self.scheme:
            raise UsageError(
                f"{masked(url)!r} is not a URL",
                hint="RemoteTarget('s3://bucket/name'), or LocalTarget('/name') for a file here",
            )
        self._url = url
        self._options = dict(storage_options or {})

    def exists(self, path: str) -> bool:
        """Tell whether there is something; an error of the store or on the way to it is raised."""
        return self._info(path) is not None

    def isdir(self, path: str) -> bool:
        found = self._info(path)
        return found is not None and found["type"] == "directory"

    def mkdir(self, path: str, parents: bool = True, raise_if_exists: bool = False) -> None:
        """Make a directory. Where directories are parts of names, there is nothing to make."""
        store = self.writable("make a directory in")
        if store.scheme.flat:
            return
        place = self._place(store, path)
        found = self._info(path)
        if found is not None:
            if raise_if_exists:
                raise FileAlreadyExists(path)
            if found["type"] != "directory":
                raise NotADirectory(path)
            return
        parent = path.rstrip("/").rpartition("/")[0]
        if not parents and not self.isdir(parent):
            raise MissingParentDirectory(path)
        with store.client() as client:
            try:
                client.makedirs(place, exist_ok=True)
            except Exception:  # drivers raise what they like if somebody else made it meanwhile
                if not client.isdir(place):
                    raise

    def listdir(self, path: str) -> Iterator[str]:
        """Yield the URLs of all files under a directory, at any depth."""
        store = self._store()
        with store.client() as client:
            found = client.find(self._place(store, path))
        return (self._url_of(store, each) for each in found)

    def folders(self, path: str) -> list[str]:
        """Return the names of the directories right under one; none if it is not there."""
        store = self._store()
        try:
            with store.client() as client:
                listed = client.ls(self._place(store, path), detail=True)
        except FileNotFoundError:
            return []
        names = [each["name"] for each in listed if each["type"] == "directory"]
        return [name.rstrip("/").rpartition("/")[2] for name in names]

    def glob(self, pattern: str) -> list[str]:
        """Return the URLs that match ``*``, ``**``, ``?`` and ``[]``."""
        store = self._store()
        with store.client() as client:
            found = client.glob(self._place(store, pattern))
        return sorted(self._url_of(store, each) for each in found)

    def remove(self, path: str, recursive: bool = True) -> None:
        """Remove a file, or a directory with everything in it.

        Raises:
            FileNotFoundError: There is nothing.
        """
        store = self.writable("remove from")
        place = self._place(store, path)
        found = self._info(path)
        if found is None:
            raise FileNotFoundError(f"{masked(path)} does not exist")
        is_directory = found["type"] == "directory"
        if is_directory and not recursive:
            raise FileSystemException(f"{masked(path)} is a directory; remove it recursively")
        with store.client() as client:
            if not is_directory:
                client.rm_file(place)
            elif _PATTERN.isdisjoint(place):
                client.rm(place, recursive=True)
            else:  # rm() would take it for a pattern and remove what matches
                for each in client.find(place):
                    client.rm_file(each)

    def move(self, path: str, dest: str, raise_if_exists: bool = False) -> None:
        """Move a file, or a directory where the store has them.

        In an object store this is a copy, which appears whole, and a removal.
        """
        store = self.writable("move in")
        source, target = self._place(store, path), self._place(store, dest)
        if raise_if_exists and self.exists(dest):
            raise FileAlreadyExists(dest)
        if store.scheme.flat:
            self._refuse_tree(store, path, "moved")
            with store.client() as client:
                client.cp_file(source, target)
                client.rm_file(source)
            return
        self.make_parent(dest)
        with store.client() as client:
            put_in_place(store, client, source, target)

    def rename_dont_move(self, path: str, dest: str) -> None:
        """Put a file in the place of another, as ``open("w")`` does; a directory stays.

        Luigi's refuses to replace a file too, so that of two attempts at ``temporary_path()`` the
        second fails.
        """
        if self.isdir(dest):
            raise FileAlreadyExists(dest)
        self.move(path, dest)

    def copy(self, path: str, dest: str, raise_if_exists: bool = False) -> None:
        """Copy a file; ``dest`` appears whole."""
        store = self.writable("copy in")
        source, target = self._place(store, path), self._place(store, dest)
        if raise_if_exists and self.exists(dest):
            raise FileAlreadyExists(dest)
        self._refuse_tree(store, path, "copied")
        if store.scheme.flat:
            with store.client() as client:
                client.cp_file(source, target)
            return
        with self.open(path) as stream, self.publish(dest) as out:
            while data := stream.read(io.DEFAULT_BUFFER_SIZE << 5):
                out.write(data)

    def open(self, path: str) -> IO[bytes]:
        """Open a file to read its bytes."""
        store = self._store()
        place = self._place(store, path)
        client, give_back = store.lease()
        if store.name == "memory":  # its files are one object each, with one position
            return io.BytesIO(client.cat_file(place))
        # gcsfs would prefetch by itself, and was seen to wait for ever when read in small pieces.
        cache = {"cache_type": "readahead"} if store.name in ("gs", "gcs") else {}
        try:
            return _Reader(client.open(place, "rb", **cache), give_back)
        except FileNotFoundError as error:
            give_back()
            _refuse_doubt(store, path, error)
            raise

    def publish(self, path: str, form: Format | None = None) -> Written:
        """Begin to write a file that appears when it is closed; without a format, bytes."""
        store = self.writable("write to")
        self._place(store, path)
        self.make_parent(path)
        return Written(upload(store, path), form or Nop)

    def _info(self, path: str) -> Any:
        store = self._store()
        place = self._place(store, path)
        try:
            with store.client() as client:
                if not store.scheme.flat:
                    client.invalidate_cache()
                return client.info(place)
        except NotADirectoryError:
            return None
        except FileNotFoundError as error:
            _refuse_doubt(store, path, error)
            return None

    def _store(self) -> RemoteStore:
        return store_of(self._url, self._options)

    def writable(self, what: str) -> RemoteStore:
        """Return the store. Raises ``ReadOnlyStore`` if nothing can be written there."""
        scheme = SCHEMES.get(self.scheme)
        if scheme is not None and scheme.publish == "never":
            raise ReadOnlyStore(
                f"cannot {what} {masked(self._url)}: {self.scheme}:// is only read",
                hint="write to a store such as s3:// or sftp://, or to a file",
            )
        return self._store()

    def _place(self, store: RemoteStore, path: str) -> str:
        """Return what the store calls a path. Raises ``UsageError`` for a URL of another store."""
        scheme = split_url(path)[0]
        if scheme and store_of(path, self._options) is not store:
            raise UsageError(
                f"{masked(path)} is not in the store of {masked(self._url)}",
                hint="open both targets and copy from one to the other",
            )
        return store.path(path)

    def _url_of(self, store: RemoteStore, name: str) -> str:
        if self.scheme in ("http", "https"):
            return name
        ours = store.path(self._url)
        head = self._url.rstrip("/").removesuffix(ours)
        return f"{head}{name}" if head.endswith("/") or name.startswith("/") else f"{head}/{name}"

    def make_parent(self, path: str) -> None:
        """Make the directories around a path, where there are directories."""
        parent = path.rstrip("/").rpartition("/")[0].rstrip("/")
        if parent and not parent.endswith(":"):
            self.mkdir(parent)

    def _refuse_tree(self, store: RemoteStore, path: str, done: str) -> None:
        if self.isdir(path):
            raise FileSystemException(
                f"{masked(path)} is a directory, which cannot be {done} at once in {store.name}://"
            )


def _refuse_doubt(store: RemoteStore, path: str, error: FileNotFoundError) -> None:
    """Raise ``ConnectionError`` where fsspec takes a failure of a web server for an absence."""
    cause = error.__cause__
    status = getattr(cause, "status", None)
    if store.scheme.publish == "never" and cause is not None and status not in _GONE:
        said = f"it answered {status}" if status else f"{cause}"
        raise ConnectionError(f"{masked(path)}: cannot tell: {said}") from cause


class _Reader(io.BufferedReader):
    """A stream that gives its connection back when it is closed."""

    def __init__(self, raw: Any, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back
        super().__init__(raw)

    def close(self) -> None:
        super().close()
        if self._give_back is not None:
            self._give_back()
            self._give_back = None
