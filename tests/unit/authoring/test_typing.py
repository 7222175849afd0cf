"""Type checkers understand tasks: values, keywords, what is missing, what is wrong.

Each sample says behind a line what its checker has to say about it: ``# error: text`` or
``# type: revealed``. About any other line it says nothing.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
#: A checker reads all of flow once, on a machine that may be busy.
TIMEOUT_S = 300
#: In one process of pytest-xdist: what mypy found out of flow and Python is kept from test to test.
pytestmark = [pytest.mark.timeout(TIMEOUT_S), pytest.mark.xdist_group("mypy")]

DECLARED = """
import datetime
import enum
from pathlib import Path
from typing import Any

import flow


class Color(enum.Enum):
    RED = 1


class Load(flow.Task):
    day: flow.DateParameter = flow.DateParameter()
    n: flow.IntParameter = flow.IntParameter(default=1)
    color: flow.EnumParameter[Color] = flow.EnumParameter(enum=Color, default=Color.RED)
    colors: flow.EnumListParameter[Color] = flow.EnumListParameter(enum=Color, default=())
    kind: flow.ChoiceParameter = flow.ChoiceParameter(choices=["a"], default="a")
    sizes: flow.ChoiceListParameter[int] = flow.ChoiceListParameter(
        choices=[1, 2], var_type=int, default=[]
    )
    share: flow.NumericalParameter[float] = flow.NumericalParameter(
        var_type=float, min_value=0.0, max_value=1.0, default=0.5
    )
    words: flow.ListParameter = flow.ListParameter(default=["a"])
    table: flow.DictParameter = flow.DictParameter(default={})
    path: flow.PathParameter = flow.PathParameter(default="x")
    month: flow.MonthParameter = flow.MonthParameter(default=datetime.date(2026, 1, 1))
    hour: flow.DateHourParameter = flow.DateHourParameter(default=datetime.date(2026, 1, 1))
    span: flow.TimeDeltaParameter = flow.TimeDeltaParameter(default=datetime.timedelta(1))
    verbose: flow.BoolParameter = flow.BoolParameter()
    label: flow.OptionalStrParameter = flow.OptionalStrParameter()
    limit: flow.OptionalIntParameter = flow.OptionalIntParameter()
    where: flow.OptionalPathParameter = flow.OptionalPathParameter()
    names: flow.OptionalListParameter = flow.OptionalListParameter()
    maybe: flow.OptionalChoiceParameter = flow.OptionalChoiceParameter(choices=["a"], default=None)
    of: flow.TaskParameter = flow.TaskParameter(default=flow.Task)


class Report(Load):
    title: flow.Parameter = flow.Parameter()
    inner: flow.TaskInstanceParameter[Load] = flow.TaskInstanceParameter()

"""
USED = """
day = datetime.date(2026, 1, 2)
load = Load(day=day)
reveal_type(load.day)  # type: date
reveal_type(load.n)  # type: int
reveal_type(load.color)  # type: Color
reveal_type(load.colors)  # type: tuple[Color, ...]
reveal_type(load.kind)  # type: str
reveal_type(load.sizes)  # type: tuple[int, ...]
reveal_type(load.share)  # type: float
reveal_type(load.words)  # type: tuple[Any, ...]
reveal_type(load.table)  # type: Mapping[str, Any]
reveal_type(load.path)  # type: Path
reveal_type(load.month)  # type: date
reveal_type(load.hour)  # type: datetime
reveal_type(load.span)  # type: timedelta
reveal_type(load.verbose)  # type: bool
reveal_type(load.label)  # type: str | None
reveal_type(load.limit)  # type: int | None
reveal_type(load.where)  # type: Path | None
reveal_type(load.names)  # type: tuple[Any, ...] | None
reveal_type(load.maybe)  # type: str | None
reveal_type(load.of)  # type: type[Task]
reveal_type(Load.n)  # type: IntParameter
reveal_type(Report(day=day, title="x", inner=load).inner)  # type: Load

