"""Targets in real stores do what local targets do, whole or not at all: S3, FTP, SFTP, files.

Kills and whole pipelines are in ``test_remote_pipelines``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from flow.errors import UsageError
from flow.format import Bzip2, Format, Gzip, Nop, OutputPipeProcessWrapper, Text
from flow.targets import RemoteTarget
from flow.targets.base import (
    FileAlreadyExists,
    FileSystemException,
    MissingParentDirectory,
    NotADirectory,
)
from flow.targets.stores import ReadOnlyStore, store_of
from tests.support.remote_servers import (
    BUCKET,
    PASSWORD,
    ftp_server,
    http_server,
    s3_server,
    sftp_server,
)

#: More than one request, less than what a block of FTP holds twice.
LARGE = os.urandom(12 << 20)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def s3():
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def ftp(tmp_path_factory):
    pytest.importorskip("pyftpdlib")
    root = tmp_path_factory.mktemp("ftp")
    with ftp_server(root) as url:
        yield SimpleNamespace(url=url, root=root)


@pytest.fixture(scope="module")
def sftp(tmp_path_factory):
    pytest.importorskip("asyncssh")
    pytest.importorskip("paramiko")
    with sftp_server(tmp_path_factory.mktemp("sftp")) as url:
        yield url


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    pytest.importorskip("aiohttp")
    root = tmp_path_factory.mktemp("web")
    (root / "f.txt").write_text("page")
    with http_server(root) as url:
        yield url


SERVED = pytest.mark.xdist_group("stores")


@pytest.fixture(
    params=[
        pytest.param("s3", marks=SERVED),
        pytest.param("ftp", marks=SERVED),
        pytest.param("sftp", marks=SERVED),
        "file",
        "memory",
    ]
)
def place(request, tmp_path):
    """A fresh folder in each kind of store: ``place("name")`` is a URL, ``options`` go with it."""
    number = next(_numbers)
    if request.param == "s3":
        server = request.getfixturevalue("s3")
        return Place(f"s3://{BUCKET}/t{number}", server.options)
    if request.param == "ftp":
        return Place(f"{request.getfixturevalue('ftp').url}/t{number}", {})
    if request.param == "sftp":
        return Place(f"{request.getfixturevalue('sftp')}/t{number}", {})
    if request.param == "file":
        return Place(f"file://{tmp_path}/t{number}", {})
    return Place(f"memory://t{number}", {})


class Place:
    def __init__(self, url, options):
        self.url = url
        self.options = options
        self.scheme = url.partition(":")[0]

    def target(self, name, form=None):
        return RemoteTarget(f"{self.url}/{name}", form, self.options)

    def names(self):
        root = RemoteTarget(self.url, None, self.options)
        return sorted(each.removeprefix(f"{self.url}/") for each in root.listdir())


def fitting(place, content):
    """Less for a server that waits 40 ms before it confirms each packet."""
    return content[: 1 << 20] if place.scheme == "sftp" else content


def write(target, content):
    with target.open("w") as out:
        out.write(content)
    return target


def read(target):
    with target.open() as source:
        return source.read()


def test_written_file_appears_when_it_is_closed_and_reads_back(place):
    target = place.target("deep/er/out.txt")
    assert not target.exists()
    with target.open("w") as out:
        out.write("größer\n")
        out.flush()
        assert not target.exists()
    assert target.exists()
    assert read(target) == "größer\n"
    assert place.names() == ["deep/er/out.txt"]


@pytest.mark.parametrize(
    ("form", "content"),
    [
        (Nop, LARGE),
        (Nop, b""),
        (Gzip, LARGE),
        (Bzip2, b"ab" * 100_000),
        (Text >> Gzip, "ä" * 1000),
        (Text, "lines\n" * 3),
    ],
    ids=["large", "empty", "gzip", "bzip2", "text-gzip", "text"],
)
def test_content_reads_back_in_every_format(place, form, content):
    content = fitting(place, content)
    assert read(write(place.target("f", form), content)) == content


def test_format_of_an_external_program_is_fed_and_read(place):
    class Reversed(Format):
        def pipe_reader(self, stream):
            return stream

        def pipe_writer(self, stream):
            return OutputPipeProcessWrapper(["rev"], stream)

    assert read(write(place.target("f", Reversed()), b"abc\n" * 10)) == b"cba\n" * 10


@pytest.mark.parametrize("content", [b"half", LARGE], ids=["small", "large"])
def test_exception_while_writing_leaves_what_was_there(place, content):
    target = write(place.target("f", Nop), b"old")
    with pytest.raises(KeyError), target.open("w") as out:
        out.write(fitting(place, content))
        raise KeyError
    assert read(target) == b"old"
    assert place.names() == ["f"]


@pytest.mark.parametrize("content", [b"half", LARGE], ids=["small", "large"])
def test_file_that_is_never_closed_never_appears(place, content):
    out = place.target("f", Nop).open("w")
    out.write(fitting(place, content))
    del out
    assert not place.target("f").exists()


def test_abandoned_upload_to_s3_leaves_no_parts(s3):
    place = Place(f"s3://{BUCKET}/abandoned", s3.options)
    with pytest.raises(KeyError), place.target("f", Nop).open("w") as out:
        out.write(LARGE)
        assert s3.unfinished() == ["abandoned/f"], "parts were uploaded while it was written"
        raise KeyError
    assert s3.unfinished() == []


def test_written_file_replaces_another(place):
    target = write(place.target("f"), "old")
    assert read(write(target, "new")) == "new"
    assert place.names() == ["f"]


def test_move_copy_remove_and_list(place):
    target = write(place.target("a/f"), "1")
    target.copy(f"{place.url}/b/g")
    target.copy(f"{place.url}/b/g")
    with pytest.raises(FileAlreadyExists):
        target.copy(f"{place.url}/b/g", raise_if_exists=True)
    assert place.names() == ["a/f", "b/g"]
    with pytest.raises(FileAlreadyExists):
        target.move(f"{place.url}/b/g", raise_if_exists=True)
    target.move(f"{place.url}/c/h")
    assert place.names() == ["b/g", "c/h"]
    assert target.fs.glob(f"{place.url}/*/h") == [f"{place.url}/c/h"]
    assert target.fs.isdir(f"{place.url}/b")
    assert not target.fs.isdir(f"{place.url}/b/g")
    target.fs.remove(f"{place.url}/b")
    place.target("c/h").remove()
    assert not place.target("b/g").exists()
    assert not place.target("c/h").exists()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        place.target("c/h").remove()


def test_folders_are_those_right_under_a_place(place):
    for name in ("a/f", "b/deep/f", "file"):
        write(place.target(name), "1")
    fs = place.target("x").fs
    assert sorted(fs.folders(place.url)) == ["a", "b"]
    assert fs.folders(f"{place.url}/missing") == []


def test_names_that_look_like_patterns_are_literal(place):
    for name in ("x*", "xy", "dir*/z", "dirs/z"):
        write(place.target(name), name)
    place.target("x*").remove()
    place.target("dir*").remove()
    assert place.names() == ["dirs/z", "xy"]


def test_temporary_path_becomes_the_target_at_the_end(place):
    target = place.target("new/out")
    with target.temporary_path() as path:
        write(RemoteTarget(path, None, place.options), "1")
        assert not target.exists()
    assert place.names() == ["new/out"]
    with pytest.raises(RuntimeError), place.target("other").temporary_path() as path:
        write(RemoteTarget(path, None, place.options), "1")
        raise RuntimeError
    assert place.names() == ["new/out"]


def test_temporary_directory_is_only_published_where_a_rename_is_one_step(place):
    target = place.target("tree/")
    if place.scheme in ("s3", "memory"):
        with pytest.raises(FileSystemException, match="one by one"), target.temporary_path():
            pytest.fail("must not be reached")
        return
    with target.temporary_path() as path:
        write(RemoteTarget(f"{path}part", None, place.options), "1")
    assert place.names() == ["tree/part"]


def test_directories_are_made_where_there_are_some(place):
    fs = place.target("x").fs
    write(place.target("file"), "1")
    fs.mkdir(f"{place.url}/d/e")
    if place.scheme in ("s3", "memory"):
        return
    assert fs.isdir(f"{place.url}/d/e")
    with pytest.raises(FileAlreadyExists):
        fs.mkdir(f"{place.url}/d/e", raise_if_exists=True)
    with pytest.raises(NotADirectory):
        fs.mkdir(f"{place.url}/file")
    with pytest.raises(MissingParentDirectory):
        fs.mkdir(f"{place.url}/no/such", parents=False)


def test_missing_file_cannot_be_opened_and_other_modes_are_refused(place):
    with pytest.raises(FileNotFoundError):
        place.target("missing").open()
    with pytest.raises(ValueError, match="expected 'r' or 'w'"):
        place.target("f").open("a")


def test_other_stores_are_no_place_to_move_to(place):
    target = write(place.target("f"), "1")
    with pytest.raises(UsageError, match="is not in the store"):
        target.move("webhdfs://elsewhere/f")


def test_many_threads_ask_and_write_at_the_same_time(place):
    found, errors = {}, []

    def work(number):
        try:
            target = place.target(f"n{number}")
            if number % 2:
                write(target, str(number))
                assert read(target) == str(number)
            found[number] = target.exists()
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert found == {number: number % 2 == 1 for number in range(32)}


def test_child_forked_from_a_process_that_used_the_store_uses_it_too(place):
    target = write(place.target("before"), "1")
    open_stream = target.open()
    pid = os.fork()
    if pid == 0:  # the child: nothing of pytest may run here
        code = 1
        try:
            if target.exists() and read(target) == "1" and not place.target("no").exists():
                write(place.target("from-child", Nop), fitting(place, LARGE))
                code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    assert open_stream.read() == "1"
    open_stream.close()
    assert target.exists()
    if place.scheme != "memory":  # what a child writes to its memory is its own
        assert read(place.target("from-child", Nop)) == fitting(place, LARGE)


def test_what_others_write_is_seen_at_once(s3):
    place = Place(f"s3://{BUCKET}/seen", s3.options)
    write(place.target("a"), "1")
    assert place.names() == ["a"]
    s3.client().put_object(Bucket=BUCKET, Key="seen/b", Body=b"2")
    assert place.target("b").exists()
    assert place.names() == ["a", "b"]
    s3.client().delete_object(Bucket=BUCKET, Key="seen/a")
    assert not place.target("a").exists()


def test_endpoint_is_found_in_the_environment(s3):
    code = (
        "from flow.targets import RemoteTarget\n"
        f"t = RemoteTarget('s3://{BUCKET}/from-environment')\n"
        "out = t.open('w'); out.write('1'); out.close()\n"
        "assert t.exists()\n"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **s3.environment}, check=True)
    assert "from-environment" in s3.visible()


def test_store_that_does_not_answer_raises_instead_of_saying_no():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # not listening: connections are refused
        port = silent.getsockname()[1]
        for url in (f"ftp://127.0.0.1:{port}/f", f"http://127.0.0.1:{port}/f"):
            with pytest.raises(ConnectionError):
                RemoteTarget(url).exists()
        options = {
            "endpoint_url": f"http://127.0.0.1:{port}",
            "key": "k",
            "secret": "s",
            "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1},
        }
        with pytest.raises(Exception, match="Could not connect"):
            RemoteTarget("s3://bucket/f", storage_options=options).exists()


def test_ftp_connection_that_the_server_closed_is_made_anew(tmp_path):
    pytest.importorskip("pyftpdlib")
    with ftp_server(tmp_path, idle_s=1) as url:
        target = write(RemoteTarget(f"{url}/f"), "1")
        (idle,) = store_of(target.path, {})._idle
        # The server says that it has waited long enough, and hangs up.
        assert select.select([idle.ftp.sock], [], [], 30)[0]
        assert target.exists()
        assert read(target) == "1"


def test_password_in_a_url_is_not_shown(ftp):
    target = RemoteTarget(f"{ftp.url}/f")
    assert PASSWORD not in repr(target) + str(target)
    assert "user:***@" in repr(target)


def test_ftp_keeps_what_it_publishes_beside_until_it_is_whole(ftp):
    place = Place(f"{ftp.url}/beside", {})
    with place.target("f", Nop).open("w") as out:
        out.write(LARGE)
        (beside,) = (ftp.root / "beside").iterdir()
        assert beside.name.startswith("f-flow-tmp-")
    assert [each.name for each in (ftp.root / "beside").iterdir()] == ["f"]


class TestHttp:
    def test_page_exists_and_is_read(self, web):
        assert RemoteTarget(f"{web}/f.txt").exists()
        assert read(RemoteTarget(f"{web}/f.txt")) == "page"
        assert RemoteTarget(f"{web}/f.txt?x=1").exists()
        assert not RemoteTarget(f"{web}/missing").exists()

    def test_writing_is_refused_with_what_to_do(self, web):
        target = RemoteTarget(f"{web}/f.txt")
        for attempt in (
            lambda: target.open("w"),
            target.remove,
            lambda: target.move(f"{web}/g"),
            lambda: target.temporary_path().__enter__(),
        ):
            with pytest.raises(ReadOnlyStore, match="only read") as caught:
                attempt()
            assert "s3://" in caught.value.hint

    def test_broken_server_is_not_taken_for_a_missing_page(self, web):
        with pytest.raises(ConnectionError, match="answered 500"):
            RemoteTarget(f"{web}/broken").exists()
        with pytest.raises(ConnectionError, match="answered 500"):
            RemoteTarget(f"{web}/broken").open()
        with pytest.raises(FileNotFoundError):
            RemoteTarget(f"{web}/missing").open()


@pytest.mark.parametrize(
    "name", ["a b", "a%20b", "é日本", "a+b", "a&b=c", "~", "-rf", "d/a//b", "a'\"b", "x" * 240]
)
def test_odd_names_are_written_read_and_removed(place, name):
    target = write(place.target(name), "content")
    assert target.exists()
    assert read(target) == "content"
    target.remove()
    assert not target.exists()


@pytest.mark.parametrize("name", ["a?b", "a#b"])
def test_name_that_would_be_cut_is_refused(place, name):
    if place.scheme in ("ftp", "sftp"):
        with pytest.raises(UsageError, match=r"'\?' and '#' would be lost"):
            place.target(name).exists()
    else:
        write(place.target(name), "content")
        assert place.names() == [name]


def test_what_a_store_complains_about_is_named_without_a_password(s3, ftp, caplog):
    with pytest.raises(FileNotFoundError) as caught:
        write(RemoteTarget("s3://no-such-bucket/f", None, s3.options), "content")
    assert "What was written did not become s3://no-such-bucket/f" in caught.value.__notes__
    out = RemoteTarget(f"{ftp.url}/fault/f").open("w")
    shutil.rmtree(ftp.root / "fault")
    with pytest.raises(Exception, match="550") as caught:
        out.close()
    assert "user:***@" in caught.value.__notes__[0]
    assert "dropping what was written" in caplog.text
    assert PASSWORD not in caplog.text + "".join(caught.value.__notes__)


def test_upload_of_a_forked_child_is_not_published(place):
    target = place.target("f")
    with target.open("w") as out:
        out.write("abc")
        child = os.fork()
        if child == 0:
            with contextlib.suppress(RuntimeError):
                out.close()
            os._exit(0 if out.closed else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert not target.exists()
        out.write("def")
    assert read(target) == "abcdef"
