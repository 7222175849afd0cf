"""Whose a process is that a task left: who stays, who is killed, who is reaped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from flow_worker.guard import kill
from flow_worker.process.offspring import UNCLAIMED_MAX, Offspring
from tests.support.forked import in_child
from tests.support.task_process import wait_until

SLEEP = ["sleep", "1000"]


def left(after: Callable[[], Any]) -> int:
    """Start a process that its own parent leaves: return its pid, whose parent is this process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        after()
        grandchild = os.fork()
        if grandchild == 0:
            os.execvp(SLEEP[0], SLEEP)
        os.write(writer, str(grandchild).encode())
        os._exit(0)
    os.waitpid(child, 0)
    pid = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    return pid


def runs(pid: int) -> bool:
    one = kill.entry(pid)
    return one is not None and one.runs


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not runs(pid))


def test_offspring_without_any_child_has_nothing_to_do() -> None:
    def work() -> None:
        offspring = Offspring()
        offspring.begin()
        assert offspring.succeeded() == 0
        assert offspring.failed() == offspring.keep() == []
        assert offspring.reason == ""

    in_child(work)


def test_offspring_of_a_success_outlives_the_next_failure() -> None:
    def work() -> None:
        offspring = Offspring()
        offspring.begin()
        kept = subprocess.Popen(SLEEP)
        stray = left(os.setsid)
        assert offspring.succeeded() == 2
        offspring.begin()
        own = subprocess.Popen(SLEEP)
        own_stray = left(os.setsid)
        assert sorted(one.pid for one in offspring.failed()) == sorted([own.pid, own_stray])
        assert runs(kept.pid) and runs(stray)
        assert not runs(own.pid) and not runs(own_stray)
        assert offspring.reason == "failed and left 2 processes running"
        assert offspring.succeeded() == 2

    in_child(work)


def test_offspring_that_a_service_starts_for_a_failing_attempt_is_killed() -> None:
    def work() -> None:
        offspring = Offspring()
        offspring.begin()
        script = "while read line; do sleep 1000 & echo $!; done"
        pipe = subprocess.PIPE
        service = subprocess.Popen(["sh", "-c", script], stdin=pipe, stdout=pipe, bufsize=0)
        assert service.stdin is not None and service.stdout is not None
        offspring.succeeded()
        offspring.begin()
        service.stdin.write(b"go\n")
        helper = int(service.stdout.readline())
        assert [one.pid for one in offspring.failed()] == [helper]
        assert runs(service.pid)

    in_child(work)


def test_offspring_of_a_failure_that_ended_by_itself_is_nothing_to_kill() -> None:
    def work() -> None:
        offspring = Offspring()
        offspring.begin()
        own = subprocess.Popen(["true"])
        wait_until(lambda: not runs(own.pid))
        assert offspring.failed() == []
        assert offspring.reason == ""
        assert own.wait() == 0

    in_child(work)


def test_offspring_exit_code_of_a_kept_process_is_left_to_who_started_it() -> None:
    def work() -> None:
        offspring = Offspring()
        offspring.begin()
        kept = subprocess.Popen(["sh", "-c", "read line; exit 7"], stdin=subprocess.PIPE)
        forked = os.fork()
        if forked == 0:
            os._exit(3)
        offspring.succeeded()
        assert kept.stdin is not None
        kept.stdin.close()
        wait_until(lambda: not runs(kept.pid) and not runs(forked))
        offspring.begin()
        offspring.succeeded()
        offspring.begin()
        offspring.failed()
        assert kept.wait() == 7
        assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 3

    in_child(work)


def test_offspring_exit_code_of_a_killed_child_is_left_to_who_started_it() -> None:
    def work() -> None:
        offspring = Offspring()
        offspring.begin()
        own = subprocess.Popen(SLEEP)
        offspring.failed()
        assert own.wait() == -signal.SIGKILL

    in_child(work)


def test_offspring_daemon_that_ended_is_reaped() -> None:
    def work() -> None:
        offspring = Offspring()
        offspring.begin()
        daemon = left(os.setsid)
        end(daemon)
        offspring.succeeded()
        assert kill.entry(daemon) is None

    in_child(work)


