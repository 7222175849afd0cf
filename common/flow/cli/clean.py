"""``flow clean``: remove what tasks have made, after showing it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from flow.client.options import describe, spell_given
from flow.errors import ExitCode, FlowError, SchedulingError, UsageError
from flow.settings.taskline import Option, TaskLine, parse

if TYPE_CHECKING:
    from flow.artifacts.cleaning import Removal, RemovalPlan
    from flow.task import Task

HELP = """\
Remove the artifacts of TASK of MODULE, so that it runs again. What would go is shown first; nothing
outside of what the outputs of the tasks name is touched. Everything spelled --x-y VALUE that is no
option below is the parameter x_y of TASK.

A task of an unfinished run is left alone: the coordinator of the settings and the flow run of this
user on this host are asked. What other coordinators run, nobody here can know."""

EXIT_CODES = """\
Exit codes:
    0  it is gone, or there was nothing
    2  wrong usage, unknown task, bad parameter
   10  an unfinished run has one of the tasks
   35  requires(), output() or the import raised
   40  something could not be removed"""

#: Lines of a plan shown to a person.
SHOWN_MAX = 40


def _depth(text: str) -> int | None:
    if text == "all":
        return None
    depth = int(text)
    if depth < 0:
        raise ValueError("must be at least 0")
    return depth


OPTIONS = (
    Option(("--depth",), "levels of requirements to clean too, or: all (default 0)", _depth, "N"),
    Option(("--stale",), "instead: what other versions of TASK have left; no parameters needed"),
    Option(("--all-outputs",), "other targets too, where they can be removed"),
    Option(("--yes", "-y"), "do not ask"),
    Option(("--dry-run",), "only show what would go"),
    Option(("--coordinator",), "who may be running the tasks; none: do not ask", str, "ADDR"),
    Option(("--json",), "one JSON value on stdout; removes only with --yes"),
)


def main(argv: list[str]) -> int:
    """Clean what the command line says; return the exit code."""
    line = parse(argv, OPTIONS)
    if line.help:
        usage = "flow clean [OPTIONS] MODULE TASK [--param VALUE ...]"
        print(describe(usage, HELP, OPTIONS, EXIT_CODES))
        return int(ExitCode.OK)
    if not line.family:
        raise UsageError("no MODULE and TASK given", hint="flow clean MODULE TASK")
    plan = _plan(line)
    as_json = line.options.get("json", False)
    sure = line.options.get("yes", False)
    only_shown = line.options.get("dry_run", False) or (as_json and not sure)
    if plan.removals and not only_shown:
        from flow.cli.inuse import refuse_used

        refuse_used(plan.removals, line.options.get("coordinator"))
    if not as_json:
        _show(plan, line)
    if only_shown or not plan.removals or not (sure or _confirmed(plan)):
        return _report(plan, [], [], as_json=as_json)
    removed, failed = _remove(plan)
    return _report(plan, removed, failed, as_json=as_json)


def _plan(line: TaskLine) -> RemovalPlan:
    from flow.artifacts import cleaning
    from flow.local.listing import add_path
    from flow.modules.blame import describe as said
    from flow.modules.blame import own_frame
    from flow.modules.loading import load_task, load_task_class
    from flow.parameters import given

    add_path()
    given.use(spell_given(line.qualified))
    if line.options.get("stale"):
        return cleaning.plan_stale(_flow_class(load_task_class(line.module, line.family)))
    root = load_task(line.module, line.family, line.root)
    _flow_class(type(root))
    try:
        tasks = cleaning.walk(root, line.options.get("depth", 0))
        return cleaning.plan(tasks, all_outputs=line.options.get("all_outputs", False))
    except FlowError:
        raise
    except Exception as error:  # requires() and output() are user code
        where = own_frame(error)
        raise SchedulingError(
            f"the outputs of {line.family} cannot be told: {said(error)}",
            hint=f"it was raised in {where}" if where else "",
        ) from error


def _flow_class(cls: Any) -> type[Task]:
    from flow.task import Task

    if not issubclass(cls, Task):
        raise UsageError(
            f"{cls.__name__} is a task of another library, which names its own outputs",
            hint="remove them with its means",
        )
    found: type[Task] = cls
    return found


def _show(plan: RemovalPlan, line: TaskLine) -> None:
    from flow.client.output import say
    from flow.visible import printable

    if not plan.removals:
        say(f"Nothing to remove of {line.family}.")
    else:
        say(f"To remove, {_count(plan.removals)}:")
    for removal in plan.removals[:SHOWN_MAX]:
        say(printable(f"  {removal.path}   {removal.task}"))
    if len(plan.removals) > SHOWN_MAX:
        say(f"  and {len(plan.removals) - SHOWN_MAX} more (--json lists all)")
    for kept in plan.kept[:SHOWN_MAX]:
        say(printable(f"  stays: {kept.path}   {kept.task}: {kept.why}"))
    if len(plan.kept) > SHOWN_MAX:
        say(f"  and {len(plan.kept) - SHOWN_MAX} more stay")


def _count(removals: list[Removal]) -> str:
    from flow.client.summary import plural

    return plural(len(removals), "output" if removals[0].task_id else "folder")


def _confirmed(plan: RemovalPlan) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to ask whether to remove them", hint="add --yes")
    print(f"Remove {_count(plan.removals)}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _remove(plan: RemovalPlan) -> tuple[list[str], list[str]]:
    """Remove in order; return the paths that went and the errors of the others."""
    from flow.modules.blame import describe as said

    removed, failed = [], []
    for removal in plan.removals:
        try:
            removal.remove()
        except Exception as error:  # remove() may be a user's, and stores have errors of their own
            failed.append(f"{removal.path}: {said(error)}")
        else:
            removed.append(removal.path)
    return removed, failed


def _report(plan: RemovalPlan, removed: list[str], failed: list[str], *, as_json: bool) -> int:
    from flow.client.output import print_json, say
    from flow.visible import printable

    if as_json:
        found = [{"task": each.task, "path": each.path} for each in plan.removals]
        kept = [each._asdict() for each in plan.kept]
        print_json({"found": found, "removed": removed, "failed": failed, "kept": kept})
    elif removed:
        say(f"Removed {len(removed)}.")
    if failed and not as_json:
        for each in failed:
            say(printable(f"could not remove {each}"))
    return int(ExitCode.INTERNAL if failed else ExitCode.OK)
