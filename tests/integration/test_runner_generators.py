"""Generators in a real runner: they are parked and go on, they do not start again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.wire.messages.shared import Outcome
from flow_worker import channel
from flow_worker.guard import kill
from tests.support.task_process import TaskProcess, start

MODULE = """
import decimal, os, signal, subprocess, sys
from pathlib import Path
import flow.task as ft
from flow.dynamic import DynamicRequirements
from flow.parameters import IntParameter, Parameter
from flow.targets.local import LocalTarget

HERE = Path(__file__).parent

def note(text):
    with open(HERE / "story", "a") as file:
        file.write(text + "\\n")

class Part(ft.Task):
    n = IntParameter()
    def output(self):
        return LocalTarget(str(HERE / f"part{self.n}"))
    def run(self):
        Path(self.output().path).write_text(str(self.n))

class Bare(ft.Task):
    n = IntParameter()

class Three(ft.Task):
    def run(self):
        note("begin")
        one = yield Part(n=1)
        note(f"one {type(one).__name__} {Path(one.path).name} {os.environ['FLOW_TOKEN']}")
        many = yield [Part(n=2), Part(n=3)]
        note("many " + " ".join(Path(t.path).name for t in many))
        named = yield {"a": Part(n=4), "b": (Part(n=5), [Part(n=6)])}
        note("named " + Path(named["a"].path).name + " " + Path(named["b"][1][0].path).name)
        print("the end")

class YieldsBare(ft.Task):
    def run(self):
        got = yield (Bare(n=i) for i in range(3))
        note(f"bare {got}")
        got = yield Bare(n=9)
        note("again")

class Custom(ft.Task):
    def run(self):
        got = yield DynamicRequirements([Part(n=1), Part(n=2)], lambda complete: True)
        note("custom " + " ".join(Path(t.path).name for t in got))

class YieldsTarget(ft.Task):
    def run(self):
        try:
            yield Part(n=1).output()
        finally:
            note("closed")

class Patient(ft.Task):
    count = IntParameter()
    def run(self):
        for _ in range(self.count):
            yield []

class Endless(ft.Task):
    def complete(self):
        return (HERE / "never").exists()
    def run(self):
        while True:
            yield []

class FailsLater(ft.Task):
    def run(self):
        yield Part(n=7)
        raise ValueError("after the yield")

class WithServer(ft.Task):
    def run(self):
        server = subprocess.Popen(["sleep", "1000"])
        yield Part(n=8)
        note("server alive" if server.poll() is None else "server dead")

class Changes(ft.Task):
    '''Changes its process, and looks again after each yield.'''
    home = Parameter()
    def run(self):
        try:
            os.chdir(self.home)
            os.environ["OWN"] = "1"
            decimal.getcontext().prec = 3
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            sys.path.insert(0, "/own")
            for n in (1, 2):
                yield Part(n=n)
                note(around())
        finally:
            note(f"end {around()}")

class Around(ft.Task):
    n = IntParameter()
    def run(self):
        note(around())

def around():
    ignored = signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    prec = decimal.getcontext().prec
    return f"{os.getcwd()} {'OWN' in os.environ} {prec} {ignored} {sys.path[0] == '/own'}"

class Other(ft.Task):
    n = IntParameter()
    def run(self):
        subprocess.Popen(["sleep", "1000"])
        raise ValueError
