"""Nothing of luigi or gokart runs while a module is imported to plan or run its tasks."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("luigi")

CALLS = {
    "luigi.build([Job()], local_scheduler=True)": "luigi.build()",
    "from luigi import build; build([Job()])": "luigi.build()",
    "luigi.run(['Job', '--local-scheduler'])": "luigi.run()",
    "luigi.run()": "luigi.run()",
    "from luigi.interface import run; run(main_task_cls=Job)": "luigi.run()",
    "from luigi.cmdline import luigi_run; luigi_run(['Job'])": "luigi.luigi_run()",
    "import gokart; gokart.build(Kart())": "gokart.build()",
    "import gokart; gokart.run(['Job'])": "gokart.run()",
    "import flow; flow.build([])": "flow.build()",
}
MODULE = """
import luigi

class Job(luigi.Task):
    def run(self):
        raise AssertionError("it ran")

if {kart}:
    import gokart

    class Kart(gokart.TaskOnKart):
        def run(self):
            raise AssertionError("it ran")

def main():
    {call}

main()
"""
#: Loads the module as planners do, then does itself what the module must not.
LOAD = """
import sys
{before}
from flow.modules.loading import ImportFailed, load_module
try:
    load_module("unguarded")
except ImportFailed as error:
    print(error)
else:
    print("it was imported")
assert not [each for each in sys.meta_path if "flow" in type(each).__module__]
import luigi, luigi.interface
class Own(luigi.Task):
    done = False
    def complete(self):
        return Own.done
    def run(self):
        Own.done = True
assert luigi.build([Own()], local_scheduler=True, log_level="ERROR") and Own.done
assert luigi.run(["Own", "--local-scheduler", "--log-level", "ERROR"])
"""


@pytest.mark.parametrize("before", ["", "import luigi"], ids=["first", "after"])
@pytest.mark.parametrize("call", CALLS)
def test_call_while_a_module_is_imported_is_refused(call: str, before: str, tmp_path: Path) -> None:
    text = MODULE.format(call=call, kart="gokart" in call)
    (tmp_path / "unguarded.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(before=before)],
        cwd=tmp_path, capture_output=True, text=True,
        # luigi lets one process of a command line run at a time: it keeps their pids there
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line = 1 + text.splitlines().index(f"    {call}")
    assert done.stdout.strip() == (
        f"module unguarded cannot be imported: UsageError: {CALLS[call]} was called while the "
        'module was imported: put it under if __name__ == "__main__":  '
        f"({tmp_path}/unguarded.py:{line}  main())"
    )


def test_guarded_call_does_not_run_and_luigi_is_what_it_was(tmp_path: Path) -> None:
    text = 'import luigi\nif __name__ == "__main__":\n    luigi.run()\n'
    (tmp_path / "guarded_well.py").write_text(text)
    code = """
    import luigi.interface as interface
    parser = interface.CmdlineParser
    before = interface._schedule_and_run, vars(parser)["global_instance"]
    from flow.modules.loading import load_module
    load_module("guarded_well")
    assert before == (interface._schedule_and_run, vars(parser)["global_instance"])
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, check=True)
