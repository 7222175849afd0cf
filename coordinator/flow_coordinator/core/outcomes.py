"""What becomes of a task when a lease ends: done, again, later, never.

Rule C3: a report counts only with the token of the task's current lease, from the worker that
holds it. Counted are failures and timeouts (against ``retry_count``) and crashes (against
``crash_max``); a killed, released or lost attempt counts as nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from flow.wire.messages.client import Failure
from flow.wire.messages.shared import Outcome, Report, readable_params
from flow.wire.states import SATISFIED, TERMINAL, FailureKind, TaskState
from flow_coordinator.core import batching, graph, leases, programs, tally
from flow_coordinator.core.doom import OF_A_BATCH, Doom
from flow_coordinator.core.ready import GroupKey
from flow_coordinator.core.records import (
    FamilyRecord,
    LeaseRecord,
    TaskRecord,
    WorkerRecord,
)
from flow_coordinator.core.state import State
from flow_coordinator.core.timers import Timer
from flow_coordinator.core.transitions import TaskEvent

#: Weight of the newest measurement in a family's mean run time.
NEWEST_WEIGHT = 0.2
#: A failure of a task with longer parameters does not carry them.
FAILURE_PARAMS_BYTES_MAX = 4_096
#: Failures of one run kept for display.
FAILURES_MAX = 200
#: Wait before a task that its worker refused is offered again.
REFUSED_DELAY_S = 1.0
#: Text of a failure kept in memory and in the run's record.
TRACE_CHARACTERS_MAX = 8_000


#: Of attempts that did not begin.
_UNSTARTED = frozenset({Outcome.RELEASED, Outcome.REFUSED})
#: A text that one attempt of several tasks leaves with each of them.
_OF_A_BATCH = "{error} (one attempt ran {count} tasks)"


class Trouble(NamedTuple):
    """What went wrong, as it is told: of an attempt, or of planning."""

    error: str  #: one line for people
    where: str = ""  #: own-code frame, ``path:line function()``
    trace: str = ""
    tail: str = ""  #: last lines that were printed


def report(s: State, worker: WorkerRecord, lease: LeaseRecord, report: Report) -> None:
    """Apply the report that ends a lease: its outcome is that of every task it ran."""
    program, code = lease.task.program, ""
    if program is not None and program.differing and report.outcome not in _UNSTARTED:
        code = programs.ran(s, program, worker.uid, worker.name) if not report.skipped else ""
    if report.outcome == Outcome.DONE:
        leases.end(s, lease)
        if not report.skipped:
            _measure(lease.task.family, report.run_s)
        for task in batching.tasks_of(lease):
            task.maker = worker.uid
            succeed(s, task, report.skipped, code)
        return
    leases.end(s, lease)
    if lease.members:
        _share_doom(s, lease)
        if report.error:
            text = _OF_A_BATCH.format(error=report.error, count=1 + len(lease.members))
            report = msgspec.structs.replace(report, error=text)
    luck = s.random.random()
    for task in batching.tasks_of(lease):
        if report.outcome not in _UNSTARTED:
            _ran_with(task, code)
        _ended(s, worker, task, report, luck)


def _ran_with(task: TaskRecord, code: str) -> None:
    """Remember with which code its last attempt ran, if it was not that of its run."""
    if code or task.extra is not None:
        task.more().code = code


def release(s: State, lease: LeaseRecord, worker: str, started: bool, why: str) -> None:
    """End a lease whose attempt is gone without a report (uncounted)."""
    leases.end(s, lease)
    if lease.members:
        _share_doom(s, lease)
    program, code = lease.task.program, ""
    if started and program is not None and program.differing:
        code = programs.ran(s, program, lease.uid, worker)
    for task in batching.tasks_of(lease):
        if started:
            task.more().maybe_done = True
            _ran_with(task, code)
        lost(s, task, worker, started, why)


def _share_doom(s: State, lease: LeaseRecord) -> None:
    """What a batch yielded ends all of its tasks, not only the first, which waits for it."""
    extra = lease.task.extra
    doom = extra.doom if extra is not None else None
    if doom is None or doom[0] not in OF_A_BATCH:
        return
    upstream = lease.task.upstream if doom[0] is Doom.UPSTREAM else ()
    bad = [dep for dep in upstream if dep.state in TERMINAL and dep.state not in SATISFIED]
    for member in lease.members:
        if not member.doomed:
            member.more().doom = doom
            # so that they come back when that does
            if bad and graph.find_cycle(member, bad) is None:
                graph.add_edges(s, member, bad)


def _ended(s: State, worker: WorkerRecord, task: TaskRecord, report: Report, luck: float) -> None:
    """Apply the end of an attempt, other than success, to a task that it ran."""
    outcome = report.outcome
    if outcome in (Outcome.CRASHED, Outcome.KILLED):
        task.more().maybe_done = True
    if task.doomed:
        settle_doom(s, task, worker.name, report)
    elif outcome in (Outcome.FAILED, Outcome.TIMEOUT):
        fail(s, task, worker.name, report, luck)
    elif outcome == Outcome.CRASHED:
        crash(s, task, worker.name, report, luck)
    elif outcome == Outcome.REFUSED:
        refuse(s, task, worker, report)
    else:
        lost(s, task, worker.name, outcome == Outcome.KILLED, report.error or "killed")


def _measure(family: FamilyRecord, run_s: float) -> None:
    mean = family.mean_run_s
    family.mean_run_s = run_s if mean < 0 else mean + NEWEST_WEIGHT * (run_s - mean)


def succeed(s: State, task: TaskRecord, skipped: bool, code: str = "") -> None:
    """A task is done. ``code``: what it ran with, if that was not the code of its run."""
    extra = task.extra
    if extra is not None:
        if extra.retried:
            for run in task.runs:
                run.retried = True
        task.extra = None
        if extra.words is not None:
            task.more().words = extra.words
    if code:
        task.more().code = code
    tally.move(s, task, TaskEvent.FIND_COMPLETE if skipped else TaskEvent.SUCCEED)
    graph.satisfied(s, task)


def settle_doom(s: State, task: TaskRecord, worker: str, report: Report) -> None:
    """The killed lease of a task that was decided already is reported."""
    extra = task.more()
    assert extra.doom is not None
    verdict, extra.why = extra.doom
    extra.doom = None
    _DOOM_HANDLERS[verdict](s, task, worker, report)


def _doom_cancel(s: State, task: TaskRecord, worker: str, report: Report) -> None:
    tally.move(s, task, TaskEvent.CANCEL)
    graph.ended_badly(s, task)


def _doom_again(s: State, task: TaskRecord, worker: str, report: Report) -> None:
    task.more().why = ""
    give_back(s, task)


def _doom_fail(s: State, task: TaskRecord, worker: str, report: Report) -> None:
    note_failure(s, task, FailureKind.FAILED, worker, Trouble(task.more().why), run_s=report.run_s)
    tally.move(s, task, TaskEvent.FAIL)
    graph.ended_badly(s, task)


def _doom_upstream(s: State, task: TaskRecord, worker: str, report: Report) -> None:
    if not task.blocked:
        give_back(s, task)
        return
    tally.move(s, task, TaskEvent.UPSTREAM_FAIL)
    graph.ended_badly(s, task)


_DOOM_HANDLERS: dict[Doom, Callable[[State, TaskRecord, str, Report], None]] = {
    Doom.CANCEL: _doom_cancel,
    Doom.AGAIN: _doom_again,
    Doom.FAIL: _doom_fail,
    Doom.UPSTREAM: _doom_upstream,
}


def give_back(s: State, task: TaskRecord) -> None:
    """Run a task again as if it had not been granted (uncounted)."""
    tally.move(s, task, TaskEvent.GIVE_BACK)
    graph.settle(s, task)


def lost(s: State, task: TaskRecord, worker: str, started: bool, why: str) -> None:
    """An attempt ended without a verdict on the task: uncounted, unless its class holds it."""
    if task.doomed:
        settle_doom(s, task, worker, Report("", Outcome.KILLED))
        return
    hold = task.policy is not None and task.policy.policy.on_lost == "hold"
    if hold and started:
        note_failure(s, task, FailureKind.LOST, worker, Trouble(why))
        task.more().why = f"its attempt was lost ({why}); flow retry runs it again"
        tally.move(s, task, TaskEvent.HOLD)
        graph.ended_badly(s, task)
    else:
        give_back(s, task)


def fail(
    s: State, task: TaskRecord, worker: str, report: Report, luck: float | None = None
) -> None:
    """A counted failure: again after backoff, or the end."""
    extra = task.more()
    extra.solo = False
    window_s = s.config.disable_window_s
    policy = task.policy.policy if task.policy is not None else None
    if policy is not None and policy.disable_window_s is not None:
        window_s = policy.disable_window_s
    extra.failed_at = [at for at in extra.failed_at if s.now - at < window_s]
    extra.failed_at.append(s.now)
    task.failures = len(extra.failed_at)
    timed_out = report.outcome == Outcome.TIMEOUT
    kind = FailureKind.TIMEOUT if timed_out else FailureKind.FAILED
    too_late = _too_late(s, task)
    if too_late or task.failures >= attempts_max(s, task):
        note_failure(s, task, kind, worker, _told(report, too_late), run_s=report.run_s)
        extra.why = report.error
        tally.move(s, task, TaskEvent.FAIL)
        graph.ended_badly(s, task)
        return
    delay_s = backoff_s(s, task, task.failures, luck)
    note_failure(s, task, kind, worker, _told(report), run_s=report.run_s, again_in_s=delay_s)
    back_off(s, task, delay_s)


def crash(
    s: State, task: TaskRecord, worker: str, report: Report, luck: float | None = None
) -> None:
    """The task's process died: next attempt alone on a worker; the third time is the last."""
    extra = task.more()
    task.crashes += 1
    too_late = _too_late(s, task)
    if too_late or task.crashes >= s.config.crash_max:
        note_failure(
            s, task, FailureKind.DISABLED, worker, _told(report, too_late), run_s=report.run_s
        )
        extra.why = f"its process died {task.crashes} times: {report.error}"
        extra.solo = False
        tally.move(s, task, TaskEvent.CRASH_OUT)
        graph.ended_badly(s, task)
        return
    extra.solo = True
    delay_s = backoff_s(s, task, task.crashes, luck)
    note_failure(
        s, task, FailureKind.CRASHED, worker, _told(report), run_s=report.run_s, again_in_s=delay_s
    )
    back_off(s, task, delay_s)


