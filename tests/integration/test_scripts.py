"""Scripts run for real: child processes of every kind, pickles, classes made at import, guards."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TIMEOUT_S = 120.0
METHODS = ("fork", "spawn", "forkserver")

#: Its task hands functions, classes and values of the script to children, and gets them back.
POOL = """
import concurrent.futures, enum, multiprocessing, os
with open("imports", "a") as file:
    file.write(f"{os.getpid()} {__name__}\\n")
import flow
import LIBRARY as lib

class Color(enum.Enum):
    RED = 1

class Pool(lib.Task):
    method = lib.Parameter()

    def output(self):
        return lib.LocalTarget(f"{self.method}.txt")

    def run(self):
        context = multiprocessing.get_context(self.method)
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            colors = set(pool.map(paint, [(Pool, Color.RED)] * 5))
        assert colors == {Color.RED}
        with self.output().open("w") as file:
            file.write("painted")

def paint(given):
    import __main__
    cls, color = given
    assert cls is Pool is __main__.Pool and color is Color.RED, given
    assert __main__.__file__ == __file__
    return color

if __name__ == "__main__":
    with open("guards", "a") as file:
        file.write("x")
    flow.run()
"""

#: Written by a task, read by the script; and the other way round.
PICKLES = """
import pickle, sys
import flow

class Thing:
    pass

class Write(flow.Task):
    def output(self):
        return flow.LocalTarget("written")
    def run(self):
        with open("written", "wb") as file:
            pickle.dump([Thing(), Write], file)

class Read(flow.Task):
    done = flow.Parameter(default="read")
    def output(self):
        return flow.LocalTarget(self.done)
    def run(self):
        with open("given", "rb") as file:
            assert type(pickle.load(file)) is Thing
        with self.output().open("w") as file:
            file.write("read")

if __name__ == "__main__":
    with open("given", "wb") as file:
        pickle.dump(Thing(), file)
    assert flow.build([Write(), Read()], quiet=True)
    with open("written", "rb") as file:
        thing, cls = pickle.load(file)
    assert type(thing) is Thing and cls is Write
    assert not [each for each in sys.modules if each.startswith("_flow_script")]
"""

MADE = """
import LIBRARY as lib

def touch(task):
    with task.output().open("w") as file:
        file.write(type(task).__name__)

def typed(name):
    output = lambda self: lib.LocalTarget(name.lower() + ".txt")
    return type(name, (lib.Task,), {"output": output, "run": touch})

AT_IMPORT = [typed("One"), typed("Two")]

class Early(lib.WrapperTask):
    def requires(self):
        return [cls() for cls in AT_IMPORT]

class Late(lib.WrapperTask):
    def requires(self):
        return typed("Three")()

class Yields(lib.Task):
    def run(self):
        yield typed("Four")()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in, without settings."""
    monkeypatch.delenv("FLOW_COORDINATOR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=TIMEOUT_S
    )


def flow(*words: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "flow", *words)


@pytest.mark.parametrize("library", ["flow", "luigi"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["flow run", "python"])
def test_script_has_pools_of_every_kind(how: str, method: str, library: str, place: Path) -> None:
    (place / "pooled.py").write_text(POOL.replace("LIBRARY", library))
    words = ["pooled.py", "Pool", "--method", method]
    done = flow("run", *words) if how == "flow run" else python(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (place / f"{method}.txt").read_text() == "painted"
    # The guard is the caller's alone, and no process has the script twice.
    ran = [line.split() for line in (place / "imports").read_text().splitlines()]
    assert len({pid for pid, _ in ran}) == len(ran)
    # In a fork of a running script Python's own name for it in other processes holds.
    known = ("pooled", "__mp_main__") if how == "python" else ("pooled",)
    mains = [name for _, name in ran if name not in known]
    guards = (place / "guards").read_text() if (place / "guards").exists() else ""
    assert (mains, guards) == ((["__main__"], "x") if how == "python" else ([], ""))


def test_script_whose_name_cannot_be_imported_has_pools_that_fork(place: Path) -> None:
    (place / "pooled.v2.py").write_text(POOL.replace("LIBRARY", "flow"))
    done = flow("run", "./pooled.v2.py", "Pool", "--method", "fork")
    assert done.returncode == 0, done.stdout + done.stderr


def test_script_reads_what_its_tasks_pickled_and_they_what_it_did(place: Path) -> None:
    (place / "pickling.py").write_text(PICKLES)
    done = python("pickling.py")
    assert done.returncode == 0, done.stdout + done.stderr
    (place / "read").unlink()
    # ... and so does a run of its own.
    done = flow("run", "pickling.py", "Read")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("library", ["flow", "luigi"])
def test_classes_made_at_import_run(library: str, place: Path) -> None:
    (place / "made.py").write_text(MADE.replace("LIBRARY", library))
    for words in (["made", "Early"], ["made.py", "Early"]):
        done = flow("run", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        for name in ("One", "Two"):
            path = place / f"{name.lower()}.txt"
            assert path.read_text() == name
            path.unlink()


@pytest.mark.parametrize(("family", "late"), [("Late", "Three"), ("Yields", "Four")])
@pytest.mark.parametrize("library", ["flow", "luigi"])
def test_class_made_in_a_task_is_refused_with_what_to_do(
    library: str, family: str, late: str, place: Path
) -> None:
    (place / "made.py").write_text(MADE.replace("LIBRARY", library))
    done = flow("run", "made", family)
    module = "abc" if library == "luigi" else "made"
    assert done.returncode == (35 if family == "Late" else 30), done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert f"task {late}: its class {module}.{late} was made after the import" in said
    assert "define it at module level" in said
    assert not (place / f"{late.lower()}.txt").exists()


def test_pipeline_of_luigi_without_a_guard_does_not_run_when_it_is_imported(place: Path) -> None:
    text = """
        import luigi
        class Job(luigi.Task):
            def output(self):
                return luigi.LocalTarget("ran.txt")
            def run(self):
                self.output().open("w").close()
        luigi.build([Job()], local_scheduler=True)
        """
    (place / "unguarded.py").write_text(textwrap.dedent(text))
    done = flow("run", "unguarded", "Job")
    assert done.returncode == 35
    assert "luigi.build() was called while the module was imported" in done.stdout
    assert 'if __name__ == "__main__":' in done.stdout and "unguarded.py:8" in done.stdout
    assert not (place / "ran.txt").exists()
