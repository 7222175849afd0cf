"""Full disks, forks, abandoned writers and odd names: a target is there whole, or not at all."""

from __future__ import annotations

import bz2
import gc
import gzip
import io
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flow import format as formats
from flow.format import Bzip2, Format, Gzip, Nop, Text
from flow.target import FileAlreadyExists
from flow.targets.local import LocalFileSystem, LocalTarget
from flow.targets.mock import MockFileSystem, MockTarget

ROOM_BYTES = 64 << 10
NOISE = os.urandom(4 * ROOM_BYTES)


class Program(Format):
    """Compressed by a program."""

    input = output = "bytes"

    def pipe_reader(self, stream: Any) -> Any:
        return formats.InputPipeProcessWrapper(["gunzip"], stream)

    def pipe_writer(self, stream: Any) -> Any:
        return formats.OutputPipeProcessWrapper(["gzip", "-1"], stream)


class NeverClosing(Format):
    """A format of somebody who forgot to close what is beneath."""

    def pipe_writer(self, stream: Any) -> Any:
        class Writer:
            def write(self, data: bytes) -> int:
                return stream.write(data)

            def close(self) -> None:
                pass

        return Writer()


EVERY = {
    "text": Text,
    "bytes": Nop,
    "gzip": Gzip,
    "gzip text": Text >> Gzip,
    "bzip2": Bzip2,
    "line ends": formats.SysNewLine,
    "mixed": formats.MixedUnicodeBytes,
    "program": Program(),
    "never closing": NeverClosing(),
}


@contextmanager
def little_room() -> Iterator[None]:
    """No file grows beyond some bytes: writing fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("piece", [ROOM_BYTES // 2, 4099, 600])
@pytest.mark.parametrize("name", EVERY)
def test_full_disk_leaves_neither_target_nor_temporary_file(
    tmp_path: Path, name: str, piece: int
) -> None:
    data: Any = NOISE.hex() if "text" in name else NOISE
    with (
        little_room(),
        pytest.raises((OSError, formats.PipeFailed)),
        LocalTarget(tmp_path / "f", EVERY[name]).open("w") as out,
    ):
        for at in range(0, len(data), piece):
            out.write(data[at : at + piece])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["copy", "move", "move tree"])
def test_copy_that_does_not_fit_leaves_nothing_and_keeps_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source = tmp_path / "source"
    content = source / "inside" if kind == "move tree" else source
    content.parent.mkdir(exist_ok=True)
    content.write_bytes(NOISE)
    replace = os.replace

    def between_devices(one: str, other: str) -> None:
        if "flow-tmp" not in str(one):
            raise OSError(18, "Invalid cross-device link")
        replace(one, other)

    monkeypatch.setattr(os, "replace", between_devices)
    act = LocalFileSystem().copy if kind == "copy" else LocalFileSystem().move
    with little_room(), pytest.raises(OSError):
        act(str(source), str(tmp_path / "dest"))
    assert os.listdir(tmp_path) == ["source"]
    assert content.read_bytes() == NOISE
    act(str(source), str(tmp_path / "dest"))
    assert (tmp_path / "dest" / content.relative_to(source)).read_bytes() == NOISE


def test_tree_moved_between_devices_keeps_its_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "dangling").symlink_to("nowhere")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").touch()
    replace = os.replace

    def between_devices(one: str, other: str) -> None:
        if "flow-tmp" not in str(one):
            raise OSError(18, "Invalid cross-device link")
        replace(one, other)

    monkeypatch.setattr(os, "replace", between_devices)
    with pytest.raises(FileAlreadyExists):
        LocalFileSystem().move(str(tmp_path / "tree"), str(tmp_path / "full"))
    LocalFileSystem().move(str(tmp_path / "tree"), str(tmp_path / "moved"))
    assert os.readlink(tmp_path / "moved" / "dangling") == "nowhere"
    assert sorted(os.listdir(tmp_path)) == ["full", "moved"]


def test_temporary_path_that_cannot_be_put_in_place_is_removed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "kept").touch()
    with pytest.raises(FileAlreadyExists), LocalTarget(tmp_path / "there").temporary_path() as path:
        shutil.copytree(tmp_path / "there", path)
    assert os.listdir(tmp_path) == ["there"]


FORKED = """
import os, sys
from flow.format import *
from flow.targets.local import LocalTarget

