"""``flow tasks``: a flat table of tasks."""

from __future__ import annotations

import click

from flow.cli.asking import common, connected

HEAD = ("TASK", "STATE", "WORKER", "ATTEMPT", "SINCE", "REASON")


@click.command("tasks")
@click.argument("match", default="")
@click.option("--run", default="", help="Only tasks of this run.")
@click.option("--state", default="", help="Only these states, with commas: failed,running.")
@click.option("--limit", default=100, show_default=True, help="How many at most.")
@common
def command(
    match: str, run: str, state: str, limit: int, coordinator: str | None, as_json: bool
) -> None:
    """List tasks whose id or display contains MATCH."""
    from flow.client.output import print_json, print_table
    from flow.client.summary import duration
    from flow.wire.messages.client import ListTasks, Tasks

    states = [each.strip() for each in state.split(",") if each.strip()]
    with connected(coordinator) as client:
        found = client.ask(ListTasks(0, match, run, states, limit), Tasks)
    if as_json:
        print_json(found)
        return
    rows = [
        (row.task, row.state, row.worker, row.attempt or "", duration(row.since_s), row.reason)
        for row in found.tasks
    ]
    print_table(HEAD, rows)
    if found.more:
        print(f"and {found.more} more:  --limit {limit + found.more}")
