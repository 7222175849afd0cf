"""Send a folder's code to the coordinator before the run that needs it."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from flow.errors import UsageError
from flow.modules.places import FILE_PREFIX

if TYPE_CHECKING:
    from flow.client.client import Client
    from flow.usercode.shipping import Packed

#: An upload that takes longer shows how far it is, and then as often.
QUIET_S = 1.0
SHOW_EVERY_S = 0.5


def inside(module: str, folder: str) -> str:
    """Name a script relative to the folder that is sent, as workers find it; keep other names.

    Raises:
        UsageError: The script is elsewhere.
    """
    if not module.startswith(FILE_PREFIX):
        return module
    path = os.path.realpath(module.removeprefix(FILE_PREFIX))
    root = os.path.realpath(folder)
    if os.path.commonpath([root, path]) != root or path == root:
        raise UsageError(
            f"{path} is not inside {root}, the folder that is sent to the workers",
            hint="name a --code-dir that contains the script",
        )
    if not os.path.isfile(path):
        raise UsageError(f"there is no file {path}", hint="check the path of the script")
    return FILE_PREFIX + os.path.relpath(path, root)


def pack(folder: str) -> Packed:
    """Pack a folder. Raises ``UsageError``, also where there is nothing to pack."""
    from flow.usercode import shipping

    packed = shipping.pack(folder)
    if not packed.files:
        raise UsageError(
            f"there is no file to send in {os.path.abspath(folder)}",
            hint="check --code-dir, and what .gitignore and .flowignore leave out",
        )
    return packed


def upload(client: Client, packed: Packed, *, quiet: bool) -> None:
    """Have the coordinator keep packed code; whatever it has already is not sent again."""
    from flow.wire.messages.client import Upload, Uploaded
    from flow.wire.messages.shared import PIECE_BYTES_MAX

    body = packed.body
    size_bytes = len(body)
    progress = _Progress(size_bytes, quiet)
    kept = client.ask(Upload(0, packed.digest, size_bytes), Uploaded)
    while not kept.whole:
        at = kept.have_bytes
        piece = body[at : at + PIECE_BYTES_MAX]
        kept = client.ask(Upload(0, packed.digest, size_bytes, at, piece), Uploaded)
        progress.show(kept.have_bytes)
    progress.end()


class _Progress:
    """One line on stderr, for uploads that take long."""

    def __init__(self, size_bytes: int, quiet: bool) -> None:
        self._size_bytes = size_bytes
        self._quiet = quiet
        self._in_place = sys.stderr.isatty()
        self._show_at = time.monotonic() + QUIET_S
        self._shown = False

    def show(self, have_bytes: int) -> None:
        if self._quiet or time.monotonic() < self._show_at:
            return
        # In a file or a pipe one line is enough.
        self._show_at = time.monotonic() + SHOW_EVERY_S if self._in_place else float("inf")
        self._shown = True
        from flow.wire.resources import said_bytes

        text = f"Sending code: {said_bytes(have_bytes)} of {said_bytes(self._size_bytes)}"
        print(f"\r{text}" if self._in_place else text, end="", file=sys.stderr, flush=True)
        if not self._in_place:
            print(file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._shown and self._in_place:
            print(file=sys.stderr, flush=True)
