"""What every store must do: one suite, run over the SQLite backend and the reference in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flow.errors import StoreFull
from flow.wire.states import RunState, TaskState
from flow_coordinator.store.base import Batch, Store
from flow_coordinator.store.sqlite import open_store
from tests.support.memory_store import MemoryStore
from tests.support.rows import packed, progress_row, run_row, task_row

PRUNE_CALLS_MAX = 100


class Shelf:
    """A store that can be closed and opened again."""

    def __init__(self, first: Store, again: Callable[[Store], Store]) -> None:
        self.store = first
        self._again = again

    def reopen(self) -> Store:
        self.store = self._again(self.store)
        return self.store


@pytest.fixture(params=["sqlite", "memory"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    def again_sqlite(store: Store) -> Store:
        store.close()
        return open_store(tmp_path)

    def again_memory(store: Store) -> Store:
        assert isinstance(store, MemoryStore)
        return store.reopen()

    if request.param == "sqlite":
        made = Shelf(open_store(tmp_path), again_sqlite)
    else:
        made = Shelf(MemoryStore(), again_memory)
    yield made
    made.store.close()


def test_load_of_new_store_is_empty(shelf: Shelf) -> None:
    snapshot = shelf.store.load()
    assert (snapshot.runs, snapshot.tasks, snapshot.progress, snapshot.workers) == ([], [], [], [])
    assert (snapshot.families, snapshot.policies, snapshot.resources) == ([], [], [])
    assert snapshot.meta == {}
    assert (snapshot.next_task, snapshot.next_run) == (1, 1)
    assert (snapshot.next_family, snapshot.next_policy) == (1, 1)


def test_load_after_each_open_raises_epoch_and_keeps_lineage(shelf: Shelf) -> None:
    first = shelf.store.load()
    starts = [shelf.reopen().load() for _ in range(3)]
    epochs = [first.epoch, *(start.epoch for start in starts)]
    assert all(later > earlier for earlier, later in itertools.pairwise(epochs))
    assert {start.lineage for start in starts} == {first.lineage}
    assert len(first.lineage) == 16


def test_commit_of_every_kind_comes_back_unchanged(shelf: Shelf) -> None:
    batch = Batch(
        families=[(1, "default", "pipes.load", "Load"), (2, "team", "pipes.load", "Lädt")],
        policies=[(1, b"\x93\x01\x02\x03"), (2, b"")],
        tasks=[
            (1, 1, 1, 1, "Load_a_0", b"\x81\xa1a\xa1b", b""),
            (2, 1, 2, 2, "Load_b_0", b"\x80", packed(1)),
        ],
        progress=[
            (1, int(TaskState.LEASED), 2, 1, 0, "ab.1.7", "f" * 32, 1.7e9 + 0.125, b"rare"),
            (2, int(TaskState.PENDING), 0, 0, 0, None, None, 1.7e9, None),
        ],
        runs=[(1, "key", "default", int(RunState.RUNNING), 1.7e9, None, packed(2), b"opaque")],
        roots=[(1, 1, packed(1), b"more"), (1, 2, packed(), b"rest")],
        workers=[("f" * 32, "node1", "host", "boot", 1.7e9)],
        resources=[("db", 4.0)],
        meta={"term_s": "62.6"},
    )
    shelf.store.load()
    shelf.store.commit(batch)
    snapshot = shelf.reopen().load()
    fields = ("families", "policies", "tasks", "progress", "runs", "roots", "workers", "resources")
    for field in fields:
        assert getattr(snapshot, field) == getattr(batch, field), field
    assert snapshot.meta == batch.meta
    assert (snapshot.next_task, snapshot.next_run) == (3, 2)
    assert (snapshot.next_family, snapshot.next_policy) == (3, 3)


def test_commit_of_a_known_number_replaces_its_row(shelf: Shelf) -> None:
    store = shelf.store
    store.load()
    store.commit(
        Batch(
            tasks=[task_row(1)],
            progress=[progress_row(1, token="t.1.1")],
            runs=[run_row(1, 1)],
            workers=[("u", "old", "h", "b", 1.0)],
            resources=[("db", 4.0)],
            meta={"a": "1", "b": "2"},
        )
    )
    changed = (1, int(TaskState.READY), 2, 1, 0, None, None, 2.0, b"x")
    store.commit(
        Batch(
            tasks=[task_row(1), task_row(2)],
            progress=[changed, progress_row(2)],
            runs=[run_row(1, 1, 2)],
            workers=[("u", "new", "h", "b", 2.0)],
            resources=[("db", 5.0)],
            meta={"a": "3"},
        )
    )
    snapshot = shelf.reopen().load()
    assert snapshot.progress == [changed, progress_row(2)]
    assert snapshot.runs == [run_row(1, 1, 2)]
    assert snapshot.workers == [("u", "new", "h", "b", 2.0)]
    assert snapshot.resources == [("db", 5.0)]
    assert snapshot.meta == {"a": "3", "b": "2"}


def test_later_row_of_one_batch_wins(shelf: Shelf) -> None:
    shelf.store.load()
    late = progress_row(1, TaskState.DONE)
    shelf.store.commit(
        Batch(tasks=[task_row(1)], progress=[progress_row(1), late], runs=[run_row(1, 1)])
    )
    assert shelf.reopen().load().progress == [late]


def test_workers_gone_are_deleted_and_unknown_ones_ignored(shelf: Shelf) -> None:
    shelf.store.load()
    shelf.store.commit(Batch(workers=[("a", "a", "h", "b", 1.0), ("b", "b", "h", "b", 1.0)]))
    shelf.store.commit(Batch(workers_gone=["a", "never-there"]))
    assert [row[0] for row in shelf.reopen().load().workers] == ["b"]


def test_load_follows_upstream_of_active_runs_only(shelf: Shelf) -> None:
    shelf.store.load()
    shelf.store.commit(
        Batch(
            policies=[(1, b"one"), (2, b"two"), (3, b"three")],
            # run 1 ended: 1 <- 2. Run 2 is active and joined task 1: 1 <- 3 <- 4. 5 is nobody's.
            tasks=[
                task_row(1),
                task_row(2, 1, policy=2),
                task_row(3, 1, run=2),
                task_row(4, 3, run=2, policy=3),
                task_row(5),
            ],
            progress=[progress_row(n) for n in range(1, 6)],
            runs=[run_row(1, 2, state=RunState.SUCCEEDED), run_row(2, 4)],
        )
    )
    snapshot = shelf.reopen().load()
    assert [row[0] for row in snapshot.runs] == [2]
    assert [row[0] for row in snapshot.tasks] == [1, 3, 4]
    assert [row[0] for row in snapshot.progress] == [1, 3, 4]
    assert [row[0] for row in snapshot.policies] == [1, 3]
    assert (snapshot.next_task, snapshot.next_policy) == (6, 4)


def test_load_begins_at_all_roots_of_active_runs(shelf: Shelf) -> None:
    shelf.store.load()
    shelf.store.commit(
        Batch(
            tasks=[task_row(1), task_row(2, 1, 1), task_row(3)],
            runs=[run_row(1), run_row(2, state=RunState.SUCCEEDED)],
            roots=[(1, 2, packed(2), b"b"), (1, 1, packed(), b"a"), (2, 1, packed(3), b"c")],
        )
    )
    snapshot = shelf.reopen().load()
    assert [row[0] for row in snapshot.tasks] == [1, 2]
    assert [row[:2] for row in snapshot.roots] == [(1, 1), (1, 2)]
    shelf.store.commit(Batch(roots=[(1, 1, packed(3), b"new")]))
    snapshot = shelf.reopen().load()
    assert [row[0] for row in snapshot.tasks] == [1, 2, 3]
    assert snapshot.roots[0] == (1, 1, packed(3), b"new")


def test_load_keeps_task_with_token_of_an_ended_run_and_its_upstream(shelf: Shelf) -> None:
    shelf.store.load()
    held = progress_row(2, TaskState.LEASED, token="t.1.9")
    shelf.store.commit(
        Batch(
            tasks=[task_row(1), task_row(2, 1), task_row(3, 2)],
            progress=[progress_row(1, TaskState.DONE), held, progress_row(3)],
            runs=[run_row(1, 3, state=RunState.CANCELLED)],
        )
    )
    snapshot = shelf.reopen().load()
    assert snapshot.runs == []
    assert [row[0] for row in snapshot.tasks] == [1, 2]
    assert held in snapshot.progress


def test_load_keeps_what_an_active_run_has_begun_without_anything_that_needs_it(
    shelf: Shelf,
) -> None:
    shelf.store.load()
    shelf.store.commit(
        Batch(
            # 1 <- 2 and 3 are of the active run; 3 has not begun, 4 is of the ended one
            tasks=[task_row(1, run=2), task_row(2, 1, run=2), task_row(3, run=2), task_row(4)],
            progress=[progress_row(2, TaskState.DONE), progress_row(4, TaskState.DONE)],
            runs=[run_row(1, state=RunState.SUCCEEDED), run_row(2)],
        )
    )
    assert [row[0] for row in shelf.reopen().load().tasks] == [1, 2]


def test_load_of_a_wide_and_deep_graph_is_complete_and_in_order(shelf: Shelf) -> None:
    shelf.store.load()
    width, depth = 2_300, 700
    wide = [task_row(n) for n in range(1, width + 1)]
    chain = [task_row(n, n - 1) for n in range(width + 1, width + depth + 1)]
    root = task_row(width + depth + 1, *range(1, width + depth + 1))
    rows = [*wide, *chain, root]
    shelf.store.commit(
        Batch(
            tasks=rows,
            progress=[progress_row(row[0]) for row in rows],
            runs=[run_row(1, root[0])],
        )
    )
    snapshot = shelf.reopen().load()
    assert snapshot.tasks == rows
    assert [row[0] for row in snapshot.progress] == [row[0] for row in rows]


def test_runs_ended_are_newest_end_first_and_limited(shelf: Shelf) -> None:
    shelf.store.load()
    shelf.store.commit(
        Batch(
            runs=[
                run_row(1, state=RunState.SUCCEEDED, ended=30.0),
                run_row(2, state=RunState.FAILED, ended=10.0),
                run_row(3, state=RunState.CANCELLED, ended=20.0),
                run_row(4),
            ]
        )
    )
    assert [row[0] for row in shelf.store.runs_ended(10)] == [1, 3, 2]
    assert [row[0] for row in shelf.store.runs_ended(2)] == [1, 3]


def test_run_by_key_finds_active_and_ended_runs(shelf: Shelf) -> None:
    shelf.store.load()
    ended = run_row(1, state=RunState.FAILED, key="first")
    shelf.store.commit(Batch(runs=[ended, run_row(2, key="second")]))
    store = shelf.reopen()
    assert store.run_by_key("first") == ended
    assert store.run_by_key("second") == run_row(2, key="second")
    assert store.run_by_key("third") is None


def test_tasks_of_lists_what_the_run_planned(shelf: Shelf) -> None:
    shelf.store.load()
    tasks = [task_row(1), task_row(2, run=2), task_row(3)]
    progress = [progress_row(n, TaskState.DONE) for n in (1, 2, 3)]
    shelf.store.commit(Batch(tasks=tasks, progress=progress))
    assert shelf.store.tasks_of(1, 10) == [(tasks[0], progress[0]), (tasks[2], progress[2])]
    assert shelf.store.tasks_of(1, 1) == [(tasks[0], progress[0])]
    assert shelf.store.tasks_of(9, 10) == []


def prune_all(store: Store, keep_runs: int, rows_max: int) -> list[int]:
    """Prune until a few calls in a row delete nothing; return what each call deleted."""
    deleted = [store.prune(keep_runs, rows_max) for _ in range(PRUNE_CALLS_MAX)]
    assert deleted[-5:] == [0] * 5
    return deleted


def test_prune_deletes_oldest_ended_runs_in_bounded_pieces(shelf: Shelf) -> None:
    shelf.store.load()
    runs = [run_row(n, n * 10, state=RunState.SUCCEEDED) for n in (1, 2, 3)]
    tasks = [task_row(n * 10 + i, run=n) for n in (1, 2, 3) for i in range(5)]
    shelf.store.commit(
        Batch(runs=runs, tasks=tasks, progress=[progress_row(row[0]) for row in tasks])
    )
    deleted = prune_all(shelf.store, 1, 4)
    assert max(deleted) <= 4
    assert sum(deleted) == 10
    store = shelf.reopen()
    assert [row[0] for row in store.runs_ended(10)] == [3]
    assert [len(store.tasks_of(n, 10)) for n in (1, 2, 3)] == [0, 0, 5]
    assert store.run_by_key("key-1") is None


def test_prune_spares_what_an_active_run_needs_until_it_ends(shelf: Shelf) -> None:
    shelf.store.load()
    rows = [task_row(1), task_row(2, 1), task_row(3), task_row(4, 2, run=2)]
    shelf.store.commit(
        Batch(
            tasks=rows,
            progress=[progress_row(row[0]) for row in rows],
            runs=[run_row(1, 2, 3, state=RunState.SUCCEEDED), run_row(2, 4)],
        )
    )
    assert sum(prune_all(shelf.store, 0, 10)) == 1
    assert [row[0] for row, _ in shelf.store.tasks_of(1, 10)] == [1, 2]
    assert [row[0] for row in shelf.reopen().load().tasks] == [1, 2, 4]
    shelf.store.commit(Batch(runs=[run_row(2, 4, state=RunState.SUCCEEDED)]))
    assert sum(prune_all(shelf.store, 0, 10)) == 3
    assert shelf.store.runs_ended(10) == []


def test_prune_deletes_the_roots_of_a_run_with_it(shelf: Shelf) -> None:
    shelf.store.load()
    shelf.store.commit(
        Batch(
            tasks=[task_row(1)],
            progress=[progress_row(1, TaskState.DONE)],
            runs=[run_row(1, state=RunState.SUCCEEDED)],
            roots=[(1, 1, packed(1), b"a")],
        )
    )
    for _ in range(PRUNE_CALLS_MAX):
        shelf.store.prune(0, 10)
    assert not shelf.store.runs_ended(10)
    # a run of this number, if there ever were one, would not get them
    shelf.store.commit(Batch(runs=[run_row(1)]))
    assert not shelf.reopen().load().roots


def test_prune_of_the_highest_numbers_never_gives_them_again(shelf: Shelf) -> None:
    shelf.store.load()
    shelf.store.commit(
        Batch(
            tasks=[task_row(7, run=4)],
            progress=[progress_row(7)],
            runs=[run_row(4, 7, state=RunState.SUCCEEDED)],
        )
    )
    assert sum(prune_all(shelf.store, 0, 10)) == 1
    snapshot = shelf.reopen().load()
    assert (snapshot.next_task, snapshot.next_run) == (8, 5)


def test_close_twice_is_allowed(shelf: Shelf) -> None:
    shelf.store.load()
    shelf.store.close()
    shelf.store.close()
    shelf.reopen()


def test_memory_store_told_to_be_full_writes_nothing_and_recovers() -> None:
    store = MemoryStore(lineage="ab" * 8)
    store.load()
    store.fail_next(1)
    batch = Batch(tasks=[task_row(1)], progress=[progress_row(1)], runs=[run_row(1, 1)])
    with pytest.raises(StoreFull):
        store.commit(batch)
    assert store.reopen().load().tasks == []
    store = store.reopen()
    store.commit(batch)
    assert store.reopen().load().tasks == [task_row(1)]
