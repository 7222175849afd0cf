"""One protocol rule less: each mutant is a small patch of the real cores that must be noticed.

A rule whose mutant survives is a rule that nothing here would miss. ``document`` has the mutants of
the model that came before the code, ``coordinator``, ``worker`` and ``engine`` one for each further
rule, ``batching`` those of batches, ``talk`` those of what attempts say and hear, ``temporary``
those of temporary outputs, ``programs`` those of whose process a task runs in, ``twins`` those of
tasks that have one id; ``hunt`` runs seeds until a promise breaks. ``python -m tests.simulation
--mutants`` hunts them all.
"""

from __future__ import annotations

from tests.simulation.mutants import (
    batching,
    coordinator,
    document,
    engine,
    programs,
    talk,
    temporary,
    twins,
    worker,
)
from tests.simulation.mutants.registry import MUTANTS, Mutant

__all__ = [
    "MUTANTS",
    "Mutant",
    "batching",
    "coordinator",
    "document",
    "engine",
    "programs",
    "talk",
    "temporary",
    "twins",
    "worker",
]
