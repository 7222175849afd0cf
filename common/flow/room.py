"""Whether a disk has room for what tasks print: asked by who writes it and by who shows it."""

from __future__ import annotations

import os

#: Less free space than this is none.
FREE_BYTES_MIN = 64 << 10


def has_room(log_dir: str | os.PathLike[str]) -> bool:
    """Tell whether the disk of a directory takes anything. Cost: one system call."""
    try:
        found = os.statvfs(log_dir)
    except OSError:
        return False
    free_bytes = found.f_bavail * found.f_frsize
    return free_bytes >= FREE_BYTES_MIN and not found.f_flag & os.ST_RDONLY
