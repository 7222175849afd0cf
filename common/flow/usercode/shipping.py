"""User code as one body of bytes: packed where a run is submitted, unpacked where it executes.

``pack`` makes a zip that depends on names, contents and the owner's right to execute, on nothing
else: entries are sorted, carry one time and one of two modes, and are *stored*, since two versions
of a compressor may write the same content differently. So equal folders have equal digests, and
whoever carries the body may compress it.

``unpack`` believes nothing: neither the names nor the sizes that a body declares.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec

from flow.errors import ConfigError, ProtocolError, UsageError
from flow.usercode.gathering import FILES_MAX, HINT, gather, too_big, unreadable
from flow.wire.messages.shared import PACKAGE_BYTES_MAX
from flow.wire.resources import said_bytes

#: Of the contents together, and of the packed body.
BODY_BYTES_MAX = PACKAGE_BYTES_MAX
#: Of one entry's whole name, in UTF-8.
NAME_BYTES_MAX = 1024
PART_BYTES_MAX = 255
PARTS_MAX = 64
FLUSH_THREADS = 16

_READ_BYTES = 1 << 16
_DATE = (1980, 1, 1, 0, 0, 0)
_UNIX_ID = 3
_DRIVE = re.compile(r"[A-Za-z]:")

#: Source: PKWARE APPNOTE 4.3.12 and 4.3.16, as far as they are read here.
_ENTRY = struct.Struct("<4s24x3H12x")
_END = struct.Struct("<4s6xHIIH")
_ENTRY_MARK, _END_MARK, _ZIP64_MARK = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x07"
_ZIP64_LOCATOR_BYTES = 20


#: What ``zipfile`` raises for bytes that it cannot make sense of.
_MALFORMED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    ValueError,
)


class Packed(msgspec.Struct, frozen=True):
    """A folder's code. ``digest`` is the SHA-256 of ``body`` in hex, ``files`` what is in it."""

    body: bytes
    digest: str
    files: int


# --------------------------------------------------------------------------------------- packing


def pack(folder: str, bytes_max: int = BODY_BYTES_MAX) -> Packed:
    """Pack the files of a folder, but for what ``.gitignore`` and ``.flowignore`` leave out.

    Those of folders above, up to the top of a repository, count as well
    (``flow.usercode.gathering``).

    Raises:
        UsageError: There is no such folder; it holds too much; a file cannot be read; a link leads
            out of it, in a circle or nowhere; a name cannot be packed.
    """
    root = os.path.realpath(folder)
    if not os.path.isdir(root):
        raise UsageError(f"there is no folder {folder}", hint="check the path")
    files = gather(root)
    total = sum(file.size for file in files)
    over = f"{said_bytes(total)}, more than {said_bytes(bytes_max)}"
    if total > bytes_max:
        raise too_big(root, files, over)
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            if wrong := _wrong_name(file.name):
                raise UsageError(f"{file.name!a} cannot be packed: {wrong}", hint=HINT)
            try:
                content, executable = _read(file.path, bytes_max)
            except OSError as error:
                raise unreadable([f"{file.name} ({error.strerror})"]) from error
            info = zipfile.ZipInfo(file.name, _DATE)
            info.create_system = _UNIX_ID
            info.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
            archive.writestr(info, content)
            if held.tell() > bytes_max:  # names count too, and a file may have grown meanwhile
                raise too_big(root, files, over)
    body = held.getvalue()
    if len(body) > bytes_max:
        raise too_big(root, files, over)
    return Packed(body, hashlib.sha256(body).hexdigest(), len(files))


def _read(path: str, bytes_max: int) -> tuple[bytes, bool]:
    """Read a file, or enough of it to be too much; tell whether its owner may execute it."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(0, "no longer a file")
        return file.read(bytes_max + 1), bool(mode & stat.S_IXUSR)


def _wrong_name(name: str) -> str:
    """Say why a name must not be in a body, or nothing."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if len(encoded) > NAME_BYTES_MAX:
        return f"its name is longer than {NAME_BYTES_MAX} bytes"
    if "\\" in name or "\0" in name:
        return "there is a backslash or a zero in its name"
    if name.startswith("/") or _DRIVE.match(name):
        return "its name is absolute"
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "its name leads elsewhere"
    if len(parts) > PARTS_MAX or any(len(part.encode()) > PART_BYTES_MAX for part in parts):
        return f"a part of its name is over {PART_BYTES_MAX} bytes, or there are over {PARTS_MAX}"
    return ""


# ------------------------------------------------------------------------------------- unpacking


