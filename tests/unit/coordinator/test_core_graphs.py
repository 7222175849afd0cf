"""The graph of a run: its families with their counts, and tasks below one of its tasks."""

from __future__ import annotations

import msgspec
import pytest

from flow.wire.messages import client
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Policy, Stub
from flow.wire.params import pack_params
from flow.wire.states import TaskState
from flow_coordinator.core import tally
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.queries import graphs
from flow_coordinator.shell import rows
from flow_coordinator.store.base import Batch
from tests.support import core_env
from tests.support.core_env import Env, Graph

#: Report requires two of Join, each of which requires two of Load; all of Load require Rates.
EDGES = {
    "Report.1": ["Join.1", "Join.2"],
    "Join.1": ["Load.1", "Load.2"],
    "Join.2": ["Load.2", "Load.3"],
    "Load.1": ["Rates.1"],
    "Load.2": ["Rates.1"],
    "Load.3": ["Rates.1"],
}


@pytest.fixture(autouse=True)
def families(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the family of a synthetic task in its name: ``Load.1``."""

    def stub(name: str, family: str = "T") -> Stub:
        return Stub(f"T_{name}", "mod", name.partition(".")[0], pack_params({"name": name}))

    monkeypatch.setattr(core_env, "stub", stub)


def start(
    edges: dict[str, list[str]] | None = None,
    policies: dict[str, Policy] | None = None,
    config: CoreConfig | None = None,
) -> tuple[Env, core_env.FakeWorker]:
    """Submit the first task of a graph to a coordinator with one worker of two slots."""
    env = Env(config)
    env.graph = Graph(edges or EDGES, policies)
    worker = env.worker(slots=2)
    env.submit(next(iter(edges or EDGES)))
    return env, worker


def ask(env: Env, run: str = "r-1", **fields: object) -> client.Graph:
    """Ask for a graph."""
    return env.ask(lambda n: client.ShowGraph(n, run, **fields), client.Graph)  # type: ignore[arg-type]


def refused(env: Env, run: str = "r-1", **fields: object) -> client.Failed:
    """Ask for a graph that there is not."""
    return env.ask(lambda n: client.ShowGraph(n, run, **fields), client.Failed)  # type: ignore[arg-type]


def edges_of(graph: client.Graph) -> dict[str, list[str]]:
    """Spell the edges by name."""
    return {node.name: [graph.nodes[each].name for each in node.requires] for node in graph.nodes}


FAMILIES = {"Report": ["Join"], "Join": ["Load"], "Load": ["Rates"], "Rates": []}


def counts_of(graph: client.Graph) -> dict[str, dict[str, int]]:
    return {node.name: node.counts for node in graph.nodes}


def short(name: str) -> str:
    """The display of a synthetic task."""
    return f"{name.partition('.')[0]}(name={name})"


# ---------------------------------------------------------------- families


def test_graph_of_a_run_is_its_families_with_counts_and_edges() -> None:
    env, worker = start()
    worker.start(*worker.take())
    graph = ask(env)
    assert edges_of(graph) == FAMILIES
    assert [graph.nodes[each].name for each in graph.roots] == ["Report"]
    assert counts_of(graph) == {
        "Report": {"pending": 1},
        "Join": {"pending": 2},
        "Load": {"pending": 3},
        "Rates": {"running": 1},
    }
    assert (graph.run, graph.state, graph.planning, graph.more) == ("r-1", "running", False, 0)
    env.check()


@pytest.mark.unread("Dispatch")
def test_graph_keeps_edges_of_families_whose_tasks_are_done() -> None:
    env, worker = start()
    worker.run("Rates.1")
    worker.run("Load.1", "Load.2")
    worker.run("Load.3")
    graph = ask(env)
    assert edges_of(graph) == FAMILIES
    assert graph.nodes[2].counts == {"done": 3}
    assert graph.nodes[2].run_s == 1.0
    assert graph.nodes[0].run_s < 0
    env.check()


def test_graph_of_an_ended_run_is_kept_also_by_a_restart() -> None:
    env, worker = start()
    worker.run_all()
    before = ask(env, "last")
    assert before.state == "succeeded"
    assert edges_of(before) == FAMILIES
    assert counts_of(before)["Load"] == {"done": 3}
    env.restart()
    after = ask(env)
    assert edges_of(after) == FAMILIES
    assert counts_of(after) == counts_of(before)


def test_graph_after_a_restart_knows_the_edges_of_done_tasks() -> None:
    env, worker = start()
    worker.run("Rates.1")
    worker.run()
    env.restart()
    assert edges_of(ask(env)) == FAMILIES
    env.check()


@pytest.mark.unread("Dispatch")
def test_graph_of_a_run_that_joins_tasks_of_another_has_their_edges() -> None:
    env, _ = start()
    env.submit("Join.2")
    graph = ask(env, "r-2")
    assert edges_of(graph) == {"Join": ["Load"], "Load": ["Rates"], "Rates": []}
    assert counts_of(graph)["Load"] == {"pending": 2}
    env.check()


@pytest.mark.unread("Dispatch")
def test_graph_shows_what_was_yielded() -> None:
    env, worker = start({"A.1": [], "B.1": []})
    (grant,) = worker.take()
    worker.start(grant)
    worker.say(
        wire.Yield(worker.session, grant.token, 1, 0, 1, [core_env.stub("B.1")]),
    )
    assert edges_of(ask(env)) == {"A": ["B"], "B": []}


@pytest.mark.unread("Dispatch")
def test_graph_of_families_that_require_their_own_has_a_loop() -> None:
    env, _ = start({"Day.3": ["Day.2"], "Day.2": ["Day.1"], "Day.1": []})
    assert edges_of(ask(env)) == {"Day": ["Day"]}


@pytest.mark.unread("Dispatch")
def test_graph_names_what_families_wait_for() -> None:
    db = Policy(resources={"db": 1})
    policies = {f"Load.{n}": db for n in range(1, 4)}
    env, worker = start(None, policies, CoreConfig(limits={"db": 1}))
    worker.run("Rates.1")
    graph = ask(env)
    assert graph.nodes[2].reasons == ["db 1/1"]
    assert graph.waiting == ["db 1/1"]


def test_graph_of_a_run_that_nobody_plans_is_empty_and_says_so() -> None:
    env = Env()
    env.submit("A.1")
    graph = ask(env)
    assert (graph.nodes, graph.roots, graph.planning) == ([], [], True)
    assert graph.waiting == ["no worker has joined"]


@pytest.mark.unread("Dispatch")
def test_graph_is_cut_at_a_depth_and_at_a_limit() -> None:
    env, _ = start()
    graph = ask(env, depth=1)
    assert edges_of(graph) == {"Report": ["Join"], "Join": []}
    assert [node.more for node in graph.nodes] == [0, 1]
    assert graph.more == 0
    graph = ask(env, limit=3)
    assert list(edges_of(graph)) == ["Report", "Join", "Load"]
    assert graph.more == 1
    assert list(edges_of(ask(env, limit=-5))) == ["Report"]
    assert list(edges_of(ask(env, depth=0))) == ["Report"]


@pytest.mark.unread("Dispatch")
def test_graph_below_one_family() -> None:
    env, _ = start()
    assert list(edges_of(ask(env, root="Join"))) == ["Join", "Load", "Rates"]
    assert "no family 'Joint'" in refused(env, root="Joint").error


@pytest.mark.unread("Dispatch")
def test_graph_of_more_pairs_than_kept_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "LINKS_MAX", 2)
    env, _ = start()
    graph = ask(env)
    assert sum(map(len, edges_of(graph).values())) == 2
    assert len(graph.nodes) == 4
    assert "lines are missing" in graph.notes[0]


@pytest.mark.unread("Dispatch")
@pytest.mark.parametrize("by", ["families", "tasks"])
def test_graph_of_no_run_is_refused_with_what_to_type(by: str) -> None:
    env, _ = start()
    answer = refused(env, "r-9", by=by)
    assert (answer.code, answer.error, answer.hint) == (2, "there is no run 'r-9'", "flow status")
    assert "by families or by tasks" in refused(env, by="colour").error


def test_graph_of_a_run_stored_without_families_names_what_works() -> None:
    env, worker = start()
    worker.run_all()
    env.run().tallies = {}
    answer = refused(env)
    assert "were not kept" in answer.error
    assert answer.hint == "flow status r-1"


# ---------------------------------------------------------------- tasks


@pytest.mark.unread("Dispatch")
def test_graph_of_tasks_goes_down_from_one_as_far_as_asked() -> None:
    env, _ = start()
    graph = ask(env, by="tasks", root="Join(Join.1)", depth=1)
    assert edges_of(graph) == {
        short("Join.1"): [short("Load.1"), short("Load.2")],
        short("Load.1"): [],
        short("Load.2"): [],
    }
    assert graph.nodes[0].counts == {"pending": 1}
    assert [node.more for node in graph.nodes] == [0, 1, 1]
    assert (graph.nodes[0].task_id, graph.nodes[0].family) == ("T_Join.1", "Join")
    assert graph.roots == [0]


@pytest.mark.unread("Dispatch")
def test_graph_of_tasks_begins_with_the_roots_and_names_each_task_once() -> None:
    env, _ = start()
    graph = ask(env, by="tasks")
    assert len(graph.nodes) == 7
    assert graph.nodes[0].name == short("Report.1")
    assert edges_of(graph)[short("Join.2")] == [short("Load.2"), short("Load.3")]
    assert all(node.more == 0 for node in graph.nodes)
    assert not graph.notes


@pytest.mark.unread("Dispatch")
def test_graph_of_tasks_is_bounded_and_counts_the_rest() -> None:
    env, _ = start({"Top.1": [f"Leaf.{n}" for n in range(2_000)]})
    graph = ask(env, by="tasks", limit=10)
    assert len(graph.nodes) == 10
    assert graph.nodes[0].more == 2_000 - 9
    graph = ask(env, by="tasks", limit=10**9)
    assert len(graph.nodes) == graphs.NODES_MAX
    assert graph.nodes[0].more == 2_001 - graphs.NODES_MAX


@pytest.mark.unread("Dispatch")
def test_graph_of_tasks_looks_at_so_many_requirements_at_most() -> None:
    wide = [f"Leaf.{n}" for n in range(300)]
    env, _ = start(
        {"Top.1": [f"Mid.{n}" for n in range(30)], **{f"Mid.{n}": wide for n in range(30)}}
    )
    graph = ask(env, by="tasks", limit=500)
    shown = sum(len(node.requires) for node in graph.nodes)
    assert shown == graphs.EDGES_MAX
    assert sum(node.more for node in graph.nodes) == 30 + 30 * 300 - shown


@pytest.mark.unread("Dispatch")
def test_graph_of_tasks_says_why_they_wait_and_what_is_not_kept() -> None:
    db = Policy(resources={"db": 1})
    policies = {f"Load.{n}": db for n in range(1, 4)}
    env, worker = start(None, policies, CoreConfig(limits={"db": 1}))
    worker.run("Rates.1")
    graph = ask(env, by="tasks", root="T_Join.2", depth=1)
    assert ["db 1/1"] in [node.reasons for node in graph.nodes[1:]]
    assert not graph.notes
    assert "is not kept" in ask(env, by="tasks").notes[0]


@pytest.mark.unread("Dispatch")
def test_graph_of_tasks_that_may_be_several_lists_them() -> None:
    env, _ = start()
    answer = refused(env, by="tasks", root="Join")
    assert answer.matches == [short("Join.1"), short("Join.2")]
    assert "no open run has a task" in refused(env, by="tasks", root="Nothing").error


@pytest.mark.unread("Dispatch")
def test_graph_of_tasks_of_another_run_is_not_told_as_of_this_one() -> None:
    env, _ = start()
    env.submit("Join.2")
    assert "no open run has" in refused(env, "r-2", by="tasks", root="T_Join.1").error


def test_graph_of_tasks_of_an_ended_run_names_what_works() -> None:
    env, worker = start()
    worker.run_all()
    answer = refused(env, by="tasks", root="Join(Join.1)")
    assert "has ended" in answer.error
    assert "flow graph r-1" in answer.hint


def test_run_stored_by_an_older_version_is_read_and_its_graph_refused() -> None:
    env, worker = start()
    worker.run_all()
    row = env.store.runs_ended(1)[0]
    whole = msgspec.msgpack.decode(row[7])
    older = (*row[:7], msgspec.msgpack.encode(whole[:7]))
    blob = rows.read_run(older)
    assert (blob.counts, blob.links) == ({}, [])
    assert rows.read_counts([1, 2]) == [1, 2] + [0] * (len(TaskState) - 2)
    env.store.commit(Batch(runs=[older]))
    env.restart()
    assert "were not kept" in refused(env).error
