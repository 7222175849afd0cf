"""Tests that come with public packages and build tasks, by their own ``build`` and by flow's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.pipelines.sources import texts

TIMEOUT_S = 110.0
#: what makes luigi.build flow's, beside this file
PLUGIN = "flows_build"


@dataclass(frozen=True)
class Suite:
    """Tests of one package."""

    name: str
    package: str
    #: the folder that they are in
    folder: str
    #: those that build tasks, in there
    tests: tuple[str, ...]
    #: name of a test that fails only when tasks run in forks, to the key of the reason
    known: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Tests:
    """What came of the tests of a suite."""

    total: int
    failed: set[str]
    said: str

    def __str__(self) -> str:
        return f"{self.total - len(self.failed)} of {self.total} pass"


def run(suite: Suite, root: Path, how: str = "") -> Tests:
    """Run a suite in a fresh directory; ``how``: by flow, in ``forks`` or ``in_process``."""
    for name, text in texts(suite.package):
        if name.startswith(f"{suite.folder}/"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    shutil.copy(Path(__file__).with_name(f"{PLUGIN}.py"), root)
    words = ["-q", "-p", "no:cacheprovider", "--tb=short", "--junit-xml=results.xml"]
    words += ["-p", PLUGIN] if how else []
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *words,
            *(f"{suite.folder}/{each}" for each in suite.tests),
        ],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, "FLOW_BUILD": how, "PYTHONPATH": str(root)},
    )
    cases = ElementTree.parse(root / "results.xml").findall(".//testcase")
    bad = {
        f"{c.get('classname')}.{c.get('name')}"
        for c in cases
        if any(x.tag in ("failure", "error") for x in c)
    }
    return Tests(len(cases), bad, done.stdout + done.stderr)
