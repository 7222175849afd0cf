"""One attempt of one task: check, run, check; a generator may stop in between and go on.

Called by the runner. User code is called here and nowhere else in it; whatever that raises becomes
an ``Ending``, except ``Terminated``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from flow.artifacts.marks import has_temporary
from flow.events import Event
from flow.modules import blame
from flow.modules.loading import home_of
from flow.parameters import defaults
from flow.seam import Dialect, dialect_of, is_dynamic, is_task, key_of
from flow.speech import bind, unbind
from flow.structure import items_of
from flow.task import Task, flatten, getpaths, is_external
from flow.usercode.completeness import Checker, ask, is_finished, is_plain_wrapper
from flow.wire.messages.shared import Grant, Outcome, Stub
from flow_worker.guard.kill import ProcessEntry, own_pid
from flow_worker.process.context import Around
from flow_worker.process.failure import Complaint, Terminated, UserFailure, failure_of, spelled
from flow_worker.process.joining import members_of
from flow_worker.process.voice import AttemptVoice, ProcessSpeech
from flow_worker.process.whereabouts import missing_requirement, with_the_requirement

#: Tasks in one yield.
YIELDED_TASKS_MAX = 100_000
#: Of what ``on_failure()`` returned.
EXPLANATION_CHARS_MAX = 4_000
#: Missing outputs named in an error.
NAMED_OUTPUTS_MAX = 3


class Ending(msgspec.Struct, frozen=True):
    """How an attempt ended, as far as this process knows."""

    outcome: Outcome
    failure: UserFailure | None = None
    skipped: bool = False


#: Exceptions of a task that end more than its attempt.
Passing = tuple[type[BaseException], ...]

_DONE = Ending(Outcome.DONE)
_SKIPPED = Ending(Outcome.DONE, skipped=True)


class Attempt:
    """A task that runs, or whose generator is parked."""

    __slots__ = (
        "_around",
        "_dialect",
        "_generator",
        "_passing",
        "_shape",
        "_since",
        "_speech",
        "_voice",
        "_yields",
        "grant",
        "kept",
        "number",
        "run_s",
        "task",
        "yielded",
    )

    def __init__(
        self,
        grant: Grant,
        task: Task,
        speech: ProcessSpeech,
        around: Around | None = None,
        passing: Passing = (Terminated,),
    ) -> None:
        self.grant = grant
        self.task = task
        self._speech = speech
        self._around = around
        self._voice: AttemptVoice | None = None
        self._passing = passing
        self._dialect: Dialect = dialect_of(type(task))
        #: How often it was parked.
        self.number = 0
        #: Time spent in its code so far.
        self.run_s = 0.0
        #: Processes it left running when it was parked.
        self.kept: list[ProcessEntry] = []
        #: The tasks it is parked for.
        self.yielded: list[Task] = []
        self._generator: Any = None
        self._shape: Any = None
        self._yields = 0
        self._since = 0.0

    def begin(self) -> Ending | list[Stub]:
        """Run from the top; a list of stubs means: parked until these are done."""
        return self._guarded(self._first)

    def resume(self, lost: str = "") -> Ending | list[Stub]:
        """Everything that was yielded is done: go on with its targets.

        ``lost`` is what it had changed in this process and cannot have again: it fails for that.
        """

        def work() -> Ending | list[Stub]:
            if lost:
                raise Complaint(f"it cannot go on after its yield: it {lost}")
            return self._stretch(lambda: self._drive(getpaths(self._shape)))

        return self._guarded(work)

    def close(self) -> None:
        """Give a parked generator up; its ``finally`` blocks run."""
        try:
            self._generator.close()
        except Terminated:
            raise
        except BaseException:  # user code; nobody waits for this task any more
            return
        finally:
            self._hush()

    def voice(self) -> AttemptVoice:
        """What this attempt says and hears, made when it is first asked for."""
        if self._voice is None:
            self._voice = AttemptVoice(self.grant.token, self._speech)
        return self._voice

    def _hush(self) -> None:
        """Take the task its voice: ``run()`` is over."""
        unbind(self.task)
        if self._voice is not None:
            self._speech.close(self._voice)

    def _stretch(self, work: Callable[[], list[Stub] | None]) -> Ending | list[Stub]:
        """Let ``run()`` go on to its next yield or its end, in its context."""
        if self._around is None:
            stubs = work()
        else:
            with self._around(self.task, self.voice()):
                stubs = work()
        return self._succeeded() if stubs is None else stubs

    def _guarded(self, work: Callable[[], Ending | list[Stub]]) -> Ending | list[Stub]:
        self._since = time.perf_counter()
        pid = own_pid()
        try:
            ended = work()
            _leave_if_forked(pid)
            return ended
        except self._passing:
            self._hush()
            raise
        except BaseException as e:  # user code: sys.exit() and KeyboardInterrupt included
            _leave_if_forked(pid, e)
            if self._generator is not None:
                self.close()
            self._hush()
            return self._failed(e)
        finally:
            self.run_s += time.perf_counter() - self._since

    def _first(self) -> Ending | list[Stub]:
        task = self.task
        cls: Any = type(task)
        self._dialect.enter(task)
        base: Any = self._dialect.task
        # A wrapper is complete when its requirements are, and a grant says they are.
        wraps = is_plain_wrapper(cls)
        plain = wraps and cls.run is base.run
        if not wraps and self._is_finished():
            return _SKIPPED
        if is_external(task):
            raise Complaint("it is external and its output does not exist")
        if not plain and cls.requires is not base.requires:
            task.deps()  # what requires() keeps on the instance is for run()
        self._dialect.prepare(task)
        task.trigger_event(Event.START, task)
        bind(task, self.voice)
        return self._stretch(self._call)

    def _is_finished(self) -> bool:
        grant = self.grant
        tasks = members_of(type(self.task), grant.members) if grant.members else [self.task]
        return all(is_finished(task, grant.maybe_done) for task in tasks)

    def _call(self) -> list[Stub] | None:
        result = self.task.run()
        if hasattr(result, "send"):
            self._generator = result
            return self._drive(None)
        return None

    def _drive(self, value: Any) -> list[Stub] | None:
        """Advance the generator until it yields something that is not complete; None: it ended."""
        while True:
            try:
                yielded = self._generator.send(value)
            except StopIteration:
                return None
            self._yields += 1
            self._check_yields()
            dynamic = is_dynamic(yielded)
            shape = _settled(yielded.requirements if dynamic else yielded)
            tasks = _tasks_of(shape)
            checker = Checker()
            if dynamic:
                complete = yielded.complete(checker.one)
            else:
                complete = checker.all_complete(tasks)
            # What is temporary stays only for those of whom the coordinator knows.
            if not complete or any(map(has_temporary, tasks)):
                self._shape = shape
                self.number += 1
                self.yielded = list({key_of(task): task for task in tasks}.values())
                return [stub_of(task) for task in self.yielded]
            value = getpaths(shape)

    def _check_yields(self) -> None:
        yields_max = defaults.settings().worker.yields_max
        if self._yields > yields_max:
            raise Complaint(
                f"run() yielded more than {yields_max:,} times and is taken for endless: if it is "
                "not, set yields_max in [worker] to more"
            )

    def _succeeded(self) -> Ending:
        task = self.task
        self._generator = None
        self._hush()
        base: Any = self._dialect.task
        if type(task).output is not base.output and self._dialect.outputs_checked():
            targets = [each for each in flatten(task.output()) if hasattr(each, "exists")]
            missing = [target for target in targets if not target.exists()]
            # A complete() of its own may be content without some output.
            if missing and (type(task).complete is base.complete or not ask(task)):
                named = ", ".join(map(spelled, missing[:NAMED_OUTPUTS_MAX]))
                more = len(missing) - NAMED_OUTPUTS_MAX
                named += f" and {more:,} more" if more > 0 else ""
                raise Complaint(f"said it ran, but its output is missing: {named}")
        took_s = self.run_s + time.perf_counter() - self._since
        task.trigger_event(Event.PROCESSING_TIME, task, took_s)
        task.on_success()
        task.trigger_event(Event.SUCCESS, task)
        return _DONE

    def _failed(self, error: BaseException) -> Ending:
        failure = self._placed(failure_of(error), error)
        try:
            self.task.trigger_event(Event.FAILURE, self.task, error)
            failure = self._explained(failure, self.task.on_failure(error))
        except Terminated:
            raise
        except BaseException as second:  # user code; the first error is the one that matters
            also = f"{failure.trace}\non_failure() raised {failure_of(second).error}"
            failure = msgspec.structs.replace(failure, trace=also)
        return Ending(Outcome.FAILED, failure)

    def _placed(self, failure: UserFailure, error: BaseException) -> UserFailure:
        """Say so where what is missing is the output of something that the task requires."""
        try:
            missing = missing_requirement(self.task, error)
        except Terminated:
            raise
        except BaseException:  # requires() is user code; the first error is the one that matters
            return failure
        return failure if missing is None else with_the_requirement(failure, missing)

    def _explained(self, failure: UserFailure, said: Any) -> UserFailure:
        """Add what an ``on_failure()`` of the task's own returned."""
        base: Any = self._dialect.task
        if said is None or type(self.task).on_failure is base.on_failure:
            return failure
        trace = f"{failure.trace}\non_failure() said: {_explanation(said)}"
        return msgspec.structs.replace(failure, trace=trace)


