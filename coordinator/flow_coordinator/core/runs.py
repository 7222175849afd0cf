"""Runs: submitted, watched, cancelled, retried, ended."""

from __future__ import annotations

from itertools import islice

from flow.errors import ExitCode
from flow.wire.messages.client import Cancel, FamilyCounts, RunUpdate, Submit, Submitted, Watch
from flow.wire.states import TERMINAL, FailureKind, RunState, TaskState
from flow_coordinator.core import (
    bounds,
    cleaning,
    explain,
    graph,
    outcomes,
    programs,
    shipping,
    summaries,
    tally,
    twins,
)
from flow_coordinator.core.ready import UNMET, GroupKey
from flow_coordinator.core.records import ROOTS_A_ROW, RunRecord, TaskRecord, Watcher
from flow_coordinator.core.state import State
from flow_coordinator.core.transitions import TaskEvent
from flow_coordinator.core.values import Peer

#: Pause between two updates to the same watcher, seconds.
UPDATE_S = 0.25
#: Failures and families in one update; the rest follows in the next one.
UPDATE_FAILURES_MAX = 20
UPDATE_FAMILIES_MAX = 200
#: Roots kept of ended runs, to run them again; of older ones the first row stays.
ENDED_ROOTS_MAX = 200_000
#: Tasks of ended runs dropped from memory in one turn.
FORGET_MAX = 2_000
# fmt: off
_ADJECTIVES = ("amber", "blue", "calm", "deft", "early", "fair",
               "glad", "hazel", "ivory", "jade", "keen", "lunar")
_ANIMALS = ("badger", "crane", "dove", "elk", "finch", "gull", "heron",
            "ibis", "jay", "kite", "lark", "marten", "newt")
# fmt: on

#: How a run ends by its verdict; any other is a failure.
_ENDS = {ExitCode.OK: RunState.SUCCEEDED, ExitCode.CANCELLED: RunState.CANCELLED}


def submit(s: State, peer: Peer, message: Submit) -> None:
    """Start a run, or answer again for a key that started one."""
    number = s.keys.get(message.key)
    if number is None:
        run = RunRecord(
            s.next_run, message.key, message.project, message.roots, message.options, s.now
        )
        s.next_run += 1
        if not run.name:
            run.name = _made_up_name(s)
        s.runs[run.number] = run
        s.keys[message.key] = run.number
        s.unresolved.append(run)
        _store_roots(s, run)
        shipping.use(s, message.options.package)
        s.note("run submitted", run=run.id, root=summaries.root_text(run))
    else:
        run = s.runs.get(number) or s.ended[number]
    s.send(peer, Submitted(message.request, run.id, run.name))


def _store_roots(s: State, run: RunRecord) -> None:
    """Mark a new run, and all rows of its roots."""
    for index in range(0, len(run.root_tasks), ROOTS_A_ROW):
        s.roots_changed(run, index)


def _made_up_name(s: State) -> str:
    """Choose a name that no run in memory has, as long as there are enough."""
    used = {run.name for kept in (s.runs, s.ended) for run in kept.values()}
    at = s.random.randrange(len(_ADJECTIVES)) * len(_ANIMALS) + s.random.randrange(len(_ANIMALS))
    count = len(_ADJECTIVES) * len(_ANIMALS)
    names = [f"{adjective}-{animal}" for adjective in _ADJECTIVES for animal in _ANIMALS]
    free = (names[(at + step) % count] for step in range(count))
    return next((name for name in free if name not in used), names[at])


def watch(s: State, peer: Peer, message: Watch, run: RunRecord) -> None:
    """Follow a run; the first update has everything."""
    watcher = Watcher(peer, message.request, message.seen)
    if run.summary is not None:
        _update(s, run, watcher)
        return
    run.watchers[peer] = watcher
    run.update_at = s.now
    tally.changed(s, run)


def turn(s: State) -> None:
    """End runs that are over, and tell watchers what is new."""
    for run in list(s.news.values()):
        if run.state != RunState.RUNNING:
            s.news.pop(run.number, None)
            continue
        if run.open == 0 and run.unresolved == 0:
            if cleaning.holds_end(s, run):
                del s.news[run.number]
            else:
                finish(s, run)
            continue
        if not run.watchers:
            run.changed = False
            del s.news[run.number]
        elif s.now >= run.update_at and not s.stalled:  # later, in one
            run.changed = False
            del s.news[run.number]
            run.update_at = s.now + UPDATE_S
            for watcher in run.watchers.values():
                _update(s, run, watcher)


def next_update(s: State) -> float | None:
    """Tell when the next watcher is to be told something."""
    if s.stalled:
        return None
    return min((run.update_at for run in s.news.values()), default=None)


def counts(tally_: list[int]) -> dict[str, int]:
    """Spell the counts of one family."""
    return {state.label: tally_[state] for state in TaskState if tally_[state]}


