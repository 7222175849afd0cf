"""A template enters packed code: unpacked, first on sys.path, with what it requires behind it."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from flow.errors import ConfigError, FlowError, ProtocolError, UsageError
from flow.modules import places
from flow.usercode import shipping
from flow_worker.process import packages, requirements, shelf

WHEEL = "tinyflowdep-1.0-py3-none-any.whl"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have shelves of this test only, and bring back what entering changes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "package_folder", "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(requirements, "_held", [])
    return tmp_path / "cache" / "flow"


def archived(cache: Path, body: bytes) -> str:
    folder = cache / "packages"
    shelf.prepare(folder)
    path = folder / f"{hashlib.sha256(body).hexdigest()}{shelf.ARCHIVE}"
    path.write_bytes(body)
    return str(path)


def code(tmp_path: Path, **files: str) -> bytes:
    folder = tmp_path / "code"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return shipping.pack(str(folder)).body


def wheel(folder: Path) -> None:
    with zipfile.ZipFile(folder / WHEEL, "w") as made:
        made.writestr("tinyflowdep.py", "ANSWER = 42\n")
        info = "tinyflowdep-1.0.dist-info"
        made.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyflowdep\nVersion: 1.0\n"
        )
        made.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        made.writestr(f"{info}/RECORD", "")


def test_enter_puts_the_code_first_and_unpacks_once(tmp_path: Path, cache: Path) -> None:
    archive = archived(cache, code(tmp_path, mod__py="X = 1\n"))
    before = os.getcwd()
    packages.enter(archive)
    folder = os.path.realpath(archive.removesuffix(".zip"))
    assert (sys.path[0], places.package_folder, os.getcwd()) == (folder, folder, before)
    assert os.listdir(folder) == ["mod.py"]
    assert not os.path.exists(archive)
    packages.enter(archive)
    assert sys.path[:2] == [folder, folder]


def test_enter_of_a_damaged_archive_is_refused_and_forgets_it(tmp_path: Path, cache: Path) -> None:
    archive = archived(cache, code(tmp_path, mod__py="X = 1\n"))
    Path(archive).write_bytes(b"PK")
    with pytest.raises(ProtocolError, match="damaged"):
        packages.enter(archive)
    assert not os.path.exists(archive)


def test_enter_of_a_hostile_body_leaves_nothing_outside(tmp_path: Path, cache: Path) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        made.writestr("../../../escaped.py", "X = 1\n")
    archive = archived(cache, held.getvalue())
    with pytest.raises(FlowError, match=r"is refused: .*leads elsewhere"):
        packages.enter(archive)
    assert not list(tmp_path.rglob("escaped.py"))
    assert sys.path[0] != os.path.realpath(archive.removesuffix(".zip"))


def test_enter_of_what_was_removed_says_so(tmp_path: Path, cache: Path) -> None:
    archive = archived(cache, code(tmp_path, mod__py="X = 1\n"))
    os.unlink(archive)
    with pytest.raises(ConfigError, match="was removed"):
        packages.enter(archive)


# ---------------------------------------------------------------- requirements


def required(tmp_path: Path, text: str, **files: str) -> str:
    folder = tmp_path / "code"
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(text)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return str(folder)


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'\n", "[tool.flow]\nrequires = []\n"])
def test_code_that_requires_nothing_has_no_environment(tmp_path: Path, text: str) -> None:
    assert requirements.site_for(required(tmp_path, text)) == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tool.flow\n", "cannot be read"),
        ("[tool]\nflow = 3\n", "cannot be read"),
        ("[tool.flow]\nrequires = 'pandas'\n", "cannot be read"),
        ("[tool.flow]\nrequires = ['a']\nlock = 'uv.lock'\n", "requires and lock"),
        ("[tool.flow]\nlock = 'uv.lock'\n", "not sent along"),
    ],
)
def test_requirements_that_make_no_sense_are_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        requirements.site_for(required(tmp_path, text))
    assert caught.value.hint


def test_requirements_without_uv_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "_find_beside", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = required(tmp_path, "[tool.flow]\nrequires = ['tinyflowdep']\n")
    with pytest.raises(ConfigError, match="no uv on this worker") as caught:
        requirements.site_for(folder)
    assert "pip install 'flow-workflows[uv]'" in caught.value.hint


def test_environment_is_named_by_requirements_and_contents_of_the_lock(tmp_path: Path) -> None:
    def name(text: str, lock: str) -> str:
        folder = required(tmp_path, text, requirements__txt=lock)
        return requirements.read(folder).name(folder)

    by_lock = "[tool.flow]\nlock = 'requirements.txt'\n"
    names = [
        name("[tool.flow]\nrequires = ['a']\n", ""),
        name("[tool.flow]\nrequires = ['b']\n", ""),
        name(by_lock, "a==1\n"),
        name(by_lock, "a==2\n"),
    ]
    assert len(set(names)) == len(names)
    assert name("[tool.flow]\nrequires = ['a']\n# more\n", "c") == names[0]


@pytest.mark.parametrize(
    "text",
    [
        f"[tool.flow]\nrequires = ['./{WHEEL}']\n",
        "[tool.flow]\nlock = 'requirements.txt'\n",
    ],
    ids=["requires", "lock"],
)
def test_requirements_are_installed_once_behind_the_code(
    tmp_path: Path, cache: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = required(tmp_path, text, requirements__txt=f"./{WHEEL}\n")
    wheel(Path(folder))
    packages.enter(archived(cache, shipping.pack(folder).body))
    site = sys.path[1]
    assert os.path.isfile(os.path.join(site, "tinyflowdep.py"))
    monkeypatch.setattr(requirements, "_build", lambda *_: pytest.fail("built again"))
    assert requirements.site_for(folder) == site
    shelf.trim(str(cache / "environments"), 0)
    assert os.path.isdir(site), "this process uses it"


def test_requirements_that_cannot_be_installed_end_with_what_uv_said(tmp_path: Path) -> None:
    folder = required(tmp_path, "[tool.flow]\nrequires = ['./gone-1.0-py3-none-any.whl']\n")
    with pytest.raises(ConfigError, match=r"uv ended with code .*gone"):
        requirements.site_for(folder)


def test_requirements_are_built_by_one_of_many_processes(tmp_path: Path) -> None:
    folder = required(tmp_path, f"[tool.flow]\nrequires = ['./{WHEEL}']\n")
    wheel(Path(folder))
    program = (
        "import sys\nfrom flow_worker.process import requirements as r\nbuild = r._build\n"
        "r._build = lambda *a: (print('built'), build(*a))\nprint(r.site_for(sys.argv[1]))"
    )
    line = [sys.executable, "-c", program, folder]
    running = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = "".join(each.communicate(timeout=60)[0] for each in running)
    assert said.splitlines().count("built") == 1
    assert len({line for line in said.splitlines() if line != "built"}) == 1
