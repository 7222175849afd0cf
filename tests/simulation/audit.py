"""Recounts of what the cores hold: bounds (S13), ages of leases (L2), what nobody wants (S10).

Which promise of PROTOCOL.md is checked where:

===  ==========================================================================================
S1   ``invariants.check`` (a task has one lease), ``CoordinatorJudge`` (how one may end)
S2   ``Truth.judged``: one DONE for each grant, no grant after it
S3   ``Truth``: executing and parked copies; ``AgentJudge`` for what leads to a second one
S4   ``Truth.judged``
S5   ``World.recovered``, ``Truth.dispatched``, ``Client``
S6   ``World.committed``, ``Truth.dispatched``, ``SimCoordinator.start`` (epochs)
S7   ``Truth`` by executions, ``invariants.check`` by leases
S8   ``Truth.started``, ``Truth.resumed``
S9   ``invariants.check``: positions agree with every edge
S10  the tables of moves stop the core; ``AgentJudge`` for what a worker refuses; ``Audit`` for open
     tasks that nobody wants
S11  ``World.recovered``: what was acknowledged is on the disk (prefixes: conformance of stores)
S12  ``TalkJudge``, ``Writer``
S13  ``Audit``
S14  ``invariants.check``
L1   ``World``: patience; L4 is part of it here, as no run is without end
L2   ``Audit``, and at the end
L3   ``World``: joined soon after everything healed
L5   ``World``, at the end
L6   ``World``, at the end: executions, processes and agents
P3   as S3; ``Runner`` for finished work, ``twins`` for tasks that write the same path
P5   ``World.run_ended``
===  ==========================================================================================
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from flow.wire.states import TERMINAL
from flow_coordinator.core import dispatch, graph, invariants, leases, twins, workers
from flow_worker.core import config as worker_config

if TYPE_CHECKING:
    from flow_coordinator.core.records import WorkerRecord
    from flow_coordinator.core.state import State
    from tests.simulation.host import Agent
    from tests.simulation.world import World

#: The bounds as they should be: mutants change those of the cores.
PREFETCH_S, PREFETCH_MAX, LONG_S = dispatch.PREFETCH_S, dispatch.PREFETCH_MAX, leases.LONG_S
#: A lease's timer fires this late at most while the coordinator is awake, seconds.
LATE_S = 1.0


def recount(world: World) -> None:
    """Compare everything with its bounds and with each other. Cost: O(everything)."""
    for host in world.hosts:
        if host.agent is not None:
            _agent(world, host.agent)
    boss = world.coordinator
    if not boss.alive:
        return
    state = boss.core.state
    try:
        invariants.check(state)
    except AssertionError as error:
        world.truth.broken("S14", str(error))
    for task in twins.everything(state):
        if task.state not in TERMINAL and not task.held and not graph.is_wanted(task):
            world.truth.broken("S10", f"{task.task_id} is open and nobody wants it")
    for worker in state.workers.values():
        _worker(world, state, worker)
    _bound(world, len(state.nonces), workers.NONCES_MAX, "nonces")
    if boss.frozen_until < world.kernel.now - LATE_S:
        _ages(world, state)


def _bound(world: World, count: float, most: float, what: str) -> None:
    if count > most:
        world.truth.broken("S13", f"{count} {what}, the bound is {most}")


def _worker(world: World, state: State, worker: WorkerRecord) -> None:
    name = f"of {worker.name}"
    _bound(world, len(worker.plans), max(1, worker.planners), f"questions {name}")
    _bound(world, len(worker.recent), 2 * workers.RECENT_MAX, f"tokens remembered {name}")
    # what an earlier start granted is held for what it is now, not for what it was expected to be
    mine = [
        lease for lease in worker.held.values() if lease.token.split(".")[1] == str(state.epoch)
    ]
    holding = [lease for lease in mine if lease.holds]
    long = sum(lease.expected_s >= LONG_S for lease in holding)
    ahead_s = sum(lease.expected_s for lease in holding if lease.expected_s < LONG_S)
    _bound(world, long, worker.slots, f"long tasks {name}")
    most = worker.slots * (1 + PREFETCH_MAX)
    _bound(world, len(holding), most, f"outstanding dispatches {name}")
    _bound(world, ahead_s, PREFETCH_S * worker.slots + LONG_S, f"seconds {name}")


def _ages(world: World, state: State) -> None:
    """L2: no lease is older than its worker's last report and the term."""
    term_s = world.profile.timing.term_s + LATE_S
    for lease in state.leases.values():
        worker = state.workers.get(lease.uid)
        if worker is not None:
            silent_s = state.now - worker.heard_at
            if silent_s > term_s:
                world.truth.broken("L2", f"{lease.token}: silence for {silent_s:.1f} s")
        elif state.now > state.orphans_until.get(lease.uid, state.now) + LATE_S:
            world.truth.broken("L2", f"{lease.token}: its worker did not come back")


def _agent(world: World, agent: Agent) -> None:
    core = agent.core
    name = f"of {agent.name}"
    processes = core.processes.all.values()
    roles = Counter(process.role for process in processes)
    programs_max = core.config.programs_max
    # one more for each program that would have none
    _bound(world, roles["runner"], core.config.processes_max + programs_max, f"runners {name}")
    _bound(world, roles["planner"], core.config.planners, f"planners {name}")
    # the spare one, and those on their way out
    _bound(world, roles["template"], 2 * programs_max + 1, f"templates {name}")
    _bound(world, core.tokens.busy, core.config.slots, f"busy runners {name}")
    parked = sum(not holding.abandoned for holding in core.tokens.parked.values())
    _bound(world, parked, core.config.parked_max, f"parked generators {name}")
    for process in processes:
        _bound(world, len(process.batch), worker_config.BATCH_TASKS_MAX, f"tasks in a batch {name}")
