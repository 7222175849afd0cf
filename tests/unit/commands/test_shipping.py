"""User code packed and unpacked: equal bytes for equal folders, and no trust in any body."""

from __future__ import annotations

import hashlib
import io
import os
import random
import socket
import stat
import struct
import threading
import warnings
import zipfile
from pathlib import Path

import pytest

from flow.errors import ConfigError, ProtocolError, UsageError
from flow.usercode import gathering, shipping
from flow.usercode.shipping import Packed, pack, unpack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "code"
    write(made, {"pipeline.py": "import shop", "shop/__init__.py": "", "shop/sales.py": "x = 1"})
    return made


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(packed: Packed) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(packed.body)).namelist()


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --------------------------------------------------------------------------------------- packing


def test_pack_then_unpack_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    (folder / "tool.sh").write_text("#!/bin/sh")
    (folder / "tool.sh").chmod(0o700)
    packed = pack(str(folder))
    unpack(packed.body, str(tmp_path / "made/there"))
    assert tree(tmp_path / "made/there") == tree(folder)
    assert os.access(tmp_path / "made/there/tool.sh", os.X_OK)
    assert not os.stat(tmp_path / "made/there/pipeline.py").st_mode & stat.S_IXUSR
    assert packed.files == 4 and packed.digest == hashlib.sha256(packed.body).hexdigest()
    assert [each.name for each in (tmp_path / "made").iterdir()] == ["there"]


def test_pack_equal_content_gives_equal_bytes(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name, text in reversed(tree(folder).items()):
        write(other, {name: text})
        os.utime(other / name, (10**9, 10**9))
        (other / name).chmod(0o600)
    (other / "empty/folder").mkdir(parents=True)
    assert pack(str(other)) == pack(str(folder))
    # What is stored must never change: digests name folders on workers of many versions.
    write(tmp_path / "fixed", {"a.py": "x = 1\n", "é/b.py": ""})
    assert pack(str(tmp_path / "fixed")).digest[:16] == "5f63b5e6e7e5b853"


def test_pack_other_content_name_or_right_gives_another_digest(folder: Path) -> None:
    digests = {pack(str(folder)).digest}
    write(folder, {"pipeline.py": "import shop  # changed"})
    digests.add(pack(str(folder)).digest)
    (folder / "pipeline.py").rename(folder / "renamed.py")
    digests.add(pack(str(folder)).digest)
    (folder / "renamed.py").chmod(0o755)
    digests.add(pack(str(folder)).digest)
    assert len(digests) == 4


def test_pack_leaves_out_what_is_never_code(folder: Path) -> None:
    kept = names(pack(str(folder)))
    write(folder, {".git/config": "", "shop/__pycache__/a.pyc": "", ".venv/a.py": ""})
    write(folder, {"env/pyvenv.cfg": "", "env/lib/a.py": "", "sub/.git": "gitdir: elsewhere"})
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.open(folder, os.O_RDONLY)
        sock.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        assert names(pack(str(folder))) == kept


def test_pack_obeys_patterns_at_every_level(folder: Path) -> None:
    write(folder, {".gitignore": "*.csv\n/data/\n", ".flowignore": "!small.csv\nnotes.txt"})
    write(folder, {"a.csv": "", "small.csv": "", "data/x.py": "", "shop/data/x.py": ""})
    write(folder, {"notes.txt": "", "shop/notes.txt": "", "shop/.gitignore": "!notes.txt\nold/"})
    write(folder, {"shop/old/x.py": "", "shop/old/.gitignore": "!x.py"})
    assert names(pack(str(folder))) == [
        *(".flowignore", ".gitignore", "pipeline.py", "shop/.gitignore", "shop/__init__.py"),
        *("shop/data/x.py", "shop/notes.txt", "shop/sales.py", "small.csv"),
    ]


def test_pack_part_of_a_repository_obeys_the_patterns_above_up_to_its_top(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "*.py", "repository/.gitignore": "jobs/*.csv"})
    write(tmp_path, {"repository/jobs/a.csv": "", "repository/jobs/a.py": ""})
    (tmp_path / "repository/.git").mkdir()
    assert names(pack(str(tmp_path / "repository/jobs"))) == ["a.py"]


