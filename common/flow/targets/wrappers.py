"""Byte streams that change what goes through them: line ends, and text given as bytes."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable
from typing import IO, Any, Final

_NEWLINES: Final = (None, "", "\n", "\r", "\r\n")
#: Bytes and characters one to one, for the newline decoder of the standard library.
_BYTES: Final = "latin-1"


class LineEnds:
    """Turns every line end into one kind, also where a piece of data ends between CR and LF."""

    def __init__(self, newline: str) -> None:
        self._newline = newline
        self._decoder = io.IncrementalNewlineDecoder(None, translate=True)

    def convert(self, data: Any, final: bool = False) -> bytes:
        """Return the converted bytes; a CR at the end waits for the next piece."""
        text = self._decoder.decode(bytes(data).decode(_BYTES), final)
        return text.replace("\n", self._newline).encode(_BYTES)


def newline_reader(stream: IO[bytes], newline: str | None) -> IO[bytes]:
    """Read with line ends as ``newline``: None for ``\\n``, empty for unchanged."""
    if newline == "":
        return stream
    return io.BufferedReader(_NewlineReader(stream, newline or "\n"))


class _NewlineReader(io.RawIOBase):
    def __init__(self, stream: IO[bytes], newline: str) -> None:
        self._stream = stream
        self._ends = LineEnds(newline)
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            data = self._stream.read(io.DEFAULT_BUFFER_SIZE)
            self._ended = not data
            self._ready = self._ends.convert(data, final=self._ended)
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._stream.close()


class ByteWriter(io.BufferedIOBase):
    """A stream that writes to another one and closes it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._stream.write(data)
        return len(data)

    def flush(self) -> None:
        if not self.closed:
            self._stream.flush()

    def close(self) -> None:
        if not self.closed:
            try:
                super().close()
            finally:
                self._stream.close()


class NewlineWriter(ByteWriter):
    """Writes every line end as ``newline``: None and empty for that of this system."""

    def __init__(self, stream: IO[bytes], newline: str | None) -> None:
        super().__init__(stream)
        self._ends = LineEnds(newline or os.linesep)

    def write(self, data: Any) -> int:
        self._stream.write(self._ends.convert(data))
        return len(data)

    def close(self) -> None:
        try:
            if not self.closed:
                self._stream.write(self._ends.convert(b"", final=True))
        finally:
            super().close()


class MixedWriter(ByteWriter):
    """Takes bytes, and text, which it encodes with a warning."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        super().__init__(stream)
        self.encoding = encoding

    def write(self, data: Any) -> int:
        return super().write(self._encoded(data))

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            super().write(self._encoded(line))

    def _encoded(self, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        warnings.warn("text was written where bytes are expected", stacklevel=3)
        return data.encode(self.encoding)


def check_newline(newline: str | None) -> None:
    """Raise ``ValueError`` for what is no line end."""
    if newline not in _NEWLINES:
        raise ValueError(f"newline is {newline!r}, expected one of {_NEWLINES}")
