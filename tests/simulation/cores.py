"""Where the simulation meets the product: how cores are made, stored and recovered.

Mutants patch what is called from here on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

from pytest import MonkeyPatch

from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.machine import Coordinator
from flow_coordinator.shell import loop
from flow_coordinator.shell.recovery import restore
from flow_coordinator.store.base import Store
from flow_worker.core.config import WorkerConfig
from flow_worker.core.machine import Worker
from tests.simulation.graph import CAPACITY, LIMITS
from tests.support.memory_store import MemoryStore

if TYPE_CHECKING:
    from tests.simulation.host import Host
    from tests.simulation.kernel import Kernel
    from tests.simulation.world import World

UTC_AT_START_S = 1_800_000_000.0
EXTERNAL_CHECK_S = 5.0
RETRY_DELAY_MAX_S = 20.0
ENDED_RUNS_MAX = 10_000
#: Some imports hang until they are killed.
IMPORT_TIMEOUT_S = 20.0
#: Few, so that after a freeze not all that waits is read at once.
TURN_MESSAGES_MAX = 8


@contextmanager
def simulated() -> Iterator[None]:
    """Leave the product's modules as they were, and let its turns be short."""
    with MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", loop.time)
        patch.setattr(loop, "TURN_MESSAGES_MAX", TURN_MESSAGES_MAX)
        yield


def make_worker(host: Host, uid: str, predecessors: list[str], rng: Random) -> Worker:
    """Start one agent's core."""
    config = WorkerConfig(
        uid=uid,
        name=host.name,
        host=host.name,
        host_key=f"key-of-{host.name}",
        boot_id=host.boot_id,
        slots=host.slots,
        planners=1 + host.slots % 2,
        capacity=dict(CAPACITY),
        predecessors=predecessors,
        parked_max=host.world.profile.parked_max,
        runner_tasks_max=host.world.profile.runner_tasks_max,
        import_timeout_s=IMPORT_TIMEOUT_S,
        reuse_code=host.world.profile.reuse_code,
    )
    return Worker(config, rng)


class SimTime:
    """Stands in for the module ``time`` in the coordinator's loop: nothing real may enter."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def time(self) -> float:
        """UTC of the simulated world."""
        return UTC_AT_START_S + self._kernel.now


def make_store() -> MemoryStore:
    """Make an empty disk."""
    return MemoryStore(lineage="00" * 8)


def recover(world: World, store: Store, rng: Random, now: float) -> Coordinator:
    """Start a coordinator from what is on the disk, as ``flow_coordinator.cli`` does."""
    time = SimTime(world.kernel)
    loop.time = time  # type: ignore[assignment]
    config = CoreConfig(
        timing=world.profile.timing,
        limits=dict(LIMITS),
        external_check_s=EXTERNAL_CHECK_S,
        retry_delay_max_s=RETRY_DELAY_MAX_S,
        ended_runs_max=ENDED_RUNS_MAX,
    )
    snapshot = store.load()
    ended = store.runs_ended(ENDED_RUNS_MAX)
    return restore(snapshot, ended, config, rng, now, time.time())
