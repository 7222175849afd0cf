"""A real coordinator and worker to measure, and what their processes used."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

import psutil

from flow.client.client import Client
from flow.wire.ids import new_uid
from flow.wire.messages import client as wire

READY_S_MAX = 30.0
REPO = Path(__file__).resolve().parents[2]


class Engine:
    """One coordinator, one worker with some slots, one client."""

    def __init__(self, slots: int = 2, profile: str = "", path: str = str(REPO)) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="flow-bench-")
        base = Path(self._directory.name)
        self.address = f"tcp://127.0.0.1:{_free_port()}"
        self._logs = [base / f"{name}.log" for name in ("coordinator", "worker")]
        state = str(base / "state")
        profiled = ["-m", "cProfile", "-o", "/tmp/flow-coordinator.prof"]
        self.coordinator = _start(
            self._logs[0],
            *(profiled if profile == "coordinator" else []),
            *("-m", "flow_coordinator", "--bind", self.address, "--state-dir", state),
        )
        self.worker = _start(
            self._logs[1],
            *("-m", "flow_worker", "--coordinator", self.address, "--slots", str(slots)),
            *("--log-dir", str(base / "logs"), "--path", path),
        )
        self.client = Client(self.address)
        self._wait_joined()

    def _wait_joined(self) -> None:
        deadline = time.monotonic() + READY_S_MAX
        while time.monotonic() < deadline:
            answer = self.client.ask(wire.ListWorkers(0), wire.Workers, timeout_s=READY_S_MAX)
            if answer.workers:
                return
            time.sleep(0.05)
        for log in self._logs:
            print(log.read_text()[-3000:], file=sys.stderr)
        raise RuntimeError("the worker did not join")

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            for log in self._logs:
                print(log.read_text()[-3000:], file=sys.stderr)
        self.client.close()
        for process in (self.worker, self.coordinator):
            process.terminate()
        for process in (self.worker, self.coordinator):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._directory.cleanup()

    def submit(self, family: str, module: str = "tests.bench.tasks", **params: object) -> str:
        """Start a run; return its id."""
        root = wire.RootTask(module, family, {k: str(v) for k, v in params.items()})
        message = wire.Submit(0, new_uid(), "bench", [root], wire.SubmitOptions())
        return self.client.ask(message, wire.Submitted).run

    def run(self, family: str, module: str = "tests.bench.tasks", **params: object) -> float:
        """Run one root to its end; return the seconds from submit to the last update."""
        started = time.perf_counter()
        run = self.submit(family, module, **params)
        for update in self.client.watch(run):
            if update is not None and update.ended is not None:
                if update.ended.exit_code != 0:
                    raise RuntimeError(f"{family} ended with {update.ended}")
                break
        return time.perf_counter() - started

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Name the engine's processes by their part."""
        supervisor = psutil.Process(self.worker.pid)
        below = supervisor.children(recursive=True)
        return {
            "coordinator": [psutil.Process(self.coordinator.pid)],
            "supervisor": [supervisor],
            "agent": below[:1],
            "runners+planner": below[1:],
        }

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds used so far, by part."""
        used = {}
        for name, processes in self.processes().items():
            total = 0.0
            for process in processes:
                times = process.cpu_times()
                total += times.user + times.system
            used[name] = total
        return used

    def coordinator_rss(self) -> int:
        """Bytes of memory of the coordinator."""
        return int(psutil.Process(self.coordinator.pid).memory_info().rss)


def _start(log: Path, *words: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    with log.open("wb") as out:
        return subprocess.Popen([sys.executable, *words], stdout=out, stderr=out, env=env)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
