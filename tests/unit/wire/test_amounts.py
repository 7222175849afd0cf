"""Amounts of memory look the same wherever they are said, and as people write them."""

from __future__ import annotations

import ast
import re

import pytest

from flow.cli import main
from flow.wire.messages import client as m
from flow.wire.messages.shared import Policy
from flow.wire.resources import parse_amount, said_amount, said_bytes, typed_amount
from flow_coordinator.core import explain
from flow_coordinator.core.config import CoreConfig
from tests.support.core_env import Env, Graph
from tests.support.fake_coordinator import FakeCoordinator
from tests.support.house_rules import SOURCE_FOLDERS, read_all

MEMORY = float(16 << 30)
#: A size with a unit, as a program would spell it.
SIZE = re.compile(r"\b[KMGT]i?B\b")


@pytest.mark.parametrize("text", ["16GiB", "9GB", "512MiB", "1.5TiB", "2.5GB", "7KiB", "3", "0.5"])
def test_amount_is_said_as_it_was_written(text: str) -> None:
    amount = parse_amount("memory", text)
    if amount != 7 << 10:  # so little of anything is a number
        assert typed_amount(amount) == text
    said = said_bytes if text.endswith("B") else said_amount
    assert said(amount).replace(" ", "") == text


@pytest.mark.parametrize("amount", [16_700_000_123.0, 1_000_001.0, 2.0**40 + 1, 5e15 + 1])
def test_amount_that_is_not_round_is_typed_as_no_less(amount: float) -> None:
    assert parse_amount("memory", typed_amount(amount)) >= amount
    assert "iB" in said_amount(amount)


def test_count_of_something_else_is_no_size() -> None:
    assert [said_amount(each) for each in (1.0, 5000.0, 0.25)] == ["1", "5000", "0.25"]


def test_why_says_sizes_as_the_other_commands_do() -> None:
    env = Env(CoreConfig(limits={"ram": MEMORY}))
    env.graph = Graph({"a": []}, {"a": Policy(resources={"ram": 2 * MEMORY})})
    env.worker()
    env.submit("a")
    shown = explain.why(env.core.state, env.task("a"))
    text = "\n".join([*(said for _, said in shown.lines), *shown.hints])
    assert "needs ram 32 GiB, but its limit is 16 GiB" in text
    assert "flow resources set ram 32GiB" in text


@pytest.mark.parametrize("words", [["resources"], ["workers"]])
def test_command_says_sizes_as_they_are_written(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capacity = {"memory": (0.0, MEMORY), "scratch": (MEMORY, 2 * MEMORY)}
    worker = m.WorkerRow("u", "n", "h", "active", 1, 0, capacity, 0.0, 1 << 30, 0.0, 0.0, [])
    with FakeCoordinator() as fake:
        fake.answers = {
            m.ListResources: lambda r: [
                m.Resources(r.request, [m.ResourceRow("ram", MEMORY, 2 * MEMORY, 0, True)])
            ],
            m.ListWorkers: lambda r: [m.Workers(r.request, [worker])],
        }
        assert main([*words, "--coordinator", fake.address]) == 0
    out = capsys.readouterr().out
    assert "16 GiB" in out and "32 GiB" in out
    assert "e+" not in out and "GB" not in out


def test_resources_set_reads_a_size() -> None:
    with FakeCoordinator() as fake:
        fake.answers = {m.SetResource: lambda r: [m.Changed(r.request, "", 1)]}
        assert main(["resources", "set", "ram", "16GiB", "--coordinator", fake.address]) == 0
        assert main(["resources", "set", "ram", "much", "--coordinator", fake.address]) == 2
        assert fake.seen == [m.SetResource(1, "ram", MEMORY)]


def test_no_other_place_spells_sizes() -> None:
    found = [
        f"{source.path}:{node.lineno}"
        for source in read_all(*SOURCE_FOLDERS)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.JoinedStr) and source.module != "flow.wire.resources"
        for part in node.values
        if isinstance(part, ast.Constant) and SIZE.search(str(part.value))
    ]
    assert found == []
