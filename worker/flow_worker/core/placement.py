"""Which runner gets which token next. Runs once at the end of a turn.

Generators that may continue come first, then the queue in order. Small tasks travel together and
are topped up before a runner is idle; a queue is split evenly over the runners that can take it.
Cost: O(runners) a turn with something queued, O(1) a token.
"""

from __future__ import annotations

from collections.abc import Callable

from flow_worker.core.config import BATCH_FILL_S, BATCH_TASKS_MAX, WorkerConfig
from flow_worker.core.effects import Effect, Tell
from flow_worker.core.processes import Processes
from flow_worker.core.records import Holding, Process, ProcessState
from flow_worker.core.tokens import Tokens
from flow_worker.core.transitions import Hold
from flow_worker.process.channel import Continue, Execute, Leave


class Placement:
    """Hands tokens to runners and keeps the right number of runners."""

    def __init__(
        self,
        config: WorkerConfig,
        processes: Processes,
        tokens: Tokens,
        emit: Callable[[Effect], None],
    ) -> None:
        self._config = config
        self._processes = processes
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
        runners = [p for p in self._processes.all.values() if p.executes]
        idle, topped, starting, replaceable = self._takers(runners)
        free = self._config.slots - tokens.busy
        missing = min(free, tokens.queued) - len(idle) - starting
        while missing > 0 and len(runners) < self._config.processes_max:
            if not self._processes.start("runner", now):
                break
            runners.append(next(reversed(self._processes.all.values())))
            starting += 1
            missing -= 1
        if missing > 0 and len(runners) >= self._config.processes_max:
            replaceable.sort(key=lambda p: len(p.parked))
            idle += replaceable[:missing]
        self._share(idle[:free] + topped, starting, now)

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
            elif (worn := self._worn(process)) and not process.parked:
                if not process.batch:
                    process.state = ProcessState.LEAVING
                    self._emit(Tell(process.number, Leave()))
            elif process.batch:
                room = process.load_s <= BATCH_FILL_S / 2 and len(process.batch) < BATCH_TASKS_MAX
                if room and not worn:
                    topped.append(process)
            elif process.parked and process.role != "both":
                # also a worn one: where every runner keeps generators, these wait for new work
                parking.append(process)
            else:
                idle.append(process)
        return idle, topped, starting, parking

    def _worn(self, process: Process) -> bool:
        config = self._config
        return process.role == "runner" and (
            process.done >= config.runner_tasks_max
            or 0 < config.runner_bytes_max < process.peak_bytes
        )

    def _share(self, takers: list[Process], starting: int, now: float) -> None:
        tokens = self._tokens
        for at, process in enumerate(takers):
            if not tokens.queued or tokens.alone is not None:
                return
            parts = len(takers) - at + starting
            share = -(-tokens.queued // parts)
            batch = self._take(process, min(share, BATCH_TASKS_MAX - len(process.batch)))
            if not batch:
                continue
            idle = not process.batch
            process.batch.extend(batch)
            self._emit(Tell(process.number, Execute([holding.grant for holding in batch])))
            if idle:
                tokens.busy += 1
                tokens.begin(process, now)

    def _take(self, process: Process, count_max: int) -> list[Holding]:
        """Take the next tokens that fit this runner's batch, in order."""
        tokens = self._tokens
        batch: list[Holding] = []
        while tokens.queued and len(batch) < count_max:
            holding = tokens.queue[0]
            if holding.state is not Hold.QUEUED:
                tokens.queue.popleft()
                continue
            if holding.grant.alone and (tokens.busy or batch):
                break
            cost_s = tokens.durations.cost_s(holding.grant.family)
            if (batch or process.batch) and process.load_s + cost_s > BATCH_FILL_S:
                break
            tokens.queue.popleft()
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
        """Keep one runner ready, so that the first task does not wait for a fork."""
        if not self._processes.count("runner"):
            self._processes.start("runner", now)
