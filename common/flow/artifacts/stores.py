"""The file behind an artifact: of this host, or of the store that the root's URL names."""

from __future__ import annotations

from flow.artifacts.location import SCHEME_END
from flow.targets.base import FileSystemTarget
from flow.targets.formats import Format, Nop
from flow.targets.opening import open_target


def file_at(path: str, form: Format = Nop) -> FileSystemTarget:
    """Return the target at a path or URL."""
    return open_target(path, form)


def shown(path: str) -> str:
    """Spell a path or URL for people: without a password."""
    return str(file_at(path)) if SCHEME_END in path else path
