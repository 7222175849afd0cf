"""One function that makes the right target for a path or URL."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

from flow.targets.base import FileSystemTarget
from flow.targets.formats import Format
from flow.targets.paths import split_url


def open_target(
    url: str | PathLike[str], format: Format | None = None, **options: Any
) -> FileSystemTarget:
    """Return the target at a place that only settings or parameters know.

    ``mock://name`` is a ``MockTarget``; a path or ``file://`` URL a ``LocalTarget``; everything
    else a ``RemoteTarget``. ``options`` go to it, such as ``storage_options`` to the last.
    """
    text = fspath(url)
    scheme, rest = split_url(text)
    if scheme == "mock":
        from flow.targets.mock import MockTarget

        return MockTarget(rest, format=format, **options)
    if scheme in ("", "file", "local"):
        from flow.targets.local import LocalTarget

        return LocalTarget(rest, format, **options)
    from flow.targets.remote import RemoteTarget

    return RemoteTarget(text, format, **options)