Load(day=day, n=2, words=["b"], table={"a": 1}, path=Path("y"), limit=None, verbose=True)
Load(day=day, hour=datetime.datetime.now(), month=flow.date_interval.Month(2026, 1), where="x")
Load()  # error: "day"
Load(day=day, title="x")  # error: "title"
Load(day="2026-01-02")  # error: "date
Load(day=day, n="2")  # error: "int
Load(day=day, n=None)  # error: "int
Load(day=day, color="RED")  # error: "Color
Load(day=day, colors=[1])  # error: "Color"
Load(day=day, sizes=["1"])  # error: "int"
Load(day=day, limit="3")  # error: "int | None
Report(day=day, title="x")  # error: "inner"
Report(day=day, title="x", inner=5)  # error: "Load
flow.IntParameter(default="x")  # error: "int
flow.IntParameter(signifcant=False)  # error: signifcant
wrong: str = load.n  # error: "int"
"""


def plain(source: str) -> str:
    """Leave out the annotations of parameters, as most pipelines are written."""
    source = re.sub(r"^(    \w+): flow\.\w+(\[\w+\])? = ", r"\1 = ", source, flags=re.M)
    # Only an annotation can say which tasks are meant.
    return re.sub(r'# (type: |error: ")Load$', r"# \1Task", source, flags=re.M)


def expected(source: str) -> dict[int, tuple[str, str]]:
    """Return line -> (what is said, a piece of its text)."""
    found = {}
    for number, line in enumerate(source.splitlines(), 1):
        match = re.search(r"# (error|type): (.*)$", line)
        if match:
            found[number] = (match[1], match[2])
    return found


def check(source: str, said: list[tuple[int, str, str]]) -> None:
    """Compare (line, error or type, text) with what the sample says."""
    wanted = expected(source)
    lines = source.splitlines()
    unexpected = [(number, text, lines[number - 1]) for number, kind, text in said
                  if wanted.get(number, ("", ""))[0] != kind]  # fmt: skip
    assert unexpected == []
    for number, (kind, piece) in wanted.items():
        texts = [text for line, each, text in said if line == number and each == kind]
        if kind == "type":
            # mypy names the module of a class, pyright does not.
            assert [re.sub(r"\b(?!\.)(\w+\.)+", "", text) for text in texts] == [piece]
        else:
            assert any(piece in re.sub(r"\b(\w+\.)+", "", text) for text in texts), (
                lines[number - 1],
                texts,
            )


def mypy(place: Path, source: str, *words: str) -> list[tuple[int, str, str]]:
    """Return what mypy says, strictly."""
    (place / "sample.py").write_text(source)
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--hide-error-context", "--no-color-output",
         "--no-error-summary", *words, "sample.py"],
        cwd=place,
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": str(REPOSITORY / "common")},
        timeout=TIMEOUT_S,
    )  # fmt: skip
    found = []
    for line in ran.stdout.splitlines():
        match = re.fullmatch(r"sample\.py:(\d+): (error|note): (.*)", line)
        assert match, ran.stdout + ran.stderr
        revealed = re.fullmatch(r'Revealed type is "(.*)"', match[3])
        if revealed:
            found.append((int(match[1]), "type", revealed[1]))
        elif match[2] == "error":
            found.append((int(match[1]), "error", match[3]))
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    return found


def pyright(place: Path, source: str) -> list[tuple[int, str, str]]:
    """Return what pyright says, in its standard mode."""
    (place / "sample.py").write_text(source)
    settings = {"extraPaths": [str(REPOSITORY / "common")], "typeCheckingMode": "standard"}
    (place / "pyrightconfig.json").write_text(json.dumps(settings))
    ran = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "sample.py"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    found = []
    for each in json.loads(ran.stdout)["generalDiagnostics"]:
        number = each["range"]["start"]["line"] + 1
        revealed = re.fullmatch(r'Type of ".*" is "(.*)"', each["message"])
        if revealed:
            found.append((number, "type", revealed[1]))
        elif each["severity"] == "error":
            found.append((number, "error", each["message"]))
    return found


@pytest.fixture(scope="module")
def without_plugin(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What mypy has once found about flow and Python; a plugin voids it."""
    return ("--cache-dir", str(tmp_path_factory.mktemp("mypy")))


def test_mypy_understands_annotated_parameters(
    tmp_path: Path, without_plugin: tuple[str, str]
) -> None:
    source = DECLARED + USED
    check(source, mypy(tmp_path, source, *without_plugin))


def test_mypy_with_the_plugin_needs_no_annotations(tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text("[mypy]\nplugins = flow.mypy\n")
    source = plain(DECLARED + USED)
    assert ": flow." not in source
    check(source, mypy(tmp_path, source))


def test_mypy_without_the_plugin_takes_parameters_that_are_not_annotated(
    tmp_path: Path, without_plugin: tuple[str, str]
) -> None:
    lines = plain(DECLARED + USED).splitlines()
    source = "\n".join(line for line in lines if "# error" not in line or "load.n" in line)
    check(source, mypy(tmp_path, source, *without_plugin))


def test_pyright_understands_annotated_parameters(tmp_path: Path) -> None:
    pytest.importorskip("basedpyright")
    source = DECLARED + USED
    check(source, pyright(tmp_path, source))


def test_pyright_knows_values_of_parameters_that_are_not_annotated(tmp_path: Path) -> None:
    source = plain(DECLARED + USED)
    said = [each for each in pyright(tmp_path, source) if each[1] == "type"]
    wanted = "\n".join(re.sub("# error: .*", "", line) for line in source.splitlines())
    check(wanted, said)
