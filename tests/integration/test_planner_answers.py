"""What a real planner process answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from flow.usercode.completeness import THREADS_MAX
from flow.wire.messages.shared import PlanChunk, Policy, Spec, SpecStatus, Stub
from flow_worker import channel
from flow_worker.planner import walk
from tests.support.task_process import TaskProcess, start, stub

MODULE = """
import os, sys, time
from pathlib import Path
import flow.task as ft
from flow.parameters import IntParameter, ListParameter, Parameter
from flow.targets.local import LocalTarget

HERE = Path(__file__).parent
print("imported")

class Leaf(ft.Task):
    n = IntParameter()
    resources = {"db": 1}
    priority = 5
    retry_count = 7
    def output(self):
        return LocalTarget(str(HERE / f"leaf{self.n}"))

class Bare(ft.Task):
    n = IntParameter()
    def requires(self):
        return [Bare(n=self.n - 1)] if self.n else []

class Outside(ft.ExternalTask):
    def output(self):
        return LocalTarget(str(HERE / "outside"))

class Top(ft.Task):
    def requires(self):
        return {"leaves": [Leaf(n=1), Leaf(n=2), Leaf(n=1)], "outside": Outside()}

class Wide(ft.Task):
    width = IntParameter()
    def requires(self):
        return [Bare(n=0)] * 3 + [Wider(n=i) for i in range(self.width)]

class Wider(ft.Task):
    n = IntParameter()

class Wrap(ft.WrapperTask):
    def requires(self):
        return [Leaf(n=1), Leaf(n=2)]

class ATarget(ft.Task):
    def requires(self):
        return LocalTarget("x")

class ANumber(ft.Task):
    def requires(self):
        return [Leaf(n=1), 3]

class RequiresRaises(ft.Task):
    def requires(self):
        raise KeyError("lost")

class RequiresExits(ft.Task):
    def requires(self):
        sys.exit("bye")

class RequiresLeaves(ft.Task):
    resources = {"own": 1}
    def requires(self):
        raise GeneratorExit

class AfterThat(ft.Task):
    resources = {"own": 1}

class CompleteRaises(ft.Task):
    def complete(self):
        raise OSError("bucket is away")

class CompleteSays(ft.Task):
    def complete(self):
        return 1

class BadPolicy(ft.Task):
    priority = "high"

class Large(ft.Task):
    p = Parameter(default="")
    def requires(self):
        return [Large(p="x" * 1_000_000)]

class RequiresWrongly(ft.Task):
    def requires(self):
        return Leaf(n="seven")

class BadDemand(ft.Task):
    resources = {"memory": "much"}

class Sized(ft.Task):
    resources = {"memory": "2GB", "db": 0}

class AllBad(ft.Task):
    def requires(self):
        return [ATarget(), ANumber(), RequiresRaises(), RequiresExits(), CompleteRaises(),
                CompleteSays(), BadPolicy(), Large(), RequiresWrongly(), BadDemand()]

active = []

class Slow(ft.Task):
    n = IntParameter()
    def complete(self):
        active.append(self.n)
        with open(HERE / "active", "a") as file:
            file.write(f"{len(active)}\\n")
        time.sleep(0.005)
        active.remove(self.n)
        return self.n % 2 == 0

class ManySlow(ft.Task):
    def requires(self):
        return [Slow(n=i) for i in range(1000)]

class Bulk(ft.Task):
    n = IntParameter()
    def complete(self):
        raise AssertionError("asked one by one")
    @classmethod
    def bulk_complete(cls, items):
        with open(HERE / "bulk", "a") as file:
            file.write(f"{len(items)}\\n")
        return [n for n in items if n < 3]

class ManyBulk(ft.Task):
    def requires(self):
        return [Bulk(n=i) for i in range(10)]
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[TaskProcess]:
    (tmp_path / "plans.py").write_text(MODULE)
    yield from start(tmp_path, "planner")


def statuses(answer: PlanChunk) -> dict[str, SpecStatus]:
    return {answer.stubs[spec.index].task_id: spec.status for spec in answer.specs}


def test_planner_tree_is_walked_and_deduplicated(process: TaskProcess, tmp_path: Path) -> None:
    (tmp_path / "leaf2").write_text("")
    answer = process.plan([stub("plans", "Top")])
    assert [one.family for one in answer.stubs] == ["Top", "Leaf", "Leaf", "Outside"]
    assert answer.edges == [(0, [1, 2, 3])]
    assert [(spec.index, spec.status) for spec in answer.specs] == [
        (0, SpecStatus.INCOMPLETE),
        (1, SpecStatus.INCOMPLETE),
        (2, SpecStatus.COMPLETE),
        (3, SpecStatus.EXTERNAL),
    ]
    policy = answer.policies[answer.specs[1].policy]
    assert policy == Policy(priority=5, resources={"db": 1}, retry_count=7)
    assert answer.policies[answer.specs[0].policy] == Policy()
    assert answer.errors == []


