"""Packed code on its way: from commands to files here, and from those to workers.

A package is named by its hash, so it is uploaded once and never changes. What an open run names is
never removed. Workers ask for one piece after the other and get one in a turn in which nothing else
is left to do: code is the only bulk on their connections, and heartbeats and leases go first.
"""

from __future__ import annotations

from flow.errors import ExitCode
from flow.wire.messages.client import Failed, Upload, Uploaded
from flow.wire.messages.shared import PACKAGE_BYTES_MAX, is_package
from flow.wire.messages.worker import Fetch, Piece
from flow_coordinator.core.effects import RemovePackage, SendPiece, TouchPackage, WritePackage
from flow_coordinator.core.events import PackageRefused, PackageWritten
from flow_coordinator.core.packages import FetchRecord, PackageRecord, UploadRecord
from flow_coordinator.core.records import WorkerRecord
from flow_coordinator.core.refusal import Refusal
from flow_coordinator.core.state import State
from flow_coordinator.core.values import Peer

#: Uploads at the same time; the one that stands still longest gives way.
UPLOADS_MAX = 16
#: What was uploaded or used just now is about to be submitted.
FRESH_S = 60.0
#: A worker is not kept waiting longer than this by turns in which something is always left to do.
PIECE_WAIT_MAX_S = 1.0


def has(s: State, package: str) -> bool:
    """Tell whether a run may name this; an empty name is that of the code on the workers."""
    return not package or package in s.packages.kept


def use(s: State, package: str) -> None:
    """Remember that something needs a package now."""
    record = s.packages.kept.get(package)
    if record is not None:
        record.used_at = s.now
        s.effects.append(TouchPackage(package))


# ---------------------------------------------------------------- from commands


def upload(s: State, peer: Peer, message: Upload) -> None:
    """Take a piece, or tell how much there is."""
    package, size_bytes = message.package, message.size_bytes
    if not is_package(package) or not 0 < size_bytes <= PACKAGE_BYTES_MAX:
        error = f"packed code has a SHA-256 and at most {PACKAGE_BYTES_MAX:,} bytes"
        raise Refusal(error, "install the same flow", code=ExitCode.REFUSED)
    if package in s.packages.kept:
        use(s, package)
        s.send_now(peer, Uploaded(message.request, size_bytes, True))
        return
    record = s.packages.uploads.get(package)
    if record is None:
        if not _make_room(s, size_bytes):
            error = f"no room for {size_bytes:,} bytes of code: open runs need what is there"
            hint = "set packages_bytes_max in [coordinator], or wait for their end"
            raise Refusal(error, hint, code=ExitCode.REFUSED)
        record = s.packages.uploads[package] = UploadRecord(size_bytes, s.now)
    record.touched_at = s.now
    if record.size_bytes != size_bytes or message.at_bytes + len(message.body) > size_bytes:
        error = f"code {package[:12]} has {record.size_bytes:,} bytes where it is uploaded already"
        raise Refusal(error, "flow submit again", code=ExitCode.REFUSED)
    # Any other place than the next one is that of a repeated piece, or from before a restart.
    if message.body and message.at_bytes == record.have_bytes and record.asker is None:
        record.asker = (peer, message.request)
        s.effects.append(WritePackage(package, message.at_bytes, size_bytes, message.body))
    else:
        s.send_now(peer, Uploaded(message.request, record.have_bytes))


def written(s: State, event: PackageWritten) -> None:
    """A piece is kept."""
    record = s.packages.uploads.get(event.package)
    if record is None:
        return
    record.have_bytes = event.have_bytes
    asker, record.asker = record.asker, None
    whole = record.have_bytes == record.size_bytes
    if whole:
        del s.packages.uploads[event.package]
        s.packages.kept[event.package] = PackageRecord(record.size_bytes, s.now)
        s.note("code stored", package=event.package[:12], bytes=record.size_bytes)
    if asker is not None:
        s.send(asker[0], Uploaded(asker[1], record.have_bytes, whole))


def refused(s: State, event: PackageRefused) -> None:
    """There is none of a package any more; whoever uploads it learns why."""
    s.packages.kept.pop(event.package, None)
    record = s.packages.uploads.pop(event.package, None)
    s.note("code refused", "warning", package=event.package[:12], reason=event.reason)
    if record is not None and record.asker is not None:
        peer, request = record.asker
        hint = "flow submit again uploads it anew"
        s.send_now(peer, Failed(request, int(ExitCode.REFUSED), event.reason, hint))


def _make_room(s: State, size_bytes: int) -> bool:
    """Remove what was not used for longest until there is room. Cost: O(packages + open runs)."""
    packages = s.packages
    while len(packages.uploads) >= UPLOADS_MAX:
        stale = min(packages.uploads, key=lambda one: packages.uploads[one].touched_at)
        del packages.uploads[stale]
        s.effects.append(RemovePackage(stale))
    over_bytes = packages.size_bytes + size_bytes - s.config.packages_bytes_max
    needed = {run.options.package for run in s.runs.values()}
    gone = []
    for package in sorted(packages.kept, key=lambda one: packages.kept[one].used_at):
        record = packages.kept[package]
        if over_bytes > 0 and package not in needed and s.now - record.used_at > FRESH_S:
            over_bytes -= record.size_bytes
            gone.append(package)
    if over_bytes > 0:
        return False
    for package in gone:
        del packages.kept[package]
        s.effects.append(RemovePackage(package))
    return True


# ---------------------------------------------------------------- to workers


def fetch(s: State, worker: WorkerRecord, message: Fetch) -> None:
    """A worker asks for a piece: it gets it when nothing else is left to do."""
    record = FetchRecord(worker.session, message.package, message.at_bytes, s.now)
    s.packages.fetches[worker.uid] = record


def turn(s: State, *, nothing_waits: bool) -> bool:
    """Send one piece at most; tell whether somebody waits for another one."""
    fetches = s.packages.fetches
    for uid, record in list(fetches.items()):
        if not nothing_waits and s.now - record.asked_at < PIECE_WAIT_MAX_S:
            break
        del fetches[uid]
        worker = s.workers.get(uid)
        if worker is not None and worker.session == record.session:
            _send(s, worker, record)
            break
    return bool(fetches)


def _send(s: State, worker: WorkerRecord, record: FetchRecord) -> None:
    package = record.package
    kept = s.packages.kept.get(package)
    size_bytes = kept.size_bytes if kept is not None else 0
    piece = Piece(worker.session, package, record.at_bytes, size_bytes)
    if 0 <= record.at_bytes < size_bytes:
        if record.at_bytes == 0:
            use(s, package)
        s.effects.append(SendPiece(package, worker.peer, piece))
    else:
        error = f"the coordinator does not have the code {package[:12]} of this run any more"
        gone = Piece(worker.session, package, record.at_bytes, 0, error=error)
        s.send_now(worker.peer, gone)
