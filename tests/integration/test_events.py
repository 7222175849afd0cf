"""Events reach the handlers: where the task is planned, where it runs, and where its run began."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_S = 60.0

PIPELINE = textwrap.dedent(
    """
    import json, os, time
    import flow

    HERE = os.path.dirname(os.path.abspath(__file__))

    def note(event):
        def handler(task, *more):
            said = ["" if x is None else x if isinstance(x, str) else type(x).__name__
                    for x in more]
            line = json.dumps([event, task.task_family, said, flow.events.is_observing()])
            with open(os.path.join(HERE, "events"), "a") as file:
                file.write(line + "\\n")
        return handler

    EVENTS = {name: value for name, value in vars(flow.Event).items() if name.isupper()}
    for name, value in EVENTS.items():
        flow.Task.event_handler(value)(note(name))

    @flow.Task.event_handler(flow.Event.START)
    def raises(task):
        raise RuntimeError("a handler of a user")

    class File(flow.Task):
        def output(self):
            return flow.LocalTarget(os.path.join(HERE, self.task_id))

        def run(self):
            with self.output().open("w") as out:
                out.write("x")

    class There(File):
        def complete(self):
            return True

    class Missing(flow.ExternalTask):
        def output(self):
            return flow.LocalTarget("/nowhere/at/all")

    class Good(File):
        def requires(self):
            return There()

        def on_success(self):
            note("on_success")(self)

    class Slow(File):
        def run(self):
            time.sleep(0.2)
            super().run()

    class Generating(File):
        def run(self):
            yield Good()
            super().run()

    class Bad(flow.Task):
        def run(self):
            raise ValueError("bad")

        def on_failure(self, exception):
            note("on_failure")(self)
            return "call the owner"

    class NeedsMissing(File):
        def requires(self):
            return Missing()

    class Broken(flow.Task):
        def requires(self):
            raise KeyError("broken")

    class BrokenComplete(flow.Task):
        def complete(self):
            raise KeyError("broken")

    class Sleepy(flow.Task):
        worker_timeout = 0.5

        def run(self):
            time.sleep(1000)

    class Dies(flow.Task):
        def run(self):
            os._exit(3)

    class Unmet(File):
        resources = {"unheard_of": 2}

    class Deadly(flow.Task):
        def requires(self):
            os._exit(3)

    class Own(flow.Task):
        def run(self):
            self.trigger_event("my.event", self, 1)

    @Own.event_handler("my.event")
    def mine(task, number):
        note("mine")(task, str(number))
    """
)

PROGRAM = textwrap.dedent(
    """
    import sys
    import flow
    import events_pipeline

    result = flow.build([getattr(events_pipeline, sys.argv[1])()], retry=1, quiet=True)
    print(int(result.exit_code))
    """
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "events_pipeline.py").write_text(PIPELINE)
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def events_of(place: Path, *words: str) -> tuple[list[list[Any]], list[list[Any]]]:
    """Run, and return what handlers noted where it happened, and what the program observed."""
    done = subprocess.run(
        [sys.executable, *words], cwd=place, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    path = place / "events"
    assert path.exists(), done.stdout + done.stderr
    noted = [json.loads(line) for line in path.read_text().splitlines()]
    direct = [each[:3] for each in noted if not each[3]]
    return direct, [each[:3] for each in noted if each[3]]


def test_success_fires_in_luigis_order_and_again_at_the_program(place: Path) -> None:
    direct, observed = events_of(place, "program.py", "Good")
    assert direct == [
        ["DEPENDENCY_DISCOVERED", "Good", ["There"]],
        ["DEPENDENCY_PRESENT", "There", []],
        ["START", "Good", []],
        ["PROCESSING_TIME", "Good", ["float"]],
        ["on_success", "Good", []],
        ["SUCCESS", "Good", []],
    ]
    assert sorted(observed) == [["DEPENDENCY_PRESENT", "There", []], ["SUCCESS", "Good", []]]


def test_generator_starts_once_and_its_requirement_succeeds_between(place: Path) -> None:
    direct, _ = events_of(place, "-m", "flow", "run", "events_pipeline", "Generating")
    fired = [(event, family) for event, family, _ in direct]
    assert fired.count(("START", "Generating")) == 1
    assert fired.index(("SUCCESS", "Good")) < fired.index(("SUCCESS", "Generating"))


def test_command_without_the_classes_observes_nothing(place: Path) -> None:
    _, observed = events_of(place, "-m", "flow", "run", "events_pipeline", "Good")
    assert observed == []


def test_failure_has_the_exception_and_then_asks_on_failure(place: Path) -> None:
    direct, observed = events_of(place, "program.py", "Bad")
    assert direct == [
        ["START", "Bad", []],
        ["FAILURE", "Bad", ["ValueError"]],
        ["on_failure", "Bad", []],
    ]
    assert observed == [["FAILURE", "Bad", ["TaskFailure"]]]


def test_what_on_failure_returns_is_part_of_the_failure(place: Path) -> None:
    (place / "asks.py").write_text(
        "import flow, events_pipeline\n"
        "result = flow.build([events_pipeline.Bad()], retry=1, quiet=True)\n"
        "print(result.failures[0].trace)\n"
    )
    done = subprocess.run(
        [sys.executable, "asks.py"], cwd=place, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert "on_failure() said: call the owner" in done.stdout


def test_missing_external_data_is_a_missing_dependency(place: Path) -> None:
    direct, observed = events_of(place, "program.py", "NeedsMissing")
    assert direct == [
        ["DEPENDENCY_DISCOVERED", "NeedsMissing", ["Missing"]],
        ["DEPENDENCY_MISSING", "Missing", []],
    ]
    assert observed == [["DEPENDENCY_MISSING", "Missing", []]]


def test_broken_requires_is_a_broken_task(place: Path) -> None:
    direct, observed = events_of(place, "program.py", "Broken")
    assert direct == [["BROKEN_TASK", "Broken", ["KeyError"]]]
    assert observed == [["BROKEN_TASK", "Broken", ["TaskFailure"]]]


def test_broken_complete_is_a_missing_dependency(place: Path) -> None:
    direct, _ = events_of(place, "program.py", "BrokenComplete")
    assert direct == [["DEPENDENCY_MISSING", "BrokenComplete", []]]


def test_timeout_is_observed_by_the_program(place: Path) -> None:
    direct, observed = events_of(place, "program.py", "Sleepy")
    assert direct == [["START", "Sleepy", []]]
    [[event, family, [message]]] = observed
    assert (event, family) == ("TIMEOUT", "Sleepy")
    assert "0.5" in message or "0:00" in message or "timed out" in message


def test_death_of_the_process_is_observed_by_the_program(place: Path) -> None:
    direct, observed = events_of(place, "program.py", "Dies")
    assert ["START", "Dies", []] in direct
    assert observed[0][0] == "PROCESS_FAILURE"
    assert {each[1] for each in observed} == {"Dies"}


@pytest.mark.parametrize("family", ["Unmet", "Deadly"])
def test_what_no_process_could_tell_is_a_broken_task(family: str, place: Path) -> None:
    direct, observed = events_of(place, "program.py", family)
    assert [each for each in direct if each[0] != "DEPENDENCY_MISSING"] == []
    assert observed == [["BROKEN_TASK", family, ["TaskFailure"]]]


def test_in_process_too_what_cannot_run_is_a_broken_task(place: Path) -> None:
    (place / "inside.py").write_text(PROGRAM.replace("retry=1", "retry=1, in_process=True"))
    _, observed = events_of(place, "inside.py", "Unmet")
    assert observed == [["BROKEN_TASK", "Unmet", ["TaskFailure"]]]


def test_event_of_ones_own_is_any_string(place: Path) -> None:
    direct, _ = events_of(place, "program.py", "Own")
    assert ["mine", "Own", ["1"]] in direct


def test_in_process_every_event_fires_once(place: Path) -> None:
    (place / "inside.py").write_text(PROGRAM.replace("retry=1", "retry=1, in_process=True"))
    direct, observed = events_of(place, "inside.py", "Good")
    assert [each[0] for each in direct].count("SUCCESS") == 1
    assert observed == []


@pytest.mark.parametrize("forked", [True, False])
def test_tasks_of_a_script_without_a_file_fire_as_those_of_one(place: Path, forked: bool) -> None:
    script = "from events_pipeline import *\nclass Mine(Good):\n    pass\n"
    if not forked:
        script += "import threading\nend = threading.Event()\n"
        script += "threading.Thread(target=end.wait, daemon=True).start()\n"
    direct, observed = events_of(place, "-c", script + "flow.build([Mine()])\n")
    assert [each for each in direct if each[0] == "SUCCESS"] == [["SUCCESS", "Mine", []]]
    told = [each for each in observed if each[:2] == ["SUCCESS", "Mine"]]
    assert told == ([["SUCCESS", "Mine", []]] if forked else [])


def test_processing_time_is_the_time_of_run(place: Path) -> None:
    (place / "timing.py").write_text(
        "import flow, events_pipeline\n"
        "@flow.Task.event_handler(flow.Event.PROCESSING_TIME)\n"
        "def took(task, seconds):\n"
        "    print('took', seconds)\n"
        "flow.build([events_pipeline.Slow()], in_process=True, quiet=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "timing.py"], cwd=place, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    [line] = [line for line in done.stdout.splitlines() if line.startswith("took")]
    assert float(line.split()[1]) >= 0.2


def test_luigi_tasks_have_their_handlers_called_too(place: Path) -> None:
    (place / "luigi_pipeline.py").write_text(
        "import luigi\n"
        "class Bad(luigi.Task):\n"
        "    n = luigi.IntParameter()\n"
        "    def run(self):\n"
        "        raise ValueError\n"
    )
    (place / "luigi_program.py").write_text(
        "import flow, luigi, luigi_pipeline\n"
        "@luigi_pipeline.Bad.event_handler(luigi.Event.FAILURE)\n"
        "def failed(task, error):\n"
        "    print('failed', task, type(error).__name__)\n"
        "flow.build([luigi_pipeline.Bad(n=3)], retry=1, quiet=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "luigi_program.py"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.stdout == "failed Bad(n=3) TaskFailure\n", done.stderr


LEAVES = """
import os, sys
import flow

