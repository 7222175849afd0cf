"""``flow graph`` of a run: what is asked, what is drawn, and how it tells runs from modules."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

import pytest

from flow.cli import main
from flow.wire.messages import client as m
from tests.support.fake_coordinator import FakeCoordinator

Answer = m.Graph | m.Failed


def graph_of(*nodes: m.GraphNode, roots: tuple[int, ...] = (0,), **fields: object) -> m.Graph:
    return m.Graph(0, "r-7", "amber-otter", "running", False, list(nodes), list(roots), **fields)  # type: ignore[arg-type]


FAMILIES = graph_of(
    m.GraphNode("SalesReport", {"pending": 1}, [1], family="SalesReport"),
    m.GraphNode("Join", {"pending": 15, "unplanned": 5}, [2, 3], family="Join"),
    m.GraphNode("Clean", {"done": 13, "running": 9, "ready": 14}, [4], run_s=72.0),
    m.GraphNode("Rates", {"complete": 1}),
    m.GraphNode(
        "Load",
        {"complete": 8, "done": 20, "leased": 4, "backoff": 1, "ready": 3},
        [],
        run_s=0.25,
        reasons=["db 4/4"],
    ),
    waiting=["db 4/4"],
)

TASKS = graph_of(
    m.GraphNode("Join(region=EU)", {"pending": 1}, [1, 2], 3, "Join_EU", "Join"),
    m.GraphNode("Clean(region=EU)", {"done": 1}, [], 0, "Clean_EU", "Clean"),
    m.GraphNode(
        'Load(q="x")', {"failed": 1}, [], 0, "Load_x", "Load", ["OperationalError: refused"]
    ),
    notes=["not everything is kept"],
)


@pytest.fixture
def fake() -> Iterator[FakeCoordinator]:
    with FakeCoordinator() as coordinator:
        coordinator.answers = {
            m.ShowGraph: lambda r: [_numbered(FAMILIES if r.by == "families" else TASKS, r.request)]
        }
        yield coordinator


def _numbered(answer: Answer, request: int) -> Answer:
    import msgspec

    return msgspec.structs.replace(answer, request=request)


def flow_graph(fake: FakeCoordinator, *words: str) -> int:
    return main(["graph", *words, "--coordinator", fake.address])


def test_graph_of_a_run_is_a_tree_of_families_in_columns(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flow_graph(fake, "r-7") == 0
    out, err = capsys.readouterr()
    assert out == textwrap.dedent(
        """\
        SalesReport  1        waiting
        └── Join  20          waiting
            ├── Clean  36     ✓13 ▶9 ·14   ~1:12 each
            │   └── Load  36  ✓28 ▶4 ↻1 ·3   ~250 ms each, waits for db 4/4
            └── Rates  1      ✓ complete
        """
    )
    assert err == "waiting for: db 4/4\n"


def test_graph_of_a_task_of_a_run_names_each_state_and_what_is_not_shown(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flow_graph(fake, "last", "Join(EU)", "--depth", "2") == 0
    out, err = capsys.readouterr()
    assert out == textwrap.dedent(
        """\
        Join(region=EU)       pending   3 more below
        ├── Clean(region=EU)  ✓ done
        └── Load(q="x")       ✗ failed   OperationalError: refused
        """
    )
    assert "--depth N, --limit N" in err
    assert "not everything is kept" in err


def test_graph_asks_for_what_was_typed(fake: FakeCoordinator) -> None:
    flow_graph(fake, "amber-otter")
    flow_graph(fake, "r-7", "Join(EU)", "--depth", "2", "--limit", "7")
    flow_graph(fake, "last", "--depth", "0")
    flow_graph(fake, "7", "Join", "--families")
    assert fake.seen == [
        m.ShowGraph(1, "amber-otter", "families", "", -1, 200),
        m.ShowGraph(1, "r-7", "tasks", "Join(EU)", 2, 7),
        m.ShowGraph(1, "last", "tasks", "", 0, 200),
        m.ShowGraph(1, "7", "families", "Join", -1, 200),
    ]


def test_graph_json_of_a_run_has_edges_by_name(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flow_graph(fake, "r-7", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["run"], found["name"], found["state"]) == ("r-7", "amber-otter", "running")
    assert found["roots"] == ["SalesReport"]
    assert found["waiting"] == ["db 4/4"]
    assert found["families"][1] == {
        "family": "Join",
        "counts": {"pending": 15, "unplanned": 5},
        "requires": ["Clean", "Rates"],
        "run_s": None,
        "reasons": [],
        "more": 0,
    }
    assert flow_graph(fake, "r-7", "Join(EU)", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["roots"] == ["Join_EU"]
    assert found["tasks"][0]["requires"] == ["Clean_EU", "Load_x"]
    assert found["tasks"][2]["state"] == "failed"
    assert found["notes"] == ["not everything is kept"]


def test_graph_of_a_run_as_dot_and_as_mermaid(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flow_graph(fake, "r-7", "--format", "dot") == 0
    dot = capsys.readouterr().out
    assert 'n3 [label="Rates x 1\\n✓ complete", fillcolor="#b7e1b0"];' in dot
    assert "  n1 -> n0;" in dot
    assert flow_graph(fake, "r-7", "Join(EU)", "--format", "mermaid") == 0
    mermaid = capsys.readouterr().out
    assert (
        'n2["Load(q=&quot;x&quot;)<br/>✗ failed   OperationalError: refused"]:::failed' in mermaid
    )
    assert "classDef failed" in mermaid


def test_graph_of_a_run_that_is_not_planned_says_so(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = m.Graph(0, "r-7", "amber-otter", "running", True, [], [], 0, ["no worker has joined"])
    fake.answers[m.ShowGraph] = lambda r: [_numbered(empty, r.request)]
    assert flow_graph(fake, "r-7") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "r-7 amber-otter is not planned yet\nwaiting for: no worker has joined\n"


def test_graph_cut_at_its_limit_says_which_one_shows_all(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = graph_of(m.GraphNode("Top", {"done": 2, "cancelled": 1}, [], 4), more=4)
    fake.answers[m.ShowGraph] = lambda r: [_numbered(cut, r.request)]
    assert flow_graph(fake, "r-7") == 0
    out, err = capsys.readouterr()
    assert out == "Top  3  ✓2 -1   4 more below\n"
    assert err == "and 4 more families: --limit 5\n"


def test_graph_of_what_is_neither_run_nor_module_says_what_to_type(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers[m.ShowGraph] = lambda r: [
        m.Failed(r.request, 2, f"there is no run {r.run!r}", "flow status")
    ]
    assert flow_graph(fake, "nonsense") == 2
    err = capsys.readouterr().err
    assert "'nonsense' is no module that can be imported here, and no run of tcp://" in err
    assert "flow status" in err
    assert "flow graph MODULE TASK" in err
    assert flow_graph(fake, "nonsense", "Task") == 35
    assert "module nonsense cannot be imported" in capsys.readouterr().err
    assert flow_graph(fake, "r-9") == 2
    assert "there is no run 'r-9'" in capsys.readouterr().err


def test_graph_of_a_run_named_as_no_module_is_asked_for(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flow_graph(fake, "nightly", "Join(EU)") == 0
    assert "Join(region=EU)" in capsys.readouterr().out
    fake.answers[m.ShowGraph] = lambda r: [m.Failed(r.request, 2, "'ni' may be any of 2 runs")]
    assert flow_graph(fake, "ni") == 2
    assert "may be any of 2 runs" in capsys.readouterr().err


def test_graph_without_a_coordinator_tells_that(capsys: pytest.CaptureFixture[str]) -> None:
    nobody = ["--coordinator", "ipc:///nonexistent/flow-socket"]
    assert main(["graph", "nonsense", *nobody]) == 2
    assert "which does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["r-7", "--upstream", "Load"], "--upstream is for MODULE TASK"),
        (["r-7", "Join", "--outputs"], "--outputs is for MODULE TASK"),
        (["r-7", "--date", "2026-01-01"], "--date is for MODULE TASK"),
        (["r-7", "--limit", "0"], "must be at least 1"),
        (["json"], "no TASK given"),
        (["json", "Task", "--limit", "3"], "--limit is for flow graph RUN"),
        ([], "no TASK given"),
    ],
)
def test_graph_options_of_the_other_kind_are_refused(
    fake: FakeCoordinator, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flow_graph(fake, *words) == 2
    assert said in capsys.readouterr().err
    assert fake.seen == []
