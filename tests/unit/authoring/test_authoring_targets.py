"""Targets appear whole or not at all, and read back what was written."""

import gzip
import os
import subprocess
import sys

import pytest

import flow
from flow.targets import local
from flow.targets.base import FileAlreadyExists, NotADirectory
from flow.targets.formats import UTF8, Gzip, Nop, Text
from flow.targets.local import LocalFileSystem, LocalTarget
from flow.targets.mock import MockTarget


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


def test_written_file_appears_when_it_is_closed(tmp_path):
    target = LocalTarget(tmp_path / "deep" / "er" / "out.txt")
    with target.open("w") as out:
        out.write("größer\n")
        assert not target.exists()
    assert target.exists()
    with target.open() as source:
        assert source.read() == "größer\n"
    assert names_in(tmp_path / "deep" / "er") == ["out.txt"]


def test_exception_while_writing_leaves_what_was_there(tmp_path):
    target = LocalTarget(str(tmp_path / "out.txt"))
    with target.open("w") as out:
        out.write("old")
    with pytest.raises(KeyError), target.open("w") as out:
        out.write("half")
        raise KeyError
    assert (tmp_path / "out.txt").read_text() == "old"
    assert names_in(tmp_path) == ["out.txt"]


def test_file_that_is_never_closed_never_appears(tmp_path):
    out = LocalTarget(tmp_path / "out.txt").open("w")
    out.write("half")
    del out
    assert names_in(tmp_path) == []


def test_closing_without_with_puts_the_file_in_place_once(tmp_path):
    out = LocalTarget(tmp_path / "out.txt").open("w")
    print("a", "b", file=out)
    out.close()
    out.close()
    assert out.closed
    assert (tmp_path / "out.txt").read_text() == "a b\n"


def test_failing_close_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(source, dest):
        raise OSError(28, "No space left on device")

    out = LocalTarget(tmp_path / "out.txt").open("w")
    monkeypatch.setattr(local.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        out.close()
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("form", "content"),
    [
        (None, "text\r\nä"),
        (Text, "x"),
        (UTF8, "ä\N{SNOWMAN}"),
        (Nop, b"\x00\xff\r\n"),
        (Gzip, b"\x00\xff" * 1000),
        (Text >> Gzip, "compressed ä"),
    ],
)
@pytest.mark.parametrize("kind", [LocalTarget, MockTarget])
def test_content_reads_back_as_written_in_every_format(tmp_path, kind, form, content):
    target = kind(str(tmp_path / "f"), format=form)
    with target.open("w") as out:
        out.write(content)
    with target.open("r") as source:
        # Text has universal newlines, as Python's own files.
        expected = content.replace("\r\n", "\n") if isinstance(content, str) else content
        assert source.read() == expected


def test_compressed_file_is_gzip_and_equal_for_equal_content(tmp_path):
    for name in ("a", "b"):
        with LocalTarget(tmp_path / name, format=Gzip).open("w") as out:
            out.write(b"same")
    assert gzip.decompress((tmp_path / "a").read_bytes()) == b"same"
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_temporary_path_becomes_the_target_at_the_end(tmp_path):
    target = LocalTarget(tmp_path / "new" / "out.csv")
    with target.temporary_path() as path:
        with open(path, "w") as out:
            out.write("1")
        assert not target.exists()
    assert (tmp_path / "new" / "out.csv").read_text() == "1"


def test_temporary_path_of_a_directory_is_moved_whole(tmp_path):
    target = LocalTarget(f"{tmp_path}/tree/")
    with target.temporary_path() as path:
        assert path.endswith("/")
        os.mkdir(path)
        with open(os.path.join(path, "part"), "w") as out:
            out.write("1")
    assert names_in(tmp_path) == ["tree"]
    assert (tmp_path / "tree" / "part").read_text() == "1"


def test_temporary_path_after_an_exception_is_gone(tmp_path):
    target = LocalTarget(tmp_path / "out")
    with pytest.raises(RuntimeError), target.temporary_path() as path:
        os.mkdir(path)
        raise RuntimeError
    assert names_in(tmp_path) == []


def test_temporary_directory_does_not_replace_one_that_is_there(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "kept").touch()
    with (
        pytest.raises(FileAlreadyExists),
        LocalTarget(tmp_path / "tree").temporary_path() as path,
    ):
        os.mkdir(path)
    assert names_in(tmp_path / "tree") == ["kept"]


