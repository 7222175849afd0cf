"""Processes that a module keeps work for task after task of one runner, failures in between."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.wire.messages.shared import Outcome
from flow_worker import channel
from flow_worker.guard import kill
from tests.support.guarded import is_running
from tests.support.task_process import TaskProcess, start, wait_until

MODULE = """
import multiprocessing, os, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
import flow.task as ft
from flow.parameters import IntParameter, Parameter

HERE = Path(__file__).parent
KEPT = {}

def worker_of(n):
    return os.getpid()

def note(name, value):
    (HERE / name).write_text(str(value))

class Fails(ft.Task):
    n = IntParameter()
    def run(self):
        raise ValueError

class FailsAndLeaves(ft.Task):
    def run(self):
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        note("child", child.pid)
        raise ValueError

class Pretends(ft.Task):
    pid = IntParameter()
    well = IntParameter()
    def run(self):
        os.getpid = lambda: self.pid
        child = subprocess.Popen(["sleep", "1000"])
        note("child", child.pid)
        if not self.well:
            raise ValueError

class Pool(ft.Task):
    n = IntParameter()
    method = Parameter()
    def run(self):
        if self.method not in KEPT:
            context = multiprocessing.get_context(self.method)
            KEPT[self.method] = ProcessPoolExecutor(1, mp_context=context)
        (pid,) = set(KEPT[self.method].map(worker_of, range(20)))
        note(f"pool{self.n}", pid)

class Managed(ft.Task):
    n = IntParameter()
    def run(self):
        if not KEPT:
            KEPT["manager"] = multiprocessing.Manager()
            KEPT["list"] = KEPT["manager"].list()
        KEPT["list"].append(self.n)
        note("managed", list(KEPT["list"]))

class Shared(ft.Task):
    n = IntParameter()
    def run(self):
        if not KEPT:
            KEPT["memory"] = SharedMemory(create=True, size=8)
        memory = KEPT["memory"]
        memory.buf[0] += 1
        short = SharedMemory(create=True, size=8)
        short.close()
        short.unlink()
        note("shared", memory.buf[0])
        if self.n == 3:
            memory.close()
            memory.unlink()

class Program(ft.Task):
    n = IntParameter()
    def run(self):
        if not KEPT:
            pipe = subprocess.PIPE
            KEPT["program"] = subprocess.Popen(["sh", "-c", "read x; exit 7"], stdin=pipe)
        elif self.n == 2:
            KEPT["program"].stdin.close()
            os.waitid(os.P_PID, KEPT["program"].pid, os.WEXITED | os.WNOWAIT)
        elif self.n == 3:
            note("program", KEPT["program"].wait())
"""


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[TaskProcess]:
    (tmp_path / "keeping.py").write_text(MODULE)
    yield from start(tmp_path)


def run_around_a_failure(runner: TaskProcess, family: str, **params: str) -> None:
    """Run it three times, with failures between; at last one that leaves a process of its own."""
    for n in (1, 2, 3):
        report = runner.run("keeping", family, n=str(n), **params)
        assert report.outcome is Outcome.DONE, (report.error, report.tail)
        assert runner.run("keeping", "Fails", n=str(n)).outcome is Outcome.FAILED
    assert runner.run("keeping", "FailsAndLeaves").outcome is Outcome.FAILED
    gone = kill.entry(int((runner.log_dir.parent / "child").read_text()))
    assert gone is None or not gone.runs
    left = runner.get()
    assert isinstance(left, channel.Dirty) and left.reason == "failed and left a process running"


def leave(runner: TaskProcess) -> None:
    """Let the runner end, and see that nothing outlives it."""
    below = kill.descendants(runner.popen.pid)
    runner.send(channel.Leave())
    assert runner.exit_code() == 0
    wait_until(lambda: not [one for one in below if (now := kill.entry(one.pid)) and now.runs])


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_runner_whose_module_keeps_a_pool_retires_for_the_threads_of_the_pool(
    runner: TaskProcess, method: str
) -> None:
    report = runner.run("keeping", "Pool", n="1", method=method)
    assert report.outcome is Outcome.DONE, (report.error, report.tail)
    left = runner.get()
    assert isinstance(left, channel.Dirty) and left.reason.startswith("left the thread")
    leave(runner)


def test_runner_manager_that_a_module_keeps_remembers(runner: TaskProcess, tmp_path: Path) -> None:
    run_around_a_failure(runner, "Managed")
    assert (tmp_path / "managed").read_text() == "[1, 2, 3]"
    leave(runner)


def test_runner_tracker_of_shared_memory_stays(runner: TaskProcess, tmp_path: Path) -> None:
    run_around_a_failure(runner, "Shared")
    assert (tmp_path / "shared").read_text() == "3"
    assert not list(runner.log_dir.glob("Shared*.log"))  # it had nothing to complain of
    leave(runner)


def test_runner_exit_code_of_a_program_that_a_module_keeps_is_its_own(
    runner: TaskProcess, tmp_path: Path
) -> None:
    run_around_a_failure(runner, "Program")
    assert (tmp_path / "program").read_text() == "7"
    leave(runner)


@pytest.mark.parametrize("well", ["0", "1"])
def test_runner_kills_its_own_offspring_whatever_a_task_makes_of_its_pid(
    runner: TaskProcess, tmp_path: Path, well: str
) -> None:
    with subprocess.Popen(
        ["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE
    ) as one:
        assert one.stdout is not None
        bystander = int(one.stdout.readline())
        report = runner.run("keeping", "Pretends", pid=str(one.pid), well=well)
        assert report.outcome is (Outcome.DONE if well == "1" else Outcome.FAILED), report.error
        leave(runner)
        child = int((tmp_path / "child").read_text())
        wait_until(lambda: not is_running(child), "the end of its own")
        assert is_running(bystander)
        os.kill(bystander, signal.SIGKILL)
