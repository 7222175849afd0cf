"""User code: which files are, what they are called, what is kept of their compiled code."""

from __future__ import annotations

import hashlib
import marshal
import os
import sys
import sysconfig
import time
from importlib import metadata
from pathlib import Path

import pytest

import flow
from flow.wire.messages.shared import FILES_TOLD_MAX, differing
from flow_worker.process import sources
from flow_worker.process.compiled import LEFTOVER_S, CodeCache
from flow_worker.process.places import Places, versions_of
from flow_worker.process.sources import Sources

DIGEST = hashlib.sha256(b"x = 1").digest()
CODE = compile("x = 1\ndef f(): return x", "/home/ann/a.py", "exec")


# ------------------------------------------------------------------------------------- places


@pytest.mark.parametrize(
    "path",
    [
        "{folder}/a.py",
        "{folder}/package/a.py",
        "/srv/elsewhere/a.py",
        "{folder}/site-packages.py",
    ],
)
def test_places_file_of_the_user_is_held(tmp_path: Path, path: str) -> None:
    assert Places([str(tmp_path)]).holds(path.format(folder=tmp_path))


@pytest.mark.parametrize(
    "path",
    [
        "{folder}/.venv/lib/python3.11/site-packages/a.py",
        "/usr/lib/python3/dist-packages/a.py",
        f"{sysconfig.get_path('stdlib')}/json/decoder.py",
        f"{sysconfig.get_path('platstdlib')}/lib-dynload/_json.so",
        f"{os.path.dirname(flow.__file__)}/task.py",
        f"{os.path.dirname(sources.__file__)}/sources.py",
    ],
)
def test_places_file_of_somebody_else_is_not_held_even_below_a_folder(
    tmp_path: Path, path: str
) -> None:
    assert not Places([str(tmp_path), "/"]).holds(path.format(folder=tmp_path))


