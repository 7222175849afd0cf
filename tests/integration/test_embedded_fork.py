"""What a program has set before ``build()`` is what its tasks see: their template is its fork."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_embedded import (
    assert_nothing_left,
    processes_of,
    python,
    said,
    wait_until,
)

TIMEOUT_S = 60.0

PROGRAM = """
import os, sys, time
import flow

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
VALUE = "as imported"

def say(text):
    with open(os.path.join(HERE, "said"), "a") as said:
        said.write(text + "\\n")

class Tells(flow.Task):
    n = flow.IntParameter(default=0)

    def run(self):
        say(f"{self.n} {VALUE}")

class Slow(flow.Task):
    n = flow.IntParameter(default=0)

    def run(self):
        say(f"begin {os.getppid()}")
        while not os.path.exists(os.path.join(HERE, "go")):
            time.sleep(0.02)
        say(f"end {VALUE}")
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a temporary directory, and no settings."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.delenv("FLOW_COORDINATOR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(place: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    (place / "program.py").write_text(PROGRAM + text)
    return python("program.py", *words)


def start(place: Path, text: str) -> subprocess.Popen[str]:
    (place / "program.py").write_text(PROGRAM + text)
    return subprocess.Popen(
        [sys.executable, "program.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def template_of(place: Path, process: subprocess.Popen[str]) -> int:
    """Wait until a Slow task runs; return the parent of its runner."""
    wait_until(lambda: bool(said(place)), lambda: f"{process.poll()} {processes_of(place)}")
    return int(said(place)[0].split()[1])


def test_globals_set_before_each_build_are_what_its_tasks_see(place: Path) -> None:
    found = run(
        place,
        "if __name__ == '__main__':\n"
        "    VALUE = 'first'\n"
        "    print(bool(flow.build([Tells(n=1)])))\n"
        "    VALUE = 'second'\n"
        "    print(bool(flow.build([Tells(n=2)])))\n",
    )
    assert found.stdout.splitlines() == ["True", "True"], found.stderr
    assert said(place) == ["1 first", "2 second"]
    assert "afresh" not in found.stderr
    assert_nothing_left(place)


def test_values_of_the_command_line_are_what_tasks_of_run_see(place: Path) -> None:
    found = run(
        place,
        "if __name__ == '__main__':\n    VALUE = sys.argv.pop()\n    flow.run()\n",
        "Tells",
        "x",
    )
    assert found.returncode == 0, found.stderr
    assert said(place) == ["0 x"]


def test_classes_made_in_functions_before_build_run(place: Path) -> None:
    found = run(
        place,
        """
def make(size):
    class Part(flow.Task):
        n = flow.IntParameter()
        def run(self):
            say(f"part {self.n} of {size}")

    class Whole(flow.Task):
        def requires(self):
            return [Part(n=n) for n in range(size)]
        def run(self):
            say("whole")
    return Whole

if __name__ == '__main__':
    print(bool(flow.build([make(2)()], workers=1)))
""",
    )
    assert found.stdout == "True\n", found.stderr
    assert said(place) == ["part 0 of 2", "part 1 of 2", "whole"]


def test_module_tasks_see_what_the_program_changed_in_the_module(place: Path) -> None:
    (place / "pipeline.py").write_text(PROGRAM)
    (place / "program.py").write_text(
        "import pipeline\npipeline.VALUE = 'changed'\npipeline.flow.build([pipeline.Tells()])\n"
    )
    found = python("program.py")
    assert found.returncode == 0, found.stderr
    assert said(place) == ["0 changed"]


def test_luigi_configuration_set_before_build_is_what_tasks_see(place: Path) -> None:
    pytest.importorskip("luigi")
    (place / "luigi.cfg").write_text("[Reads]\nfrom_file = file\nfrom_both = file\n")
    found = run(
        place,
        """
import luigi

class Reads(luigi.Task):
    from_file = luigi.Parameter()
    from_both = luigi.Parameter()
    from_program = luigi.Parameter()

    def requires(self):
        return Needed()

    def run(self):
        say(f"{self.from_file} {self.from_both} {self.from_program}")

class Needed(luigi.Task):
    done = False
    size = luigi.IntParameter(default=1)

    def complete(self):
        return os.path.exists("needed")

    def run(self):
        say(f"needed {self.size} {luigi.configuration.get_config().get('any', 'thing')}")
        open("needed", "w").close()

if __name__ == '__main__':
    config = luigi.configuration.get_config()
    config.set("Reads", "from_both", "program")
    config.set("Reads", "from_program", "program")
    config.set("Needed", "size", "7")
    config.set("any", "thing", "set")
    print(bool(flow.build([Reads()])))
""",
    )
    assert found.stdout == "True\n", found.stderr
    assert said(place) == ["needed 7 set", "file program program"]


def test_program_with_threads_says_that_its_tasks_do_not_see_it(place: Path) -> None:
    text = """
if __name__ == '__main__':
    import threading
    end = threading.Event()
    threading.Thread(target=end.wait, name="ticker").start()
    VALUE = 'set'
    flow.build([Tells(n=1)])
    flow.build([Tells(n=2)], quiet={quiet})
    end.set()
"""
    found = run(place, text.format(quiet=False))
    assert found.returncode == 0, found.stderr
    assert said(place) == ["1 as imported", "2 as imported"]
    assert found.stderr.count("do not see what it has set until now") == 1
    assert "because it has another thread (ticker)" in found.stderr


def test_program_in_a_running_loop_is_not_forked(place: Path) -> None:
    found = run(
        place,
        """
if __name__ == '__main__':
    import asyncio
    VALUE = 'set'
    async def main():
        flow.build([Tells()])
    asyncio.run(main())
    flow.build([Tells(n=1)])
""",
    )
    assert found.returncode == 0, found.stderr
    assert said(place) == ["0 as imported", "1 set"]
    assert "its event loop runs" in found.stderr


def test_shell_tasks_run_beside_each_other(place: Path) -> None:
    found = python(
        "-c",
        PROGRAM
        + """
class Meets(flow.Task):
    n = flow.IntParameter()
    def run(self):
        open(f"here{self.n}", "w").close()
        deadline = time.monotonic() + 30
        while not os.path.exists(f"here{1 - self.n}"):
            assert time.monotonic() < deadline, "the other one does not run"
            time.sleep(0.02)
print(bool(flow.build([Meets(n=0), Meets(n=1)], workers=2)))
""",
    )
    assert found.stdout == "True\n", found.stderr


def test_endings_of_the_program_run_in_it_alone_and_once(place: Path) -> None:
    found = run(
        place,
        """
if __name__ == '__main__':
    import atexit, multiprocessing.util, tempfile, weakref
    class Held: pass
    held = Held()
    folder = tempfile.TemporaryDirectory()
    atexit.register(lambda: say(f"atexit {os.getpid()}"))
    weakref.finalize(held, lambda: say(f"finalize {os.getpid()}"))
    multiprocessing.util.Finalize(
        None, lambda: say(f"finalizer {os.getpid()}"), exitpriority=1
    )
    print(bool(flow.build([Tells()])), os.path.isdir(folder.name), os.getpid())
""",
    )
    ok, there, pid = found.stdout.split()
    assert (ok, there) == ("True", "True"), found.stderr
    assert sorted(said(place)) == [
        "0 as imported",
        f"atexit {pid}",
        f"finalize {pid}",
        f"finalizer {pid}",
    ]


def test_output_that_the_program_has_buffered_is_written_once(place: Path) -> None:
    found = run(
        place,
        "if __name__ == '__main__':\n"
        "    sys.stdout.write('before ')\n"
        "    flow.build([Tells()])\n"
        "    print('after')\n",
    )
    assert found.stdout == "before after\n", found.stderr


def test_handlers_are_called_in_the_task_and_in_the_program(place: Path) -> None:
    found = run(
        place,
        """
if __name__ == '__main__':
    @Tells.event_handler(flow.Event.SUCCESS)
    def heard(task):
        say(f"{flow.events.is_observing()} {os.getpid() == MAIN}")
    MAIN = os.getpid()
    flow.build([Tells()])
""",
    )
    assert found.returncode == 0, found.stderr
    assert said(place) == ["0 as imported", "False False", "True True"]


def test_large_program_keeps_its_memory_and_its_tasks_see_it(place: Path) -> None:
    found = run(
        place,
        """
if __name__ == '__main__':
    BLOB = os.urandom(1 << 20) * 200
    class Looks(flow.Task):
        def run(self):
            say(str(len(BLOB)))
    print(bool(flow.build([Looks()])))
""",
    )
    assert found.stdout == "True\n", found.stderr
    assert said(place) == [str(200 << 20)]


def test_descriptors_of_the_program_stay_open_and_those_of_the_engine_do_not(place: Path) -> None:
    found = run(
        place,
        """
if __name__ == '__main__':
    held = os.open("held", os.O_CREAT | os.O_WRONLY)
    class Writes(flow.Task):
        def run(self):
            os.write(held, b"from the task")
            names = [os.readlink(f"/proc/{os.getppid()}/fd/{fd}")
                     for fd in os.listdir(f"/proc/{os.getppid()}/fd")]
            engine = ("/lock", "coordinator.log", "worker.log")
            say(str([name for name in names if name.removesuffix(" (deleted)").endswith(engine)]))
    print(bool(flow.build([Writes()])))
""",
    )
    assert found.stdout == "True\n", found.stderr
    assert (place / "held").read_text() == "from the task"
    assert said(place) == ["[]"]


SLOW = "if __name__ == '__main__':\n    VALUE = 'set'\n    result = flow.build([Slow()])\n"


def test_program_killed_leaves_no_process(place: Path) -> None:
    with start(place, SLOW) as process:
        template = template_of(place, process)
        assert template != process.pid
        process.kill()
        process.wait(TIMEOUT_S)
        assert_nothing_left(place, directories=False)


def test_template_killed_ends_the_run_with_a_sentence(place: Path) -> None:
    with start(
        place, SLOW + "    print(bool(result))\n    print(result.summary_text)\n"
    ) as process:
        os.kill(template_of(place, process), signal.SIGKILL)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert out.startswith("False\n"), err
    assert (
        "the process that has what the calling program had set is gone (killed by SIGKILL)" in out
    )
    assert len(said(place)) == 1, "nothing ran with other values"
    assert_nothing_left(place)


def test_ctrl_c_in_a_terminal_reaches_the_program_only(place: Path) -> None:
    (place / "program.py").write_text(PROGRAM + SLOW)
    process = subprocess.Popen(
        [sys.executable, "program.py"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        template_of(place, process)
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does
        assert process.stderr is not None
        while "Finishing what runs" not in process.stderr.readline():
            assert process.poll() is None
        (place / "go").touch()
        process.communicate(timeout=TIMEOUT_S)
    assert said(place)[1:] == ["end set"]
    assert_nothing_left(place)


def test_build_in_a_task_sees_what_the_task_has_set(place: Path) -> None:
    found = run(
        place,
        """
class Builds(flow.Task):
    def run(self):
        global VALUE
        VALUE = "of the task"
        result = flow.build([Tells()], workers=1)
        say(str(bool(result)))

if __name__ == '__main__':
    VALUE = "of the program"
    print(bool(flow.build([Builds()])))
""",
    )
    assert found.stdout == "True\n", found.stderr
    assert said(place) == ["0 of the task", "True"]
    assert_nothing_left(place)


@pytest.mark.parametrize("words", [["-m", "package.program"], ["program.py"]])
def test_program_is_imported_once(place: Path, words: list[str]) -> None:
    (place / "package").mkdir()
    text = (
        PROGRAM
        + "\nsay(f'import {__name__}')\nif __name__ == '__main__':\n    flow.build([Tells()])\n"
    )
    text = text.replace("os.path.dirname(os.path.abspath(sys.argv[0]))", repr(str(place)))
    (place / "package" / "program.py").write_text(text)
    (place / "program.py").write_text(text)
    found = python(*words)
    assert found.returncode == 0, found.stderr
    assert said(place) == ["import __main__", "0 as imported"]


def test_logging_that_the_program_has_set_up_stays(place: Path) -> None:
    found = run(
        place,
        """
import logging

class Logs(flow.Task):
    def run(self):
        logging.debug("is heard")
        raise ValueError("show what was logged")

if __name__ == '__main__':
    logging.basicConfig(level=logging.DEBUG, format="own %(message)s")
    flow.build([Logs()], retry=0)
""",
    )
    assert "own is heard" in found.stderr


def test_streams_that_the_program_has_replaced_are_not_those_of_its_tasks(place: Path) -> None:
    found = run(
        place,
        """
class Prints(flow.Task):
    def run(self):
        print("printed", repr(sys.stdin.read()))

if __name__ == '__main__':
    import contextlib, io
    with contextlib.redirect_stdout(io.StringIO()) as caught:
        flow.build([Prints()])
    print(repr(caught.getvalue()))
""",
    )
    assert found.stdout == "''\n", found.stderr
    assert "printed ''" in found.stderr
