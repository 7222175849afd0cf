"""``python pipeline.py TASK``: the command line of ``flow.run()``, flow's options and Luigi's."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from flow.errors import ExitCode, UsageError
from flow.settings.taskline import Option, TaskLine, parse

if TYPE_CHECKING:
    from flow.local.results import RunResult
    from flow.local.work import Work
    from flow.task import Task


def run_command(
    words: list[str],
    main_task_cls: type[Task] | None = None,
    results: list[RunResult] | None = None,
) -> int:
    """Run a command line, with errors as sentences; return the exit code.

    ``results``: gets the result, if it came to a run.
    """
    from flow.client.exitcodes import exit_code
    from flow.guarded import guarded

    def command() -> int:
        result = run_line(words, main_task_cls)
        if results is not None:
            results.append(result)
        return result.retcode

    code = guarded(command, json="--json" in words)
    return exit_code(code, None) if code == ExitCode.INTERNAL else code


def run_line(words: list[str], main_task_cls: type[Task] | None) -> RunResult:
    """Run the task that a command line names. Raises ``FlowError``."""
    from flow.client.exitcodes import exit_code
    from flow.dialects import luigi_options
    from flow.local.execution import execute
    from flow.local.listing import task_text
    from flow.local.results import MAIN, RunResult, search_path
    from flow.local.work import Root, Work

    line = _parsed(words, main_task_cls)
    family = line.family or (main_task_cls.get_task_family() if main_task_cls else "")
    module = line.options.pop("module", "")
    if line.help:
        print(task_text(module, family) if module and family else _help(family))
        raise SystemExit(int(ExitCode.OK))
    if not family:
        raise _no_task(line)
    if not module:
        module = _module_of(family)
    given = luigi_options.sections_given(line.options)
    with luigi_options.obeyed(line.options):
        work = Work(
            [Root(module, family, line.root)],
            line.options,
            path=search_path(),
            here=module == MAIN,
            forks=True,
            qualified={**given, **line.qualified},
        )
        _set_up_logging(work)
        result = RunResult(execute(work))
        result.retcode = exit_code(result.exit_code, result.summary)
    return result


@contextlib.contextmanager
def named_task(words: list[str]) -> Iterator[Any]:
    """Make the task that a command line names, while what it gives to other families holds.

    Raises:
        FlowError: There is no such task, or a parameter does not fit.
    """
    from flow.local.work import told
    from flow.modules.loading import load_task

    line = _parsed(words, None)
    if line.help or not line.family:
        raise UsageError("no task given", hint=_help(line.family))
    with told(line.qualified):
        module = line.options.get("module") or _module_of(line.family)
        yield load_task(module, line.family, line.root)


def _parsed(words: list[str], main_task_cls: type[Task] | None) -> TaskLine:
    """Read the command line. Flags of Luigi's that the task has as parameters are the task's."""
    from flow.dialects.luigi_options import sections_given
    from flow.modules.loading import named_classes

    line = parse(words, _options(), named=1)
    given = sections_given(line.options)
    if not given or line.options.get("module"):
        return line
    classes = named_classes(line.family) if line.family else [main_task_cls]
    names = [name for cls in classes if cls is not None for name, _ in cls.get_params()]
    own = given.keys() & set(names)
    return parse(words, _options(own), named=1) if own else line


def _no_task(line: TaskLine) -> UsageError:
    """Make the error for a command line without a task, as where an option took it for its own."""
    from flow.settings.luigi_flags import shortened

    for name in line.params:
        whole = shortened(name)
        if whole:
            flag = f"--{name.replace('_', '-')}"
            return UsageError(f"{flag}: options are written whole: {' or '.join(whole)}")
    return UsageError("no task given", hint=_help(""))


def _set_up_logging(work: Work) -> None:
    from flow.local import forking
    from flow.parameters.defaults import settings
    from flow.usercode import tasklogs

    if (work.here and forking.why_not()) or work.options.get("in_process"):
        tasklogs.configure(settings().logs)  # this is a program's main, and its tasks run in it


def _options(without: Collection[str] = ()) -> tuple[Option, ...]:
    """flow run's options, and those that command lines written for Luigi have."""
    from flow.client.options import RUN
    from flow.dialects import luigi_options

    return (*luigi_options.options(without), *RUN)


def _class(family: str) -> Any:
    from flow.modules.loading import all_families, named_classes
    from flow.registry import choose, unknown_task

    classes = named_classes(family)
    if not classes:
        raise unknown_task("there is no task", family, all_families())
    return choose(family, classes)


def _module_of(family: str) -> str:
    from flow.local.results import MAIN
    from flow.modules.places import wire_name
    from flow.seam import dialect_of

    cls = _class(family)
    if dialect_of(cls).is_library(cls):
        return wire_name(MAIN)  # what it repeats is known there
    return dialect_of(cls).module(cls)


def _help(family: str) -> str:
    """Describe the tasks of this script."""
    from flow.local.listing import describe_task
    from flow.modules.loading import all_families

    script = os.path.basename(sys.argv[0])
    if family:
        return describe_task(_class(family), f"python {script} {family}")
    names = ", ".join(all_families()) or "none"
    return f"python {script} TASK [--param VALUE ...]\nIts tasks: {names}"
