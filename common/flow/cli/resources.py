"""``flow resources``: cluster-wide limits and their use."""

from __future__ import annotations

import click

from flow.cli.asking import common, connected, show_changed

HEAD = ("RESOURCE", "USED", "LIMIT", "WAITING", "")


@click.group("resources", invoke_without_command=True)
@common
@click.pass_context
def command(ctx: click.Context, coordinator: str | None, as_json: bool) -> None:
    """List the resources with their limits; or set a limit."""
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
@click.argument("limit", type=click.FloatRange(min=0))
@common
def set_(name: str, limit: float, coordinator: str | None, as_json: bool) -> None:
    """Set the limit of NAME, now and for later starts. What holds it already keeps it."""
    from flow.messages.client import Changed, SetResource

    with connected(coordinator) as client:
        changed = client.ask(SetResource(0, name, limit), Changed)
    show_changed(changed, as_json=as_json)


def _list(coordinator: str | None, as_json: bool) -> None:
    from flow.cli.output import print_json, print_table
    from flow.messages.client import ListResources, Resources

    with connected(coordinator) as client:
        found = client.ask(ListResources(0), Resources).resources
    if as_json:
        print_json(found)
        return
    if not found:
        print("No resources are declared or in use:  flow resources set NAME LIMIT")
        return
    rows = [
        (
            each.name,
            f"{each.used:g}",
            f"{each.limit:g}",
            each.waiting,
            "" if each.declared else "not declared: 1 at a time",
        )
        for each in found
    ]
    print_table(HEAD, rows)
