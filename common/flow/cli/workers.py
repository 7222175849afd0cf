"""``flow workers``: who works, and an operator's word to one of them."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from flow.cli.asking import common, connected, show_changed
from flow.wire.resources import said_amount, said_bytes

if TYPE_CHECKING:
    from flow.wire.messages.client import WorkerRow

HEAD = (
    "WORKER", "HOST", "STATE", "SLOTS", "CPU", "MEMORY", "RESOURCES", "SINCE", "SILENT", "TASKS",
)  # fmt: skip
#: Of a worker's uid, shown where several have one name; any beginning names it in commands.
UID_CHARS = 6
#: Capacities with columns of their own.
DETECTED = ("cpu", "memory")
#: Tasks shown in one line.
TASKS_MAX = 3


@click.group("workers", invoke_without_command=True)
@common
@click.pass_context
def command(ctx: click.Context, coordinator: str | None, as_json: bool) -> None:
    """List the workers; or tell one something (see the commands below)."""
    if ctx.invoked_subcommand is None:
        _list(coordinator, as_json)
    elif coordinator or as_json:
        raise click.UsageError(f"options go behind {ctx.invoked_subcommand}")


@command.command("list")
@common
def list_(coordinator: str | None, as_json: bool) -> None:
    """List the workers."""
    _list(coordinator, as_json)


@command.command("drain")
@click.argument("worker")
@common
def drain(worker: str, coordinator: str | None, as_json: bool) -> None:
    """Let WORKER finish what it runs, take nothing new, and end."""
    _tell(worker, "drain", coordinator, as_json)


@command.command("declare-dead")
@click.argument("worker")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@common
def declare_dead(worker: str, yes: bool, coordinator: str | None, as_json: bool) -> None:
    """Give WORKER's tasks to others at once. You vouch that its processes are dead: if they are
    not, tasks run twice."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("declare-dead needs --yes where nobody can be asked")
        click.confirm(f"Are all processes of {worker} certainly dead?", abort=True, err=True)
    _tell(worker, "declare-dead", coordinator, as_json)


def _tell(worker: str, what: str, coordinator: str | None, as_json: bool) -> None:
    from flow.wire.messages.client import Changed, WorkerCommand

    with connected(coordinator) as client:
        changed = client.ask(WorkerCommand(0, worker, what), Changed)
    show_changed(changed, as_json=as_json)


def _list(coordinator: str | None, as_json: bool) -> None:
    from flow.client.output import print_json, print_table
    from flow.client.summary import duration

    with connected(coordinator) as client:
        workers = client.workers()
    if as_json:
        print_json(workers)
        return
    if not workers:
        print("No workers:  flow-worker --coordinator ADDR")
        return
    rows = []
    names = Counter(each.name for each in workers)
    for each in workers:
        tasks = [f"{task} {duration(since)}" for task, since in each.tasks[:TASKS_MAX]]
        more = "" if len(each.tasks) <= TASKS_MAX else ", …"
        rows.append(
            (
                each.name if names[each.name] == 1 else f"{each.name} {each.uid[:UID_CHARS]}",
                each.host,
                each.state,
                f"{each.busy}/{each.slots}",
                f"{each.cpu:.0%}",
                _memory(each),
                _resources(each),
                duration(each.since_s),
                f"{each.heartbeat_age_s:.0f}s",
                ", ".join(tasks) + more,
            )
        )
    print_table(HEAD, rows, [_wrong(each) for each in workers])


def _wrong(worker: WorkerRow) -> list[str]:
    """Say which runs get nothing from a worker, and why: a line each."""
    return [
        f"{each.run}: {each.text or 'it has other code than its run was planned with'}"
        for each in worker.programs
        if each.state == "failed" or each.differs
    ]


def _memory(worker: WorkerRow) -> str:
    """How much its processes have, of how much there is."""
    used = said_bytes(worker.memory_bytes)
    _, most = worker.capacity.get("memory", (0.0, 0.0))
    return f"{used} / {said_bytes(most)}" if most else used


def _resources(worker: WorkerRow) -> str:
    capacity = worker.capacity
    told = [
        f"{name} {said_amount(used)}/{said_amount(most)}"
        for name, (used, most) in capacity.items()
        if name not in DETECTED
    ]
    return ", ".join(told) or "-"
