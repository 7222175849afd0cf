"""Which runner gets which token next. Runs once at the end of a turn.

Generators that may continue come first, then the queues of the programs in turn, each in order. A
slot is a right to run, not a process: runners belong to one program, and idle ones stay for it up
to a bound. Small tasks travel together and are topped up before a runner is idle; a queue is split
evenly over the runners that can take it. Cost: O(runners) a turn with something queued, O(1) a
token. Rules R3 and R4.
"""

from __future__ import annotations

from collections.abc import Callable

from flow_worker.channel import Continue, Execute, Role
from flow_worker.core.config import BATCH_FILL_S, BATCH_TASKS_MAX, WorkerConfig
from flow_worker.core.effects import Effect, Tell
from flow_worker.core.processes import Processes
from flow_worker.core.programs import Programs
from flow_worker.core.records import Holding, LocalProgram, Process, ProcessState
from flow_worker.core.tokens import Tokens
from flow_worker.core.transitions import Hold, Stand


class Placement:
    """Hands tokens to runners and keeps the right number of runners."""

    def __init__(
        self,
        config: WorkerConfig,
        processes: Processes,
        programs: Programs,
        tokens: Tokens,
        emit: Callable[[Effect], None],
    ) -> None:
        self._config = config
        self._processes = processes
        self._programs = programs
        self._turn = 0  #: which program comes first
        self._tokens = tokens
        self._emit = emit

    def place(self, now: float) -> None:
        """Give work to every runner that can take some."""
        tokens = self._tokens
        if tokens.alone is not None:
            return
        if tokens.resuming:
            self._continue(now)
        if not tokens.queued or tokens.alone is not None:
            return
        self._turn += 1
        waiting = [one for one in self._programs.all.values() if one.queued]
        first = self._turn % len(waiting)
        for program in waiting[first:] + waiting[:first]:
            if self._is_ready(program):
                self._place_for(program, now)

    def _is_ready(self, program: LocalProgram) -> bool:
        return self._processes.attached or program.stand in (Stand.READY, Stand.ALONE)

    def _place_for(self, program: LocalProgram, now: float) -> None:
        """Give what is queued for one program to its runners; have more where there are few."""
        tokens = self._tokens
        runners = self._runners(program)
        idle, topped, starting, replaceable = self._takers(runners)
        free = self._config.slots - tokens.busy
        missing = min(free, program.queued) - len(idle) - starting
        while missing > 0 and self._may_start(idle or starting or replaceable):
            if not self._processes.start(Role.RUNNER, now, program):
                break
            starting += 1
            missing -= 1
        if missing > 0 and replaceable:
            replaceable.sort(key=lambda p: len(p.parked))
            idle += replaceable[:missing]
        self._share(program, idle[: max(0, free)] + topped, starting, now)

    def _runners(self, program: LocalProgram) -> list[Process]:
        own = self._processes.all if self._processes.attached else program.processes
        return [p for p in own.values() if p.executes]

    def _may_start(self, usable: object) -> bool:
        """Tell whether one more runner may exist; have an idle one of another program go for it.

        ``usable``: the program has runners for its work. One that has none gets one all the same:
        otherwise programs whose runners keep generators would starve it.
        """
        runners = self._all_runners()
        if len(runners) < self._config.processes_max:
            return True
        spare = [
            p
            for p in runners
            if p.state is ProcessState.READY
            and not (p.batch or p.parked)
            and (p.program is None or not p.program.queued)
        ]
        if spare:
            self._processes.leave(min(spare, key=lambda p: p.idle_since))
            return False  # once it is gone
        if any(p.state is ProcessState.LEAVING for p in runners):
            return False
        self._tokens.abandon_one_of_dirty()
        return not usable and len(runners) < self._most()

    def _takers(
        self, runners: list[Process]
    ) -> tuple[list[Process], list[Process], int, list[Process]]:
        """Sort runners: idle, busy but soon without work, starting, idle with generators."""
        idle: list[Process] = []
        topped: list[Process] = []
        parking: list[Process] = []
        starting = 0
        for process in runners:
            if process.state is ProcessState.STARTING:
                starting += 1
            elif process.state is not ProcessState.READY:
                continue
            elif process.dirty:
                continue  # what it keeps goes on there, nothing new begins
            elif (worn := self._worn(process)) and not process.parked:
                if not process.batch:
                    self._processes.leave(process)
            elif process.batch:
                room = process.load_s <= BATCH_FILL_S / 2 and len(process.batch) < BATCH_TASKS_MAX
                if room and not worn:
                    topped.append(process)
            elif process.parked and process.role != Role.BOTH:
                # also a worn one: where every runner keeps generators, these wait for new work
                parking.append(process)
            else:
                idle.append(process)
        return idle, topped, starting, parking

    def _worn(self, process: Process) -> bool:
        config = self._config
        return process.role == Role.RUNNER and (
            process.done >= config.runner_tasks_max
            or 0 < config.runner_bytes_max < process.peak_bytes
        )

    def _share(
        self, program: LocalProgram, takers: list[Process], starting: int, now: float
    ) -> None:
        tokens = self._tokens
        for at, process in enumerate(takers):
            if not program.queued or tokens.alone is not None:
                return
            parts = len(takers) - at + starting
            share = -(-program.queued // parts)
            count_max = min(share, BATCH_TASKS_MAX - len(process.batch))
            batch = self._take(program, process, count_max)
            if not batch:
                continue
            idle = not process.batch
            process.batch.extend(batch)
            self._emit(Tell(process.number, Execute([holding.grant for holding in batch])))
            if idle:
                tokens.busy += 1
                tokens.begin(process, now)

    def _take(self, program: LocalProgram, process: Process, count_max: int) -> list[Holding]:
        """Take the next tokens that fit this runner's batch, in order."""
        tokens = self._tokens
        batch: list[Holding] = []
        while program.queued and len(batch) < count_max:
            holding = program.queue[0]
            if holding.state is not Hold.QUEUED:
                program.queue.popleft()
                continue
            if holding.grant.alone and (tokens.busy or batch):
                break
            cost_s = tokens.durations.cost_s(holding.grant.family)
            if (batch or process.batch) and process.load_s + cost_s > BATCH_FILL_S:
                break
            program.queue.popleft()
            tokens.assign(holding, process, cost_s)
            batch.append(holding)
            if holding.grant.alone:
                tokens.alone = holding
                break
        return batch

    def _continue(self, now: float) -> None:
        """Let generators go on whose runner is free, while there are slots."""
        tokens = self._tokens
        for _ in range(len(tokens.resuming)):
            if tokens.busy >= self._config.slots:
                return
            holding = tokens.resuming.popleft()
            if holding.state is not Hold.RESUMING or holding.abandoned:
                continue
            process = self._processes.all[holding.process]
            lonely = holding.grant.alone and tokens.busy
            if process.batch or process.state is not ProcessState.READY or lonely:
                tokens.resuming.append(holding)
                continue
            tokens.continue_in(process, holding, now)
            self._emit(Tell(process.number, Continue(holding.token, holding.number)))
            if holding.grant.alone:
                tokens.alone = holding
                return

    def prewarm(self, now: float) -> None:
        """Keep one runner ready for each program that is used and can be forked.

        So the first task does not wait for a fork. A runner that takes nothing new leaves.
        """
        for program in self._programs.all.values():
            runners = 0
            for process in program.processes.values():
                if process.executes:
                    if process.dirty and not (process.batch or process.parked):
                        self._processes.leave(process)
                    runners += not process.dirty
            wanted = not runners and program.in_use and program.stand is Stand.READY
            if wanted and len(self._all_runners()) < self._most():
                self._processes.start(Role.RUNNER, now, program)

    def _all_runners(self) -> list[Process]:
        return [process for process in self._processes.all.values() if process.executes]

    def _most(self) -> int:
        """Return how many runners there may be if each program is to have one in any case."""
        return self._config.processes_max + self._config.programs_max
