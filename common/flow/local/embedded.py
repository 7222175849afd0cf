"""``flow.run()`` at the bottom of a script, and ``flow.build([...])`` from a program.

Both run the same engine as a cluster, in child processes that end with the call. Task processes are
forks of the program as it is then, where it can be forked (``flow.local.forking``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from flow.errors import ExitCode, UsageError
from flow.local.results import MAIN, RunResult, search_path

if TYPE_CHECKING:
    from flow.client.follow import Ended
    from flow.task import Task


def _nothing() -> Ended:
    """Say how a run without any task ends."""
    from flow.client.follow import Ended
    from flow.wire.messages.client import RunSummary

    return Ended(0, RunSummary("", "", "", "succeeded", 0, 0.0, 0, 0, 0, [], []), [])


def _refused(count: int) -> Ended:
    """Say that these are too many tasks, as a command would."""
    from flow.client.follow import Ended
    from flow.guarded import guarded
    from flow.wire.messages.client import check_root_count

    return Ended(guarded(lambda: check_root_count(count)), None, [])


def build(
    tasks: Iterable[Task],
    *,
    workers: int | None = None,
    local_scheduler: bool | None = None,
    detailed_summary: bool = False,
    in_process: bool = False,
    **keywords: Any,
) -> RunResult:
    """Run tasks to their end on this machine; the result is true if they are complete.

    Args:
        tasks: What to run; their requirements run too. None at all: that succeeds. More than
            100,000 are refused, with a sentence.
        workers: Tasks at the same time; None: as many as there are CPUs.
        local_scheduler: For programs written for Luigi; the scheduler is always local here.
        detailed_summary: The same: the result is always the detailed one.
        in_process: Run one task at a time in the calling thread, on these very instances, so that
            breakpoints, mocks and variables of the program work; nothing is killed or timed out.
        **keywords: ``quiet``, ``summary``, ``timeout`` (seconds), ``retry``, ``fail_fast``,
            ``name``, ``state_dir`` as for ``flow run``. Of those that only Luigi knows
            ``log_level`` and ``logging_conf_file`` hold for the task processes, as ``[logs]
            level`` and ``config``; the others have no effect.

    Raises:
        TypeError: A keyword that neither flow nor Luigi has.
        UsageError: ``workers`` is no number from 1, ``log_level`` is no level, or a scheduler is
            named that is not here.
        KeyboardInterrupt: Ctrl-C; what ran has finished, or was killed at the second press.
    """
    from flow.dialects import luigi_options
    from flow.local.execution import execute
    from flow.local.work import Root, Work
    from flow.modules import origins
    from flow.seam import module_of, others, strings_of
    from flow.wire.messages.client import ROOTS_MAX

    enter("build")
    wanted = _tasks(tasks)
    known = ("quiet", "summary", "timeout", "retry", "fail_fast", "name", "state_dir")
    luigi_options.check("flow.build", keywords, known, local=local_scheduler)
    if not wanted:
        return RunResult(_nothing())
    if len(wanted) > ROOTS_MAX:
        return RunResult(_refused(len(wanted)))
    options = {name: keywords[name] for name in known if keywords.get(name) is not None}
    if workers is not None:
        if type(workers) is not int or workers < 1:
            raise UsageError(f"flow.build(workers={workers!r:.100}): at least 1, or None: all CPUs")
        options["workers"] = workers
    if in_process:
        options["in_process"] = True
    for library in others():
        library.planning_elsewhere()
    roots = [Root(module_of(each), each.task_family, strings_of(each)) for each in wanted]
    here = any(MAIN in each.module.split(origins.SEPARATOR) for each in roots)
    work = Work(roots, options, path=search_path(), here=here, forks=True, library=True)
    with luigi_options.obeyed(luigi_options.settings_given("flow.build", keywords)):
        ended = execute(work, wanted)
    if ended.code == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt  # what a program does next must not go on as if nothing was
    return RunResult(ended)


def _tasks(given: Any) -> list[Any]:
    """Refuse what is no list of tasks, where it is plain what was meant."""
    from flow.seam import is_task

    listed = isinstance(given, Iterable)
    tasks = list(given) if listed else [given]
    wrong = [each for each in tasks if not (listed and is_task(each))]
    if wrong:
        raise TypeError(f"flow.build takes a list of tasks, as [MyTask()], not {wrong[0]!r:.100}")
    return tasks


def run(
    cmdline_args: Sequence[str] | None = None,
    main_task_cls: type[Task] | None = None,
    local_scheduler: bool | None = None,
    detailed_summary: bool = False,
    **keywords: Any,
) -> RunResult:
    """Run the task a command line names, e.g. ``python pipeline.py Task --param value``.

    Without ``cmdline_args`` the line is ``sys.argv``, and unless the task is complete in the end
    the process exits with the code that tells why; code after a successful call runs. With
    ``cmdline_args`` the result is returned in every case.

    Args:
        cmdline_args: The words; None: those of this process.
        main_task_cls: The task, if the line names only its parameters.
        local_scheduler: For programs written for Luigi.
        detailed_summary: The same.
        **keywords: The others that Luigi knows: ``log_level`` and ``logging_conf_file`` hold if
            the line does not say it otherwise, the rest have no effect.

    Raises:
        UsageError: ``log_level`` is no level.
        TypeError: ``cmdline_args`` is neither a list nor a tuple, or a keyword is unknown.
    """
    from flow.dialects import luigi_options
    from flow.local.script import run_command, run_line

    enter("run")
    luigi_options.check("flow.run", keywords, (), local=local_scheduler)
    said = luigi_options.settings_given("flow.run", keywords)
    if cmdline_args is not None:
        if not isinstance(cmdline_args, (list, tuple)):
            raise TypeError(
                "cmdline_args is a list of words, as ['MyTask', '--param', 'value'], "
                f"not {type(cmdline_args).__name__}"
            )
        with luigi_options.obeyed(said):
            return run_line(list(cmdline_args), main_task_cls)
    results: list[RunResult] = []
    with luigi_options.obeyed(said):
        code = run_command(sys.argv[1:], main_task_cls, results)
    if code:
        sys.exit(code)
    return results[0]


def enter(name: str) -> None:
    """Get ready to run tasks of this program; a task process that imports it must not do so."""
    from flow.modules import scripts

    loading = sys.modules.get("flow.modules.loading")
    if loading is not None and loading.is_loading():
        raise loading.refusal(f"flow.{name}()")
    scripts.alias_main()
