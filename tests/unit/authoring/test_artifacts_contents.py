"""What an artifact holds: values by suffix, put in place as a whole, on directories and stores."""

from __future__ import annotations

import builtins
import importlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest

import flow
from flow.artifacts.contents import add_content
from flow.artifacts.errors import ArtifactError, MissingArtifact, UnknownContent
from flow.artifacts.marks import has_temporary
from flow.errors import ConfigError
from flow.parameters import defaults
from flow.registry import Register
from flow.targets.paths import PathEscapes


@pytest.fixture(params=["directory", "memory"], autouse=True)
def root(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    is_directory = request.param == "directory"
    root = str(tmp_path / "root") if is_directory else f"memory://{secrets.token_hex(4)}"
    monkeypatch.setenv("FLOW_STORAGE__ROOT", root)
    defaults.settings.cache_clear()
    Register.clear_instance_cache()
    yield root
    monkeypatch.undo()
    defaults.settings.cache_clear()


class Make(flow.Task):
    name = flow.Parameter()

    def output(self) -> Any:
        return self.artifact(self.name)


def files(root: str) -> list[str]:
    """Name every file under the root."""
    import fsspec

    store, path = fsspec.core.url_to_fs(root)
    return sorted(found.rpartition("/")[2] for found in store.find(path))


@pytest.mark.parametrize("compressed", ["", ".gz"])
@pytest.mark.parametrize(
    ("suffix", "value"),
    [
        (".txt", "zwölf\r\n\nend"),
        (".txt", ""),
        (".bin", b"\0\xff\r\n"),
        (".pkl", {1: {2, 3}}),
        (".json", {"a": [1, None, "ü\ud800"]}),
        (".json", None),
        (".jsonl", [{"a": 1}, [2], "three\n", None]),
        (".jsonl", []),
    ],
)
def test_dump_then_load_gives_the_value(
    root: str, suffix: str, compressed: str, value: Any
) -> None:
    target = Make(name=suffix + compressed).output()
    assert not target.exists()
    target.dump(value)
    assert target.exists()
    assert target.load() == value
    assert files(root) == [f"Make{suffix}{compressed}"]
    with target.open("rb") as stream:
        assert type(stream.read()) is bytes


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".csv.gz", ".parquet.gz"])
def test_dump_of_a_frame_then_load_gives_an_equal_one(suffix: str) -> None:
    frame = pandas.DataFrame({"n": [1, 2], "text": ["a,b", 'q"\nü']})
    target = Make(name=suffix).output()
    target.dump(frame)
    pandas.testing.assert_frame_equal(target.load(), frame)


def test_dump_of_a_frame_as_csv_keeps_a_named_index_and_only_that() -> None:
    frame = pandas.DataFrame({"n": [1, 2, 3]})
    target = Make(name=".csv").output()
    target.dump(frame[frame.n > 1])
    assert list(target.load().columns) == ["n"]
    target.dump(frame.rename_axis("key"))
    assert list(target.load().columns) == ["key", "n"]


