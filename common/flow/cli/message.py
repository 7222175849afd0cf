"""``flow message``: say something to a running task, and hear what it replies."""

from __future__ import annotations

import click

from flow.cli.asking import common, connected
from flow.settings.taskline import duration_s


def _seconds(_ctx: click.Context, _param: click.Parameter, text: str) -> float:
    try:
        return duration_s(text)
    except ValueError as e:
        raise click.BadParameter(f"{text!r} {e}") from None


@click.command("message")
@click.argument("task")
@click.argument("text")
@click.option(
    "--wait",
    default="0",
    callback=_seconds,
    metavar="TIME",
    help="Wait this long for the reply, and print it: 30s, 5m.",
)
@click.option("--run", default="", help="The task as seen by this run.")
@common
def command(
    task: str, text: str, wait: float, run: str, coordinator: str | None, as_json: bool
) -> None:
    """Put TEXT into the message queue of TASK (its id, or an unambiguous piece), which runs now.

    Its class needs accepts_messages = True; run() reads self.scheduler_messages. One attempt gets
    it, once. Exit codes: 0 delivered (with --wait: and replied to), 2 no such task or it does not
    accept messages, 25 nobody hears it (not running, or ended), 61 its queue is full, 124 no reply
    came in time.
    """
    from flow.client.output import print_json, say
    from flow.visible import printable

    with connected(coordinator) as client:
        found, reply = client.send_message(task, text, run=run, wait_s=wait)
    if as_json:
        told = {"task": found.task, "task_id": found.task_id, "attempt": found.attempt}
        print_json({**told, "worker": found.worker, "delivered": True, "reply": reply})
        return
    say(f"{found.task} got it (attempt {found.attempt} on {found.worker})")
    if reply is not None:
        print(printable(reply))
