"""CPUs and memory as seen through both cgroup versions, from a made-up file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flow_worker import capacity

GIB = 1 << 30


def machine(root: Path, cgroups: str, files: dict[str, str]) -> Path:
    every = {"proc/meminfo": "MemTotal:  8388608 kB\n", "proc/self/cgroup": cgroups, **files}
    for name, text in every.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def test_bare_machine_has_what_the_kernel_says(tmp_path: Path) -> None:
    root = machine(tmp_path, "", {})
    assert capacity.cpus(root) == 8.0
    assert capacity.memory_bytes(root) == 8 * GIB


def test_version_2_limits_of_a_parent_count(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        "0::/pod/box\n",
        {
            "sys/fs/cgroup/pod/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/pod/box/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pod/box/memory.max": f"{2 * GIB}\n",
            "sys/fs/cgroup/pod/memory.max": "max\n",
        },
    )
    assert capacity.cpus(root) == 1.5
    assert capacity.memory_bytes(root) == 2 * GIB


def test_version_2_inside_a_container_reads_the_mount(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        "0::/../other\n",
        {"sys/fs/cgroup/cpu.max": "50000 100000", "sys/fs/cgroup/memory.max": str(GIB)},
    )
    assert capacity.cpus(root) == 0.5
    assert capacity.memory_bytes(root) == GIB


def test_version_1_limits_count_and_its_huge_number_is_none(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        "5:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n",
        {
            "sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "300000",
            "sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes": str(3 * GIB),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        },
    )
    assert capacity.cpus(root) == 3.0
    assert capacity.memory_bytes(root) == 3 * GIB


def test_nonsense_in_the_files_is_no_limit(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        "rubbish\n0::/x\n",
        {"sys/fs/cgroup/x/cpu.max": "a b", "sys/fs/cgroup/x/memory.max": "-5"},
    )
    assert capacity.cpus(root) == 8.0
    assert capacity.memory_bytes(root) == 8 * GIB


@pytest.mark.parametrize(
    ("cgroups", "file"),
    [
        ("0::/pod/box\n", "sys/fs/cgroup/pod/box/memory.events"),
        ("4:memory:/pod/box\n0::/\n", "sys/fs/cgroup/memory/pod/box/memory.oom_control"),
    ],
    ids=["version 2", "version 1"],
)
def test_kills_for_want_of_memory_are_counted(tmp_path: Path, cgroups: str, file: str) -> None:
    root = machine(tmp_path, cgroups, {})
    assert capacity.oom_kills(root) == 0
    machine(tmp_path, cgroups, {file: "oom 9\nunder_oom 0\noom_kill 3\n"})
    assert capacity.oom_kills(root) == 3
