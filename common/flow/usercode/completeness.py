"""Ask many tasks whether they are complete: serially while that is fast, in threads when it is not.

A ``complete()`` that looks at a local file takes microseconds, and a thread would only cost; one
that asks an object store takes milliseconds, and 64 of them wait at the same time as well as one.
Called by planners, by generators that yield, by ``flow graph`` and by the Range tasks.
"""

from __future__ import annotations

import collections
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from flow.errors import UsageError
from flow.modules import blame
from flow.seam import dialect_of, key_of
from flow.task import Task, flatten, is_external

#: Checks slower than this on average are made in threads.
SLOW_S = 0.0005
#: So many checks are timed before that is decided.
SAMPLE = 8
THREADS_MAX = 64
#: A family with fewer tasks in one level is not worth a ``bulk_complete``.
BULK_MIN = 2

#: Families whose checks raised in a thread and not where they were called from.
_HERE_ONLY: set[type[Task]] = set()

#: What luigi and flow call the files of this host.
_LOCAL_FILES = "LocalFileSystem"

Look = Callable[[Task, Sequence[Any]], None]
#: True, False, or what the check raised.
Answer = bool | BaseException
#: What tells a task from others, and the task.
_Keyed = tuple[tuple[Any, ...], Task]


class WrongAnswer(UsageError, TypeError):
    """A ``complete()`` returned neither True nor False."""

    def __init__(self, cls: Any, answer: object) -> None:
        text = f"{answer!r:.200}, it must return True or False"
        super().__init__(f"TypeError: complete() returned {text}")
        self.where = blame.declared(cls, "complete")


def ask(task: Task, look: Look | None = None) -> bool:
    """Call ``complete()`` where it can be true. Raises what it raises, TypeError for a non-bool.

    ``look`` is shown the outputs, where these are what is asked.
    """
    try:
        return _ask_once(task, look)
    except Exception as error:  # user code
        if not dialect_of(type(task)).ask_again(error):
            raise
    return _ask_once(task, look)


def _ask_once(task: Task, look: Look | None) -> bool:
    cls: Any = type(task)
    dialect = dialect_of(cls)
    if _asks_outputs(task):
        base: Any = dialect.task
        # What it would do, but output() is called once, and nobody is warned that there is none.
        if cls.output is base.output and "output" not in task.__dict__:
            return False
        return _all_exist(task, look)
    answer = task.complete()
    if answer is True or answer is False:
        return answer
    known = dialect.as_answer(answer)
    if known is None:
        raise WrongAnswer(cls, answer)
    return known


def _asks_outputs(task: Task) -> bool:
    """Tell whether a task has no ``complete()`` of its own."""
    cls: Any = type(task)
    base: Any = dialect_of(cls).task
    return cls.complete is base.complete and "complete" not in task.__dict__


def _all_exist(task: Task, look: Look | None = None) -> bool:
    outputs = flatten(task.output())
    if look is not None:
        look(task, outputs)
    return bool(outputs) and all(target.exists() for target in outputs)


def is_finished(task: Task, maybe_done: bool) -> bool:
    """Tell whether ``run()`` of a task that is to run has nothing to do. Raises what ``ask`` does.

    Finished work is done once, and nothing is swallowed that Luigi would do: a ``complete()`` of
    its own that is true counts where all outputs exist, or where an earlier attempt may have run
    to its end unheard (``maybe_done``).

    Rule R7.
    """
    if not ask(task):
        return False
    return maybe_done or _asks_outputs(task) or is_external(task) or _all_exist(task)


def relative_path(outputs: Sequence[Any]) -> str:
    """Return a path of local files that depends on the current directory, if there is one."""
    for target in outputs:
        path = getattr(target, "path", None)
        is_local = type(getattr(target, "fs", None)).__name__ == _LOCAL_FILES
        if is_local and isinstance(path, str) and not os.path.isabs(path):
            return path
    return ""


def is_plain_wrapper(cls: Any) -> bool:
    """Tell whether tasks of this class are complete when what they require is."""
    return cls.complete is dialect_of(cls).wrapper.complete  # type: ignore[attr-defined]


class Checker:
    """Answers of one planning request, or of one yield; each task is asked once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Answer] = {}
        #: Classes of which an output was looked at.
        self._seen: set[type[Task]] = set()
        #: An output whose path depends on the current directory; one task of each class is asked.
        self.relative = ""

    def level(self, tasks: Sequence[Task]) -> list[Answer]:
        """Ask all of them; the answers come in the order of the tasks."""
        self._bulk(tasks)
        keys = [key_of(task) for task in tasks]
        todo = {k: task for k, task in zip(keys, tasks, strict=True) if k not in self._known}
        wrappers = {k: task for k, task in todo.items() if is_plain_wrapper(type(task))}
        for key in wrappers:
            del todo[key]
        self._check(list(todo.items()))
        for key, task in wrappers.items():
            self._known[key] = self._wrapper(task)
        return [self._known[key] for key in keys]

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
            required = flatten(task.requires())
            if not required:
                dialect_of(type(task)).nothing_required(task)
            return self.all_complete(required)
        except BaseException as e:  # user code
            return e

    def _bulk(self, tasks: Sequence[Task]) -> None:
        families: dict[type[Task], list[Task]] = {}
        for task in tasks:
            if (
                dialect_of(type(task)).answers_in_bulk(type(task))
                and key_of(task) not in self._known
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
                self._known[key_of(task)] = item in done

    def _check(self, tasks: list[_Keyed]) -> None:
        asked = 0
        spent_s = 0.0
        for key, task in tasks:
            if asked >= SAMPLE and spent_s > asked * SLOW_S:
                break
            asked += 1
            started = time.perf_counter()
            self._record(key, task)
            spent_s += time.perf_counter() - started
        left = tasks[asked:]
        if left:
            self._in_threads([pair for pair in left if type(pair[1]) not in _HERE_ONLY])
        for key, task in left:
            if key not in self._known:
                self._record(key, task)

    def _in_threads(self, tasks: Sequence[_Keyed]) -> None:
        """Ask at the same time; what raises there is asked again here before that counts.

        A connection of sqlite3, an event loop or an alarm answers in the main thread only.
        """
        queue = collections.deque(tasks)

        def work() -> None:
            while True:
                try:
                    key, task = queue.popleft()
                except IndexError:
                    return
                self._record(key, task)

        count = min(THREADS_MAX, len(queue))
        threads = [threading.Thread(target=work, name="flow-complete") for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for key, task in tasks:
            if isinstance(self._known[key], BaseException):
                self._record(key, task)
                if not isinstance(self._known[key], BaseException):
                    _HERE_ONLY.add(type(task))

    def _record(self, key: tuple[Any, ...], task: Task) -> None:
        try:
            self._known[key] = ask(task, self._look)
        except BaseException as e:  # user code, sys.exit() included
            self._known[key] = e

    def _look(self, task: Task, outputs: Sequence[Any]) -> None:
        if type(task) not in self._seen:
            self._seen.add(type(task))
            self.relative = self.relative or relative_path(outputs)
