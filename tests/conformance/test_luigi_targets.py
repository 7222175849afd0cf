"""Targets and file systems behave as Luigi's; where they differ, a test here says so and why."""

from __future__ import annotations

import inspect
import os
import re
import warnings

import luigi
import luigi.format
import luigi.local_target
import luigi.mock
import luigi.target
import pytest

import flow as flow_as_luigi
import flow.local_target
import flow.mock
import flow.target

LIBRARIES = {"flow": flow_as_luigi, "luigi": luigi}


@pytest.fixture(params=sorted(LIBRARIES))
def library(request):
    """The module that a pipeline calls ``luigi``."""
    flow.mock.MockFileSystem().clear()
    luigi.mock.MockFileSystem().clear()
    return LIBRARIES[request.param]


def write(target, text="1"):
    with target.open("w") as out:
        out.write(text)
    return target


def outcome(action):
    """What happens, in a form that both libraries share."""
    try:
        return action()
    except Exception as error:
        return type(error).__name__


def test_every_public_name_of_luigis_modules_is_there():
    for name in ("target", "local_target", "mock", "format"):
        theirs, ours = getattr(luigi, name), getattr(flow_as_luigi, name)
        defined = {
            each
            for each, value in vars(theirs).items()
            if not each.startswith("_") and getattr(value, "__module__", "") == theirs.__name__
        }
        if name == "format":
            defined |= {"Text", "UTF8", "Nop", "SysNewLine", "Gzip", "Bzip2", "MixedUnicodeBytes"}
        left_out = {
            "AtomicLocalFile",  # to be subclassed for stores: here, RemoteTarget reaches them
            *("FileWrapper", "BaseWrapper", "NewlineWrapper", "TextWrapper"),
            "MixedUnicodeBytesWrapper",
        }
        assert defined - left_out <= set(dir(ours)), name


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("target", "Target"),
        ("target", "FileSystem"),
        ("target", "FileSystemTarget"),
        ("local_target", "LocalFileSystem"),
        ("local_target", "LocalTarget"),
        ("mock", "MockFileSystem"),
        ("mock", "MockTarget"),
    ],
)
def test_every_public_method_takes_what_luigis_takes(module, name):
    theirs = getattr(getattr(luigi, module), name)
    ours = getattr(getattr(flow_as_luigi, module), name)
    for method in (each for each in dir(theirs) if not each.startswith("_")):
        assert hasattr(ours, method), f"{name}.{method}"
        expected = getattr(theirs, method)
        if inspect.isfunction(expected):
            wanted = list(inspect.signature(expected).parameters.values())
            found = inspect.signature(getattr(ours, method)).parameters
            positional = [each for each in wanted if each.name != "skip_trash"]
            assert len(found) >= len(positional), f"{name}.{method}"
            for each in positional:
                if each.default is not inspect.Parameter.empty:
                    assert found[each.name].default == each.default, f"{name}.{method}"


def test_exceptions_are_one_family_in_both(library):
    base = library.target.FileSystemException
    for name in ("FileAlreadyExists", "MissingParentDirectory", "NotADirectory"):
        assert issubclass(getattr(library.target, name), base)


def test_target_needs_exists_and_a_file_system_target_fs_and_open(library):
    with pytest.raises(TypeError):
        library.Target()
    with pytest.raises(TypeError):
        library.target.FileSystemTarget("x")


def test_own_file_system_needs_two_methods_and_answers_for_the_others(library):
    class Own(library.target.FileSystem):
        def exists(self, path):
            return path == "there"

        def remove(self, path, recursive=True):
            pass

        def move(self, path, dest):
            self.moved = (path, dest)

    fs = Own()
    for name in ("mkdir", "isdir", "listdir"):
        with pytest.raises(NotImplementedError, match="Own"):
            getattr(fs, name)("x")
    with pytest.raises(NotImplementedError, match="Own"):
        fs.copy("a", "b")
    fs.rename("a", "b")
    assert fs.moved == ("a", "b")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(library.target.FileAlreadyExists):
            fs.rename_dont_move("a", "there")
        fs.rename_dont_move("a", "c")
    assert fs.moved == ("a", "c")


def test_own_file_system_target_gets_exists_remove_and_temporary_path(library):
    calls = []

    class Own(library.target.FileSystem):
        def exists(self, path):
            calls.append(("exists", path))
            return False

        def remove(self, path, recursive=True):
            calls.append(("remove", path))

        def mkdir(self, path, parents=True, raise_if_exists=False):
            calls.append(("mkdir", path, parents, raise_if_exists))

        def rename_dont_move(self, path, dest):
            calls.append(("rename", path, dest))

    class OwnTarget(library.target.FileSystemTarget):
        fs = Own()

        def open(self, mode):
            raise NotImplementedError

    target = OwnTarget("/a/b")
    assert not target.exists()
    target.remove()
    with target.temporary_path() as path:
        assert re.fullmatch(r"/a/b-(luigi|flow)-tmp-\w{10}", path)
    assert calls == [
        ("exists", "/a/b"),
        ("remove", "/a/b"),
        ("mkdir", "/a", True, False),
        ("rename", path, "/a/b"),
    ]
    assert str(target) == "/a/b"
    with OwnTarget("/a/c/").temporary_path() as path:
        assert path.endswith("/")


