"""From names to classes: modules, scripts, what runs as __main__, and every way it can fail."""

import importlib
import os
import subprocess
import sys
import textwrap

import pytest

from flow.modules.loading import ImportFailed, is_loading, load_module, load_task, load_task_class
from flow.parameters import BadParameter, UnknownParameter
from flow.registry import AmbiguousTask, UnknownTask


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Write modules into a directory of the search path; forget them afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(name, source):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        return path

    yield write
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


SALES = """
    import flow

    class SalesReport(flow.Task):
        date = flow.DateParameter()
        rows = flow.IntParameter(default=5)
"""


def test_task_is_made_from_module_family_and_strings(place):
    place("sales_a.py", SALES)
    task = load_task("sales_a", "SalesReport", {"date": "2026-11-20", "rows": "7"})
    assert (str(task.date), task.rows) == ("2026-11-20", 7)
    assert task.task_module == "sales_a"


def test_bad_value_names_task_parameter_value_and_what_is_right(place):
    place("sales_b.py", SALES)
    with pytest.raises(BadParameter) as caught:
        load_task("sales_b", "SalesReport", {"date": "20.11.2026"})
    assert str(caught.value) == (
        "SalesReport --date: '20.11.2026' is not a date, expected YYYY-MM-DD (DateParameter)"
    )
    assert caught.value.exit_code == 2
    assert caught.value.kind == "bad_parameter"


def test_unknown_parameter_is_refused_from_strings(place):
    place("sales_c.py", SALES)
    with pytest.raises(UnknownParameter, match="Did you mean 'date'"):
        load_task("sales_c", "SalesReport", {"dat": "2026-11-20"})


def test_unknown_task_lists_those_of_the_module(place):
    place("sales_d.py", SALES)
    with pytest.raises(UnknownTask) as caught:
        load_task_class("sales_d", "SalesReprot")
    assert str(caught.value) == (
        "module sales_d has no task 'SalesReprot'. Did you mean 'SalesReport'? "
        "Its tasks: SalesReport"
    )
    assert (caught.value.kind, caught.value.exit_code) == ("unknown_task", 2)


def test_task_is_found_in_a_module_that_imports_it_by_name_or_whole(place):
    place("far/__init__.py", "")
    place("far/deep.py", "import flow\nclass Deep(flow.Task): pass\n")
    place("by_name.py", "from far.deep import Deep\n")
    place("whole.py", "import far.deep\n")
    deep = load_task_class("by_name", "Deep")
    assert deep is load_task_class("whole", "Deep")
    assert deep.task_module == "far.deep"


def test_task_of_a_module_that_is_not_imported_is_unknown_and_its_home_named(place):
    place("stranger.py", "import flow\nclass Stranger(flow.Task): pass\n")
    place("alone.py", "import flow\nclass Alone(flow.Task): pass\n")
    load_module("stranger")
    with pytest.raises(UnknownTask) as caught:
        load_task_class("alone", "Stranger")
    assert caught.value.hint == "there is one in stranger"


def test_family_of_two_modules_is_told_apart_by_module(place):
    for name in ("team_one", "team_two"):
        place(f"{name}.py", "import flow\nclass Extract(flow.Task): pass\n")
    one = load_task_class("team_one", "Extract")
    two = load_task_class("team_two", "Extract")
    assert (one.task_module, two.task_module) == ("team_one", "team_two")


def test_family_of_two_imported_modules_is_ambiguous(place):
    for name in ("half_one", "half_two"):
        place(f"{name}.py", "import flow\nclass Half(flow.Task): pass\n")
    place("halves.py", "import half_one, half_two\n")
    with pytest.raises(AmbiguousTask, match=r"half_one\.Half, half_two\.Half"):
        load_task_class("halves", "Half")


def test_class_added_after_a_lookup_is_found(place):
    place("growing.py", "import flow\n")
    with pytest.raises(UnknownTask):
        load_task_class("growing", "Grown")
    exec("class Grown(flow.Task): pass", vars(load_module("growing")))
    assert load_task_class("growing", "Grown").__name__ == "Grown"


# ------------------------------------------------------------ failing imports


def test_missing_module_is_named(place):
    with pytest.raises(ImportFailed) as caught:
        load_module("no_such_module_here")
    assert "no_such_module_here cannot be imported: ModuleNotFoundError" in str(caught.value)
    assert (caught.value.kind, caught.value.exit_code, caught.value.where) == ("import", 35, "")


def test_module_given_with_py_suffix_gets_a_hint(place):
    place("suffixed.py", "")
    with pytest.raises(ImportFailed) as caught:
        load_module("suffixed.py")
    assert "file:" in caught.value.hint


