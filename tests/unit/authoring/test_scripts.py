"""Scripts as modules: their names, what is ``__main__`` where, and pickles both ways."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flow.modules import scripts
from flow.modules.loading import ImportFailed, load_module, load_task

Write = Callable[[str, str], Path]

#: A script that pickles something of its own where it runs, and whoever has it may read it.
CARRIER = """
    import os, pickle, sys
    with open("imports", "a") as file:
        file.write(__name__ + " ")
    import flow

    class Thing:
        def __init__(self, n):
            self.n = n

    def twice(n):
        return 2 * n

    class Carrier(flow.Task):
        def complete(self):
            return True

    def write(path):
        with open(path, "wb") as file:
            pickle.dump([Thing(3), twice, Carrier], file)

    def read(path):
        with open(path, "rb") as file:
            thing, function, cls = pickle.load(file)
        assert type(thing) is Thing and thing.n == 3
        assert function is twice and cls is Carrier

    if __name__ == "__main__":
        flow.build([Carrier()], in_process=True, summary="none", quiet=True)
        globals()[sys.argv[1]](sys.argv[2])
"""
#: The same in a process that is there for tasks.
IN_TASK_PROCESS = """
import sys
from flow.modules.loading import enter_task_process, load_module
enter_task_process()
script, do, path = sys.argv[1:]
getattr(load_module("file:" + script), do)(path)
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Write]:
    """Write a file; what was loaded from there is forgotten."""
    before, path = set(sys.modules), list(sys.path)

    def write(name: str, source: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source))
        return file

    yield write
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def python(*words: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ------------------------------------------------------------ names


def test_script_is_what_its_stem_imports(place: Write) -> None:
    path = place("some-report.py", "class Thing: pass\n")
    module = load_module(f"file:{path}")
    assert module is importlib.import_module("some-report")
    assert (module.__name__, module.Thing.__module__) == ("some-report", "some-report")
    assert sys.path[0] == str(path.parent)


def test_script_that_was_imported_by_its_stem_is_not_loaded_again(
    place: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place("imported_before.py", "import flow\nclass Known(flow.Task): pass\n")
    monkeypatch.syspath_prepend(str(path.parent))
    module = importlib.import_module("imported_before")
    assert load_module(f"file:{path}") is module
    assert type(load_task(f"file:{path}", "Known", {})) is module.Known


@pytest.mark.parametrize(
    "name", ["with.dots.py", "random.py", "pytest.py", "nosuffix", "packed.py"]
)
def test_script_whose_stem_means_something_else_gets_a_private_name(
    name: str, place: Write
) -> None:
    place("packed/__init__.py", "")
    path = place(name, "import flow\nclass Own(flow.Task): pass\n")
    module = load_module(f"file:{path}")
    assert module.__name__ == scripts.private_name(str(path))
    task = load_task(f"file:{path}", "Own", {})
    assert (type(task), task.task_module) == (module.Own, f"file:{path}")


def test_second_script_of_one_stem_gets_a_private_name(place: Write) -> None:
    text = "import flow\nclass Own(flow.Task): pass\n"
    first, second = place("a/one_stem.py", text), place("b/one_stem.py", text)
    for path in (first, second, first):
        assert load_task(f"file:{path}", "Own", {}).task_module == f"file:{path}"
    assert load_module(f"file:{first}").__name__ == "one_stem"
    assert load_module(f"file:{second}").__name__ == scripts.private_name(str(second))


# ------------------------------------------------------------ __main__


def test_script_does_not_replace_the_main_of_a_program(place: Write) -> None:
    main, argv = sys.modules["__main__"], list(sys.argv)
    load_module(f"file:{place('no_main.py', '')}")
    assert sys.modules["__main__"] is main and sys.argv == argv


def test_first_script_of_a_task_process_is_its_main(place: Write, tmp_path: Path) -> None:
    place(
        "first.py",
        """
        import sys, __main__
        assert __name__ == "first" and __main__.__file__ == __file__ == sys.argv[0]
        assert sys.modules["__mp_main__"] is __main__ is sys.modules["first"]
        """,
    )
    place("second.py", "import __main__\nassert __main__.__name__ == 'first'\n")
    place("broken.py", "import __main__\nassert __main__.__name__ == 'broken'\n1 / 0\n")
    code = """
import os, sys
from flow.modules.loading import ImportFailed, enter_task_process, load_module
enter_task_process()
main, argv, here = sys.modules["__main__"], list(sys.argv), os.getcwd()
try:
    load_module(f"file:{here}/broken.py")
except ImportFailed as error:
    assert "ZeroDivisionError" in str(error), error
assert sys.modules["__main__"] is main and sys.argv == argv
assert not {"__mp_main__", "broken"} & set(sys.modules)
load_module(f"file:{here}/first.py")
load_module(f"file:{here}/second.py")
"""
    python("-c", code, cwd=tmp_path)


def test_script_that_raises_is_forgotten(place: Write) -> None:
    path = place("raises_once.py", "1 / 0\n")
    with pytest.raises(ImportFailed):
        load_module(f"file:{path}")
    assert "raises_once" not in sys.modules
    place("raises_once.py", "FINE = True  # and longer than before\n")
    assert load_module(f"file:{path}").FINE


# ------------------------------------------------------------ pickles


@pytest.mark.parametrize("name", ["carrier.py", "carrier.v2.py"])
def test_what_a_running_script_pickles_is_read_in_a_task_process(
    name: str, place: Write, tmp_path: Path
) -> None:
    path = place(name, CARRIER)
    python(path, "write", "pickled", cwd=tmp_path)
    assert b"__main__" in (tmp_path / "pickled").read_bytes()
    python("-c", IN_TASK_PROCESS, path, "read", "pickled", cwd=tmp_path)


@pytest.mark.parametrize("name", ["carrier.py", "carrier.v2.py"])
def test_what_a_task_process_pickles_is_read_by_the_running_script(
    name: str, place: Write, tmp_path: Path
) -> None:
    path = place(name, CARRIER)
    python("-c", IN_TASK_PROCESS, path, "write", "pickled", cwd=tmp_path)
    assert b"__main__" not in (tmp_path / "pickled").read_bytes()
    (tmp_path / "imports").unlink()
    python(path, "read", "pickled", cwd=tmp_path)
    assert (tmp_path / "imports").read_text().split() == ["__main__"]  # not loaded a second time


def test_what_a_task_process_pickles_is_read_by_other_programs(
    place: Write, tmp_path: Path
) -> None:
    path = place("carrier.py", CARRIER)
    python("-c", IN_TASK_PROCESS, path, "write", "pickled", cwd=tmp_path)
    python("-c", "import carrier; carrier.read('pickled')", cwd=tmp_path)


def test_running_script_leaves_a_module_that_has_its_name(place: Write, tmp_path: Path) -> None:
    text = """
        import sys, flow, itself
        if __name__ == "__main__":
            flow.build([])
            assert sys.modules["itself"] is itself is not sys.modules["__main__"]
        """
    python(place("itself.py", text), cwd=tmp_path)
