"""``flow run`` with its own files on a full disk: it says so and ends, within seconds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.disks import fill, small_disk

MODULE = """
import flow

class Job(flow.Task):
    n = flow.IntParameter()
    done = False
    def run(self):
        print("line of", self.n)
        self.done = True
    def complete(self):
        return self.done

class Fan(flow.WrapperTask):
    count = flow.IntParameter()
    def requires(self):
        return [Job(n=n) for n in range(self.count)]
"""


def run(
    place: Path,
    temporary: Path,
    *words: str,
    python: str = "-m flow run",
    before: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    (place / "many.py").write_text(MODULE)
    env = {name: text for name, text in os.environ.items() if not name.startswith("FLOW_")}
    return subprocess.run(
        [*before, sys.executable, *python.split(), *words],
        cwd=place,
        env={**env, "TMPDIR": str(temporary), "XDG_RUNTIME_DIR": ""},
        capture_output=True,
        text=True,
        timeout=90,
    )


@pytest.mark.parametrize("size", ["64k", "200k", "600k"])
def test_run_whose_temporary_disk_gets_full_says_so_and_ends(tmp_path: Path, size: str) -> None:
    with small_disk(tmp_path / "t", f"size={size}") as disk:
        started = time.monotonic()
        done = run(tmp_path, disk, "many", "Fan", "--count", "2000")
        assert done.returncode == 78, done.stderr
        assert time.monotonic() - started < 60
        assert str(disk) in done.stderr and "TMPDIR" in done.stderr
        assert "no space left" in done.stderr or "disk is full" in done.stderr
        assert list((disk / f"flow-{os.getuid()}").iterdir()) == []


def test_run_whose_state_gets_full_names_the_option(tmp_path: Path) -> None:
    with small_disk(tmp_path / "s", "size=300k") as disk:
        words = ("many", "Fan", "--count", "2000", "--state-dir", str(disk), "--quiet")
        done = run(tmp_path, tmp_path, *words)
        assert done.returncode == 78, done.stderr
        assert f"the coordinator's disk is full ({disk})" in done.stderr
        assert "set --state-dir to a directory" in done.stderr


def test_run_where_no_file_can_be_made_says_so(tmp_path: Path) -> None:
    """One inode is left, for the directory of all runs."""
    with small_disk(tmp_path / "t", "nr_inodes=3") as disk:
        done = run(tmp_path, disk, "many", "Fan", "--count", "2")
        # Python itself takes another directory where this one has no room for a file.
        assert done.returncode in (0, 78)
        assert done.returncode == 0 or "No space left" in done.stderr
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr


def test_run_with_temporary_disk_full_from_the_start_goes_elsewhere_or_ends(tmp_path: Path) -> None:
    with small_disk(tmp_path / "t", "size=100k") as disk:
        fill(disk)
        done = run(tmp_path, disk, "many", "Fan", "--count", "2")
        assert done.returncode in (0, 78)
        assert "internal error" not in done.stderr


def test_build_whose_disk_gets_full_raises(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import flow, many\n"
        "from flow.errors import DiskFull\n"
        "try:\n"
        "    flow.build([many.Fan(count=2000)])\n"
        "except DiskFull as error:\n"
        "    print(error, error.hint)\n"
    )
    with small_disk(tmp_path / "t", "size=400k") as disk:
        done = run(tmp_path, disk, python="script.py")
        assert done.stdout.startswith(f"the coordinator's disk is full ({disk}"), done.stderr
        assert "TMPDIR" in done.stdout
