"""Run seeds under a mutant until a promise breaks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.simulation.mutants import MUTANTS
from tests.simulation.world import run_seed

#: Events of one seed while it is broken: many short stories find more than few long ones.
EVENTS = 5_000
SEEDS_MAX = 120
#: An equivalent mutant must survive this many seeds.
EQUIVALENT_SEEDS = 6


@dataclass(frozen=True)
class Catch:
    """How a hunt ended."""

    name: str
    #: the broken promise; empty: it survived
    rule: str
    violation: str
    seed: int
    seeds: int
    #: all the cores were told, over all seeds of this hunt
    events: int
    seconds: float

    @property
    def as_wanted(self) -> bool:
        """Whether the mutant was caught (or rightly was not)."""
        return bool(self.rule) != bool(MUTANTS[self.name].equivalent)


def hunt(name: str, seeds: Iterable[int] = range(SEEDS_MAX)) -> Catch:
    """Hunt one mutant."""
    mutant = MUTANTS[name]
    began = time.perf_counter()
    events = count = 0
    for seed in seeds:
        if mutant.equivalent and count == EQUIVALENT_SEEDS:
            break
        count += 1
        with mutant.applied():
            result = run_seed(seed, mutant.profile, EVENTS)
        events += result.events
        if result.violation:
            spent = time.perf_counter() - began
            return Catch(name, result.rule, result.violation, seed, count, events, spent)
    return Catch(name, "", "", -1, count, events, time.perf_counter() - began)


def hunt_all(names: list[str], processes: int = 1) -> Iterator[Catch]:
    """Hunt many, each in one process."""
    if processes < 2:
        yield from map(hunt, names)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(hunt, names)


def render(catch: Catch) -> str:
    """Spell one line of the table."""
    mutant = MUTANTS[catch.name]
    if catch.rule:
        fate = f"{catch.rule:5s} seed {catch.seed:3d}, {catch.events:7d} events"
    else:
        word = "equivalent" if mutant.equivalent else "SURVIVED"
        fate = f"{word} {catch.seeds} seeds, {catch.events} events"
    return f"{catch.name:36s} {mutant.rule:8s} {fate:34s} {catch.seconds:5.1f} s"
