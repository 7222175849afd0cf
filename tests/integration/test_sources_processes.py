"""Real processes import real files: what they run is what was hashed, and all else as ever."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import pytest

BEFORE = """
import importlib, importlib.util, json, os, sys
from pathlib import Path
from flow_worker.process.sources import Sources
cache = os.environ.get("CACHE")
sources = Sources([os.getcwd()], Path(cache) if cache else None)
if not os.environ.get("PLAIN"):
    sources.install()
sys.path.insert(0, os.getcwd())
def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
said = {}
"""
AFTER = """
print(json.dumps(said | {"files": sources.files(), "identity": sources.identity()}))
"""


class Place:
    """A folder with user code, and processes that import from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder.parent / "compiled"
        folder.mkdir(exist_ok=True)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(textwrap.dedent(text).encode() if isinstance(text, str) else text)
        return path

    def run(self, code: str, **environment: str) -> dict[str, Any]:
        """Run code in a process with sources installed; return what it put into ``said``."""
        inherited = dict(os.environ)
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        inherited["PYTHONPATH"] = os.pathsep.join(each for each in sys.path if each)
        done = subprocess.run(
            [sys.executable, "-c", BEFORE + textwrap.dedent(code) + AFTER],
            cwd=self.folder,
            env=inherited | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return said

    def run_cached(self, code: str, **environment: str) -> dict[str, Any]:
        return self.run(code, CACHE=str(self.cache), **environment)

    def pycs(self) -> list[str]:
        return [str(path.relative_to(self.folder)) for path in self.folder.rglob("*.pyc")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "project")


@pytest.mark.parametrize("cached", [False, True])
def test_edits_that_keep_time_and_size_give_each_version(place: Place, cached: bool) -> None:
    run = place.run_cached if cached else place.run
    seen = []
    for version in (1, 2, 3, 1):
        os.utime(place.write("a.py", f"version = {version}"), (10**9, 10**9))
        seen.append(run("import a; said['version'] = a.version"))
    assert [each["version"] for each in seen] == [1, 2, 3, 1]
    identities = [each["identity"] for each in seen]
    assert len(set(identities)) == 3 and identities[0] == identities[3]
    assert place.pycs() == []


def test_stale_pyc_is_neither_read_nor_written(place: Place) -> None:
    os.utime(place.write("a.py", "version = 1"), (10**9, 10**9))
    place.run("import a", PLAIN="1")
    [pyc] = place.pycs()
    stale = (place.folder / pyc).read_bytes()
    os.utime(place.write("a.py", "version = 2"), (10**9, 10**9))
    code = "import a; said['version'] = a.version"
    assert place.run(code, PLAIN="1")["version"] == 1  # this is what must not happen
    assert place.run(code)["version"] == 2
    assert (place.folder / pyc).read_bytes() == stale


def test_cached_code_is_used_with_the_real_path_of_a_copy(place: Place) -> None:
    place.write("a.py", "def f(): raise ValueError\nhere = __file__")
    place.write("copy/a.py", "def f(): raise ValueError\nhere = __file__")
    place.run_cached("import a")
    [kept] = place.cache.iterdir()
    time_ns = kept.stat().st_mtime_ns
    said = place.run_cached("import a; said['at'] = a.f.__code__.co_filename")
    assert said["at"] == str(place.folder / "a.py") and kept.stat().st_mtime_ns == time_ns
    said = place.run_cached(
        "sys.path.insert(0, 'copy'); import a; said['at'] = a.f.__code__.co_filename"
    )
    assert said["at"] == str(place.folder / "copy/a.py")
    assert len(list(place.cache.iterdir())) == 2


def test_cache_that_was_damaged_is_healed(place: Place) -> None:
    place.write("a.py", "version = 1")
    place.run_cached("import a")
    [kept] = place.cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    assert place.run_cached("import a; said['version'] = a.version")["version"] == 1
    assert len(kept.read_bytes()) == len(whole)


def test_cache_in_a_folder_open_to_all_is_refused_and_imports_go_on(place: Place) -> None:
    place.cache.mkdir()
    place.cache.chmod(0o777)
    place.write("a.py", "version = 1")
    said = place.run_cached("import a; said['complaint'] = sources.complaint")
    assert "writable by others" in said["complaint"]
    assert list(place.cache.iterdir()) == [] and list(said["files"]) == ["a.py"]


@pytest.mark.parametrize("cached", [False, True])
def test_each_file_is_opened_once(place: Place, cached: bool) -> None:
    place.write("shop/__init__.py", "from . import sales")
    place.write("shop/sales.py", "")
    code = """
        opened = []
        folder = os.getcwd()
        def watch(event, args):
            if event == "open" and str(args[0]).startswith(folder):
                opened.append(os.path.relpath(args[0], folder))
        sys.addaudithook(watch)
        import shop
        said["opened"] = sorted(opened)
    """
    run = place.run_cached if cached else place.run
    for _ in range(2):
        assert run(code)["opened"] == ["shop/__init__.py", "shop/sales.py"]


def test_packages_relative_imports_and_namespaces_work_and_are_named(place: Place) -> None:
    place.write("shop/__init__.py", "from .parts import price")
    place.write("shop/parts/price.py", "from ..names import NAME")
    place.write("shop/names.py", "NAME = 'x'")
    place.write("wide/inner/a.py", "")
    said = place.run("import shop, wide.inner.a; said['name'] = shop.price.NAME")
    assert said["name"] == "x"
    assert list(said["files"]) == [
        "shop/__init__.py",
        "shop/names.py",
        "shop/parts/price.py",
        "wide/inner/a.py",
    ]


def test_run_as_module_reload_and_script_locations_are_seen(place: Place) -> None:
    place.write("jobs/__init__.py", "")
    place.write("jobs/__main__.py", "import builtins; builtins.ran = __name__")
    place.write("scripts/etl.py", "version = 1")
    place.write("a.py", "version = 1")
    said = place.run(
        """
        import runpy, builtins
        runpy.run_module("jobs", run_name="__main__", alter_sys=True)
        said["ran"] = builtins.ran
        script = load("_flow_script_0", os.path.abspath("scripts/etl.py"))
        import a
        first = sources.files()["a.py"]
        Path("a.py").write_text("version = 2")
        importlib.reload(a)
        said["reloaded"] = [a.version, sources.files()["a.py"] != first]
        """
    )
    assert said["ran"] == "__main__" and said["reloaded"] == [2, True]
    assert list(said["files"]) == ["a.py", "jobs/__init__.py", "jobs/__main__.py", "scripts/etl.py"]


@pytest.mark.parametrize("cached", [False, True])
def test_sources_and_tracebacks_are_found_as_without(place: Place, cached: bool) -> None:
    place.write("a.py", "def fails():\n    raise ValueError('no')  # a comment\n")
    code = """
        import a, inspect, linecache, traceback
        said["source"] = inspect.getsource(a.fails)
        said["loader"] = [type(a.__loader__).__name__, a.__file__, a.__spec__.origin]
        try:
            a.fails()
        except ValueError:
            said["traceback"] = traceback.format_exc()
    """
    run = place.run_cached if cached else place.run
    run(code)
    with_hook, plain = run(code), run(code, PLAIN="1")
    assert with_hook == plain and "# a comment" in with_hook["traceback"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"def f(:\n", "SyntaxError"),
        (b"if 1:\nx = 1\n", "IndentationError"),
        (b"x = '\xff'\n", "SyntaxError"),
        (b"# coding: nonsense\n", "SyntaxError"),
        (b"x = 1\0\n", "SyntaxError"),
        (b"\xef\xbb\xbf# coding: latin-1\n", "SyntaxError"),
        (b"import is_not_there\n", "ModuleNotFoundError"),
        (b"1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_errors_are_pythons_own_with_the_same_traceback(
    place: Place, text: bytes, error: str
) -> None:
    place.write("a.py", text)
    code = """
        import traceback
        try:
            import a
        except BaseException as error:
            said["error"] = [type(error).__name__, repr(error), repr(error.args)]
            said["traceback"] = traceback.format_exc()
    """
    plain = place.run(code, PLAIN="1")
    for said in (place.run(code), place.run_cached(code), place.run_cached(code)):
        assert said["error"] == plain["error"] and said["error"][0] == error
        # Python leaves its own frames out; those of the hook must go the same way.
        assert said["traceback"] == plain["traceback"] and "importlib" not in plain["traceback"]


def test_errors_of_files_that_vanish_or_are_unreadable_are_pythons_own(place: Place) -> None:
    code = """
        for name in ("gone", "folder"):
            Path(f"{name}.py").write_text("")
            spec = importlib.util.find_spec(name)
            Path(f"{name}.py").unlink()
            if name == "folder":
                Path("folder.py").mkdir()
            try:
                spec.loader.exec_module(importlib.util.module_from_spec(spec))
            except OSError as error:
                said[name] = repr(error) + str(error.filename)
        Path("folder.py").rmdir()
    """
    said, plain = place.run(code), place.run(code, PLAIN="1")
    assert said == plain and "FileNotFoundError" in said["gone"] and "gone.py" in said["gone"]


@pytest.mark.parametrize(
    "text", [b"# coding: latin-1\nx = '\xe9'\n", b"\xef\xbb\xbfx = '\xc3\xa9'\n", b"x='\\xe9'\r\n"]
)
def test_encodings_are_read_as_ever(place: Place, text: bytes) -> None:
    place.write("a.py", text)
    for _ in range(2):
        assert place.run_cached("import a; said['x'] = a.x")["x"] == "é"


def test_installed_code_in_a_folder_keeps_its_pyc_and_is_not_named(place: Place) -> None:
    place.write(".venv/lib/python3.11/site-packages/installed.py", "")
    said = place.run("sys.path.append('.venv/lib/python3.11/site-packages'); import installed")
    assert said["files"] == {} and len(place.pycs()) == 1


def test_editable_install_is_named_by_module_and_counts_with_its_version(place: Place) -> None:
    project = place.folder.parent / "lib"
    Place(project).write("src/shoplib/__init__.py", "")
    site = place.folder.parent / "site-packages"
    info = site / "shoplib-1.0.dist-info"
    info.mkdir(parents=True)
    editable = {"url": project.as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(editable))
    code = f"""
        from importlib.machinery import PathFinder
        class Finder:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name == "shoplib":
                    return importlib.util.spec_from_file_location(
                        name, {str(project)!r} + "/src/shoplib/__init__.py")
        sys.meta_path.append(Finder)
        sys.path.append({str(site)!r})
        import shoplib
    """
    identities = []
    for version in ("1.0", "2.0"):
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: shoplib\nVersion: {version}\n"
        )
        for given in ("", "v7"):
            said = place.run(code, FLOW_CODE_ID=given)
            assert list(said["files"]) == ["shoplib/__init__.py"]
            identities.append(said["identity"])
    first, first_given, second, second_given = identities
    assert first_given == second_given and len({first, second, first_given}) == 3


