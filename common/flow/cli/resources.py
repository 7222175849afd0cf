"""``flow resources``: cluster-wide limits, what workers have, and what of it is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from flow.cli.asking import common, connected, show_changed
from flow.client.summary import plural
from flow.wire.resources import parse_amount, said_amount

if TYPE_CHECKING:
    from flow.wire.messages.client import WorkerRow

HEAD = ("RESOURCE", "USED", "LIMIT", "WAITING", "")


@click.group("resources", invoke_without_command=True)
@common
@click.pass_context
def command(ctx: click.Context, coordinator: str | None, as_json: bool) -> None:
    """List the limits of the cluster and what workers have; or set a limit."""
    if ctx.invoked_subcommand is None:
        _list(coordinator, as_json)
    elif coordinator or as_json:
        raise click.UsageError(f"options go behind {ctx.invoked_subcommand}")


@command.command("list")
@common
def list_(coordinator: str | None, as_json: bool) -> None:
    """List the resources."""
    _list(coordinator, as_json)


@command.command("set")
@click.argument("name")
@click.argument("limit")
@common
def set_(name: str, limit: str, coordinator: str | None, as_json: bool) -> None:
    """Set the limit of NAME, now and for later starts. What holds it already keeps it."""
    from flow.wire.messages.client import Changed, SetResource

    amount = parse_amount(name, limit)
    with connected(coordinator) as client:
        changed = client.ask(SetResource(0, name, amount), Changed)
    show_changed(changed, as_json=as_json)


def _list(coordinator: str | None, as_json: bool) -> None:
    from flow.client.output import plain, print_json, print_table

    with connected(coordinator) as client:
        limits, workers = client.resources(), client.workers()
    held = _of_workers(workers)
    if as_json:
        print_json([*(plain(each) | {"workers": 0} for each in limits), *held])
        return
    rows: list[tuple[object, ...]] = [
        (
            each.name,
            said_amount(each.used),
            said_amount(each.limit),
            each.waiting,
            "" if each.declared else "not declared: 1 at a time",
        )
        for each in limits
    ]
    for one in held:
        count = plural(one["workers"], "worker")
        used, limit = said_amount(one["used"]), said_amount(one["limit"])
        rows.append((one["name"], used, limit, "", f"of {count}"))
    if rows:
        print_table(HEAD, rows)
    if not limits:
        print("No limit is set or in use:  flow resources set NAME LIMIT")


def _of_workers(workers: list[WorkerRow]) -> list[dict[str, Any]]:
    """Sum up what workers have, by name."""
    sums: dict[str, list[float]] = {}
    for worker in workers:
        for name, (used, most) in worker.capacity.items():
            one = sums.setdefault(name, [0.0, 0.0, 0])
            one[0], one[1], one[2] = one[0] + used, one[1] + most, one[2] + 1
    return [
        {"name": name, "used": used, "limit": most, "workers": int(count)}
        for name, (used, most, count) in sorted(sums.items())
    ]