def test_pattern_in_a_path_is_warned_about(library, caplog, monkeypatch):
    # Whatever a test before had luigi do to its logger.
    for name, value in (("propagate", True), ("disabled", False), ("level", 0)):
        monkeypatch.setattr(luigi.target.logger, name, value)
    luigi.target.logger._cache.clear()
    assert not library.LocalTarget("/no/such/*").exists()
    assert any(record.levelname == "WARNING" for record in caplog.records)


def test_local_target_writes_reads_moves_copies_and_removes(library, tmp_path):
    path = str(tmp_path / "deep" / "f")
    target = library.LocalTarget(path)
    assert (target.path, str(target), target.is_tmp) == (path, path, False)
    with target.open("w") as out:
        out.write("1")
        assert not target.exists()
    with target.open("r") as stream:
        assert stream.read() == "1"
    target.copy(str(tmp_path / "other" / "g"))
    target.move(str(tmp_path / "third" / "h"))
    assert not target.exists()
    with pytest.raises(Exception):  # noqa: B017  RuntimeError there, FileAlreadyExists here
        library.LocalTarget(str(tmp_path / "other" / "g")).copy(
            str(tmp_path / "third" / "h"), raise_if_exists=True
        )
    with pytest.raises(library.target.FileAlreadyExists):
        library.LocalTarget(str(tmp_path / "other" / "g")).move(
            str(tmp_path / "third" / "h"), raise_if_exists=True
        )
    library.LocalTarget(str(tmp_path / "third" / "h")).remove()
    assert sorted(os.listdir(tmp_path)) == ["deep", "other", "third"]
    assert os.listdir(tmp_path / "third") == []


@pytest.mark.parametrize("mode", ["w", "wb", "wt", "r", "rb"])
def test_flags_in_modes_are_ignored(library, tmp_path, mode):
    target = write(library.LocalTarget(str(tmp_path / "f")), "old")
    with target.open(mode) as stream:
        if mode[0] == "w":
            stream.write("1")
        else:
            assert stream.read() == "old"


@pytest.mark.parametrize("mode", ["a", "x", "r+", ""])
def test_other_modes_are_refused_in_both(library, tmp_path, mode):
    with pytest.raises(Exception, match="'r' or 'w'"):
        library.LocalTarget(str(tmp_path / "f")).open(mode)


def test_local_target_without_path_needs_is_tmp_and_removes_itself(library):
    with pytest.raises(Exception, match="is_tmp"):
        library.LocalTarget()
    target = write(library.LocalTarget(is_tmp=True))
    path = target.path
    assert os.path.exists(path)
    del target
    assert not os.path.exists(path)


def test_fn_is_the_path_with_a_warning(library, tmp_path):
    with pytest.warns(DeprecationWarning):
        assert library.LocalTarget(str(tmp_path)).fn == str(tmp_path)


def test_makedirs_makes_what_is_around(library, tmp_path):
    library.LocalTarget(str(tmp_path / "a" / "b" / "f")).makedirs()
    assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a" / "b" / "f").exists()


def test_exception_while_writing_publishes_nothing(library, tmp_path):
    target = write(library.LocalTarget(str(tmp_path / "f")), "old")
    with pytest.raises(KeyError), target.open("w") as out:
        out.write("half")
        raise KeyError
    with target.open() as stream:
        assert stream.read() == "old"


def test_written_file_names_its_temporary_path(library, tmp_path):
    out = library.LocalTarget(str(tmp_path / "f"), format=library.format.Nop).open("w")
    assert os.path.dirname(out.tmp_path) == str(tmp_path)
    assert (tmp_path / os.path.basename(out.tmp_path)).exists()
    assert out.path == str(tmp_path / "f")
    out.close()


def test_temporary_path_of_file_and_directory(library, tmp_path):
    target = library.LocalTarget(str(tmp_path / "new" / "f"))
    with target.temporary_path() as path, open(path, "w") as out:
        out.write("1")
    with library.LocalTarget(f"{tmp_path}/new/tree/").temporary_path() as path:
        os.mkdir(path)
    with pytest.raises(KeyError), library.LocalTarget(f"{tmp_path}/new/x").temporary_path():
        raise KeyError
    assert sorted(os.listdir(tmp_path / "new")) == ["f", "tree"]


def test_local_file_system_answers_alike(tmp_path):
    found = {}
    for name, library in LIBRARIES.items():
        (tmp_path / name).mkdir()
        found[name] = answers(library, tmp_path / name)
    assert found["flow"] == found["luigi"]


