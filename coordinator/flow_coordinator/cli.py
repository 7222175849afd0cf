"""``flow-coordinator``: read settings, recover, serve."""

from __future__ import annotations

import contextlib
import time

import click

from flow.errors import StoreFull
from flow.guarded import served
from flow.stdio import make_writable


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--bind", metavar="ADDR", help="Where to listen. [tcp://127.0.0.1:5570]")
@click.option("--state-dir", metavar="DIR", help="Where the state database lives.")
@click.option(
    "--lease-profile",
    type=click.Choice(["default", "fast", "hpc"]),
    help="Timing of leases: how soon a lost worker's tasks run elsewhere.",
)
@click.option("--insecure", is_flag=True, help="Listen beyond this host without keys.")
@click.option("--force", is_flag=True, help="Use a state directory on a network file system.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))
@click.option("--parent-fd", type=int, default=-1, hidden=True)
@click.option("--terminal", is_flag=True, hidden=True)
def coordinate(
    bind: str | None,
    state_dir: str | None,
    lease_profile: str | None,
    insecure: bool,
    force: bool,
    log_level: str | None,
    parent_fd: int,
    terminal: bool,
) -> int:
    """Resolve dependencies, grant leases, dispatch tasks to workers.

    Start one, then flow-worker on each node; give tasks with flow submit.
    """
    flags: dict[str, object] = {
        "coordinator.bind": bind,
        "coordinator.state_dir": state_dir,
        "coordinator.lease_profile": lease_profile,
    }
    try:
        return serve(flags, insecure, force, log_level or "info", parent_fd, terminal)
    except StoreFull as error:  # who runs waits for room; who starts does not
        error.hint = "free some, or set --state-dir (of flow run: or TMPDIR) to where there is"
        raise


def serve(
    flags: dict[str, object],
    insecure: bool,
    force: bool,
    log_level: str,
    parent_fd: int,
    terminal: bool = False,
) -> int:
    """Run until stopped; return the exit code. Raises ``FlowError``.

    ``terminal``: somebody watches the one run that this is for, and needs no mail about it.
    """
    from random import Random

    from flow.logs import Log
    from flow.settings import sections as settings_module
    from flow.wire.transport import Router
    from flow_coordinator.notify import notifier
    from flow_coordinator.shell.loop import Loop
    from flow_coordinator.shell.packages import PackageFiles
    from flow_coordinator.shell.recovery import restore
    from flow_coordinator.shell.settings import core_config
    from flow_coordinator.store.sqlite import open_store

    settings = settings_module.load(flags)
    config = core_config(settings)
    log = Log(log_level)
    with contextlib.ExitStack() as undo:
        state_dir = settings.prepare_state_path()
        store = open_store(state_dir, force=force)
        undo.callback(store.close)
        packages = PackageFiles(state_dir)
        # before the epoch is raised: who cannot serve leaves no mark
        router = Router(settings.coordinator.bind, insecure=insecure)
        undo.callback(router.close)
        started = time.monotonic()
        ended = store.runs_ended(config.ended_runs_max)
        kept = packages.listing()
        clocks = time.monotonic(), time.time()
        core = restore(store.load(), ended, config, Random(), *clocks, kept)
        undo.pop_all()
    state = core.state
    log.say(
        "info",
        "coordinator ready",
        address=router.address,
        epoch=state.epoch,
        state=settings.state_path(),
        runs=len(state.runs),
        leases=len(state.leases),
        recovery_s=round(time.monotonic() - started, 3),
    )
    loop = Loop(
        core,
        store,
        router,
        log,
        history_runs_max=settings.coordinator.history_runs_max,
        parent_fd=parent_fd,
        notifier=notifier(settings, log, terminal=terminal, hints=parent_fd < 0),
        packages=packages,
    )
    return loop.run()


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    make_writable()
    return served(coordinate, argv, "flow-coordinator")