def test_pack_links_inside_are_followed_as_files(folder: Path) -> None:
    (folder / "alias.py").symlink_to("shop/sales.py")
    (folder / "store").symlink_to(folder / "shop")
    packed = pack(str(folder))
    assert {"alias.py", "store/__init__.py", "store/sales.py"} < set(names(packed))
    assert zipfile.ZipFile(io.BytesIO(packed.body)).read("alias.py") == b"x = 1"
    assert {info.external_attr for info in zipfile.ZipFile(io.BytesIO(packed.body)).filelist} == {
        (stat.S_IFREG | 0o644) << 16
    }


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("..", "data is a link out of "),
        ("/etc/passwd", "data is a link out of "),
        ("../code-too", "data is a link out of "),
        (".", "data is a link to a folder that it is in"),
        ("nowhere", "data is a link to what is not there"),
        ("data", "data is a link to what is not there"),
    ],
)
def test_pack_link_that_cannot_be_followed_is_refused_unless_ignored(
    folder: Path, target: str, complaint: str
) -> None:
    (folder.parent / "code-too").mkdir()
    (folder / "data").symlink_to(target)
    with pytest.raises(UsageError, match=complaint) as caught:
        pack(str(folder))
    assert ".flowignore" in caught.value.hint
    write(folder, {".flowignore": "data"})
    assert pack(str(folder)).files == 4


def test_pack_links_in_a_circle_are_refused(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other/there").symlink_to("../shop")
    (folder / "shop/back").symlink_to("../other")
    with pytest.raises(UsageError, match="is a link to a folder that it is in"):
        pack(str(folder))


def test_pack_links_that_double_folders_are_bounded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "FILES_MAX", 200)
    for number in range(20):
        (folder / f"d{number}").mkdir()
        for name in "ab":
            (folder / f"d{number}" / name).symlink_to(f"../d{number + 1}")
    (folder / "d20").mkdir()
    with pytest.raises(UsageError, match="more than 200 files or folders"):
        pack(str(folder))


def test_pack_link_to_an_environment_outside_is_left_out(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "env", {"pyvenv.cfg": "", "bin/python": ""})
    (folder / "env").symlink_to(tmp_path / "env")
    (folder / ".venv").symlink_to(tmp_path)
    assert pack(str(folder)).files == 3


def test_pack_too_much_names_the_five_biggest_and_the_way_out(folder: Path) -> None:
    for number in range(1, 8):
        write(folder, {f"data/{number}.csv": "x" * 1024 * number})
    with pytest.raises(UsageError) as caught:
        pack(str(folder), bytes_max=20 << 10)
    text = str(caught.value)
    assert "data/7.csv (7 KiB), data/6.csv (6 KiB)" in text and "data/3.csv" in text
    assert "data/2.csv" not in text and ".flowignore" in text and "more than 20 KiB" in text


def test_pack_body_is_bounded_with_its_names(folder: Path) -> None:
    size = len(pack(str(folder)).body)
    assert pack(str(folder), bytes_max=size).files == 3
    with pytest.raises(UsageError, match=r"\.flowignore"):
        pack(str(folder), bytes_max=size - 1)


def test_pack_file_that_grows_meanwhile_is_bounded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = gathering.gather(str(folder))
    write(folder, {"pipeline.py": "x" * 10_000})
    monkeypatch.setattr(shipping, "gather", lambda root: files)
    with pytest.raises(UsageError, match=r"\.flowignore"):
        pack(str(folder), bytes_max=5000)


def test_pack_unreadable_files_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not path.endswith("s.py"))
    with pytest.raises(UsageError, match=r"cannot be read: shop/sales.py \(Permission denied\)"):
        pack(str(folder))


