"""Run one pipeline one way, in fresh directories, and say what came of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.pipelines import watching
from tests.pipelines.known import Pipeline
from tests.pipelines.sources import texts
from tests.support.cluster import Cluster

TIMEOUT_S = 100.0
DRIVER = "watched"
#: luigi's, for all ways: on a cluster, in the directory of each worker.
SETTINGS = "[core]\nautoload_range: false\n[scheduler]\nretry_delay: 0.1\n"


@dataclass
class Outcome:
    """What one way of running a pipeline came to."""

    code: int
    said: str
    files: dict[str, bytes] = field(default_factory=dict)
    #: how often ``run()`` was entered, by task id
    starts: Counter[str] = field(default_factory=Counter)
    #: ids of tasks whose last ``run()`` succeeded
    succeeded: set[str] = field(default_factory=set)
    #: tasks that began before one that they require had succeeded, both as ids
    early: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"exit {self.code}, {len(self.succeeded)} done, {len(self.files)} files"


@dataclass
class Place:
    """The directories of one run of one pipeline."""

    root: Path

    @property
    def modules(self) -> Path:
        """Where the pipeline's files are."""
        return self.root / "modules"

    @property
    def out(self) -> Path:
        """Where it works."""
        return self.root / "out"

    @property
    def ledger(self) -> Path:
        """What happened, a line of JSON each."""
        return self.root / "ledger"


def prepare(pipeline: Pipeline, root: Path) -> Place:
    """Unpack a pipeline's files, and write the driver that imports them."""
    place = Place(root)
    place.out.mkdir(parents=True)
    place.modules.mkdir()
    for name, text in texts(pipeline.package):
        if any(re.fullmatch(each, name) for each in pipeline.files):
            path = place.modules / Path(name).name
            path.write_text(edited(text, pipeline.edits, place.out))
    shutil.copy(watching.__file__, place.modules)
    (place.modules / f"{DRIVER}.py").write_text(
        f"import watching\n\nwatching.begin({str(place.ledger)!r}, {str(place.out)!r})\n"
        + pipeline.driver
    )
    for name, text in {"luigi.cfg": SETTINGS, **pipeline.inputs}.items():
        path = place.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)
    return place


def edited(text: str, edits: Mapping[str, str], out: Path) -> str:
    """Replace all at once: what one has put there is not for another."""
    if not edits:
        return text
    pattern = "|".join(map(re.escape, edits))
    return re.sub(pattern, lambda met: edits[met[0]].replace("{out}", str(out)), text)


def _run(place: Place, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *words],
        cwd=place.out,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={
            **{name: text for name, text in os.environ.items() if not name.startswith("FLOW_")},
            "PYTHONPATH": str(place.modules),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    return done.returncode, done.stdout + done.stderr


def by_its_own(pipeline: Pipeline, place: Place) -> tuple[int, str]:
    """Run it as its library does."""
    if pipeline.own:
        return _run(place, *pipeline.own)
    luigi = ("-m", "luigi", "--module", DRIVER, "--local-scheduler", "--workers", "2", "--no-lock")
    return _run(place, *luigi, *pipeline.own_words, *pipeline.words)


def embedded(pipeline: Pipeline, place: Place) -> tuple[int, str]:
    """Run it with ``flow run``."""
    return _run(place, "-m", "flow", "run", DRIVER, *pipeline.words, "--workers", "2")


def submitted(cluster: Cluster) -> Callable[[Pipeline, Place], tuple[int, str]]:
    """Return a way to run on a cluster whose workers are sent the modules."""

    def run(pipeline: Pipeline, place: Place) -> tuple[int, str]:
        code = ("--code-dir", str(place.modules))
        done = cluster.flow("submit", *code, DRIVER, *pipeline.words, timeout_s=TIMEOUT_S)
        return done.returncode, done.stdout + done.stderr

    return run


def outcome(
    way: Callable[[Pipeline, Place], tuple[int, str]], pipeline: Pipeline, root: Path
) -> Outcome:
    """Run a pipeline in a fresh directory."""
    place = prepare(pipeline, root)
    code, said = way(pipeline, place)
    found = Outcome(code, said)
    read_ledger(place, found)
    for path in sorted(place.out.rglob("*")):
        name = str(path.relative_to(place.out))
        if path.is_file() and name != "luigi.cfg":
            content = path.read_bytes().replace(str(root).encode(), b"<root>")
            found.files[name] = b"" if re.search(pipeline.timed, name) else content
    return found


def read_ledger(place: Place, found: Outcome) -> None:
    """Fill in what the events say."""
    if not place.ledger.exists():
        return
    lines = [json.loads(line) for line in place.ledger.read_text().splitlines()]
    required: dict[str, set[str]] = {}
    for what, *ids in lines:
        if what == "requires":
            required.setdefault(ids[0], set()).add(ids[1])
    runs = {ids[0] for what, *ids in lines if what == "start"}
    for what, *ids in lines:
        one = ids[0]
        if what == "start":
            found.starts[one] += 1
            late = (required.get(one, set()) & runs) - found.succeeded
            found.early += [(one, each) for each in sorted(late)]
        elif what == "success":
            found.succeeded.add(one)
        elif what == "failure":
            found.succeeded.discard(one)


def differences(own: Outcome, other: Outcome) -> dict[str, str]:
    """Return what differs, by kind, with a sentence each."""
    found = {}
    if own.code != other.code:
        found["exit code"] = f"{own.code} → {other.code}"
    if own.files.keys() != other.files.keys():
        found["files"] = f"only one has {sorted(own.files.keys() ^ other.files.keys())[:4]}"
    changed = [
        name for name in own.files if own.files[name] != other.files.get(name, own.files[name])
    ]
    if changed:
        found["contents"] = f"of {changed[:4]}"
    if own.succeeded != other.succeeded:
        found["done"] = f"only one has done {sorted(own.succeeded ^ other.succeeded)[:4]}"
    again = {one: (own.starts[one], other.starts[one]) for one in own.starts | other.starts}
    again = {one: pair for one, pair in again.items() if pair[0] != pair[1]}
    if again:
        found["runs"] = ", ".join(f"{k} {a} → {b}" for k, (a, b) in sorted(again.items())[:4])
    if other.early:
        found["order"] = f"before what it requires: {other.early[:4]}"
    return found
