"""Writing so that nobody ever sees half: bytes go where no reader looks, and appear when closed."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import IO, Any

from flow.targets.base import temporary_beside
from flow.targets.formats import Format


class Publication(ABC):
    """Bytes on their way to a place. ``stream`` takes them; it is closed before ``commit()``."""

    stream: IO[bytes]
    #: Where they will be, for people: no password.
    place: str

    @abstractmethod
    def commit(self) -> None:
        """Make them appear, all at once."""

    def stop(self) -> None:
        """Take no more: what the formats still flush is lost. Default: let them flush."""
        return

    @abstractmethod
    def discard(self) -> None:
        """Forget them; what was at the place stays. Also after a failed ``commit()``."""


class Replacement(Publication):
    """A file of this host, written beside its place and renamed."""

    def __init__(self, path: str) -> None:
        self.place = path
        self.tmp_path = temporary_beside(path)
        self.stream = open(self.tmp_path, "xb")  # noqa: SIM115  closed by commit() or discard()

    def commit(self) -> None:
        os.replace(self.tmp_path, self.place)

    def discard(self) -> None:
        try:
            self.stream.close()  # on a full disk it raises
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.tmp_path)


class Written:
    """A file that appears at its place when it is closed, unless an exception ends its block.

    What is dropped without ``close()`` never appears. It belongs to the process that opened it: a
    forked child that ends its block, or itself, changes nothing.
    """

    def __init__(self, publication: Publication, form: Format) -> None:
        self._publication = publication
        self._pid = os.getpid()
        self._done = False
        self._stream: IO[Any] = publication.stream
        try:
            self._stream = form.pipe_writer(publication.stream)
        except BaseException:
            self.abort()
            raise
        self.write = self._stream.write

    def close(self) -> None:
        """Finish the file and put it in its place. A second call does nothing."""
        if self._done:
            return
        if self._is_inherited():
            raise RuntimeError(
                f"{self.name} was opened by process {self._pid}, and only that process can finish "
                f"it; this is {os.getpid()}, forked from it: end it with os._exit()"
            )
        try:
            self._stream.close()
            self._publication.stream.close()
            self._publication.commit()
        except BaseException as error:
            error.add_note(f"What was written did not become {self.name}")
            self.abort()
            raise
        self._done = True

    def abort(self) -> None:
        """Drop the file; what was at the place stays."""
        if self._done or self._is_inherited():
            return
        self._done = True
        self._publication.stop()
        try:
            getattr(self._stream, "abort", self._stream.close)()
        except Exception as error:  # a user's format, a full disk: the file goes anyway
            self._complain(error)
        try:
            self._publication.discard()
        except Exception as error:  # drivers raise what they like; the first error matters
            self._complain(error)

    def _is_inherited(self) -> bool:
        """Tell whether a fork made this copy, and if so, cut it off: what it still holds would be
        written a second time."""
        if os.getpid() == self._pid:
            return False
        self._done = True
        self._publication.stop()
        _inherited.append(self._publication)
        for stream in (self._stream, self._publication.stream):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                _to_nowhere(stream.fileno())
        return True

    def _complain(self, error: BaseException) -> None:
        import logging  # only trouble needs it

        logging.getLogger("flow.targets").warning(
            "dropping what was written to %s: %s: %s",
            self.name,
            type(error).__name__,
            error,
        )

    @property
    def closed(self) -> bool:
        """Whether the file is in its place, or was dropped."""
        return self._done

    @property
    def name(self) -> str:
        """The place the file will have."""
        return self._publication.place

    @property
    def path(self) -> str:
        """The place the file will have."""
        return self._publication.place

    @property
    def tmp_path(self) -> str:
        """Where the bytes are until then, if they are in a file."""
        found: str = getattr(self._publication, "tmp_path", "")
        return found

    def __getattr__(self, name: str) -> Any:
        if name in ("_stream", "_publication", "_pid", "_done"):
            raise AttributeError(name)
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._stream)

    def __enter__(self) -> Written:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        if not self.__dict__.get("_done", True):
            self.abort()


#: Of the process this one was forked from: collected, they would talk to its servers.
_inherited: list[Publication] = []


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor, inheritable=False)
    os.close(nowhere)


class AtomicFile(Written):
    """A file of this host that appears when it is closed."""

    def __init__(self, path: str, form: Format) -> None:
        super().__init__(Replacement(path), form)
