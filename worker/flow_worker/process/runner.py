"""The runner's part of a task process: grants in, reports out, one task after the other.

The path of a task that takes microseconds is what is optimised here. Reports of such tasks travel
together; but a report never waits for a task that may take long.
"""

from __future__ import annotations

import collections
import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from flow.modules.loading import load_task_class, make_task
from flow.parameters.packing import unpack_values
from flow.seam import NATIVE, dialect_of
from flow.task import Task
from flow.wire.ids import Token, token_seq
from flow.wire.messages.shared import Grant, Outcome, Report, Stub
from flow_worker.channel import Abandon, Continue, Deliver, Dirty, Execute, Finished, Frame, Parked
from flow_worker.process import output
from flow_worker.process.attempt import Attempt, Ending, Passing
from flow_worker.process.context import Around, configured
from flow_worker.process.failure import Complaint, Terminated, UserFailure, failure_of
from flow_worker.process.instances import Instances
from flow_worker.process.joining import joined
from flow_worker.process.mailbox import Mail
from flow_worker.process.offspring import Offspring
from flow_worker.process.slip import Slip
from flow_worker.process.streams import Output
from flow_worker.process.surroundings import Identity, SurroundingState
from flow_worker.process.voice import ProcessSpeech

#: A finished report waits for others at most this long.
FLUSH_S = 0.002
#: ... and never while a task of a family runs that takes longer than this on average.
LONG_S = 0.001
#: Weight of the newest duration in a family's average.
NEWEST_WEIGHT = 0.2
#: Attempts shorter than this are not worth a look at memory use.
PEAK_S = 0.05
#: What flow itself puts into a task's ``__dict__``; anything else is the user's.
_OURS = frozenset({"_flow_values", "_flow_texts", "_flow_packed", "task_id", "param_kwargs"})


