"""Commands whose streams are not UTF-8, or closed: characters are escaped, and no run fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
import flow
class Says(flow.Task):
    text = flow.Parameter()
    fails = flow.BoolParameter()
    def complete(self):
        return False
    def run(self):
        print(self.text)
        if self.fails:
            raise RuntimeError(self.text)
"""
TEXT = "é 売上 😀 \x1b[2J"


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_run_ends_as_it_should_whatever_the_encoding_is(
    tmp_path: Path, encoding: str, fails: bool
) -> None:
    done = run(tmp_path, fails, encoding)
    assert done.returncode == (30 if fails else 0), done.stderr
    assert b"Traceback" not in done.stderr and b"internal error" not in done.stderr
    summary = done.stdout.partition(b"=====")[2]  # before that is what the task printed, as it is
    assert b"\\x1b[2J" in summary and b"\x1b[2J" not in summary
    if encoding == "ascii":
        assert rb"\xe9 \u58f2\u4e0a \U0001f600" in summary


@pytest.mark.parametrize("fails", [False, True])
def test_run_ends_as_it_should_with_all_streams_closed(tmp_path: Path, fails: bool) -> None:
    done = run(tmp_path, fails, "utf-8", "exec >&- 2>&- <&-;")
    assert done.returncode == (30 if fails else 0)


def run(
    here: Path, fails: bool, encoding: str, before: str = ""
) -> subprocess.CompletedProcess[bytes]:
    (here / "says.py").write_text(MODULE)
    words = [sys.executable, "-m", "flow", "run", "says", "Says", "--text", TEXT]
    words += ["--fails"] if fails else []
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = ["sh", "-c", f'{before} exec "$@"', "sh", *words]
    return subprocess.run(command, cwd=here, env=env, capture_output=True, timeout=90, check=False)
