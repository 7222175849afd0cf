"""Stores on other hosts: what each scheme can do, what it needs, and connections to it.

A connection is made at the first question, never at construction. What is kept is kept per process,
because no client survives a fork: its event loop's thread stays behind, and its sockets would be
used by two. Clients with an event loop of their own serve all threads at once; the others (FTP,
SFTP, SMB, HDFS) serve one question at a time, so there are several of them.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple

from flow.errors import UsageError
from flow.targets.base import FileSystemException
from flow.targets.paths import masked, split_url

#: Questions at the same time over connections that serve one at a time; servers bound them too.
CONNECTIONS_MAX: Final = 8
#: As many as a planner has threads.
S3_CONNECTIONS_MAX: Final = 64


class ReadOnlyStore(UsageError, FileSystemException):
    """Something was to be written to, moved or removed from a store that can only be read."""


class Scheme(NamedTuple):
    """What is known of one kind of store.

    ``publish`` is how a written file appears whole:

    * ``stream``: an upload becomes visible when it is completed, and is cancelled otherwise;
    * ``whole``: collected here (small ones in memory, others in a temporary file), then uploaded;
    * ``beside``: written under a temporary name in the same directory, then renamed;
    * ``never``: it can only be read.
    """

    publish: Literal["stream", "whole", "beside", "never"]
    #: What to give to pip; empty: fsspec alone is enough.
    install: str = ""
    #: Whether a rename replaces a file. Else it is removed first: gone for a moment, never half.
    replaces: bool = False
    #: Whether directories exist only as parts of names.
    flat: bool = False


_S3: Final = Scheme("stream", "flow-workflows[remote]", flat=True)
_GOOGLE: Final = Scheme("stream", "gcsfs", flat=True)
_AZURE: Final = Scheme("whole", "adlfs", flat=True)
_SFTP: Final = Scheme("beside", "paramiko", replaces=True)
_HDFS: Final = Scheme("beside", "pyarrow")
_WEB: Final = Scheme("never", "aiohttp")
_FILE: Final = Scheme("beside", replaces=True)
SCHEMES: Final = {
    "s3": _S3,
    "s3a": _S3,
    "gs": _GOOGLE,
    "gcs": _GOOGLE,
    "az": _AZURE,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "hdfs": _HDFS,
    "webhdfs": Scheme("beside", "requests"),
    "ftp": Scheme("beside", replaces=True),
    "sftp": _SFTP,
    "ssh": _SFTP,
    "smb": Scheme("beside", "smbprotocol"),
    "memory": Scheme("whole", flat=True),
    "file": _FILE,
    "local": _FILE,
    "http": _WEB,
    "https": _WEB,
}
#: Where fsspec cuts a name at what would be a query or a fragment of a web page.
_PLAIN_NAMES: Final = ("ftp", "sftp", "ssh", "smb")
_SLASHES: Final = re.compile("/+")
#: Of every other scheme that fsspec knows nothing is assumed.
_OTHER: Final = Scheme("beside")


class RemoteStore:
    """One store, as one process uses it."""

    def __init__(self, name: str, cls: Any, options: dict[str, Any]) -> None:
        self.name = name
        self.scheme = SCHEMES.get(name, _OTHER)
        self._cls = cls
        self._options = options
        self._shared = cls.async_impl or name in ("memory", "file", "local")
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._idle: list[Any] = []
        self._one: Any = None

    def path(self, url: str) -> str:
        """Return how the store itself names a URL."""
        path = str(self._cls._strip_protocol(url))
        if self.scheme.publish != "beside" or "://" in path:
            return path
        return _SLASHES.sub("/", path)  # to the server they are one, to some drivers another name

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Give an fsspec file system for one question."""
        if self._shared:
            yield self._get_shared()
            return
        with self._room:
            client, give_back = self.lease()
            try:
                yield client
            except (FileNotFoundError, FileExistsError):
                give_back()  # an answer like any other
                raise
            give_back()  # not after other errors: the connection may be in the middle of something

    def lease(self) -> tuple[Any, Callable[[], None]]:
        """Return an fsspec file system for as long as a stream is open, and how to give it back."""
        if self._shared:
            return self._get_shared(), lambda: None
        while True:
            try:
                client = self._idle.pop()
            except IndexError:
                client = self._make()
                break
            if _is_alive(client):
                break
        return client, lambda: self._keep(client)

    def _keep(self, client: Any) -> None:
        if len(self._idle) < CONNECTIONS_MAX:
            self._idle.append(client)

    def _get_shared(self) -> Any:
        if self._one is None:
            with self._lock:
                if self._one is None:
                    self._one = self._make()
        return self._one

    def _make(self) -> Any:
        return self._cls(**self._options, skip_instance_cache=True)


