"""What a pipeline pays before anything runs: making tasks beside Luigi, and the two starts."""

from __future__ import annotations

import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence

#: Tasks that each library makes.
COUNT = 100_000
STARTS = 15
#: What the starts may take on an idle machine. Source: the numbers this project set itself.
IMPORT_S_MAX = 0.12
HELP_S_MAX = 0.15

#: Both in one process, in turn, so that whatever else the machine does is the same for both.
_MAKING = textwrap.dedent(
    f"""
    import datetime, importlib, sys, time

    def declare(library):
        class Load(library.Task):
            day = library.DateParameter()
            region = library.Parameter()
            n = library.IntParameter()
        return Load

    def seconds(cls):
        type(cls).clear_instance_cache()
        day = datetime.date(2026, 11, 20)
        started = time.perf_counter()
        for n in range({COUNT}):
            cls(day=day, region="north", n=n).task_id
        return time.perf_counter() - started

    classes = [declare(importlib.import_module(name)) for name in ("flow", "luigi")]
    ids = {{cls(day=datetime.date(2026, 1, 2), region="x", n=3).task_id for cls in classes}}
    assert len(ids) == 1, ids
    for _ in range(int(sys.argv[1])):
        print(*[seconds(cls) for cls in classes], flush=True)
    """
)


def making(repeat: int) -> None:
    """Print the row about making tasks and naming them."""
    command = [sys.executable, "-W", "ignore", "-c", _MAKING, str(repeat)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    pairs = [[float(text) for text in line.split()] for line in done.stdout.splitlines()]
    ours, theirs = (statistics.median(each) for each in zip(*pairs, strict=True))
    print(
        f"{f'make and name {COUNT:,} tasks':34} {ours:8.3f} {COUNT / ours:9.0f} "
        f"against Luigi's {theirs:.1f} s: {theirs / ours:.1f} x as fast",
        flush=True,
    )


def starts() -> None:
    """Print the rows about ``import flow`` and ``flow --help``, beside Python's own start."""
    bare = _start(["-c", "pass"])
    for name, words, most in (
        ("import flow", ["-c", "import flow"], IMPORT_S_MAX),
        ("flow --help", ["-m", "flow", "--help"], HELP_S_MAX),
    ):
        median, least = _start(words)
        print(
            f"{name:34} {median:8.3f}   (min {least:.3f}; at most {most:.2f} wanted; "
            f"python alone {bare[0]:.3f})",
            flush=True,
        )


def _start(words: Sequence[str]) -> tuple[float, float]:
    """Return (median, least) seconds of a whole process."""
    times = []
    for _ in range(STARTS):
        started = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times), min(times)
