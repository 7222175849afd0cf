"""The planner's part of a task process: what is complete, what requires what.

A request is walked breadth-first and answered in chunks. The walk is a generator, so it can stand
still until the coordinator wants more while another request goes on, and Stop simply drops it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from flow import registry
from flow.artifacts.marks import has_temporary
from flow.completeness import Answer, Checker
from flow.dialects import NATIVE, dialect_of, is_task, others
from flow.errors import UsageError
from flow.events import Event
from flow.loading import load_task_class
from flow.messages.codec import encode_chunk
from flow.messages.shared import PlanChunk, PlanError, Policy, Spec, SpecStatus, Stub
from flow.packing import unpack_params
from flow.resources import parse_demand
from flow.task import Task, is_external
from flow_worker.process.attempt import Passing, stub_of
from flow_worker.process.channel import Chunk, Expand, Frame, More, Remove, Stop
from flow_worker.process.failure import Complaint, Failure, Terminated, failure_of
from flow_worker.process.instances import Instances
from flow_worker.process.removal import remove

#: Limits of one chunk.
CHUNK_ITEMS_MAX = 1_000
CHUNK_BYTES_MAX = 400 << 10
#: A longer list of requirements is sent in pieces.
EDGES_MAX = 5_000
#: Parameters of one task, packed. It must fit into a chunk, a grant and a page.
PARAMS_BYTES_MAX = 256 << 10
#: So many tasks are asked whether they are complete before their requirements are looked at.
SLICE = 1_000
#: Rough size of what msgpack adds, per item.
_STUB_BYTES = 12
_EDGE_BYTES = 5
_SPEC_BYTES = 12
_POLICY_BYTES = 120
_NO_BULK = Task.__dict__["bulk_complete"].__func__


class Planner:
    """Answers ``Expand``. ``after_step`` is called when user code may have printed.

    ``instances`` are the tasks of the program around, where there is one; ``passing`` are the
    exceptions of a task that end more than the look at it.
    """

    def __init__(
        self,
        send: Callable[[Frame], None],
        after_step: Callable[[], None],
        instances: Instances | None = None,
        passing: Passing = (Terminated,),
    ) -> None:
        self._send = send
        self._passing = passing
        self._after_step = after_step
        self._instances = instances
        self._requests: dict[int, _Request] = {}

    @property
    def busy(self) -> bool:
        """Whether some request may go on without hearing from the agent."""
        return any(request.may_send for request in self._requests.values())

    def on_expand(self, frame: Expand) -> None:
        """Begin a request; the same one again changes nothing."""
        if frame.request not in self._requests:
            if not self._requests and self._instances is None:
                for dialect in (NATIVE, *others()):
                    dialect.planning()
            self._requests[frame.request] = _Request(frame, self._instances, self._passing)

    def on_more(self, frame: More) -> None:
        """Allow one chunk beyond the one that was asked for."""
        request = self._requests.get(frame.request)
        if request is not None:
            request.allowed = max(request.allowed, frame.chunk + 1)

    def on_stop(self, frame: Stop) -> None:
        """Forget a request."""
        self._requests.pop(frame.request, None)

    def on_remove(self, frame: Remove) -> None:
        """Remove temporary artifacts, at once: no request is open meanwhile."""
        removed = remove(frame, _Walk([], 0, self._instances, self._passing).build)
        self._after_step()
        self._send(removed)

    def step(self) -> None:
        """Send one chunk of the first request that may go on."""
        request = next(r for r in self._requests.values() if r.may_send)
        body, last = request.next_chunk()
        self._after_step()
        number = request.number
        request.number += 1
        if last:
            del self._requests[request.request]
        else:
            # The next one in turn is another request, if there is one.
            self._requests[request.request] = self._requests.pop(request.request)
        self._send(Chunk(request.request, number, last, body))


class _Request:
    """One request being answered."""

    def __init__(self, frame: Expand, instances: Instances | None, passing: Passing) -> None:
        self.request = frame.request
        #: The chunk that comes next, and the last one that may be sent by now.
        self.number = 0
        self.allowed = 1
        self._chunks = _Walk(frame.stubs, frame.expand_max, instances, passing).chunks()
        self._ahead: bytes | None = None

    @property
    def may_send(self) -> bool:
        return self.number <= self.allowed

    def next_chunk(self) -> tuple[bytes, bool]:
        """Return the next chunk and whether it is the last: so one is made ahead."""
        chunk = self._ahead if self._ahead is not None else next(self._chunks)
        self._ahead = next(self._chunks, None)
        return chunk, self._ahead is None


class _Walk:
    """The breadth-first walk of one request, and the chunk that is being filled."""

    def __init__(
        self, stubs: list[Stub], expand_max: int, instances: Instances | None, passing: Passing
    ) -> None:
        self._instances = instances
        self._passing = passing
        self._asked = stubs
        self._left = max(expand_max, len(stubs))
        self._count = 0
        self._indices: dict[str, int] = {}
        self._policies: dict[Any, int] = {}
        self._classes: dict[tuple[str, str], type[Task]] = {}
        self._broken: dict[tuple[str, str], Exception] = {}
        self._joined: dict[type[Task], tuple[str, ...]] = {}
        self._silent: dict[type[Task], bool] = {}
        self._checker = Checker()
        self._chunk = PlanChunk([], [], [], [], [])
        self._bytes = 0

    def chunks(self) -> Iterator[bytes]:
        """Walk and encode; at least one chunk comes."""
        level: list[tuple[int, Task]] = []
        for stub in self._asked:
            task = self._root(stub)
            if task is not None:
                level.append((self._count - 1, task))
            yield from self._full()
        while level and self._left > 0:
            below: list[tuple[int, Task]] = []
            for at in range(0, len(level), SLICE):
                members = level[at : at + min(SLICE, self._left)]
                if not members:
                    break
                self._left -= len(members)
                answers = self._checker.level([task for _, task in members])
                for (index, task), answer in zip(members, answers, strict=True):
                    yield from self._expand(index, task, answer, below)
            level = below
        yield encode_chunk(self._chunk)

    def _full(self) -> Iterator[bytes]:
        chunk = self._chunk
        items = max(len(chunk.stubs), len(chunk.edges), len(chunk.specs), len(chunk.errors))
        if items >= CHUNK_ITEMS_MAX or self._bytes >= CHUNK_BYTES_MAX - PARAMS_BYTES_MAX:
            self._chunk = PlanChunk([], [], [], [], [])
            self._bytes = 0
            yield encode_chunk(chunk)

    # ------------------------------------------------------------ tasks

    def _root(self, stub: Stub) -> Task | None:
        """Build a requested task; its true id and parameters replace what was asked for."""
        try:
            task = self.build(stub)
            true = _small(stub_of(task))
        except self._passing:
            raise
        except BaseException as e:  # modules, parameters and constructors are user code
            index = self._add_stub(stub)
            self._add_error(index, "import", failure_of(e))
            return None
        if self._instances is not None:
            self._instances.add(true, task)
        # Two requested items may turn out to be one task: each is answered.
        self._indices.setdefault(true.task_id, self._count)
        self._add_stub(true)
        return task

    def build(self, stub: Stub) -> Task:
        """Make the task that a stub names."""
        if self._instances is not None:
            known: Task | None = self._instances.get(stub.module, stub.family, stub.params)
            if known is not None:
                return known
        cls = self._load(stub.module, stub.family)
        named = unpack_params(stub.params)
        try:
            dialect = dialect_of(cls)
            dialect.check_names(cls, named)
            registry.asked_of = stub.module
            task: Task = dialect.make(cls, named)
            initialized = task.initialized()
        except UsageError:
            raise
        except Exception as e:  # a parameter's own parse(), or an __init__
            failure = failure_of(e)
            raise _Broken(Failure(failure.error, failure.where, failure.trace)) from None
        if not initialized:
            text = "is not initialized: did you override __init__ and forget to call super()?"
            raise _Broken(Failure(f"{stub.family} {text}"))
        return task

    def _load(self, module: str, family: str) -> type[Task]:
        """Import once an answer, also when it fails: a thousand tasks may share the module."""
        key = (module, family)
        cls = self._classes.get(key)
        if cls is None:
            if key in self._broken:
                raise self._broken[key]
            try:
                cls = self._classes[key] = load_task_class(module, family)
            except Exception as e:
                self._broken[key] = e
                raise
        return cls

    def _expand(
        self, index: int, task: Task, answer: Answer, below: list[tuple[int, Task]]
    ) -> Iterator[bytes]:
        if isinstance(answer, self._passing):
            raise answer
        if isinstance(answer, BaseException):
            self._add_error(index, "complete", failure_of(answer))
            task.trigger_event(Event.DEPENDENCY_MISSING, task)
            yield from self._full()
            return
        kind = "requires"
        try:
            policy = self._policy(task)
            if answer:
                self._add_spec(Spec(index, SpecStatus.COMPLETE, policy))
                task.trigger_event(Event.DEPENDENCY_PRESENT, task)
            elif is_external(task):
                self._add_spec(Spec(index, SpecStatus.EXTERNAL, policy))
                task.trigger_event(Event.DEPENDENCY_MISSING, task)
            else:
                required = _requirements(task)
                edges = []
                for child in required:
                    known = self._indices.get(child.task_id)
                    if known is None:
                        stub = _small(stub_of(child))
                        known = self._indices[stub.task_id] = self._add_stub(stub)
                        if self._instances is not None:
                            self._instances.add(stub, child)
                        below.append((known, child))
                        yield from self._full()
                    edges.append(known)
                    task.trigger_event(Event.DEPENDENCY_DISCOVERED, task, child)
                for at in range(0, len(edges), EDGES_MAX):
                    piece = edges[at : at + EDGES_MAX]
                    self._chunk.edges.append((index, piece))
                    self._bytes += _EDGE_BYTES * len(piece)
                    yield from self._full()
                self._add_spec(Spec(index, SpecStatus.INCOMPLETE, policy))
        except self._passing:
            raise
        except BaseException as e:  # requires() and properties are user code
            if isinstance(e, GeneratorExit):
                raise
            self._add_error(index, kind, failure_of(e))
            task.trigger_event(Event.BROKEN_TASK, task, e)
        yield from self._full()

    # ------------------------------------------------------------ the chunk

    def _add_stub(self, stub: Stub) -> int:
        index = self._count
        self._count += 1
        self._chunk.stubs.append(stub)
        self._bytes += _STUB_BYTES + len(stub.task_id) + len(stub.module) + len(stub.family)
        self._bytes += len(stub.params)
        return index

    def _add_spec(self, spec: Spec) -> None:
        self._chunk.specs.append(spec)
        self._bytes += _SPEC_BYTES

    def _add_error(self, index: int, kind: str, failure: Failure) -> None:
        said = failure.where.partition("  ")[0] in failure.error  # an import error has it already
        where = f"  ({failure.where})" if failure.where and not said else ""
        first, newline, more = failure.error.partition("\n")
        text = first + where + newline + more
        self._chunk.errors.append(PlanError(index, failure.kind or kind, text, failure.trace))
        self._bytes += _STUB_BYTES + len(text) + len(failure.trace)

    def _policy(self, task: Task) -> int:
        """Return the number of this task's policy in the answer; most tasks share a few."""
        resources = task.process_resources()
        batched = self._batched(task)
        temporary = self._makes_temporary(task)
        task = dialect_of(type(task)).policy(task)
        key = (
            task.priority,
            tuple(resources.items()) if resources else (),
            task.retry_count,
            task.retry_delay,
            task.disable_window,
            task.worker_timeout,
            task.disabled,
            task.on_lost,
            task.accepts_messages,
            task.max_batch_size if batched else 0,
            batched,
            tuple(task.owner_list()) if task.owner_email else (),
            temporary,
        )
        number = self._policies.get(key)
        if number is None:
            policy = _checked_policy(task, resources or {}, batched, temporary)
            number = self._policies[key] = len(self._policies)
            self._chunk.policies.append(policy)
            self._bytes += _POLICY_BYTES + sum(len(name) for name in policy.resources)
        return number

    def _batched(self, task: Task) -> tuple[str, ...]:
        """Name the parameters in which a task may differ from what runs as one with it."""
        cls = type(task)
        names = self._joined.get(cls)
        if names is None:
            names = self._joined[cls] = tuple(cls.batch_param_names())
        return names if names and task.batchable else ()

    def _makes_temporary(self, task: Task) -> bool:
        """Tell whether a task's output has a temporary artifact."""
        if has_temporary(task):
            return True
        cls = type(task)
        silent = self._silent.get(cls)
        if silent is None:
            # What answers by its own means may never have called output().
            own = _own_completeness(cls)
            silent = self._silent[cls] = own and cls.output is not Task.output
        if silent:
            try:
                task.output()
            except Terminated:
                raise
            except Exception:  # user code; nobody asks it otherwise
                return False
        return has_temporary(task)


