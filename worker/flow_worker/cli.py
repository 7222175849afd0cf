"""``flow-worker``: read the command line, then become the supervisor of an agent."""

from __future__ import annotations

import math
import os
import resource
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flow.errors import ConfigError, FlowError, UsageError
from flow.guarded import report, served
from flow.stdio import make_writable

if TYPE_CHECKING:
    from flow.settings.sections import Settings
    from flow_worker.shell.settings import AgentSettings

#: Planner processes unless set: planning is mostly waiting for file systems.
PLANNERS_DEFAULT_MAX = 2
#: Of the memory that this worker may use, for templates (rule R3).
TEMPLATES_MEMORY_SHARE = 0.25
#: More is a typing error: every slot is a process.
SLOTS_MAX = 10_000
#: Open files of the agent besides a socket for each task process: libzmq's, and templates'.
DESCRIPTORS_OWN = 24
GRACE_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    make_writable()
    return served(_command, argv, "flow-worker")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--coordinator", metavar="ADDR", help="tcp://HOST:PORT or ipc:///PATH.")
@click.option(
    "--slots", type=click.IntRange(1, SLOTS_MAX), help="Tasks at a time [default: CPUs here]."
)
@click.option("--resources", metavar="gpu=1,db=2", help="What this worker has besides slots.")
@click.option(
    "--path",
    "paths",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    help="Folder to import task modules from; may be repeated.",
)
@click.option("--name", help="How people call this worker [default: the host's name].")
@click.option(
    "--planners", type=click.IntRange(1, SLOTS_MAX), help="Planner processes [default: 1 or 2]."
)
@click.option(
    "--drain-grace", metavar="TIME", help="At SIGTERM, how long running tasks may go on: 90, 50m."
)
@click.option("--log-dir", type=click.Path(file_okay=False), help="Where tasks' output goes.")
@click.option("--attach", type=int, default=-1, hidden=True)
@click.option("--parent-fd", type=int, default=-1, hidden=True)
@click.option("--template", metavar="LINE:SOCKET", default="", hidden=True)
def _command(
    coordinator: str | None,
    slots: int | None,
    resources: str | None,
    paths: tuple[str, ...],
    name: str | None,
    planners: int | None,
    drain_grace: str | None,
    log_dir: str | None,
    attach: int,
    parent_fd: int,
    template: str,
) -> int:
    """Run tasks of a coordinator on this machine.

    The first SIGTERM or Ctrl-C drains: running tasks finish, nothing new starts. The second kills
    what runs and reports it.
    """
    from flow.parameters import defaults
    from flow.settings.sections import load
    from flow.usercode import tasklogs
    from flow.wire.resources import parse_pairs

    if attach < 0:
        from flow_worker.guard import marker

        marker.ensure_marked()
    own = parse_pairs(resources) if resources is not None else None
    flags = {
        "core.coordinator": coordinator,
        "worker.slots": slots if attach < 0 else 1,
        "worker.path": list(paths) or None,
        "worker.name": name,
        "worker.planners": planners,
        "worker.drain_grace_s": _seconds(drain_grace) if drain_grace is not None else None,
        "worker.log_dir": log_dir,
    }
    settings = load(flags)
    # Read once here, not again in every task process; what is wrong is told before there is one.
    tasklogs.check(defaults.settings().logs)
    agent = _agent_settings(settings, own, attach >= 0, bool(template))
    for folder in reversed(settings.worker.path):
        sys.path.insert(0, os.path.abspath(folder))
    if attach >= 0:
        from flow_worker.shell.loop import run_attached

        return run_attached(agent, attach, parent_fd)
    return _supervise(agent, parent_fd, tuple(int(fd) for fd in template.split(":") if fd))


def _supervise(agent: AgentSettings, parent_fd: int, template: tuple[int, ...]) -> int:
    from flow.wire.ids import WorkerUid
    from flow_worker.guard import supervisor
    from flow_worker.shell.nursery import Nursery

    wanted = agent.slots + agent.planners + DESCRIPTORS_OWN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise ConfigError(
            f"{agent.slots} tasks at a time need {wanted} open files, and {hard} are allowed",
            hint=f"ulimit -n {wanted}, or fewer --slots (of flow run: --workers)",
        )

    def run_agent(nursery: Nursery, predecessors: list[WorkerUid]) -> int:
        if soft != resource.RLIM_INFINITY and wanted > soft:  # tasks keep the limit that they had
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        # Imported here: libzmq must never be in the process that forks.
        from flow_worker.shell import loop

        # A supervisor restarts an agent that dies; one that may not start says so, with its code.
        try:
            return loop.run_agent(agent, nursery, predecessors)
        except FlowError as error:
            return report(error)

    return supervisor.supervise(
        run_agent,
        supervisor.GuardSettings(log_dir=agent.log_dir, parent_fd=parent_fd, template=template),
    )


def _agent_settings(
    settings: Settings, own: dict[str, float] | None, attached: bool, inherits: bool
) -> AgentSettings:
    from importlib import metadata

    from flow_worker import capacity
    from flow_worker.process import shelf
    from flow_worker.shell.settings import AgentSettings

    worker = settings.worker
    cpus = capacity.cpus()
    slots = worker.slots or max(1, math.floor(cpus))
    chosen = settings.source("worker.planners") != "the default"
    detected = {"cpu": cpus, "memory": float(capacity.memory_bytes())}
    found = {name: amount for name, amount in detected.items() if amount > 0}
    name = worker.name or socket.gethostname()
    return AgentSettings(
        coordinator=settings.core.coordinator,
        name=name,
        slots=slots,
        planners=worker.planners if chosen else min(PLANNERS_DEFAULT_MAX, slots),
        capacity={**found, **(worker.resources if own is None else own)},
        log_dir=Path(worker.log_dir) if worker.log_dir else _default_log_dir(name),
        drain_grace_s=worker.drain_grace_s,
        code=os.environ.get("FLOW_CODE_ID", ""),
        version=metadata.version("flow-workflows"),
        attached=attached,
        inherits=inherits,
        runner_tasks_max=worker.runner_tasks_max,
        runner_bytes_max=worker.runner_memory_max,
        imports_max=max(2, math.ceil(cpus)),
        templates_bytes_max=int(detected["memory"] * TEMPLATES_MEMORY_SHARE),
        reuse_code=worker.reuse == "code",
        import_timeout_s=worker.import_timeout_s,
        packages_dir=shelf.folder("packages"),
    )


def _default_log_dir(name: str) -> Path:
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local/state")
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    return Path(home) / "flow" / "attempts" / safe


def _seconds(text: str) -> float:
    """Read ``90``, ``90s``, ``50m``, ``2h``. Raises ``UsageError``."""
    unit = GRACE_UNITS_S.get(text[-1:])
    try:
        seconds = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise UsageError(f"{text!r} is not a time", hint="write 90, 90s, 50m or 2h")
    return seconds