class Program(Format):
    input = output = "bytes"
    def pipe_writer(self, stream):
        return OutputPipeProcessWrapper(["cat"], stream)

def child_ends():
    if sys.argv[3] == "return":
        return
    if sys.argv[3] == "raise":
        raise KeyError("the child's own")
    sys.exit(0)

def work():
    form = {"text": Text, "lines": Text >> SysNewLine, "program": Text >> Program()}[sys.argv[2]]
    temporary = LocalTarget(is_tmp=True)
    with temporary.open("w") as out:
        out.write("kept")
    with LocalTarget(sys.argv[1], form).open("w") as out:
        out.write("abc")
        child = os.fork()
        if child == 0:
            return child_ends()
        print("child", os.waitpid(child, 0)[1])
        out.write("def")
    print(temporary.exists())

work()
"""


@pytest.mark.parametrize("how", ["return", "raise", "exit"])
@pytest.mark.parametrize("form", ["text", "lines", "program"])
def test_forked_child_that_leaves_the_block_changes_nothing(
    tmp_path: Path, form: str, how: str
) -> None:
    path = tmp_path / "f"
    words = [sys.executable, "-c", FORKED, str(path), form, how]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert path.read_text() == "abcdef"
    assert done.stdout.split()[-1] == "True"  # the parent's temporary target is still there
    assert os.listdir(tmp_path) == ["f"]
    assert ("only that process can finish it" in done.stderr) == (how == "return")


def test_writers_dropped_in_generators_and_cycles_leave_nothing(tmp_path: Path) -> None:
    class Cycle:
        pass

    def writing(path: Path) -> Iterator[None]:
        with LocalTarget(path, Gzip).open("w") as out:
            out.write(b"half")
            yield

    generator = writing(tmp_path / "generator")
    next(generator)
    cycle: Any = Cycle()
    cycle.itself, cycle.out = cycle, LocalTarget(tmp_path / "cycle", Text >> Program()).open("w")
    cycle.out.write("half")
    assert len(os.listdir(tmp_path)) == 2
    del generator, cycle
    gc.collect()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("outer", [Gzip, Bzip2], ids=["gzip", "bzip2"])
def test_program_and_compression_apply_one_after_the_other(tmp_path: Path, outer: Format) -> None:
    target = LocalTarget(tmp_path / "f", Program() >> outer)
    with target.open("w") as out:
        out.write(b"hello")
    unpack = gzip.decompress if outer is Gzip else bz2.decompress
    assert gzip.decompress(unpack((tmp_path / "f").read_bytes())) == b"hello"
    with target.open("r") as stream:
        assert stream.read() == b"hello"


def test_program_whose_output_cannot_be_stored_raises_what_the_store_says() -> None:
    class Store(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            raise KeyError("an error of its own kind")

    pipe = formats.OutputPipeProcessWrapper(["cat"], Store())  # type: ignore[arg-type]
    pipe.write(b"x")
    with pytest.raises(KeyError, match="an error of its own kind"):
        pipe.close()


@pytest.mark.parametrize("name", ["é" * 300, "a/" * 400, ".", "..", "", "x+/y=", "\udcff"])
def test_mock_target_of_any_name_is_written_listed_and_removed(name: str) -> None:
    store = MockFileSystem()
    store.clear()
    assert not MockTarget(name).exists()
    with MockTarget(name).open("w") as out:
        out.write("content")
    assert store.listdir("") == [name]
    store.copy(name, "other")
    assert store.get_data("other") == b"content"
    store.remove(name, recursive=False)
    assert store.listdir("") == ["other"]
    store.clear()


def test_mock_temporary_path_is_gone_after_an_exception() -> None:
    MockFileSystem().clear()
    with pytest.raises(KeyError), MockTarget("a").temporary_path() as path:
        with MockTarget(path).open("w") as out:
            out.write("half")
        raise KeyError
    assert MockFileSystem().listdir("") == []


def test_reader_that_fails_ends_a_program_that_never_answers(tmp_path: Path) -> None:
    class Silent(Format):
        def pipe_reader(self, stream: Any) -> Any:
            return formats.InputPipeProcessWrapper(["sleep", "600"], stream)

    (tmp_path / "f").touch()
    with pytest.raises(KeyError), LocalTarget(tmp_path / "f", Silent()).open("r") as stream:
        program = stream._process
        raise KeyError
    assert program.returncode == -9