def _own_completeness(cls: type) -> bool:
    if not issubclass(cls, Task):
        return False
    bulk = getattr(cls.bulk_complete, "__func__", None)
    return cls.complete is not Task.complete or bulk is not _NO_BULK


class _Broken(UsageError):
    """A task cannot be made from the parameters it was asked for with."""

    kind = "bad_parameter"

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error)
        self.where = failure.where
        self.trace = failure.trace


class _TooLarge(UsageError):
    kind = "too_large"


def _small(stub: Stub) -> Stub:
    if len(stub.params) > PARAMS_BYTES_MAX:
        size = f"{len(stub.params):,} bytes, at most {PARAMS_BYTES_MAX:,} are allowed"
        raise _TooLarge(f"the parameters of {stub.family} take {size}: pass a path instead")
    return stub


def _requirements(task: Task) -> list[Task]:
    """Return what a task requires, without repetitions; raises for what is no task."""
    required = {}
    for child in task.deps():
        if not isinstance(child, Task) and not is_task(child):
            if hasattr(child, "exists"):
                raise Complaint(
                    "requires() can not return Target objects. Wrap it in an ExternalTask class"
                )
            kind = type(child).__name__
            raise Complaint(f"requires() must return Task objects, not {child!r:.200} ({kind})")
        required[child.task_id] = child
    return list(required.values())


