"""What is known of packed code: what is kept, what is being uploaded, and who asks for it."""

from __future__ import annotations

from flow.wire.ids import Session, WorkerUid
from flow_coordinator.core.values import Peer


class PackageRecord:
    """Packed code that is kept, whole and checked."""

    __slots__ = ("size_bytes", "used_at")

    def __init__(self, size_bytes: int, used_at: float) -> None:
        self.size_bytes = size_bytes
        self.used_at = used_at  #: when it was last uploaded, submitted or fetched; may be below 0


class UploadRecord:
    """Packed code of which a part is kept."""

    __slots__ = ("asker", "have_bytes", "size_bytes", "touched_at")

    def __init__(self, size_bytes: int, touched_at: float) -> None:
        self.size_bytes = size_bytes
        self.have_bytes = 0
        self.touched_at = touched_at
        #: whose piece is being written: peer and number of the request
        self.asker: tuple[Peer, int] | None = None


class FetchRecord:
    """A worker waits for a piece."""

    __slots__ = ("asked_at", "at_bytes", "package", "session")

    def __init__(self, session: Session, package: str, at_bytes: int, asked_at: float) -> None:
        self.session = session
        self.package = package
        self.at_bytes = at_bytes
        self.asked_at = asked_at


class Packages:
    """All packed code, by the hash of it."""

    def __init__(self) -> None:
        self.kept: dict[str, PackageRecord] = {}
        self.uploads: dict[str, UploadRecord] = {}
        #: one for each worker at most, the first that asked first
        self.fetches: dict[WorkerUid, FetchRecord] = {}

    @property
    def size_bytes(self) -> int:
        """How much there is, and will be when what is being uploaded is whole."""
        parts = [one.size_bytes for one in self.uploads.values()]
        return sum(one.size_bytes for one in self.kept.values()) + sum(parts)
