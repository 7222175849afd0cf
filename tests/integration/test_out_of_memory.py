"""A task that takes all memory is killed by the kernel, and nothing else is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Worker, wait_until

#: More than an agent and its idle processes take on.
LIMIT_BYTES = 200_000_000
ROOT = Path("/sys/fs/cgroup")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group with little memory, of either version of cgroups."""
    name = f"flow-test-{os.getpid()}"
    first = (ROOT / "memory").is_dir()
    path = ROOT / "memory" / name if first else ROOT / name
    try:
        path.mkdir()
        limit = path / ("memory.limit_in_bytes" if first else "memory.max")
        limit.write_text(str(LIMIT_BYTES))
    except OSError as error:
        with contextlib.suppress(OSError):
            path.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    with contextlib.suppress(OSError):
        (path / ("memory.swappiness" if first else "memory.swap.max")).write_text("0")
    yield path
    wait_until(lambda: not (path / "cgroup.procs").read_text(), "the control group to be empty")
    path.rmdir()


def confine(worker: Worker, group: Path) -> None:
    """Move a whole worker, which has nothing to do yet but may still be forking."""
    roles = ("template", "runner", "planner")
    moved: set[int] = set()
    while True:
        below = [pid for role in roles for pid in worker.processes(role)]
        left = {worker.pid, worker.agent(), *below} - moved
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                (group / "cgroup.procs").write_text(str(pid))
        moved |= left


def test_task_that_takes_all_memory_is_one_clear_failure(group: Path, tmp_path: Path) -> None:
    with Cluster(tmp_path / "c") as cluster:
        cluster.start("w1", slots=1)
        cluster.submit("Leaf", "--key", "before", "--n", "0")
        worker = cluster.workers["w1"]
        confine(worker, group)
        uid = cluster.list_workers()[0]["uid"]
        said = cluster.submit("Dies", "--how", "memory", code=30)
        assert "out of memory: killed by the kernel" in said, said
        cluster.submit("Leaf", "--key", "after", "--n", "0")
        assert cluster.list_workers()[0]["uid"] == uid, "the agent lives on"
