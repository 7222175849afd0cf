"""Reading and writing through other programs, such as ``gpg`` or ``lz4``.

A format of your own is a few lines::

    class Lz4(flow.format.Format):
        input = output = "bytes"

        def pipe_reader(self, stream):
            return flow.format.InputPipeProcessWrapper(["lz4", "-d"], stream)

        def pipe_writer(self, stream):
            return flow.format.OutputPipeProcessWrapper(["lz4"], stream)
"""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from typing import IO, Any, Final

#: A program whose reader went away: killed by the signal, or a shell that saw one killed.
_GONE: Final = (0, -signal.SIGPIPE, 128 + signal.SIGPIPE)

Command = Sequence[str]


class PipeFailed(RuntimeError):
    """A program that data went through ended with an error."""


class InputPipeProcessWrapper(io.BufferedReader):
    """What a program makes of a stream, to be read.

    Its exit code is known before the last byte is: a program that fails raises ``PipeFailed`` where
    the end of the data would be, so half an answer is never taken for a whole one. Who stops
    reading early may: the program is told (SIGPIPE), and that is no error.

    Args:
        command: The program and its arguments, or a ``Popen`` with ``stdout=PIPE``.
        input_pipe: What it reads; one without a file descriptor is copied to a temporary file.
    """

    def __init__(
        self, command: Command | subprocess.Popen[bytes], input_pipe: IO[bytes] | None = None
    ) -> None:
        if isinstance(command, subprocess.Popen):
            process = command
        else:
            source = None if input_pipe is None else _with_descriptor(input_pipe)
            process = subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, bufsize=0)
            if source is not input_pipe and source is not None:
                source.close()  # the program has it
        self._process = process
        super().__init__(_Answer(process, input_pipe))

    def close(self) -> None:
        """Stop reading. Raises ``PipeFailed`` if the program failed before that."""
        super().close()

    def abort(self) -> None:
        """Stop reading and end the program, whatever it says."""
        self._process.kill()
        try:
            super().close()
        except PipeFailed:
            pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class _Answer(io.RawIOBase):
    """The program's output, whose end is only reported when the program ended well."""

    def __init__(self, process: subprocess.Popen[bytes], source: IO[bytes] | None) -> None:
        self._process = process
        self._source = source
        assert process.stdout is not None
        self._read: Any = getattr(process.stdout, "readinto1", None) or process.stdout.readinto  # type: ignore[attr-defined]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._read(buffer)
        if count == 0:
            self._end((0,))
        return count

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        assert self._process.stdout is not None
        self._process.stdout.close()
        if self._source is not None:
            self._source.close()
        self._end(_GONE)

    def _end(self, good: tuple[int, ...]) -> None:
        code = self._process.wait()
        if code not in good:
            raise PipeFailed(_sentence(self._process.args, code, "reading from"))


class OutputPipeProcessWrapper(io.BufferedWriter):
    """A stream whose bytes a program turns into those of another stream.

    ``close()`` waits for the program and closes the other stream if it ended well; ``abort()``, or
    an exception in its ``with`` block, ends the program and leaves the other stream open, so that
    an atomic file is not published.

    Args:
        command: The program and its arguments.
        output_pipe: What it writes to; one without a file descriptor is fed by a thread.
    """

    def __init__(self, command: Command, output_pipe: IO[bytes] | None = None) -> None:
        self._command = command
        self._output = output_pipe
        self._pump: _Pump | None = None
        out: Any = output_pipe
        if output_pipe is not None and not _has_descriptor(output_pipe):
            out = subprocess.PIPE
        elif output_pipe is not None:
            output_pipe.flush()  # what it holds comes before what the program writes
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, bufsize=0)
        if out is subprocess.PIPE and output_pipe is not None:
            self._pump = _Pump(self._process.stdout, output_pipe)
        super().__init__(self._process.stdin)  # type: ignore[arg-type]

    def close(self) -> None:
        """Wait for the program. Raises ``PipeFailed`` if it failed."""
        if self.closed:
            return
        try:
            super().close()
        except BrokenPipeError:
            pass  # it ended before it had read everything; its exit code says more
        code = self._process.wait()
        if self._pump is not None:
            self._pump.finish()
        if code:
            raise PipeFailed(_sentence(self._command, code, "writing to"))
        if self._output is not None:
            self._output.close()

    def abort(self) -> None:
        """End the program; the other stream is not closed."""
        if self._process.returncode is None:
            self._process.kill()
        try:
            super().close()
        except BrokenPipeError:
            pass
        self._process.wait()
        if self._pump is not None:
            self._pump.finish()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        if self.__dict__.get("_process") is not None and not self.closed:
            self.abort()


class _Pump:
    """A thread that copies what a program writes into a stream."""

    def __init__(self, source: Any, output: IO[bytes]) -> None:
        self._source, self._output = source, output
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._copy, name="flow-pipe", daemon=True)
        self._thread.start()

    def _copy(self) -> None:
        try:
            shutil.copyfileobj(self._source, self._output)
        except Exception as error:  # the stream is anybody's: finish() raises it
            self._error = error
        finally:
            self._source.close()  # a program that still writes is told

    def finish(self) -> None:
        """Wait for the last byte. Raises what stopped the copying."""
        self._thread.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error


def _has_descriptor(stream: IO[bytes]) -> bool:
    """A compressor has ``fileno()`` too, but what goes through it is not what is in its file."""
    return isinstance(getattr(stream, "raw", stream), io.FileIO)


def _with_descriptor(stream: IO[bytes]) -> IO[bytes]:
    if _has_descriptor(stream):
        return stream
    copy = tempfile.TemporaryFile("w+b", prefix="flow-pipe-")  # noqa: SIM115  the caller closes it
    shutil.copyfileobj(stream, copy)
    copy.seek(0)
    return copy


def _sentence(command: Any, code: int, doing: str) -> str:
    words = command if isinstance(command, str) else " ".join(map(str, command))
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"{doing} a program: `{words}` {how}; its own message is in the task's output"
