"""``flow cancel``: stop runs or tasks."""

from __future__ import annotations

import sys

import click

from flow.cli.asking import common, connected, show_changed
from flow.settings.taskline import duration_s


def _seconds(_ctx: click.Context, _param: click.Parameter, text: str) -> float:
    try:
        return duration_s(text)
    except ValueError as e:
        raise click.BadParameter(f"{text!r} {e}") from None


@click.command("cancel")
@click.argument("targets", nargs=-1, required=True, metavar="RUN|TASK...")
@click.option("--reason", default="", help="Kept with the run, and shown.")
@click.option(
    "--grace",
    default="0",
    callback=_seconds,
    metavar="TIME",
    help="SIGTERM first, this long before the kill.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@common
def command(
    targets: tuple[str, ...],
    reason: str,
    grace: float,
    yes: bool,
    coordinator: str | None,
    as_json: bool,
) -> None:
    """Cancel runs or tasks: ids, names, or unambiguous pieces. What runs is killed, unless
    another run needs it."""
    from flow.wire.messages.client import Cancel, Changed

    if not yes and sys.stdin.isatty() and not as_json:
        click.confirm(f"cancel {', '.join(targets)}?", abort=True, err=True)
    with connected(coordinator) as client:
        for target in targets:
            changed = client.ask(Cancel(0, target, reason, grace), Changed)
            show_changed(changed, as_json=as_json)
