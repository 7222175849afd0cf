"""The state directory: is it usable, is it ours alone?

SQLite's own locks come and go with each transaction; a second coordinator must be refused for as
long as the first one lives, and at once. ``flock`` does that and ends with the process, however
it ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from flow.errors import ConfigError, StoreError

LOCK_NAME = "state.lock"
#: More than the longest line this module writes there.
LOCK_TEXT_BYTES_MAX = 512
MOUNTS = Path("/proc/self/mountinfo")
#: File systems whose locks or shared memory are not those of one machine.
#: Source: SQLite, "How To Corrupt An SQLite Database File", 2.1, and "Write-Ahead Logging", 1.
NETWORK_TYPES = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "coda"),
        *("ceph", "lustre", "gpfs", "beegfs", "ocfs2", "gfs2", "orangefs", "pvfs2"),
    }
)
#: FUSE is refused unless it is known to sit on a local disk.
LOCAL_FUSE_TYPES = frozenset({"fuse.fuse-overlayfs", "fuseblk", "fuse.ntfs-3g", "fuse.ext4"})


class StateLock:
    """Exclusive use of one state directory, from construction to ``release`` or process end."""

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK_NAME
        try:
            # O_CLOEXEC is Python's default: a child must not keep the lock of a dead coordinator.
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _unusable(directory, error) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, LOCK_TEXT_BYTES_MAX, 0).decode(errors="replace").strip()
            os.close(self._fd)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StoreError(f"cannot lock {path}: {error.strerror}") from error
            raise StoreError(
                f"state directory {directory} is locked by {holder or 'another process'}",
                hint="stop that coordinator, or start this one with another --state-dir",
            ) from error
        self._sign()

    def _sign(self) -> None:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        text = f"pid {os.getpid()} on host {socket.gethostname()} since {since}\n"
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, text.encode(), 0)
        except OSError:
            pass  # a full disk: the lock holds without its text

    def release(self) -> None:
        """Let another coordinator in. The file stays: deleting it would race with its opener."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def prepare_directory(path: Path, *, force: bool = False) -> Path:
    """Return the real path of a usable state directory; its last level is created when missing.

    Raises:
        ConfigError: It is missing with its parent, is no directory, or lies on a network file
            system and ``force`` is not set.
    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        real = path.resolve(strict=True)
    except FileNotFoundError as error:
        # A missing parent is a typo or a volume that is not mounted: not a reason to start empty.
        raise ConfigError(
            f"state directory {path} cannot be created: {path.parent} does not exist",
            hint=f"mkdir -p {path}",
        ) from error
    except FileExistsError as error:
        raise ConfigError(
            f"state directory {path} is not a directory",
            hint="name a directory with --state-dir",
        ) from error
    except OSError as error:
        raise _unusable(path, error) from error
    kind = filesystem_type(real)
    if not force and is_network(kind):
        raise ConfigError(
            f"state directory {path} lies on {kind}, a network file system: its locks cannot "
            "keep two coordinators apart",
            hint="use a local disk (in Kubernetes: a ReadWriteOncePod volume), or force it",
        )
    return real


def is_network(kind: str) -> bool:
    """Tell whether a file system type is one whose locks reach beyond this machine, or fail to."""
    return kind in NETWORK_TYPES or (kind.startswith("fuse.") and kind not in LOCAL_FUSE_TYPES)


def filesystem_type(path: Path) -> str:
    """Name the file system under an absolute real path; empty where the system does not tell."""
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    best, found = -1, ""
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = _unescape(left.split()[4])
        inside = mount == "/" or path == Path(mount) or Path(mount) in path.parents
        # The later of two mounts on one point covers the earlier: hence >=.
        if inside and len(mount) >= best:
            best, found = len(mount), right.split()[0]
    return found


def _unescape(text: str) -> str:
    # Source: proc(5), mountinfo: space, tab, newline and backslash are written as octal.
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"state directory {path} cannot be used: {error.strerror}",
        hint="it must be a directory this user may write to: see --state-dir",
    )