def _checked_policy(
    task: Task, resources: Any, batched: tuple[str, ...], temporary: bool
) -> Policy:
    try:
        demand = parse_demand(resources)
    except (UsageError, AttributeError) as e:
        wrong = e if isinstance(e, UsageError) else f"resources = {resources!r:.100} is no dict"
        raise Complaint(f"{task.task_family}: {wrong}") from e
    values = {
        "priority": task.priority,
        "resources": demand,
        "retry_count": task.retry_count,
        "retry_delay": task.retry_delay,
        "disable_window": task.disable_window,
        "worker_timeout": task.worker_timeout,
        "disabled": bool(task.disabled),
        "on_lost": task.on_lost,
        "accepts_messages": bool(task.accepts_messages),
        "batched": list(batched),
        "max_batch_size": _batch_max(task) if batched else 0,
        "owners": [one for one in task.owner_list() if one] if task.owner_email else [],
        "temporary": temporary,
    }
    try:
        policy = msgspec.convert(list(values.values()), Policy)
    except msgspec.ValidationError as e:
        raise Complaint(f"{task.task_family} has a wrong attribute: {_named(e, values)}") from e
    numbers = (each for each in values.values() if isinstance(each, float))
    if any(map(math.isnan, numbers)):
        raise Complaint(f"{task.task_family} has a wrong attribute: nan is no number")
    if policy.on_lost not in ("retry", "hold"):
        raise Complaint(f'on_lost must be "retry" or "hold", it is {policy.on_lost!r:.100}')
    return policy


def _batch_max(task: Task) -> Any:
    """Return how many may run as one, 0 for no limit. Luigi's default is infinity, a float."""
    most = task.max_batch_size
    if most is None or most == math.inf:
        return 0
    if isinstance(most, float) and most.is_integer():
        most = int(most)
    if not isinstance(most, int) or most < 1:
        raise Complaint(
            f"{task.task_family}: max_batch_size = {most!r:.100} is no whole number above 0"
        )
    return most


def _named(error: msgspec.ValidationError, values: dict[str, Any]) -> str:
    """Say which attribute a validation error is about: it knows only its position."""
    what, _, place = str(error).partition(" - at `$[")
    number = place.partition("]")[0]
    if not number.isdecimal():
        return what
    name, value = list(values.items())[int(number)]
    return f"{name} = {value!r:.100}: {what}"
