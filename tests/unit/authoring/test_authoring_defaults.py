"""``[task.FAMILY]`` of the settings gives parameters their defaults, in any process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flow.parameters import defaults

PROGRAM = """
import flow

class Load(flow.Task):
    day = flow.IntParameter(default=1)
    region = flow.Parameter()

print(Load().day, Load().region, Load(day=3).day)
"""


def _run(directory: Path) -> subprocess.CompletedProcess[str]:
    (directory / "program.py").write_text(PROGRAM)
    return subprocess.run(
        [sys.executable, "program.py"], cwd=directory, capture_output=True, text=True
    )


def test_default_from_settings_stands_before_the_class_and_behind_the_constructor(
    tmp_path: Path,
) -> None:
    (tmp_path / "flow.toml").write_text('[task.Load]\nday = 7\nregion = "EU"\n')
    assert _run(tmp_path).stdout.split() == ["7", "EU", "3"]


def test_default_without_settings_is_the_class_and_a_missing_one_is_named(tmp_path: Path) -> None:
    failed = _run(tmp_path)
    assert failed.returncode != 0
    assert "region" in failed.stderr


def test_settings_that_are_read_again_are_those_of_the_first_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flow.toml").write_text('[storage]\nroot = "made"\n')
    monkeypatch.chdir(tmp_path)
    defaults.forget()
    try:
        before = defaults.settings().storage.root
        monkeypatch.chdir("/")
        defaults.settings.cache_clear()
        assert defaults.settings().storage.root == before == str(tmp_path / "made")
    finally:
        defaults.forget()
