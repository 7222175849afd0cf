"""A coordinator and workers as real processes, with everything they own in one directory.

Everything a cluster starts carries ``FLOW_TEST_CLUSTER`` in its environment, so that at the end
``Cluster.close`` can prove that no process, socket or temporary file is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flow.client.client import Client
from flow.wire.messages.client import About, AboutShown
from flow_worker.guard import marker
from tests.support.ledger import Ledger

#: Generous: two cores may be shared with everything else.
DEADLINE_S = 40.0
VARIABLE = "FLOW_TEST_CLUSTER"
#: What a state directory holds after a clean end.
STATE_FILES = {"state.db", "state.epoch", "state.lock", "code"}
LOG_CHARACTERS_SHOWN = 4000


def wait_until(
    condition: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S, pause_s: float = 0.02
) -> Any:
    """Poll until the condition holds and return its value; fail with the last one.

    A condition that is dear to ask, as one that starts a command, rests as long as it took: it
    would take the processor from what it waits for.
    """
    until = time.monotonic() + timeout_s
    began = time.monotonic()
    while not (value := condition()):
        now = time.monotonic()
        assert now < until, f"waited {timeout_s:.0f} s for {what}; last: {value!r}"
        time.sleep(max(pause_s, now - began) if pause_s else 0.0)
        began = time.monotonic()
    return value


def free_port() -> int:
    """Find a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children_of(pid: int) -> list[int]:
    """Return the direct children of a process."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(each) for each in text.split()]


def name_of(pid: int) -> str:
    """Return what ps calls a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def state_of(pid: int) -> str:
    """Return the letter of proc(5); empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


class Service:
    """One process this cluster started, with its log."""

    def __init__(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path, parent_fd: int
    ) -> None:
        self.name, self.log = name, log
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                [*argv, "--parent-fd", str(parent_fd)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=dict(env),
                cwd=log.parent,
                pass_fds=[parent_fd],
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process itself: for a worker, its supervisor."""
        return self.popen.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def text(self) -> str:
        """Return the log so far."""
        return self.log.read_text(errors="replace")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, if it still lives."""
        if self.alive:
            self.popen.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = DEADLINE_S) -> int:
        """Signal, wait for the end, return the exit code."""
        self.kill(number)
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} did not end within {timeout_s:.0f} s:\n{self.text()[-3000:]}"
            ) from None


class Worker(Service):
    """A ``flow-worker``: the pid is its supervisor's."""

    def agent(self) -> int:
        """Return the pid of the agent, once there is one."""
        return int(wait_until(lambda: self.processes("agent"), f"an agent of {self.name}")[0])

    def processes(self, role: str = "runner") -> list[int]:
        """Return the pids of its agent, its templates, its runners or its planners now."""
        own = children_of(self.pid)
        forked = [pid for one in own if name_of(one) == "flow-template" for pid in children_of(one)]
        return [p for p in (*own, *forked) if name_of(p) == f"flow-{role}"]


