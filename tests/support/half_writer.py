"""Write half of a target, say so, and wait to be killed: ``python -m ... URL FORMAT``."""

from __future__ import annotations

import os
import sys

from flow.format import Bzip2, Format, Gzip, Nop, OutputPipeProcessWrapper, Text
from flow.targets import open_target

#: Enough that parts of it are sent, files are flushed and compressors write.
PIECES = 12
PIECE_BYTES = 1 << 20


class Piped(Format):
    """Compressed by a program of its own, which lives on when this process is killed."""

    def pipe_writer(self, stream):
        return OutputPipeProcessWrapper(["gzip", "-1"], stream)


FORMATS = {
    "Text": Text,
    "Nop": Nop,
    "Gzip": Gzip,
    "Bzip2": Bzip2,
    "Text>>Gzip": Text >> Gzip,
    "Piped": Piped(),
    "temporary_path": Nop,
}


def main(url: str, name: str) -> None:
    """Never ends by itself."""
    options = {"storage_options": {"default_block_size": 5 << 20}} if url.startswith("s3") else {}
    target = open_target(url, FORMATS[name], **options)
    if name == "temporary_path":
        with target.temporary_path() as path:
            write(open_target(path, Nop, **options), "Nop", closing=True)
            wait()
    write(target, name, closing=False)


def write(target, name: str, *, closing: bool) -> None:
    """Write a lot."""
    out = target.open("w")
    for _ in range(PIECES):
        piece = os.urandom(PIECE_BYTES)
        out.write(piece.hex()[:PIECE_BYTES] if name.startswith("Text") else piece)
    out.flush()
    if closing:
        out.close()
        return
    wait()


def wait() -> None:
    """Say that half is written."""
    print("half", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
