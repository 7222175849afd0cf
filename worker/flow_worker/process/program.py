"""Importing the program of this process: once, and for good.

Called in a template for all that it will fork, or in each process of a program that must not be
forked. From then on the process is that program's: what the command line of its run gives to tasks
holds, settings are those of now, and a module that could not be imported stays so.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from flow.errors import FlowError
from flow.modules import loading
from flow.parameters import defaults, given
from flow.settings import layers, luigi_files
from flow.wire.messages.shared import Program
from flow_worker.channel import Loaded
from flow_worker.process import packages
from flow_worker.process.failure import Terminated
from flow_worker.process.sources import Sources

#: Names of threads that flow itself runs in a task process.
OWN_THREADS = "flow-"
#: Files named with an identity, and digits of their hashes: enough to say which differ.
FILES_TOLD_MAX = 300
FILE_DIGITS = 12


def load(program: Program, archive: str = "", *, inherited: bool = False) -> Loaded:
    """Import a program; whatever goes wrong is in the answer, and again in that of each task.

    ``archive``: see ``flow_worker.process.packages``; what is in it comes first on ``sys.path``.
    ``inherited``: this process is a fork of it, whose settings are what it has made of them.
    """
    started = time.perf_counter()
    if not inherited:
        defaults.forget()
    if archive:
        try:
            packages.enter(archive)
        except FlowError as error:
            text = f"{error}; {error.hint}" if error.hint else str(error)
            for module in program.modules:
                loading.remember_failure(module, loading.ImportFailed(text))
            return Loaded("", time.perf_counter() - started, error=text, refused=True)
    sources = Sources([each or os.curdir for each in sys.path], _cache_folder())
    sources.install()
    folder = os.getcwd()
    configured: dict[str, bytes] = {}
    loading.enter_task_process((Terminated,))
    errors = []
    try:
        given.use(program.given)
        if defaults.settings().worker.reuse == "code":
            configured = _configuration(folder)
        for module in program.modules:
            try:
                loading.load_module(module)
            except loading.ImportFailed as error:
                loading.remember_failure(module, error)
                errors.append(str(error))
    except FlowError as error:  # the settings cannot be read
        errors.append(str(error))
    defaults.read_now()
    if sources.complaint:
        logging.getLogger("flow").warning("compiled code is not cached: %s", sources.complaint)
    files = sources.files()
    told = {name: digest[:FILE_DIGITS] for name, digest in list(files.items())[:FILES_TOLD_MAX]}
    loaded = Loaded(
        sources.identity(files),
        time.perf_counter() - started,
        _why_alone(),
        errors[0] if errors else "",
        files=told,
    )
    global _imported
    _imported = Imported(loaded, sources, folder, configured)
    return loaded


class Imported(NamedTuple):
    """What this process has imported."""

    loaded: Loaded
    sources: Sources
    folder: str  #: the current one, before
    configured: dict[str, bytes]  #: files of settings by their hash, before


_imported: Imported | None = None


def again() -> Loaded | None:
    """Answer for another run of the same program; None: its files are not what was imported.

    What the import computed (a date, a random name) is what it was, and so are installed packages:
    that is what ``worker.reuse = "code"`` asks for.
    """
    if _imported is None or _imported.loaded.error:
        return None
    if _imported.configured != _configuration(_imported.folder):
        return None
    if not _imported.sources.unchanged():
        return None
    importlib.invalidate_caches()  # for what its tasks import only later
    return msgspec.structs.replace(_imported.loaded, import_s=0.0)


def _configuration(folder: str) -> dict[str, bytes]:
    """Return the files of settings that are there now, with their SHA-256."""
    paths = [*map(str, layers.files(layers.environment(), Path(folder))), *luigi_files.files()]
    found = {}
    for path in (Path(folder, each) for each in paths):
        with contextlib.suppress(OSError):  # whoever reads it for good tells of it
            found[str(path)] = hashlib.sha256(path.read_bytes()).digest()
    return found


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "flow" / "code"


def _why_alone() -> str:
    """Say what the import left in this process that a fork would not have; empty: nothing."""
    threads = [
        thread.name
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.name.startswith(OWN_THREADS)
    ]
    if threads:
        return f"its import left a thread running ({', '.join(sorted(threads)[:3])})"
    if defaults.settings().worker.fork == "never":
        return "worker.fork is never"
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is not None and cuda.is_initialized():
        return "its import initialised a GPU"
    return ""
