"""``flow.tools.deps`` and ``deps_tree`` find what luigi's find."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import luigi
import luigi.task
import pytest

import flow
import flow.tools.deps
import flow.tools.deps_tree


def pipeline(library: Any) -> Any:
    class Source(library.ExternalTask):
        name = library.Parameter()

        def complete(self) -> bool:
            return bool(self.name == "a")

    class Clean(library.Task):
        name = library.Parameter()

        def requires(self) -> Any:
            return Source(name=self.name)

        def complete(self) -> bool:
            return False

    class Other(library.Task):
        def complete(self) -> bool:
            return True

    class Report(library.Task):
        day = library.DateParameter(default=None, significant=False)

        def requires(self) -> Any:
            return {"clean": [Clean(name="a"), Clean(name="b")], "other": Other()}

        def complete(self) -> bool:
            return False

    return Report()


@pytest.fixture
def luigi_deps(monkeypatch: pytest.MonkeyPatch) -> Any:
    """luigi's own module imports targets of libraries that are not here."""
    import types

    for name, attribute in (
        ("luigi.contrib.postgres", "PostgresTarget"),
        ("luigi.contrib.s3", "S3Target"),
        ("luigi.contrib.ssh", "RemoteTarget"),
    ):
        stub = types.ModuleType(name)
        setattr(stub, attribute, type(attribute, (), {}))
        monkeypatch.setitem(sys.modules, name, stub)
    import luigi.tools.deps

    return luigi.tools.deps


@pytest.mark.parametrize("family", ["Source", "Clean", "Other", "Report", "Nobody", None])
def test_find_deps_is_luigis(family: str | None, luigi_deps: Any) -> None:
    ours = flow.tools.deps.find_deps(pipeline(flow), family)
    theirs = luigi_deps.find_deps(pipeline(luigi), family)
    assert sorted(map(str, ours)) == sorted(map(str, theirs))


def test_tree_is_luigis() -> None:
    import luigi.tools.deps_tree

    theirs = re.sub(r"\x1b\[\d*m", "", luigi.tools.deps_tree.print_tree(pipeline(luigi)))
    assert flow.tools.deps_tree.print_tree(pipeline(flow)) == theirs


SCRIPT = """
import luigi
import luigi.tools.deps_tree

class Source(luigi.Task):
    n = luigi.IntParameter(default=1)
    def complete(self):
        return self.n == 1

class Report(luigi.Task):
    def requires(self):
        return [Source(), Source(n=2)]
    def complete(self):
        return False

if __name__ == "__main__":
    luigi.tools.deps_tree.main()
"""
#: The same, and what luigi must import is there by itself.
NATIVE = SCRIPT.replace("import luigi\nimport luigi.tools.deps_tree\n", "import flow as luigi\n")


@pytest.mark.parametrize(
    "words",
    [
        ("Report", "--local-scheduler"),
        ("Report", "--Source-n", "3"),
        ("Source", "--n", "7"),
    ],
    ids=" ".join,
)
def test_tree_of_a_command_line_is_luigis(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "luigi.cfg").write_text("[core]\nautoload_range=false\n")
    said = []
    for text in (SCRIPT, NATIVE):
        (tmp_path / "script.py").write_text(text)
        done = subprocess.run(
            [sys.executable, "script.py", *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        said.append(re.sub(r"\x1b\[\d*m", "", done.stdout))
    assert said[1] == said[0]
    assert "PENDING" in said[1]


def test_tree_of_a_task_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(NATIVE)
    done = subprocess.run(
        [sys.executable, "script.py", "Reprot"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Report" in done.stderr and "Traceback" not in done.stderr
