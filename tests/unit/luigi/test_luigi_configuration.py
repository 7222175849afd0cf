"""Defaults of parameters from luigi's own files, and what beats them."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flow
from flow import configuration, testing
from flow.errors import ConfigError
from flow.parameters import BadParameter, UnconsumedParameterWarning, defaults
from flow.registry import Register
from flow.settings import luigi_files


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current directory of its own, whose files are read when a test asks for them."""
    monkeypatch.chdir(tmp_path)
    defaults.forget()
    luigi_files.forget()
    yield tmp_path
    defaults.forget()
    luigi_files.forget()


def make(**params: Any) -> Any:
    """Declare a task named Load."""
    return Register("Load", (flow.Task,), {**params, "_visible_in_registry": False})


def test_section_of_the_family_gives_defaults_behind_flows_own_settings(folder: Path) -> None:
    (folder / "luigi.cfg").write_text("[Load]\nday: 3\nregion = EU\nlist = [1, 2]\n")
    (folder / "flow.toml").write_text("[task.Load]\nday = 5\n")
    cls = make(
        day=flow.IntParameter(default=1),
        region=flow.Parameter(),
        list=flow.ListParameter(),
        other=flow.IntParameter(default=7),
    )
    task = cls()
    assert (task.day, task.region, task.list, task.other) == (5, "EU", (1, 2), 7)
    assert cls(region="US").region == "US"


def test_file_of_the_variable_beats_that_of_the_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "luigi.cfg").write_text("[Load]\na = here\nb = here\n")
    (folder / "more.cfg").write_text("[Load]\nb = there\n")
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(folder / "more.cfg"))
    task = make(a=flow.Parameter(), b=flow.Parameter())()
    assert (task.a, task.b) == ("here", "there")


def test_toml_keeps_types(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "luigi.toml").write_text(
        '[Load]\nn = 5\nyes = true\nwords = ["a"]\nday = 2026-01-02\n[Load.map]\nx = {y = [1]}\n'
    )
    monkeypatch.setenv("LUIGI_CONFIG_PARSER", "toml")
    task = make(
        n=flow.IntParameter(),
        yes=flow.BoolParameter(),
        words=flow.ListParameter(),
        day=flow.DateParameter(),
        map=flow.DictParameter(),
    )()
    assert (task.n, task.yes, task.words, str(task.day)) == (5, True, ("a",), "2026-01-02")
    assert task.map == {"x": {"y": (1,)}}


def test_variables_and_other_options_are_filled_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "luigi.cfg").write_text("[Load]\nbase = /data\npath = %(base)s/${WHO}\n")
    monkeypatch.setenv("WHO", "100%")
    assert make(path=flow.Parameter(), base=flow.Parameter())().path == "/data/100%"


def test_variable_that_is_not_set_is_named_with_file_and_option(folder: Path) -> None:
    (folder / "luigi.cfg").write_text("[Load]\npath = ${NOT_SET_ANYWHERE}\n")
    with pytest.raises(configuration.InterpolationMissingEnvvarError) as caught:
        make(path=flow.Parameter())()
    assert "luigi.cfg: [Load] path" in str(caught.value)
    assert caught.value.hint == "export NOT_SET_ANYWHERE=..."


def test_variable_that_flows_settings_lack_is_named_with_file_and_key(folder: Path) -> None:
    (folder / "flow.toml").write_text('[task.Load]\npath = "${NOT_SET_ANYWHERE}/x"\n')
    with pytest.raises(ConfigError, match=r"flow\.toml: task\.Load\.path = .*NOT_SET_ANYWHERE"):
        make(path=flow.Parameter())()


def test_dashes_in_a_name_are_read_with_a_warning_and_underscores_win(folder: Path) -> None:
    (folder / "luigi.cfg").write_text("[Load]\na-b = 1\nc-d = 1\nc_d = 2\n")
    with pytest.warns(DeprecationWarning, match="Please use underscores: a_b"):
        task = make(a_b=flow.IntParameter(), c_d=flow.IntParameter())()
    assert (task.a_b, task.c_d) == (1, 2)


def test_config_path_is_read_last_with_a_warning(folder: Path) -> None:
    (folder / "luigi.cfg").write_text("[old]\nplace = EU\n")
    cls = make(region=flow.Parameter(config_path={"section": "old", "name": "place"}))
    with pytest.warns(DeprecationWarning, match=r"\[old\] place is deprecated.*\[Load\] region"):
        assert cls().region == "EU"


def test_value_that_does_not_fit_is_refused_with_its_place(folder: Path) -> None:
    (folder / "luigi.cfg").write_text("[Load]\nn = many\n")
    with pytest.raises(BadParameter, match=r"Load --n from luigi's configuration \[Load\]: 'many'"):
        make(n=flow.IntParameter())()


def test_what_no_parameter_consumes_is_told_once(folder: Path) -> None:
    (folder / "luigi.cfg").write_text("[DEFAULT]\nroot = /\n[Load]\ntypo = 1\nknown = 2\n")
    (folder / "flow.toml").write_text("[task.Load]\nregoin = 'EU'\n")
    cls = make(n=flow.IntParameter())
    cls.ignore_unconsumed = {"known"}
    with pytest.warns(UnconsumedParameterWarning) as caught:
        cls(n=1)
    assert [str(each.message) for each in caught] == [
        f"The configuration contains the parameter '{name}' with value '{value}' that is not "
        "consumed by the task 'Load'."
        for name, value in (("regoin", "EU"), ("typo", "1"))
    ]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cls(n=2)


