"""Files of packed code at the coordinator: whole, checked and durable, or not there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from flow.wire.messages.shared import PIECE_BYTES_MAX
from flow_coordinator.core.effects import WritePackage
from flow_coordinator.core.events import PackageRefused, PackageWritten
from flow_coordinator.shell.packages import PackageFiles

BODY = os.urandom(PIECE_BYTES_MAX + 10)
NAME = hashlib.sha256(BODY).hexdigest()


def write(files: PackageFiles, body: bytes = BODY, name: str = NAME) -> list[object]:
    size = len(body)
    pieces = range(0, size, PIECE_BYTES_MAX)
    return [
        files.write(WritePackage(name, at, size, body[at : at + PIECE_BYTES_MAX])) for at in pieces
    ]


def test_package_is_there_when_the_last_piece_is_written(tmp_path: Path) -> None:
    files = PackageFiles(tmp_path)
    assert write(files) == [
        PackageWritten(NAME, PIECE_BYTES_MAX),
        PackageWritten(NAME, len(BODY)),
    ]
    assert os.listdir(tmp_path / "code") == [NAME]
    assert files.read(NAME, PIECE_BYTES_MAX) == BODY[PIECE_BYTES_MAX:]
    assert files.read(NAME, 0) == BODY[:PIECE_BYTES_MAX]


def test_package_is_listed_after_a_restart_with_the_time_of_its_use(tmp_path: Path) -> None:
    files = PackageFiles(tmp_path)
    write(files)
    os.utime(tmp_path / "code" / NAME, (5.0, 5.0))
    assert PackageFiles(tmp_path).listing() == [(NAME, len(BODY), 5.0)]
    files.touch(NAME)
    assert PackageFiles(tmp_path).listing()[0][2] > 5.0


def test_package_that_is_damaged_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    files = PackageFiles(tmp_path)
    *_, last = write(files, b"x" + BODY[1:])
    assert isinstance(last, PackageRefused)
    assert "its hash differs" in last.reason
    assert os.listdir(tmp_path / "code") == []


def test_parts_of_an_earlier_start_are_removed(tmp_path: Path) -> None:
    files = PackageFiles(tmp_path)
    files.write(WritePackage(NAME, 0, len(BODY), b"abc"))
    assert PackageFiles(tmp_path).listing() == []
    assert os.listdir(tmp_path / "code") == []


def test_package_that_cannot_be_written_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "code").write_text("a file is in the way")
    [refused] = write(PackageFiles(tmp_path), b"abc", hashlib.sha256(b"abc").hexdigest())
    assert isinstance(refused, PackageRefused)
    assert "cannot be kept in" in refused.reason


def test_folder_is_made_only_for_a_package_and_for_its_owner_alone(tmp_path: Path) -> None:
    files = PackageFiles(tmp_path)
    assert files.listing() == []
    assert os.listdir(tmp_path) == []
    write(files)
    assert (tmp_path / "code").stat().st_mode & 0o777 == 0o700
    files.remove(NAME)
    assert os.listdir(tmp_path / "code") == []