def test_planner_requested_parameters_are_normalised(process: TaskProcess) -> None:
    answer = process.plan([stub("plans", "Leaf", n="007"), stub("plans", "Leaf", n="7")])
    assert answer.stubs[0] == answer.stubs[1]
    assert answer.stubs[0].task_id.startswith("Leaf_7_")
    assert msgspec.msgpack.decode(answer.stubs[0].params) == {"n": "7"}
    assert [spec.index for spec in answer.specs] == [0, 1]


def test_planner_expand_max_stops_the_walk(process: TaskProcess) -> None:
    answer = process.plan([stub("plans", "Bare", n="1000")], expand_max=10)
    assert (len(answer.stubs), len(answer.specs)) == (11, 10)
    assert answer.edges[-1] == (9, [10])


def test_planner_wide_task_comes_in_bounded_chunks_and_waits_for_more(
    process: TaskProcess,
) -> None:
    process.send(channel.Expand(1, [stub("plans", "Wide", width="12000")], 20_000))
    process.send(channel.Expand(2, [stub("plans", "Bare", n="0")], 1))
    first, second, other = process.get(), process.get(), process.get()
    frames = [first, second, other]
    assert all(isinstance(frame, channel.Chunk) for frame in frames)
    # The large request stands still after two chunks, and the small one is answered.
    assert sorted((f.request, f.chunk) for f in frames) == [(1, 0), (1, 1), (2, 0)]  # type: ignore[union-attr]
    stubs: list[Stub] = []
    edges: list[int] = []
    specs: list[Spec] = []
    got = [f for f in frames if isinstance(f, channel.Chunk) and f.request == 1]
    while True:
        frame = got.pop(0)
        piece = msgspec.msgpack.decode(frame.body, type=PlanChunk)
        assert len(frame.body) <= walk.CHUNK_BYTES_MAX
        assert max(len(piece.stubs), len(piece.specs)) <= walk.CHUNK_ITEMS_MAX
        assert all(len(piece_of) <= walk.EDGES_MAX for _, piece_of in piece.edges)
        stubs += piece.stubs
        specs += piece.specs
        # Nothing is named before it was introduced.
        assert all(i < len(stubs) for _, piece_of in piece.edges for i in piece_of)
        edges += [i for owner, piece_of in piece.edges if owner == 0 for i in piece_of]
        if frame.last:
            break
        process.send(channel.More(1, frame.chunk))
        if not got:
            following = process.get()
            assert isinstance(following, channel.Chunk)
            assert following.chunk == frame.chunk + 1 or following.chunk == frame.chunk + 2
            got.append(following)
    assert len(stubs) == len(specs) == 12_002
    assert edges == list(range(1, 12_002))


def test_planner_stopped_request_is_dropped(process: TaskProcess) -> None:
    process.send(channel.Expand(1, [stub("plans", "Wide", width="12000")], 20_000))
    process.get()
    process.get()
    process.send(channel.Stop(1), channel.More(1, 5))
    answer = process.plan([stub("plans", "Bare", n="0")], request=2)
    assert len(answer.specs) == 1


def test_planner_user_code_is_wrong_each_error_says_what(process: TaskProcess) -> None:
    answer = process.plan([stub("plans", "AllBad")])
    errors = {answer.stubs[e.index].family: (e.kind, e.text) for e in answer.errors}
    expected = {
        "ATarget": ("requires", "Wrap it in an ExternalTask class"),
        "ANumber": ("requires", "requires() must return Task objects, not 3 (int)"),
        "RequiresRaises": ("requires", "KeyError: 'lost'"),
        "RequiresExits": ("requires", "sys.exit('bye')"),
        "CompleteRaises": ("complete", "OSError: bucket is away"),
        "CompleteSays": ("complete", "complete() returned 1, it must return True or False"),
        "BadPolicy": ("requires", "priority = 'high': Expected `float`, got `str`"),
        "RequiresWrongly": ("requires", "BadParameter: Leaf --n: 'seven' is not a whole number"),
        "BadDemand": ("requires", "resource memory: 'much' is not an amount"),
        "Large": ("too_large", "pass a path instead"),
    }
    assert errors.keys() == expected.keys()
    for family, (kind, part) in expected.items():
        assert errors[family][0] == kind, errors[family]
        assert part in errors[family][1], errors[family]
    assert "plans.py:" in errors["RequiresRaises"][1]
    assert "plans.py:" in errors["RequiresWrongly"][1]


def test_planner_survives_what_ends_generators(process: TaskProcess) -> None:
    answer = process.plan([stub("plans", "RequiresLeaves"), stub("plans", "AfterThat")])
    assert [(error.index, error.text.split()[0]) for error in answer.errors] == [
        (0, "GeneratorExit")
    ]
    # the other one has the same policy, which was said with the first
    assert [(spec.index, spec.policy) for spec in answer.specs] == [(1, 0)]
    assert [policy.resources for policy in answer.policies] == [{"own": 1}]


