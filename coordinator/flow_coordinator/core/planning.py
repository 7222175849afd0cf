"""Planning: who is asked to expand what, and what their answers mean.

A planner walks on its own up to a bounded number of tasks and answers in chunks, which are asked
for one by one: a lost, repeated or late chunk is recognised by its number, and a question without
an answer goes to another worker. Everything here is read-only at the worker and needs no lease.

A question is answered in the program of one run (``programs``), and what it is about is executed
there. Runs share tasks, so the run for which a task is planned decides what it is; others find it
planned, and wait for it as it is. A task that has ended is planned anew, for the run that wants it
now. While few tasks of a run are unplanned, one worker plans it: values that its module computes
when it is imported have one value then.
"""

from __future__ import annotations

from flow.errors import ExitCode
from flow.wire.ids import WorkerUid
from flow.wire.messages.shared import PlanChunk, PlanError, Spec, SpecStatus, Stub
from flow.wire.messages.worker import Plan, PlanEnd, Planned, PlanNext
from flow.wire.states import FailureKind, PlanErrorKind, RunState, TaskState
from flow_coordinator.core import (
    cleaning,
    dispatch,
    graph,
    locating,
    outcomes,
    overheard,
    programs,
    tally,
    twins,
)
from flow_coordinator.core.outcomes import Trouble
from flow_coordinator.core.records import PlanRecord, RunRecord, TaskRecord, WorkerRecord
from flow_coordinator.core.state import State
from flow_coordinator.core.timers import Timer
from flow_coordinator.core.transitions import TaskEvent

#: Tasks named in one question, and their parameters' bytes.
ASK_TASKS_MAX = 1_000
ASK_BYTES_MAX = 300_000
#: Tasks a planner expands before it hands the rest back to be spread.
EXPAND_MAX = 20_000
#: The same where several workers can share the work.
EXPAND_SHARED_MAX = 2_000
#: Silence after which a chunk is asked for again, seconds.
ASK_AGAIN_S = 5.0
#: Planner processes that one task may cost before it counts as unplannable.
DEATHS_MAX = 3
#: In the id of a root whose true id no worker has told yet; no task id has it.
_NAMELESS = "?"
#: Exit codes of errors that are the user's typing rather than failing code.
_USAGE_KINDS = frozenset({PlanErrorKind.UNKNOWN_TASK, PlanErrorKind.BAD_PARAMETER})


def turn(s: State) -> None:
    """Hand out planning work to workers with a free planner."""
    if s.stalled or s.stopping or not (s.unresolved or s.frontier) or cleaning.holds_planning(s):
        return
    for worker in sorted(s.workers.values(), key=_openness):
        while worker.accepting and len(worker.plans) < max(1, worker.planners):
            others_first, s.roots_asked = s.roots_asked and bool(s.frontier), False
            if s.unresolved and not others_first:
                run = _next_unresolved(s, worker)
                if run is not None:
                    if _may_answer(s, worker, run):
                        _ask_roots(s, worker, run)
                    else:
                        why = Trouble(programs.why_strict(run))
                        _fail_roots(s, run, why, len(run.root_tasks))
                    continue
            items = _take_items(s, worker)
            if not items:
                if others_first:
                    continue
                break
            program = programs.run_for(items[0]) or items[0].runs[0]
            if _may_answer(s, worker, program):
                _ask(s, worker, items, program)
                continue
            for task in items:
                plan_failed(s, task, Trouble(programs.why_strict(program)))


def _may_answer(s: State, worker: WorkerRecord, run: RunRecord) -> bool:
    """Tell whether who is asked because nobody else can be may answer with the code it has."""
    if worker.uid not in run.differing:
        return True
    if run.options.strict_code:
        return False
    programs.allow(s, worker, run)
    return True