#: (process, class, options) -> store. Those of a parent process stay, unused: closing a client in
#: the child would speak over the parent's connection, or to an event loop that is not there.
_stores: Final[dict[tuple[int, Any, str], RemoteStore]] = {}


def store_of(url: str, options: dict[str, Any]) -> RemoteStore:
    """Return this process's store for a URL; nothing is connected yet.

    Raises:
        MissingExtra: The driver is not installed.
        UsageError: Nobody knows the scheme.
    """
    name = split_url(url)[0]
    cls = _driver(name)
    said = cls._get_kwargs_from_urls(url)
    if name in _PLAIN_NAMES and not said.keys().isdisjoint(("url_query", "url_fragment")):
        raise UsageError(
            f"{masked(url)}: '?' and '#' would be lost from a name in {name}://",
            hint="choose another name",
        )
    merged = {**said, **_defaults(name, cls), **options}
    key = (os.getpid(), cls, repr(sorted(merged.items())))
    found = _stores.get(key)
    if found is None:
        found = _stores.setdefault(key, RemoteStore(name, cls, merged))
    return found


def _driver(name: str) -> Any:
    from flow.extras import MissingExtra, need

    fsspec = need("fsspec", "remote", f"a {name}:// target")
    try:
        return fsspec.get_filesystem_class(name)
    except ImportError as error:
        wanted = SCHEMES.get(name, _OTHER).install
        if not wanted:
            raise MissingExtra(f"a {name}:// target cannot be used: {error}") from error
        raise MissingExtra(
            f"a {name}:// target needs a package that is not installed: pip install '{wanted}'"
            if "[" in wanted
            else f"a {name}:// target needs {wanted}, which is not installed: pip install {wanted}"
        ) from error
    except ValueError as error:
        raise UsageError(
            f"nobody knows how to reach {name}:// targets",
            hint=f"known: {', '.join(sorted(SCHEMES))}, and what else fsspec knows",
        ) from error


def _defaults(name: str, cls: Any) -> dict[str, Any]:
    """What fsspec would do otherwise, and targets must not."""
    found: dict[str, Any] = {}
    if cls.async_impl or name == "ftp":
        found["use_listings_cache"] = False  # a remembered listing hides what others have made
    if name in ("s3", "s3a"):
        from flow.extras import need

        known = need("fsspec.config", "remote", f"a {name}:// target").conf
        if not any("config_kwargs" in known.get(each, {}) for each in ("s3", "s3a")):
            found["config_kwargs"] = {"max_pool_connections": S3_CONNECTIONS_MAX}
    return found


def _is_alive(client: Any) -> bool:
    """Whether a connection that was idle still answers: servers close them, and fsspec takes that
    for a missing file."""
    if hasattr(client, "ftp") and hasattr(client.ftp, "voidcmd"):
        import ftplib

        try:
            client.ftp.voidcmd("NOOP")
        except ftplib.all_errors:
            return False
    elif hasattr(client, "client") and hasattr(client.client, "get_transport"):
        transport = client.client.get_transport()
        return transport is not None and bool(transport.is_active())
    return True
