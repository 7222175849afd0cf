"""``python -m tests.simulation``: run seeds, tell one seed's story, try mutants."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.simulation.faults import PROFILES
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutants.hunt import hunt_all, render
from tests.simulation.world import EVENTS_DEFAULT, Result, run_seed


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", metavar="A..B", help="both ends included")
    parser.add_argument("--events", type=int, default=EVENTS_DEFAULT, help="per seed, while broken")
    parser.add_argument("--profile", choices=PROFILES, default="mixed")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--log", action="store_true", help="print the whole story")
    parser.add_argument("--about", default="", help="only lines that mention this")
    parser.add_argument("--counts", action="store_true", help="print all counts")
    parser.add_argument("--keep-going", action="store_true", help="after a violation too")
    parser.add_argument(
        "--mutants", nargs="*", metavar="NAME", help="break one rule each (default: every rule)"
    )
    args = parser.parse_args()
    if args.mutants is not None:
        return _hunt(args.mutants, args.processes)
    first, last = args.seed, args.seed
    if args.seeds:
        first, last = (int(part) for part in args.seeds.split(".."))
    one = partial(run_seed, profile=args.profile, events=args.events, log=args.log)
    return _run(one, range(first, last + 1), args)


def _hunt(names: list[str], processes: int) -> int:
    unknown = [name for name in names if name not in MUTANTS]
    if unknown:
        print(f"no mutant {', '.join(unknown)}; there are: {', '.join(MUTANTS)}")
        return 2
    survivors = []
    for catch in hunt_all(names or list(MUTANTS), processes):
        print(render(catch), flush=True)
        if not catch.as_wanted:
            survivors.append(catch.name)
    print(f"not as wanted: {', '.join(survivors)}" if survivors else "every mutant as wanted")
    return 1 if survivors else 0


def _run(one: partial[Result], seeds: range, args: argparse.Namespace) -> int:
    began = time.perf_counter()
    counts: Counter[str] = Counter()
    events = violations = 0
    for result in _results(one, seeds, args.processes):
        events += result.events
        counts.update(result.counts)
        if result.violation or args.log:
            lines = [line for line in result.story if args.about in line]
            print("\n".join(lines))
        if result.violation:
            violations += 1
            print(f"seed {result.seed}: {result.violation}")
            if not args.keep_going:
                break
        elif len(seeds) == 1:
            print(f"seed {result.seed}: {result.digest}, {result.seconds:.0f} virtual seconds")
    spent = time.perf_counter() - began
    for name in sorted(counts):
        if args.counts or name.startswith(("fault", "probe", "start", "run ")):
            print(f"{counts[name]:9d}  {name}")
    print(f"{len(seeds)} seeds, {events} events, {violations} violations, {events / spent:.0f}/s")
    return 1 if violations else 0


def _results(one: partial[Result], seeds: range, processes: int) -> map[Result]:
    if processes < 2:
        return map(one, seeds)
    pool = ProcessPoolExecutor(processes)
    return pool.map(one, seeds)  # type: ignore[return-value]


if __name__ == "__main__":
    sys.exit(main())