def _update(s: State, run: RunRecord, watcher: Watcher) -> None:
    """Tell a watcher what is new; of a run that is over everything, in as many updates as it takes.

    In one update is what fits into a message.
    """
    while _tell_some(s, run, watcher):
        if run.summary is None:
            tally.changed(s, run)
            return


def _tell_some(s: State, run: RunRecord, watcher: Watcher) -> bool:
    """Send one update; tell whether there is more to say."""
    changed = (
        (family, numbers)
        for family, numbers in run.tallies.items()
        if watcher.told.get(family) != tuple(numbers)
    )
    news = [FamilyCounts(name, counts(each)) for name, each in islice(changed, UPDATE_FAMILIES_MAX)]
    families = bounds.fitting(news)
    for one in families:
        watcher.told[one.family] = tuple(run.tallies[one.family])
    left = [one for one in run.failures if one.number > watcher.seen]
    failures = bounds.fitting(left[:UPDATE_FAILURES_MAX])
    if failures:
        watcher.seen = failures[-1].number
    more = len(failures) < len(left) or next(changed, None) is not None or len(families) < len(news)
    ended = run.summary is not None and not more
    notes = run.notes[watcher.noted :]
    watcher.noted = len(run.notes)
    printed = run.printed[watcher.heard :]
    watcher.heard = len(run.printed)
    workers = s.workers.values()
    s.send(
        watcher.peer,
        RunUpdate(
            watcher.request,
            run.id,
            run.name,
            bool(run.unplanned or run.unresolved),
            len(run.tasks),
            families,
            failures,
            [] if ended else explain.waiting(s, run),
            sum(worker.slots for worker in workers),
            sum(min(worker.used_slots, worker.slots) for worker in workers),
            (run.ended_at or s.now) - run.started_at,
            run.summary if ended else None,
            len(s.workers),
            notes,
            printed,
        ),
    )
    return more


def finish(s: State, run: RunRecord) -> None:
    """End a run: its verdict, its summary, and out of memory with its tasks."""
    run.ended_at = s.now
    code = verdict(run)
    run.state = _ENDS.get(code, RunState.FAILED)
    run.summary = summaries.summarise(s, run, code)
    s.changes.runs[run] = None
    s.news.pop(run.number, None)
    s.note("run ended", run=run.id, state=run.state.label, code=int(code), tasks=len(run.tasks))
    for watcher in run.watchers.values():
        _update(s, run, watcher)
    run.watchers = {}
    del s.runs[run.number]
    s.forgetting.append((run, 0))
    keep(s, run)
    if len(run.root_tasks) > ROOTS_A_ROW:
        _drop_roots(s)


def keep(s: State, run: RunRecord) -> None:
    """Keep an ended run in memory, and drop the oldest: it is in the store."""
    s.ended[run.number] = run
    s.keys[run.key] = run.number
    while len(s.ended) > s.config.ended_runs_max:
        oldest = s.ended.pop(next(iter(s.ended)))
        s.keys.pop(oldest.key, None)


def recall(s: State, run: RunRecord) -> None:
    """Have an ended run back from the store, as one that ended last."""
    if run.number not in s.runs and run.number not in s.ended:
        keep(s, run)


def _drop_roots(s: State) -> None:
    """Keep the roots of the newest ended runs. Cost: O(ended runs)."""
    left = ENDED_ROOTS_MAX
    for run in reversed(s.ended.values()):
        left -= len(run.root_tasks)
        if left < 0 and len(run.root_tasks) > ROOTS_A_ROW:
            run.root_tasks = run.root_tasks[:ROOTS_A_ROW]


def verdict(run: RunRecord) -> ExitCode:
    """Decide the exit code: the largest that applies, as in Luigi. Cost: O(tasks) on failure."""
    if run.cancelled:
        return ExitCode.CANCELLED
    totals = [0] * len(TaskState)
    for numbers in run.tallies.values():
        for state, count in enumerate(numbers):
            totals[state] += count
    codes = [ExitCode.OK]
    if totals[TaskState.PLAN_FAILED]:
        usage = any(_failure_code(task) == ExitCode.USAGE for task in run.tasks)
        codes.append(ExitCode.USAGE if usage else ExitCode.SCHEDULING_ERROR)
    if totals[TaskState.FAILED] or totals[TaskState.LOST]:
        codes.append(ExitCode.TASK_FAILED)
    if totals[TaskState.DISABLED]:
        crashed = any(task.state == TaskState.DISABLED and task.crashes for task in run.tasks)
        codes.append(ExitCode.TASK_FAILED if crashed else ExitCode.NOT_RUN)
    if totals[TaskState.MISSING] or totals[TaskState.EXTERNAL]:
        codes.append(ExitCode.MISSING_DATA)
    satisfied = totals[TaskState.COMPLETE] + totals[TaskState.DONE]
    code = max(codes)
    if code == ExitCode.OK and satisfied < sum(totals):
        return ExitCode.CANCELLED if totals[TaskState.CANCELLED] else ExitCode.NOT_RUN
    return code