def test_planner_amount_with_a_unit_is_read_as_a_size(process: TaskProcess) -> None:
    answer = process.plan([stub("plans", "Sized")])
    assert [policy.resources for policy in answer.policies] == [{"memory": 2e9}]


@pytest.mark.parametrize(
    ("module", "source", "family", "params", "kind", "part"),
    [
        ("nowhere", None, "X", {}, "import", "nowhere"),
        ("raising", "import flow\n1 / 0\n", "X", {}, "import", "ZeroDivisionError"),
        ("leaving", "import sys\nsys.exit(3)\n", "X", {}, "import", "3"),
        ("syntax", "def f(:\n", "X", {}, "import", "SyntaxError"),
        ("plans", None, "Laef", {}, "unknown_task", "Leaf"),
        ("plans", None, "Leaf", {}, "bad_parameter", "n"),
        ("plans", None, "Leaf", {"n": "seven"}, "bad_parameter", "seven"),
        ("plans", None, "Leaf", {"n": "7", "m": "8"}, "bad_parameter", "m"),
    ],
)
def test_planner_requested_task_cannot_be_made_says_which_kind(
    process: TaskProcess,
    tmp_path: Path,
    module: str,
    source: str | None,
    family: str,
    params: dict[str, str],
    kind: str,
    part: str,
) -> None:
    if source is not None:
        (tmp_path / f"{module}.py").write_text(source)
    asked = stub(module, family, **params)
    answer = process.plan([asked, stub("plans", "Bare", n="0")])
    (error,) = answer.errors
    assert (error.index, error.kind) == (0, kind), error
    assert part in error.text
    assert answer.stubs[0] == asked
    assert [spec.index for spec in answer.specs] == [1]


def test_planner_wrapper_is_complete_when_its_requirements_are(
    process: TaskProcess, tmp_path: Path
) -> None:
    (tmp_path / "leaf1").write_text("")
    assert len(process.plan([stub("plans", "Wrap")]).specs) == 3
    (tmp_path / "leaf2").write_text("")
    answer = process.plan([stub("plans", "Wrap")], request=2)
    assert [spec.status for spec in answer.specs] == [SpecStatus.COMPLETE]


def test_planner_slow_checks_run_at_the_same_time(process: TaskProcess, tmp_path: Path) -> None:
    answer = process.plan([stub("plans", "ManySlow")])
    complete = [spec for spec in answer.specs if spec.status is SpecStatus.COMPLETE]
    assert len(complete) == 500
    at_once = max(int(line) for line in (tmp_path / "active").read_text().split())
    assert 8 <= at_once <= THREADS_MAX


def test_planner_bulk_complete_is_one_call_a_family(process: TaskProcess, tmp_path: Path) -> None:
    answer = process.plan([stub("plans", "ManyBulk")])
    complete = [spec for spec in answer.specs if spec.status is SpecStatus.COMPLETE]
    assert len(complete) == 3
    assert (tmp_path / "bulk").read_text() == "10\n"


WRONG = """
import flow.task as ft
try:
    import luigi
except ImportError:
    luigi = None

class Says(ft.Task):
    def complete(self):
        return None

class High(ft.Task):
    about = 1
    priority = "high"

class Below(High):
    pass

class Less(ft.Task):
    resources = {"db": -1}

class NoDict(ft.Task):
    resources = "db"

class Asks(ft.Task):
    def process_resources(self):
        return {"db": "many"}

if luigi is not None:
    class Old(luigi.Task):
        def complete(self):
            pass

    class OldHigh(luigi.Task):
        priority = "high"
"""


@pytest.mark.parametrize(
    ("family", "line", "part"),
    [
        ("Says", "    def complete", "TypeError: complete() returned None, it must return True"),
        ("High", '    priority = "high"', "priority = 'high'"),
        ("Below", '    priority = "high"', "priority = 'high'"),
        (
            "Less",
            '    resources = {"db"',
            "resource db: -1 is not an amount",
        ),
        (
            "NoDict",
            '    resources = "db"',
            "resources = 'db' is no dict",
        ),
        (
            "Asks",
            "    def process_resources",
            "resource db: 'many' is not an amount",
        ),
        ("Old", "        def complete", "TypeError: complete() returned None, it must return True"),
        (
            "OldHigh",
            '        priority = "high"',
            "priority = 'high'",
        ),
    ],
)
def test_what_a_class_says_wrongly_is_told_with_its_line(
    process: TaskProcess, tmp_path: Path, family: str, line: str, part: str
) -> None:
    if family.startswith("Old"):
        pytest.importorskip("luigi")
    (tmp_path / "wrong.py").write_text(WRONG)
    numbered = enumerate(WRONG.splitlines(), 1)
    number = next(number for number, each in numbered if each.startswith(line))
    (error,) = process.plan([stub("wrong", family)]).errors
    named = part if "TypeError" in part else f"{family} has a wrong attribute: {part}"
    assert error.text.startswith(named), error.text
    assert f"wrong.py:{number}  " in error.text