def _too_late(s: State, task: TaskRecord) -> str:
    """Say why this failure is the last by the time since the first; empty: it is not.

    Source: Luigi's ``disable_hard_timeout``, which looks at each failure too.
    """
    extra = task.more()
    if extra.first_failed_at is None:
        extra.first_failed_at = s.now
    limit_s = s.config.disable_hard_timeout_s
    policy = task.policy.policy if task.policy is not None else None
    if policy is not None and policy.disable_hard_timeout_s is not None:
        limit_s = policy.disable_hard_timeout_s
    since_s = s.now - extra.first_failed_at
    if limit_s is None or since_s < limit_s:
        return ""
    return f"no more attempts: {since_s:.0f} s since the first, disable_hard_timeout = {limit_s:g}"


def refuse(s: State, task: TaskRecord, worker: WorkerRecord, report: Report) -> None:
    """A worker cannot run it; another may. Nobody left who could: that is a failure."""
    extra = task.more()
    differs = task.program is not None and worker.uid in task.program.differing
    if report.error and not differs:
        extra.refused_by = sorted({*extra.refused_by, worker.uid})
        nobody_left = leases.refused_by_all(s, leases.demand_of(task), extra.refused_by)
        if nobody_left and not programs.others_may_return(s):
            extra.refused_by = []
            fail(s, task, worker.name, report)
            return
    back_off(s, task, REFUSED_DELAY_S, counted=False)


