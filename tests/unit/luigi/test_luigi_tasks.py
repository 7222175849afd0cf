"""The seam between the engine and luigi, without any process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import flow
from flow import seam
from flow.modules.loading import load_module, load_task, load_task_class
from flow.parameters.errors import BadParameter, MissingParameter
from flow.parameters.packing import unpack_values
from flow.registry import UnknownTask
from flow.settings import luigi_sections
from flow.settings.sections import load
from flow_worker.planner.policies import Policies

luigi = pytest.importorskip("luigi")

from flow.dialects.luigi_policy import WORKER_MARK  # noqa: E402  (needs luigi)


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """Leave luigi's registry as it was."""
    register = luigi.task_register.Register
    before = list(register._reg)
    yield
    register._reg = before
    register.clear_instance_cache()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that writes and imports a module."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def make(name: str, text: str) -> ModuleType:
        (tmp_path / f"{name}.py").write_text("import luigi\n" + textwrap.dedent(text))
        made.append(name)
        return load_module(name)

    yield make
    for name in made:
        del sys.modules[name]


def test_flow_without_luigi_never_imports_it() -> None:
    code = (
        "import sys, flow, flow.seam as d\n"
        "import flow.modules.loading, flow.usercode.completeness, flow_worker.process.serve\n"
        "class A(flow.Task): pass\n"
        "assert not d.is_task(3) and d.is_task(A()) and not d.others()\n"
        "assert not [name for name in sys.modules if name.startswith('luigi')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_task_of_luigi_comes_back_from_its_strings(module: Any) -> None:
    made = module(
        "one_lt",
        """
        class Leaf(luigi.Task):
            n = luigi.IntParameter()
            when = luigi.DateParameter(default=None)
            secret = luigi.Parameter(
                default="s", visibility=luigi.parameter.ParameterVisibility.PRIVATE)
        """,
    )
    task = made.Leaf(n=4, secret="t")
    dialect = seam.dialect_of(type(task))
    assert unpack_values(dialect.packed(task)) == {"n": "4"}
    again = load_task("one_lt", "Leaf", seam.strings_of(task))
    assert again == task and again.task_id == task.task_id
    assert seam.module_of(task) == "one_lt"


def test_private_value_without_default_is_missed_with_its_reason(module: Any) -> None:
    made = module(
        "two_lt",
        """
        class Leaf(luigi.Task):
            secret = luigi.Parameter(visibility=luigi.parameter.ParameterVisibility.PRIVATE)
        """,
    )
    with pytest.raises(BadParameter, match="private values do not leave the process"):
        load_task("two_lt", "Leaf", seam.strings_of(made.Leaf(secret="x")))


def test_bad_value_in_luigi_cfg_names_the_parameter(module: Any) -> None:
    module("three_lt", "class Leaf(luigi.Task):\n    n = luigi.IntParameter()\n")
    with pytest.raises(MissingParameter, match="Leaf --n: no value given"):
        load_task("three_lt", "Leaf", {})
    config = luigi.configuration.get_config()
    config.set("Leaf", "n", "many")
    try:
        with pytest.raises(BadParameter, match="Leaf --n from its default: invalid literal"):
            load_task("three_lt", "Leaf", {})
    finally:
        config.remove_section("Leaf")


def test_bad_value_of_a_constructor_names_the_line_of_the_parameter(
    module: Any, tmp_path: Path
) -> None:
    found = module("made_lt", "class Leaf(luigi.Task):\n    n = luigi.IntParameter()\n")
    strings = seam.strings_of(found.Leaf(n="x"))  # luigi takes it as it is
    with pytest.raises(BadParameter, match="Leaf --n: invalid literal") as caught:
        load_task("made_lt", "Leaf", strings)
    assert caught.value.where == f"{tmp_path}/made_lt.py:3  Leaf.n"


def test_family_of_two_modules_is_the_own_one_of_each(module: Any) -> None:
    text = """
        class Same(luigi.Task):
            pass
        class Holder(luigi.Task):
            of = luigi.TaskParameter()
        """
    first, second = module("four_lt", text), module("five_lt", text)
    assert load_task_class("four_lt", "Same") is first.Same
    assert load_task_class("five_lt", "Same") is second.Same
    # luigi alone refuses the name, wherever it is said.
    with pytest.raises(luigi.task_register.TaskClassAmbigiousException):
        second.Holder.from_str_params({"of": "Same"})
    assert load_task("five_lt", "Holder", {"of": "Same"}).of is second.Same
    assert load_task("four_lt", "Holder", {"of": "Same"}).of is first.Same


def test_family_of_both_libraries_in_one_module_is_the_newest(module: Any) -> None:
    made = module(
        "six_lt",
        """
        import flow
        class Same(luigi.Task):
            pass
        Luigis = Same
        class Same(flow.Task):
            pass
        """,
    )
    assert load_task_class("six_lt", "Same") is made.Same is not made.Luigis


def test_family_of_a_module_that_is_not_imported_is_unknown(module: Any) -> None:
    module("seven_lt", "class There(luigi.Task):\n    pass\n")
    module("eight_lt", "class Here(luigi.Task):\n    pass\n")
    with pytest.raises(UnknownTask, match="module eight_lt has no task") as caught:
        load_task_class("eight_lt", "There")
    assert "seven_lt" in caught.value.hint


def test_policy_takes_what_luigi_cfg_sets_and_only_that(module: Any) -> None:
    made = module(
        "nine_lt",
        """
        class Plain(luigi.Task):
            owner_email = "a@b.c, d@e.f"
        class Own(luigi.Task):
            retry_count = 7
            disable_hard_timeout = 8
            worker_timeout = 0
        """,
    )
    dialect = seam.dialect_of(made.Plain)
    plain, own = dialect.policy(made.Plain()), dialect.policy(made.Own())
    assert (plain.retry_count, plain.retry_delay, plain.worker_timeout) == (None, None, None)
    assert (plain.disable_hard_timeout, own.disable_hard_timeout) == (None, 8)
    assert plain.on_lost == "retry" and plain.owner_list() == ["a@b.c", "d@e.f"]
    config = luigi.configuration.get_config()
    config.set("scheduler", "retry_count", "3")
    config.set("scheduler", "retry_delay", "1.5")
    config.set("scheduler", "disable_hard_timeout", "90")
    config.set("worker", "timeout", "60")
    try:
        assert (plain.retry_count, plain.retry_delay, plain.worker_timeout) == (3, 1.5, 60)
        assert (own.retry_count, own.worker_timeout) == (7, 0)
        assert (plain.disable_hard_timeout, own.disable_hard_timeout) == (90, 8)
    finally:
        config.remove_section("scheduler")
        config.remove_section("worker")


def test_instances_are_forgotten_by_task_processes_unless_their_cache_is_off(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = module("ten_lt", "class Leaf(luigi.Task):\n    pass\n")
    dialect = seam.dialect_of(made.Leaf)
    task = made.Leaf()
    monkeypatch.delenv(WORKER_MARK, raising=False)
    dialect.forget()
    assert made.Leaf() is task
    monkeypatch.setenv(WORKER_MARK, "here")
    dialect.forget()
    assert made.Leaf() is not task
    luigi.task_register.Register.disable_instance_cache()
    try:
        dialect.forget()
        assert made.Leaf() is not made.Leaf()
    finally:
        luigi.task_register.Register.clear_instance_cache()


def test_flow_task_finds_the_outputs_of_luigi_tasks(module: Any) -> None:
    made = module(
        "eleven_lt",
        """
        class Leaf(luigi.Task):
            def output(self):
                return luigi.LocalTarget("x")
        """,
    )

    class Above(flow.Task):
        def requires(self) -> Any:
            return {"a": made.Leaf()}

    assert Above().input()["a"].path == "x"


@pytest.mark.parametrize("parser", ["cfg", "toml"])
def test_limits_are_read_without_luigi(
    parser: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("FLOW_RESOURCES")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUIGI_CONFIG_PARSER", parser)
    more = tmp_path / f"more.{parser}"
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(more))
    assert load().resources == {}
    (tmp_path / f"luigi.{parser}").write_text("[resources]\nDb = 2\ngpu = 1\n")
    more.write_text("[resources]\ngpu = 4\n")
    (tmp_path / "flow.toml").write_text("[resources]\nother = 1\n")
    assert load().resources == {"Db": 2, "gpu": 4, "other": 1}
    (tmp_path / "flow.toml").write_text("[resources]\ngpu = 1\n")
    assert load().resources == {"Db": 2, "gpu": 1}


def test_files_a_program_added_count_in_the_processes_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = tmp_path / "added.cfg"
    added.write_text("[resources]\nlicenses = 3\n")
    parsers = luigi.configuration.core.PARSERS["cfg"]
    monkeypatch.setattr(parsers, "_config_paths", [*parsers._config_paths, str(added)])

    assert load().resources["licenses"] == 3
    inherited = luigi_sections.inherited()
    monkeypatch.undo()
    assert "licenses" not in load().resources
    assert load(env={**os.environ, **inherited}).resources["licenses"] == 3


def test_property_that_raises_is_not_taken_for_a_missing_attribute(module: Any) -> None:
    made = module(
        "twelve_lt",
        """
        class Leaf(luigi.Task):
            @property
            def resources(self):
                return {}.nothing
            on_lost = "hold"
        """,
    )
    policy = seam.dialect_of(made.Leaf).policy(made.Leaf())
    assert policy.on_lost == "hold" and policy.disabled is False
    with pytest.raises(AttributeError, match="nothing"):
        policy.resources  # noqa: B018


def test_script_is_known_by_its_path_and_its_classes_as_main(tmp_path: Path) -> None:
    text = "import luigi\nclass Same(luigi.Task):\n    of = luigi.TaskParameter(default=None)\n"
    made = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}_lt.py"
        path.write_text(text)
        wire = f"file:{path}"
        # Both say they are __main__.Same: each file still finds its own.
        task = load_task(wire, "Same", {"of": "Same"})
        assert task.__module__ == "__main__" and seam.module_of(task) == wire
        assert task.of is type(task)
        made.append(type(task))
    assert made[0] is not made[1]


def test_import_of_luigi_is_silent_in_a_task_process() -> None:
    code = (
        "from flow.settings import sections\nfrom flow.usercode import tasklogs\n"
        "tasklogs.configure(sections.load().logs)\n"
        "import luigi, luigi.configuration, logging\n"
        "luigi.configuration.get_config().reload()\n"
        "logging.getLogger('luigi-interface').info('a word of a task')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stderr == "INFO: a word of a task\n"


def test_parameters_with_names_that_mean_something_to_flow_only_are_the_tasks_own() -> None:
    class Named(luigi.Task):  # type: ignore[misc]
        retry_delay = luigi.Parameter(default="soon")
        disable_window = luigi.Parameter(default="w")
        on_lost = luigi.Parameter(default="x")
        accepts_messages = luigi.Parameter(default="no")
        retry_count = luigi.IntParameter(default=4)

    number, policy = Policies().of(Named())
    assert number == 0 and policy is not None
    assert (policy.retry_delay_s, policy.disable_window_s, policy.on_lost) == (None, None, "retry")
    assert not policy.accepts_messages and policy.retry_count == 4, (
        "this one means it to luigi, too"
    )

    class Says(luigi.Task):  # type: ignore[misc]
        retry_delay = 7.0

    _, policy = Policies().of(Says())
    assert policy is not None and policy.retry_delay_s == 7.0
