"""Files on their way to stores on other hosts, where they appear whole or not at all."""

from __future__ import annotations

import io
import tempfile
from abc import abstractmethod
from typing import IO, Any, Final, cast

from flow.targets.atomic import Publication
from flow.targets.base import FileAlreadyExists, temporary_beside
from flow.targets.paths import masked
from flow.targets.stores import RemoteStore

#: What fits is uploaded by one request. S3 takes no smaller parts of larger files.
SMALL_BYTES_MAX: Final = 5 << 20
#: FTP makes a connection for each block.
_FTP_BLOCK_BYTES: Final = 8 << 20


def upload(store: RemoteStore, url: str) -> Publication:
    """Begin to write a file in the way its store allows."""
    kind = {"stream": StreamedUpload, "whole": WholeUpload}.get(store.scheme.publish, BesideUpload)
    return kind(store, url)


class _Gate(io.BufferedIOBase):
    """What formats write to; closing it publishes nothing."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self.stopped = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if not self.stopped:
            self._sink(data)
        return len(data)


class _Upload(Publication):
    def __init__(self, store: RemoteStore, url: str) -> None:
        self.place = masked(url)
        self._store = store
        self._path = store.path(url)
        self._gate = _Gate(self._write)
        self.stream = cast(IO[bytes], self._gate)

    def stop(self) -> None:
        self._gate.stopped = True

    @abstractmethod
    def _write(self, data: Any) -> None:
        """Take bytes."""


class _ObjectUpload(_Upload):
    """To an object store: what is small goes by one request, the rest as ``_open()`` says."""

    def __init__(self, store: RemoteStore, url: str) -> None:
        super().__init__(store, url)
        self._head = bytearray()
        self._file: Any = None

    def _write(self, data: Any) -> None:
        if self._file is None:
            self._head += data
            if len(self._head) <= SMALL_BYTES_MAX or self._store.name == "memory":
                return
            self._file, data, self._head = self._open(), self._head, bytearray()
        self._file.write(data)

    @abstractmethod
    def _open(self) -> Any:
        """Open what takes a large file."""

    def _commit_small(self) -> None:
        with self._store.client() as client:
            client.pipe_file(self._path, bytes(self._head))


class StreamedUpload(_ObjectUpload):
    """Uploaded in parts while it is written; the last request makes the object from them.

    A process that is killed leaves parts that no reader sees; a lifecycle rule of the bucket that
    aborts incomplete uploads removes them.
    """

    def _open(self) -> Any:
        client, _ = self._store.lease()
        return client.open(self._path, "wb", autocommit=False)

    def commit(self) -> None:
        if self._file is None:
            self._commit_small()
        else:
            self._file.close()
            self._file.commit()

    def discard(self) -> None:
        self._head.clear()
        if self._file is not None:
            # Not to be finished when it is collected either.
            file, self._file = self._file, None
            file.closed = True
            file.discard()


class WholeUpload(_ObjectUpload):
    """Collected on this host, and uploaded when it is complete."""

    def _open(self) -> Any:
        return tempfile.NamedTemporaryFile("wb", prefix="flow-upload-")

    def commit(self) -> None:
        if self._file is None:
            self._commit_small()
            return
        self._file.flush()
        with self._store.client() as client:
            client.put_file(self._file.name, self._path)
        self._file.close()

    def discard(self) -> None:
        self._head.clear()
        if self._file is not None:
            self._file.close()


class BesideUpload(_Upload):
    """Written under a temporary name in the same directory, and renamed."""

    def __init__(self, store: RemoteStore, url: str) -> None:
        super().__init__(store, url)
        self.tmp_path = temporary_beside(url)
        self._temporary = store.path(self.tmp_path)
        self._client, self._give_back = store.lease()
        block = {"block_size": _FTP_BLOCK_BYTES} if store.name == "ftp" else {}
        self._file: Any = self._client.open(self._temporary, "wb", **block)

    def _write(self, data: Any) -> None:
        self._file.write(data)

    def commit(self) -> None:
        self._file.close()
        put_in_place(self._store, self._client, self._temporary, self._path)
        self._give_back()

    def discard(self) -> None:
        try:
            self._file.close()
        finally:
            self._client.rm_file(self._temporary)
        self._give_back()


def put_in_place(store: RemoteStore, client: Any, temporary: str, path: str) -> None:
    """Rename a file to its final name, in the place of one that is there.

    Raises:
        FileAlreadyExists: There is a directory.
    """
    if client.isdir(path):
        raise FileAlreadyExists(path)
    if not store.scheme.replaces and client.exists(path):
        client.rm_file(path)
    client.mv(temporary, path)
    if not store.scheme.replaces and not client.exists(path):
        # Some servers answer "no" where fsspec does not listen.
        raise OSError(f"{store.name}: could not rename {temporary} to {path}")