def answers(library, root):
    """Do the same to a file system, right and wrong, and note what comes of it."""
    fs = library.local_target.LocalFileSystem()
    directory, file, moved = str(root / "a" / "b"), str(root / "a" / "b" / "f"), str(root / "c/g")
    missing = str(root / "missing")
    return [
        outcome(lambda: fs.mkdir(directory)),
        outcome(lambda: fs.mkdir(directory)),
        outcome(lambda: fs.mkdir(directory, raise_if_exists=True)),
        outcome(lambda: fs.mkdir(str(root / "no" / "such"), parents=False)),
        outcome(lambda: write(library.LocalTarget(file)) and None),
        outcome(lambda: fs.mkdir(file)),
        outcome(lambda: fs.mkdir(file, raise_if_exists=True)),
        outcome(lambda: [os.path.relpath(each, root) for each in fs.listdir(str(root))]),
        outcome(lambda: (fs.isdir(directory), fs.isdir(file))),
        outcome(lambda: fs.move(file, moved)),
        outcome(lambda: fs.move(missing, moved)),
        outcome(lambda: fs.copy(missing, moved)),
        outcome(lambda: fs.remove(missing)),
        outcome(lambda: fs.remove(str(root / "a"))),
        outcome(lambda: fs.remove(moved, recursive=False)),
        outcome(lambda: sorted(os.listdir(root))),
    ]


def test_mock_targets_answer_alike(library):
    target = write(library.mock.MockTarget("dir/f"), "1")
    fs = library.mock.MockTarget.fs
    assert target.exists()
    assert fs.exists("dir/f")
    assert fs.get_data("dir/f") == b"1"
    assert dict(fs.get_all_data()) == {"dir/f": b"1"}
    assert fs.listdir("dir") == ["dir/f"]
    assert fs.isdir("dir")
    assert not fs.exists("dir")
    fs.copy("dir/f", "dir/g")
    target.rename("other")
    with pytest.raises(Exception):  # noqa: B017  RuntimeError there, FileAlreadyExists here
        fs.move("dir/g", "other", raise_if_exists=True)
    with pytest.raises(KeyError):
        fs.get_data("missing")
    fs.get_all_data()["set"] = b"2"
    with library.mock.MockTarget("set").open("r") as stream:
        assert stream.read() == "2"
    assert fs.get_all_data().pop("set") == b"2"
    fs.mkdir("nothing")
    fs.remove("d")
    assert sorted(fs.get_all_data()) == ["other"]
    fs.clear()
    assert not fs.get_all_data()
    with pytest.raises(KeyError), library.mock.MockTarget("half").open("w") as out:
        out.write("half")
        raise KeyError
    assert not library.mock.MockTarget("half").exists()


def test_mirrored_mock_names_its_target(library, capsys):
    write(library.mock.MockTarget("m", mirror_on_stderr=True), "line\n")
    assert capsys.readouterr().err == "m: line\n"


class TestBetter:
    """What is different on purpose."""

    def test_temporary_path_replaces_a_file_of_an_earlier_attempt(self, tmp_path):
        for name, library in LIBRARIES.items():
            target = write(library.LocalTarget(str(tmp_path / name)), "old")

            def rewrite(target=target):
                with target.temporary_path() as path, open(path, "w") as out:
                    out.write("new")

            assert outcome(rewrite) == {"flow": None, "luigi": "FileAlreadyExists"}[name]

    def test_temporary_path_after_an_exception_leaves_nothing(self, tmp_path):
        for name, library in LIBRARIES.items():
            (tmp_path / name).mkdir()
            target = library.LocalTarget(str(tmp_path / name / "f"))
            with pytest.raises(KeyError), target.temporary_path() as path:
                open(path, "w").close()
                raise KeyError
            assert len(os.listdir(tmp_path / name)) == {"flow": 0, "luigi": 1}[name]

    def test_directory_moves_between_devices_too(self, tmp_path, monkeypatch):
        real = os.replace
        for name, library in LIBRARIES.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "f").write_text("1")
            refused = []

            def once_another_device(source, dest, refused=refused):
                if not refused:
                    refused.append(source)
                    raise OSError(18, "Invalid cross-device link")
                real(source, dest)

            monkeypatch.setattr(os, "replace", once_another_device)
            move = library.local_target.LocalFileSystem().move
            found = outcome(lambda: move(str(tmp_path / name), str(tmp_path / f"{name}2")))  # noqa: B023
            assert found == {"flow": None, "luigi": "IsADirectoryError"}[name]
            monkeypatch.setattr(os, "replace", real)

    def test_missing_mock_is_a_missing_file(self):
        assert outcome(lambda: flow.mock.MockTarget("no").open()) == "FileNotFoundError"
        assert outcome(lambda: luigi.mock.MockTarget("no").open()) == "KeyError"
