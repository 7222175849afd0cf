"""Folders that code is executed from: private, bounded, and never removed while in use."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from flow.errors import ConfigError
from flow_worker.core.effects import KeepPiece
from flow_worker.core.events import PackageAt
from flow_worker.process import shelf
from flow_worker.shell.packages import PackageCache

BODY = b"not a zip, which nobody here looks at"
NAME = hashlib.sha256(BODY).hexdigest()


def entry(folder: Path, name: str, size: int, used_at: float) -> Path:
    path = folder / name
    path.mkdir()
    (path / "file").write_bytes(b"x" * size)
    os.close(shelf.lock(str(path)))
    os.utime(f"{path}{shelf.LOCK}", (used_at, used_at))
    return path


# ---------------------------------------------------------------- the shelf


def test_prepare_makes_a_folder_for_its_owner_alone(tmp_path: Path) -> None:
    shelf.prepare(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_prepare_of_a_folder_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(mode)
    with pytest.raises(ConfigError, match="no code is executed from it") as caught:
        shelf.prepare(tmp_path / "a")
    assert "chmod go-w" in caught.value.hint


def test_prepare_of_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "a").symlink_to("real")
    with pytest.raises(ConfigError):
        shelf.prepare(tmp_path / "a")


def test_trim_removes_the_oldest_until_it_fits(tmp_path: Path) -> None:
    entries = [entry(tmp_path, name, 100_000, at) for name, at in (("b", 1), ("a", 2), ("c", 3))]
    shelf.trim(str(tmp_path), 250_000)
    assert [one.exists() for one in entries] == [False, True, True]
    assert sorted(os.listdir(tmp_path)) == ["a", "a.lock", "c", "c.lock"]


def test_trim_spares_what_is_in_use(tmp_path: Path) -> None:
    entries = [entry(tmp_path, name, 100_000, at) for name, at in (("a", 1), ("b", 2))]
    held = shelf.lock(str(entries[0]))
    shelf.trim(str(tmp_path), 0)
    assert [one.exists() for one in entries] == [True, False]
    os.close(held)
    shelf.trim(str(tmp_path), 0)
    assert os.listdir(tmp_path) == []


def test_trim_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    old, new = tmp_path / "old.tmp", tmp_path / "new.tmp"
    old.mkdir()
    new.write_text("")
    os.utime(old, (1.0, 1.0))
    shelf.trim(str(tmp_path), 1 << 30)
    assert os.listdir(tmp_path) == ["new.tmp"]


def test_lock_of_an_entry_that_is_being_removed_is_a_new_one(tmp_path: Path) -> None:
    path = str(entry(tmp_path, "a", 1, 1.0))
    shelf.trim(str(tmp_path), 0)
    os.close(shelf.lock(path, wait=False))
    assert os.path.exists(path + shelf.LOCK)


# ---------------------------------------------------------------- the agent's part of it


def test_cache_takes_pieces_and_gives_a_checked_archive(tmp_path: Path) -> None:
    cache = PackageCache(tmp_path / "packages")
    assert cache.seek(NAME) == PackageAt(NAME)
    size = len(BODY)
    assert cache.keep(KeepPiece(NAME, 0, size, BODY[:5])) == PackageAt(NAME, 5)
    assert cache.keep(KeepPiece(NAME, 0, size, BODY[:5])) == PackageAt(NAME, 5)
    archive = str(tmp_path / "packages" / f"{NAME}.zip")
    assert cache.keep(KeepPiece(NAME, 5, size, BODY[5:])) == PackageAt(NAME, size, archive)
    assert Path(archive).read_bytes() == BODY
    cache.close()
    again = PackageCache(tmp_path / "packages")
    assert again.seek(NAME) == PackageAt(NAME, archive=archive)
    again.close()


def test_cache_refuses_what_is_damaged_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    cache = PackageCache(tmp_path)
    tmp_path.chmod(0o700)
    cache.seek(NAME)
    told = cache.keep(KeepPiece(NAME, 0, 3, b"abc"))
    assert "its hash differs" in told.error
    assert os.listdir(tmp_path) == [f"{NAME}.lock"]
    cache.close()


def test_cache_in_a_folder_of_others_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages").chmod(0o777)
    told = PackageCache(tmp_path / "packages").seek(NAME)
    assert "no code is executed from it" in told.error


def test_package_that_a_program_needs_is_not_removed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    cache = PackageCache(tmp_path)
    cache.seek(NAME)
    cache.keep(KeepPiece(NAME, 0, len(BODY), BODY))
    shelf.trim(str(tmp_path), 0)
    assert cache.seek(NAME).archive
    cache.let_go(NAME)
    shelf.trim(str(tmp_path), 0)
    assert not cache.seek(NAME).archive
    cache.close()
