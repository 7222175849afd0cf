"""``disable_hard_timeout``: no attempt follows a failure so long after the first, as in Luigi."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_S = 60.0
ATTEMPTS_MAX = 5
PIPELINE = f"""
import {{library}}

class Fails({{library}}.Task):
    retry_count = {ATTEMPTS_MAX}
    retry_delay = 0.3
    {{own}}

    def output(self):
        return {{library}}.LocalTarget("never")

    def run(self):
        with open("tries", "a") as out:
            out.write("x")
        raise ValueError("as always")
"""
OWN = "disable_hard_timeout = 1"


@pytest.mark.parametrize("place", ["class", "setting"])
@pytest.mark.parametrize("library", ["flow", "luigi"])
def test_a_failure_after_the_hard_timeout_is_the_last(
    library: str, place: str, tmp_path: Path
) -> None:
    own = OWN if place == "class" else ""
    (tmp_path / "failing.py").write_text(PIPELINE.format(library=library, own=own))
    if place == "setting":
        (tmp_path / "luigi.cfg").write_text("[scheduler]\ndisable_hard_timeout = 1\n")
    found = subprocess.run(
        [sys.executable, "-m", "flow", "run", "failing", "Fails"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert found.returncode == 30, found.stderr
    assert "no more attempts" in found.stdout + found.stderr, found.stderr
    # The first failure is never too late, and without the limit all attempts would be used.
    assert 2 <= len((tmp_path / "tries").read_text()) < ATTEMPTS_MAX
