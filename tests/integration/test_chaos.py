"""Minutes of murder: every process is killed and stopped at random moments, under load."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.targets.base import TEMPORARY_MARK
from tests.support.cluster import Cluster, Worker, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

#: How long the killing goes on.
CHAOS_S = float(os.environ.get("FLOW_CHAOS_S", "120"))
#: Until everything is done afterwards.
CALM_S = 180.0
#: Shorter, about as long and longer than the lease of the fast profile (10 s).
STOPS_S = (0.3, 2.0, 9.0, 13.0)
WORKERS = ("w1", "w2", "w3")
SLOTS = 2
#: Of each wave, as in ``chaos_tasks``.
SMALL, LONG = 1000, 8


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    # crashes of innocent runners must not end their tasks
    settings = {"FLOW_RETRY__CRASH_MAX": "1000", "FLOW_RETRY__DELAY_MAX_S": "0.5"}
    with Cluster(tmp_path / "c", "chaos_tasks", settings=settings) as cluster:
        yield cluster


class Chaos:
    """Seeded: the same number makes the same choices, though not at the same moments."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.random = random.Random(seed)
        self.story: list[str] = []
        self.done: dict[str, int] = {}
        self._stopped: list[tuple[float, int]] = []  # (when to continue, pid)

    def run(self, seconds: float) -> None:
        """Do harm until the time is over; leave everything running."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._wake(time.monotonic())
            self._harm()
            time.sleep(self.random.uniform(0.1, 1.2))
            self._revive()
        self._wake(float("inf"))
        self._revive()

    def _harm(self) -> None:
        name = self.random.choice(WORKERS)
        worker = self.cluster.workers[name]
        what = self.random.choices(
            ("kill agent", "kill runner", "kill planner", "kill supervisor", "kill coordinator",
             "stop agent", "stop runner", "stop supervisor", "stop coordinator"),
            (4, 6, 2, 2, 3, 2, 3, 2, 2),
        )[0]  # fmt: skip
        verb, role = what.split()
        pid = self._find(worker, role)
        if not pid or any(pid == stopped for _, stopped in self._stopped):
            return
        with contextlib.suppress(ProcessLookupError):
            if verb == "kill":
                os.kill(pid, signal.SIGKILL)
            else:
                seconds = self.random.choice(STOPS_S)
                os.kill(pid, signal.SIGSTOP)
                self._stopped.append((time.monotonic() + seconds, pid))
                what = f"{what} for {seconds} s"
            self.done[f"{verb} {role}"] = self.done.get(f"{verb} {role}", 0) + 1
            self.story.append(f"{time.monotonic():.2f} {what} {name} pid {pid}")

    def _find(self, worker: Worker, role: str) -> int:
        if role == "coordinator":
            assert self.cluster.coordinator is not None
            return self.cluster.coordinator.pid if self.cluster.coordinator.alive else 0
        if not worker.alive:
            return 0
        if role == "supervisor":
            return worker.pid
        found = worker.processes(role)
        return self.random.choice(found) if found else 0

    def _wake(self, now: float) -> None:
        for at, pid in [one for one in self._stopped if one[0] <= now]:
            self._stopped.remove((at, pid))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _revive(self) -> None:
        """Start again what an init system would."""
        coordinator = self.cluster.coordinator
        if coordinator is not None and not coordinator.alive:
            self.cluster.start_coordinator(wait=False)
        for name in WORKERS:
            if not self.cluster.workers[name].alive:
                self.cluster.start_worker(name, slots=SLOTS, wait=False)


@pytest.mark.parametrize("seed", [int(os.environ.get("FLOW_CHAOS_SEED", "1"))])
def test_killing_and_stopping_everything_loses_nothing_and_runs_nothing_twice(
    cluster: Cluster, seed: int
) -> None:
    cluster.start(*WORKERS, slots=SLOTS)
    waves = 6
    runs = [cluster.detach("Wave", "--wave", str(wave)) for wave in range(2)]
    chaos = Chaos(cluster, seed)
    try:
        for wave in range(2, waves):
            chaos.run(CHAOS_S / (waves - 2))
            wait_until(lambda: cluster.about() is not None, "the coordinator between waves")
            runs.append(cluster.detach("Wave", "--wave", str(wave)))
        for run in runs:
            cluster.wait_ended(run, timeout_s=CALM_S)
    finally:
        print("\n".join(chaos.story))
        print(f"harm done: {chaos.done}")
    ledger = cluster.ledger
    ended = ledger.ended()
    for wave in range(waves):
        assert {f"Small-{wave}-{n}" for n in range(SMALL)} <= ended
        assert {f"Long-{wave}-{n}" for n in range(LONG)} <= ended
        assert {f"Wave-{wave}", f"Yielding-{wave}"} <= ended
    ledger.check(ended)
    print(f"{len(ledger.started())} executions of {len(ended)} tasks")
    # who is killed while writing leaves what it had begun, beside its place: one a slot at most
    begun = list(cluster.modules.rglob(f"*{TEMPORARY_MARK}*"))
    assert len(begun) <= SLOTS * sum(chaos.done.values()), begun
    for path in begun:
        path.unlink()
    if CHAOS_S >= 60:
        missing = {f"{verb} {role}" for verb in ("kill", "stop") for role in
                   ("agent", "runner", "supervisor", "coordinator")} - set(chaos.done)  # fmt: skip
        assert not missing, f"this seed never did {missing}: choose another"
