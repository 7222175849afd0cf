"""``python -m tests.bench [--quick] [--only NAME] [--repeat N]``: print the table."""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from flow.client.client import Client
from flow.errors import UsageError
from tests.bench import authoring, planning, programs
from tests.bench.engine import Engine
from tests.bench.rivals import Rival, millisecond

_SALT = iter(range(1, 1 << 30))


class Bench:
    """Runs workloads in turn with the rival and prints a row each."""

    def __init__(self, engine: Engine, rival: Rival, repeat: int) -> None:
        self.engine = engine
        self.rival = rival
        self.repeat = repeat

    def row(
        self, name: str, tasks: int, ours: Callable[[], float], theirs: Callable[[], float] | None
    ) -> None:
        """Measure both, alternating; print medians, ratio and CPU per task by process."""
        mine: list[float] = []
        other: list[float] = []
        before = self.engine.cpu_s()
        for _ in range(self.repeat):
            mine.append(ours())
            if theirs is not None:
                other.append(theirs())
        after = self.engine.cpu_s()
        wall_s = statistics.median(mine)
        count = tasks * self.repeat
        cpu = " ".join(
            f"{part} {(after[part] - before.get(part, 0.0)) / count * 1e6:.0f}" for part in after
        )
        rival = f"{statistics.median(other):8.3f}" if other else "       -"
        ratio = f"{wall_s / statistics.median(other):6.2f}" if other else "     -"
        print(f"{name:34} {wall_s:8.3f} {tasks / wall_s:9.0f} {rival} {ratio}  {cpu}", flush=True)

    def latency(self) -> None:
        """One task on an idle cluster, submit to done."""
        times = []
        for _ in range(60):
            times.append(self.engine.run("Empty", n=next(_SALT)))
            time.sleep(0.02)
        ms = [value * 1000 for value in times]
        low, middle = min(ms), statistics.median(ms)
        print(f"{'one task, idle: median ms':34} {middle:8.2f}   (min {low:.2f})", flush=True)

    def planning(self) -> None:
        """Planning alone: everything is complete already, but answers slowly."""

        def ours() -> float:
            return self.engine.run("Check", salt=next(_SALT), width=planning.OURS)

        pairs = [(ours(), planning.luigi_s()) for _ in range(self.repeat)]
        planning.show([mine for mine, _ in pairs], [theirs for _, theirs in pairs])

    def answers(self, width: int) -> None:
        """How long a question waits while one task with many requirements is planned and run.

        The same run's graphs are asked for in between.
        """
        from flow.wire.messages import client as wire

        graphs = [wire.ShowGraph(0, "last", by, limit=500) for by in ("families", "tasks")]
        waits: dict[str, list[float]] = {"answer": [], "families": [], "tasks": []}
        over = threading.Event()

        def ask() -> None:
            with Client(self.engine.address) as client:

                def timed(name: str, request: wire.Request, kind: type[msgspec.Struct]) -> None:
                    started = time.perf_counter()
                    with contextlib.suppress(UsageError):  # the graph of tasks of an ended run
                        client.ask(request, kind, timeout_s=60)
                        waits[name].append((time.perf_counter() - started) * 1000)

                while not over.wait(0.01):
                    timed("answer", wire.ListWorkers(0), wire.Workers)
                    for graph in graphs:
                        timed(graph.by, graph, wire.Graph)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            self.engine.run("FanOut", salt=next(_SALT), width=width)
        finally:
            over.set()
            asking.join()
        for what, ms in waits.items():
            name = f"{what} during {width:,}: median ms"
            most = f"max {max(ms, default=0.0):.0f} of {len(ms)}"
            print(f"{name:34} {statistics.median(ms or [0.0]):8.2f}   ({most})", flush=True)

    def blocked(self, width: int) -> None:
        """Throughput of one family while many tasks of another wait for a full resource."""

        def fan() -> float:
            return self.engine.run("FanOut", salt=next(_SALT), width=3000)

        with tempfile.TemporaryDirectory() as directory:
            flag = Path(directory) / "go"
            self.engine.submit("Holder", salt=next(_SALT), until=flag)
            free = statistics.median(fan() for _ in range(5))
            before = self.engine.coordinator_rss()
            run = self.engine.submit("BlockedFan", salt=next(_SALT), width=width)
            self._wait_planned(run, width)
            grown = (self.engine.coordinator_rss() - before) / width
            loaded = statistics.median(fan() for _ in range(5))
            print(f"{f'memory, {width} pending: bytes/task':34} {grown:8.0f}", flush=True)
            name = f"other family, {width} blocked"
            print(
                f"{name:34} {loaded:8.3f} {3000 / loaded:9.0f}  against {3000 / free:.0f} without"
            )
            self._cancel(run)
            flag.touch()

    def _wait_planned(self, run: str, width: int) -> None:
        from flow.wire.messages import client as wire

        while True:
            shown = self.engine.client.ask(wire.ShowRun(0, run), wire.RunShown, timeout_s=60)
            ready = sum(family.counts.get("ready", 0) for family in shown.families)
            if ready >= width:
                return
            time.sleep(0.2)

    def _cancel(self, run: str) -> None:
        from flow.wire.messages import client as wire

        self.engine.client.ask(wire.Cancel(0, run), wire.Changed, timeout_s=60)