class Cluster:
    """Use as a context manager; leaving it ends everything and proves that nothing is left."""

    def __init__(
        self,
        root: Path,
        module: str = "workflow_tasks",
        *,
        ipc: bool = False,
        profile: str = "fast",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare the directories.

        Args:
            root: An empty directory, owned by this cluster.
            module: The file beside this one that workers import as ``flowtasks``.
            ipc: Listen on a Unix socket instead of a port of the loopback.
            profile: Of the leases.
            settings: ``FLOW_SECTION__KEY`` variables for every process.
        """
        self.root, self.profile = root, profile
        self.modules = root / "modules"
        self.tmp = root / "tmp"
        self.elsewhere = root / "elsewhere"
        for each in (self.modules, self.tmp, self.elsewhere, root / "home"):
            each.mkdir(parents=True)
        shutil.copy(Path(__file__).parent / f"{module}.py", self.modules / "flowtasks.py")
        self.ledger = Ledger(self.modules)
        self.address = f"ipc://{root}/socket" if ipc else f"tcp://127.0.0.1:{free_port()}"
        self.state_dir = root / "state"
        self.env = {
            name: text for name, text in os.environ.items() if not name.startswith("FLOW_")
        } | {
            VARIABLE: str(root),
            "HOME": str(root / "home"),
            "TMPDIR": str(self.tmp),
            "FLOW_COORDINATOR": self.address,
            "PYTHONDONTWRITEBYTECODE": "1",
            **(settings or {}),
        }
        self.env.pop("XDG_STATE_HOME", None)
        # Whatever ends this process, nothing of the cluster outlives it.
        self._parent_fd, self._held_fd = os.pipe()
        self.coordinator: Service | None = None
        self.workers: dict[str, Worker] = {}
        self.services: list[Service] = []
        #: what stands before a command line, by the name of the service: another host
        self.prefix: dict[str, list[str]] = {}

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.close()
        except BaseException as error:
            kind = type(error)
            raise
        finally:
            if kind is not None:
                print(self.logs())
                self.destroy()
            os.close(self._held_fd)
            os.close(self._parent_fd)

    # ------------------------------------------------------------ processes

    def command(self, module: str, *words: str, where: str = "") -> list[str]:
        """Return the command line of a program of this checkout; ``where``: see ``prefix``."""
        return [*self.prefix.get(where, []), sys.executable, "-m", module, *words]

    def start_coordinator(
        self, *words: str, wait: bool = True, module: str = "flow_coordinator"
    ) -> Service:
        """Start one on this cluster's address and state directory, wait until it answers."""
        argv = self.command(
            module,
            *("--bind", self.address, "--state-dir", str(self.state_dir)),
            *("--lease-profile", self.profile, *words),
            where="coordinator",
        )
        log = self.root / "coordinator.log"
        service = Service("coordinator", argv, self.env, log, self._parent_fd)
        self.services.append(service)
        self.coordinator = service
        if wait:
            self._until(lambda: self.about() is not None, "the coordinator to answer", service)
        return service

    def start_worker(
        self,
        name: str,
        *words: str,
        slots: int = 2,
        wait: bool = True,
        folder: Path | None = None,
    ) -> Worker:
        """Start one that imports from the modules directory, wait until it has joined.

        ``folder``: where it is started, with its log; None: the root, as all others.
        """
        folder = folder or self.root
        folder.mkdir(exist_ok=True)
        argv = self.command(
            "flow_worker",
            *("--coordinator", self.address, "--slots", str(slots), "--name", name),
            *("--path", str(self.modules), "--log-dir", str(self.root / f"{name}-attempts")),
            *words,
            where=name,
        )
        # With room for its marker it need not start its interpreter a second time;
        # test_supervisor_guards.py has both.
        env = {**self.env, marker.VARIABLE: marker.PLACEHOLDER}
        worker = Worker(name, argv, env, folder / f"{name}.log", self._parent_fd)
        self.services.append(worker)
        self.workers[name] = worker
        if wait:
            self.wait_joined(name)
        return worker

    def start(self, *workers: str, slots: int = 2) -> Cluster:
        """Start a coordinator and these workers."""
        self.start_coordinator()
        for name in workers:
            self.start_worker(name, slots=slots, wait=False)
        self.wait_joined(*workers)
        return self

    def wait_joined(self, *names: str) -> None:
        """Wait until these workers are active at the coordinator."""
        self._until(
            lambda: (
                set(names) <= {w["name"] for w in self.list_workers() if w["state"] == "active"}
            ),
            f"{names} to join",
            *(self.workers[name] for name in names if name in self.workers),
        )

    def _until(self, condition: Callable[[], Any], what: str, *services: Service) -> None:
        def dead() -> list[str]:
            return [each.name for each in services if not each.alive]

        try:
            wait_until(lambda: condition() or dead(), what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None
        assert not dead(), f"{dead()} ended while waiting for {what}\n{self.logs()}"

    # ------------------------------------------------------------ commands

    def flow(
        self, *words: str, cwd: Path | None = None, timeout_s: float = 90.0
    ) -> subprocess.CompletedProcess[str]:
        """Run ``flow WORDS`` from a directory without any module; never raises."""
        try:
            return subprocess.run(
                self.command("flow", *words, where="client"),
                capture_output=True,
                text=True,
                timeout=timeout_s,
                env=self.env,
                cwd=cwd or self.elsewhere,
            )
        except subprocess.TimeoutExpired as error:
            raise AssertionError(
                f"flow {' '.join(words)} hung:\n{error.stdout!r}\n{error.stderr!r}\n{self.logs()}"
            ) from None

    def submit(self, family: str, *words: str, code: int = 0, timeout_s: float = 90.0) -> str:
        """Run ``flow submit flowtasks FAMILY ...`` to its end; return all it said."""
        done = self.flow("submit", "flowtasks", family, *words, timeout_s=timeout_s)
        said = done.stdout + done.stderr
        assert done.returncode == code, f"exit code {done.returncode}, not {code}:\n{said}"
        return said

    def detach(self, family: str, *words: str) -> str:
        """Submit without waiting; return the run's id."""
        done = self.flow("submit", "--detach", "--json", "flowtasks", family, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(json.loads(done.stdout)["run"])

    def json(self, *words: str) -> Any:
        """Run a command with --json and return what it printed."""
        done = self.flow(*words, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """Connect as a command does."""
        with Client(self.address) as client:
            yield client

    def about(self) -> AboutShown | None:
        """Ask the coordinator who it is; None where nobody answers at once."""
        from flow.errors import FlowError

        with Client(self.address, connect_timeout_s=1.0) as client:
            try:
                return client.ask(About(0), AboutShown)
            except FlowError:
                return None

    def list_workers(self) -> list[dict[str, Any]]:
        """Return the rows of ``flow workers``; empty where nobody answers."""
        import msgspec

        from flow.errors import FlowError

        with Client(self.address, connect_timeout_s=1.0) as client:
            try:
                rows = client.workers()
            except FlowError:
                return []
        return [{f: getattr(row, f) for f in msgspec.structs.asdict(row)} for row in rows]

    def summary(self, run: str) -> Any:
        """Return the summary of a run as it stands."""
        from flow.wire.messages.client import RunShown, ShowRun

        with Client(self.address) as client:
            return client.ask(ShowRun(0, run), RunShown).summary

    def wait_ended(self, run: str, state: str = "succeeded", timeout_s: float = DEADLINE_S) -> Any:
        """Wait until a run has ended, in this state; return its summary."""
        from flow.errors import FlowError

        last: list[Any] = [None]

        def ended() -> bool:
            try:
                last[0] = self.summary(run)
            except FlowError as error:
                last[0] = error
                return False
            return bool(last[0].state != "running")

        try:
            wait_until(ended, f"the end of {run}", timeout_s, 0.1)
        except AssertionError as error:
            tasks = self.flow("tasks", "--run", run, timeout_s=30.0).stdout[-3000:]
            raise AssertionError(f"{error}\n{last[0]}\n{tasks}\n{self.logs()}") from None
        assert last[0].state == state, f"{last[0]}\n{self.logs()}"
        return last[0]

    def logs(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-LOG_CHARACTERS_SHOWN:]}"
            for path in sorted({each.log for each in self.services})
        )

    # ------------------------------------------------------------ the end

    def processes(self) -> dict[int, str]:
        """Return every running process that this cluster's processes started, by pid."""
        wanted = f"{VARIABLE}={self.root}".encode()
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or state_of(int(entry)) in ("", "Z", "X"):
                continue
            try:
                environ = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
                line = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            if wanted in environ:
                found[int(entry)] = f"{name_of(int(entry))}: {line.decode(errors='replace')[:200]}"
        return found

    def close(self) -> None:
        """End workers, then the coordinator, as an operator would, and look for leftovers."""
        for worker in self.workers.values():
            worker.kill(signal.SIGCONT)
            worker.kill(signal.SIGTERM)
        for worker in self.workers.values():
            worker.stop()
        if self.coordinator is not None:
            self.coordinator.stop()
        for service in self.services:
            assert not service.alive, f"{service.name} still runs"
        wait_until(lambda: not self.processes(), f"no process left: {self.processes()}", 5.0)
        assert not self.leftovers(), f"left behind: {self.leftovers()}"

    def leftovers(self) -> list[str]:
        """Name sockets and temporary files below the root."""
        found = [str(path) for path in self.tmp.rglob("*")]
        found += [str(p) for p in self.root.rglob("*") if stat.S_ISSOCK(p.lstat().st_mode)]
        found += [str(path) for path in self.root.glob("*-attempts/current.*")]
        found += [str(path) for path in self.modules.rglob("*-flow-tmp-*")]
        if self.state_dir.is_dir():
            found += [str(p) for p in self.state_dir.iterdir() if p.name not in STATE_FILES]
        return found

    def destroy(self) -> None:
        """Kill whatever is left, after a failure."""
        for service in self.services:
            service.kill(signal.SIGKILL)
        for service in self.services:
            service.popen.wait(DEADLINE_S)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
