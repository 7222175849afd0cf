"""Which tasks share an artifact's path, and which never do."""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flow
from flow.artifacts.errors import ArtifactError, BadArtifactName
from flow.artifacts.location import checked_root, default_root
from flow.errors import ConfigError
from flow.parameters import defaults
from flow.registry import Register
from flow.targets.paths import PathEscapes


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("FLOW_STORAGE__ROOT", str(tmp_path / "root"))
    defaults.settings.cache_clear()
    Register.clear_instance_cache()
    yield tmp_path / "root"
    monkeypatch.undo()
    defaults.settings.cache_clear()


def path(task: flow.Task, name: str = ".json") -> str:
    return task.artifact(name).path


class Sales(flow.Task):
    date = flow.DateParameter(default=datetime.date(2026, 11, 20))
    region = flow.Parameter(default="EU")
    note = flow.Parameter(default="", significant=False)
    key = flow.Parameter(default="", visibility=flow.ParameterVisibility.HIDDEN)
    secret = flow.Parameter(default="", visibility=flow.ParameterVisibility.PRIVATE)


def test_path_of_an_artifact_is_readable_and_under_the_root(root: Path) -> None:
    found = path(Sales(), ".parquet").removeprefix(f"{root}/")
    assert re.fullmatch(r"Sales/2026-11-20_EU_[0-9a-f]{20}/Sales\.parquet", found)
    assert path(Sales(), "parts/a.csv").endswith("/parts/a.csv")
    assert path(Sales()).endswith("/Sales.json")


def test_path_is_the_same_in_every_process_and_for_ever(root: Path) -> None:
    folder = path(Sales()).removeprefix(f"{root}/")
    assert folder == "Sales/2026-11-20_EU_4106f4454362f6d38fc2/Sales.json"


@pytest.mark.parametrize(
    "changed",
    [
        {"date": datetime.date(2026, 11, 21)},
        {"region": "eu"},
        {"region": "EU "},
        {"region": "E/U"},
        {"region": "E_U"},
        {"region": "x" * 5000},
        {"region": "x" * 5000 + "y"},
        {"key": "hidden ones count"},
    ],
)
def test_path_changes_with_a_significant_parameter(changed: dict[str, Any]) -> None:
    other = path(Sales(**changed))
    assert other != path(Sales())
    assert other.casefold() != path(Sales()).casefold()
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", other.split("/")[-2])
    assert len(other.split("/")[-2]) < 100


@pytest.mark.parametrize("changed", [{"note": "n"}, {"secret": "s"}])
def test_path_keeps_with_a_parameter_that_does_not_count(changed: dict[str, Any]) -> None:
    assert path(Sales(**changed)) == path(Sales())


def test_paths_of_odd_parameter_values_never_meet() -> None:
    odd = [
        "",
        ".",
        "..",
        "../..",
        "/",
        "a",
        "A",
        "a ",
        "a\n",
        "a\0",
        "ä",
        "a_",
        "a-",
        "%2e%2e",
        "CON",
    ]
    paths = {path(Sales(region=text)).casefold() for text in odd}
    assert len(paths) == len(odd)


def test_path_of_a_namespaced_family_stays_in_one_folder(root: Path) -> None:
    class Odd(flow.Task):
        task_namespace = "../a/b"

    class Other(flow.Task):
        task_namespace = "__a/b"

    one, other = (path(task).removeprefix(f"{root}/") for task in (Odd(), Other()))
    assert one.count("/") == 2
    assert ".." not in one.split("/")
    assert one != other


def test_path_of_equal_parameters_in_two_families_differs() -> None:
    class load(flow.Task):
        pass

    class Load(flow.Task):
        pass

    assert path(load(), "a").casefold() != path(Load(), "a").casefold()


def versioned(version: Any) -> flow.Task:
    class Versioned(flow.Task):
        pass

    Versioned.version = version  # type: ignore[attr-defined]
    return Versioned()


def test_version_is_in_the_path(root: Path) -> None:
    paths = [path(versioned(each)) for each in (None, "1", "2", 2.5, "a/b", "a_b", "A_B", "..")]
    assert len({each.casefold() for each in paths}) == len(paths)
    assert paths[0].removeprefix(f"{root}/").count("/") == 2
    assert paths[1].removeprefix(f"{root}/").startswith("Versioned/v1/")
    assert all(each.removeprefix(f"{root}/").count("/") == 3 for each in paths[1:])
    assert path(versioned(2)) == path(versioned("2"))


def test_version_that_is_no_text_is_refused() -> None:
    with pytest.raises(ArtifactError, match="version is"):
        path(versioned(["1"]))


