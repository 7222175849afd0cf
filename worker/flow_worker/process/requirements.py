"""What packed code requires, installed once on this host and shared by all runs that require it.

``[tool.flow]`` in the folder's ``pyproject.toml`` says what: ``requires = ["pandas>=2"]``, or
``lock = "uv.lock"`` (or a requirements file) beside it. ``uv`` installs it for this interpreter
into a folder of its own on a shelf, named by a hash of all of that. Processes that import from
there hold the entry's lock, and their forks with them. Nothing here is under a lease: a template
does it before its import, and the time limit of that counts.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path

import msgspec

from flow.errors import ConfigError, UsageError
from flow.extras import DISTRIBUTION
from flow.parameters import defaults
from flow_worker.process import shelf

#: Of what uv said last, in the sentence about a failure.
LAST_WORDS_CHARACTERS_MAX = 700
#: What is in here counts as installed, not as user code whose changes are looked at.
_SITE = "site-packages"
#: Descriptors that say "in use"; they live as long as this process and its forks.
_held: list[int] = []


class WantedPackages(msgspec.Struct, frozen=True):
    """What a folder of code requires. Not both of ``requires`` and ``lock`` are set."""

    requires: list[str] = []
    lock: str = ""

    def name(self, folder: str) -> str:
        """Name the environment: other requirements or another Python need another one."""
        parts = [sys.implementation.cache_tag, sysconfig.get_platform(), *self.requires]
        whole = hashlib.sha256("\n".join(parts).encode())
        if self.lock:
            whole.update(f"\n{os.path.basename(self.lock)}\n".encode())
            whole.update(Path(folder, self.lock).read_bytes())
        return whole.hexdigest()


def site_for(folder: str) -> str:
    """Return the folder in which all that some code requires is installed; empty: nothing.

    Raises:
        FlowError: It cannot be installed; the message has what uv said last.
    """
    wanted = read(folder)
    if not wanted.requires and not wanted.lock:
        return ""
    home = shelf.folder("environments")
    shelf.prepare(home)
    try:
        entry = os.path.join(home, wanted.name(folder))
        fd = shelf.lock(entry)
        if not os.path.isdir(entry):
            os.close(fd)
            fd = shelf.lock(entry, alone=True)
            # While this process waited for the lock, another one may have been here.
            if not os.path.isdir(entry):
                shelf.trim(os.fspath(home), defaults.settings().worker.environments_bytes_max)
                _build(wanted, folder, entry)
            fcntl.flock(fd, fcntl.LOCK_SH)
    except OSError as error:
        raise ConfigError(
            f"what the code requires cannot be installed in {home}: {error.strerror or error}",
            hint="check the place and its free space",
        ) from error
    _held.append(fd)
    return os.path.join(entry, _SITE)


def read(folder: str) -> WantedPackages:
    """Read what is required. Raises ``UsageError`` naming what is wrong there."""
    try:
        with open(os.path.join(folder, "pyproject.toml"), "rb") as file:
            table = tomllib.load(file).get("tool", {}).get("flow", {})
        known = {name: table[name] for name in ("requires", "lock") if name in table}
        wanted = msgspec.convert(known, WantedPackages)
    except FileNotFoundError:
        return WantedPackages()
    except (ValueError, AttributeError, TypeError, OSError) as error:
        raise UsageError(
            f"[tool.flow] in the code's pyproject.toml cannot be read: {error}",
            hint='write requires = ["pandas>=2"], or lock = "uv.lock"',
        ) from error
    if wanted.requires and wanted.lock:
        raise UsageError("[tool.flow] has requires and lock", hint="leave one of them out")
    if wanted.lock and not os.path.isfile(os.path.join(folder, wanted.lock)):
        raise UsageError(
            f"[tool.flow] names the lock file {wanted.lock}, which was not sent along",
            hint="check its name, and what .gitignore and .flowignore leave out",
        )
    return wanted


def _build(wanted: WantedPackages, folder: str, entry: str) -> None:
    uv = _find_uv()
    temporary = f"{entry}{shelf.TEMPORARY}"
    shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
    os.mkdir(temporary, 0o700)
    try:
        options = wanted.requires
        if wanted.lock.endswith(".lock"):
            exported = os.path.join(temporary, "requirements.txt")
            project = os.path.dirname(os.path.join(folder, wanted.lock))
            export = ["export", "--frozen", "--no-emit-project", "--no-dev", "--quiet"]
            _run(uv, [*export, "--project", project, "--output-file", exported], folder)
            options = ["-r", exported]
        elif wanted.lock:
            options = ["-r", wanted.lock]
        site = os.path.join(temporary, _SITE)
        install = ["pip", "install", "--python", sys.executable, "--target", site]
        _run(uv, [*install, *options], folder)
        os.makedirs(site, exist_ok=True)  # a lock file may require nothing
        os.rename(temporary, entry)
    finally:
        # Gone already if all went well. What else cannot be removed only takes room.
        shutil.rmtree(temporary, ignore_errors=True)


def _run(uv: str, words: list[str], folder: str) -> None:
    """Run uv in the folder of the code, whose settings count. Raises ``ConfigError``."""
    environment = {**os.environ, "NO_COLOR": "1", "UV_NO_PROGRESS": "1"}
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            [uv, *words],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd=folder,
            env=environment,
            check=False,
        )
        if done.returncode == 0:
            return
        size = said.seek(0, os.SEEK_END)
        said.seek(max(0, size - 4 * LAST_WORDS_CHARACTERS_MAX))
        words_said = " ".join(said.read().decode(errors="replace").split())
    raise ConfigError(
        "what the code requires cannot be installed; uv ended with code "
        f"{done.returncode} and said: {words_said[-LAST_WORDS_CHARACTERS_MAX:]}"
    )


def _find_beside() -> str | None:
    return shutil.which("uv", path=sysconfig.get_path("scripts"))


def _find_uv() -> str:
    """Find the program: beside this interpreter, where the extra puts it, or on the PATH."""
    found = _find_beside() or shutil.which("uv")
    if found is None:
        raise ConfigError(
            "the code has requirements, and there is no uv on this worker to install them",
            hint=f"on the worker: pip install '{DISTRIBUTION}[uv]'",
        )
    return found