def back_off(s: State, task: TaskRecord, delay_s: float, *, counted: bool = True) -> None:
    """Wait before the next attempt."""
    extra = task.more()
    extra.retried = extra.retried or counted
    extra.again_at = s.now + delay_s
    tally.move(s, task, TaskEvent.BACK_OFF)
    s.timer(extra.again_at, Timer.BACKOFF, task)


def backoff_over(s: State, task: TaskRecord) -> None:
    """A backoff timer fired (it may be an old one)."""
    extra = task.extra
    if task.state != TaskState.BACKOFF or extra is None or extra.again_at > s.now:
        return
    tally.move(s, task, TaskEvent.BACKOFF_END)
    graph.settle(s, task)


def attempts_max(s: State, task: TaskRecord) -> int:
    """How many failures end this task."""
    policy = task.policy.policy if task.policy is not None else None
    if policy is not None and policy.retry_count is not None:
        return max(1, policy.retry_count)
    asked = [run.options.retry_count for run in task.runs if run.options.retry_count is not None]
    return max(1, *asked) if asked else max(1, s.config.retry_count)


def backoff_s(s: State, task: TaskRecord, failures: int, luck: float | None = None) -> float:
    """Exponential, capped, with jitter so that what failed together does not return together.

    Members of a batch have one ``luck``, 0..1, so that they return as one.
    """
    base_s = s.config.retry_delay_s
    policy = task.policy.policy if task.policy is not None else None
    if policy is not None and policy.retry_delay_s is not None:
        base_s = policy.retry_delay_s
    delay_s = min(base_s * 2.0 ** min(failures - 1, 30), s.config.retry_delay_max_s)
    if luck is None:
        luck = s.random.random()
    return delay_s * (1.0 + s.config.retry_jitter * (2.0 * luck - 1.0))


