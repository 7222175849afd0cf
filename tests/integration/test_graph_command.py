"""``flow graph`` in its forms, and with code that is slow, wrong, noisy or huge."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TIMEOUT_S = 60.0

PIPELINE = textwrap.dedent(
    """
    import flow

    print("a module that prints")

    class Source(flow.ExternalTask):
        region = flow.StrParameter()

        def output(self):
            return flow.LocalTarget(f"source-{self.region}.csv")

    class Clean(flow.Task):
        region = flow.StrParameter()

        def requires(self):
            print("a task that prints")
            return Source(region=self.region)

        def output(self):
            return flow.LocalTarget(f"clean-{self.region}.csv")

    class Rates(flow.Task):
        def complete(self):
            return True

    class Report(flow.Task):
        title = flow.StrParameter(default='say "hi" <b>')

        def requires(self):
            clean = [Clean(region=region) for region in ("EU", "US")]
            return [*clean, Twice(), Rates()]

        def complete(self):
            return False

    class Twice(flow.WrapperTask):
        def requires(self):
            return Clean(region="EU")

    class Many(flow.WrapperTask):
        def requires(self):
            return [Number(n=n) for n in range(10_000)]

    class Number(flow.Task):
        n = flow.IntParameter()

        def requires(self):
            return Rates()

        def complete(self):
            return self.n % 2 == 0

    class Ring(flow.Task):
        i = flow.IntParameter(default=0)

        def requires(self):
            return Ring(i=1 - self.i)

        def complete(self):
            return False

    class Deep(flow.Task):
        n = flow.IntParameter()

        def requires(self):
            return Deep(n=self.n - 1) if self.n else []

        def complete(self):
            return False
    """
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "reports.py").write_text(PIPELINE)
    (tmp_path / "source-EU.csv").write_text("")
    return tmp_path


def graph(place: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flow", "graph", "reports", *words],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if not code or done.stdout else done.stderr


def test_graph_tree_shows_states_and_shared_parts_once(place: Path) -> None:
    assert graph(place, "Report", "--title", "t") == textwrap.dedent(
        """\
        Report(title=t)  PENDING
        ├── Clean(region=EU)  PENDING
        │   └── Source(region=EU)  COMPLETE
        ├── Clean(region=US)  PENDING
        │   └── Source(region=US)  MISSING
        ├── Twice()  PENDING
        │   └── Clean(region=EU)  PENDING  (shown above)
        └── Rates()  COMPLETE
        """
    )


def test_graph_upstream_keeps_paths_and_names_outputs(place: Path) -> None:
    assert graph(place, "Twice", "--upstream", "Source") == textwrap.dedent(
        """\
        Twice()  PENDING
        └── Clean(region=EU)  PENDING
            │     clean-EU.csv
            └── Source(region=EU)  COMPLETE
                      source-EU.csv
        """
    )
    assert "no task of the family Nobody" in graph(place, "Twice", "--upstream", "Nobody", code=2)


def test_graph_json_has_edges_and_outputs(place: Path) -> None:
    found = json.loads(graph(place, "Report", "--format", "json", "--outputs"))
    tasks = {each["id"]: each for each in found["tasks"]}
    root = tasks[found["root"]]
    assert root["params"] == {"title": 'say "hi" <b>'}
    assert [tasks[each]["family"] for each in root["requires"]] == [
        "Clean",
        "Clean",
        "Twice",
        "Rates",
    ]
    assert tasks[root["requires"][0]]["outputs"] == ["clean-EU.csv"]
    assert found["cycles"] == []


def test_graph_families_count_states(place: Path) -> None:
    text = graph(place, "Many", "--families")
    assert text == textwrap.dedent(
        """\
        Many x 1  PENDING
        └── Number x 10000  PENDING
            │     5000 COMPLETE, 5000 PENDING
            └── Rates x 1  COMPLETE
        """
    )


def test_graph_dot_and_mermaid_escape_what_people_write(place: Path) -> None:
    dot = graph(place, "Report", "--format", "dot")
    assert dot.startswith("digraph flow {")
    assert r'label="Report(title=say \"hi\" <b>)"' in dot
    assert "  n1 -> n0;" in dot
    mermaid = graph(place, "Report", "--format", "mermaid")
    assert mermaid.startswith("graph LR")
    assert 'n0["Report(title=say &quot;hi&quot; &lt;b&gt;)"]:::pending' in mermaid
    assert "  n1 --> n0" in mermaid


def test_graph_circle_is_shown_and_is_35(place: Path) -> None:
    text = graph(place, "Ring", code=35)
    assert text.splitlines()[-1] == ("    └── Ring(i=0)  PENDING  <- a circle: it requires itself")


def test_graph_deep_tree_is_cut_unless_asked_for(place: Path) -> None:
    text = graph(place, "Deep", "--n", "2000")
    assert "... more below: --depth 120" in text
    assert len(text.splitlines()) == 62
    assert len(graph(place, "Deep", "--n", "100", "--depth", "90").splitlines()) == 91


def test_graph_ten_thousand_tasks_as_a_tree(place: Path) -> None:
    text = graph(place, "Many")
    assert len(text.splitlines()) == 20_001


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no TASK given"),
        (("Nobody",), "has no task 'Nobody'"),
        (("Deep",), "no value given"),
        (("Deep", "--n", "x"), "--n"),
        (("Deep", "--n", "1", "--depth", "-1"), "--depth"),
        (("Report", "--format", "png"), "must be one of tree, dot, mermaid, json"),
    ],
)
def test_graph_bad_command_lines_are_2(place: Path, words: tuple[str, ...], said: str) -> None:
    assert said in graph(place, *words, code=2)
