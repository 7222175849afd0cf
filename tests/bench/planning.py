"""Planning tasks whose targets take their time to answer, beside Luigi's serial check."""

from __future__ import annotations

import subprocess
import sys
import textwrap

#: Tasks that flow plans, and how many Luigi is given: it asks one after the other.
OURS = 10_000
THEIRS = 400
ANSWER_S = 0.005

_LUIGI = textwrap.dedent(
    f"""
    import time, luigi

    class Slow(luigi.Target):
        def exists(self):
            time.sleep({ANSWER_S})
            return True

    class Present(luigi.Task):
        n = luigi.IntParameter()
        def output(self):
            return Slow()

    class All(luigi.WrapperTask):
        def requires(self):
            return [Present(n=n) for n in range({THEIRS})]
        def complete(self):
            return False

    from luigi.scheduler import Scheduler
    from luigi.worker import Worker
    with Worker(scheduler=Scheduler()) as worker:
        started = time.perf_counter()
        worker.add(All())
        print(time.perf_counter() - started)
    """
)


def luigi_s() -> float:
    """Seconds that Luigi needs to plan ``THEIRS`` tasks."""
    command = [sys.executable, "-W", "ignore", "-c", _LUIGI]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def show(ours_s: list[float], theirs_s: list[float]) -> None:
    """Print the row: Luigi's time is that of fewer tasks, times as many."""
    import statistics

    ours, theirs = statistics.median(ours_s), statistics.median(theirs_s) * OURS / THEIRS
    print(
        f"{f'plan {OURS:,} x 5 ms targets':34} {ours:8.3f} {OURS / ours:9.0f} "
        f"against Luigi's {theirs:.1f} s (from {THEIRS}): {theirs / ours:.0f} x as fast",
        flush=True,
    )