def unpack(body: bytes, into: str, bytes_max: int = BODY_BYTES_MAX) -> None:
    """Write what ``pack`` packed into a new folder, which is there whole or not at all.

    A folder that is there already stays as it is: name it after the digest. Any number of processes
    may do the same at once.

    Raises:
        ProtocolError: The body is not what ``pack`` makes; nothing was written.
        ConfigError: It cannot be written here.
    """
    into = os.path.abspath(into)
    temporary = f"{into}.{os.urandom(8).hex()}.tmp"
    try:
        with _opened(body, bytes_max) as archive:
            if os.path.isdir(into) and os.listdir(into):
                return
            os.makedirs(os.path.dirname(into), exist_ok=True)
            os.mkdir(temporary)
            _write(archive, temporary, bytes_max)
            _rename(temporary, into)
    except _MALFORMED as error:
        raise ProtocolError(f"not a body of code: {error}") from error
    except OSError as error:
        raise ConfigError(
            f"code cannot be unpacked into {into}: {error.strerror or error}",
            hint="check the place and its free space",
        ) from error
    finally:
        # Gone already if all went well. What else cannot be removed has no meaning to anyone.
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _opened(body: bytes, bytes_max: int) -> Iterator[zipfile.ZipFile]:
    if len(body) > bytes_max:
        raise ProtocolError(f"a body of code of {len(body)} bytes is over the limit {bytes_max}")
    _check_directory(body)
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        _check_entries(archive.infolist(), bytes_max)
        yield archive


def _check_directory(body: bytes) -> None:
    """Bound the entries before ``zipfile`` makes an object of each, and refuse other layouts."""
    at = len(body) - _END.size
    if at < 0 or body[at : at + 4] != _END_MARK:
        raise ProtocolError("not a body of code: it does not end as a zip without comment does")
    _, count, size, start, _ = _END.unpack_from(body, at)
    zip64 = body[max(0, at - _ZIP64_LOCATOR_BYTES) :].startswith(_ZIP64_MARK)
    if zip64 or start + size != at:
        raise ProtocolError("not a body of code: its directory is not where it says")
    if count > FILES_MAX:
        raise ProtocolError(f"a body of code has {count} entries, the limit is {FILES_MAX}")
    found = 0
    while start < at and found <= count and start + _ENTRY.size <= at:
        mark, name, extra, comment = _ENTRY.unpack_from(body, start)
        if mark != _ENTRY_MARK:
            break
        found += 1
        start += _ENTRY.size + name + extra + comment
    if start != at or found != count:
        raise ProtocolError(f"not a body of code: its directory does not hold {count} entries")


def _check_entries(entries: list[zipfile.ZipInfo], bytes_max: int) -> None:
    names: set[str] = set()
    for info in entries:
        # What zipfile makes of a name must be the name: it cuts some.
        name = info.orig_filename
        wrong = _wrong_name(name) or _wrong_kind(info)
        if not wrong and name in names:
            wrong = "it is there twice"
        if wrong or info.filename != name:
            raise ProtocolError(
                f"refused in a body of code: {ascii(name)[:NAME_BYTES_MAX]}: {wrong}"
            )
        names.add(name)
    for name in names:
        above = name.rpartition("/")[0]
        while above:
            if above in names:
                raise ProtocolError(f"refused in a body of code: {above!a} is file and folder")
            above = above.rpartition("/")[0]
    declared = sum(info.file_size for info in entries)
    if declared > bytes_max:
        raise ProtocolError(f"a body of code declares {declared} bytes, the limit is {bytes_max}")


def _wrong_kind(info: zipfile.ZipInfo) -> str:
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        return "it is no regular file"
    if info.flag_bits & 1:
        return "it is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "it is compressed in an unknown way"
    return ""


def _write(archive: zipfile.ZipFile, folder: str, bytes_max: int) -> None:
    written = 0
    for info in archive.infolist():
        path = os.path.join(folder, info.filename)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        mode = 0o777 if info.external_attr >> 16 & stat.S_IXUSR else 0o666
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        size = 0
        with open(fd, "wb") as file, archive.open(info) as source:
            while chunk := source.read(_READ_BYTES):
                size += len(chunk)
                written += len(chunk)
                if size > info.file_size or written > bytes_max:
                    raise ProtocolError(f"a body of code inflates to more than {bytes_max} bytes")
                file.write(chunk)
        if size != info.file_size:
            raise ProtocolError(f"not a body of code: {info.filename!a} is cut")


def _rename(temporary: str, into: str) -> None:
    _flush(temporary)
    try:
        os.rename(temporary, into)
    except OSError:
        # Somebody else was quicker: it is there, whole, and the same.
        if not (os.path.isdir(into) and os.listdir(into)):
            raise


def _flush(folder: str) -> None:
    """Bring all to the disk before the name: after a power cut there must be no empty modules.

    In threads, because file systems make one commit of many requests: 5 times faster on ext4.
    """
    paths = [os.path.join(path, name) for path, _, names in os.walk(folder) for name in names]
    folders = [path for path, _, _ in os.walk(folder)]
    with ThreadPoolExecutor(FLUSH_THREADS) as threads:
        for _ in threads.map(_flush_one, [*paths, *folders]):
            pass  # an error is raised here


def _flush_one(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