def test_identity_is_the_same_from_another_folder_and_current_directory(tmp_path: Path) -> None:
    identities = set()
    for name in ("one", "two/deep"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        place = Place(tmp_path / name)
        place.write("shop/__init__.py", "from . import sales")
        place.write("shop/sales.py", "")
        identities.add(place.run("import shop")["identity"])
    assert len(identities) == 1


def test_modules_without_source_and_extensions_are_hashed(place: Place) -> None:
    place.write("a.py", "version = 7")
    place.run("import py_compile; py_compile.compile('a.py', 'a.pyc')")
    (place.folder / "a.py").unlink()
    dynamic = Path(sysconfig.get_path("platstdlib"), "lib-dynload")
    names = [path for path in dynamic.glob("*.so") if path.name.startswith("_lsprof.")]
    for path in names:  # some Pythons have everything built in
        shutil.copy(path, place.folder)
    said = place.run("import a, _lsprof; said['version'] = a.version")
    assert said["version"] == 7
    assert list(said["files"]) == sorted(["a.pyc", *(path.name for path in names)])
    place.write("a.pyc", b"not code, but as long as a header")
    code = """
        try:
            import a
        except ImportError as error:
            said["error"] = repr(error)
    """
    assert place.run(code)["error"] == place.run(code, PLAIN="1")["error"]


def test_archive_is_hashed_as_one_file(place: Place) -> None:
    with zipfile.ZipFile(place.folder / "lib.egg", "w") as archive:
        archive.writestr("zipped/__init__.py", "")
        archive.writestr("zipped/a.py", "version = 3")
    code = "sys.path.insert(0, 'lib.egg'); import zipped.a; said['version'] = zipped.a.version"
    said = place.run(code)
    assert said["version"] == 3 and list(said["files"]) == ["lib.egg"]


def test_loaders_that_translate_are_not_cached_but_seen(place: Place) -> None:
    place.write("a.py", "version = OLD")
    code = """
        from importlib.machinery import SourceFileLoader
        class Translates(SourceFileLoader):
            def source_to_code(self, data, path, **more):
                return super().source_to_code(data.replace(b"OLD", b"9"), path, **more)
        class Alone(SourceFileLoader):
            def get_code(self, fullname):
                return compile("version = 5", self.path, "exec")
        for name, kind in (("a", Translates), ("b", Alone)):
            path = os.path.abspath(f"{name}.py")
            loader = kind(name, path)
            spec = importlib.util.spec_from_file_location(name, path, loader=loader)
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            loader.exec_module(module)
            said[name] = module.version
    """
    place.write("b.py", "")
    said = place.run_cached(code)
    assert (said["a"], said["b"]) == (9, 5) and list(said["files"]) == ["a.py", "b.py"]
    assert list(place.cache.iterdir()) == []


def test_modules_imported_before_and_modules_that_are_none_do_no_harm(place: Place) -> None:
    place.write("early.py", "")
    place.write("late.py", "raise SystemExit('lazy modules must not be loaded')")
    place.write("odd.py", "import sys\nclass Odd:\n    __slots__ = ()\nsys.modules['odd'] = Odd()")
    said = place.run(
        """
        import early, odd, types
        spec = importlib.util.find_spec("late")
        loader = importlib.util.LazyLoader(spec.loader)
        spec.loader = loader
        lazy = sys.modules["late"] = importlib.util.module_from_spec(spec)
        loader.exec_module(lazy)
        sys.modules["never"] = None
        made = sys.modules["made_up"] = types.ModuleType("made_up")
        made.__file__ = "made_up.py"
        once = Sources([os.getcwd()], None)
        said["once"] = list(once.files())
        """,
        PLAIN="1",
    )
    assert "early.py" in said["once"] and "made_up.py" not in said["once"]


def test_imports_in_many_threads_are_all_seen(place: Place) -> None:
    for number in range(60):
        place.write(f"m{number}.py", f"import m{number // 2}\nname = {number}")
    said = place.run_cached(
        """
        import threading
        threads = [
            threading.Thread(target=importlib.import_module, args=(f"m{number}",))
            for number in reversed(range(60))
        ]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        said["names"] = sorted(sys.modules[f"m{number}"].name for number in range(60))
        """
    )
    assert said["names"] == list(range(60)) and len(said["files"]) == 60
    assert len(list(place.cache.iterdir())) == 60


def test_second_install_takes_over_and_the_first_does_no_harm(place: Place) -> None:
    place.write("a.py", "version = 1")
    said = place.run(
        """
        sources = Sources([os.getcwd()], None)
        sources.install()
        sources.install()
        import a
        """
    )
    assert list(said["files"]) == ["a.py"] and place.pycs() == []


def test_code_cached_by_one_optimisation_is_not_run_by_another(place: Place) -> None:
    place.write("a.py", "debug = __debug__")
    code = "import a; said['debug'] = a.debug"
    assert place.run_cached(code)["debug"] is True
    assert place.run_cached(code, PYTHONOPTIMIZE="1")["debug"] is False
    assert place.run_cached(code)["debug"] is True
