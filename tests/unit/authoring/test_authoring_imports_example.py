"""The example pipeline counts imports of any tree, and a second run finds everything done."""

import json
import os

import pytest

from flow.examples.imports import CountImports, TopImports
from flow.parameters import ParameterError


def run_all(task):
    """Run a task after its requirements, as the engine would; return how many ran."""
    if task.complete():
        return 0
    ran = sum(run_all(each) for each in task.deps())
    assert all(each.complete() for each in task.deps())
    task.run()
    assert task.complete()
    return ran + 1


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    sources = {
        "one.py": "import os, sys.path\nfrom json import loads\nfrom . import two\n",
        "package/__init__.py": "import os\n",
        "package/deep/er/module.py": "def f():\n    import os.path\n    import os\n",
        "bad.py": "def (:\n",
        "we ird(1)+.py": "import sys\n",
        "nested.py": "(" * 5_000,
        ".hidden/x.py": "import hidden\n",
        "site-packages/x.py": "import installed\n",
        "data/notes.txt": "import nothing\n",
    }
    for name, source in sources.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    (root / "nul.py").write_bytes(b"x = '\0'\n")
    (root / "latin.py").write_bytes(b"x = '\xe9'\n")
    (root / "loop").symlink_to(root)
    with open(os.path.join(os.fsencode(root), b"\xff.py"), "wb") as source:
        source.write(b"import unnamed\n")
    return root


def test_report_counts_files_by_module_and_names_the_unparsable(tree, tmp_path, capsys):
    task = TopImports(root=tree, out=tmp_path / "out")
    run_all(task)
    with task.output().open() as report:
        lines = report.read().splitlines()
    assert lines[1] == "8 files, 4 of them unparsable, 3 modules imported"
    assert [line.split() for line in lines[4:]] == [["3", "os"], ["2", "sys"], ["1", "json"]]
    assert "Most imported modules" in capsys.readouterr().out


def test_second_run_finds_everything_complete(tree, tmp_path):
    assert run_all(TopImports(root=tree, out=tmp_path / "out")) > 10
    assert run_all(TopImports(root=tree, out=tmp_path / "out")) == 0
    assert run_all(TopImports(root=tree, out=tmp_path / "out", limit=1)) == 1


def test_results_below_the_tree_itself_change_nothing(tree):
    run_all(TopImports(root=tree, out=tree / "flow-imports"))
    assert run_all(TopImports(root=tree, out=tree / "flow-imports")) == 0


def test_empty_tree_has_an_empty_report(tmp_path):
    (tmp_path / "empty").mkdir()
    task = TopImports(root=tmp_path / "empty", out=tmp_path / "out")
    run_all(task)
    assert json.loads((tmp_path / "out").glob("*/total.json").__next__().read_text())["files"] == 0


def test_tree_that_does_not_exist_is_a_clear_error(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"--root .*gone is not a directory"):
        TopImports(root=tmp_path / "gone", out=tmp_path).deps()[0].deps()


def test_names_that_read_alike_have_results_of_their_own(tmp_path):
    one, other = (CountImports(root=tmp_path, out=tmp_path, unit=unit) for unit in ("a/b", "a-b"))
    assert one.output().path != other.output().path


def test_standard_library_makes_at_least_two_hundred_tasks(tmp_path):
    seen = {}
    queue = [TopImports(out=tmp_path)]
    for task in queue:
        for each in task.deps():
            if each.task_id not in seen:
                seen[each.task_id] = each
                queue.append(each)
    assert len(seen) >= 200


def test_limit_that_is_no_number_is_refused():
    with pytest.raises(ParameterError, match="TopImports --limit: 'few' is not a whole number"):
        TopImports.from_str_params({"limit": "few"})
