"""What a walk leaves out is what git leaves out, on trees and patterns made at random."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from flow.usercode.gathering import gather

NAMES = ["a", "b", "ab", "a.py", "b.log", "foo", "bar", "a b", "[x]", "foo.d"]
PIECES = [
    *("a", "b", "*", "**", "?", "*.py", "*.log", "foo", "bar", "a*", "*b", "f?o", "foo.d", "***"),
    *("a\\ b", "\\[x\\]", "\\a", "a\\", "b ", "#a", "[", "[a", "[[a]", "[[:a]", "[a!]*", "[--a]"),
    *("[ab]", "[!a]", "[^b]", "[a-f]*", "[z-a]", "[]a]", "[a-]", "[\\a-c]*", "[a-\\c]"),
    *("[[:alpha:]]", "[![:alpha:]]*", "[[:nope:]]", "[[:alpha:]-z]"),
]


def make_tree(rng: random.Random, folder: Path, depth: int = 0) -> None:
    folder.mkdir()
    for name in rng.sample(NAMES, rng.randint(2, 5)):
        if depth < 3 and rng.random() < 0.5:
            make_tree(rng, folder / name, depth + 1)
        else:
            (folder / name).touch()
    if depth == 0 or rng.random() < 0.3:
        patterns = [make_pattern(rng) for _ in range(rng.randint(1, 4))]
        (folder / ".gitignore").write_text("\n".join(patterns))


def make_pattern(rng: random.Random) -> str:
    pattern = "/".join(rng.choice(PIECES) for _ in range(rng.choice([1, 1, 1, 2, 2, 3])))
    return "".join(
        (
            "!" if rng.random() < 0.35 else "",
            "/" if rng.random() < 0.25 else "",
            pattern,
            "/" if rng.random() < 0.25 else "",
        )
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("seed", range(25))
def test_walk_takes_what_git_would_add(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "folder"
    make_tree(random.Random(seed), folder)
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    command = ["git", "ls-files", "-o", "-z", "--exclude-per-directory=.gitignore"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    taken = [file.name for file in gather(str(folder))]
    assert taken == sorted(name for name in done.stdout.split("\0") if name)
