"""Walking what tasks require, breadth-first, into chunks of an answer.

The walk is a generator, so it can stand still until more is wanted. User code is called here, and
whatever it raises becomes an error of its task.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

from msgspec import structs

from flow.errors import UsageError
from flow.events import Event
from flow.modules.loading import load_task_class, make_task
from flow.parameters import typed
from flow.parameters.packing import unpack_values
from flow.seam import dialect_of, is_task, key_of
from flow.task import Task, is_external
from flow.usercode.completeness import Answer, Checker
from flow.wire.messages.codec import encode_chunk
from flow.wire.messages.shared import PlanChunk, PlanError, Policy, Spec, SpecStatus, Stub, sendable
from flow.wire.states import PlanErrorKind
from flow_worker.planner.overheard import Overheard
from flow_worker.planner.policies import Policies
from flow_worker.process.attempt import Passing, stub_of
from flow_worker.process.failure import Complaint, UserFailure, failure_of
from flow_worker.process.instances import Instances
from flow_worker.process.streams import NoOutput
from flow_worker.process.whereabouts import paths_of

#: Limits of one chunk.
CHUNK_ITEMS_MAX = 1_000
CHUNK_BYTES_MAX = 400 << 10
#: A longer list of requirements is sent in pieces.
EDGES_MAX = 5_000
#: Parameters of one task, packed. It must fit into a chunk, a grant and a page.
PARAMS_BYTES_MAX = 256 << 10
#: So many tasks are asked whether they are complete before their requirements are looked at.
SLICE = 1_000
#: Outputs of a task whose places are told.
PLACES_MAX = 100
#: Rough size of what msgpack adds, per item.
_STUB_BYTES = 12
_EDGE_BYTES = 5
_SPEC_BYTES = 12
_POLICY_BYTES = 120


_ALL_TEXT: dict[str, Any] = {}
#: What tells a task from others of this process.
Key = tuple[Any, ...]


class RequirementWalk:
    """The breadth-first walk of one request, and the chunk that is being filled."""

    def __init__(
        self,
        stubs: list[Stub],
        expand_max: int,
        instances: Instances | None,
        passing: Passing,
        heard: Overheard | None = None,
    ) -> None:
        self._instances = instances
        self._passing = passing
        self._heard = heard or Overheard(NoOutput(), {})
        self._asked = stubs
        self._left = max(expand_max, len(stubs))
        self._count = 0
        self._indices: dict[Key, int] = {}
        #: Values of tasks that are no text: their ids do not tell them from what reads the same.
        self._untyped: dict[Key, dict[str, Any]] = {}
        self._policies = Policies()
        self._classes: dict[tuple[str, str], type[Task]] = {}
        self._broken: dict[tuple[str, str], Exception] = {}
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
        # of all that was asked: it is told once
        relative, printed = sendable(self._checker.relative), self._heard.rest()
        yield encode_chunk(structs.replace(self._chunk, relative=relative, printed=printed))

    def places(self) -> Iterator[bytes]:
        """Say where the outputs of the tasks are that were asked about, in one chunk."""
        for index, stub in enumerate(self._asked):
            try:
                for path in itertools.islice(paths_of(self.build(stub)), PLACES_MAX):
                    place = sendable(os.path.abspath(path))
                    self._chunk.errors.append(PlanError(index, PlanErrorKind.WHERE, place))
            except self._passing:
                raise
            except BaseException as e:  # user code
                self._add_error(index, PlanErrorKind.IMPORT, failure_of(e))
        yield encode_chunk(self._chunk)

    def _full(self) -> Iterator[bytes]:
        chunk = self._chunk
        items = max(len(chunk.stubs), len(chunk.edges), len(chunk.specs), len(chunk.errors))
        if items >= CHUNK_ITEMS_MAX or self._bytes >= CHUNK_BYTES_MAX - PARAMS_BYTES_MAX:
            self._chunk = PlanChunk([], [], [], [], [])
            self._bytes = 0
            yield encode_chunk(structs.replace(chunk, printed=self._heard.more()))

    # ------------------------------------------------------------ tasks

    def _root(self, stub: Stub) -> Task | None:
        """Build a requested task; its true id and parameters replace what was asked for."""
        try:
            task = self.build(stub)
            true = _small(stub_of(task))
            key = key_of(task)
            self._same_values(key, task)
        except self._passing:
            raise
        except BaseException as e:  # modules, parameters and constructors are user code
            index = self._add_stub(stub)
            self._add_error(index, PlanErrorKind.IMPORT, failure_of(e), self._heard.of_import())
            return None
        if self._instances is not None:
            self._instances.add(true, task)
        # Two requested items may turn out to be one task: each is answered.
        self._indices.setdefault(key, self._count)
        self._add_stub(true)
        return task

    def build(self, stub: Stub) -> Task:
        """Make the task that a stub names."""
        if self._instances is not None:
            known: Task | None = self._instances.get(stub.module, stub.family, stub.params)
            if known is not None:
                return known
        cls = self._load(stub.module, stub.family)
        named = unpack_values(stub.params)
        try:
            task: Task = make_task(cls, stub.module, named)
        except UsageError:
            raise
        except Exception as e:  # a parameter's own parse(), or an __init__
            failure = failure_of(e)
            raise _Broken(UserFailure(failure.error, failure.where, failure.trace)) from None
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
            self._add_error(
                index, PlanErrorKind.COMPLETE, failure_of(answer), self._heard.last_lines()
            )
            task.trigger_event(Event.DEPENDENCY_MISSING, task)
            yield from self._full()
            return
        self._heard.mark()
        try:
            policy, new = self._policies.of(task)
            if new is not None:
                self._add_policy(new)
            external = not answer and is_external(task)
            required = {} if answer or external else self._requirements(task)
            met = self._indices
            named = [
                (key, one, None if key in met else _small(stub_of(one)))
                for key, one in required.items()
            ]
        except self._passing:
            raise
        except BaseException as e:  # requires() and properties are user code
            failure = failure_of(e)
            if failure.kind == _Broken.kind:  # of what is required, not of what was asked for
                failure = structs.replace(failure, kind=None)
            self._add_error(index, PlanErrorKind.REQUIRES, failure, self._heard.last_lines())
            task.trigger_event(Event.BROKEN_TASK, task, e)
            yield from self._full()
            return
        yield from self._add_edges(index, task, named, below)
        if answer:
            self._add_spec(Spec(index, SpecStatus.COMPLETE, policy))
            task.trigger_event(Event.DEPENDENCY_PRESENT, task)
        elif external:
            self._add_spec(Spec(index, SpecStatus.EXTERNAL, policy))
            task.trigger_event(Event.DEPENDENCY_MISSING, task)
        else:
            self._add_spec(Spec(index, SpecStatus.INCOMPLETE, policy))
        yield from self._full()

    def _add_edges(
        self,
        index: int,
        task: Task,
        named: list[tuple[Key, Task, Stub | None]],
        below: list[tuple[int, Task]],
    ) -> Iterator[bytes]:
        edges = []
        for key, child, stub in named:
            if stub is None:
                known = self._indices[key]
            else:
                known = self._indices[key] = self._add_stub(stub)
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

    def _requirements(self, task: Task) -> dict[Key, Task]:
        """Return what a task requires, without repetitions; raises for what is no task."""
        required: dict[Key, Task] = {}
        for child in task.deps():
            if not isinstance(child, Task) and not is_task(child):
                if hasattr(child, "exists"):
                    raise Complaint(
                        "requires() can not return Target objects. Wrap it in an ExternalTask class"
                    )
                kind = type(child).__name__
                raise Complaint(f"requires() must return Task objects, not {child!r:.200} ({kind})")
            key = key_of(child)
            self._same_values(key, child)
            required[key] = child
        return required

    def _same_values(self, key: Key, task: Task) -> None:
        """Refuse a second task whose id is that of one with other values. Raises ``Complaint``."""
        values = dialect_of(type(task)).untyped(task) or _ALL_TEXT
        known = self._untyped.setdefault(key, values)
        if known is not values and not _are_same(known, values):
            raise Complaint(
                f"two tasks have the id {task.task_id}: one with {_shown(known)}, one with "
                f"{_shown(values)}. What reads the same makes no difference to an id: declare the "
                "parameter as what it is, as BoolParameter or IntParameter"
            )

    # ------------------------------------------------------------ the chunk

    def _add_stub(self, stub: Stub) -> int:
        index = self._count
        self._count += 1
        self._chunk.stubs.append(stub)
        self._bytes += _STUB_BYTES + len(stub.task_id) + len(stub.module) + len(stub.family)
        self._bytes += len(stub.params)
        return index

    def _add_policy(self, policy: Policy) -> None:
        self._chunk.policies.append(policy)
        self._bytes += _POLICY_BYTES + sum(len(name) for name in policy.resources)

    def _add_spec(self, spec: Spec) -> None:
        self._chunk.specs.append(spec)
        self._bytes += _SPEC_BYTES

    def _add_error(
        self, index: int, kind: PlanErrorKind, failure: UserFailure, tail: str = ""
    ) -> None:
        said = failure.where.partition("  ")[0] in failure.error  # an import error has it already
        where = f"  ({failure.where})" if failure.where and not said else ""
        first, newline, more = failure.error.partition("\n")
        text = first + where + newline + more
        self._chunk.errors.append(PlanError(index, failure.kind or kind, text, failure.trace, tail))
        self._bytes += _STUB_BYTES + len(text) + len(failure.trace) + len(tail)


class _Broken(UsageError):
    """A task cannot be made from the parameters it was asked for with."""

    kind = PlanErrorKind.BAD_PARAMETER

    def __init__(self, failure: UserFailure) -> None:
        super().__init__(failure.error)
        self.where = failure.where
        self.trace = failure.trace


class _TooLarge(UsageError):
    kind = PlanErrorKind.TOO_LARGE


def _small(stub: Stub) -> Stub:
    if len(stub.params) > PARAMS_BYTES_MAX:
        size = f"{len(stub.params):,} bytes, at most {PARAMS_BYTES_MAX:,} are allowed"
        raise _TooLarge(f"the parameters of {stub.family} take {size}: pass a path instead")
    return stub


def _are_same(known: dict[str, Any], values: dict[str, Any]) -> bool:
    """Compare with types: 1, 1.0 and True are equal and not the same."""
    try:
        return typed.write(known) == typed.write(values)
    except (typed.Untold, ValueError, RecursionError):
        return True  # what cannot be told is refused for that


def _shown(values: dict[str, Any]) -> str:
    named = ", ".join(f"{name}={value!r:.100}" for name, value in values.items())
    return named or "text"
