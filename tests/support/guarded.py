"""A real supervisor with a scripted agent, driven by commands in a file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from flow_worker.guard import kill
from tests.support.task_process import DEADLINE_S, wait_until

MODULE = """
import os, signal, subprocess
from pathlib import Path
import flow.task as ft

HERE = Path(__file__).parent

def daemon(name):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            (HERE / name).write_text(str(os.getpid()))
            while True:
                signal.pause()
        os._exit(0)

class Sleeps(ft.Task):
    def run(self):
        daemon("daemon")
        print("asleep")
        while True:
            signal.pause()

class Stubborn(ft.Task):
    def run(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        daemon("daemon")
        while True:
            signal.pause()

class StartsProgram(ft.Task):
    def run(self):
        trap = f"trap 'sleep 0.3; echo cleaned > {HERE}/cleaned; exit' TERM; "
        loop = f"echo $$ > {HERE}/daemon; while :; do sleep 0.02; done"
        subprocess.Popen(["sh", "-c", trap + loop]).wait()

class Vanishes(ft.Task):
    def run(self):
        daemon("daemon")
        # with its pid in it: the daemon is killed as soon as this process is gone
        while not ((HERE / "daemon").exists() and (HERE / "daemon").read_text()):
            pass
        print("last words")
        os._exit(3)

class ListsFds(ft.Task):
    def run(self):
        names = os.listdir("/proc/self/fd")
        links = {n: os.readlink(f"/proc/self/fd/{n}") for n in names
                 if os.path.lexists(f"/proc/self/fd/{n}")}
        (HERE / "fds").write_text("\\n".join(links.values()))
        (HERE / "env").write_text("\\n".join(os.environ))
"""

_WORKER = """
import json, os, select, signal, sys
from pathlib import Path
from flow_worker.guard import marker
own_marker = marker.ensure_marked()
import msgspec
from flow.identity import task_id_str
from flow.wire.messages.shared import Grant
from flow_worker import channel
from flow_worker.guard import supervisor

HERE = Path(sys.argv[1])
STALL_S = float(sys.argv[2])

def say(**fields):
    fd = os.open(HERE / "story", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, (json.dumps(fields) + "\\n").encode())
    os.close(fd)

def agent(nursery, predecessors):
    asked = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    nursery.allow_stall(STALL_S)
    nursery.beat()
    say(agent=os.getpid(), uid=nursery.uid, predecessors=predecessors, marker=own_marker)
    socks, done = {}, 0
    while True:
        nursery.beat()
        for number in asked:
            say(signal=number)
            return 0
        for event in nursery.read() + nursery.tick():
            say(event=type(event).__name__, **msgspec.to_builtins(event))
        if not nursery.guard_alive:
            while not nursery.kill_leftovers():
                pass
            return 1
        commands = (HERE / "commands").read_text().splitlines()
        for command in commands[done:]:
            done += 1
            word, *rest = command.split()
            if word == "run":
                process, family = int(rest[0]), rest[1]
                sock = socks[process] = nursery.spawn(process, "runner")
                task_id = task_id_str(family, {})
                params = msgspec.msgpack.encode({})
                grant = Grant(f"ab.1.{process}", task_id, "guarded_tasks", family, params, 1)
                sock.sendall(channel.pack(channel.Execute([grant])))
            elif word == "kill":
                nursery.kill(int(rest[0]), float(rest[1]))
            elif word == "fds":
                say(fds=[os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                         if os.path.lexists(f"/proc/self/fd/{n}")])
            elif word == "exit":
                return int(rest[0])
        select.select([nursery.fileno()], [], [], 0.02)

sys.exit(supervisor.supervise(agent, supervisor.GuardSettings(HERE / "logs", stall_s=STALL_S)))
"""


class Guarded:
    """One supervisor, its agent (0, then 1, ... as it is replaced) and their story."""

    def __init__(self, here: Path, prefix: tuple[str, ...] = (), stall_s: float = 1.0) -> None:
        self.here = here
        (here / "guarded_tasks.py").write_text(MODULE)
        (here / "commands").write_text("")
        (here / "story").write_text("")
        env = {k: v for k, v in os.environ.items() if k != "FLOW_WORKER"}
        env["PYTHONPATH"] = str(here)
        with (here / "stderr").open("wb") as errors:
            self.popen = subprocess.Popen(
                [*prefix, sys.executable, "-c", _WORKER, str(here), str(stall_s)],
                env=env,
                stdin=subprocess.DEVNULL,
                stderr=errors,
            )
        self.agent(0)

    def story(self) -> list[dict[str, Any]]:
        """Everything the agents said, in order."""
        return [json.loads(line) for line in (self.here / "story").read_text().splitlines()]

    def errors(self) -> str:
        """Everything the supervisor and its processes complained about."""
        return (self.here / "stderr").read_text()

    def agent(self, index: int) -> dict[str, Any]:
        """Wait for the agent with this number; return how it introduced itself."""
        wait_until(lambda: len(self._agents()) > index, f"agent {index} of {self.story()}")
        return self._agents()[index]

    def _agents(self) -> list[dict[str, Any]]:
        return [line for line in self.story() if "agent" in line]

    def tell(self, *commands: str) -> None:
        """Give the agent commands."""
        with open(self.here / "commands", "a") as file:
            file.writelines(f"{command}\n" for command in commands)

    def event(self, name: str, process: int) -> dict[str, Any]:
        """Wait for an event of a process."""

        def found() -> list[dict[str, Any]]:
            lines = [line for line in self.story() if line.get("event") == name]
            return [line for line in lines if line["process"] == process]

        wait_until(found, f"{name} of {process} in {self.story()}")
        return found()[0]

    def run(self, process: int, family: str) -> tuple[int, int]:
        """Run a task that starts a daemon; return the pids of runner and daemon."""
        (self.here / "daemon").unlink(missing_ok=True)
        self.tell(f"run {process} {family}")
        daemon = self.here / "daemon"
        wait_until(lambda: daemon.exists() and daemon.read_text(), "the daemon")
        return self.event("Forked", process)["pid"], int(daemon.read_text())

    def signal(self, number: int) -> None:
        """Signal the supervisor."""
        os.kill(self.popen.pid, number)

    def end(self) -> int:
        """Wait for the supervisor's own end."""
        return self.popen.wait(DEADLINE_S)

    def close(self) -> None:
        """Kill whatever is left of it, by pid."""
        pids = [line["agent"] for line in self._agents()]
        pids += [line["pid"] for line in self.story() if line.get("event") == "Forked"]
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            if self.popen.poll() is None:
                os.kill(self.popen.pid, signal.SIGCONT)
                os.kill(self.popen.pid, signal.SIGTERM)
                self.popen.wait(2.0)
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait(DEADLINE_S)
        for pid in pids:
            if "flow" in _command_of(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _command_of(pid: int) -> str:
    """The name and arguments of a process, to be sure that a pid is still the one meant."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def is_running(pid: int) -> bool:
    """Whether this pid can still execute."""
    one = kill.entry(pid)
    return one is not None and one.runs
