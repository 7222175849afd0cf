"""``flow retry``: failed tasks again, now."""

from __future__ import annotations

import click

from flow.cli.asking import common, connected, show_changed


@click.command("retry")
@click.argument("targets", nargs=-1, required=True, metavar="RUN|TASK...")
@common
def command(targets: tuple[str, ...], coordinator: str | None, as_json: bool) -> None:
    """Run the failed tasks of RUN, or one TASK, again now; forgives back-off and counts."""
    from flow.wire.messages.client import Changed, Retry

    with connected(coordinator) as client:
        for target in targets:
            show_changed(client.ask(Retry(0, target), Changed), as_json=as_json)
