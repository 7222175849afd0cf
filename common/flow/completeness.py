"""Ask many tasks whether they are complete: serially while that is fast, in threads when it is not.

A ``complete()`` that looks at a local file takes microseconds, and a thread would only cost; one
that asks an object store takes milliseconds, and 64 of them wait at the same time as well as one.
Called by planners, by generators that yield, by ``flow graph`` and by the Range tasks.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from flow.dialects import dialect_of
from flow.task import Task, flatten

#: Checks slower than this on average are made in threads.
SLOW_S = 0.0005
#: So many checks are timed before that is decided.
SAMPLE = 8
THREADS_MAX = 64
#: A family with fewer tasks in one level is not worth a ``bulk_complete``.
BULK_MIN = 2

#: True, False, or what the check raised.
Answer = bool | BaseException


def ask(task: Task) -> bool:
    """Call ``complete()`` where it can be true. Raises what it raises, TypeError for a non-bool."""
    cls: Any = type(task)
    dialect = dialect_of(cls)
    base: Any = dialect.task
    if cls.complete is base.complete and "complete" not in task.__dict__:
        # What it would do, but output() is called once, and nobody is warned that there is none.
        if cls.output is base.output and "output" not in task.__dict__:
            return False
        outputs = flatten(task.output())
        return bool(outputs) and all(target.exists() for target in outputs)
    answer = task.complete()
    if answer is True or answer is False:
        return answer
    return dialect.as_answer(answer)


def is_plain_wrapper(cls: Any) -> bool:
    """Tell whether tasks of this class are complete when what they require is."""
    return cls.complete is dialect_of(cls).wrapper.complete  # type: ignore[attr-defined]


class Checker:
    """Answers of one planning request, or of one yield; each task is asked once."""

    def __init__(self) -> None:
        self._known: dict[str, Answer] = {}

    def level(self, tasks: Sequence[Task]) -> list[Answer]:
        """Ask all of them; the answers come in the order of the tasks."""
        self._bulk(tasks)
        todo = {task.task_id: task for task in tasks if task.task_id not in self._known}
        wrappers = [task for task in todo.values() if is_plain_wrapper(type(task))]
        for task in wrappers:
            del todo[task.task_id]
        self._check(list(todo.values()))
        for task in wrappers:
            self._known[task.task_id] = self._wrapper(task)
        return [self._known[task.task_id] for task in tasks]

    def all_complete(self, tasks: Sequence[Task]) -> bool:
        """Whether all are; stops early at the first that is not. Raises what a check raises."""
        size = SAMPLE
        at = 0
        while at < len(tasks):
            for answer in self.level(tasks[at : at + size]):
                if isinstance(answer, BaseException):
                    raise answer
                if not answer:
                    return False
            at += size
            size = min(size * 2, 16 * THREADS_MAX)
        return True

    def one(self, task: Task) -> bool:
        """Ask one task. Raises what its check raises."""
        answer = self.level([task])[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _wrapper(self, task: Task) -> Answer:
        """A wrapper's own ``complete()`` would ask its requirements serially, and each time."""
        try:
            return self.all_complete(flatten(task.requires()))
        except BaseException as e:  # user code
            return e

    def _bulk(self, tasks: Sequence[Task]) -> None:
        families: dict[type[Task], list[Task]] = {}
        for task in tasks:
            if (
                dialect_of(type(task)).answers_in_bulk(type(task))
                and task.task_id not in self._known
            ):
                families.setdefault(type(task), []).append(task)
        for cls, members in families.items():
            if len(members) >= BULK_MIN:
                self._ask_family(cls, members)

    def _ask_family(self, cls: type[Task], members: list[Task]) -> None:
        """One call for a whole family; an answer that makes no sense is as good as none."""
        names = [name for name, _ in cls.get_params()]
        rows = [tuple(getattr(task, name) for name in names) for task in members]
        items = [row[0] for row in rows] if len(names) == 1 else rows
        try:
            done = set(cls.bulk_complete(items))
        except Exception:  # user code; each task is asked by itself, and can say what is wrong
            return
        if done <= set(items):
            for task, item in zip(members, items, strict=True):
                self._known[task.task_id] = item in done

    def _check(self, tasks: list[Task]) -> None:
        asked = 0
        spent_s = 0.0
        for task in tasks:
            if asked >= SAMPLE and spent_s > asked * SLOW_S:
                break
            asked += 1
            started = time.perf_counter()
            self._record(task)
            spent_s += time.perf_counter() - started
        if asked < len(tasks):
            self._in_threads(tasks[asked:])

    def _in_threads(self, tasks: Iterable[Task]) -> None:
        queue = collections.deque(tasks)

        def work() -> None:
            while True:
                try:
                    task = queue.popleft()
                except IndexError:
                    return
                self._record(task)

        count = min(THREADS_MAX, len(queue))
        threads = [threading.Thread(target=work, name="flow-complete") for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _record(self, task: Task) -> None:
        try:
            self._known[task.task_id] = ask(task)
        except BaseException as e:  # user code, sys.exit() included
            self._known[task.task_id] = e