def test_offspring_orphan_that_was_seen_below_its_parent_is_reaped() -> None:
    def work() -> None:
        offspring = Offspring()
        offspring.begin()
        shell = subprocess.Popen(["sh", "-c", "sleep 1000 & wait"])
        wait_until(lambda: len(kill.family(os.getpid())) == 2)
        (orphan,) = kill.family(shell.pid)
        offspring.succeeded()
        end(shell.pid)
        end(orphan.pid)
        offspring.begin()
        offspring.succeeded()
        assert kill.entry(orphan.pid) is None
        assert shell.wait() == -signal.SIGKILL

    in_child(work)


def test_offspring_many_ended_children_without_a_parent_that_waits_are_a_reason() -> None:
    def work() -> str:
        offspring = Offspring()
        offspring.begin()
        for _ in range(UNCLAIMED_MAX + 1):
            child = os.fork()
            if child == 0:
                os._exit(0)
            wait_until(lambda child=child: not runs(child))  # type: ignore[misc]
        offspring.succeeded()
        return offspring.reason

    assert in_child(work) == "left 65 ended processes that nobody waits for"


def test_offspring_of_a_parked_attempt_is_spared_until_it_goes_on() -> None:
    def work() -> None:
        offspring = Offspring()
        offspring.begin()
        shell = subprocess.Popen(["sh", "-c", "read line; sleep 1000"], stdin=subprocess.PIPE)
        kept = offspring.keep()
        assert [one.pid for one in kept] == [shell.pid]
        offspring.begin()
        assert shell.stdin is not None
        shell.stdin.write(b"go\n")
        shell.stdin.close()
        wait_until(lambda: len(kill.family(shell.pid)) == 1)
        own = subprocess.Popen(SLEEP)
        assert [one.pid for one in offspring.failed()] == [own.pid]
        offspring.begin()
        offspring.succeeded()
        (later,) = kill.family(shell.pid)
        offspring.begin()
        offspring.release(kept)
        assert {one.pid for one in offspring.failed()} == {shell.pid, later.pid}

    in_child(work)


def test_offspring_between_two_parks_stays_the_attempts() -> None:
    def work() -> None:
        offspring = Offspring()
        offspring.begin()
        first = subprocess.Popen(SLEEP)
        kept = offspring.keep()
        offspring.begin()
        other = subprocess.Popen(SLEEP)
        offspring.succeeded()
        offspring.begin()
        offspring.release(kept)
        second = subprocess.Popen(SLEEP)
        kept = offspring.keep()
        assert {one.pid for one in kept} == {first.pid, second.pid}
        offspring.begin()
        offspring.release(kept)
        assert {one.pid for one in offspring.failed()} == {first.pid, second.pid}
        assert runs(other.pid)

    in_child(work)


def test_offspring_kept_service_that_ignores_sigterm_is_not_waited_for() -> None:
    def work() -> None:
        offspring = Offspring()
        offspring.begin()
        deaf = subprocess.Popen(["sh", "-c", "trap '' TERM; echo; exec sleep 1000"], stdout=-1)
        assert deaf.stdout is not None and deaf.stdout.readline()
        offspring.succeeded()
        since = time.monotonic()
        offspring.wait(60)
        assert time.monotonic() - since < 30
        offspring.end()
        assert deaf.wait() == -signal.SIGKILL

    in_child(work)


def test_family_finds_what_the_whole_table_finds() -> None:
    def work() -> None:
        subprocess.Popen(["sh", "-c", "sleep 1000 & sleep 1000 & wait"])
        left(os.setsid)
        wait_until(lambda: len(kill.descendants(os.getpid())) == 4)
        both = kill.family(os.getpid()), kill.descendants(os.getpid())
        # One that is just beginning runs at one look and sleeps at the other.
        found, expected = (sorted(one._replace(state="") for one in each) for each in both)
        assert found == expected

    in_child(work)
