"""``flow status``: the runs, one run, or one task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flow.cli.asking import common, connected

if TYPE_CHECKING:
    from flow.client.client import Client
    from flow.wire.messages.client import RunRow, Runs, RunShown, WhyAnswer

#: Width of a task's progress.
BAR_CHARACTERS = 20
HEAD = ("RUN", "NAME", "ROOT", "STATE", "DONE", "FAILED", "RUNNING", "ELAPSED", "BY")


@click.command("status")
@click.argument("run", required=False, metavar="[RUN|TASK]")
@click.option("--limit", default=20, show_default=True, help="How many runs at most.")
@click.option("--follow", "-f", is_flag=True, help="Follow RUN to its end, as flow submit does.")
@common
def command(
    run: str | None, limit: int, follow: bool, coordinator: str | None, as_json: bool
) -> None:
    """Show runs, newest first; or one RUN: its id, its name, a piece of them, or "last"; or one
    TASK: its id, or "Family(n=1)": where it is, and what it says about its progress."""
    from flow.client.output import print_json
    from flow.wire.messages.client import ListRuns, Runs, RunShown, ShowRun

    with connected(coordinator) as client:
        if follow:
            shown = client.ask(ShowRun(0, run or "last"), RunShown)
            _follow(client, shown.summary.run, shown.summary.name, as_json)
        elif run:
            found = _find(client, run)
            if isinstance(found, RunShown):
                print_json(found) if as_json else _show_run(found)
            else:
                print_json(found) if as_json else _show_task(found)
        else:
            runs = client.ask(ListRuns(0, limit), Runs)
            print_json(runs) if as_json else _show_runs(runs)


def _find(client: Client, piece: str) -> RunShown | WhyAnswer:
    """Ask for a run; where there is none, or a task is written out, for a task."""
    from flow.errors import UsageError
    from flow.wire.messages.client import RunShown, ShowRun, Why, WhyShown

    def run() -> RunShown:
        return client.ask(ShowRun(0, piece), RunShown)

    def task() -> WhyAnswer:
        return client.ask(Why(0, piece), WhyShown).answer

    first, second = (task, run) if "(" in piece or "=" in piece else (run, task)
    try:
        return first()
    except UsageError as e:
        if "may be any of" in str(e) and first is run:
            raise  # several runs are meant
        try:
            return second()
        except UsageError:
            raise e from None


def _show_task(answer: WhyAnswer) -> None:
    """Print one task: where it is and what it says; not what led to that (``flow why``)."""
    from flow.client.summary import duration
    from flow.visible import printable

    lines = [f"{answer.task}   {answer.state.upper()} for {duration(answer.since_s)}"]
    if answer.progress >= 0:
        filled = round(answer.progress / 100 * BAR_CHARACTERS)
        bar = "█" * filled + "░" * (BAR_CHARACTERS - filled)
        lines.append(f"  {bar}  {answer.progress:.4g} %")
    lines += [f"  {each}" for each in (answer.status.splitlines() if answer.status else ())]
    lines += [f"  {answer.tracking_url}"] if answer.tracking_url else []
    lines += [f"  {name} = {text}" for name, text in answer.statistics.items()]
    wanted = ("worker", "program", "code", "attempt", "error", "last failure", "runs", "run")
    lines += [f"  {label}: {text.splitlines()[0]}" for label, text in answer.lines
              if label in wanted and text]  # fmt: skip
    lines.append(f"  More:  flow why '{answer.task_id or answer.task}'")
    print(printable("\n".join(lines)))


def _follow(client: Client, run: str, name: str, as_json: bool) -> None:
    """Show a run as the command that submitted it did, and end with the same exit code."""
    from flow.cli.submit import watch
    from flow.client.views import choose

    view = choose(json=as_json, quiet=False, color=True, hints=True)
    code = watch(client, run, name, view, {"json": as_json})
    if code:
        raise click.exceptions.Exit(code)


def _show_runs(runs: Runs) -> None:
    from flow.client.output import print_table
    from flow.client.summary import plural

    if runs.runs:
        print_table(HEAD, [_row(each) for each in runs.runs])
    else:
        print("No runs yet:  flow submit MODULE TASK")
    print(f"{plural(runs.workers, 'worker')}, {runs.busy}/{runs.slots} slots busy")
    for note in runs.notes:
        print(note)


def _row(row: RunRow) -> tuple[object, ...]:
    from flow.client.summary import duration

    state = "PLANNING" if row.planning and row.state == "running" else row.state.upper()
    done = f"{row.done}/{row.total}"
    elapsed = duration(row.elapsed_s)
    return (row.run, row.name, row.root, state, done, row.failed, row.running, elapsed, row.by)


def _show_run(shown: RunShown) -> None:
    """Print failures, then how far each family is or the summary of an ended run."""
    from flow.client.board import DONE, FAILED, RUNNING, failure_lines, note_line
    from flow.client.output import print_table
    from flow.client.summary import duration, render

    for failure in shown.failures:
        print("\n".join(failure_lines(failure)))
    summary = shown.summary
    if summary.state != "running":
        print(render(summary, full=True))
        return
    print(f"{summary.run}  {summary.name}  {summary.root}")
    print(f"{summary.state.upper()} for {duration(summary.elapsed_s)}")
    for note in summary.notes:
        print(note_line(note))
    if not shown.families:
        return

    def sums(counts: dict[str, int], labels: tuple[str, ...]) -> int:
        return sum(counts.get(label, 0) for label in labels)

    rows = [
        (
            each.family,
            sum(each.counts.values()),
            sums(each.counts, ("complete",)),
            sums(each.counts, DONE),
            sums(each.counts, RUNNING),
            sums(each.counts, FAILED),
        )
        for each in shown.families
    ]
    print_table(("FAMILY", "TASKS", "COMPLETE", "DONE", "RUNNING", "FAILED"), rows)
