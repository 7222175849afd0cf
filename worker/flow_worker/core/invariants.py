"""What must be true of a worker core between any two events. Called at the end of every test."""

from __future__ import annotations

from flow_worker.channel import Role
from flow_worker.core.machine import Worker
from flow_worker.core.records import Process, ProcessState
from flow_worker.core.transitions import Hold, Link

#: Rounding of a sum of durations, seconds.
LOAD_ERROR_S = 1e-6


def check(worker: Worker) -> None:
    """Compare every index with the records. Raises ``AssertionError``. Cost: O(everything)."""
    _check_tokens(worker)
    _check_programs(worker)
    for process in worker.processes.all.values():
        _check_process(process)
    processes = worker.processes
    dying = [p for p in processes.all.values() if p.state is ProcessState.DYING]
    assert processes.dying == len(dying), "dying processes are miscounted"
    assert processes.stuck == sum(p.stuck for p in processes.all.values()), "stuck miscounted"
    joined = worker.joining.state is Link.JOINED
    assert joined == (worker.joining.session is not None), "a session exists exactly while joined"


def _check_tokens(worker: Worker) -> None:
    tokens = worker.tokens
    holdings = list(tokens.holdings.values())
    live = [h for h in holdings if h.state is not Hold.ENDED]
    queued = [h for h in holdings if h.state is Hold.QUEUED]
    assert tokens.live == len(live), f"live is {tokens.live}, found {len(live)}"
    assert tokens.queued == len(queued), f"queued is {tokens.queued}, found {len(queued)}"
    programs = [*worker.programs.all.values(), *worker.programs.ending, *worker.programs.resting]
    waiting = [h for one in programs for h in one.queue if h.state is Hold.QUEUED]
    assert sorted(h.token for h in waiting) == sorted(h.token for h in queued), "queue differs"
    parked = [h.token for h in holdings if h.state is Hold.PARKED]
    assert sorted(parked) == sorted(tokens.parked), "parked differs"
    busy = [p for p in worker.processes.all.values() if p.batch]
    assert tokens.busy == len(busy) <= worker.config.slots, f"busy is {tokens.busy}: {busy}"
    ended = {h.token for h in holdings if h.state is Hold.ENDED}
    assert ended <= set(worker.outbox.reports), "an ended token without its report"
    assert not set(worker.outbox.reports) & {h.token for h in live}, "a report of a live token"
    held = {h.token for h in live}
    assert set(worker.speech.speakers) <= held, "a token that ended still has something to say"
    for holding in live:
        places = [
            p.number
            for p in worker.processes.all.values()
            if holding in p.batch or holding.token in p.parked
        ]
        expected = [] if holding.state is Hold.QUEUED else [holding.process]
        assert places == expected, f"{holding.token} is in {places}, expected {expected}"
    alone = tokens.alone
    if alone is not None:
        assert alone.state in (Hold.RUNNING, Hold.KILLING), "the lone task does not run"
        assert tokens.busy == 1, "something runs beside the lone task"


def _check_programs(worker: Worker) -> None:
    holdings = [h for h in worker.tokens.holdings.values() if h.state is not Hold.ENDED]
    requests = list(worker.planning.requests.values())
    programs = [*worker.programs.all.values(), *worker.programs.ending, *worker.programs.resting]
    for program in programs:
        own = [h for h in holdings if h.program is program]
        assert program.holdings == len(own), f"program {program.number}: holdings miscounted"
        queued = [h for h in own if h.state is Hold.QUEUED]
        assert program.queued == len(queued), f"program {program.number}: queued miscounted"
        open_ = sum(one.program is program for one in requests)
        assert open_ <= program.requests <= open_ + 1, f"program {program.number}: requests"
        for process in program.processes.values():
            assert process.program is program, f"process {process.number} changed its program"
            assert worker.processes.all.get(process.number) is process, "a process that is gone"
            for holding in (*process.batch, *process.parked.values()):
                assert holding.program is program, f"{holding.token} is in a stranger's process"
    for process in worker.processes.all.values():
        spare = process.role == Role.TEMPLATE and process.program is None
        assert spare or process.role == Role.BOTH or process.program in programs, "owned by nobody"
    resting = worker.programs.resting
    assert not any(one.in_use for one in resting), "a program that is in use rests"
    assert all(one.template is not None for one in resting), "a program rests without a template"
    forked = sum(one.template is not None for one in programs)
    # one more for each that is on its way out
    limit = worker.config.programs_max + len(worker.programs.ending)
    assert forked <= limit, f"{forked} templates"


def _check_process(process: Process) -> None:
    for at, holding in enumerate(process.batch):
        allowed = (Hold.ASSIGNED, Hold.KILLING) if at else (Hold.RUNNING, Hold.KILLING)
        assert holding.state in allowed, f"place {at} of a batch is {holding.state.name}"
    for holding in process.parked.values():
        assert holding.state in (Hold.PARKED, Hold.RESUMING, Hold.KILLING), holding.state.name
    assert process.load_s >= -LOAD_ERROR_S, f"load is {process.load_s}"