def test_places_link_out_of_site_packages_is_an_editable_install(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages/project").symlink_to(tmp_path / "project")
    (tmp_path / "installed").symlink_to(tmp_path / "site-packages")
    assert Places([]).holds(f"{tmp_path}/site-packages/project/a.py")
    assert not Places([str(tmp_path)]).holds(f"{tmp_path}/installed/a.py")


@pytest.mark.parametrize(
    ("module", "path", "name"),
    [
        ("pipeline", "/srv/p/pipeline.py", "pipeline.py"),
        ("shop.sales", "/srv/p/shop/sales.py", "shop/sales.py"),
        ("shop", "/srv/p/shop/__init__.py", "shop/__init__.py"),
        ("shop.fast", "/srv/p/shop/fast.cpython-311-x86_64.so", "shop/fast.cpython-311-x86_64.so"),
        ("inner.a", "/srv/p/deep/inner/a.py", "inner/a.py"),
        ("_script_1f", "/srv/p/jobs/etl.py", "jobs/etl.py"),
        ("_script_1f", "/srv/p/deep/etl.py", "etl.py"),
        ("lib.zip", "/srv/p/lib.zip", "lib.zip"),
        ("shop.sales", "/opt/lib/src/sales.py", "shop.sales"),
        ("__main__", "/opt/bin/etl.py", "etl.py"),
    ],
)
def test_places_name_is_the_modules_or_below_the_deepest_folder(
    module: str, path: str, name: str
) -> None:
    assert Places(["/srv/p", "/srv/p/deep"]).name_of(module, path) == name


def test_places_name_does_not_depend_on_a_further_folder() -> None:
    named = [
        Places(folders).name_of("shop.sales", "/srv/p/shop/sales.py")
        for folders in (["/srv/p"], ["/srv/p", "/"], ["/srv/p", "/srv/p/shop"], [])
    ]
    assert named == ["shop/sales.py"] * 4


def test_places_outside_is_what_no_folder_holds(tmp_path: Path) -> None:
    held = Places([str(tmp_path)])
    assert held.outside(f"{tmp_path}/a.py") == ""
    assert held.outside("/srv/other/a.py") == "/srv/other/a.py"


def test_places_program_of_pip_is_none_of_the_users_unless_its_folder_is_named() -> None:
    scripts = sysconfig.get_path("scripts")
    assert Places([]).is_program(f"{scripts}/flow-worker")
    assert not Places([scripts]).is_program(f"{scripts}/mine.py")


def install(site: Path, name: str, version: str, origin: str | None) -> None:
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if origin is not None:
        (info / "direct_url.json").write_text(origin)


def test_versions_editable_install_is_found_by_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    editable = '{"url": "file:///srv/my%20shop", "dir_info": {"editable": true}}'
    install(site, "shop", "1.5", editable)
    install(site, "copied", "2.0", editable.replace("true", "false"))
    install(site, "damaged", "3.0", "{")
    install(site, "strange", "3.1", "[]")
    install(tmp_path / "vendored", "inplace", "4.0", None)
    monkeypatch.setattr(sys, "path", [str(site), str(tmp_path / "vendored")])
    assert versions_of(["/srv/my shop/src/shop/a.py"]) == ["shop==1.5"]
    assert versions_of([f"{tmp_path}/vendored/inplace.py"]) == ["inplace==4.0"]
    assert versions_of(["/srv/my shopping/a.py"]) == []


def test_versions_without_files_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distributions", None)
    assert versions_of([]) == []


# -------------------------------------------------------------------------------- differences


def test_differing_names_changed_and_missing_files_in_order() -> None:
    one = {"b.py": "1", "a.py": "1", "same.py": "1"}
    assert differing(one, {"b.py": "2", "same.py": "1", "c.py": "1"}) == ["a.py", "b.py", "c.py"]
    assert differing(one, one) == []


def test_differing_is_bounded_in_count_and_length() -> None:
    found = differing({f"{number:03}{'x' * 500}.py": "1" for number in range(100)}, {})
    assert len(found) == FILES_TOLD_MAX + 1 and found[-1] == f"and {100 - FILES_TOLD_MAX} more"
    assert all(len(name) < 130 for name in found)
    assert found[0].endswith("xx.py")


# ------------------------------------------------------------------------- what is kept, where


@pytest.fixture
def cache(tmp_path: Path) -> CodeCache:
    made = CodeCache(tmp_path / "code")
    assert made.refusal() == ""
    return made


def only_file(cache: CodeCache) -> Path:
    [path] = Path(cache._folder).iterdir()
    return path


def test_cache_gives_back_the_code_with_its_path(cache: CodeCache) -> None:
    key = cache.key(DIGEST, "/home/ann/a.py")
    assert cache.get(key) is None
    cache.put(key, CODE)
    got = cache.get(key)
    assert got == CODE and got is not None and got.co_filename == "/home/ann/a.py"
    assert oct(only_file(cache).stat().st_mode & 0o777) == "0o600"


def test_cache_key_differs_by_bytes_path_and_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(digest: bytes = DIGEST, path: str = "/a.py") -> bytes:
        return CodeCache(tmp_path).key(digest, path)

    keys = {key(), key(path="/b.py"), key(digest=b"0" * 32)}
    monkeypatch.setattr(sys.implementation, "cache_tag", "cpython-399")
    assert len(keys | {key()}) == 4
    assert key() == key()


def damage_cut(path: Path, other: bytes) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_flip(path: Path, other: bytes) -> None:
    body = bytearray(path.read_bytes())
    body[-5] ^= 1
    path.write_bytes(body)


def damage_empty(path: Path, other: bytes) -> None:
    path.write_bytes(b"")


def damage_foreign(path: Path, other: bytes) -> None:
    path.write_bytes(marshal.dumps(CODE))


def damage_swap(path: Path, other: bytes) -> None:
    path.write_bytes(other)


def damage_open_to_all(path: Path, other: bytes) -> None:
    path.chmod(0o666)


def damage_pipe(path: Path, other: bytes) -> None:
    path.unlink()
    os.mkfifo(path)


def damage_link(path: Path, other: bytes) -> None:
    path.rename(path.parent / "moved")
    path.symlink_to("moved")


@pytest.mark.parametrize(
    "damage",
    [
        damage_cut,
        damage_flip,
        damage_empty,
        damage_foreign,
        damage_swap,
        damage_open_to_all,
        damage_pipe,
        damage_link,
    ],
)
def test_cache_file_that_is_not_whole_and_ours_is_ignored_and_rewritten(
    cache: CodeCache, damage: object
) -> None:
    other_key = cache.key(b"1" * 32, "/home/ann/a.py")
    cache.put(other_key, compile("evil = 1", "/home/ann/a.py", "exec"))
    other = only_file(cache).read_bytes()
    only_file(cache).unlink()
    key = cache.key(DIGEST, "/home/ann/a.py")
    cache.put(key, CODE)
    assert callable(damage)
    damage(only_file(cache), other)
    assert cache.get(key) is None
    cache.put(key, CODE)
    assert cache.get(key) == CODE


def test_cache_folder_is_made_for_its_owner_alone(cache: CodeCache) -> None:
    assert oct(os.stat(cache._folder).st_mode & 0o777) == "0o700"


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_cache_folder_writable_by_others_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code").chmod(mode)
    assert "writable by others" in CodeCache(tmp_path / "code").refusal()


def test_cache_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path / "code")
    cache._uid += 1
    assert "another user" in cache.refusal()


