"""The same batching pipelines under luigi's own scheduler, and under flow, written for either."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("luigi")

TIMEOUT_S = 120.0

PIPELINE = '''
import importlib, os, sys

HERE = os.path.dirname(os.path.abspath(__file__))
luigi = importlib.import_module("LIBRARY")

def said(task):
    with open(os.path.join(HERE, "said"), "a") as log:
        log.write(repr(task) + "\\n")

class Said(luigi.Task):
    def run(self):
        said(self)
        if "bad" in repr(self):
            raise ValueError("bad")

class Newest(Said):
    """Only the largest matters."""
    day = luigi.IntParameter(batch_method=max)

class Few(Said):
    day = luigi.IntParameter(batch_method=min)
    max_batch_size = 2

class Single(Said):
    day = luigi.IntParameter(batch_method=max)
    max_batch_size = 1

class Names(Said):
    """Its members in their order."""
    names = luigi.Parameter(batch_method=",".join)

class Several(Said):
    """Two joined parameters, one that is not, one that is insignificant."""
    low = luigi.IntParameter(batch_method=min)
    high = luigi.IntParameter(batch_method=max)
    place = luigi.Parameter()
    note = luigi.Parameter(default="", significant=False)

class Plain(Said):
    day = luigi.IntParameter()

class Choosy(Said):
    """Only even ones are batchable."""
    day = luigi.IntParameter(batch_method=max)

    @property
    def batchable(self):
        return self.day % 2 == 0

class Needy(Said):
    """What needs different resources does not join."""
    day = luigi.IntParameter(batch_method=max)

    def process_resources(self):
        return {"db": 1 + self.day % 2}

class Urgent(Said):
    """Priorities decide who comes first, not who joins."""
    names = luigi.Parameter(batch_method=",".join)

    @property
    def priority(self):
        return {"c": 9, "b": 5}.get(self.names, 0)

class Tuples(Said):
    days = luigi.TupleParameter(batch_method=lambda values: sum(values, ()))

class Texts(Said):
    """What batch_method returns goes through the parameter like any value."""
    date = luigi.DateParameter(batch_method=max)

CASES = {
    "newest": lambda: [Newest(day=d) for d in (3, 1, 7, 2)],
    "few": lambda: [Few(day=d) for d in (5, 4, 3, 2, 1)],
    "single": lambda: [Single(day=d) for d in (1, 2)],
    "names": lambda: [Names(names=n) for n in "cab"],
    "several": lambda: [
        Several(low=low, high=low + 1, place=place, note=note)
        for low, place, note in ((1, "x", ""), (5, "y", ""), (3, "x", ""), (2, "x", "other"))
    ],
    "plain": lambda: [Plain(day=d) for d in (1, 2, 3)],
    "one": lambda: [Names(names="only")],
    "mixed": lambda: [Newest(day=1), Names(names="a"), Newest(day=2), Names(names="b")],
    "choosy": lambda: [Choosy(day=d) for d in (2, 3, 4, 5, 6)],
    "needy": lambda: [Needy(day=d) for d in (1, 2, 3, 4)],
    "urgent": lambda: [Urgent(names=n) for n in "abcd"],
    "tuples": lambda: [Tuples(days=(d, d + 1)) for d in (1, 5, 3)],
    "texts": lambda: [Texts(date=luigi.DateParameter().parse(f"2024-01-0{d}")) for d in (3, 9, 5)],
    "fails": lambda: [Names(names=n) for n in ("good", "bad")] + [Newest(day=1)],
}

class All(luigi.WrapperTask):
    case = luigi.Parameter()

    def requires(self):
        return CASES[self.case]()

    def complete(self):
        return False

if __name__ == "__main__":
    options = {"local_scheduler": True} if luigi.__name__ == "luigi" else {}
    luigi.build(CASES[sys.argv[1]](), workers=1, **options)
'''

CONFIG = "[resources]\ndb = 2\n"
CASES = [
    line.split('"')[1] for line in PIPELINE.partition("CASES = {")[2].splitlines()
    if line.startswith('    "')
]  # fmt: skip

#: What both come to, where it says most.
EXPECTED = {
    "newest": ["Newest(day=7)"],
    "few": ["Few(day=1)", "Few(day=2)", "Few(day=4)"],
    "names": ["Names(names=c,a,b)"],
    "urgent": ["Urgent(names=c,b,a,d)"],
    "choosy": ["Choosy(day=3)", "Choosy(day=5)", "Choosy(day=6)"],
    "fails": ["Names(names=good,bad)", "Newest(day=1)"],
}


def ran(place: Path, library: str, argv: list[str]) -> Counter[str]:
    """Run a case in a directory of its own; return what ran, as often as it did."""
    place.mkdir()
    (place / "pipeline.py").write_text(PIPELINE.replace("LIBRARY", library))
    (place / "luigi.cfg").write_text(CONFIG + "[scheduler]\nretry_count = 1\n")
    (place / "flow.toml").write_text("[resources]\ndb = 2\n")
    env = {name: text for name, text in os.environ.items() if not name.startswith("FLOW_")}
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=place,
        env={**env, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    said = place / "said"
    assert said.exists(), done.stdout + done.stderr
    return Counter(said.read_text().splitlines())


@pytest.mark.parametrize("case", CASES)
def test_flow_runs_the_same_batches_as_luigi(case: str, tmp_path: Path) -> None:
    theirs = ran(tmp_path / "luigi", "luigi", ["pipeline.py", case])
    ours = ran(tmp_path / "flow", "flow", ["pipeline.py", case])
    assert ours == theirs
    assert sorted(ours) == EXPECTED.get(case, sorted(ours))


@pytest.mark.parametrize("case", ["newest", "few", "several", "choosy", "fails"])
def test_flow_runs_luigis_own_tasks_in_the_same_batches(case: str, tmp_path: Path) -> None:
    theirs = ran(tmp_path / "luigi", "luigi", ["pipeline.py", case])
    argv = ["-m", "flow", "run", "pipeline.py", "All", "--case", case, "--workers", "1"]
    ours = ran(tmp_path / "flow", "luigi", argv)
    assert ours == theirs