HERE = os.path.dirname(os.path.abspath(__file__))


class Load(flow.Task):
    def output(self):
        return flow.LocalTarget(os.path.join(HERE, "load"))

    def run(self):
        with self.output().open("w") as out:
            out.write("x")


class Use(Load):
    def requires(self):
        return Load()

    def output(self):
        return flow.LocalTarget(os.path.join(HERE, "use"))


@Load.event_handler(flow.Event.SUCCESS)
@Load.event_handler(flow.Event.START)
@Load.event_handler(flow.Event.DEPENDENCY_DISCOVERED)
def leaves(task, *more):
    sys.exit("a handler leaves")
"""


@pytest.mark.parametrize("how", [(), ("--in-process",)], ids=("processes", "in-process"))
def test_handler_that_exits_is_logged_and_ends_no_task(tmp_path: Path, how: tuple[str]) -> None:
    (tmp_path / "leaving.py").write_text(LEAVES)
    command = [sys.executable, "-m", "flow", "run", *how, "leaving", "Use"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "load").exists() and (tmp_path / "use").exists()
    assert "* 2 ran successfully" in done.stdout
    if how:  # what a successful attempt logs is otherwise kept with it
        assert "handler of event.core.success failed" in done.stderr
        assert "SystemExit: a handler leaves" in done.stderr


def test_process_that_a_handler_forks_ends_when_it_exits(tmp_path: Path) -> None:
    forks = LEAVES.replace(
        'sys.exit("a handler leaves")',
        "if os.fork() == 0:\n        sys.exit(0)\n    os.wait()\n"
        '    open(os.path.join(HERE, "calls"), "a").write(f"{os.getpid()} ")',
    )
    (tmp_path / "leaving.py").write_text(forks)
    command = [sys.executable, "-m", "flow", "run", "leaving", "Load"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    calls = (tmp_path / "calls").read_text().split()
    assert len(calls) == 2 and len(set(calls)) == 1  # START and SUCCESS, in one process