class Runner:
    """Executes grants. ``streams``, ``surroundings``, ``slip`` and ``offspring`` are the isolation.

    ``ending()`` is true once SIGTERM arrived: what a task does after that is not reported.
    ``instances`` are the tasks of the program around, where there is one; ``passing`` are the
    exceptions of a task that end more than its attempt.
    ``listening(deliver)`` reads letters while a task runs; ``send`` may be called by any thread.
    """

    def __init__(
        self,
        send: Callable[[Frame], None],
        streams: Output,
        surroundings: Identity | None = None,
        offspring: Offspring | None = None,
        slip: Slip | None = None,
        ending: Callable[[], bool] = lambda: False,
        instances: Instances | None = None,
        passing: Passing = (Terminated,),
        listening: Callable[[Callable[[Deliver], None]], AbstractContextManager[object]] = (
            nullcontext
        ),
    ) -> None:
        self._send = send
        #: Why this process must retire, in a sentence about a task; empty: it is as clean as new.
        self.dirty = ""
        self._retiring = False
        self._listening = listening
        self.speech = ProcessSpeech(send)
        self._mail = Mail(send)
        #: letters that came with the grant of their attempt
        self._early: list[Deliver] = []
        self._around: Around | None = None
        self._looked_around = False
        self._streams = streams
        self._surroundings = surroundings or Identity()
        self._offspring = offspring
        self._slip = slip
        self._ending = ending
        self._instances = instances
        self._passing = passing
        self._queue: collections.deque[Grant | Continue | Token] = collections.deque()
        self._parked: dict[Token, Attempt] = {}
        #: What parked generators had changed in this process.
        self._states: dict[Token, SurroundingState] = {}
        self._pending: list[Report] = []
        self._pending_since = 0.0
        self._average_s: dict[str, float] = {}
        self._classes: dict[tuple[str, str], type[Task]] = {}
        self._known: dict[type[Task], frozenset[str]] = {}

    @property
    def busy(self) -> bool:
        """Whether ``step`` has something to do."""
        return bool(self._queue)

    def on_execute(self, frame: Execute) -> None:
        """Queue grants; one that must retire gives them back."""
        self._queue.extend(frame.grants)
        if self._retiring:
            self._give_back()

    def on_continue(self, frame: Continue) -> None:
        """Queue the continuation of a parked generator."""
        self._queue.append(frame)

    def on_abandon(self, frame: Abandon) -> None:
        """Queue the end of parked generators."""
        self._queue.extend(frame.tokens)

    def on_deliver(self, frame: Deliver) -> None:
        """Put a letter into its queue; one for a parked generator waits there."""
        token = frame.letter.token
        if any(isinstance(item, Grant) and item.token == token for item in self._queue):
            self._early.append(frame)
        else:
            self._mail.deliver(frame)

    def abandon_all(self) -> None:
        """Close every parked generator, before this process ends."""
        self._queue.extend(self._parked)

    def close_parked(self) -> None:
        """Close every parked generator now: this process is being ended."""
        self._queue = collections.deque(self._parked)
        while self._queue:
            self.step()

    def step(self) -> None:
        """Do the next thing that is queued."""
        item = self._queue.popleft()
        if isinstance(item, Grant):
            self._start(item)
        elif isinstance(item, Continue):
            self._continue(item)
        else:
            self._release(item)
        if self.dirty and not self._retiring:
            self._retiring = True
            self._give_back()
        if not self._queue:
            self.flush()

    def _give_back(self) -> None:
        """Return what has not begun: the next task must not find what the last one left."""
        returned = [item.token for item in self._queue if isinstance(item, Grant)]
        self._queue = collections.deque(i for i in self._queue if not isinstance(i, Grant))
        self._early = []  # who sent a letter sends it again
        self.flush()
        self._send(Dirty(self.dirty, returned))

    def flush(self) -> None:
        """Send the reports that wait."""
        if self.speech.pending:
            self.speech.flush()
        if self._pending:
            reports, self._pending = self._pending, []
            if self._slip is not None:
                self._slip.clear()
            self._send(Finished(reports))

    # ------------------------------------------------------------ inside

    def _start(self, grant: Grant) -> None:
        self._flush_before(grant.family)
        self._enter(grant)
        attempt = self._make(grant)
        if isinstance(attempt, Ending):
            self._deliver_early()
            self._clean(attempt)
            self._report(grant, attempt, 0.0, self._streams.end())
            return
        if grant.accepts_messages:
            self._mail.open(attempt.voice())
            self._deliver_early()
        if self._mail:
            with self._listening(self._mail.deliver):
                ended = attempt.begin()
        else:
            ended = attempt.begin()
        self._settle(attempt, ended)

    def _deliver_early(self) -> None:
        early, self._early = self._early, []
        for frame in early:
            self.on_deliver(frame)

    def _continue(self, frame: Continue) -> None:
        attempt = self._parked.get(frame.token)
        if attempt is None or attempt.number != frame.number:
            return  # a repetition
        del self._parked[frame.token]
        grant = attempt.grant
        self.flush()
        self._enter(grant)
        if self._offspring is not None:
            self._offspring.release(attempt.kept)
        lost = self._surroundings.put(self._states.pop(frame.token))
        if self._mail:
            with self._listening(self._mail.deliver):
                ended = attempt.resume(lost)
        else:
            ended = attempt.resume(lost)
        self._settle(attempt, ended)

    def _release(self, token: Token) -> None:
        attempt = self._parked.pop(token, None)
        if attempt is None:
            return  # it ended meanwhile; its report says how
        grant = attempt.grant
        self.flush()
        self._enter(grant)
        if self._offspring is not None:
            self._offspring.release(attempt.kept)
        self._surroundings.put(self._states.pop(token))  # its end does without what is lost
        attempt.close()
        self._mail.close(token)
        released = Ending(Outcome.RELEASED)
        self._clean(released)
        self._streams.end()
        self._report(grant, released, attempt.run_s, "")

    def _enter(self, grant: Grant) -> None:
        name = output.attempt_name(grant.task_id, grant.attempt, grant.token)
        self._streams.begin(name, token_seq(grant.token))
        self._surroundings.begin(grant.token, grant.attempt)
        if self._offspring is not None:
            self._offspring.begin()

    def _make(self, grant: Grant) -> Attempt | Ending:
        """Build the task, or say why this process cannot."""
        try:
            if self._instances is not None and not grant.members:
                known = self._instances.get(grant.module, grant.family, grant.params)
                if known is not None:
                    self._look_around()
                    return self._attempt(grant, known)
            cls = self._classes.get((grant.module, grant.family))
            if cls is None:
                with self._surroundings.adopting():
                    cls = load_task_class(grant.module, grant.family)
                self._classes[grant.module, grant.family] = cls
            self._look_around()
        except Terminated:
            raise
        except BaseException as e:  # the module is user code
            return Ending(Outcome.REFUSED, failure_of(e))
        try:
            task = make_task(cls, grant.module, unpack_values(grant.params))
            task_id = task.task_id
        except Terminated:
            raise
        except BaseException as e:  # parameters and constructors are user code
            return Ending(Outcome.FAILED, failure_of(e))
        if task_id != grant.task_id:
            text = f"the code here makes {task_id} of what was planned as {grant.task_id}"
            return Ending(Outcome.REFUSED, UserFailure(text))
        if grant.members:
            return self._joined(grant, cls)
        return self._attempt(grant, task)

    def _look_around(self) -> None:
        # The task's module is loaded: its library may have a setting for it.
        if not self._looked_around:
            with self._surroundings.adopting():
                self._around = configured()
            self._looked_around = True

    def _attempt(self, grant: Grant, task: Task) -> Attempt:
        return Attempt(grant, task, self.speech, self._around, self._passing)

    def _joined(self, grant: Grant, cls: type[Task]) -> Attempt | Ending:
        """Build the task that runs all members of a grant; its outcome is theirs."""
        try:
            return self._attempt(grant, joined(cls, grant.members))
        except Terminated:
            raise
        except Complaint as e:  # other code than the planner's: another worker may have it
            return Ending(Outcome.REFUSED, failure_of(e))
        except BaseException as e:  # parameters and their batch_method are user code
            why = failure_of(e)
            text = f"{len(grant.members)} tasks of {grant.family} cannot be joined: {why.error}"
            return Ending(Outcome.FAILED, UserFailure(text, why.where, why.trace))

    def _settle(self, attempt: Attempt, ended: Ending | list[Stub]) -> None:
        if self._ending():
            raise Terminated  # the task may have swallowed it
        grant = attempt.grant
        if isinstance(ended, Ending):
            if grant.accepts_messages:
                self._mail.close(grant.token)
            self._clean(ended, attempt.run_s)
            self._report(grant, ended, attempt.run_s, self._streams.end())
            if self._instances is None:
                self._forget(attempt.task)
            return
        if self._instances is not None:
            for stub, task in zip(ended, attempt.yielded, strict=True):
                self._instances.add(stub, task)
        if self._offspring is not None:
            attempt.kept = self._offspring.keep()
        self._states[grant.token] = self._surroundings.take()
        self._clean(None)
        self._streams.end()
        self._parked[grant.token] = attempt
        self.flush()
        self._send(Parked(grant.token, attempt.number, ended, attempt.run_s))

    def _clean(self, ended: Ending | None, run_s: float = 0.0) -> None:
        """Put the process back as it was before the attempt, which ended or (None) was parked."""
        done = ended is not None and ended.outcome is Outcome.DONE
        thorough = not done or run_s > LONG_S or not self._queue
        reason = self._surroundings.end(thorough=thorough)
        if self._offspring is not None:
            if done:
                self._offspring.succeeded()
            elif ended is not None:
                self._offspring.failed()
            reason = reason or self._offspring.reason
        self.dirty = self.dirty or reason

    def _report(self, grant: Grant, ending: Ending, run_s: float, tail: str) -> None:
        peak = 0
        if run_s > PEAK_S:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        failure = ending.failure
        if failure is None:
            report = Report(
                grant.token, ending.outcome, run_s, skipped=ending.skipped, peak_bytes=peak
            )
        else:
            report = Report(
                grant.token,
                ending.outcome,
                run_s,
                failure.error,
                failure.where,
                failure.trace,
                tail,
                peak_bytes=peak,
                missing=failure.missing,
            )
        before = self._average_s.get(grant.family, run_s)
        self._average_s[grant.family] = before + NEWEST_WEIGHT * (run_s - before)
        if not self._pending:
            self._pending_since = time.perf_counter()
        self._pending.append(report)
        if self._queue and self._slip is not None and not self._slip.hold(report):
            self.flush()

    def _flush_before(self, family: str) -> None:
        if self._pending and (
            self._average_s.get(family, 1.0) > LONG_S
            or time.perf_counter() - self._pending_since > FLUSH_S
        ):
            self.flush()

    def _forget(self, task: Task) -> None:
        """Drop what a task attached to itself: instances are kept for reuse by ``flow.task``."""
        cls = type(task)
        dialect = dialect_of(cls)
        if dialect is not NATIVE:
            dialect.forget()
            return
        known = self._known.get(cls)
        if known is None:
            known = _OURS.union(name for name, _ in cls.get_params())
            self._known[cls] = known
        if not known.issuperset(task.__dict__):
            dialect.forget()
