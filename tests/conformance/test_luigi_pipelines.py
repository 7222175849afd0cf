"""The same Luigi pipelines, run by Luigi and by flow: same outputs, task ids and verdict."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import luigi_pipeline

pytest.importorskip("luigi")

TIMEOUT_S = 60.0
CONFIG = """
[core]
autoload_range: true

[Configured]
given: from a file
number: 7

[settings]
color: blue

[resources]
db: 2

[worker]
task_process_context: pipeline.Around
"""
BY_LUIGI = """
import sys, luigi
luigi.run(["--module", "pipeline", *sys.argv[1:], "--local-scheduler", "--no-lock"])
"""

GOOD = "This progress looks :) because there were no failed tasks or missing dependencies"
BAD = "This progress looks :( because there were failed tasks"
UNPLANNED = "This progress looks :( because there were tasks whose scheduling failed"
MISSING = "This progress looks :| because there were missing external dependencies"
RANGE = "RangeDaily --of Daily --start 2026-02-26 --stop 2026-03-02 --days-back 99999"

CASES = [
    ("Fan", GOOD),
    ("Fan --width 3", GOOD),
    ("Many", GOOD),
    ('Many --table {"z":[1]} --names ["q"] --delta PT3H --kind RED --yes --maybe 4', GOOD),
    ("AsksUnset", GOOD),
    ("AsksMany", GOOD),
    ("Dynamic", GOOD),
    ("Wrapper", GOOD),
    ("Silent", GOOD),
    ("NeedsGiven", MISSING),
    ("Fails --why so", BAD),
    ("HalfFails", BAD),
    ("BrokenRequires", UNPLANNED),
    ("BrokenComplete", UNPLANNED),
    ("NumberComplete", GOOD),
    ("TextComplete", UNPLANNED),
    ("Spoken", GOOD),
    ("Says", GOOD),
    ("Configured", GOOD),
    ("Configured --Configured-number 3 --settings-color red", GOOD),
    ("AfterHeir --n 4", GOOD),
    ("Copied --n 5", GOOD),
    ("Delegating", GOOD),
    ("Hidden", GOOD),
    ("some.space.Spaced", GOOD),
    ("ReadsMocked", GOOD),
    ("Program", GOOD),
    ("BadProgram", BAD),
    ("Yesterdays", GOOD),
    (RANGE, GOOD),
]


def run(root: Path, command: list[str]) -> tuple[dict[str, str], str]:
    """Run in a directory of its own; return all files made there, and the last line of the
    summary."""
    root.mkdir()
    shutil.copy(luigi_pipeline.__file__, root / "pipeline.py")
    (root / "luigi.cfg").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(root.parent)},
    )
    files = {
        str(path.relative_to(root)): path.read_text()
        for path in root.rglob("*")
        if path.is_file() and path.name not in ("pipeline.py", "luigi.cfg")
    }
    if "notes.txt" in files:  # written in whatever order
        files["notes.txt"] = "\n".join(sorted(files["notes.txt"].splitlines()))
    said = done.stdout + done.stderr
    verdicts = [line for line in said.splitlines() if line.startswith("This progress looks")]
    return files, verdicts[-1] if verdicts else said


@pytest.mark.parametrize(("line", "verdict"), CASES, ids=[line for line, _ in CASES])
def test_pipeline_ends_alike(line: str, verdict: str, tmp_path: Path) -> None:
    words = line.split()
    theirs = run(tmp_path / "luigi", ["-c", BY_LUIGI, *words])
    ours = run(tmp_path / "flow", ["-m", "flow", "run", "pipeline", *words, "--workers", "2"])
    assert ours == theirs
    assert ours[1] == verdict


def test_tasks_without_outputs_count_as_done_when_they_ran(tmp_path: Path) -> None:
    """Luigi asks them again before what needs them, and gives up."""
    theirs = run(tmp_path / "luigi", ["-c", BY_LUIGI, "Silent", "--n", "2"])
    ours = run(tmp_path / "flow", ["-m", "flow", "run", "pipeline", "Silent", "--n", "2"])
    assert theirs[1] == BAD and ours[1] == GOOD
    assert sum(line.startswith("ran ") for line in ours[0]["notes.txt"].splitlines()) == 3


def test_disabled_task_fails_what_needs_it_where_luigi_only_does_not_run_it(tmp_path: Path) -> None:
    theirs = run(tmp_path / "luigi", ["-c", BY_LUIGI, "NeedsOff"])
    ours = run(tmp_path / "flow", ["-m", "flow", "run", "pipeline", "NeedsOff"])
    assert ours[0] == theirs[0]
    assert "not granted run permission" in theirs[1] and ours[1] == BAD