@pytest.mark.parametrize(
    ("source", "line", "text"),
    [
        ("x = 1\nraise RuntimeError('no database')\n", 2, "RuntimeError: no database"),
        ("x = 1\n\ndef broken(:\n", 3, "SyntaxError"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
        ("class Odd(BaseException): pass\nraise Odd('why')\n", 2, "Odd: why"),
        ("import not_installed_anywhere\n", 1, "No module named 'not_installed_anywhere'"),
        ("def f():\n    return 1 / 0\nf()\n", 2, "ZeroDivisionError"),
    ],
)
def test_module_that_raises_tells_what_and_where(place, source, line, text):
    path = place("raising.py", source)
    with pytest.raises(ImportFailed) as caught:
        load_module("raising")
    assert text in str(caught.value)
    assert caught.value.where.startswith(f"{path}:{line}  ")
    assert not is_loading()


INTERRUPTED = """
import sys
from flow.modules.loading import ImportFailed, enter_task_process, load_module
if sys.argv[1:]:
    enter_task_process()
try:
    load_module("interrupted")
except ImportFailed as error:
    print(error)
"""


def test_interrupt_during_an_import_ends_a_command_and_is_a_failure_where_tasks_run(place):
    folder = place("interrupted.py", "raise KeyboardInterrupt\n").parent
    command = [sys.executable, "-c", INTERRUPTED]
    typed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert typed.returncode and typed.stderr.endswith("KeyboardInterrupt\n")
    found = subprocess.run([*command, "x"], cwd=folder, capture_output=True, text=True, check=True)
    assert "interrupted cannot be imported: KeyboardInterrupt" in found.stdout


def test_module_is_importable_again_after_it_was_repaired(place):
    place("repaired.py", "raise RuntimeError('first')\n")
    with pytest.raises(ImportFailed):
        load_module("repaired")
    place("repaired.py", "import flow\nclass Fixed(flow.Task):\n    '''Long enough to differ.'''\n")
    assert load_task_class("repaired", "Fixed").task_family == "Fixed"


@pytest.mark.parametrize("name", ["", ".", "a b", "../x", "os.system", "x" * 10_000, "a\0b"])
def test_names_that_are_no_modules_are_import_errors(name):
    with pytest.raises(ImportFailed):
        load_module(name)


# ------------------------------------------------------------ scripts

SCRIPT = """
    import os
    import flow
    from beside import VALUE

    class Scripted(flow.Task):
        n = flow.IntParameter(default=VALUE)

    if __name__ == "__main__":
        print(Scripted().task_module)
        from flow.modules.loading import load_task
        print(load_task("file:" + os.path.abspath(__file__), "Scripted", {}) is Scripted())
"""


def test_script_is_loaded_by_path_without_running_its_main_part(place, capsys):
    place("beside.py", "VALUE = 12\n")
    path = place("pipe-line.py", SCRIPT)
    task = load_task(f"file:{path}", "Scripted", {})
    assert task.n == 12
    assert task.task_module == f"file:{path}"
    assert load_module(f"file:{path}") is load_module(f"file:{path.parent}/./pipe-line.py")
    assert capsys.readouterr().out == ""


def test_running_script_reports_its_path_and_is_not_loaded_twice(place):
    place("beside.py", "VALUE = 12\n")
    path = place("pipeline.py", SCRIPT)
    found = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [f"file:{path}", "True"]


def test_module_run_with_dash_m_reports_its_own_name(place):
    place("packed/__init__.py", "")
    path = place("packed/pipe.py", "import flow\nclass T(flow.Task): pass\nprint(T.task_module)\n")
    found = subprocess.run(
        [sys.executable, "-m", "packed.pipe"], cwd=path.parent.parent,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == "packed.pipe"


def test_code_without_a_file_reports_main():
    code = "import flow\nclass T(flow.Task): pass\nprint(T.task_module)\n"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "__main__"


def test_main_without_a_file_cannot_be_loaded_elsewhere(place):
    path = place(
        "elsewhere.py", "from flow.modules.loading import load_module\nload_module('__main__')\n"
    )
    found = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "ImportFailed: tasks of a notebook, a shell or python -c exist only" in found.stderr


def test_script_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ImportFailed, match=r"there is no file .*gone\.py"):
        load_module(f"file:{tmp_path}/gone.py")


def test_script_that_raises_tells_where_and_can_be_repaired(place):
    path = place("shaky.py", "import flow\nraise KeyError('x')\n")
    with pytest.raises(ImportFailed) as caught:
        load_module(f"file:{path}")
    assert caught.value.where == f"{path}:2  <module>"
    place("shaky.py", "import flow\nclass Steady(flow.Task):\n    '''A line more than before.'''\n")
    assert load_task_class(f"file:{path}", "Steady").task_module == f"file:{path}"


def test_loading_is_visible_to_what_is_loaded(place):
    place("curious.py", "from flow.modules.loading import is_loading\nSEEN = is_loading()\n")
    assert load_module("curious").SEEN is True
    assert is_loading() is False
    assert os.path.basename(load_module("curious").__file__) == "curious.py"


def test_range_is_offered_by_every_module_also_after_the_registry_was_brought_back(place) -> None:
    from flow import RangeDaily, registry

    restore = registry.keep()
    registry._classes.pop("RangeDaily", None)
    try:
        # Where luigi was imported too, its own ranges are for modules with tasks of luigi.
        place("ranged.py", "import flow\nclass Repeated(flow.Task): pass\n")
        assert load_task_class("ranged", "RangeDaily") is RangeDaily
    finally:
        restore()
