"""Code that is sent along with a run, to two real workers in folders of their own."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.cli import uploading
from flow.usercode.shipping import Packed
from flow.wire.messages.client import RootTask, Submit, SubmitOptions, Submitted
from tests.support.cluster import Cluster, wait_until

PIPELINE = """
import json, os, time, flow, {helper} as helper

class Leaf(flow.Task):
    n = flow.IntParameter()
    root = flow.Parameter()

    def output(self):
        return flow.LocalTarget(f"{{self.root}}/leaf-{{self.n}}")

    def run(self):
        time.sleep(0.3)  # so that one worker does not do it all
        with self.output().open("w") as out:
            json.dump([helper.WHO, __file__, os.getcwd()], out)

class Top(flow.Task):
    root = flow.Parameter()

    def requires(self):
        return [Leaf(n=n, root=self.root) for n in range(8)]

    def output(self):
        return flow.LocalTarget(f"{{self.root}}/top")

    def run(self):
        with self.output().open("w") as out:
            out.write(helper.WHO)
"""


class Shipping(Cluster):
    """Workers that share nothing: no folder of modules, no cache."""

    def start_apart(self, *names: str) -> Shipping:
        self.start_coordinator()
        for name in names:
            self.start_one(name)
        return self

    def start_one(self, name: str) -> None:
        self.env["XDG_CACHE_HOME"] = str(self.cache(name))
        shutil.rmtree(self.modules, ignore_errors=True)
        self.modules.mkdir()
        self.start_worker(name)

    def cache(self, name: str) -> Path:
        return self.root / f"{name}-cache"

    def code(self, name: str = "code", who: str = "helper") -> Path:
        folder = self.root / name
        (folder / "jobs").mkdir(parents=True)
        (folder / "pipe.py").write_text(PIPELINE.format(helper="helper"))
        (folder / "helper.py").write_text(f"WHO = {who!r}\n")
        (folder / "jobs" / "daily-load.py").write_text(PIPELINE.format(helper="beside"))
        (folder / "jobs" / "beside.py").write_text("WHO = 'beside'\n")
        return folder

    def ship(self, folder: Path, module: str, root: Path, code: int = 0) -> str:
        root.mkdir(exist_ok=True)
        line = ["submit", "--code-dir", str(folder), module, "Top", "--root", str(root)]
        done = self.flow(*line)
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{said}\n{self.logs()}"
        return said


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Shipping]:
    with Shipping(tmp_path / "cluster") as made:
        yield made


def leaves(root: Path) -> list[list[str]]:
    return [json.loads(path.read_text()) for path in sorted(root.glob("leaf-*"))]


def test_code_runs_on_workers_that_do_not_have_it(cluster: Shipping, tmp_path: Path) -> None:
    cluster.start_apart("w1", "w2")
    cluster.ship(cluster.code(), "pipe", tmp_path / "out")
    told = leaves(tmp_path / "out")
    assert {who for who, _, _ in told} == {"helper"}
    assert {folder for _, _, folder in told} == {str(cluster.root)}, "the workers' own"
    for _, path, _ in told:
        assert path.startswith((str(cluster.cache("w1")), str(cluster.cache("w2"))))
    [kept] = os.listdir(cluster.state_dir / "code")
    for name in ("w1", "w2"):
        there = os.listdir(cluster.cache(name) / "flow" / "packages")
        assert sorted(there) in ([kept, f"{kept}.lock"], [])


def test_script_runs_by_its_path_inside_the_code(cluster: Shipping, tmp_path: Path) -> None:
    cluster.start_apart("w1", "w2")
    script = cluster.code() / "jobs" / "daily-load.py"
    cluster.ship(cluster.root / "code", str(script), tmp_path / "out")
    told = leaves(tmp_path / "out")
    assert {who for who, _, _ in told} == {"beside"}
    assert all(path.endswith("/jobs/daily-load.py") for _, path, _ in told)
    assert len({path for _, path, _ in told}) == 2, "both workers found it under its one name"


def test_edited_code_is_other_code_and_both_run_side_by_side(
    cluster: Shipping, tmp_path: Path
) -> None:
    cluster.start_apart("w1")
    cluster.ship(cluster.code("one", "first"), "pipe", tmp_path / "out1")
    cluster.ship(cluster.code("two", "second"), "pipe", tmp_path / "out2")
    assert {who for who, _, _ in leaves(tmp_path / "out1")} == {"first"}
    assert {who for who, _, _ in leaves(tmp_path / "out2")} == {"second"}
    assert len(os.listdir(cluster.state_dir / "code")) == 2


def test_code_survives_the_death_of_coordinator_and_agent(
    cluster: Shipping, tmp_path: Path
) -> None:
    cluster.start_apart()
    root = tmp_path / "out"
    root.mkdir()
    line = ["submit", "-d", "--json", "--code-dir", str(cluster.code()), "pipe", "Top"]
    run = json.loads(cluster.flow(*line, "--root", str(root)).stdout)["run"]
    assert cluster.coordinator is not None
    cluster.coordinator.stop(signal.SIGKILL)
    cluster.start_coordinator()
    cluster.start_one("w1")
    wait_until(lambda: list(root.glob("leaf-*")), "the first leaf")
    os.kill(cluster.workers["w1"].agent(), signal.SIGKILL)
    cluster.wait_ended(run)
    assert (root / "top").read_text() == "helper"


def hand_made(cluster: Shipping, body: bytes, module: str = "pipe") -> str:
    """Upload bytes that ``pack`` did not make, and submit a run that names them."""
    packed = Packed(body, hashlib.sha256(body).hexdigest(), 1)
    with cluster.client() as client:
        uploading.upload(client, packed, quiet=True)
        options = SubmitOptions(package=packed.digest)
        submit = Submit(0, os.urandom(8).hex(), "default", [RootTask(module, "Top", {})], options)
        return client.ask(submit, Submitted).run


def zipped(name: str, attributes: int = 0) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        info = zipfile.ZipInfo(name)
        info.external_attr = attributes << 16
        made.writestr(info, "/etc/passwd")
    return held.getvalue()


HOSTILE = {
    "leads elsewhere": zipped("../../../../escaped.py"),
    "absolute": zipped("/tmp/escaped.py"),
    "no regular file": zipped("pipe.py", 0o120777),
    "not a body of code": b"this is no zip",
}


def test_hostile_body_ends_as_the_error_of_its_run_and_leaves_nothing(cluster: Shipping) -> None:
    cluster.start_apart("w1", "w2")
    runs = {says: hand_made(cluster, body) for says, body in HOSTILE.items()}
    for says, run in runs.items():
        summary = cluster.wait_ended(run, "failed")
        assert summary.exit_code == 35
        told = [text for _, text, _ in summary.causes]
        assert any("is refused" in text and says in text for text in told), summary
    assert not list(cluster.root.rglob("escaped.py"))
    assert not os.path.exists("/tmp/escaped.py")
    for name in ("w1", "w2"):
        shelf = cluster.cache(name) / "flow" / "packages"
        assert not [one for one in shelf.glob("*") if one.is_dir()]


def test_code_that_no_worker_may_keep_ends_the_run_with_a_sentence(
    cluster: Shipping, tmp_path: Path
) -> None:
    folder = cluster.cache("w1") / "flow" / "packages"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    cluster.start_apart("w1")
    said = cluster.ship(cluster.code(), "pipe", tmp_path / "out", code=35)
    assert "no code is executed from it" in said


def test_code_gets_what_it_requires(cluster: Shipping, tmp_path: Path) -> None:
    cluster.start_apart("w1")
    folder = cluster.code()
    (folder / "helper.py").write_text("from tinyflowdep import WHO\n")
    wheel = "tinyflowdep-1.0-py3-none-any.whl"
    info = "tinyflowdep-1.0.dist-info"
    with zipfile.ZipFile(folder / wheel, "w") as made:
        made.writestr("tinyflowdep.py", "WHO = 'installed'\n")
        made.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyflowdep\nVersion: 1.0\n"
        )
        made.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        made.writestr(f"{info}/RECORD", "")
    (folder / "pyproject.toml").write_text(f"[tool.flow]\nrequires = ['./{wheel}']\n")
    cluster.ship(folder, "pipe", tmp_path / "out")
    assert {who for who, _, _ in leaves(tmp_path / "out")} == {"installed"}
    gone = "[tool.flow]\nrequires = ['./gone-1.0-py3-none-any.whl']\n"
    (folder / "pyproject.toml").write_text(gone)
    said = cluster.ship(folder, "pipe", tmp_path / "out2", code=35)
    assert "uv ended with code" in said
