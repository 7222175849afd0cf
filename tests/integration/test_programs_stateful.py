"""Submit, edit, submit, kill, in any order: no attempt runs code, or sees state, of another run.

Each attempt writes what it was executed with: the version of its module, a token made when that was
imported, and the runs whose tasks its process has seen. A real coordinator and two real workers.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.support.cluster import Cluster, wait_until

pytestmark = pytest.mark.long

MODULE = """
import json, os, time, uuid
import {library} as lib
VERSION = {version}
TOKEN = uuid.uuid4().hex
SEEN = []

class Piece(lib.Task):
    run_name = lib.Parameter()
    n = lib.IntParameter()
    out = lib.Parameter()

    def output(self):
        return lib.LocalTarget(os.path.join(self.out, f"{{self.run_name}}-{{self.n}}"))

    def run(self):
        SEEN.append(self.run_name)
        time.sleep(0.05)
        record = dict(run=self.run_name, version=VERSION, token=TOKEN, seen=SEEN, pid=os.getpid())
        with self.output().open("w") as file:
            file.write(json.dumps(record))

class Pieces(lib.WrapperTask):
    run_name = lib.Parameter()
    width = lib.IntParameter()
    out = lib.Parameter()

    def requires(self):
        return [Piece(run_name=self.run_name, n=n, out=self.out) for n in range(self.width)]
"""
NAMES = ("native", "other")
LIBRARIES = {"native": "flow", "other": "luigi"}
WORKERS = ("w1", "w2")
#: Runs that are open at the same time.
OPEN_MAX = 3


class Programs(RuleBasedStateMachine):
    """The cluster, the modules as they are now, and the runs that were submitted."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory(prefix="flow-programs-")
        root = Path(self.place.name)
        self.out = root / "out"
        self.out.mkdir()
        self.cluster = Cluster(root / "c")
        self.cluster.start(*WORKERS, slots=2)
        self.versions = dict.fromkeys(NAMES, 1)
        for name in NAMES:
            self._write(name)
        #: run name -> (run id, module, version when it was submitted, width)
        self.runs: dict[str, tuple[str, str, int, int]] = {}
        self.open: list[str] = []
        #: names of runs during which a process was killed
        self.disturbed: set[str] = set()

    def _write(self, name: str) -> None:
        text = MODULE.format(library=LIBRARIES[name], version=self.versions[name])
        (self.cluster.modules / f"{name}.py").write_text(text)

    @rule(name=st.sampled_from(NAMES))
    def edit(self, name: str) -> None:
        self.versions[name] += 1
        self._write(name)

    @precondition(lambda self: len(self.open) < OPEN_MAX)
    @rule(name=st.sampled_from(NAMES), width=st.integers(1, 12))
    def submit(self, name: str, width: int) -> None:
        run_name = f"run{len(self.runs)}"
        done = self.cluster.flow(
            *("submit", "--detach", "--json", name, "Pieces", "--run-name", run_name),
            *("--width", str(width), "--out", str(self.out)),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        run = str(json.loads(done.stdout)["run"])
        self.runs[run_name] = (run, name, self.versions[name], width)
        self.open.append(run_name)

    @precondition(lambda self: self.open)
    @rule(
        worker=st.sampled_from(WORKERS),
        role=st.sampled_from(("runner", "runner", "planner", "template", "agent")),
        which=st.integers(0, 7),
    )
    def kill(self, worker: str, role: str, which: int) -> None:
        pids = self.cluster.workers[worker].processes(role)
        if not pids:
            return
        self.disturbed.update(self.open)
        try:
            os.kill(pids[which % len(pids)], signal.SIGKILL)
        except ProcessLookupError:
            return  # it had just left

    @precondition(lambda self: self.open)
    @rule()
    def wait_for_one(self) -> None:
        run_name = self.open.pop(0)
        run, module, version, width = self.runs[run_name]
        wait_until(lambda: self.cluster.summary(run).state != "running", f"the end of {run}")
        records = self._records(run_name)
        if run_name not in self.disturbed:
            assert self.cluster.summary(run).state == "succeeded", self.cluster.logs()
            assert len(records) == width
            assert len({one["version"] for one in records}) == 1, records
            # one import on each worker at most
            assert len({one["token"] for one in records}) <= len(WORKERS), records
        for one in records:
            assert set(one["seen"]) == {run_name}, f"a process of {module} served others: {one}"
            assert one["version"] >= version, f"{run_name} ran code from before it: {one}"

    def _records(self, run_name: str) -> list[dict[str, Any]]:
        found = [json.loads(path.read_text()) for path in self.out.glob(f"{run_name}-*")]
        return [one for one in found if one["run"] == run_name]

    def teardown(self) -> None:
        try:
            while self.open:
                self.wait_for_one()
            self.cluster.close()
        except BaseException:
            print(self.cluster.logs())
            self.cluster.destroy()
            raise
        finally:
            self.place.cleanup()


@pytest.mark.timeout(600)
def test_no_attempt_ever_runs_in_the_program_of_another_run() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Programs,
        settings=settings(
            max_examples=6,
            stateful_step_count=14,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