def test_cache_folder_that_is_a_link_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    assert "not a directory" in CodeCache(tmp_path / "link").refusal()
    assert "File exists" in CodeCache(tmp_path / "file").refusal()


def test_cache_that_cannot_be_written_keeps_nothing_and_says_nothing(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path / "gone" / "code")
    key = cache.key(DIGEST, "/a.py")
    cache.put(key, CODE)
    assert cache.get(key) is None


def test_cache_over_its_limit_loses_the_oldest_and_leftovers(tmp_path: Path) -> None:
    first = CodeCache(tmp_path / "code")
    assert first.refusal() == ""
    keys = [first.key(DIGEST, f"/{number}.py") for number in range(10)]
    for age, key in enumerate(reversed(keys)):
        first.put(key, CODE)
        path = tmp_path / "code" / f"{key.hex()}.code"
        os.utime(path, (time.time() - 100 - age,) * 2)
        size = path.stat().st_size
    for name, age_s in (("old.tmp", LEFTOVER_S + 60), ("new.tmp", 0), ("precious.txt", 10**6)):
        (tmp_path / "code" / name).touch()
        os.utime(tmp_path / "code" / name, (time.time() - age_s,) * 2)
    second = CodeCache(tmp_path / "code", bytes_max=size * 8)
    second.put(second.key(DIGEST, "/new.py"), CODE)
    assert [second.get(key) is not None for key in keys] == [False] * 4 + [True] * 6
    assert sorted(p.name for p in (tmp_path / "code").iterdir() if p.suffix != ".code") == [
        "new.tmp",
        "precious.txt",
    ]


def test_cache_looks_at_its_size_once_a_process(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path / "code", bytes_max=1000)
    assert cache.refusal() == ""
    cache.put(cache.key(DIGEST, "/first.py"), CODE)
    for number in range(9):
        cache.put(cache.key(DIGEST, f"/{number}.py"), CODE)
    assert len(list((tmp_path / "code").iterdir())) == 10


def test_cache_code_over_the_limit_is_not_kept(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path / "code", bytes_max=50)
    assert cache.refusal() == ""
    cache.put(cache.key(DIGEST, "/a.py"), CODE)
    assert list((tmp_path / "code").iterdir()) == []


# ----------------------------------------------------------------------------- before any hook


def test_sources_identity_is_sixteen_digits_and_stays(tmp_path: Path) -> None:
    first, second = Sources([str(tmp_path)], None), Sources([str(tmp_path)], None)
    assert len(first.identity()) == 16 and int(first.identity(), 16) >= 0
    assert first.identity() == second.identity()


def test_sources_big_archive_is_hashed_at_its_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "WHOLE_BYTES_MAX", 100)
    path = tmp_path / "big.zip"

    def digest(body: bytes) -> str:
        path.write_bytes(body)
        return sources._digest_of(str(path))

    base = digest(b"a" * 300)
    assert digest(b"a" * 299 + b"b") != base and digest(b"b" + b"a" * 299) != base
    assert digest(b"a" * 301) != base
    assert digest(b"a" * 150 + b"b" + b"a" * 149) == base