def nobody_may(s: State, task: TaskRecord, key: GroupKey, kind: FailureKind, why: str) -> None:
    """End a ready task that no worker may ever take."""
    s.ready.drop(task, key)
    task.more().why = why
    tally.move(s, task, TaskEvent.PLAN_DISABLED)
    note_failure(s, task, kind, "", Trouble(why))
    graph.ended_badly(s, task)


def _told(report: Report, more: str = "") -> Trouble:
    error = f"{report.error}\n{more}" if more else report.error
    return Trouble(error, report.where, report.trace, report.tail)


def note_failure(
    s: State,
    task: TaskRecord,
    kind: FailureKind,
    worker: str,
    trouble: Trouble,
    *,
    run_s: float = 0.0,
    again_in_s: float = -1.0,
    code: int = 0,
) -> None:
    """Keep a failure for those who watch, and for the summary."""
    s.failure_seq += 1
    died = kind in (FailureKind.CRASHED, FailureKind.DISABLED)
    most = s.config.crash_max if died else attempts_max(s, task)
    failure = Failure(
        s.failure_seq,
        task.name,
        task.task_id,
        kind,
        worker,
        task.attempt,
        max(task.attempt, most),
        run_s,
        trouble.error[:TRACE_CHARACTERS_MAX],
        trouble.where,
        trouble.tail,
        again_in_s,
        trouble.trace[-TRACE_CHARACTERS_MAX:],
        code,
        *_named(task),
    )
    task.more().failure = failure
    for run in task.runs:
        if again_in_s < 0:
            s.alert(run, task, failure)
        run.failures.append(failure)
        if len(run.failures) > FAILURES_MAX:
            del run.failures[0]
        tally.changed(s, run)
        if run.options.fail_fast and again_in_s < 0 and not run.failed_fast:
            run.failed_fast = True
            s.timer(s.now, Timer.FAIL_FAST, run)


def _named(task: TaskRecord) -> tuple[str, dict[str, str]]:
    """Name a task so that who watches can make it again, if that is short enough."""
    if len(task.params) > FAILURE_PARAMS_BYTES_MAX:
        return "", {}
    try:
        return task.family.family, readable_params(task.params)
    except msgspec.MsgspecError:
        return "", {}


def cancel(s: State, task: TaskRecord, why: str) -> bool:
    """Cancel an open task; one that is held is killed first. Tells whether anything changed."""
    if task.state in TERMINAL:
        return False
    if task.held:
        graph.doom(s, task, Doom.CANCEL, why)
        return True
    if task.ticket:
        s.ready.drop(task, graph.group_key(task))
    task.more().why = why
    tally.move(s, task, TaskEvent.CANCEL)
    graph.ended_badly(s, task)
    return True
