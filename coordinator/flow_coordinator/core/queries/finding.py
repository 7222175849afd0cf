"""What a person means by a piece of text: runs, and tasks of open and of ended runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from flow.wire.messages.client import Failure
from flow.wire.messages.shared import display, shown_with
from flow.wire.states import SummaryCategory
from flow_coordinator.core import summaries, twins
from flow_coordinator.core.records import RunRecord, TaskRecord
from flow_coordinator.core.refusal import Refusal
from flow_coordinator.core.state import State

#: Between a task and the module it is of, where somebody names both.
_OF = " of "
#: A whole name; nothing of it is cut off.
NAME_CHARACTERS_MAX = 100_000
#: Tasks of ended runs looked at, those of the newest run first.
ENDED_TASKS_MAX = 20_000
#: What somebody may have meant shares at least this much of its letter pairs with what was typed.
SIMILARITY_MIN = 0.4
NEAR_MAX = 5
#: Candidates named when a piece is ambiguous.
MATCHES_MAX = 10

_EXACT, _NAMED, _PART_OF_FAMILY, _PIECE, _NOT = range(5)


class EndedTask(NamedTuple):
    """A task that an ended run tells of in its summary."""

    run: RunRecord
    name: str
    category: SummaryCategory
    failure: Failure | None


class Wanted:
    """A task as people name it.

    An id, ``Family``, ``Family(n=1, EU)``, ``n=1``, or any piece of an id or a name. What fits
    better hides what fits worse: ``Load(n=1)`` is not ``Load(n=10)`` where both exist, and never
    where ``n=1`` was said.
    """

    def __init__(self, piece: str) -> None:
        self.piece = piece
        self.family, bracket, inner = piece.partition("(")
        if not bracket and "=" in piece:
            self.family, bracket, inner = "", "(", piece
        self.inner = inner.strip().removesuffix(")").strip()
        self.bracket = bool(bracket)
        self.parts = [part.strip() for part in self.inner.split(",") if part.strip()]
        words = [word.strip() for part in self.parts for word in part.split("=")]
        #: what the packed parameters of every task that fits have in them
        self.packed = max(words, key=len, default="").encode()

    def rank(self, family: str, task_id: str, name: str) -> int:
        """Tell how well a task fits, 0 best. ``name`` is all of ``Family(n=1, ...)``."""
        if self.piece in (task_id, name):
            return _EXACT
        if not self.bracket:
            if family == self.piece:
                return _NAMED
            return _PIECE if self.piece in task_id or self.piece in name else _NOT
        inner = f", {name[len(family) + 1 : -1]},"
        same = all(self._said(part, inner) for part in self.parts) or f", {self.inner}," in inner
        if family == self.family:
            if same:
                return _NAMED
            loose = all("=" not in part and part in inner for part in self.parts)
            return _PIECE if loose else _NOT
        return _PART_OF_FAMILY if same and self.parts and self.family in family else _NOT

    @staticmethod
    def _said(part: str, inner: str) -> bool:
        return f", {part}," in inner if "=" in part else f"={part}," in inner


def find_runs(s: State, piece: str) -> list[RunRecord]:
    """Find runs by id, number, name, root, a piece of those, or ``last``."""
    everything = [*s.ended.values(), *s.runs.values()]
    if piece in ("last", "") and everything:
        return [max(everything, key=lambda run: run.number)]
    exact = [run for run in everything if piece in (run.id, str(run.number), run.name)]
    if exact:
        return exact[-1:] if len({run.name for run in exact}) == 1 else exact
    return [run for run in everything if piece in run.name or piece in summaries.root_text(run)]


def is_run_id(piece: str) -> bool:
    """Whether this can only mean a run."""
    return piece[:2] == "r-" and piece[2:].isdecimal()


def find_tasks(s: State, piece: str, run: RunRecord | None = None) -> list[TaskRecord]:
    """Find the tasks in memory that fit best; ``TASK of MODULE`` are those of one module.

    Cost: O(tasks) unless the id is exact; parameters are unpacked only where family and id do not
    decide, because a question must not keep the loop from a million tasks' heartbeats.
    """
    found = _find_tasks(s, piece, run)
    task, of, module = piece.rpartition(_OF)
    if found or not of:
        return found
    return [one for one in _find_tasks(s, task, run) if _is_module(one.family.module, module)]


def _is_module(module: str, piece: str) -> bool:
    return module == piece or module.endswith((f".{piece}", f"/{piece}"))


def _find_tasks(s: State, piece: str, run: RunRecord | None) -> list[TaskRecord]:
    if run is None:
        exact = [task for project in s.tasks for task in twins.of(s, project, piece)]
        if exact:
            return exact
    pool = run.tasks if run is not None else list(twins.everything(s))
    if not piece:
        return list(pool)
    wanted = Wanted(piece)
    if wanted.bracket:
        packed = wanted.packed
        pool = [task for task in pool if packed in task.params or piece == task.task_id]
        pool = [task for task in pool if wanted.family in task.family.family]
    else:
        found = [task for task in pool if task.family.family == piece]
        found = found or [task for task in pool if piece in task.task_id]
        if found:
            return found
    found = []
    best = _PIECE
    for task in pool:
        family = task.family.family
        name = display(family, task.params, NAME_CHARACTERS_MAX)
        rank = wanted.rank(family, task.task_id, name)
        if rank < best:
            best, found = rank, []
        if rank == best:
            found.append(task)
    return found


def find_ended(s: State, piece: str, run: RunRecord | None = None) -> list[EndedTask]:
    """Find tasks in the summaries of ended runs; the newest run that had a task tells of it."""
    wanted = Wanted(piece)
    found: dict[str, EndedTask] = {}
    best = _PIECE
    left = ENDED_TASKS_MAX
    for one in [run] if run is not None else reversed(s.ended.values()):
        failures = {failure.task: failure for failure in one.failures}
        for family, category, name in _told(one):
            left -= 1
            failure = failures.get(name)
            rank = wanted.rank(family, failure.task_id if failure else "", name)
            if rank < best:
                best, found = rank, {}
            if rank == best:
                found.setdefault(name, EndedTask(one, name, category, failure))
        if left <= 0:
            break
    return list(found.values())


def near(s: State, piece: str) -> list[str]:
    """Name tasks of the family that was named, or families with a similar name."""
    word = piece.partition("(")[0]
    named = [task.name for task in twins.everything(s) if task.family.family == word]
    if named:
        return named[:NEAR_MAX]
    families = [task.family.family for task in twins.everything(s)]
    for run in reversed(s.ended.values()):
        families += [family for family, _, _ in _told(run, 1)]
    likely = [(_similarity(word, family), family) for family in dict.fromkeys(families)]
    likely = [pair for pair in likely if pair[0] >= SIMILARITY_MIN]
    return [family for _, family in sorted(likely, key=lambda pair: -pair[0])[:NEAR_MAX]]


def _told(
    run: RunRecord, each_max: int = ENDED_TASKS_MAX
) -> Iterator[tuple[str, SummaryCategory, str]]:
    """List (family, category, name) of the tasks that a summary names."""
    for category in run.summary.categories if run.summary is not None else ():
        for example in category.examples:
            for params in example.params[:each_max]:
                yield example.family, category.name, shown_with(example.family, params)


def _similarity(one: str, other: str) -> float:
    """Share of letter pairs that two words have in common (Dice's coefficient)."""
    ours, theirs = _pairs(one), _pairs(other)
    common = sum(1 for pair in ours if pair in theirs)
    return 2 * common / max(1, len(ours) + len(theirs))


def _pairs(word: str) -> list[str]:
    word = f" {word.lower()} "
    return list(dict.fromkeys(word[at : at + 2] for at in range(len(word) - 1)))


def one_run(s: State, piece: str) -> RunRecord:
    """Find the one run that is meant. Raises ``Refusal`` where there is none or more."""
    found = find_runs(s, piece)
    if len(found) == 1:
        return found[0]
    if found:
        called = (f"{run.id} {run.name} {summaries.root_text(run)}" for run in found)
        raise Refusal(f"{piece!r} may be any of {len(found)} runs", matches=called)
    raise Refusal(f"there is no run {piece!r}", "flow status")


def run_if_named(s: State, piece: str) -> RunRecord | None:
    """Find the one run that is meant, if one is. Raises ``Refusal``."""
    return one_run(s, piece) if piece else None


def only(s: State, piece: str, found: list[TaskRecord]) -> TaskRecord:
    """Return the one task that was found. Raises ``Refusal`` where there is none or more."""
    if len(found) == 1:
        return found[0]
    if found:
        names = twins.names(found[:MATCHES_MAX])
        raise Refusal(f"{piece!r} may be any of {len(found)} tasks", matches=names)
    if is_run_id(piece):
        if find_runs(s, piece):
            raise Refusal(f"{piece} is a run, not a task", f"flow status {piece}")
        raise Refusal(f"there is no run {piece!r}", "flow status")
    like = near(s, piece)
    error = f"no open run has a task {piece!r}" + (", but there are" if like else "")
    raise Refusal(error, "flow tasks", matches=like)


def only_task(s: State, piece: str, found: list[RunRecord]) -> TaskRecord:
    """Find the one task that is meant where several runs, or none, are called so."""
    tasks = find_tasks(s, piece)
    if found and len(tasks) != 1:
        one_run(s, piece)
    return only(s, piece, tasks)
