"""Patterns of .gitignore, one entry at a time; a walk against git itself is in integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from flow.usercode import ignoring
from flow.usercode.ignoring import Patterns


@pytest.mark.parametrize(
    ("pattern", "path", "is_folder"),
    [
        ("*.csv", "a.csv", False),
        ("*.csv", "deep/a.csv", False),
        ("data", "deep/data", True),
        ("data/", "deep/data", True),
        ("/data", "data", False),
        ("jobs/out", "jobs/out", False),
        ("jobs/*", "jobs/.hidden", False),
        ("**/out", "out", False),
        ("**/out", "a/b/out", False),
        ("out/**", "out/a/b", False),
        ("a/**/b", "a/b", False),
        ("a/**/b", "a/x/y/b", False),
        ("a**b", "axyb", False),
        ("f?o", "fXo", False),
        ("[a-c]x", "bx", False),
        ("[!a-c]x", "dx", False),
        ("[^a-c]x", "dx", False),
        ("[]a]", "]", False),
        ("[a-]", "-", False),
        ("[z-a]", "z", False),
        ("[[:digit:]]", "7", False),
        ("[\\]]", "]", False),
        ("\\#a", "#a", False),
        ("\\!a", "!a", False),
        ("a\\ ", "a ", False),
        ("a  ", "a", False),
        ("a\r", "a", False),
        ("a\nb", "a", False),
        ("\ufeffa", "a", False),
        ("a+(b)|c.", "a+(b)|c.", False),
        ("[&&||~~[]", "[", False),
    ],
)
def test_pattern_leaves_out(pattern: str, path: str, is_folder: bool) -> None:
    assert Patterns(pattern).decide(path, is_folder=is_folder) is True


@pytest.mark.parametrize(
    ("pattern", "path", "is_folder"),
    [
        ("", "a", False),
        ("# a", "# a", False),
        ("#a", "#a", False),
        ("/", "a", True),
        ("!", "a", False),
        ("data/", "data", False),
        ("/data", "deep/data", False),
        ("jobs/out", "deep/jobs/out", False),
        ("jobs/*", "jobs/a/b", False),
        ("out/**", "out", True),
        ("data", "data/inside", False),
        ("f?o", "f/o", False),
        ("[!a]", "/", False),
        ("[a-c", "a", False),
        ("[[:nonsense:]]", "n", False),
        ("a\\", "a\\", False),
        ("*.py", "a.pyc", False),
        ("a", "A", False),
    ],
)
def test_pattern_says_nothing_of(pattern: str, path: str, is_folder: bool) -> None:
    assert Patterns(pattern).decide(path, is_folder=is_folder) is None


def test_patterns_the_last_one_that_matches_is_right() -> None:
    patterns = Patterns("*.log\n!keep.log\nkeep.log.old/\n")
    assert patterns.decide("a/keep.log", is_folder=False) is False
    assert patterns.decide("other.log", is_folder=False) is True


def test_read_flowignore_comes_after_gitignore(tmp_path: Path) -> None:
    assert ignoring.read(str(tmp_path)) is None
    (tmp_path / ".gitignore").write_bytes(b"\xef\xbb\xbf*.bin\r\n*.csv")
    (tmp_path / ".flowignore").write_bytes(b"\xef\xbb\xbf!model.bin\n\xff\n")
    patterns = ignoring.read(str(tmp_path))
    assert patterns is not None
    decided = [patterns.decide(each, is_folder=False) for each in ("model.bin", "a.bin", "a.csv")]
    assert decided == [False, True, True]
