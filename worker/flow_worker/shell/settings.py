"""What one ``flow-worker`` command was told and found out; frozen, made before anything starts."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path

import msgspec

from flow.wire.ids import WorkerUid
from flow.wire.messages.shared import sendable
from flow_worker.core.config import WorkerConfig


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an agent needs; the same for each restart of it."""

    coordinator: str
    name: str
    slots: int
    planners: int
    capacity: dict[str, float]
    log_dir: Path
    drain_grace_s: float = 0.0
    code: str = ""
    version: str = ""
    attached: bool = False
    inherits: bool = False  #: started with a template that is a fork of the calling program
    runner_tasks_max: int = 10_000
    runner_bytes_max: int = 0
    imports_max: int = 2
    templates_bytes_max: int = 0
    reuse_code: bool = False
    import_timeout_s: float = 600.0
    packages_dir: Path = Path()  #: see ``flow_worker.process.packages``


def worker_config(
    settings: AgentSettings,
    uid: WorkerUid,
    predecessors: list[WorkerUid],
    *,
    adopted: bool = False,
) -> WorkerConfig:
    """Add what belongs to one start of the agent and to this machine."""
    host = socket.gethostname()
    return WorkerConfig(
        uid=uid,
        name=settings.name,
        host=host,
        host_key=_host_key(host),
        boot_id=_first_line("/proc/sys/kernel/random/boot_id"),
        folder=sendable(os.getcwd()),
        pid=os.getpid(),
        python=platform.python_version(),
        code=settings.code,
        version=settings.version,
        slots=settings.slots,
        planners=settings.planners,
        capacity=settings.capacity,
        predecessors=predecessors,
        attached=settings.attached,
        inherits=settings.inherits,
        adopted=adopted,
        drain_grace_s=settings.drain_grace_s,
        runner_tasks_max=settings.runner_tasks_max,
        runner_bytes_max=settings.runner_bytes_max,
        imports_max=settings.imports_max,
        templates_bytes_max=settings.templates_bytes_max,
        reuse_code=settings.reuse_code,
        import_timeout_s=settings.import_timeout_s,
    )


def _host_key(host: str) -> str:
    """Name this machine for good; empty where that cannot be done safely.

    A boot id that changes under one key frees every lease of that machine, so two machines must
    never share a key: images are cloned with their machine-id, and then differ in their name.
    """
    machine = _first_line("/etc/machine-id")
    return f"{machine}/{host}" if machine and host not in ("", "localhost") else ""


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""