def test_version_that_is_a_parameter_counts_as_one(root: Path) -> None:
    class Model(flow.Task):
        version = flow.IntParameter(default=1)

    assert path(Model()).removeprefix(f"{root}/").count("/") == 2
    assert path(Model(version=2)) != path(Model())


def chain(version: str, *, middle_follows: bool, wrapped: bool = False) -> str:
    class Source(flow.Task):
        def output(self) -> Any:
            return self.artifact()

    Source.version = version  # type: ignore[attr-defined]

    class Middle(flow.Task):
        artifact_follows_requirements = middle_follows

        def requires(self) -> Any:
            return Source()

        def output(self) -> Any:
            return self.artifact()

    class Wrapper(flow.WrapperTask):
        def requires(self) -> Any:
            return [Source()]

    class Top(flow.Task):
        artifact_follows_requirements = True

        def requires(self) -> Any:
            return {"a": Wrapper() if wrapped else Middle()}

    return path(Top())


def test_path_that_follows_requirements_changes_with_their_paths() -> None:
    assert chain("1", middle_follows=True) != chain("2", middle_follows=True)
    assert chain("1", middle_follows=True) == chain("1", middle_follows=True)


def test_path_does_not_follow_what_a_requirement_does_not_follow() -> None:
    assert chain("1", middle_follows=False) == chain("2", middle_follows=False)


def test_path_follows_through_a_task_without_output() -> None:
    assert chain("1", middle_follows=False, wrapped=True) != chain(
        "2", middle_follows=False, wrapped=True
    )


def test_path_without_the_wish_does_not_ask_requires() -> None:
    class Loner(flow.Task):
        def requires(self) -> Any:
            raise AssertionError

        def output(self) -> Any:
            return self.artifact()

    assert Loner().output().path


class Chained(flow.Task):
    n = flow.IntParameter()
    artifact_follows_requirements = True
    asked = 0

    def requires(self) -> Any:
        type(self).asked += 1
        return [Chained(n=self.n - 1), Chained(n=max(0, self.n - 2))] if self.n else []

    def output(self) -> Any:
        return self.artifact()


def test_path_of_a_chain_deeper_than_the_stack_asks_each_task_once() -> None:
    depth = sys.getrecursionlimit() + 500
    first = path(Chained(n=depth))
    assert path(Chained(n=depth)) == first
    assert Chained.asked == depth + 1


class Ring(flow.Task):
    n = flow.IntParameter()
    artifact_follows_requirements = True

    def requires(self) -> Any:
        return Ring(n=(self.n + 1) % 3)


def test_path_of_a_cycle_is_found_and_not_the_same_for_all() -> None:
    paths = [path(Ring(n=n)) for n in range(3)]
    assert len(set(paths)) == 3


class Selfish(flow.Task):
    artifact_follows_requirements = True

    def requires(self) -> Any:
        return Sales(region=self.artifact().path)


def test_requires_that_asks_for_its_own_artifact_is_refused() -> None:
    for _ in range(2):
        with pytest.raises(ArtifactError, match="artifact of the task itself"):
            Selfish().artifact()


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/x", "a//b", "a/../b", "a/./b", "a\\b", "x\0", "a:b", "%2e%2e/x", "//",
     "x" * 300, "s3://b/x", ".. /x", "\ud800", "a\nb", None, 3],
)  # fmt: skip
def test_name_that_leads_elsewhere_is_refused(name: Any) -> None:
    with pytest.raises(BadArtifactName) as caught:
        Sales().artifact(name)
    assert isinstance(caught.value, PathEscapes)
    assert caught.value.hint


def test_names_that_differ_only_in_case_are_refused() -> None:
    task = Sales(region="case")
    assert task.artifact("a.csv").path == task.artifact("a.csv").path
    with pytest.raises(BadArtifactName, match="upper and lower"):
        task.artifact("A.csv")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("/data/flow/", "/data/flow"),
        ("/data//x/../flow", "/data/flow"),
        ("file:///data/flow", "/data/flow"),
        ("s3://bucket/prefix/", "s3://bucket/prefix"),
        ("memory://x", "memory://x"),
        ("/", ""),
    ],
)
def test_root_has_one_spelling(text: str, canonical: str) -> None:
    assert checked_root(text, "a test").path == canonical


@pytest.mark.parametrize("text", ["s3://", "://x", "relative/x"])
def test_root_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"storage\.root"):
        checked_root(text, "a test")


def test_root_nobody_chose_is_in_the_projects_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deeper = tmp_path / "a" / "b"
    deeper.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(deeper)
    assert default_root() == str(deeper / "artifacts")
    (tmp_path / "flow.toml").write_text("")
    assert default_root() == str(tmp_path / "artifacts")
