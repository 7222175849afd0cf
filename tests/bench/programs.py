"""Run after run, and what the processes of one run cost: templates, forks, memory.

The modules are written for the measurement: one imports nothing of its own, one imports pandas.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.bench.engine import Engine

RUNS, RUNS_QUICK = 200, 40
#: Luigi starts a program for each: a few are enough for a median.
LUIGI_RUNS = 7
THREAD_TASKS = 1_000
SLOTS = 64

_MODULE = """
import os, threading, time
import {library} as lib
{imports}

class One(lib.Task):
    n = lib.IntParameter(default=0)

    def complete(self):
        return False

    def run(self):
        pass

class LeavesThread(lib.Task):
    n = lib.IntParameter()

    def run(self):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()

class Threads(lib.Task):
    width = lib.IntParameter()

    def requires(self):
        return [LeavesThread(n=n) for n in range(self.width)]

    def run(self):
        pass

class Sleeps(lib.Task):
    n = lib.IntParameter()
    until = lib.Parameter()

    def run(self):
        while not os.path.exists(self.until):
            time.sleep(0.05)

class Sleepers(lib.Task):
    width = lib.IntParameter()
    until = lib.Parameter()

    def requires(self):
        return [Sleeps(n=n, until=self.until) for n in range(self.width)]

    def run(self):
        pass
"""


def _write(directory: str) -> None:
    for name, imports in (("light", ""), ("heavy", "import pandas")):
        text = _MODULE.format(library="flow", imports=imports)
        Path(directory, f"{name}_program.py").write_text(text)
        text = _MODULE.format(library="luigi", imports=imports)
        Path(directory, f"{name}_luigi.py").write_text(text)


def runs(count: int) -> None:
    """Run one task ``count`` times, one after the other, beside Luigi doing the same."""
    with tempfile.TemporaryDirectory() as directory:
        _write(directory)
        with Engine(path=directory) as engine:
            for name in ("light", "heavy"):
                module = f"{name}_program"
                times = [engine.run("One", module=module, n=n) for n in range(count)]
                theirs = [_luigi_s(directory, f"{name}_luigi", n) for n in range(LUIGI_RUNS)]
                ours, luigi = statistics.median(times), statistics.median(theirs)
                title = f"{count} runs, module {'with pandas' if name == 'heavy' else 'alone'}"
                print(
                    f"{title:34} {sum(times):8.3f} {count / sum(times):9.1f} "
                    f"each {ours * 1000:.1f} ms against Luigi's {luigi * 1000:.0f} ms",
                    flush=True,
                )


def _luigi_s(directory: str, module: str, n: int) -> float:
    words = ["--module", module, "One", "--n", str(n), "--local-scheduler", "--workers", "2"]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "luigi", *words, "--log-level", "ERROR"],
        cwd=directory,
        env={"PYTHONPATH": directory},
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - started


def threads() -> None:
    """Tasks that each leave a thread behind, so that each needs a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        _write(directory)
        with Engine(path=directory) as engine:
            for name in ("light", "heavy"):
                took_s = engine.run("Threads", module=f"{name}_program", width=THREAD_TASKS)
                title = f"{THREAD_TASKS:,} left threads, {'pandas' if name == 'heavy' else 'light'}"
                rate = THREAD_TASKS / took_s
                print(f"{title:34} {took_s:8.3f} {rate:9.0f} a fork each", flush=True)


def memory() -> None:
    """Memory of a worker whose every slot runs a task of a module with pandas."""
    with tempfile.TemporaryDirectory() as directory:
        _write(directory)
        with Engine(slots=SLOTS, path=directory) as engine:
            before = _memory(engine)
            flag = Path(directory, "go")
            engine.submit("Sleepers", module="heavy_program", width=SLOTS, until=flag)
            while _busy(engine) < SLOTS:
                time.sleep(0.1)
            grown = [now - old for now, old in zip(_memory(engine), before, strict=True)]
            pss, rss = (amount / SLOTS / 1e6 for amount in grown)
            title = f"{SLOTS} slots with pandas: MB/slot"
            print(f"{title:34} {pss:8.1f} proportional   ({rss:.0f} resident)", flush=True)
            flag.touch()


def _busy(engine: Engine) -> int:
    from flow.wire.messages import client as wire

    workers = engine.client.ask(wire.ListWorkers(0), wire.Workers).workers
    return sum(worker.busy for worker in workers)


def _memory(engine: Engine) -> tuple[int, int]:
    """Return the proportional and the resident set sizes of all the worker's processes, bytes."""
    own = psutil.Process(engine.worker.pid)
    pss = rss = 0
    for process in itertools.chain([own], own.children(recursive=True)):
        try:
            sizes = process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        pss, rss = pss + sizes.pss, rss + sizes.rss
    return pss, rss