def _failure_code(task: TaskRecord) -> int:
    failure = task.extra.failure if task.extra is not None else None
    return failure.code if failure is not None else 0


def cancel(s: State, run: RunRecord, message: Cancel) -> int:
    """Cancel a run: what only it needs is cancelled, what others need goes on. Cost: O(tasks)."""
    run.cancelled = message.reason or "cancelled"
    run.unresolved = 0
    s.changes.runs[run] = None
    count = drop_open(s, run, run.cancelled)
    tally.changed(s, run)
    return count


def drop_open(s: State, run: RunRecord, why: str) -> int:
    """Cancel the open tasks of a run, roots first."""
    count = 0
    for task in list(run.tasks):
        if task.state in TERMINAL or run not in task.runs:
            continue
        count += 1
        if any(other is not run and other.state == RunState.RUNNING for other in task.runs):
            tally.leave(s, task, run)
            _replan(s, run, task)
        else:
            outcomes.cancel(s, task, why)
    return count


def _replan(s: State, run: RunRecord, task: TaskRecord) -> None:
    """Do not grant a task in the program of a run that is over; others learn when they settle."""
    if (
        task.state == TaskState.READY
        and task.program is run
        and programs.run_for(task) not in (None, run)
    ):
        graph.plan_for_another(s, task)


def fail_fast(s: State, run: RunRecord) -> None:
    """A task of a run that asked for it failed for good: nothing more is started."""
    if run.state == RunState.RUNNING:
        drop_open(s, run, "another task failed and the run was started with --fail-fast")


def retry(s: State, run: RunRecord) -> int:
    """Run what failed in a run again, now. Cost: O(tasks)."""
    run.failed_fast = False
    return sum(retry_task(s, task) for task in run.tasks if run in task.runs)


def retry_task(s: State, task: TaskRecord) -> bool:
    """Run a failed task again, now: forgives backoff and counts."""
    old = task.state
    if old in (TaskState.COMPLETE, TaskState.DONE, TaskState.UPSTREAM_FAILED):
        return False
    if not tally.move(s, task, TaskEvent.REVIVE):
        return False
    task.failures = task.crashes = 0
    task.extra = None
    if old in TERMINAL:
        graph.revived(s, task)
        graph.plan_again(s, task)
    graph.settle(s, task)
    return True


def resubmit(s: State, run: RunRecord, key: str) -> RunRecord:
    """Start the roots of an ended run as a new run."""
    again = RunRecord(s.next_run, key, run.project, run.root_tasks, run.options, s.now)
    again.name = run.name
    s.next_run += 1
    s.runs[again.number] = again
    s.keys[key] = again.number
    s.unresolved.append(again)
    shipping.use(s, run.options.package)
    _store_roots(s, again)
    return again


def forget(s: State) -> None:
    """Drop tasks of ended runs from memory, a bounded number a turn."""
    budget = FORGET_MAX
    while s.forgetting and budget > 0:
        run, at = s.forgetting.popleft()
        stop = min(at + budget, len(run.tasks))
        budget -= max(1, stop - at)
        for task in run.tasks[at:stop]:
            _forget_task(s, run, task)
        if stop < len(run.tasks):
            s.forgetting.appendleft((run, stop))
        else:
            run.tasks = []
            run.roots = []
            run.rooted = {}
            run.left = {}


def _forget_task(s: State, run: RunRecord, task: TaskRecord) -> None:
    if task in run.left and task in s.kept:
        tally.let_go(s, task)
    if run in task.runs:
        tally.part(s, task, run)
    if task.program is run and task.runs:
        s.changes.tasks[task] = None
    _replan(s, run, task)
    if task.runs or task.held or task.state not in TERMINAL or task in s.kept:
        return
    if not twins.is_known(s, task):
        return
    graph.detach_upstream(s, task)
    if s.temporary.known:
        s.temporary.forget(task)
        if s.temporary.is_needed(task):
            return  # by another run, which saw it end: ``cleaning`` drops it later
    task.downstream = None
    twins.remove(s, task)


def unmet(s: State, key: GroupKey) -> None:
    """Nothing there can ever meet a demand: runs that do not wait for a change end those tasks."""
    group = s.ready.groups.get(key)
    if group is None or group.parked != UNMET:
        return
    for entry in list(group.heap):
        task = entry.task
        if task.ticket != entry.ticket or any(run.options.wait_unmet for run in task.runs):
            continue
        outcomes.nobody_may(s, task, key, FailureKind.UNMET, explain.unmet_text(s, key[0]))