def iter_of_rows() -> Iterator[dict[str, int]]:
    yield from ({"a": n} for n in range(2))


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([{"a": 1, "b": "x,y"}, {"a": 2}], 'a,b\n1,"x,y"\n2,\n'),
        ([("a", "b"), (1, 2)], "a,b\n1,2\n"),
        (iter_of_rows, "a\n0\n1\n"),
        ([], ""),
    ],
)
def test_dump_of_rows_as_csv_needs_no_pandas(
    rows: Any, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hide(monkeypatch, "pandas")
    target = Make(name=".csv").output()
    target.dump(rows() if callable(rows) else rows)
    with target.open() as stream:
        assert stream.read() == text
    assert target.load(rows=True) == (
        [dict(zip(["a", "b"], line, strict=False)) for line in (["1", "x,y"], ["2", ""])]
        if "x,y" in text
        else [dict(zip(text.split("\n")[0].split(","), line.split(","), strict=True))
              for line in text.split("\n")[1:-1]]
    )  # fmt: skip


def test_load_of_an_empty_csv_is_an_empty_frame() -> None:
    target = Make(name=".csv").output()
    target.dump([])
    assert target.load().empty


def _hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Make a package look not installed."""
    real = builtins.__import__
    real_one = importlib.import_module

    def refuse(name: str) -> None:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    def imported(name: str, *args: Any, **kwargs: Any) -> Any:
        refuse(name)
        return real(name, *args, **kwargs)

    def by_name(name: str, *args: Any) -> Any:
        refuse(name)
        return real_one(name, *args)

    monkeypatch.setattr(builtins, "__import__", imported)
    monkeypatch.setattr(importlib, "import_module", by_name)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_table_without_pandas_names_the_line_to_type(
    suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Make(name=suffix).output()
    target.dump(pandas.DataFrame({"a": [1]}))
    _hide(monkeypatch, "pandas")
    with pytest.raises(ConfigError) as caught:
        target.load()
    assert "pip install 'flow-workflows[tables]'" in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("suffix", "value"),
    [(".txt", b"x"), (".txt", None), (".bin", "x"), (".json", {1, 2}), (".json", object()),
     (".jsonl", "text"), (".jsonl", 3), (".csv", "text"), (".csv", [1, 2]), (".parquet", 3),
     (".npy", 3), ("", 3), (".gz", 3)],
)  # fmt: skip
def test_dump_of_a_value_that_does_not_fit_is_refused_and_leaves_nothing(
    root: str, suffix: str, value: Any
) -> None:
    target = Make(name=f"x{suffix}").output()
    with pytest.raises(UnknownContent) as caught:
        target.dump(value)
    assert caught.value.hint
    assert not target.exists()
    assert files(root) == []


def test_dump_that_fails_keeps_what_was_there(root: str) -> None:
    target = Make(name=".pkl").output()
    target.dump(1)
    with pytest.raises(AttributeError):
        target.dump([0] * 100_000 + [lambda: 0])
    assert target.load() == 1
    assert files(root) == ["Make.pkl"]


def test_open_to_write_appears_only_when_closed(root: str) -> None:
    target = Make(name="log.txt.gz").output()
    with target.open("w") as stream:
        stream.write("zwölf\n")
        assert not target.exists()
    with target.open() as stream:
        assert stream.read() == "zwölf\n"
    with pytest.raises(KeyError), target.open("w") as stream:
        stream.write("half")
        raise KeyError
    with target.open() as stream:
        assert stream.read() == "zwölf\n"
    assert files(root) == ["log.txt.gz"]


def test_open_of_a_suffix_that_is_no_text_gives_bytes() -> None:
    target = Make(name=".bin").output()
    with target.open("w") as stream:
        stream.write(b"\xff")
    with target.open("r") as stream:
        assert stream.read() == b"\xff"
    with pytest.raises(ValueError, match="mode 'a'"):
        target.open("a")


def test_load_of_what_is_not_there_says_where_the_root_comes_from(root: str) -> None:
    for act in (lambda each: each.load(), lambda each: each.open()):
        with pytest.raises(MissingArtifact) as caught:
            act(Make(name=".json").output())
        assert isinstance(caught.value, FileNotFoundError)
        assert root in str(caught.value)
        assert "FLOW_" in caught.value.hint


def test_remove_takes_it_away_and_may_be_repeated(root: str) -> None:
    task = Make(name="a.json")
    other = task.artifact("parts/b.json")
    task.output().dump(1)
    other.dump(2)
    task.output().remove()
    assert not task.output().exists()
    assert other.load() == 2
    task.output().remove()
    other.remove()
    assert files(root) == []
    task.output().dump(3)
    assert task.output().load() == 3


def test_directory_appears_as_a_whole(root: str) -> None:
    task = Make(name="model/")
    if root.startswith("memory"):
        with pytest.raises(ArtifactError, match="directory"):
            task.output()
        return
    with pytest.raises(KeyError), task.output().temporary_path() as folder:
        Path(folder, "half").touch()
        raise KeyError
    assert files(root) == []
    with task.output().temporary_path() as folder:
        Path(folder, "whole").touch()
        assert not task.output().exists()
    assert task.output().exists()
    assert os.listdir(task.output().path) == ["whole"]
    with pytest.raises(ArtifactError, match="directory"):
        task.output().open("w")
    task.output().remove()
    assert not task.output().exists()


def test_path_for_a_program_becomes_the_artifact(root: str) -> None:
    import fsspec

    target = Make(name="out.bin").output()
    with target.temporary_path() as path:
        with fsspec.open(path, "wb") as out:
            out.write(b"x")
        assert not target.exists()
    assert target.load() == b"x"


def test_link_that_leads_out_of_the_root_is_refused(root: str, tmp_path: Path) -> None:
    if root.startswith("memory"):
        return
    target = Make(name="sub/x.txt").output()
    folder = Path(target.path).parent
    folder.parent.mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    folder.symlink_to(outside)
    for act in (lambda: target.dump("x"), target.remove):
        with pytest.raises(PathEscapes):
            act()
    assert list(outside.iterdir()) == []


def test_add_content_teaches_a_suffix() -> None:
    add_content(
        ".rot", dump=lambda value, out: out.write(value[::-1].encode()),
        load=lambda stream: stream.read().decode()[::-1],
    )  # fmt: skip
    target = Make(name=".rot").output()
    target.dump("abc")
    assert target.load() == "abc"
    with target.open("rb") as stream:
        assert stream.read() == b"cba"


def test_temporary_artifact_marks_its_task() -> None:
    task = Make(name="t.json")
    assert not task.output().temporary
    assert not has_temporary(task)
    assert task.artifact("u.json", temporary=True).temporary
    assert has_temporary(task)


_KILLED_WRITER = """
import os, signal, sys
import flow
class Big(flow.Task):
    def output(self):
        return self.artifact(".bin")
with Big().output().open("w") as out:
    out.write(b"x" * (1 << 20))
    out.flush()
    print(Big().output().path, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_writer_that_is_killed_leaves_nothing_visible(root: str) -> None:
    if root.startswith("memory"):
        return
    done = subprocess.run(
        [sys.executable, "-c", _KILLED_WRITER], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    path = done.stdout.strip()
    assert path.startswith(root)
    assert not os.path.exists(path)
    assert [name for name in os.listdir(os.path.dirname(path)) if "-flow-tmp-" not in name] == []