def test_pack_unreadable_folder_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.listdir

    def listdir(path: str) -> list[str]:
        if path.endswith("shop"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(UsageError, match=r"cannot be read: shop \(Permission denied\)"):
        pack(str(folder))


@pytest.mark.parametrize("name", ["a\\b.py", "C:a.py", os.fsdecode(b"\xff.py")])
def test_pack_name_that_no_unpacker_would_take_is_refused(folder: Path, name: str) -> None:
    write(folder, {name: ""})
    with pytest.raises(UsageError, match="cannot be packed"):
        pack(str(folder))


def test_pack_without_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        pack(str(tmp_path / "nowhere"))


# ------------------------------------------------------------------------------------- unpacking


def entry(name: str, *, mode: int = stat.S_IFREG | 0o644, kind: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    info.compress_type = kind
    return info


def body_of(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about duplicate names
        for info, content in entries:
            archive.writestr(info, content)
    return held.getvalue()


def refused(body: bytes, tmp_path: Path, match: str, **limits: int) -> None:
    place = tmp_path / "place"
    place.mkdir(exist_ok=True)
    with pytest.raises(ProtocolError, match=match):
        unpack(body, str(place / "into"), **limits)
    assert list(place.iterdir()) == []
    assert [each.name for each in tmp_path.iterdir()] == ["place"]


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/x", "//x", "../x", "a/../../x", "a/..", "..", ".", "./a", "a//b", "folder/"),
        *("a\\b", "..\\x", "C:x", "c:/x", "\\\\host\\share", "a/" * 70 + "x", "x" * 256, "é" * 200),
        "/".join(["x" * 200] * 6),
    ],
)
def test_unpack_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    refused(body_of(("first.py", b""), (name, b"x")), tmp_path, "refused in a body of code")


def test_unpack_name_with_a_zero_is_refused(tmp_path: Path) -> None:
    body = body_of(("harmless.pyX..", b"")).replace(b"harmless.pyX", b"harmless.py\0")
    refused(body, tmp_path, "refused in a body of code")


@pytest.mark.parametrize(
    "mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR]
)
def test_unpack_entry_that_is_no_file_is_refused(tmp_path: Path, mode: int) -> None:
    body = body_of((entry("a", mode=mode | 0o777), b"/etc/passwd"))
    refused(body, tmp_path, "it is no regular file")


def test_unpack_duplicates_are_refused(tmp_path: Path) -> None:
    refused(body_of(("a.py", b"1"), ("a.py", b"2")), tmp_path, "it is there twice")


@pytest.mark.parametrize("pair", [("a", "a/b"), ("a/b/c", "a")])
def test_unpack_name_that_is_file_and_folder_is_refused(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    refused(body_of((pair[0], b""), (pair[1], b"")), tmp_path, "is file and folder")


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unpack_unusual_compression_is_refused(tmp_path: Path, kind: int) -> None:
    refused(body_of((entry("a", kind=kind), b"x" * 100)), tmp_path, "in an unknown way")


def test_unpack_encrypted_entry_is_refused(tmp_path: Path) -> None:
    body = bytearray(body_of(("a", b"x")))
    body[body.index(b"PK\x01\x02") + 8] |= 1
    refused(bytes(body), tmp_path, "it is encrypted")


def test_unpack_deflated_body_is_accepted(tmp_path: Path) -> None:
    body = body_of((entry("a.py", kind=zipfile.ZIP_DEFLATED), b"x" * 10_000))
    unpack(body, str(tmp_path / "into"))
    assert (tmp_path / "into/a.py").read_bytes() == b"x" * 10_000


def test_unpack_bomb_that_declares_its_size_is_refused(tmp_path: Path) -> None:
    bomb = body_of((entry("a", kind=zipfile.ZIP_DEFLATED), b"\0" * 2_000_000))
    assert len(bomb) < 10_000
    refused(bomb, tmp_path, "declares 2000000 bytes", bytes_max=1_000_000)


def test_unpack_bomb_of_many_entries_is_refused_by_the_sum(tmp_path: Path) -> None:
    each = [(entry(f"{n}", kind=zipfile.ZIP_DEFLATED), b"\0" * 400_000) for n in range(3)]
    refused(body_of(*each), tmp_path, "declares 1200000 bytes", bytes_max=1_000_000)


def lie_about_size(body: bytes, size: int) -> bytes:
    changed = bytearray(body)
    struct.pack_into("<I", changed, changed.index(b"PK\x01\x02") + 24, size)
    struct.pack_into("<I", changed, changed.index(b"PK\x03\x04") + 22, size)
    return bytes(changed)


@pytest.mark.parametrize("declared", [10, 1_999_999, 2_000_001])
def test_unpack_bomb_that_lies_about_its_size_is_refused(tmp_path: Path, declared: int) -> None:
    bomb = body_of((entry("a", kind=zipfile.ZIP_DEFLATED), b"\0" * 2_000_000))
    refused(lie_about_size(bomb, declared), tmp_path, "not a body of code")


def test_unpack_is_bounded_while_it_inflates_whatever_was_checked_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "_check_entries", lambda entries, bytes_max: None)
    bomb = body_of((entry("a", kind=zipfile.ZIP_DEFLATED), b"\0" * 2_000_000))
    refused(bomb, tmp_path, "inflates to more than 1000000", bytes_max=1_000_000)


def test_unpack_body_over_the_limit_is_refused(tmp_path: Path) -> None:
    refused(body_of(("a", b"x" * 100)), tmp_path, "over the limit 50", bytes_max=50)


def test_unpack_too_many_entries_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "FILES_MAX", 9)
    body = body_of(*((f"{number}", b"") for number in range(10)))
    refused(body, tmp_path, "has 10 entries, the limit is 9")
    end = len(body) - 22
    few = body[: end + 8] + struct.pack("<HH", 1, 1) + body[end + 12 :]
    refused(few, tmp_path, "does not hold 1 entries")


