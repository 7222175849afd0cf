"""Seeds keep every promise and replay exactly; without a rule some promise breaks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from tests.simulation.faults import PROFILES
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutants.hunt import hunt, hunt_all, render
from tests.simulation.world import run_seed

SEEDS = range(7)
EVENTS = 2_500
#: What the seeds of all profiles together must have met, or they prove nothing.
PROBES = (
    "fault: agent crash",
    "fault: agent killed by its watchdog",
    "fault: agent stop drain",
    "fault: agent stop now",
    "fault: commit refused",
    "fault: container killed",
    "fault: coordinator crash after commit",
    "fault: coordinator crash before a turn",
    "fault: coordinator crash before commit",
    "fault: coordinator crash between sends",
    "fault: coordinator crash between turns",
    "fault: coordinator frozen",
    "fault: coordinator restart",
    "fault: cut message",
    "fault: host frozen",
    "fault: host frozen while joining",
    "fault: host lost",
    "fault: late message",
    "fault: lost message",
    "fault: partition down",
    "fault: partition up",
    "fault: partition up/down",
    "fault: planner killed",
    "fault: reconnect",
    "fault: repeated message",
    "fault: run cancelled",
    "fault: runner killed",
    "fault: supervisor crash",
    "probe: adopt after restart",
    "probe: alone after a crash",
    "probe: duplicate dispatch ignored",
    "probe: expiry",
    "probe: expiry after restart",
    "probe: fast release",
    "probe: fence",
    "probe: given back",
    "probe: late fence",
    "probe: letter heard",
    "probe: letter replied",
    "probe: old join ignored",
    "probe: recall",
    "probe: reused template",
    "probe: run with values of its run",
    "probe: dirty runner",
    "fault: import hangs",
    "fault: import kills its process",
    "worker: program cannot be forked",
    "probe: stale result rejected",
    "probe: stale template",
    "probe: batch",
    "probe: temporary output removed",
    "probe: twin executes",
    "probe: words",
    "probe: yield resumed",
    "run cancelled",
    "run failed",
    "run succeeded",
)
#: Mutants that fall at once.
QUICK = (
    "no_wait_after_restart",
    "no_dedup_of_dispatch",
    "ack_before_commit",
    "no_nonce",
    "no_self_fence",
    "term_too_short",
    "killed_is_not_reported",
    "planned_is_ready",
    "yields_are_not_acknowledged",
    "suspended_keeps_its_slot",
    "words_are_not_stored",
    "letters_are_delivered_again",
    "members_run_again_when_the_first_is_done",
    "member_stays_in_the_queue",
    "kinds_are_mixed",
    "task_runs_in_the_program_of_whoever_was_planned_first",
    "idle_runner_of_another_run_is_used",
    "blank_process_takes_work_before_it_has_a_program",
    "programs_that_are_over_stay",
    "definitions_are_mixed_up",
)
PROCESSES = 2


def seeds(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test of what all seeds together met.

    One process works that out: in half a minute, four times that on a busy machine.
    """
    return pytest.mark.xdist_group("seeds")(pytest.mark.timeout(600)(test))


@pytest.fixture(scope="module")
def counts() -> Counter[str]:
    """What all profiles met over their seeds; each seed must end well."""
    total: Counter[str] = Counter()
    for profile in PROFILES:
        for seed in SEEDS:
            result = run_seed(seed, profile, EVENTS)
            assert not result.violation, "\n".join([*result.story, f"{profile} seed {seed}"])
            total.update(result.counts)
    return total


@seeds
def test_seeds_of_every_profile_keep_every_promise(counts: Counter[str]) -> None:
    assert counts["settled"] == len(PROFILES) * len(SEEDS)
    assert counts["start"] > 1_000


@seeds
@pytest.mark.parametrize("probe", PROBES)
def test_seeds_reach(probe: str, counts: Counter[str]) -> None:
    assert counts[probe] > 0


def test_seed_with_another_hash_seed_tells_the_same_story() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seed", "3", "--events", "2000", "--log"]
    stories = [
        subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            timeout=60,
            text=True,
        ).stdout.splitlines()[:-1]  # the last line says how fast it was
        for hash_seed in ("1", "2")
    ]
    assert len(stories[0]) > 2_000
    assert stories[0] == stories[1]


@pytest.mark.parametrize("name", QUICK)
def test_mutant_is_caught(name: str) -> None:
    catch = hunt(name, range(6))
    assert catch.rule, render(catch)


def test_mutants_cover_every_rule() -> None:
    rules = {part for mutant in MUTANTS.values() for part in mutant.rule.split("+")}
    wanted = {f"C{n}" for n in range(1, 10)} | {f"W{n}" for n in range(1, 9)}
    assert wanted <= rules


def test_mutants_are_undone() -> None:
    before = run_seed(1, "calm", 500).digest
    for mutant in MUTANTS.values():
        with mutant.applied():
            pass
    assert run_seed(1, "calm", 500).digest == before


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_every_mutant_is_caught() -> None:
    catches = list(hunt_all(list(MUTANTS), PROCESSES))
    assert [render(catch) for catch in catches if not catch.as_wanted] == []