def command() -> None:
    """``flow run`` of one empty task, the whole process."""
    times = []
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "one.py").write_text(
            "import flow\n\nclass One(flow.Task):\n    def run(self):\n        pass\n"
        )
        for _ in range(7):
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "flow", "run", "one", "One"],
                cwd=directory,
                check=True,
                capture_output=True,
            )
            times.append(time.perf_counter() - started)
    name = "flow run of one empty task"
    print(f"{name:34} {statistics.median(times):8.3f}   (min {min(times):.3f})", flush=True)


def workloads(bench: Bench, quick: bool) -> Iterator[tuple[str, Callable[[], None]]]:
    """Name everything that is measured."""
    engine, rival = bench.engine, bench.rival

    def fan(width: int) -> None:
        bench.row(
            f"fan-out {width:,} + join",
            width + 1,
            lambda: engine.run("FanOut", salt=next(_SALT), width=width),
            lambda: rival.fan(width),
        )

    yield (
        "milliseconds",
        lambda: bench.row(
            "1,000 x 1 ms + join",
            1001,
            lambda: engine.run("Milliseconds", salt=next(_SALT), width=1000),
            lambda: rival.fan(1000, millisecond),
        ),
    )
    yield "fan1k", lambda: fan(1_000)
    yield "fan10k", lambda: fan(10_000)
    if not quick:
        yield "fan100k", lambda: fan(100_000)
    yield (
        "batches",
        lambda: bench.row(
            "10,000 in batches of 100 + join",
            10_001,
            lambda: engine.run("Joined", salt=next(_SALT), width=10_000),
            lambda: rival.fan(10_000),
        ),
    )
    yield (
        "chain",
        lambda: bench.row(
            "chain of 1,000",
            1000,
            lambda: engine.run("Chain", salt=next(_SALT), n=1000),
            lambda: rival.chain(1000),
        ),
    )
    yield (
        "layers",
        lambda: bench.row(
            "10 layers x 1,000, 3 requirements",
            10_001,
            lambda: engine.run("Layers", salt=next(_SALT), depth=10, width=1000),
            lambda: rival.layers(10, 1000),
        ),
    )
    yield "planning", bench.planning
    yield "latency", bench.latency
    yield "answers", lambda: bench.answers(10_000 if quick else 100_000)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--profile", default="", choices=["", "coordinator"])
    args = parser.parse_args()
    print(f"{'workload':34} {'wall s':>8} {'tasks/s':>9} {'pool s':>8} {'ratio':>6}  CPU us/task")
    if args.only in ("", "command"):
        command()
    if args.only in ("", "starts"):
        authoring.starts()
    if args.only in ("", "making"):
        authoring.making(args.repeat)
    rival = Rival()
    try:
        with Engine(profile=args.profile) as engine:
            engine.run("FanOut", salt=next(_SALT), width=200)  # warm
            bench = Bench(engine, rival, args.repeat)
            for name, measure in workloads(bench, args.quick):
                if args.only in ("", name):
                    measure()
        if args.only in ("", "blocked"):
            # another coordinator: memory that this one has had before would not be seen to grow
            with Engine() as engine:
                Bench(engine, rival, args.repeat).blocked(10_000 if args.quick else 100_000)
    finally:
        rival.close()
    for name, measure in (
        ("runs", lambda: programs.runs(programs.RUNS_QUICK if args.quick else programs.RUNS)),
        ("threads", programs.threads),
        ("memory", programs.memory),
    ):
        if args.only in ("", name):
            measure()


if __name__ == "__main__":
    main()
