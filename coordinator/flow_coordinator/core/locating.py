"""What is said of an input that is done and not there: where it was made, and is looked for.

A report that names a missing output of a requirement (``Report.missing``) waits, unacknowledged,
while the worker that made it is asked for its path (``Plan.where``); whoever reported says it again
until it is acknowledged, so nothing depends on the answer: without one, the report counts as it is.
Nothing of this is stored. Who made what is known of what was done since this start.

That a path is relative is told before anything fails, where workers were started in different
folders: a planner says so of the outputs that it asks for (``PlanChunk.relative``).

Rule R2.
"""

from __future__ import annotations

import msgspec

from flow.wire.ids import Token
from flow.wire.messages.shared import Missing, PlanChunk, Report, Stub
from flow.wire.messages.worker import Plan, PlanEnd, Planned
from flow.wire.states import PlanErrorKind
from flow_coordinator.core import bounds, programs
from flow_coordinator.core.records import LeaseRecord, RunRecord, WorkerRecord
from flow_coordinator.core.state import State
from flow_coordinator.core.waiting import Question

#: How long a report waits for the answer, seconds.
WAIT_S = 5.0
#: Questions open at a time; what fails beyond counts as it is.
QUESTIONS_MAX = 20
#: Characters of a path in a sentence.
_SHOWN_MAX = 90

_DIFFERENT = "outputs have relative paths"
_FOLDERS = (
    " ({path}), and workers were started in different folders ({first} "
    "in {here}, {other} in {there}): what one makes the other does not find. Make them absolute, "
    "or use task.artifact() with storage.root set"
)
_SHARED = (
    "put it where all workers see it: a shared folder, or task.artifact() with storage.root set"
)
_RELATIVE = (
    "its path is relative ({relative}), so it depends on the folder in which a worker was started: "
    "make it absolute, or use task.artifact() with storage.root set"
)
_AT_IMPORT = (
    "its path has something that is made when the module is imported (a time stamp, a random "
    "name), and each worker imports it for itself: make that a parameter"
)


def holds(s: State, worker: WorkerRecord, lease: LeaseRecord, report: Report) -> Report | None:
    """Return the report as it counts; None: it waits for an answer, and will be said again.

    It names a missing output.
    """
    assert report.missing is not None
    question = s.questions.get(report.token)
    if question is None:
        question = _ask(s, worker, lease, report.missing)
        if question is None:
            return report
        s.questions[report.token] = question
        return None
    if question.number and s.now < question.until:
        return None
    del s.questions[report.token]
    if not question.answer:
        return report
    first = report.error.partition("\n")[0]
    text = f"{first}\n{_explain(question, worker.name)}"
    return msgspec.structs.replace(report, error=text)


def _ask(s: State, worker: WorkerRecord, lease: LeaseRecord, missing: Missing) -> Question | None:
    made = next((one for one in lease.task.upstream if one.task_id == missing.task_id), None)
    maker = s.workers.get(made.maker) if made is not None else None
    if made is None or maker is None or maker is worker or not programs.lives(made.program):
        return None
    for token in [token for token in s.questions if token not in s.leases]:
        del s.questions[token]
    if len(s.questions) >= QUESTIONS_MAX:
        return None
    assert made.program is not None
    s.plan_seq += 1
    programs.define(s, maker, [made.program])
    stub = Stub(made.task_id, made.family.module, made.family.family, made.params)
    number = made.program.number
    s.send(maker.peer, Plan(maker.session, s.plan_seq, [stub], 1, number, where=True))
    return Question(s.plan_seq, maker, missing, s.now + WAIT_S)


def answer(s: State, worker: WorkerRecord, message: Planned, chunk: PlanChunk) -> Token | None:
    """Take the answer to a question; return whose report it is about, None if it is another's."""
    for token, question in s.questions.items():
        if question.number == message.request and question.uid == worker.uid:
            question.number = 0
            places = [each.text for each in chunk.errors if each.kind == PlanErrorKind.WHERE]
            if question.missing.index < len(places) and not message.lost:
                question.answer = places[question.missing.index]
            s.send_now(worker.peer, PlanEnd(worker.session, message.request))
            return token
    return None


def found_relative(s: State, run: RunRecord, path: str) -> None:
    """An output was planned whose path is relative: tell it where the folders of workers differ."""
    if path and not run.relative:
        run.relative = path
        _warn(s, run)


def joined(s: State, worker: WorkerRecord) -> None:
    """A worker has come, with a folder of its own. Cost: O(open runs)."""
    for run in s.runs.values():
        if run.relative:
            _warn(s, run)


def _warn(s: State, run: RunRecord) -> None:
    """Say it once in a run: of which two workers does not matter."""
    folders = {worker.folder: worker.name for worker in s.workers.values() if worker.folder}
    if len(folders) < 2 or any(text.startswith(_DIFFERENT) for text in run.notes):
        return
    (here, first), (there, other) = sorted(folders.items())[:2]
    path, here, there = (bounds.cut(each, _SHOWN_MAX) for each in (run.relative, here, there))
    text = _FOLDERS.format(path=path, first=first, here=here, other=other, there=there)
    programs.note(s, run, _DIFFERENT + text)


def _explain(question: Question, here: str) -> str:
    missing, made = question.missing, question.answer
    done = f"{missing.family} is done: {question.name} made it as {made}"
    if made == missing.path:
        return f"{done}, which {here} does not see: {_SHARED}"
    why = _RELATIVE.format(relative=missing.relative) if missing.relative else _AT_IMPORT
    return f"{done}, and {here} looks for {missing.path}: {why}"