def test_file_that_is_none_is_refused_by_name(folder: Path) -> None:
    (folder / "luigi.cfg").write_text("no section\n")
    with pytest.raises(ConfigError, match=r"^luigi\.cfg: "):
        make(n=flow.IntParameter(default=1))()


def test_configuration_reads_and_sets_as_luigis(folder: Path) -> None:
    (folder / "luigi.cfg").write_text("[a]\nn = 5\nf = 1.5\nb = yes\n[resources]\ngpu = 2\n")
    ours = flow.configuration.get_config()
    found = [
        ours.get("a", "n"), ours.getint("a", "n"), ours.getfloat("a", "f"),
        ours.getboolean("a", "b"),
        ours.get("a", "x", "none"), ours.getint("b", "x", 7), ours.has_option("a", "x"),
        ours.getintdict("resources"), ours.getintdict("nothing"), ours.sections(),
    ]  # fmt: skip
    assert found == ["5", 5, 1.5, True, "none", 7, False, {"gpu": 2}, {}, ["a", "resources"]]
    ours.set("Load", "n", "12")
    assert make(n=flow.IntParameter(default=1))().n == 12
    (folder / "luigi.cfg").write_text("[resources]\ngpu = two\n")
    luigi_files.forget()
    with pytest.raises(ConfigError, match=r"luigi\.cfg: \[resources\] gpu = 'two'"):
        flow.configuration.get_config().getintdict("resources")


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"LUIGI_CONFIG_PARSER": "yaml"}, "Invalid parser: yaml"),
        ({"LUIGI_CONFIG_PATH": "nowhere.cfg"}, "does not exist: nowhere.cfg"),
        ({"LUIGI_CONFIG_PATH": "x.toml"}, "export LUIGI_CONFIG_PARSER=toml"),
    ],
)
def test_variable_that_cannot_be_followed_warns(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], text: str
) -> None:
    (folder / "x.toml").write_text("")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.warns(UserWarning, match=text):
        configuration.get_config()


def test_file_that_is_added_later_is_obeyed(folder: Path) -> None:
    (folder / "more.cfg").write_text("[Load]\nn = 9\n")
    assert configuration.add_config_path("more.cfg")
    assert make(n=flow.IntParameter(default=1))().n == 9
    with pytest.warns(UserWarning, match="does not exist"):
        assert not configuration.add_config_path("none.cfg")


PROGRAM = """
import sys
library = __import__(sys.argv[1])
class Load(library.Task):
    a = library.Parameter(default="class")
    b = library.IntParameter(default=0)
    c = library.Parameter(config_path={"section": "old", "name": "c"}, default="class")
    d = library.DictParameter(default={})
task = Load()
print(task.a, task.b, task.c, dict(task.d), task.task_id)
"""
CFG = "[Load]\na = x%(y)s${HOME}\ny = 1\nb = 5\n[old]\nc = old\n"
TOML = "[Load]\na = 'x'\nb = 5\n[old]\nc = 'old'\n[Load.d]\nk = [1, 2]\n"


@pytest.mark.parametrize("parser", ["cfg", "toml"])
def test_program_finds_the_same_defaults_with_luigi(folder: Path, parser: str) -> None:
    pytest.importorskip("luigi")
    if parser == "toml":
        pytest.importorskip("toml")
    (folder / "luigi.cfg").write_text(CFG)
    (folder / "luigi.toml").write_text(TOML)
    (folder / "program.py").write_text(PROGRAM)
    said = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "program.py", library],
            env={**os.environ, "LUIGI_CONFIG_PARSER": parser},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for library in ("flow", "luigi")
    ]
    assert said[0] == said[1]


def test_help_names_where_a_default_is_from_and_what_is_always_shown(folder: Path) -> None:
    from flow.local.listing import describe_task

    (folder / "luigi.cfg").write_text("[Load]\nn = 9\n")
    (folder / "flow.toml").write_text("[task.site]\nbase = '/data'\n")
    with testing.fresh_registry():

        class site(flow.Config):
            base = flow.Parameter(always_in_help=True, description="where it all is")
            other = flow.Parameter(default="")

        told = describe_task(make(n=flow.IntParameter(), m=flow.IntParameter()), "flow run m Load")
    assert told.splitlines()[2:] == [
        "Parameters:",
        "  --n  (IntParameter: a whole number)  [default: 9, from luigi's configuration [Load]]",
        "  --m  (IntParameter: a whole number)  required",
        "",
        "Of other tasks:",
        "  --site-base  (Parameter: a string)  [default: /data, from [task.site]]",
        "    where it all is",
    ]


def test_parser_class_adds_files_as_luigis_does(folder: Path) -> None:
    (folder / "more.cfg").write_text("[Family]\nparam = more\n")
    assert configuration.LuigiConfigParser.add_config_path("more.cfg")
    assert configuration.LuigiConfigParser.instance() is configuration.get_config()
    assert configuration.get_config().get("Family", "param") == "more"
    with pytest.warns(UserWarning, match="Config file does not exist: none.cfg"):
        assert not configuration.LuigiConfigParser.add_config_path("none.cfg")
