"""``worker.reuse = "code"``: a run may use what an equal one has imported, and no other may."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster

MODULE = """
import os
import {library} as lib
import reuse_helper

with open(os.path.join(os.path.dirname(__file__), "imports"), "a") as file:
    file.write("x")

class Says(lib.Task):
    n = lib.IntParameter()
    word = lib.Parameter(default="none")
    out = lib.Parameter()

    def output(self):
        return lib.LocalTarget(os.path.join(self.out, str(self.n)))

    def run(self):
        with self.output().open("w") as file:
            file.write(f"{{reuse_helper.VERSION}} {{self.word}}")
"""


@pytest.fixture(params=["flow", "luigi"])
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with Cluster(tmp_path / "c", settings={"FLOW_WORKER__REUSE": "code"}) as cluster:
        (cluster.modules / "reused.py").write_text(MODULE.format(library=request.param))
        edit(cluster, "one")
        cluster.prefix["w1"] = ["env", f"--chdir={cluster.modules}"]
        cluster.start("w1")
        yield cluster


def edit(cluster: Cluster, version: str) -> None:
    """Give a module that the program imports another version, with the times of the old one."""
    path = cluster.modules / "reuse_helper.py"
    path.write_text(f"VERSION = {version!r}\n")
    os.utime(path, (1_600_000_000, 1_600_000_000))


def says(cluster: Cluster, out: Path, n: int, *words: str) -> str:
    """Run one task; return what it wrote."""
    done = cluster.flow("submit", "reused", "Says", "--n", str(n), "--out", str(out), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return (out / str(n)).read_text()


def imports(cluster: Cluster) -> int:
    """Count how often the module was imported."""
    return len((cluster.modules / "imports").read_text())


def test_equal_runs_import_once_until_code_or_settings_change(
    cluster: Cluster, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert [says(cluster, out, n) for n in range(6)] == ["one none"] * 6
    # a worker learns that a run is over with its next heartbeat: two may take turns
    assert imports(cluster) <= 2
    edit(cluster, "two")
    assert [says(cluster, out, n) for n in range(10, 16)] == ["two none"] * 6
    assert 2 <= imports(cluster) <= 4
    # what the command line gives to tasks is part of the program
    assert says(cluster, out, 20, "--Says-word", "given") == "two given"
    assert says(cluster, out, 21) == "two none"
    if "import flow" in (cluster.modules / "reused.py").read_text():
        (cluster.modules / "flow.toml").write_text('[task.Says]\nword = "set"\n')
        assert says(cluster, out, 30) == "two set"
        (cluster.modules / "flow.toml").unlink()
    (cluster.modules / "luigi.cfg").write_text("[Says]\nword = old\n")
    assert [says(cluster, out, n) for n in (31, 32)] == ["two old"] * 2