def _explanation(said: Any) -> str:
    return blame.cut_middle(said if isinstance(said, str) else repr(said), EXPLANATION_CHARS_MAX)


def stub_of(task: Task) -> Stub:
    """Name a task so that another process can make it again.

    Raises:
        OtherClass: No other process finds its class.
    """
    dialect = dialect_of(type(task))
    return Stub(task.task_id, home_of(task), task.task_family, dialect.packed(task))


def _leave_if_forked(pid: int, error: BaseException | None = None) -> None:
    """End a child that the user's code forked and let come back: it is not the task's process."""
    if own_pid() == pid:
        return
    code: Any = 0
    if isinstance(error, SystemExit):
        code = error.code or 0
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 1)


def _settled(shape: Any) -> Any:
    """Turn generators within what was yielded into lists: it is read more than once."""
    if isinstance(shape, dict):
        return shape.__class__((key, _settled(value)) for key, value in shape.items())
    if isinstance(shape, list | tuple):
        parts = [_settled(value) for value in shape]
        return shape._make(parts) if hasattr(shape, "_make") else shape.__class__(parts)
    items = None if is_task(shape) else items_of(shape)
    return shape if items is None else [_settled(value) for value in items]


def _tasks_of(shape: Any) -> list[Task]:
    tasks = flatten(shape)
    if len(tasks) > YIELDED_TASKS_MAX:
        count = f"{len(tasks):,} tasks at once, at most {YIELDED_TASKS_MAX:,} are allowed"
        raise Complaint(f"run() yielded {count}")
    for task in tasks:
        if not is_task(task):
            kind = type(task).__name__
            raise Complaint(f"run() must yield Task objects but yielded {task!r:.200} ({kind})")
    return tasks
