"""The graph below a task is found without running it, whatever shape it has."""

from __future__ import annotations

import time
from typing import Any

import flow
from flow.usercode.exploring import BROKEN, COMPLETE, MISSING, PENDING, ExploredGraph, explore


class Number(flow.Task):
    n = flow.IntParameter()

    def complete(self) -> bool:
        return bool(self.n % 2)


class Chain(flow.WrapperTask):
    left = flow.IntParameter()

    def requires(self) -> Any:
        return Chain(left=self.left - 1) if self.left else Number(n=1)


class Ring(flow.Task):
    i = flow.IntParameter()

    def requires(self) -> Any:
        return Ring(i=(self.i + 1) % 3)

    def complete(self) -> bool:
        return False


class WrapperRing(flow.WrapperTask):
    i = flow.IntParameter()

    def requires(self) -> Any:
        return [WrapperRing(i=(self.i + 1) % 3), Number(n=1)]


class Ladder(flow.Task):
    """Two ways down from each step: 2**height paths."""

    height = flow.IntParameter()
    side = flow.IntParameter(default=0)

    def requires(self) -> Any:
        if self.height:
            return [Ladder(height=self.height - 1, side=side) for side in range(2)]
        return []

    def complete(self) -> bool:
        return False


class Gone(flow.ExternalTask):
    def output(self) -> Any:
        return flow.LocalTarget("/nowhere/at/all")


class Breaks(flow.Task):
    how = flow.StrParameter()

    def requires(self) -> Any:
        if self.how == "requires":
            raise KeyError("requires")
        return "no task" if self.how == "text" else []

    def complete(self) -> bool:
        if self.how == "exit":
            raise SystemExit(3)
        return self.how == "requires"


class All(flow.WrapperTask):
    def requires(self) -> Any:
        return [
            Number(n=1),
            Number(n=2),
            Gone(),
            *[Breaks(how=how) for how in ("requires", "text", "exit")],
        ]


def states(graph: ExploredGraph) -> dict[str, str]:
    return {node.label: node.state for node in graph.nodes}


def test_explore_tells_the_state_of_each_task() -> None:
    graph = explore([All()])
    assert states(graph) == {
        "All()": PENDING,
        "Number(n=1)": COMPLETE,
        "Number(n=2)": PENDING,
        "Gone()": MISSING,
        "Breaks(how=requires)": BROKEN,
        "Breaks(how=text)": BROKEN,
        "Breaks(how=exit)": BROKEN,
    }
    errors = [node.error for node in graph.nodes if node.error]
    assert "requires() raised KeyError" in errors[0]
    assert "must return Task objects" in errors[1]
    assert "complete() raised SystemExit" in errors[2]


def test_explore_long_chain_of_wrappers_is_as_complete_as_its_end() -> None:
    graph = explore([Chain(left=10_000)])
    assert len(graph.nodes) == 10_002
    assert {node.state for node in graph.nodes} == {COMPLETE}
    assert graph.cycles() == []


def test_explore_circle_is_named_and_never_complete() -> None:
    for cls in (Ring, WrapperRing):
        graph = explore([cls(i=0)])
        assert {graph.nodes[at].state for at in range(3) if graph.nodes[at].family != "Number"} == {
            PENDING
        }
        [cycle] = graph.cycles()
        labels = [graph.nodes[each].params["i"] for each in cycle]
        assert labels == ["0", "1", "2", "0"]


def test_explore_shared_tasks_are_found_once() -> None:
    graph = explore([Ladder(height=40)])
    assert len(graph.nodes) == 81


def test_explore_depth_stops_there() -> None:
    graph = explore([Ladder(height=40)], depth_max=1)
    assert [(node.label, node.expanded) for node in graph.nodes] == [
        ("Ladder(height=40, side=0)", True),
        ("Ladder(height=39, side=0)", False),
        ("Ladder(height=39, side=1)", False),
    ]


def test_explore_asks_slow_targets_at_the_same_time() -> None:
    class Slow(flow.Task):
        n = flow.IntParameter()

        def requires(self) -> Any:
            return Slow(n=self.n - 1) if self.n else []

        def complete(self) -> bool:
            time.sleep(0.01)
            return False

    started = time.monotonic()
    explore([Slow(n=999)])  # a chain: no level has two of them
    took_s = time.monotonic() - started
    assert took_s < 0.01 * 1000 / 2, "as long as one after the other"


def test_towards_keeps_only_paths_to_the_family() -> None:
    graph = explore([All(), Chain(left=3)])
    found = sorted(graph.nodes[each].label for each in graph.towards("Number"))
    assert found == [
        "All()",
        "Chain(left=0)",
        "Chain(left=1)",
        "Chain(left=2)",
        "Chain(left=3)",
        "Number(n=1)",
        "Number(n=2)",
    ]
    assert graph.towards("Nobody") == set()
