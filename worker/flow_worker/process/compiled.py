"""Compiled code, kept by content: what was compiled once is not compiled again.

One file for each (bytes of the source, path as compiled in, kind of Python), so that a file which
is edited, copied, moved or read by another Python has another name here, and nothing in this
directory is ever stale. Names and times of the sources play no part: this is why it may be believed
where a ``.pyc`` may not.

Code is executed from here. So the directory and each file must belong to the user who reads and be
writable by nobody else, and each file says the checksum of what it holds: ``marshal`` may crash on
damaged bytes and never gets any.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import marshal
import os
import stat
import sys
import time
from pathlib import Path
from types import CodeType

#: What the directory may hold before the oldest files go.
CACHE_BYTES_MAX = 256 << 20
#: How far it is emptied then, so that not every process has to.
KEPT_SHARE = 0.75
#: A temporary file this old was left by a process that died.
LEFTOVER_S = 3600.0

_SUFFIX = ".code"
_TEMPORARY = ".tmp"
_MAGIC = b"flowcod1"
_HEADER_BYTES = len(_MAGIC) + hashlib.sha256().digest_size
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def _kind_of_python() -> bytes:
    """Name all that makes equal sources compile to different code."""
    return repr(
        (
            sys.implementation.cache_tag,
            importlib.util.MAGIC_NUMBER,
            sys.flags.optimize,
            sys._xoptions.get("no_debug_ranges", "PYTHONNODEBUGRANGES" in os.environ),
        )
    ).encode()


class CodeCache:
    """A directory of compiled code. Whatever is wrong with it, the answer is "not cached"."""

    def __init__(self, folder: Path, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._folder = os.path.abspath(folder)
        self._bytes_max = bytes_max
        self._kind = _kind_of_python()
        self._uid = os.geteuid()
        self._looked_at_size = False

    def refusal(self) -> str:
        """Make the directory; say why code must not be executed from it, or nothing."""
        try:
            os.makedirs(self._folder, 0o700, exist_ok=True)
            found = os.lstat(self._folder)
        except OSError as error:
            return f"compiled code is not cached: {self._folder}: {error.strerror}"
        if not stat.S_ISDIR(found.st_mode):
            return f"compiled code is not cached: {self._folder} is not a directory"
        if not self._is_ours_alone(found):
            return (
                f"compiled code is not cached: {self._folder} belongs to another user or is "
                "writable by others; remove it, or run: chmod go-w on it"
            )
        return ""

    def _is_ours_alone(self, found: os.stat_result) -> bool:
        return found.st_uid == self._uid and not found.st_mode & _WRITABLE_BY_OTHERS

    def key(self, digest: bytes, path: str) -> bytes:
        """Name the code of these bytes when it is compiled as the file ``path``."""
        return hashlib.sha256(
            b"\0".join((self._kind, digest, os.fsencode(path))), usedforsecurity=False
        ).digest()

    def get(self, key: bytes) -> CodeType | None:
        """Return the code that was kept under this key, if it is whole and ours."""
        try:
            # O_NONBLOCK: what looks like a file may be a pipe.
            fd = os.open(
                f"{self._folder}/{key.hex()}{_SUFFIX}",
                os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK,
            )
        except OSError:  # not there, most of the time; in any case it is compiled instead
            return None
        try:
            found = os.fstat(fd)
            if not self._is_ours_alone(found) or found.st_size > self._bytes_max:
                return None
            body = os.read(fd, found.st_size)
        except OSError:  # a disk that fails to read is no reason not to compile
            return None
        finally:
            os.close(fd)
        payload = body[_HEADER_BYTES:]
        if body[:_HEADER_BYTES] != _header(key, payload):
            return None
        code = marshal.loads(payload)
        return code if isinstance(code, CodeType) else None

    def put(self, key: bytes, code: CodeType) -> None:
        """Keep code under this key, if that is possible."""
        payload = marshal.dumps(code)
        if _HEADER_BYTES + len(payload) > self._bytes_max:
            return
        self._bound_size_once()
        temporary = f"{self._folder}/{os.urandom(12).hex()}{_TEMPORARY}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with open(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(_header(key, payload) + payload)
            os.replace(temporary, f"{self._folder}/{key.hex()}{_SUFFIX}")
        except OSError:  # full, read-only, gone: the next process compiles once more
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def _bound_size_once(self) -> None:
        """Remove the oldest files of a directory that is over its limit, once a process."""
        if self._looked_at_size:
            return
        self._looked_at_size = True
        kept: list[tuple[float, int, str]] = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if not entry.name.endswith((_SUFFIX, _TEMPORARY)):
                        continue
                    with contextlib.suppress(FileNotFoundError):  # removed by another process
                        found = entry.stat(follow_symlinks=False)
                        if entry.name.endswith(_TEMPORARY):
                            if found.st_mtime < time.time() - LEFTOVER_S:
                                os.unlink(entry.path)
                            continue
                        kept.append((found.st_mtime, found.st_size, entry.path))
        except OSError:  # the directory is gone or not readable: then it is not written either
            return
        self._remove_oldest(kept)

    def _remove_oldest(self, files: list[tuple[float, int, str]]) -> None:
        total = sum(size for _, size, _ in files)
        if total <= self._bytes_max:
            return
        for _, size, path in sorted(files):
            if total <= self._bytes_max * KEPT_SHARE:
                return
            with contextlib.suppress(OSError):  # another process was quicker, or it may not
                os.unlink(path)
            total -= size


def _header(key: bytes, payload: bytes) -> bytes:
    """The checksum covers the key: a file under another's name is not believed."""
    checksum = hashlib.sha256(key, usedforsecurity=False)
    checksum.update(payload)
    return _MAGIC + checksum.digest()