def test_name_as_long_as_names_can_be_is_written(tmp_path):
    target = LocalTarget(tmp_path / ("x" * 255))
    with target.open("w") as out:
        out.write("long")
    assert names_in(tmp_path) == ["x" * 255]


def test_path_with_pattern_characters_is_literal_and_warned_about(tmp_path, caplog):
    assert not LocalTarget(tmp_path / "*.txt").exists()
    assert "taken literally" in caplog.text


def test_other_modes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected 'r' or 'w'"):
        LocalTarget(tmp_path / "x").open("a")


def test_target_without_a_path_is_temporary(tmp_path):
    with pytest.raises(ValueError, match="needs a path"):
        LocalTarget()
    target = LocalTarget(is_tmp=True)
    path = target.path
    with target.open("w") as out:
        out.write("x")
    assert os.path.exists(path)
    del target
    assert not os.path.exists(path)


def test_local_file_system_moves_copies_lists_and_removes(tmp_path):
    fs = LocalFileSystem()
    source, dest = str(tmp_path / "a" / "f"), str(tmp_path / "b" / "g")
    fs.mkdir(os.path.dirname(source))
    (tmp_path / "a" / "f").write_text("1")
    fs.copy(source, dest)
    with pytest.raises(FileAlreadyExists):
        fs.move(source, dest, raise_if_exists=True)
    fs.move(source, dest)
    assert sorted(fs.listdir(str(tmp_path))) == [dest]
    with pytest.raises(FileAlreadyExists):
        fs.mkdir(str(tmp_path / "b"), raise_if_exists=True)
    with pytest.raises(NotADirectory):
        fs.mkdir(dest)
    fs.remove(str(tmp_path / "b"))
    assert not fs.exists(dest)


def test_move_between_devices_copies_and_then_replaces(tmp_path, monkeypatch):
    real, refused = os.replace, []

    def once_another_device(source, dest):
        if not refused:
            refused.append(source)
            raise OSError(18, "Invalid cross-device link")
        real(source, dest)

    monkeypatch.setattr(local.os, "replace", once_another_device)
    (tmp_path / "f").write_text("1")
    LocalTarget(tmp_path / "f").move(str(tmp_path / "g"))
    assert names_in(tmp_path) == ["g"]


def test_mock_target_is_seen_by_child_processes_and_by_name():
    target = MockTarget("/data/shared")
    fs = target.fs
    fs.clear()
    code = (
        "from flow.targets.mock import MockTarget\n"
        "with MockTarget('/data/shared').open('w') as out: out.write('from a child')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert target.exists()
    assert fs.get_data("/data/shared") == b"from a child"
    assert list(fs.listdir("/data")) == ["/data/shared"]
    target.move("/data/moved")
    assert fs.get_all_data() == {"/data/moved": b"from a child"}
    fs.remove("/data")
    assert not fs.isdir("/data")
    with pytest.raises(KeyError):
        fs.get_data("/data/moved")


def test_mock_target_is_atomic_and_mirrors(capsys):
    target = MockTarget("mirrored", mirror_on_stderr=True)
    with pytest.raises(KeyError), target.open("w") as out:
        out.write("seen")
        raise KeyError
    assert capsys.readouterr().err == "mirrored: seen"
    assert not target.exists()


def test_mock_directory_ends_with_the_process_that_made_it():
    code = (
        "import os\n"
        "from flow.targets.mock import MockTarget\n"
        "MockTarget('x').open('w').close()\n"
        "print(os.path.isdir(os.environ['FLOW_MOCK_DIR']), os.environ['FLOW_MOCK_DIR'])\n"
    )
    env = {name: value for name, value in os.environ.items() if name != "FLOW_MOCK_DIR"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    was_there, directory = found.stdout.split()
    assert was_there == "True"
    assert not os.path.exists(directory)


def test_local_target_is_public():
    assert flow.LocalTarget is LocalTarget


@pytest.mark.parametrize("kind", [flow.LocalTarget, MockTarget])
def test_target_is_touched_and_opened_only_in_a_mode(kind, tmp_path):
    target = kind(str(tmp_path / "empty"))
    target._touchz()
    with target.open("r") as stream:
        assert stream.read() == ""
    with pytest.raises(TypeError, match="NoneType"):
        target.open(None)
