"""How the bytes of a file become what a task reads and writes: text, bytes, compressed bytes.

Formats chain with ``>>``, the one next to the file last: ``Text >> Gzip`` is compressed text.
"""

from __future__ import annotations

import io
from typing import IO, Any


class Format:
    """Wraps a binary stream for reading or for writing."""

    def pipe_reader(self, stream: IO[bytes]) -> IO[Any]:
        """Return a stream that reads through this one, and closes it."""
        raise NotImplementedError

    def pipe_writer(self, stream: IO[bytes]) -> IO[Any]:
        """Return a stream that writes through this one, and closes it."""
        raise NotImplementedError

    def __rshift__(self, nearer_to_file: Format) -> Format:
        return Chain(self, nearer_to_file)


class Chain(Format):
    """Two formats, the second next to the file."""

    def __init__(self, outer: Format, inner: Format) -> None:
        self.outer = outer
        self.inner = inner

    def pipe_reader(self, stream: IO[bytes]) -> IO[Any]:
        return self.outer.pipe_reader(self.inner.pipe_reader(stream))

    def pipe_writer(self, stream: IO[bytes]) -> IO[Any]:
        return self.outer.pipe_writer(self.inner.pipe_writer(stream))


class NopFormat(Format):
    """Bytes as they are."""

    def pipe_reader(self, stream: IO[bytes]) -> IO[Any]:
        return stream

    def pipe_writer(self, stream: IO[bytes]) -> IO[Any]:
        return stream


class TextFormat(Format):
    """Text in an encoding, UTF-8 unless said otherwise, whatever the locale."""

    def __init__(
        self, encoding: str = "utf-8", errors: str | None = None, newline: str | None = None
    ) -> None:
        self.encoding = encoding
        self.errors = errors
        self.newline = newline

    def pipe_reader(self, stream: IO[bytes]) -> IO[Any]:
        return io.TextIOWrapper(stream, self.encoding, self.errors, self.newline)

    def pipe_writer(self, stream: IO[bytes]) -> IO[Any]:
        return io.TextIOWrapper(stream, self.encoding, self.errors, self.newline)


class GzipFormat(Format):
    """Bytes compressed by gzip. The file has no time stamp: equal content is an equal file."""

    def __init__(self, compression_level: int = 6) -> None:
        self.compression_level = compression_level

    def pipe_reader(self, stream: IO[bytes]) -> IO[Any]:
        return _Gzip(stream, "rb", self.compression_level)

    def pipe_writer(self, stream: IO[bytes]) -> IO[Any]:
        return _Gzip(stream, "wb", self.compression_level)


def _Gzip(stream: IO[bytes], mode: str, level: int) -> IO[Any]:
    import gzip  # only compressed targets need it

    class Closing(gzip.GzipFile):
        """GzipFile leaves a stream that it was given open."""

        def close(self) -> None:
            try:
                super().close()
            finally:
                stream.close()

    return Closing("", mode, level, stream, 0)  # type: ignore[return-value]


Text = TextFormat()
UTF8 = TextFormat("utf-8")
Nop = NopFormat()
Gzip = GzipFormat()


def get_default_format() -> Format:
    """Return the format of targets that name none."""
    return Text
