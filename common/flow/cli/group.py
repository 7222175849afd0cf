"""The tree of click commands, each loaded when it is used."""

from __future__ import annotations

import importlib

import click

from flow.errors import ExitCode, UsageError
from flow.guarded import report

#: Command: (file in this folder, one line of help). The order of ``flow --help``.
COMMANDS = {
    "run": ("run", "Run a task here, with no server."),
    "submit": ("submit", "Run a task on the workers of a coordinator."),
    "graph": ("graph", "Show what requires what, in a run or below a task."),
    "status": ("status", "Show runs, one run, or one task."),
    "tasks": ("tasks", "List tasks."),
    "why": ("why", "Say why a task is in its state, and what to do."),
    "message": ("message", "Say something to a running task."),
    "cancel": ("cancel", "Cancel runs or tasks."),
    "retry": ("retry", "Run failed tasks again, now."),
    "clean": ("clean", "Remove what tasks have made, so that they run again."),
    "workers": ("workers", "Show workers, drain one, or declare one dead."),
    "resources": ("resources", "Show resource limits, or set one."),
}
ALIASES = {"worker": "workers"}
#: These read their own command line.
MIXED = ("run", "submit", "clean", "graph")


class LazyGroup(click.Group):
    """Knows the commands by name; imports one when it is needed, not to list them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        file, help_text = COMMANDS[name]
        if name in MIXED:
            return click.Command(name, help=help_text)
        found = importlib.import_module(f"flow.cli.{file}").command
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, help_text) for name, (_, help_text) in COMMANDS.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.version_option(package_name="flow-workflows", prog_name="flow")
@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def flow() -> None:
    """Luigi-style pipelines on a laptop and across many hosts.

    flow COMMAND --help tells more of each command.
    """


def _near(words: list[str], error: click.UsageError) -> str:
    """Name the command that somebody may have meant; nothing is ever guessed and done."""
    if not words or not error.message.startswith("No such command"):
        return ""
    import difflib

    likely = difflib.get_close_matches(words[0], [*COMMANDS, *ALIASES], n=1)
    return f" Did you mean {likely[0]}?" if likely else ""


def invoke(words: list[str]) -> int:
    """Run a click command line. Errors of usage are printed with the next thing to type."""
    try:
        result = flow.main(words or ["--help"], prog_name="flow", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as e:
        click.echo(e.format_message())
        return int(ExitCode.USAGE)
    except click.UsageError as e:
        path = e.ctx.command_path if e.ctx else "flow"
        wrong = UsageError(e.format_message() + _near(words, e), hint=f"{path} --help")
        return report(wrong, json="--json" in words)
    except click.Abort:
        return int(ExitCode.INTERRUPTED)
    return result if isinstance(result, int) else 0
