"""A real supervisor: what it forks, what it kills, and who replaces whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.errors import ExitCode
from flow_worker.guard import marker
from tests.support.cluster import state_of
from tests.support.guarded import Guarded, is_running
from tests.support.task_process import wait_until


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    worker = Guarded(tmp_path)
    try:
        yield worker
    finally:
        worker.close()


def gone(*pids: int) -> None:
    wait_until(lambda: not any(map(is_running, pids)), f"the end of {pids}")


def test_supervisor_agent_killed_kills_tasks_and_certifies_it_dead(guarded: Guarded) -> None:
    first = guarded.agent(0)
    pids = guarded.run(1, "Sleeps")
    os.kill(first["agent"], signal.SIGKILL)
    second = guarded.agent(1)
    assert not any(map(is_running, pids))
    assert second["predecessors"] == [first["uid"]] and second["uid"] != first["uid"]
    assert first["predecessors"] == []
    assert "the agent was killed by SIGKILL; starting it again" in guarded.errors()


def test_supervisor_agent_stopped_is_replaced_after_the_stall(guarded: Guarded) -> None:
    first = guarded.agent(0)
    pids = guarded.run(1, "Sleeps")
    os.kill(first["agent"], signal.SIGSTOP)
    second = guarded.agent(1)
    assert second["predecessors"] == [first["uid"]]
    assert not any(map(is_running, (*pids, first["agent"])))


def test_supervisor_frozen_together_with_the_agent_kills_nothing(guarded: Guarded) -> None:
    first = guarded.agent(0)
    runner, daemon = guarded.run(1, "Sleeps")
    guarded.signal(signal.SIGSTOP)
    os.kill(first["agent"], signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        guarded.popen.wait(3.0)  # three times the stall that is tolerated
    guarded.signal(signal.SIGCONT)
    with pytest.raises(subprocess.TimeoutExpired):
        guarded.popen.wait(0.5)  # the supervisor wakes first and sees an old heartbeat
    os.kill(first["agent"], signal.SIGCONT)
    guarded.tell("kill 1 0")
    assert guarded.event("ProcessExited", 1)["signal"] == signal.SIGKILL
    assert len([line for line in guarded.story() if "agent" in line]) == 1
    gone(runner, daemon)


def test_supervisor_sigterm_is_passed_on_and_everything_ends(guarded: Guarded) -> None:
    pids = guarded.run(1, "Sleeps")
    guarded.signal(signal.SIGTERM)
    assert guarded.end() == 0
    assert {"signal": signal.SIGTERM} in guarded.story()
    assert not any(map(is_running, pids))
    assert list((guarded.here / "logs").glob("current.*")) == []


def test_supervisor_told_to_stop_starts_no_agent_that_does_not_know_of_it(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, stall_s=120.0)  # longer than this test: it is what kills the agent
    try:
        agent = guarded.agent(0)["agent"]
        pids = guarded.run(1, "Sleeps")
        freeze(agent)
        guarded.signal(signal.SIGTERM)
        wait_until(lambda: pending(agent, signal.SIGTERM), "the signal to be passed on")
        os.kill(agent, signal.SIGKILL)
        assert guarded.end() == ExitCode.INTERNAL
        assert "the agent was killed by SIGKILL after it was told to stop" in guarded.errors()
        gone(agent, *pids)
    finally:
        guarded.close()


def freeze(pid: int) -> None:
    """Stop a process before any other signal: of two that wait it takes the lower number first."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state_of(pid) == "T", f"{pid} to stop")


