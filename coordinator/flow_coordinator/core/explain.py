"""Why a task is not running, from the same data the decision uses."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from flow.wire.messages.client import WhyAnswer
from flow.wire.messages.shared import readable_params
from flow.wire.resources import said_amount, typed_amount
from flow.wire.states import SATISFIED, TERMINAL, TaskState
from flow_coordinator.core import (
    batching,
    dispatch,
    graph,
    leases,
    programs,
    summaries,
    telling,
    twins,
    words,
)
from flow_coordinator.core.ready import UNMET, Group
from flow_coordinator.core.records import (
    Demand,
    LeaseRecord,
    RunRecord,
    TaskRecord,
    WorkerRecord,
    WorkerState,
)
from flow_coordinator.core.resources import exceeds, fits
from flow_coordinator.core.state import State

#: Reasons shown at once.
REASONS_MAX = 5
#: Tasks named in one line.
NAMES_MAX = 4
#: Groups, and tasks of each, that are looked at for what a run waits for.
GROUPS_MAX = 100
ENTRIES_MAX = 50
#: Of what a command line gave to tasks.
GIVEN_CHARS_MAX = 300
#: Of a worker's uid, where its name is that of several.
UID_CHARACTERS = 6


def waiting(s: State, run: RunRecord) -> list[str]:
    """Say in few words what a run waits for (nothing, if it simply runs)."""
    reasons: list[str] = []
    if not s.workers:
        reasons.append("no worker has joined")
    elif not any(worker.accepting for worker in s.workers.values()):
        reasons.append("no worker takes new work (suspect, draining, or kept for one task)")
    if s.stalled:
        reasons.append(s.stalled)
    for name, groups in s.ready.parked.items():
        if len(reasons) >= REASONS_MAX:
            break
        mine = [group for group in islice(groups.values(), GROUPS_MAX) if _has(group, run)]
        if not mine:
            continue
        if name == UNMET:
            reasons.append(unmet_text(s, mine[0].key[0]))
        elif name != leases.WORKER_ROOM:
            reasons.append(_taken(s, name))
        else:
            reasons.extend(_capacities(s, mine))
            found = [telling.waits_for_program(s, group, _expected_s(group)) for group in mine]
            reasons.extend(dict.fromkeys(text for text in found if text))
    if run.code == "" or not reasons:
        reasons.extend(telling.imports(s, run))
    if not reasons and any(numbers[TaskState.READY] for numbers in run.tallies.values()):
        slots = sum(worker.slots for worker in s.workers.values())
        if slots <= sum(worker.used_slots for worker in s.workers.values()):
            reasons.append(f"a free slot ({slots}/{slots} in use)")
    held_back = [one for one in islice(s.twins.waiting, GROUPS_MAX) if run in one.runs]
    if held_back:
        count = f" ({len(held_back)})" if len(held_back) > 1 else ""
        text = twins.reason(s, held_back[0]).removeprefix("waits for ")
        reasons += [text + count] if text else []
    external = sum(numbers[TaskState.EXTERNAL] for numbers in run.tallies.values())
    if external:
        reasons.append(f"external data ({external})")
    return reasons[:REASONS_MAX]


def _expected_s(group: Group) -> float:
    """How long the first task of a group is expected to take."""
    head = group.head()
    return dispatch.expected_s(head.task) if head is not None else 0.0


def _has(group: Group, run: RunRecord) -> bool:
    """Whether a task of this run is among the first of a group."""
    return any(run in entry.task.runs for entry in group.heap[:ENTRIES_MAX])


def _capacities(s: State, groups: Iterable[Group]) -> list[str]:
    names = dict.fromkeys(name for group in groups for name, _ in group.key[0])
    return [f"{name} on a worker" for name in names if name in s.resources.of_workers]


def unmet_text(s: State, demand: Demand) -> str:
    """Say why nothing there can ever meet a demand."""
    for name, amount in demand:
        limit = s.resources.limit(name)
        if limit is not None and exceeds(amount, limit):
            most = f"but its limit is {said_amount(limit)}"
            return f"needs {name} {said_amount(amount)}, {most}: it can never run"
    names = ", ".join(f"{n} {said_amount(a)}" for n, a in demand if n in s.resources.of_workers)
    return f"needs a worker with {names}: no worker has that much"


def briefly(s: State, task: TaskRecord) -> str:
    """Say in a few words why a task waits, or ended badly."""
    extra = task.extra
    if task.state == TaskState.READY:
        group = s.ready.groups.get(graph.group_key(task))
        lacks = group.parked if group is not None else None
        if lacks == UNMET:
            return unmet_text(s, graph.group_key(task)[0])
        if lacks is not None and lacks != leases.WORKER_ROOM:
            return _taken(s, lacks)
        capacities = _capacities(s, [group] if group is not None and lacks else [])
        program = telling.waits_for_program(s, group, _expected_s(group)) if group else ""
        if program and not capacities:
            return program
        return "waits for " + (", ".join(capacities) or "a free slot")
    if task in s.twins.waiting and (reason := twins.reason(s, task)):
        return reason
    if task.state == TaskState.PENDING and task.waits:
        first = next((dep.name for dep in task.upstream if dep.state not in SATISFIED), "")
        return f"waits for {first}" + (f" and {task.waits - 1} more" if task.waits > 1 else "")
    if is_gathering(task):
        return "waits for others to run as one with"
    if task.state == TaskState.BACKOFF and extra is not None:
        return f"again in {max(0.0, extra.again_at - s.now):.0f} s"
    if extra is None:
        return ""
    if task.held and (said_so_far := words.of(task)) is not None:
        return words.briefly(said_so_far)
    if not extra.why and extra.failure is not None and task.state in TERMINAL:
        return extra.failure.error.partition("\n")[0]
    return extra.why


def lacks(s: State, name: str, group: Group) -> str:
    """Say what a group of tasks that is parked under a name waits for."""
    if name == UNMET:
        return unmet_text(s, group.key[0])
    if name != leases.WORKER_ROOM:
        return _taken(s, name)
    return ", ".join(_capacities(s, [group]))


def _taken(s: State, name: str) -> str:
    used, limit = s.resources.used.get(name, 0.0), s.resources.limit(name) or 0.0
    return f"{name} {said_amount(used)}/{said_amount(limit)}"


def why(s: State, task: TaskRecord) -> WhyAnswer:
    """Explain one task."""
    lines: list[tuple[str, str]] = []
    hints: list[str] = []
    _requirements(task, lines)
    if s.twins.by_id and twins.others(s, task):
        lines.append(("module", task.family.module))
    explain = {
        TaskState.UNPLANNED: _unplanned,
        TaskState.PENDING: _pending,
        TaskState.READY: _ready,
        TaskState.BACKOFF: _backoff,
        TaskState.LEASED: _held,
        TaskState.RUNNING: _held,
        TaskState.SUSPENDED: _held,
    }.get(task.state)
    if explain is not None:
        explain(s, task, lines, hints)
    code = telling.code_line(s, task)
    lines += [("code", code)] if code else []
    if task.program is not None and task.program.options.given:
        lines.append(("planned with", _typed(task.program.options.given)))
    extra = task.extra
    said = words.of(task)
    lines += words.lines(said) if said is not None else []
    if extra is not None and extra.failure is not None:
        failure = extra.failure
        count = f"attempt {failure.attempt}, {task.failures} of {failure.attempts_max} failures"
        lines.append(("last failure", f"{failure.error} {failure.where}".strip() + f" ({count})"))
        lines += [("output", failure.tail)] if failure.tail else []
        lines += [("trace", failure.trace)] if failure.trace else []
    if extra is not None and extra.why:
        lines.append(("because", extra.why))
    if task.state in TERMINAL - SATISFIED:
        hints.append(f"flow retry '{twins.typed(s, task)}'")
    runs = ", ".join(f"{run.id} {run.name}" for run in task.runs[:NAMES_MAX])
    lines.append(("runs", runs or "none"))
    answer = WhyAnswer(task.task_id, task.name, task.state.label, s.now - task.since, lines, hints)
    return answer if said is None else words.told(answer, said)


def why_root(s: State, run: RunRecord) -> WhyAnswer:
    """Explain a run whose roots no planner has made yet, so that they are no tasks."""
    name = summaries.root_text(run)
    lines: list[tuple[str, str]] = []
    hints: list[str] = []
    told = telling.planning(s, run, run.asking)
    if s.workers and told:
        lines.append(("planning", told))
    elif not s.workers:
        lines.append(("planning", "no worker has joined that could plan it"))
        hints.append("flow-worker --coordinator ADDRESS")
    else:
        lines.append(("planning", "waits for a free planner"))
    lines.append(("runs", f"{run.id} {run.name}"))
    return WhyAnswer("", name, "unplanned", s.now - run.started_at, lines, hints)


def _typed(given: bytes) -> str:
    """Spell what a command line gave to tasks, as it was typed; bounded."""
    named = readable_params(given)
    text = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in named.items())
    return text if len(text) <= GIVEN_CHARS_MAX else text[: GIVEN_CHARS_MAX - 1] + "…"


def _requirements(task: TaskRecord, lines: list[tuple[str, str]]) -> None:
    total = len(task.upstream)
    if task.waits == 0:
        lines.append(("requirements", "all done"))
        return
    open_ones = [dep for dep in task.upstream if dep.state not in SATISFIED][:NAMES_MAX]
    named = zip(twins.names(open_ones), open_ones, strict=True)
    names = " · ".join(f"{name} {dep.state.label}" for name, dep in named)
    lines.append(("requirements", f"{task.waits} of {total} not done: {names}"))


def _unplanned(s: State, task: TaskRecord, lines: list[tuple[str, str]], hints: list[str]) -> None:
    run = programs.run_for(task)
    told = telling.planning(s, run, task.asked) if run is not None and s.workers else ""
    if told:
        lines.append(("planning", told))
    elif task.asked:
        lines.append(("planning", "a planner expands it now"))
    elif not s.workers:
        lines.append(("planning", "no worker has joined that could plan it"))
        hints.append("flow-worker --coordinator ADDRESS")
    else:
        lines.append(("planning", f"waits for a free planner; {len(s.frontier)} tasks before it"))


def _ready(s: State, task: TaskRecord, lines: list[tuple[str, str]], hints: list[str]) -> None:
    key = graph.group_key(task)
    group = s.ready.groups.get(key)
    demand = key[0]
    parked = group.parked if group is not None else None
    if parked == UNMET:
        lines.append(("resources", unmet_text(s, demand)))
        _meet(s, demand, hints)
    for name, amount in demand:
        limit = s.resources.limit(name)
        if limit is None:
            continue
        used = s.resources.used.get(name, 0.0)
        text = f"needs {said_amount(amount)}, {said_amount(used)} of {said_amount(limit)} in use"
        holders = _holders(s, name, s.leases.values())
        lines.append((f"resource {name}", text + (": " + " · ".join(holders) if holders else "")))
        if used + amount > limit >= amount:
            more = typed_amount(max(used + amount, limit + 1))
            hints.append(f"flow resources set {name} {more}")
    same = group.live if group is not None else 1
    others = f", {same} tasks need the same" if same > 1 else ""
    lines.append(("priority", f"{task.priority:g}{others}"))
    joined = list(s.workers.values())
    for worker in joined[:NAMES_MAX]:
        lines.append((f"worker {_called(s, worker)}", _room(s, worker, demand, task)))
    if len(joined) > NAMES_MAX:
        able = [w for w in joined if w.accepting and fits(w, demand, s.resources.of_workers)]
        free = sum(1 for w in able if w.used_slots < w.slots)
        counted = f"{len(able)} of {len(joined)} could take it, {free} with a free slot"
        lines.append(("all workers", counted))
    if not joined:
        lines.append(("workers", "no worker has joined"))
        hints.append("flow-worker --coordinator ADDRESS")


def _meet(s: State, demand: Demand, hints: list[str]) -> None:
    """Say what would make a demand possible."""
    for name, amount in demand:
        limit = s.resources.limit(name)
        if limit is not None and exceeds(amount, limit):
            hints.append(f"flow resources set {name} {typed_amount(amount)}")
    ask = ",".join(
        f"{name}={typed_amount(amount)}"
        for name, amount in demand
        if name in s.resources.of_workers
    )
    if not hints and ask:
        hints.append(f"flow-worker --resources {ask}")


#: Why a worker gets nothing new; an active one is kept for something.
_NOT_ACCEPTING = {
    WorkerState.UNFIT: "is not fit to run tasks",
    WorkerState.DRAINING: "is draining",
    WorkerState.SUSPECT: "has been silent",
    WorkerState.ACTIVE: "is kept for one task that crashed before",
}


def _room(s: State, worker: WorkerRecord, demand: Demand, task: TaskRecord) -> str:
    """Say why a worker does not take a task with this demand now."""
    barred = telling.kept_from(s, worker, task)
    if barred:
        return barred
    if not worker.accepting:
        return _NOT_ACCEPTING[worker.state]
    for name, amount in demand:
        if name not in s.resources.of_workers:
            continue
        most = worker.capacity.get(name)
        if most is None or amount > most:
            return f"has {name} {said_amount(most or 0)}, {said_amount(amount)} needed"
        if worker.used[name] + amount > most:
            in_use = f"{said_amount(worker.used[name])} of {said_amount(most)} in use"
            text = f"needs {name} {said_amount(amount)}, {in_use}"
            return ": ".join([text, " · ".join(_holders(s, name, worker.held.values()))])
    if worker.used_slots >= worker.slots:
        running = _holders(s, "", worker.held.values())
        return f"{worker.used_slots} of {worker.slots} slots in use: " + " · ".join(running)
    cold = ""
    _, solo, refused_by, _ = graph.group_key(task)
    if not (demand or solo or refused_by):
        cold = telling.is_too_cold(s, worker, task, dispatch.expected_s(task))
    return cold or "could take it, a slot is free"


def _called(s: State, worker: WorkerRecord) -> str:
    """Name a worker; with the beginning of its uid where the name is not its own."""
    same = sum(1 for other in s.workers.values() if other.name == worker.name)
    return worker.name if same == 1 else f"{worker.name} {worker.uid[:UID_CHARACTERS]}"


def _holders(s: State, name: str, held: Iterable[LeaseRecord]) -> list[str]:
    """Name tasks that hold a resource, or a slot, and for how long."""
    return [
        f"{lease_name(lease)} {s.now - lease.granted_at:.0f} s"
        for lease in held
        if lease.holds and (not name or any(n == name for n, _ in leases.held_demand(lease)))
    ][:NAMES_MAX]


def _backoff(s: State, task: TaskRecord, lines: list[tuple[str, str]], hints: list[str]) -> None:
    again_s = max(0.0, (task.extra.again_at if task.extra else s.now) - s.now)
    lines.append(("backoff", f"tries again in {again_s:.0f} s"))
    hints.append(f"flow retry '{twins.typed(s, task)}'")


def _held(s: State, task: TaskRecord, lines: list[tuple[str, str]], hints: list[str]) -> None:
    lease = task.lease
    if lease is None:
        return
    worker = s.workers.get(lease.uid)
    where = _called(s, worker) if worker is not None else f"{lease.uid[:8]} (not joined)"
    lines.append(("worker", f"{where}, attempt {task.attempt}, token {lease.token}"))
    if worker is not None and worker.suspect:
        silent_s = s.now - worker.heard_at
        left_s = s.config.timing.term_s - silent_s
        lines.append(("silence", f"silent for {silent_s:.0f} s; granted again in {left_s:.0f} s"))
    if worker is None:
        until = s.orphans_until.get(lease.uid, s.now)
        lines.append(
            ("lease", f"kept for {max(0.0, until - s.now):.0f} s for its worker to return")
        )
    waits_for = telling.importing(worker, task.program) if worker is not None else ""
    if waits_for:
        lines.append(("program", f"waits for {waits_for}"))
    if task.extra is not None and task.extra.doom is not None:
        lines.append(("ending", f"its worker was told to kill it: {task.extra.doom[1]}"))
    if lease.members:
        lines.append(("batch", _batch(lease, task)))
    if not lease.holds:
        whose = "its" if lease.task is task else f"the batch's ({lease.task.name})"
        lines.append(("suspended", f"{whose} generator waits for the tasks it yielded"))


def is_gathering(task: TaskRecord) -> bool:
    """Tell whether a task waits only for those that may run as one with it."""
    ready = task.state == TaskState.PENDING and not task.waits
    return ready and batching.is_batchable(task)


def _pending(s: State, task: TaskRecord, lines: list[tuple[str, str]], hints: list[str]) -> None:
    one = twins.holder(s, task) if task in s.twins.waiting else None
    if one is not None and one.lease is not None:
        worker = s.workers.get(one.lease.uid)
        where = _called(s, worker) if worker is not None else one.lease.uid[:UID_CHARACTERS]
        runs = ", ".join(f"{run.id} {run.name}" for run in one.runs[:NAMES_MAX])
        lines.append(("twin", twins.reason(s, task)))
        lines.append(("its worker", f"{where}, {one.state.label}, of {runs or 'no run'}"))
    elif is_gathering(task):
        text = f"waits up to {batching.GATHER_S:g} s for its run to be planned: others may join"
        lines.append(("batch", text))


def lease_name(lease: LeaseRecord) -> str:
    """Name what a lease runs, in short."""
    more = f" and {len(lease.members)} more as one" if lease.members else ""
    return lease.task.name + more


def _batch(lease: LeaseRecord, task: TaskRecord) -> str:
    """Say what a task runs with."""
    others = [one for one in islice(batching.tasks_of(lease), NAMES_MAX + 1) if one is not task]
    names = " · ".join(one.name for one in others[:NAMES_MAX])
    count = len(lease.members)
    more = f" and {count - NAMES_MAX} more" if count > NAMES_MAX else ""
    return f"runs as one with {count} {'others' if count > 1 else 'other'}: {names}{more}"
