"""Answers to commands: find what a person means, show it, change it.

What only describes the moment (who works, why something waits) is said at once, also on a full
disk; whatever somebody may rely on later is said when it is durable.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, TypeVar

from flow.errors import ExitCode
from flow.wire.messages import client
from flow.wire.messages.client import Failed
from flow.wire.states import FAILED_CATEGORIES, RunState, SummaryCategory, TaskState
from flow_coordinator.core import (
    bounds,
    explain,
    letters,
    runs,
    shipping,
    summaries,
    telling,
    twins,
    words,
)
from flow_coordinator.core.queries import commands, ended, graphs
from flow_coordinator.core.queries.finding import (
    MATCHES_MAX,
    find_ended,
    find_runs,
    find_tasks,
    is_run_id,
    one_run,
    only,
    run_if_named,
)
from flow_coordinator.core.ready import UNMET
from flow_coordinator.core.records import RunRecord, TaskRecord, WorkerRecord
from flow_coordinator.core.refusal import Refusal
from flow_coordinator.core.state import State
from flow_coordinator.core.values import Peer

T = TypeVar("T")
R = TypeVar("R")

#: Rows of one listing.
ROWS_MAX = 1_000
#: Status, progress and tracking URL of a task that said nothing.
_SILENT = ("", -1.0, "")
#: Failures of a run shown at once, the newest.
FAILURES_SHOWN_MAX = 50
#: Running tasks shown per worker.
WORKER_TASKS_MAX = 5


def answer(s: State, peer: Peer, message: client.Request) -> None:
    """Answer one request; on a full disk say first that what is to be stored waits."""
    if s.stalled and not isinstance(message, client.Unwatch):
        s.send_now(peer, client.Held(message.request, s.stalled, len(s.workers)))
    try:
        _HANDLERS[type(message)](s, peer, message)
    except Refusal as no:
        some = list(islice(no.matches, MATCHES_MAX))
        s.show(peer, Failed(message.request, int(no.code), str(no), no.hint, some))


def _watch(s: State, peer: Peer, message: client.Watch) -> None:
    runs.watch(s, peer, message, one_run(s, message.run))


def _unwatch(s: State, peer: Peer, message: client.Unwatch) -> None:
    for run in s.runs.values():
        run.watchers.pop(peer, None)


def _list_runs(s: State, peer: Peer, message: client.ListRuns) -> None:
    records = [*s.runs.values(), *s.ended.values()]
    records.sort(key=lambda run: -run.number)
    asked = [run_row(s, run) for run in records[: min(message.limit, ROWS_MAX)]]
    rows = bounds.fitting(asked)
    slots = sum(worker.slots for worker in s.workers.values())
    busy = sum(min(worker.used_slots, worker.slots) for worker in s.workers.values())
    left = len(asked) - len(rows)
    notes = [f"{left} older runs are too much for one answer."] if left else []
    answer = client.Runs(message.request, rows, len(s.workers), slots, busy, notes)
    s.show(peer, answer)


def run_row(s: State, run: RunRecord) -> client.RunRow:
    """One line of ``flow status``."""
    if run.summary is not None:
        sizes = {category.name: category.count for category in run.summary.categories}
        done = sum(sizes.get(each, 0) for each in (SummaryCategory.COMPLETE, SummaryCategory.RAN))
        failed = sum(sizes.get(each, 0) for each in FAILED_CATEGORIES)
        running, total, elapsed_s = 0, run.summary.scheduled, run.summary.elapsed_s
    else:
        totals = [sum(column) for column in zip(*run.tallies.values(), strict=True)]
        totals = totals or [0] * len(TaskState)
        done = totals[TaskState.DONE] + totals[TaskState.COMPLETE]
        failed = totals[TaskState.FAILED] + totals[TaskState.DISABLED] + totals[TaskState.LOST]
        running = totals[TaskState.RUNNING] + totals[TaskState.LEASED]
        total, elapsed_s = sum(totals), s.now - run.started_at
    return client.RunRow(
        run.id,
        run.name,
        summaries.root_text(run),
        run.state.label,
        done,
        total,
        failed,
        running,
        elapsed_s,
        run.options.by,
        run.state == RunState.RUNNING and bool(run.unplanned or run.unresolved),
    )


def _show_run(s: State, peer: Peer, message: client.ShowRun) -> None:
    run = one_run(s, message.run)
    summary = run.summary or summaries.summarise(s, run, 0)
    newest = bounds.fitting(reversed(run.failures[-FAILURES_SHOWN_MAX:]))
    families = _family_rows(run)
    s.show(peer, client.RunShown(message.request, summary, families, [*reversed(newest)]))


def _family_rows(run: RunRecord) -> list[client.FamilyCounts]:
    """Count the tasks of a run by family; what is too much for one answer is summed up."""
    rows = bounds.fitting(
        client.FamilyCounts(family, runs.counts(numbers)) for family, numbers in run.tallies.items()
    )
    rest = list(islice(run.tallies.values(), len(rows), None))
    if rest:
        summed = [sum(column) for column in zip(*rest, strict=True)]
        rows.append(client.FamilyCounts(f"({len(rest):,} more families)", runs.counts(summed)))
    return rows


def _list_tasks(s: State, peer: Peer, message: client.ListTasks) -> None:
    run = run_if_named(s, message.run)
    found = find_tasks(s, message.match, run)
    if message.states:
        found = [task for task in found if task.state.label in message.states]
    limit = max(0, min(message.limit, ROWS_MAX))
    rows = bounds.fitting(_task_row(s, task) for task in found[:limit])
    s.show(peer, client.Tasks(message.request, rows, len(found) - len(rows)))


def _task_row(s: State, task: TaskRecord) -> client.TaskRow:
    uid = task.lease.uid if task.lease is not None else ""
    worker = s.workers[uid].name if uid in s.workers else uid[:8]
    said = words.of(task)
    status, progress, url = (said.status, said.progress, said.tracking_url) if said else _SILENT
    return client.TaskRow(
        task.task_id,
        twins.shown(s, task),
        task.state.label,
        worker,
        task.attempt,
        s.now - task.since,
        explain.briefly(s, task),
        status,
        progress,
        url,
    )


def _list_workers(s: State, peer: Peer, message: client.ListWorkers) -> None:
    rows, more = _page(list(s.workers.values()), message.at, lambda one: _worker_row(s, one))
    s.send_now(peer, client.Workers(message.request, rows, more))


def _page(items: list[T], at: int, row: Callable[[T], R]) -> tuple[list[R], int]:
    """Return the rows from a place on that one answer takes, and how many follow."""
    at = min(max(0, at), len(items))
    rows = bounds.fitting(row(one) for one in items[at : at + ROWS_MAX])
    return rows, len(items) - at - len(rows)


def _worker_row(s: State, worker: WorkerRecord) -> client.WorkerRow:
    running = [
        (explain.lease_name(lease), s.now - lease.granted_at)
        for lease in list(worker.held.values())[:WORKER_TASKS_MAX]
        if lease.holds
    ]
    return client.WorkerRow(
        worker.uid,
        worker.name,
        worker.host,
        worker.state.value,
        worker.slots,
        min(worker.used_slots, worker.slots),
        {name: (worker.used[name], worker.capacity[name]) for name in worker.capacity},
        worker.cpu,
        worker.memory_bytes,
        s.now - worker.joined_at,
        s.now - worker.heard_at,
        running,
        telling.rows(s, worker),
    )


def _why(s: State, peer: Peer, message: client.Why) -> None:
    run = run_if_named(s, message.run)
    tasks = find_tasks(s, message.task, run)
    unplanned = [one for one in find_runs(s, message.task) if one.unresolved and not tasks]
    past = [] if tasks or unplanned else find_ended(s, message.task, run)
    if unplanned and not is_run_id(message.task):
        s.send_now(peer, client.WhyShown(message.request, explain.why_root(s, unplanned[-1])))
    elif len(past) == 1:
        s.send_now(peer, client.WhyShown(message.request, ended.why(s, past[0])))
    elif past:
        error = f"{message.task!r} may be any of {len(past)} tasks of ended runs"
        raise Refusal(error, matches=(f"{one.name} of {one.run.id}" for one in past))
    else:
        task = only(s, message.task, tasks)
        s.send_now(peer, client.WhyShown(message.request, explain.why(s, task)))


def _show_graph(s: State, peer: Peer, message: client.ShowGraph) -> None:
    run = one_run(s, message.run)
    graphs.answer(s, peer, message, run, lambda piece: only(s, piece, find_tasks(s, piece, run)))


def _find_attempt(s: State, peer: Peer, message: client.FindAttempt) -> None:
    run = run_if_named(s, message.run)
    tasks = find_tasks(s, message.task, run)
    past = [] if tasks else find_ended(s, message.task, run)
    if len(past) == 1:
        (one,) = past
        error = f"nobody hears it: {one.name} has ended with run {one.run.id}"
        raise Refusal(error, f"flow why '{one.name}'", code=ExitCode.NOT_RUN)
    task = only(s, message.task, tasks)
    if task.policy is not None and not task.policy.policy.accepts_messages:
        error = f"{task.name} does not accept messages: its class needs accepts_messages = True"
        raise Refusal(error)
    if task.lease is None or task.doomed:
        error = f"nobody hears it: {task.name} is {task.state.label}"
        raise Refusal(error, f"flow status '{twins.typed(s, task)}'", code=ExitCode.NOT_RUN)
    worker = s.workers.get(task.lease.uid)
    name = worker.name if worker is not None else task.lease.uid[:8]
    token = task.lease.token
    s.send(
        peer,
        client.AttemptFound(message.request, token, task.task_id, task.name, task.attempt, name),
    )


def _list_resources(s: State, peer: Peer, message: client.ListResources) -> None:
    used = [name for name in s.resources.used if s.resources.limit(name) is not None]
    names = {**s.resources.limits, **dict.fromkeys(used, 0.0)}
    waiting = {
        name: sum(group.live for group in groups.values())
        for name, groups in s.ready.parked.items()
    }
    rows, more = _page(
        sorted({*names, *(n for n in waiting if ":" not in n)} - {UNMET}),
        message.at,
        lambda name: client.ResourceRow(
            name,
            s.resources.used.get(name, 0.0),
            s.resources.limit(name) or 0.0,
            waiting.get(name, 0),
            name in s.resources.limits,
        ),
    )
    s.show(peer, client.Resources(message.request, rows, more))


def _about(s: State, peer: Peer, message: client.About) -> None:
    slots = sum(worker.slots for worker in s.workers.values())
    up_s = s.now - s.started_at
    version = s.config.version
    s.send_now(
        peer,
        client.AboutShown(message.request, version, s.epoch, up_s, len(s.workers), slots),
    )


_HANDLERS: dict[type, Callable[[State, Peer, Any], None]] = {
    client.Submit: commands.submit,
    client.Watch: _watch,
    client.Unwatch: _unwatch,
    client.ListRuns: _list_runs,
    client.ShowRun: _show_run,
    client.ListTasks: _list_tasks,
    client.ListWorkers: _list_workers,
    client.Why: _why,
    client.Cancel: commands.cancel,
    client.Retry: commands.retry,
    client.ListResources: _list_resources,
    client.SetResource: commands.set_resource,
    client.WorkerCommand: commands.worker_command,
    client.About: _about,
    client.FindAttempt: _find_attempt,
    client.SendLetter: letters.send,
    client.ShowGraph: _show_graph,
    client.Upload: shipping.upload,
}
