"""Files of packed code below the state directory: one for each, named by its hash.

A file that has its name is whole, checked and durable; parts are temporary files, which a restart
removes. When a package was used last is the time of its file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

from flow.wire.messages.shared import PIECE_BYTES_MAX, is_package
from flow_coordinator.core.effects import WritePackage
from flow_coordinator.core.events import PackageRefused, PackageWritten

FOLDER = "code"
#: What the disk is told to write at once: the loop waits for it.
SYNC_BYTES = 4 << 20
_TEMPORARY = ".tmp"


class _Part:
    """A file that is being written, and the hash of what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self.fd = os.open(path, flags, 0o600)
        self.hash = hashlib.sha256()
        self.size_bytes = 0
        self.unsynced_bytes = 0

    def add(self, body: bytes) -> None:
        left = memoryview(body)
        while left:
            left = left[os.write(self.fd, left) :]
        self.hash.update(body)
        self.size_bytes += len(body)
        self.unsynced_bytes += len(body)
        if self.unsynced_bytes >= SYNC_BYTES:
            os.fdatasync(self.fd)
            self.unsynced_bytes = 0


class PackageFiles:
    """The folder, which is made when there is something to keep."""

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir / FOLDER
        self._parts: dict[str, _Part] = {}

    def listing(self) -> list[tuple[str, int, float]]:
        """Return what is kept: (hash, bytes, time of its last use); remove leftover parts."""
        found = []
        try:
            entries = list(os.scandir(self.folder))
        except FileNotFoundError:
            return []
        for entry in entries:
            if entry.name.endswith(_TEMPORARY):
                with contextlib.suppress(OSError):  # it stays, and takes room
                    os.unlink(entry.path)
            elif is_package(entry.name) and entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                found.append((entry.name, status.st_size, status.st_mtime))
        return found

    def write(self, effect: WritePackage) -> PackageWritten | PackageRefused:
        """Add a piece; with the last one, check the whole and give it its name."""
        package = effect.package
        try:
            part = self._part(effect)
            part.add(effect.body)
            if part.size_bytes == effect.size_bytes:
                if part.hash.hexdigest() != package:
                    self.remove(package)
                    reason = f"code {package[:12]} was damaged on its way: its hash differs"
                    return PackageRefused(package, reason)
                self._finish(package, part)
            return PackageWritten(package, part.size_bytes)
        except OSError as error:
            self.remove(package)
            reason = f"code cannot be kept in {self.folder}: {error.strerror}"
            return PackageRefused(package, reason)

    def _part(self, effect: WritePackage) -> _Part:
        part = self._parts.get(effect.package)
        if part is None:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            part = _Part(self.folder / f"{effect.package}{_TEMPORARY}")
            self._parts[effect.package] = part
        return part

    def _finish(self, package: str, part: _Part) -> None:
        os.fsync(part.fd)
        os.close(part.fd)
        del self._parts[package]
        os.rename(part.path, self.folder / package)
        for folder in (self.folder, self.folder.parent):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def read(self, package: str, at_bytes: int) -> bytes:
        """Read a piece. Raises ``OSError``."""
        with open(self.folder / package, "rb") as file:
            file.seek(at_bytes)
            return file.read(PIECE_BYTES_MAX)

    def touch(self, package: str) -> None:
        """Remember that it is used now."""
        # Gone, or on a disk that fails: whoever reads it says so.
        with contextlib.suppress(OSError):
            os.utime(self.folder / package, (time.time(),) * 2)

    def remove(self, package: str) -> None:
        """Remove it, or what there is of it."""
        part = self._parts.pop(package, None)
        if part is not None:
            os.close(part.fd)
        for name in (package, f"{package}{_TEMPORARY}"):
            # What cannot be removed takes room, and counts again after a restart.
            with contextlib.suppress(OSError):
                os.unlink(self.folder / name)

    def close(self) -> None:
        """Forget what is not whole."""
        for package in list(self._parts):
            self.remove(package)
