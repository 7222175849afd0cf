"""How the bytes of a file become what a task reads and writes: text, bytes, compressed bytes.

Formats chain with ``>>``, the one next to the file last: ``Text >> Gzip`` is compressed text.
"""

from __future__ import annotations

import io
import itertools
from typing import IO, Any, ClassVar


class Format:
    """Wraps a binary stream for reading or for writing.

    ``input`` and ``output`` say what a writer takes and what it passes on, towards the file:
    "unicode" or "bytes", None for either. Formats that do not fit do not chain.
    """

    input: str | None = None
    output: str | None = None

    def pipe_reader(self, stream: IO[bytes]) -> IO[Any]:
        """Return a stream that reads through this one, and closes it."""
        raise NotImplementedError

    def pipe_writer(self, stream: IO[bytes]) -> IO[Any]:
        """Return a stream that writes through this one, and closes it."""
        raise NotImplementedError

    def __rshift__(self, nearer_to_file: Format) -> Format:
        return ChainFormat(self, nearer_to_file)


class ChainFormat(Format):
    """Formats in a row, the last next to the file.

    Raises:
        TypeError: One gives what the next does not take.
    """

    def __init__(self, *args: Format, check_consistency: bool = True) -> None:
        self.args = args
        self.input = getattr(args[0], "input", None)
        self.output = getattr(args[-1], "output", None)
        if not check_consistency:
            return
        for outer, inner in itertools.pairwise(args):
            gives, takes = getattr(outer, "output", None), getattr(inner, "input", None)
            if gives is not None and takes is not None and gives != takes:
                raise TypeError(
                    f"formats do not chain: {type(outer).__name__} gives {gives}, "
                    f"{type(inner).__name__} takes {takes}; the one next to the file comes last, "
                    "as in Text >> Gzip"
                )

    def pipe_reader(self, stream: IO[bytes]) -> IO[Any]:
        for each in reversed(self.args):
            stream = each.pipe_reader(stream)
        return stream

    def pipe_writer(self, stream: IO[bytes]) -> IO[Any]:
        for each in reversed(self.args):
            stream = each.pipe_writer(stream)
        return stream


class NopFormat(Format):
    """Bytes as they are."""

    def pipe_reader(self, stream: IO[bytes]) -> IO[Any]:
        return stream

    def pipe_writer(self, stream: IO[bytes]) -> IO[Any]:
        return stream


class WrappedFormat(Format):
    """A format of one class, ``wrapper_cls(stream, *args, **kwargs)``, for both directions."""

    wrapper_cls: ClassVar[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.kwargs = kwargs

    def pipe_reader(self, stream: IO[bytes]) -> IO[Any]:
        opened: IO[Any] = self.wrapper_cls(stream, *self.args, **self.kwargs)
        return opened

    def pipe_writer(self, stream: IO[bytes]) -> IO[Any]:
        opened: IO[Any] = self.wrapper_cls(stream, *self.args, **self.kwargs)
        return opened


class TextFormat(Format):
    """Text in an encoding, UTF-8 unless said otherwise, whatever the locale."""

    input = "unicode"
    output = "bytes"

    def __init__(
        self,
        encoding: str | None = "utf-8",
        errors: str | None = None,
        newline: str | None = None,
        line_buffering: bool = False,
        write_through: bool = False,
    ) -> None:
        self._options = (encoding or "utf-8", errors, newline, line_buffering, write_through)

    def pipe_reader(self, stream: IO[bytes]) -> IO[Any]:
        return io.TextIOWrapper(stream, *self._options)

    def pipe_writer(self, stream: IO[bytes]) -> IO[Any]:
        return io.TextIOWrapper(stream, *self._options)


class NewlineFormat(Format):
    """Bytes of lines that end in one way: written as ``newline``, None for this system's.

    Read, they end in ``newline`` too; None for ``\\n``, empty for as they are.
    """

    input = "bytes"
    output = "bytes"

    def __init__(self, newline: str | None = None) -> None:
        from flow.targets.wrappers import check_newline

        check_newline(newline)
        self.newline = newline

    def pipe_reader(self, stream: IO[bytes]) -> IO[Any]:
        from flow.targets.wrappers import newline_reader

        return newline_reader(stream, self.newline)

    def pipe_writer(self, stream: IO[bytes]) -> IO[Any]:
        from flow.targets.wrappers import NewlineWriter

        return NewlineWriter(stream, self.newline)  # type: ignore[return-value]


class MixedUnicodeBytesFormat(Format):
    """Bytes; text that is written is encoded, with a warning."""

    output = "bytes"

    def __init__(self, encoding: str | None = None) -> None:
        self.encoding = encoding or "utf-8"

    def pipe_reader(self, stream: IO[bytes]) -> IO[Any]:
        return stream

    def pipe_writer(self, stream: IO[bytes]) -> IO[Any]:
        from flow.targets.wrappers import MixedWriter

        return MixedWriter(stream, self.encoding)  # type: ignore[return-value]


class GzipFormat(Format):
    """Bytes compressed by gzip, in this process. No time stamp: equal content is an equal file."""

    input = "bytes"
    output = "bytes"

    def __init__(self, compression_level: int | None = None) -> None:
        self.compression_level = 6 if compression_level is None else int(compression_level)

    def pipe_reader(self, stream: IO[bytes]) -> IO[Any]:
        return _gzip(stream, "rb", self.compression_level)

    def pipe_writer(self, stream: IO[bytes]) -> IO[Any]:
        return _gzip(stream, "wb", self.compression_level)


class Bzip2Format(Format):
    """Bytes compressed by bzip2, in this process."""

    input = "bytes"
    output = "bytes"

    def pipe_reader(self, stream: IO[bytes]) -> IO[Any]:
        return _bzip2(stream, "rb")

    def pipe_writer(self, stream: IO[bytes]) -> IO[Any]:
        return _bzip2(stream, "wb")


def _gzip(stream: IO[bytes], mode: str, level: int) -> IO[Any]:
    import gzip  # only compressed targets need it

    class Closing(gzip.GzipFile):
        """GzipFile leaves a stream that it was given open."""

        def close(self) -> None:
            try:
                super().close()
            finally:
                stream.close()

    return Closing("", mode, level, stream, 0)  # type: ignore[return-value]


def _bzip2(stream: IO[bytes], mode: Any) -> IO[Any]:
    import bz2  # only compressed targets need it

    class Closing(bz2.BZ2File):
        """BZ2File leaves a stream that it was given open."""

        def close(self) -> None:
            try:
                super().close()
            finally:
                stream.close()

    return Closing(stream, mode)


Text = TextFormat()
UTF8 = TextFormat("utf-8")
Nop = NopFormat()
SysNewLine = NewlineFormat()
Gzip = GzipFormat()
Bzip2 = Bzip2Format()
MixedUnicodeBytes = MixedUnicodeBytesFormat()


def get_default_format() -> Format:
    """Return the format of targets that name none."""
    return Text
