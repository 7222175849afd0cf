"""The protocol's rules stand in one page, and the page, the code and the mutants agree on them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import tests.simulation.mutants  # noqa: F401 (registers them)
from flow.settings import sections as settings
from flow.wire.messages.shared import Timing
from tests.simulation.mutants.registry import MUTANTS
from tests.support.house_rules import REPOSITORY, SOURCE_FOLDERS, read_all

PAGE = REPOSITORY / "common/flow/wire/messages/PROTOCOL.md"
#: Rules that code keeps; promises that judges check.
RULE = re.compile(r"\*\*([CWR]\d+)\b")
PROMISE = re.compile(r"\*\*([SLP]\d+)\*\*")
WORD = re.compile(r"^- \*\*(\w+)\*\*: ", re.M)
#: ``rule W5``, ``rules C1, C4 and W2``, ``Rule R7``, ``rules C1-C9``.
CITED = re.compile(r"\brules? ((?:[CWRSLP]\d+)(?:(?:, | and |-)[CWRSLP]\d+)*)", re.I)
#: A mutant of the simulation itself breaks whatever it breaks.
ANY = "*"


def cited(text: str) -> Iterator[str]:
    for found in CITED.finditer(" ".join(text.replace("#:", " ").replace("#", " ").split())):
        for part in re.split(", | and ", found[1]):
            first, _, last = part.partition("-")
            if last:
                yield from (f"{first[0]}{n}" for n in range(int(first[1:]), int(last[1:]) + 1))
            else:
                yield first


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text("utf-8")


def test_rules_are_defined_once(page: str) -> None:
    names = RULE.findall(page) + PROMISE.findall(page) + WORD.findall(page)
    assert sorted({name for name in names if names.count(name) > 1}) == []
    assert {"C1", "C9", "W1", "W10", "R7", "S5", "L1", "P3", "batch"} <= set(names)


def test_rules_that_are_cited_are_defined(page: str) -> None:
    defined = {*RULE.findall(page), *PROMISE.findall(page)}
    unknown = {
        f"{source.path}: {name}"
        for source in read_all(*SOURCE_FOLDERS, "tests")
        for name in cited(source.text)
        if name not in defined
    }
    assert sorted(unknown) == []


def test_rules_that_are_defined_are_cited_where_they_are_kept(page: str) -> None:
    kept = {name for source in read_all(*SOURCE_FOLDERS) for name in cited(source.text)}
    assert sorted(set(RULE.findall(page)) - kept) == []


def test_promises_are_checked_by_a_judge(page: str) -> None:
    judges = read_all("tests/simulation")
    spoken = {name for each in judges for name in re.findall(r"\b[SLP]\d+\b", each.text)}
    assert sorted(set(PROMISE.findall(page)) - spoken) == []


def test_rules_are_held_by_a_mutant_or_by_a_test_with_real_processes(page: str) -> None:
    mutated = {name for mutant in MUTANTS.values() for name in mutant.rule.split("+")}
    held = {}
    for text in re.split(r"\n\n", page):
        for name in RULE.findall(text)[:1]:
            held[name] = re.findall(r"`(tests/[\w/]+\.py)`", text.partition("**Held by**")[2])
    assert sorted(name for name, tests in held.items() if not tests and name not in mutated) == []
    missing = {t for tests in held.values() for t in tests if not (REPOSITORY / t).exists()}
    assert sorted(missing) == []


def test_mutants_break_what_is_defined(page: str) -> None:
    defined = {*RULE.findall(page), *PROMISE.findall(page), *WORD.findall(page), ANY}
    named = {name for mutant in MUTANTS.values() for name in mutant.rule.split("+")}
    assert sorted(named - defined) == []
    assert sorted(set(WORD.findall(page)) - named) == []


def test_no_source_names_a_document_that_is_not_here() -> None:
    elsewhere = re.compile(r"reference/|lease protocol|protocol document|process.model\b")
    found = [
        f"{source.path}: {line.strip()}"
        for source in read_all(*SOURCE_FOLDERS, "tests")
        for line in source.text.splitlines()
        if elsewhere.search(line) and "elsewhere = re" not in line
    ]
    assert found == []


@pytest.mark.parametrize(("column", "profile"), [(1, "default"), (2, "fast"), (3, "hpc")])
def test_timings_of_the_page_are_those_of_the_settings(
    page: str, column: int, profile: str
) -> None:
    rows = re.findall(r"^\| (H|L|G|M|rho) \| (\S+) .*?\| (\S+) .*?\| (\S+) ", page, re.M)
    written = {row[0]: float(row[column]) for row in rows}
    timing = settings.load({"coordinator.lease_profile": profile}, env={}).timing()
    assert isinstance(timing, Timing)
    assert written == {
        "H": timing.heartbeat_s,
        "L": timing.lease_s,
        "G": timing.kill_s,
        "M": timing.margin_s,
        "rho": timing.rate_error * 100,
    }


def test_citations_are_read_as_they_are_written() -> None:
    text = "see rule W5, as rules C1, C4 and W2 do (rule S3)\n#: and rules\n#: L1-L3"
    assert list(cited(text)) == ["W5", "C1", "C4", "W2", "S3", "L1", "L2", "L3"]