def _next_unresolved(s: State, worker: WorkerRecord) -> RunRecord | None:
    """Take the next run whose roots this worker may be asked for."""
    for _ in range(len(s.unresolved)):
        run = s.unresolved.popleft()
        if not run.unresolved or run.cancelled:
            continue
        barred = worker.uid in run.barred or not programs.takes(worker, run)
        if barred and _is_for_others(s, worker, run, [worker.uid]):
            s.unresolved.append(run)
            continue
        return run
    return None


def _openness(worker: WorkerRecord) -> int:
    return len(worker.plans)


def _take_items(s: State, worker: WorkerRecord) -> list[TaskRecord]:
    items: dict[TaskRecord, None] = {}
    later: list[TaskRecord] = []
    size = 0
    share = max(1, len(s.frontier) // max(1, 2 * len(s.workers)))
    while s.frontier and len(items) < min(ASK_TASKS_MAX, share) and size < ASK_BYTES_MAX:
        task = s.frontier.popleft()
        if task.state != TaskState.UNPLANNED or task.asked or not graph.is_wanted(task):
            continue
        alone = task.number in s.planner_deaths
        # of the same runs, so the same values are given to all
        other_worker = _is_for_another(s, worker, task) or _is_planned_elsewhere(s, worker, task)
        if other_worker or (items and (alone or task.runs != next(iter(items)).runs)):
            later.append(task)
            if other_worker:
                continue
            break
        items[task] = None
        if alone:
            break
        size += len(task.params) + len(task.task_id) + graph.STUB_BYTES
    s.frontier.extendleft(reversed(later))
    return list(items)


def _is_for_another(s: State, worker: WorkerRecord, task: TaskRecord) -> bool:
    """Tell whether this worker could not import a task, and there is another to ask."""
    run = programs.run_for(task)
    refused_by = task.extra.refused_by if task.extra is not None else []
    barred = run.barred if run is not None else {}
    takes = run is None or programs.takes(worker, run)
    if takes and worker.uid not in refused_by and worker.uid not in barred:
        return False
    return _is_for_others(s, worker, run, refused_by)


def _is_for_others(
    s: State, worker: WorkerRecord, run: RunRecord | None, refused_by: list[WorkerUid]
) -> bool:
    """Tell whether one who cannot answer for a run should not be asked: another one could.

    Who has other code can, if nobody has the code of the run; who cannot import it never can.
    """
    barred = run.barred if run is not None else {}
    if run is not None and worker.uid not in run.differing:
        barred = {uid: text for uid, text in barred.items() if uid not in run.differing}
    return _could_ask_others(s, [*refused_by, *barred]) or programs.others_may_return(s)


def _is_planned_elsewhere(s: State, worker: WorkerRecord, task: TaskRecord) -> bool:
    """Tell whether another worker plans this task's run, and should go on alone."""
    run = programs.run_for(task)
    if run is None or run.home == worker.uid or run.unplanned > EXPAND_SHARED_MAX:
        return False
    home = s.workers.get(run.home)
    refused = task.extra is not None and run.home in task.extra.refused_by
    if home is None or refused or home.uid in run.barred:
        return False
    return home.accepting and programs.takes(home, run)


def _could_ask_others(s: State, refused_by: list[WorkerUid]) -> bool:
    """Tell whether some worker that takes work, now or soon, has not refused yet."""
    return any(
        worker.fit and not worker.draining and uid not in refused_by
        for uid, worker in s.workers.items()
    )


def _ask(s: State, worker: WorkerRecord, items: list[TaskRecord], program: RunRecord) -> None:
    plan = _open(s, worker, items, None, program)
    plan.refs = []
    for task in items:
        task.asked = plan.number
    stubs = [Stub(t.task_id, t.family.module, t.family.family, t.params) for t in items]
    _say(s, worker, plan, stubs)


def _ask_roots(s: State, worker: WorkerRecord, run: RunRecord) -> None:
    plan = _open(s, worker, [], run, run)
    run.asking = plan.number
    plan.first = len(run.roots)
    stubs = graph.root_stubs(run, plan.first, ASK_TASKS_MAX, ASK_BYTES_MAX)
    plan.root_count = len(stubs)
    s.roots_asked = plan.first + plan.root_count < len(run.root_tasks)
    _say(s, worker, plan, stubs)


def _open(
    s: State,
    worker: WorkerRecord,
    items: list[TaskRecord],
    run: RunRecord | None,
    program: RunRecord,
) -> PlanRecord:
    s.plan_seq += 1
    plan = PlanRecord(s.plan_seq, worker.uid, items, run, program, s.now)
    if program.home not in s.workers or program.home in program.barred:
        program.home = worker.uid
    s.plans[plan.number] = plan
    worker.plans[plan.number] = plan
    s.timer(s.now + ASK_AGAIN_S, Timer.PLAN, plan.number)
    return plan


def _say(s: State, worker: WorkerRecord, plan: PlanRecord, stubs: list[Stub]) -> None:
    expand_max = EXPAND_MAX if len(s.workers) < 2 else EXPAND_SHARED_MAX
    if _is_alone(s, plan) or _is_one_of_several(plan):
        expand_max = len(stubs)
    # not at once: it must not overtake the WELCOME of the session it is part of
    programs.define(s, worker, [plan.program])
    s.send(worker.peer, Plan(worker.session, plan.number, stubs, expand_max, plan.program.number))


def ask_again(s: State, number: int) -> None:
    """A planning timer fired: ask again for the chunk that has not come."""
    plan = s.plans.get(number)
    if plan is None:
        return
    worker = s.workers.get(plan.uid)
    if worker is None:
        lose(s, plan)
        return
    if s.now - plan.asked_at >= ASK_AGAIN_S:
        plan.asked_at = s.now
        if plan.chunk:
            s.send_now(worker.peer, PlanNext(worker.session, number, plan.chunk))
        elif plan.run is not None:
            _say(
                s,
                worker,
                plan,
                graph.root_stubs(plan.run, plan.first, ASK_TASKS_MAX, ASK_BYTES_MAX),
            )
        else:
            items = plan.items
            stubs = [Stub(t.task_id, t.family.module, t.family.family, t.params) for t in items]
            _say(s, worker, plan, stubs)
    s.timer(plan.asked_at + ASK_AGAIN_S, Timer.PLAN, number)


def lose(s: State, plan: PlanRecord) -> None:
    """Nobody answers this question any more: what it did not settle is asked again."""
    _close(s, plan)
    if plan.run is not None and plan.run.unresolved:
        plan.run.asking = 0
        s.unresolved.append(plan.run)
    _return_rest(s, plan)


def _is_one_of_several(plan: PlanRecord) -> bool:
    """Tell whether the roots of a run take several questions: what they share is asked once."""
    return plan.run is not None and plan.root_count < len(plan.run.root_tasks)


def _is_alone(s: State, plan: PlanRecord) -> bool:
    """Tell whether a question is about what may have killed a planner, and nothing else."""
    return _blamed(plan.run or plan.items[0]) in s.planner_deaths


def _blamed(one: RunRecord | TaskRecord) -> int:
    """Number tasks and, below zero, runs."""
    return -one.number if isinstance(one, RunRecord) else one.number


def _planner_died(s: State, plan: PlanRecord, told: PlanError) -> None:
    """Ask about each task alone, and without going further; who kills again is to blame."""
    alone = _is_alone(s, plan)
    for one in (plan.run,) if plan.run is not None else tuple(plan.items):
        blamed = _blamed(one)
        deaths = s.planner_deaths[blamed] = s.planner_deaths.get(blamed, 0) + 1
        if not alone or deaths < DEATHS_MAX:
            continue
        del s.planner_deaths[blamed]
        text = f"{deaths} planner processes died over it: {told.text}"
        trouble = Trouble(text, tail=told.tail)
        if isinstance(one, RunRecord):
            _fail_roots(s, one, trouble, plan.first + plan.root_count)
        elif one.state == TaskState.UNPLANNED:
            plan_failed(s, one, trouble)


def _fail_roots(s: State, run: RunRecord, trouble: Trouble, stop: int) -> None:
    """End the roots of a run before one that have no name yet: no planner can make them."""
    for index in range(len(run.roots), stop):
        stub = graph.root_stub(run.root_tasks[index])
        plan_failed(s, _name_root(s, run, stub, index), trouble)


def _close(s: State, plan: PlanRecord) -> None:
    del s.plans[plan.number]
    worker = s.workers.get(plan.uid)
    if worker is not None:
        worker.plans.pop(plan.number, None)


def _return_rest(s: State, plan: PlanRecord) -> None:
    for task in (*plan.items, *plan.refs):
        if task.asked == plan.number:
            task.asked = 0
            if task.state == TaskState.UNPLANNED:
                s.frontier.append(task)


def answer(s: State, worker: WorkerRecord, message: Planned, chunk: PlanChunk) -> None:
    """Take one chunk of an answer. A chunk that is not the expected one is ignored."""
    plan = s.plans.get(message.request)
    if plan is None or plan.uid != worker.uid:
        s.send_now(worker.peer, PlanEnd(worker.session, message.request))
        return
    if not _is_wanted(plan):
        lose(s, plan)
        s.send_now(worker.peer, PlanEnd(worker.session, message.request))
        return
    if message.lost:
        if chunk.errors:
            _planner_died(s, plan, chunk.errors[0])
        lose(s, plan)
        return
    if message.chunk != plan.chunk:
        return
    if message.code != plan.program.code:
        if plan.program.code:
            programs.ran(s, plan.program, worker.uid, worker.name)
        programs.fix_code(s, plan.program, message.code)
    plan.chunk += 1
    plan.asked_at = s.now
    locating.found_relative(s, plan.program, chunk.relative)
    overheard.heard(s, plan, chunk.printed)
    if not message.last:
        s.send_now(worker.peer, PlanNext(worker.session, plan.number, plan.chunk))
    _apply(s, plan, chunk)
    if message.last:
        _close(s, plan)
        for one in (plan.run,) if plan.run is not None else plan.items:
            s.planner_deaths.pop(_blamed(one), None)
        s.send_now(worker.peer, PlanEnd(worker.session, message.request))
        if plan.width > worker.slots and len(s.workers) > 1:
            programs.prepare(s, plan.program, plan.width, dispatch.UNKNOWN_S)
        if plan.run is not None and plan.run.unresolved:
            plan.run.asking = 0
            s.unresolved.append(plan.run)
        _return_rest(s, plan)


def _is_wanted(plan: PlanRecord) -> bool:
    run = plan.run
    if run is not None and (run.state != RunState.RUNNING or run.cancelled):
        return False
    asked = _asked(plan)
    # another run may have taken over all that was asked about, and ended
    return not asked or any(graph.is_wanted(task) for task in asked)


def _asked(plan: PlanRecord) -> list[TaskRecord]:
    """List the tasks a question is about; of roots, those that have a name by now."""
    return plan.items if plan.run is None else plan.refs[: plan.root_count]


def _apply(s: State, plan: PlanRecord, chunk: PlanChunk) -> None:
    _name_stubs(s, plan, chunk.stubs)
    for policy in chunk.policies:
        plan.policies.append(s.policy(policy))
    for index, deps in chunk.edges:
        if index < len(plan.refs):
            plan.edges.setdefault(index, []).extend(deps)
    # requirements come first on the wire only by level, so all specs of a chunk are settled after
    # all of them are applied: a task must not start while its requirements are still being named
    settled: list[TaskRecord] = []
    for spec in chunk.specs:
        if spec.index < len(plan.refs) and spec.policy < len(plan.policies):
            task = plan.refs[spec.index]
            if task.asked == plan.number and task.state == TaskState.UNPLANNED:
                _apply_spec(s, plan, task, spec)
                settled.append(task)
    for error in chunk.errors:
        _apply_error(s, plan, error)
    for task in settled:
        graph.settle(s, task)


def _name_stubs(s: State, plan: PlanRecord, stubs: list[Stub]) -> None:
    """Give every stub of the answer its record; the first ones are the requested items."""
    for stub in stubs:
        index = len(plan.refs)
        if index < len(plan.items):
            task = _identify(s, plan, index, stub)
        elif plan.run is not None and index < plan.root_count:
            task = _name_root(s, plan.run, stub, plan.first + index)
        else:
            task = _name_requirement(s, plan, stub)
        plan.refs.append(task)
        if task.state == TaskState.UNPLANNED and not task.asked and _is_theirs(plan, task):
            task.asked = plan.number


def _is_theirs(plan: PlanRecord, task: TaskRecord) -> bool:
    """Tell whether a run that asks counts a task. What only others want is planned in theirs."""
    return not plan.runs or any(run in task.runs for run in plan.runs)


def _name_root(s: State, run: RunRecord, stub: Stub, index: int) -> TaskRecord:
    if index < len(run.roots):
        return run.roots[index]
    if not stub.task_id:
        stub = Stub(f"{stub.family}{_NAMELESS}{run.number}.{index}", *_rest(stub))
    task = graph.name_task(s, run.project, stub, (run,), run.options.priority)
    run.rooted.setdefault(task, index)
    run.roots.append(task)
    run.unresolved -= 1
    s.roots_changed(run, index)
    return task


def _identify(s: State, plan: PlanRecord, index: int, stub: Stub) -> TaskRecord:
    """Give a root its task id once a worker that can import its module has said it."""
    task = plan.items[index]
    if _NAMELESS not in task.task_id or not stub.task_id or task.state != TaskState.UNPLANNED:
        return task
    project = task.family.project
    twins.remove(s, task)
    known = twins.find(s, project, stub.task_id, stub.module)
    if known is None:
        task.task_id, task.params = stub.task_id, stub.params
        if stub.family == task.family.family:  # runs count it under that
            task.family = s.family(project, stub.module, stub.family)
        twins.add(s, task)
        s.changes.tasks[task] = None
        return task
    for run in task.runs:
        tally.withdraw(task, run)
        graph.name_task(s, run.project, stub, (run,), run.options.priority)
        place = run.rooted.pop(task)  # nothing else has a made-up id, so there is only one
        run.roots[place] = known
        run.rooted[known] = min(place, run.rooted.get(known, place))
        s.roots_changed(run, place)
    task.runs = ()
    task.asked = 0
    plan.items[index] = known
    return known


def _rest(stub: Stub) -> tuple[str, str, bytes]:
    return stub.module, stub.family, stub.params


def _name_requirement(s: State, plan: PlanRecord, stub: Stub) -> TaskRecord:
    """Count a newly named task in the runs of what is being planned."""
    first = next((one for one in plan.refs if graph.is_wanted(one)), plan.refs[0])
    return graph.name_task(s, first.family.project, stub, _counted_in(plan), 0.0)


def _counted_in(plan: PlanRecord) -> tuple[RunRecord, ...]:
    """Tell which runs count what an answer names: those that asked, and still want it.

    A run that shares only some of the items is added by the edges (``_connect``), not here.
    """
    asked = _asked(plan)
    runs = tuple(run for run in plan.runs if any(run in task.runs for task in asked))
    return runs or next((task.runs for task in asked if graph.is_wanted(task)), ())


def _apply_spec(s: State, plan: PlanRecord, task: TaskRecord, spec: Spec) -> None:
    policy = plan.policies[spec.policy]
    task.policy = policy
    task.program = plan.program
    task.asked = 0
    own = policy.policy.priority + max((run.options.priority for run in task.runs), default=0.0)
    task.priority = max(own, task.priority) if task.priority > 0 else own
    s.changes.tasks[task] = None
    if policy.policy.temporary:
        s.temporary.found(task)
    deps = plan.edges.pop(spec.index, None)
    if spec.status == SpecStatus.COMPLETE:
        tally.move(s, task, TaskEvent.PLAN_COMPLETE)
        graph.satisfied(s, task)
        return
    if policy.policy.disabled:
        task.more().why = "its class says disabled"
        tally.move(s, task, TaskEvent.PLAN_DISABLED)
        graph.ended_badly(s, task)
        return
    if deps:
        refs = [plan.refs[at] for at in dict.fromkeys(deps) if at < len(plan.refs)]
        plan.width = max(plan.width, len(refs))
        if not _connect(s, task, refs):
            return
    if spec.status == SpecStatus.EXTERNAL:
        _found_external(s, task)
    else:
        tally.move(s, task, TaskEvent.PLAN_INCOMPLETE)


def _connect(s: State, task: TaskRecord, deps: list[TaskRecord]) -> bool:
    """Add the requirements of a task; a cycle ends its planning with the path."""
    deps = graph.in_force(s, task.runs, deps)
    cycle = graph.find_cycle(task, deps)
    if cycle is not None:
        path = " -> ".join(one.name for one in cycle)
        plan_failed(s, task, Trouble(f"requirements form a cycle: {path}"))
        return False
    for dep in deps:
        if dep.runs != task.runs:
            for run in task.runs:
                if run not in dep.runs:
                    graph.attach(s, dep, run)
    graph.add_edges(s, task, deps)
    return True


def _found_external(s: State, task: TaskRecord) -> None:
    tally.move(s, task, TaskEvent.PLAN_EXTERNAL)
    waiting = any(
        run.options.wait_external_s > s.now - run.started_at and not run.cancelled
        for run in task.runs
    )
    if waiting:
        s.timer(s.now + s.config.external_check_s, Timer.EXTERNAL, task)
    else:
        give_up(s, task)


def give_up(s: State, task: TaskRecord) -> None:
    """Nobody waits (any more) for external data."""
    if tally.move(s, task, TaskEvent.GIVE_UP):
        task.more().why = "external data does not exist"
        graph.ended_badly(s, task)


def recheck(s: State, task: TaskRecord) -> None:
    """Look again whether external data has appeared."""
    if task.state == TaskState.EXTERNAL:
        graph.plan_again(s, task)


def _apply_error(s: State, plan: PlanRecord, error: PlanError) -> None:
    if error.index >= len(plan.refs):
        return
    task = plan.refs[error.index]
    if task.state != TaskState.UNPLANNED or task.asked not in (plan.number, 0):
        return
    if error.kind == PlanErrorKind.IMPORT and _elsewhere(s, plan, task):
        return
    is_root = any(task in run.rooted for run in task.runs)
    code = ExitCode.USAGE if error.kind in _USAGE_KINDS and is_root else 0
    worker = s.workers.get(plan.uid)
    name = worker.name if worker is not None else ""
    plan_failed(s, task, Trouble(error.text, "", error.trace, error.tail), name, code)


def _elsewhere(s: State, plan: PlanRecord, task: TaskRecord) -> bool:
    """This worker cannot import the module: let another try before it counts as an error."""
    extra = task.more()
    if plan.uid not in extra.refused_by:
        extra.refused_by = sorted([*extra.refused_by, plan.uid])
    if not _could_ask_others(s, extra.refused_by):
        extra.refused_by = []
        return False
    task.asked = 0
    s.frontier.append(task)
    return True


def plan_failed(
    s: State, task: TaskRecord, trouble: Trouble, worker: str = "", code: int = 0
) -> None:
    """A task cannot be planned: it ends, and so does what needs it."""
    task.asked = 0
    if tally.move(s, task, TaskEvent.PLAN_ERROR):
        task.more().why = trouble.error
        outcomes.note_failure(s, task, FailureKind.PLANNING, worker, trouble, code=code)
        graph.ended_badly(s, task)
