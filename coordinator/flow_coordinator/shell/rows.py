"""Records to rows and back: what is written at the end of a turn and read at a start."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable

import msgspec

from flow.wire.messages.client import Failure, RootTask, RunSummary, SubmitOptions
from flow.wire.messages.shared import Policy
from flow.wire.messages.speech import Words
from flow.wire.states import TaskState
from flow_coordinator.core import programs
from flow_coordinator.core.doom import Doom
from flow_coordinator.core.records import ROOTS_A_ROW, OtherCode, RunRecord, TaskRecord
from flow_coordinator.core.state import Changes
from flow_coordinator.core.values import Instant
from flow_coordinator.store.base import Batch, ProgressRow, RootsRow, RunRow, TaskRow

#: Characters of a failure's text kept with its task.
ERROR_MAX = 1_000

_encode = msgspec.msgpack.encode


class RunBlob(msgspec.Struct, array_like=True):
    """What a stored run remembers besides its columns."""

    name: str
    roots: list[RootTask]
    options: SubmitOptions
    cancelled: str = ""
    summary: RunSummary | None = None
    failures: list[Failure] = []
    words: dict[str, Words] = {}
    #: of an ended run: how many tasks of each family are in which state, by number of the state
    counts: dict[str, list[int]] = {}
    #: of an ended run: (family, family that it requires)
    links: list[tuple[str, str]] = []
    code: str = ""  #: identity of the code that it was planned with
    notes: list[str] = []
    codes: dict[str, OtherCode] = {}
    root_count: int = 0  #: with those in rows of their own; 0: there are none


class ExtraBlob(msgspec.Struct, array_like=True):
    """What few stored tasks need besides their columns."""

    solo: bool = False
    yielded: int = 0
    resumed: int = 0
    why: str = ""
    retried: bool = False
    doom: tuple[Doom, str] | None = None
    #: without its trace and its tail: those who watched have seen them
    failure: Failure | None = None
    #: place in the batch that its token runs; 0: the first, whose name the lease is in, or alone
    place: int = 0
    words: Words | None = None
    code: str = ""  #: of its last attempt, where it is not that of its run
    maybe_done: bool = False


def pack_numbers(numbers: Iterable[int]) -> bytes:
    """Spell task numbers as little-endian uint64."""
    packed = array("Q", numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack_numbers(data: bytes) -> list[int]:
    """Read ``pack_numbers``."""
    packed = array("Q")
    packed.frombytes(data)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tolist()


def batch_of(changes: Changes, now: Instant, utc_s: float) -> Batch:
    """Turn everything that changed into rows. ``utc_s`` is the wall clock at ``now``."""
    return Batch(
        [(f.number, f.project, f.module, f.family) for f in changes.families],
        [(p.number, _encode(p.policy)) for p in changes.policies],
        [_task_row(task) for task in changes.tasks],
        [_progress_row(task, utc_s) for task in changes.progress],
        [_run_row(run, now, utc_s) for run in changes.runs],
        [_roots_row(run, row) for run, row in changes.roots],
        [(w.uid, w.name, w.host_key, w.boot_id, utc_s) for w in changes.workers.values()],
        list(changes.workers_gone),
        list(changes.resources.items()),
        changes.meta,
    )


def _task_row(task: TaskRecord) -> TaskRow:
    policy = task.policy.number if task.policy is not None else -1
    upstream = pack_numbers(dep.number for dep in task.upstream) if task.upstream else b""
    # in whose program it is executed, as long as that run goes on
    kept = task.program if programs.lives(task.program) else None
    run = kept or (task.runs[0] if task.runs else None)
    number = run.number if run is not None else 0
    return (task.number, number, task.family.number, policy, task.task_id, task.params, upstream)


def _progress_row(task: TaskRecord, utc_s: float) -> ProgressRow:
    lease, extra = task.lease, task.extra
    place = lease.members.get(task, 0) if lease is not None and lease.members else 0
    first = lease if not place else None
    blob = None
    if extra is not None or place or (first is not None and first.yielded):
        blob = _encode(
            ExtraBlob(
                extra.solo if extra else False,
                first.yielded if first else 0,
                first.resumed if first else 0,
                extra.why if extra else "",
                extra.retried if extra else False,
                extra.doom if extra else None,
                _brief(extra.failure) if extra else None,
                place,
                extra.words if extra else None,
                extra.code if extra else "",
                extra.maybe_done if extra else False,
            )
        )
    return (
        task.number,
        int(task.state),
        task.attempt,
        task.failures,
        task.crashes,
        lease.token if lease else None,
        lease.uid if lease else None,
        utc_s,
        blob,
    )


def _brief(failure: Failure | None) -> Failure | None:
    if failure is None or not (failure.trace or failure.tail or len(failure.error) > ERROR_MAX):
        return failure
    return msgspec.structs.replace(failure, error=failure.error[:ERROR_MAX], trace="", tail="")


def _run_row(run: RunRecord, now: Instant, utc_s: float) -> RunRow:
    ended = None if run.ended_at is None else utc_s - (now - run.ended_at)
    has_ended = run.summary is not None
    blob = RunBlob(
        run.name,
        run.root_tasks[:ROOTS_A_ROW],
        run.options,
        run.cancelled,
        run.summary,
        run.failures if has_ended else [],
        run.words,
        run.tallies if has_ended else {},
        list(run.links) if has_ended else [],
        run.code,
        run.notes,
        run.codes,
        run.root_count,
    )
    return (
        run.number,
        run.key,
        run.project,
        int(run.state),
        utc_s - (now - run.started_at),
        ended,
        pack_numbers(task.number for task in run.roots[:ROOTS_A_ROW]),
        _encode(blob),
    )


def _roots_row(run: RunRecord, row: int) -> RootsRow:
    some = slice(row * ROOTS_A_ROW, (row + 1) * ROOTS_A_ROW)
    numbers = pack_numbers(task.number for task in run.roots[some])
    return (run.number, row, numbers, _encode(run.root_tasks[some]))


def read_run(row: RunRow) -> RunBlob:
    """Read the blob of a stored run. Raises ``msgspec.MsgspecError``."""
    return msgspec.msgpack.decode(row[7], type=RunBlob)


def read_roots(row: RootsRow) -> list[RootTask]:
    """Read the blob of stored roots."""
    return msgspec.msgpack.decode(row[3], type=list[RootTask])


def read_counts(counts: list[int]) -> list[int]:
    """Give stored counts a place for states that did not exist when they were written."""
    return counts + [0] * (len(TaskState) - len(counts))


def read_extra(blob: bytes | None) -> ExtraBlob:
    """Read the blob of a stored task's progress."""
    return msgspec.msgpack.decode(blob, type=ExtraBlob) if blob else ExtraBlob()


def read_policy(blob: bytes) -> Policy:
    """Read a stored policy."""
    return msgspec.msgpack.decode(blob, type=Policy)
