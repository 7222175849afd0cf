"""The agent's files of packed code: pieces in, a checked archive out, kept while it is needed.

Nothing here takes long: unpacking, and making room, is work for the templates.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from flow.errors import FlowError
from flow_worker.core.effects import KeepPiece
from flow_worker.core.events import PackageAt
from flow_worker.process import shelf


class _Part:
    """A file that is being written. Its name is its own: workers of a host share the folder."""

    def __init__(self, path: str) -> None:
        self.path = f"{path}.{os.urandom(8).hex()}{shelf.TEMPORARY}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self.fd = os.open(self.path, flags, 0o600)
        self.hash = hashlib.sha256()
        self.size_bytes = 0

    def add(self, body: bytes) -> None:
        left = memoryview(body)
        while left:
            left = left[os.write(self.fd, left) :]
        self.hash.update(body)
        self.size_bytes += len(body)

    def close(self, into: str = "") -> None:
        os.close(self.fd)
        if into:
            os.rename(self.path, into)
        else:
            # What cannot be removed only takes room.
            with contextlib.suppress(OSError):
                os.unlink(self.path)


class PackageCache:
    """The shelf of packages, as the agent uses it."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.path.abspath(folder)
        self._parts: dict[str, _Part] = {}
        #: descriptors of the locks of what programs here need
        self._held: dict[str, int] = {}

    def seek(self, package: str) -> PackageAt:
        """Look whether a package is here; if it is, or not yet, it stays."""
        path = self._path(package)
        try:
            shelf.prepare(self._folder)
            if package not in self._held:
                self._held[package] = shelf.lock(path, wait=False)
        except BlockingIOError:
            # Another worker removes it right now, and its lock file with it: fetched without one.
            return PackageAt(package)
        except OSError as error:
            return self._fail(package, f"{self._folder}: {error.strerror}")
        except FlowError as error:
            return self._fail(package, f"{error} ({error.hint})")
        here = os.path.isdir(path) or os.path.isfile(path + shelf.ARCHIVE)
        return PackageAt(package, archive=path + shelf.ARCHIVE if here else "")

    def keep(self, effect: KeepPiece) -> PackageAt:
        """Add a piece; with the last one, check the whole and give it its name."""
        package, path = effect.package, self._path(effect.package)
        part = self._parts.get(package)
        try:
            if part is None:
                part = self._parts[package] = _Part(path)
            if part.size_bytes != effect.at_bytes:
                return PackageAt(package, part.size_bytes)
            part.add(effect.body)
            if part.size_bytes < effect.size_bytes:
                return PackageAt(package, part.size_bytes)
            if part.hash.hexdigest() != package:
                return self._fail(package, "it was damaged on its way here: its hash differs")
            self._parts.pop(package).close(path + shelf.ARCHIVE)
        except OSError as error:
            return self._fail(package, f"it cannot be kept in {self._folder}: {error.strerror}")
        return PackageAt(package, part.size_bytes, path + shelf.ARCHIVE)

    def _path(self, package: str) -> str:
        return os.path.join(self._folder, package)

    def _fail(self, package: str, why: str) -> PackageAt:
        self.let_go(package)
        return PackageAt(package, error=why)

    def let_go(self, package: str) -> None:
        """Have nothing to do with a package any more; what there is of it whole may stay."""
        part = self._parts.pop(package, None)
        if part is not None:
            part.close()
        held = self._held.pop(package, None)
        if held is not None:
            os.close(held)

    def close(self) -> None:
        """Let go of everything."""
        for package in [*self._parts, *self._held]:
            self.let_go(package)