"""


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[TaskProcess]:
    (tmp_path / "generators.py").write_text(MODULE)
    yield from start(tmp_path)


def story(tmp_path: Path) -> list[str]:
    return (tmp_path / "story").read_text().splitlines()


def parked(runner: TaskProcess) -> channel.Parked:
    frame = runner.get()
    assert isinstance(frame, channel.Parked), frame
    return frame


def test_runner_three_yields_run_once_and_get_targets_in_shape(
    runner: TaskProcess, tmp_path: Path
) -> None:
    grant = runner.grant("generators", "Three")
    runner.send(channel.Execute([grant]))
    for number, parts in enumerate(([1], [2, 3], [4, 5, 6]), start=1):
        frame = parked(runner)
        assert (frame.token, frame.number) == (grant.token, number)
        assert [stub.family for stub in frame.stubs] == ["Part"] * len(parts)
        for n in parts:  # another task in between does not disturb it
            assert runner.run("generators", "Part", n=str(n)).outcome is Outcome.DONE
        runner.send(channel.Continue(grant.token, number))
    (report,) = runner.reports(1)
    assert report.outcome is Outcome.DONE
    assert story(tmp_path) == [
        "begin",
        f"one LocalTarget part1 {grant.token}",
        "many part2 part3",
        "named part4 part6",
    ]
    (log,) = runner.log_dir.glob("Three*.log")
    assert log.read_text() == "the end\n"


def test_runner_yielded_tasks_complete_already_goes_on_at_once(
    runner: TaskProcess, tmp_path: Path
) -> None:
    for n in range(1, 7):
        (tmp_path / f"part{n}").write_text("")
    assert runner.run("generators", "Three").outcome is Outcome.DONE


def test_runner_yielded_tasks_without_outputs_are_trusted_when_continued(
    runner: TaskProcess, tmp_path: Path
) -> None:
    grant = runner.grant("generators", "YieldsBare")
    runner.send(channel.Execute([grant]))
    assert len(parked(runner).stubs) == 3
    runner.send(channel.Continue(grant.token, 1), channel.Continue(grant.token, 1))
    assert parked(runner).number == 2
    runner.send(channel.Continue(grant.token, 2))
    assert runner.reports(1)[0].outcome is Outcome.DONE
    assert story(tmp_path) == ["bare [[], [], []]", "again"]


def test_runner_custom_complete_of_a_yield_decides(runner: TaskProcess, tmp_path: Path) -> None:
    assert runner.run("generators", "Custom").outcome is Outcome.DONE
    assert story(tmp_path) == ["custom part1 part2"]


def test_runner_yield_of_a_target_fails_and_closes_the_generator(
    runner: TaskProcess, tmp_path: Path
) -> None:
    report = runner.run("generators", "YieldsTarget")
    assert report.outcome is Outcome.FAILED
    assert report.error.startswith("run() must yield Task objects")
    assert story(tmp_path) == ["closed"]


def test_runner_endless_generator_fails_at_the_limit_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOW_WORKER__YIELDS_MAX", "1234")
    (tmp_path / "generators.py").write_text(MODULE)
    for runner in start(tmp_path):
        report = runner.run("generators", "Endless")
    assert report.outcome is Outcome.FAILED
    assert report.error.startswith("run() yielded more than 1,234 times")
    assert "set yields_max in [worker]" in report.error


def test_runner_generator_of_many_complete_tasks_runs_to_its_end(runner: TaskProcess) -> None:
    report = runner.run("generators", "Patient", count="60000")
    assert (report.outcome, report.error) == (Outcome.DONE, "")


def test_runner_generator_raises_after_continue_is_one_failure(runner: TaskProcess) -> None:
    grant = runner.grant("generators", "FailsLater")
    runner.send(channel.Execute([grant]))
    parked(runner)
    runner.send(channel.Continue(grant.token, 1))
    (report,) = runner.reports(1)
    assert (report.outcome, report.error) == (Outcome.FAILED, "ValueError: after the yield")


def test_runner_abandoned_generator_is_closed_and_released(runner: TaskProcess) -> None:
    grant = runner.grant("generators", "Three")
    runner.send(channel.Execute([grant]))
    parked(runner)
    runner.send(channel.Abandon([grant.token, "unknown.1.1"]))
    (report,) = runner.reports(1)
    assert (report.token, report.outcome) == (grant.token, Outcome.RELEASED)


def test_runner_children_of_a_parked_generator_outlive_other_tasks(
    runner: TaskProcess, tmp_path: Path
) -> None:
    grant = runner.grant("generators", "WithServer")
    runner.send(channel.Execute([grant]))
    parked(runner)
    assert runner.run("generators", "Other", n="1").outcome is Outcome.FAILED
    runner.send(channel.Continue(grant.token, 1))
    assert runner.reports(1)[0].outcome is Outcome.DONE
    assert story(tmp_path) == ["server alive"]
    assert running_below(runner) == 1


def test_runner_children_of_a_parked_generator_end_when_it_is_abandoned(
    runner: TaskProcess,
) -> None:
    grant = runner.grant("generators", "WithServer")
    runner.send(channel.Execute([grant]))
    parked(runner)
    assert running_below(runner) == 1
    runner.send(channel.Abandon([grant.token]))
    assert runner.reports(1)[0].outcome is Outcome.RELEASED
    assert running_below(runner) == 0


def test_runner_generator_finds_what_it_changed_and_nobody_else_does(
    runner: TaskProcess, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    grant = runner.grant("generators", "Changes", home=str(tmp_path / "home"))
    runner.send(channel.Execute([grant]))
    for number in (1, 2):
        parked(runner)
        assert runner.run("generators", "Around", n=str(number)).outcome is Outcome.DONE
        runner.send(channel.Continue(grant.token, number))
    assert runner.reports(1)[0].outcome is Outcome.DONE
    own, others = f"{tmp_path}/home True 3 True True", f"{os.getcwd()} False 28 False False"
    assert story(tmp_path) == [others, own, others, own, f"end {own}"]
    assert runner.run("generators", "Around", n="3").outcome is Outcome.DONE
    assert story(tmp_path)[-1] == others


def test_runner_abandoned_generator_ends_in_what_it_changed(
    runner: TaskProcess, tmp_path: Path
) -> None:
    grant = runner.grant("generators", "Changes", home="/")
    runner.send(channel.Execute([grant]))
    parked(runner)
    runner.send(channel.Abandon([grant.token]))
    assert runner.reports(1)[0].outcome is Outcome.RELEASED
    assert story(tmp_path) == ["end / True 3 True True"]


def test_runner_generator_whose_directory_is_gone_fails_and_says_so(
    runner: TaskProcess, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    grant = runner.grant("generators", "Changes", home=str(tmp_path / "home"))
    runner.send(channel.Execute([grant]))
    parked(runner)
    (tmp_path / "home").rmdir()
    runner.send(channel.Continue(grant.token, 1))
    (report,) = runner.reports(1)
    assert report.outcome is Outcome.FAILED
    assert report.error.startswith("it cannot go on after its yield: it changed its working dir")


def running_below(runner: TaskProcess) -> int:
    return sum(one.runs for one in kill.descendants(runner.popen.pid))