@pytest.mark.parametrize(
    "change",
    [
        lambda body: b"",
        lambda body: b"#!/bin/sh",
        lambda body: body[:-1],
        lambda body: body + b"\0",
        lambda body: b"prefix" + body,
        lambda body: body[: len(body) // 2],
        lambda body: body[:-2] + b"\x05\x00" + b"hello",
        lambda body: body[:-22] + b"PK\x06\x07" + b"\0" * 16 + body[-22:],
        lambda body: body.replace(b"content", b"c0ntent"),
    ],
)
def test_unpack_damaged_body_is_refused(tmp_path: Path, change: object) -> None:
    assert callable(change)
    refused(change(body_of(("a.py", b"content"))), tmp_path, "not a body of code")


def test_unpack_random_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    rng = random.Random(7)
    kind = zipfile.ZIP_DEFLATED
    whole = body_of((entry("a/b.py", kind=kind), b"x = 1\n" * 9), (entry("c.py"), b"y" * 50))
    for number in range(600):
        body = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        place = tmp_path / f"place{number}"
        place.mkdir()
        try:
            unpack(bytes(body), str(place / "into"))
        except ProtocolError:
            assert list(place.iterdir()) == []
        else:
            assert [each.name for each in place.iterdir()] == ["into"]
            assert not any(each.is_symlink() for each in place.rglob("*"))


def test_unpack_over_a_whole_folder_leaves_it(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "into", {"mine.py": ""})
    unpack(pack(str(folder)).body, str(tmp_path / "into"))
    assert tree(tmp_path / "into") == {"mine.py": ""}


def test_unpack_by_many_at_once_gives_one_whole_folder(folder: Path, tmp_path: Path) -> None:
    body = pack(str(folder)).body
    place = tmp_path / "place"
    errors: list[BaseException] = []
    barrier = threading.Barrier(8)

    def run() -> None:
        barrier.wait(10)
        try:
            unpack(body, str(place / "into"))
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and tree(place / "into") == tree(folder)
    assert [each.name for each in place.iterdir()] == ["into"]


def test_unpack_that_cannot_write_says_where_and_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ConfigError, match="No space left on device"):
        unpack(pack(str(folder)).body, str(tmp_path / "place/into"))
    assert list((tmp_path / "place").iterdir()) == []


def test_unpack_into_a_file_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "into").write_text("a file")
    with pytest.raises(ConfigError, match="Not a directory"):
        unpack(pack(str(folder)).body, str(tmp_path / "into"))
    assert (tmp_path / "into").read_text() == "a file"