def pending(pid: int, number: int) -> bool:
    """Tell whether a signal waits for a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = [line.split()[1] for line in status.splitlines() if line.startswith(("SigP", "ShdP"))]
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def test_supervisor_agent_ends_with_final_code_ends_with_it(guarded: Guarded) -> None:
    guarded.tell("exit 78")
    assert guarded.end() == 78


def test_supervisor_killed_agent_notices_and_kills_everything(guarded: Guarded) -> None:
    agent = guarded.agent(0)
    pids = guarded.run(1, "Sleeps")
    guarded.signal(signal.SIGKILL)
    gone(agent["agent"], *pids)


def test_supervisor_and_agent_killed_next_worker_kills_what_they_left(
    guarded: Guarded, tmp_path: Path
) -> None:
    agent = guarded.agent(0)
    runner, daemon = guarded.run(1, "Sleeps")
    freeze(agent["agent"])
    guarded.signal(signal.SIGKILL)
    gone(runner)
    os.kill(agent["agent"], signal.SIGKILL)
    gone(agent["agent"])
    assert is_running(daemon)  # nobody was left to kill it
    (tmp_path / "next").mkdir()
    left = [path.name for path in (tmp_path / "logs").glob("current.*")]
    assert f"current.{runner}" in left
    (tmp_path / "logs").rename(tmp_path / "next" / "logs")
    following = Guarded(tmp_path / "next")
    try:
        assert not is_running(daemon)
        assert list((tmp_path / "next" / "logs").glob("current.*")) == []
    finally:
        following.close()


def test_supervisor_stopped_agent_kills_trees_by_itself(guarded: Guarded) -> None:
    runner, daemon = guarded.run(1, "Stubborn")
    guarded.signal(signal.SIGSTOP)
    guarded.tell("kill 1 0.5")
    assert guarded.event("ProcessExited", 1)["signal"] == signal.SIGKILL
    assert not is_running(daemon) and not is_running(runner)
    guarded.signal(signal.SIGCONT)
    guarded.run(2, "Sleeps")
    guarded.signal(signal.SIGTERM)
    assert guarded.end() == 0


def test_supervisor_kill_with_grace_ends_by_sigterm(guarded: Guarded) -> None:
    runner, daemon = guarded.run(1, "Sleeps")
    guarded.tell("kill 1 15")
    exited = guarded.event("ProcessExited", 1)
    assert (exited["signal"], exited["tail"]) == (signal.SIGTERM, "asleep")
    gone(runner, daemon)


def test_supervisor_kill_with_grace_lets_programs_clean_up(guarded: Guarded) -> None:
    pids = guarded.run(1, "StartsProgram")
    guarded.tell("kill 1 15")
    assert guarded.event("ProcessExited", 1)["signal"] == signal.SIGTERM
    assert (guarded.here / "cleaned").exists()
    gone(*pids)


def test_supervisor_task_process_vanishes_is_reported_after_its_strays(guarded: Guarded) -> None:
    _, daemon = guarded.run(1, "Vanishes")
    exited = guarded.event("ProcessExited", 1)
    assert not is_running(daemon)
    assert (exited["signal"], exited["code"], exited["tail"]) == (0, 3, "last words")
    (log,) = (guarded.here / "logs").iterdir()
    assert log.read_text() == "last words\n"


def test_supervisor_task_process_inherits_no_socket_and_no_secret(guarded: Guarded) -> None:
    guarded.tell("run 1 Sleeps", "run 2 ListsFds")
    listed = guarded.here / "env"
    wait_until(lambda: listed.exists() and listed.read_text(), "the list")
    links = (guarded.here / "fds").read_text().splitlines()
    kinds = sorted(link.partition(":")[0] for link in links)
    logs = str(guarded.here / "logs")
    others = [kind for kind in kinds if kind != "/dev/null" and not kind.startswith(logs)]
    assert others == ["socket"], links


def test_supervisor_many_processes_leak_no_descriptor(guarded: Guarded) -> None:
    def descriptors() -> list[int]:
        pids = (guarded.popen.pid, guarded.agent(0)["agent"])
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]

    guarded.run(1, "Vanishes")
    guarded.event("ProcessExited", 1)
    before = descriptors()
    for process in range(2, 8):
        guarded.run(process, "Vanishes")
        guarded.event("ProcessExited", process)
    after = descriptors()
    assert after[0] == before[0]
    assert after[1] - before[1] <= 6  # the scripted agent keeps its own ends of the sockets


def test_marker_set_in_advance_needs_no_second_exec(tmp_path: Path) -> None:
    source = (
        "import os, sys\n"
        "from flow_worker.guard import marker\n"
        "os.execv = lambda *args: sys.exit('executed again')\n"
        "mine = marker.ensure_marked()\n"
        "assert marker.ensure_marked() == mine\n"
        "print(mine, marker.marker_of(os.getpid()), os.environ['FLOW_WORKER'])\n"
    )
    env = {**os.environ, marker.VARIABLE: marker.PLACEHOLDER}
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    first, shown, variable = done.stdout.split()
    assert first == shown == variable


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a pid namespace")
def test_supervisor_as_pid_1_reaps_and_ends_on_sigterm(tmp_path: Path) -> None:
    unshare = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    worker = Guarded(tmp_path, unshare)
    try:
        assert worker.agent(0)["agent"] > 1
        worker.run(1, "Vanishes")
        worker.event("ProcessExited", 1)
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(worker.popen.pid)],
            capture_output=True,
            text=True,
            check=True,
        )
        os.kill(int(children.stdout), signal.SIGTERM)
        assert worker.end() == 0
        assert {"signal": signal.SIGTERM} in worker.story()
    finally:
        worker.popen.kill()
        worker.popen.wait()
