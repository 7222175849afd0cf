"""``flow run``: run a task here, with the same engine, and no server."""

from __future__ import annotations

import os

from flow.client.options import RUN, describe
from flow.errors import ExitCode, UsageError
from flow.settings.taskline import parse

HELP = """\
Run TASK of MODULE (or of a file: pipeline.py) in this process tree. Everything spelled --x-y VALUE
that is no option below is the parameter x_y of TASK (--TASK-x-y VALUE always is, and so is
everything after --). --OTHER-x-y VALUE is the default of x_y for the tasks of family OTHER.

    flow run MODULE               lists the tasks of MODULE
    flow run MODULE TASK --help   shows the parameters of TASK

Ctrl-C finishes what runs and starts no more; a second one kills."""


def main(argv: list[str]) -> int:
    """Run what the command line says; return the exit code."""
    line = parse(argv, RUN)
    if not line.module:
        if not line.help:
            raise UsageError("no MODULE given: flow run MODULE TASK", hint="flow run --help")
        print(describe("flow run [OPTIONS] MODULE TASK [--param VALUE ...]", HELP, RUN))
        return int(ExitCode.OK)
    if line.help or not line.family:
        from flow.local.listing import module_text, task_text

        print(task_text(line.module, line.family) if line.family else module_text(line.module))
        return int(ExitCode.OK)
    from flow.client.exitcodes import exit_code
    from flow.local.execution import execute
    from flow.local.work import Root, Work

    root = Root(line.module, line.family, line.root)
    ended = execute(Work([root], line.options, [os.getcwd()], qualified=line.qualified))
    return exit_code(ended.code, ended.summary)
