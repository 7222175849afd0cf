"""Code that was sent along with a run: from the agent's file to the front of ``sys.path``.

The agent keeps ``HASH.zip`` on a shelf (``flow_worker.process.shelf``) and holds its lock as long
as a program here needs it. The template unpacks that beside it and removes the file: a folder of
that name is whole, since it was renamed into place. Done before the import, where no lease depends
on how long it takes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys

from flow.errors import ConfigError, ProtocolError
from flow.modules import places
from flow.parameters import defaults
from flow.usercode import shipping
from flow_worker.process import requirements, shelf


def enter(archive: str) -> None:
    """Have this process import from packed code first, and from what that requires next.

    Raises:
        FlowError: It cannot be unpacked, or what it requires cannot be installed.
    """
    folder = os.path.realpath(_unpacked(archive))
    site = requirements.site_for(folder)
    sys.path[:0] = [folder, *([site] if site else [])]
    places.package_folder = folder


def _unpacked(archive: str) -> str:
    folder = archive.removesuffix(shelf.ARCHIVE)
    if os.path.isdir(folder):
        return folder
    name = os.path.basename(folder)[:12]
    try:
        with open(archive, "rb") as file:
            body = file.read(shipping.BODY_BYTES_MAX + 1)
    except FileNotFoundError:
        if os.path.isdir(folder):  # another process unpacked it just now
            return folder
        raise ConfigError(
            f"code {name} was removed from {os.path.dirname(archive)}", hint="submit it again"
        ) from None
    except OSError as error:
        raise ConfigError(f"code {name} cannot be read: {error}", hint="submit it again") from error
    if hashlib.sha256(body).hexdigest() != os.path.basename(folder):
        _forget(archive)
        raise ProtocolError(f"code {name} is damaged on this worker's disk; submit it again")
    shelf.trim(os.path.dirname(archive), defaults.settings().worker.packages_bytes_max)
    try:
        shipping.unpack(body, folder)
    except ProtocolError as error:
        raise ProtocolError(f"code {name} is refused: {error}") from error
    _forget(archive)
    return folder


def _forget(archive: str) -> None:
    # Gone already where another process was quicker; else it only takes room.
    with contextlib.suppress(OSError):
        os.unlink(archive)
