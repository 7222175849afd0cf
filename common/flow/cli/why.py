"""``flow why``: why a task is in its state, and what to do about it."""

from __future__ import annotations

import click

from flow.cli.asking import common, connected


@click.command("why")
@click.argument("task")
@click.option("--run", default="", help="As seen by this run.")
@common
def command(task: str, run: str, coordinator: str | None, as_json: bool) -> None:
    """Say why TASK (its id, or an unambiguous piece) is in its state."""
    from flow.client.output import print_json
    from flow.client.summary import duration
    from flow.visible import printable
    from flow.wire.messages.client import Why, WhyShown

    with connected(coordinator) as client:
        answer = client.ask(Why(0, task, run), WhyShown).answer
    if as_json:
        print_json(answer)
        return
    lines = [f"{answer.task}   {answer.state.upper()} for {duration(answer.since_s)}"]
    width = max((len(label) for label, _ in answer.lines), default=0)
    for label, text in answer.lines:
        first, *more = text.splitlines() or [""]
        lines.append(f"  {label.ljust(width)}   {first}".rstrip())
        lines += [f"  {'':{width}}   {each}" for each in more]
    if answer.hints:
        lines.append("  To change it:  " + "   or   ".join(answer.hints))
    print(printable("\n".join(lines)))
