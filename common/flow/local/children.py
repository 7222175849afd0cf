"""A coordinator and a worker as child processes: the engine of one program, gone with it.

Everything lives in one private directory: the socket, what tasks print, and the state unless it is
to be kept. What the children themselves log is in memory: on a full disk it is what tells so. The
children watch a pipe whose other end only this process holds, so they end when it does, however it
dies; a directory left by a killed process is removed by the next start.

Imports little, on purpose: the children start while this process still loads the rest.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flow.errors import ConfigError, ExitCode, FlowError
from flow.settings import luigi_sections

if TYPE_CHECKING:
    from flow.local.forking import CallersTemplate

#: Of a Unix socket address. Source: sun_path in unix(7), with its final zero.
SOCKET_PATH_BYTES_MAX = 107
#: Room for the mark by which a worker finds its processes; given at the start, it need not
#: start itself again to have it.
WORKER_MARK_ROOM = "." * 112
#: Until the coordinator's socket must exist.
START_TIMEOUT_S = 30.0
#: Children that were told to end get this long before they are killed.
END_TIMEOUT_S = 10.0
#: How often a condition is looked at again.
LOOK_AGAIN_S = 0.005
#: Of a child's log, in the error that reports its death.
LOG_LINES_SHOWN = 15
LOG_BYTES_READ = 16384


class Children:
    """The two processes. Use as a context manager; leaving it ends them and removes all traces."""

    def __init__(
        self,
        *,
        slots: int,
        path: Sequence[str] = (),
        state_dir: str = "",
        attach: int = -1,
        template: CallersTemplate | None = None,
    ) -> None:
        """Start both.

        Args:
            slots: How many tasks run at the same time.
            path: Directories for ``sys.path`` of the task processes.
            state_dir: Where to keep the state; empty: nowhere.
            attach: A socket to a process that executes the tasks itself; below 0: none.
            template: What to fork from this very process for the worker; None: nothing.
        """
        self._ended = False
        #: by the name of a child: its log, a file without a name
        self._logs: dict[str, int] = {}
        self.directory = _private_directory()
        #: what to set where the disk of the state is full
        self.state_option = "--state-dir" if state_dir else "TMPDIR"
        try:
            self._lock = _lock(self.directory)
            self.address = f"ipc://{self.directory}/c"
            self._held, keep = _pipe()
            state = os.path.abspath(state_dir) if state_dir else f"{self.directory}/state"
            common = ["--parent-fd", str(keep)]
            seen = ["--terminal"] if os.isatty(1) else []  # who sees it needs no mail about it
            served = ["--bind", self.address, "--state-dir", state, *seen, *common]
            self.coordinator = self._start("coordinator", served, [keep])
            self.log_dir = f"{self.directory}/logs"
            logs = ["--log-dir", self.log_dir]
            options = ["--coordinator", self.address, "--slots", str(slots), *logs, *common]
            for each in path:
                options += ["--path", each]
            kept = [keep]
            if attach >= 0:
                options += ["--attach", str(attach)]
                kept.append(attach)
            self.worker = self._start_worker(options, kept, template)
            os.close(keep)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):  # no room, no descriptors, no processes
                raise ConfigError(
                    f"no engine can start in {self.directory}: {error.strerror}",
                    hint="Free some, or set TMPDIR to a directory that has room",
                ) from error
            raise

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_ready(self) -> None:
        """Wait until the coordinator's socket exists. Raises ``FlowError`` where it will not."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not os.path.exists(f"{self.directory}/c"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.coordinator.wait(LOOK_AGAIN_S)
            self.check()
            if time.monotonic() > deadline:
                raise FlowError(
                    f"the coordinator did not start within {START_TIMEOUT_S:.0f} s",
                    hint=self._last_lines("coordinator"),
                )

    def check(self, *, worker: bool = True) -> None:
        """Raise ``FlowError`` if a child has ended by itself. ``worker``: it too must live."""
        for name, process in (("coordinator", self.coordinator), ("worker", self.worker)):
            if (worker or name != "worker") and process.poll() is not None:
                code = process.returncode
                how = f"by signal {-code}" if code < 0 else f"with code {code}"
                error = FlowError(f"the {name} ended {how}", hint=self._last_lines(name))
                if code in ExitCode.__members__.values() and code != ExitCode.OK:
                    error.exit_code = ExitCode(code)  # a broken environment stays one
                raise error

    def drain(self) -> None:
        """Ask the worker to start no more tasks, finish those that run, and end."""
        self.worker.terminate()

    @property
    def worker_ended(self) -> bool:
        """Whether the worker process is gone."""
        return self.worker.poll() is not None

    def close(self) -> None:
        """End both processes and remove the directory. Safe to call again."""
        if self._ended:
            return
        self._ended = True
        if hasattr(self, "_held"):
            os.close(self._held)
        started = [getattr(self, name, None) for name in ("worker", "coordinator")]
        deadline = time.monotonic() + END_TIMEOUT_S
        for process in filter(None, started):
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._show_lost_mail()
        for log in self._logs.values():
            os.close(log)
        shutil.rmtree(self.directory, ignore_errors=True)
        if hasattr(self, "_lock"):
            os.close(self._lock)

    def _start_worker(
        self, options: list[str], keep: list[int], template: CallersTemplate | None
    ) -> subprocess.Popen[bytes]:
        """Start the worker; with a template it has a fork of this process as its child."""
        if template is None:
            return self._start("worker", options, keep)
        options = [*options, "--template", template.option()]
        keep = [*keep, *template.descriptors()]
        environment = self._environment()
        # This process needs it in any case, and its fork has it then.
        importlib.import_module("flow.wire.messages.codec")
        with template.quiet():
            return self._start(
                "worker", options, keep, lambda: template.fork(self.log_dir, environment)
            )

    def _environment(self) -> dict[str, str]:
        """Return what task processes find besides what this process has."""
        # One for all its task processes, and for the program that builds, if that has one.
        mock = sys.modules.get("flow.targets.mock")
        ours = mock.directory() if mock else os.environ.get("FLOW_MOCK_DIR")
        return {**_storage(), "FLOW_MOCK_DIR": ours or f"{self.directory}/mock"}

    def _start(
        self,
        name: str,
        options: list[str],
        keep: Sequence[int],
        before: Callable[[], None] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start ``python -m flow_<name>`` in a session of its own: Ctrl-C is for this process."""
        log = self._logs[name] = os.memfd_create(f"flow-{name}.log")
        return subprocess.Popen(
            [sys.executable, "-P", "-m", f"flow_{name}", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=keep,
            start_new_session=True,
            preexec_fn=before,
            env={
                **os.environ,
                **self._environment(),
                **luigi_sections.inherited(),
                "FLOW_WORKER": WORKER_MARK_ROOM,
            },
        )

    def _show_lost_mail(self) -> None:
        """Say what the coordinator could say only to its log, which goes with it."""
        if "coordinator" not in self._logs:
            return
        with open(self._log_path("coordinator"), errors="replace") as log:
            for line in log:
                _, _, said = line.partition(" ")
                if said.startswith(("error mail ", "warning mail ")):
                    print(said, end="", file=sys.stderr)

    def _last_lines(self, name: str) -> str:
        """Read the end of a child's log."""
        with open(self._log_path(name), "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_BYTES_READ))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(["its last lines:", *lines[-LOG_LINES_SHOWN:]]) if lines else ""

    def _log_path(self, name: str) -> str:
        """Name a child's log: opened so, it is read from its begin, wherever the child writes."""
        return f"/proc/self/fd/{self._logs[name]}"


def _storage() -> dict[str, str]:
    """Say where this program's artifacts are, if it has asked for one."""
    location = sys.modules.get("flow.artifacts.location")
    return location.inherited() if location is not None else {}


def _pipe() -> tuple[int, int]:
    """Make (the end held here, the end the children watch)."""
    watched, held = os.pipe()
    return held, watched


def private_bases() -> list[str]:
    """Name the directories, best first, in which each engine of this user makes its own."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    bases = [os.path.join(tempfile.gettempdir(), f"flow-{os.getuid()}"), f"/tmp/flow-{os.getuid()}"]
    if runtime:
        bases.append(os.path.join(runtime, "flow"))
    return list(dict.fromkeys(bases))


def _private_directory() -> str:
    """Make a directory only this user can enter, with a path short enough for a socket."""
    why = ""
    try:
        bases = private_bases()
    except FileNotFoundError as error:  # what ``tempfile`` raises after it has tried them all
        raise ConfigError(
            f"{error.strerror}: no room, or nowhere to write", hint="Set TMPDIR to one that has"
        ) from error
    for base in bases:
        room = SOCKET_PATH_BYTES_MAX - len(os.fsencode(base)) - len("/12345678/c")
        if room >= 0 and _own(base):
            _sweep(base)
            try:
                return tempfile.mkdtemp(prefix="", dir=base)
            except OSError as error:  # no room for one more name
                why = why or f": {base}: {error.strerror}"
    raise ConfigError(
        f"no directory for a private socket (tried TMPDIR, /tmp and XDG_RUNTIME_DIR){why}",
        hint="Set TMPDIR to a writable directory with a short path",
    )


def _own(base: str) -> bool:
    """Make ``base`` if needed; say whether it is a directory of this user alone."""
    try:
        os.makedirs(base, mode=0o700, exist_ok=True)
        found = os.lstat(base)
    except OSError:
        return False
    private = found.st_uid == os.getuid() and not found.st_mode & 0o077
    return private and os.path.isdir(base) and not os.path.islink(base) and os.access(base, os.W_OK)


def _lock(directory: str) -> int:
    """Hold the lock that says: somebody uses this directory."""
    lock = os.open(f"{directory}/lock.new", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(f"{directory}/lock.new", f"{directory}/lock")  # never seen without being held
    return lock


def _sweep(base: str) -> None:
    """Remove what killed processes left: directories whose lock nobody holds."""
    for directory in Path(base).iterdir():
        with contextlib.suppress(OSError):
            lock = os.open(directory / "lock", os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(lock)
