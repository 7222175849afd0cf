"""Who needs which temporary outputs: the bookkeeping, without messages.

An output that is temporary is *due* once its task is done and no open task that was planned to
need it is left. ``cleaning`` removes what is due. From the moment when that is asked for, the task
is not believed to be complete any more: whoever names it has it planned again.
"""

from __future__ import annotations

from flow.wire.states import SATISFIED, RunState
from flow_coordinator.core.records import RunRecord, TaskRecord
from flow_coordinator.core.values import Instant


class Need:
    """What is known of one temporary output."""

    __slots__ = ("gone", "kept", "needers", "was_needed")

    def __init__(self) -> None:
        #: tasks planned to need it that are not done; failed ones stay, a retry needs it
        self.needers: dict[TaskRecord, None] = {}
        self.was_needed = False
        #: somebody who needed it left memory without being done: it stays
        self.kept = False
        #: its removal was asked for since it was planned last, or may have been
        self.gone = False


class CleanRecord:
    """The one removal that a worker was asked for."""

    __slots__ = ("asked_at", "number", "tasks", "uid")

    def __init__(self, number: int, uid: str, tasks: list[TaskRecord], now: Instant) -> None:
        self.number = number
        self.uid = uid
        self.tasks = tasks
        self.asked_at = now


class Temporary:
    """All temporary outputs in memory. Empty, and asked nothing, where no task makes any."""

    def __init__(self) -> None:
        self.known: dict[TaskRecord, Need] = {}
        #: task -> the temporary outputs it needs
        self._needs: dict[TaskRecord, list[TaskRecord]] = {}
        #: idle outputs to be removed, since when, oldest first; to be tried again: from when on
        self.due: dict[TaskRecord, Instant] = {}
        #: of those, how often it could not be done
        self.lost: dict[TaskRecord, int] = {}
        self.asked: CleanRecord | None = None
        #: a removal that nobody reports on any more may go on until then
        self.linger_until: Instant = 0.0
        #: task -> runs that do not end before it is removed; and how many of them each run has
        self._awaiting: dict[TaskRecord, tuple[RunRecord, ...]] = {}
        self.awaited: dict[RunRecord, int] = {}
        #: runs that would have ended, since when
        self.held: dict[RunRecord, Instant] = {}
        #: runs that need not wait any more, to be looked at
        self.freed: list[RunRecord] = []
        #: outputs that somebody may have been the last to need: their tasks may leave memory
        self.settled: list[TaskRecord] = []
        #: tasks from before a restart that need something which history has forgotten by now:
        #: while one of them is open, nothing is removed that it might need
        self.unsure: list[TaskRecord] = []
        #: the timer that is set
        self.wake_at: Instant = 0.0

    def found(self, task: TaskRecord) -> None:
        """A task was planned whose output is temporary."""
        need = self.known.setdefault(task, Need())
        need.gone = False
        for waiter in task.downstream or ():
            self._add(task, need, waiter)

    def needs(self, task: TaskRecord, deps: list[TaskRecord]) -> None:
        """A task was planned, or has yielded: this is what it needs."""
        for dep in deps:
            need = self.known.get(dep)
            if need is not None:
                self._add(dep, need, task)

    def _add(self, task: TaskRecord, need: Need, waiter: TaskRecord) -> None:
        if waiter not in need.needers and waiter.state not in SATISFIED:
            need.needers[waiter] = None
            need.was_needed = True
            self._needs.setdefault(waiter, []).append(task)
            self.drop(task)

    def satisfied(self, task: TaskRecord, now: Instant) -> None:
        """A task is done: what it needed may be idle now, and so may its own output."""
        for dep in self._needs.pop(task, ()):
            need = self.known.get(dep)
            if need is not None:
                need.needers.pop(task, None)
                self._look(dep, need, now)
        own = self.known.get(task)
        if own is not None:
            self._look(task, own, now)

    def _look(self, task: TaskRecord, need: Need, now: Instant) -> None:
        if is_due(task, need) and task not in self.due:
            self.due[task] = now
            self._awaiting[task] = task.runs
            for run in task.runs:
                self.awaited[run] = self.awaited.get(run, 0) + 1

    def drop(self, task: TaskRecord) -> None:
        """An output is not to be removed after all."""
        if self.due.pop(task, None) is not None:
            self.over(task)

    def over(self, task: TaskRecord) -> None:
        """Let runs end without this removal, or after it."""
        self.settled.append(task)
        self.lost.pop(task, None)
        for run in self._awaiting.pop(task, ()):
            left = self.awaited.get(run, 0) - 1
            if left > 0:
                self.awaited[run] = left
            elif self.awaited.pop(run, None) is not None:
                self.freed.append(run)

    def may_be_gone(self, task: TaskRecord) -> bool:
        """Tell whether a done task's output is being removed, or was."""
        need = self.known.get(task)
        return need is not None and need.gone and task.state in SATISFIED

    def is_needed(self, task: TaskRecord) -> bool:
        """Tell whether an open task needs this one's output."""
        need = self.known.get(task)
        return need is not None and bool(need.needers)

    def forget(self, task: TaskRecord) -> None:
        """A task leaves memory; one that needed something and is not done keeps it."""
        for dep in self._needs.pop(task, ()):
            need = self.known.get(dep)
            if need is not None and need.needers.pop(task, True) is None:
                need.kept = True
                self.settled.append(dep)
        if not self.is_needed(task):
            self.known.pop(task, None)


def is_due(task: TaskRecord, need: Need) -> bool:
    """Tell whether nobody needs an output any more that somebody needed."""
    if need.needers or need.kept or not need.was_needed or task.state not in SATISFIED:
        return False
    # whoever asked for the task itself wants to have it
    return not any(task in run.rooted for run in task.runs if run.state == RunState.RUNNING)
