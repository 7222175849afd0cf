"""Paths under a root, that cannot leave it."""

from __future__ import annotations

import os
import re
from os import PathLike, fspath
from typing import Final
from urllib.parse import unquote

from flow.errors import UsageError
from flow.targets.base import FileSystemException

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SECRET: Final = re.compile(r"(://[^/@:]*):[^/]*@")


class PathEscapes(UsageError, FileSystemException):
    """A path would leave the root that everything must be under."""


def split_url(path: str) -> tuple[str, str]:
    """Return the scheme, in lower case, and what follows ``://``; ``("", path)`` for a path."""
    if not _SCHEME.match(path):
        return "", path
    scheme, _, rest = path.partition("://")
    return scheme.lower(), rest


def masked(url: str) -> str:
    """Leave a password out."""
    return _SECRET.sub(r"\1:***@", url)


def join_inside(root: str | PathLike[str], path: str) -> str:
    """Return ``path``, which is relative, under ``root``: a directory or any URL.

    ``.`` and doubled slashes vanish; every ``..`` is refused, also where it would come back,
    because object stores take it for a name and file systems for a way out. For a directory (and
    ``file://``) links are followed as they are now: one that leads out of the root is refused.
    Whoever can change links in the root later can still lead out. Behind other URLs nobody looks:
    their names are compared as text only.

    Raises:
        PathEscapes: It is absolute, empty, has ``..`` in it, or a link leads out.
    """
    root = fspath(root)
    if not root:
        raise UsageError("the root of a path is empty", hint="name a directory or a URL")
    scheme, place = split_url(root)
    inside = "/".join(_parts(root, path, remote=scheme not in ("", "file", "local")))
    if scheme in ("", "file", "local"):
        _refuse_links_out(root, place, path, inside)
    if not place:  # a scheme alone: the first part of the path is the bucket or the like
        return root + inside
    return f"{root.rstrip('/')}/{inside}" if place.strip("/") else f"{root[: -len(place)]}/{inside}"


def _parts(root: str, path: str, *, remote: bool) -> list[str]:
    if not isinstance(path, str):
        raise PathEscapes(
            f"a path under {root} must be a text, not {type(path).__name__}",
            hint="give a relative path such as 'part/result.txt'",
        )
    # Windows shares take both slashes, and web servers decode before they resolve.
    read = unquote(path).replace("\\", "/") if remote else path
    if read.startswith("/") or _SCHEME.match(path):
        why = "it is absolute"
    elif ".." in read.split("/"):
        why = "it has '..' in it"
    elif "\0" in read:
        why = "it has a NUL character in it"
    else:
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if parts:
            return parts
        why = "it names the root itself"
    raise PathEscapes(
        f"{path!r} is not a path under {root}: {why}",
        hint="give a relative path such as 'part/result.txt'",
    )


def _refuse_links_out(root: str, directory: str, path: str, inside: str) -> None:
    home = os.path.realpath(directory)
    real = os.path.realpath(os.path.join(home, inside))
    if not real.startswith(home.rstrip("/") + "/"):
        raise PathEscapes(
            f"{path!r} is not a path under {root}: a link in it leads to {real}",
            hint="remove the link, or set another root",
        )
