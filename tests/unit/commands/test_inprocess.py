"""``flow.build(..., in_process=True)``: the engine in the calling thread, on the caller's tasks."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flow
from flow import testing
from flow.errors import ExitCode, UsageError
from flow.targets.mock import MockTarget


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with testing.isolated():
        yield


class Remembers(flow.Task):
    """Complete once it ran on this instance: another object would never be."""

    def complete(self) -> bool:
        return hasattr(self, "ran_in")

    def run(self) -> Any:
        self.ran_in = threading.current_thread()


class InlineLeaf(Remembers):
    n = flow.IntParameter()
    secret = flow.Parameter(default="", visibility=flow.ParameterVisibility.PRIVATE)


class InlineRoot(Remembers):
    def requires(self) -> Any:
        return [InlineLeaf(n=n, secret=f"s{n}") for n in range(3)]


def test_tasks_run_in_this_thread_on_the_instances_of_the_program() -> None:
    root = InlineRoot()

    result = testing.run(root)

    assert result, result.summary_text
    assert root.ran_in is threading.current_thread()
    assert [(leaf.n, leaf.secret) for leaf in root.requires()] == [(0, "s0"), (1, "s1"), (2, "s2")]
    assert all(leaf.ran_in is threading.current_thread() for leaf in root.requires())


def test_generator_gets_targets_of_tasks_it_made_and_their_attributes_stay() -> None:
    class Writes(flow.Task):
        n = flow.IntParameter()

        def output(self) -> Any:
            return MockTarget(f"written-{self.n}")

        def run(self) -> None:
            with self.output().open("w") as out:
                out.write(str(self.n))
            self.noted = self.n

    class Yields(Remembers):
        def run(self) -> Any:
            one = Writes(n=1)
            target = yield one
            with target.open() as stream:
                self.first = (stream.read(), one.noted)
            more = yield [Writes(n=n) for n in (2, 3)]
            self.rest = []
            for each in more:
                with each.open() as stream:
                    self.rest.append(stream.read())
            super().run()

    task = Yields()

    assert testing.run(task)
    assert (task.first, task.rest) == (("1", 1), ["2", "3"])


def test_failure_is_retried_then_told_with_its_exit_code() -> None:
    attempts: list[int] = []

    class Fails(Remembers):
        retry_count = 2
        retry_delay = 0.01

        def run(self) -> None:
            attempts.append(1)
            raise ValueError("no luck")

    result = testing.run(Fails())

    assert not result
    assert (len(attempts), result.exit_code) == (2, ExitCode.TASK_FAILED)
    assert [each.error for each in result.failures] == ["ValueError: no luck"] * 2


def test_what_cannot_run_ends_with_the_code_that_tells_why() -> None:
    class Outside(flow.ExternalTask):
        def output(self) -> Any:
            return MockTarget("never")

    class Broken(flow.Task):
        def requires(self) -> Any:
            raise RuntimeError("not today")

    class Greedy(Remembers):
        resources = {"gold": 2}

    assert testing.run(Outside()).exit_code is ExitCode.MISSING_DATA
    assert testing.run(Broken()).exit_code is ExitCode.SCHEDULING_ERROR
    assert testing.run(Greedy()).exit_code is ExitCode.NOT_RUN
    with testing.settings({"resources.gold": 2}):
        assert testing.run(Greedy())


def test_higher_priority_runs_first_and_one_at_a_time() -> None:
    order: list[int] = []

    class Ranked(Remembers):
        rank = flow.IntParameter()

        @property
        def priority(self) -> int:  # type: ignore[override]
            return int(self.rank)

        def run(self) -> None:
            order.append(self.rank)
            super().run()

    class All(flow.WrapperTask):
        def requires(self) -> Any:
            return [Ranked(rank=rank) for rank in (1, 3, 2)]

    assert testing.run(All())
    assert order == [3, 2, 1]


def test_ctrl_c_in_a_task_stops_the_run_and_closes_parked_generators() -> None:
    closed: list[str] = []

    class Interrupted(Remembers):
        def run(self) -> None:
            raise KeyboardInterrupt

    class Parked(Remembers):
        def run(self) -> Any:
            try:
                yield Interrupted()
            finally:
                closed.append("parked")

    with pytest.raises(KeyboardInterrupt):
        testing.run(Parked())
    assert closed == ["parked"]


def test_timeout_ends_between_tasks() -> None:
    class Waits(Remembers):
        retry_count = 1000
        retry_delay = 0.05

        def run(self) -> None:
            raise ValueError

    assert testing.run(Waits(), timeout=0.2).exit_code is ExitCode.TIMEOUT


def test_two_workers_in_one_process_are_refused() -> None:
    with pytest.raises(UsageError, match="one task runs at a time"):
        flow.build([InlineRoot()], workers=2, in_process=True)


def test_breakpoint_in_run_stops_there(tmp_path: Path) -> None:
    script = tmp_path / "pipeline.py"
    script.write_text(
        textwrap.dedent(
            """
            import flow

            class Looked(flow.Task):
                n = flow.IntParameter(default=42)
                def run(self):
                    secret = self.n + 1
                    breakpoint()
                    print("went on")

            if __name__ == "__main__":
                print(flow.build([Looked()], workers=1, in_process=True).exit_code.name)
            """
        )
    )

    def type_in(*lines: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, str(script)]
        typed = "\n".join([*lines, ""])
        return subprocess.run(words, input=typed, capture_output=True, text=True, timeout=60)

    going_on = type_in("p secret", "c")
    leaving = type_in("q")

    assert going_on.returncode == 0, going_on.stderr
    assert "43" in going_on.stdout
    assert going_on.stdout.splitlines()[-2:] == ["(Pdb) went on", "OK"]
    assert "BdbQuit" in leaving.stderr and "(Pdb) went on" not in leaving.stdout
    assert leaving.returncode == 1


def test_command_runs_a_module_in_its_own_process(tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text(
        "import flow, os\n"
        "class Pid(flow.Task):\n"
        "    def run(self):\n"
        "        print('pid', os.getpid(), os.environ['FLOW_ATTEMPT'])\n"
    )
    words = [sys.executable, "-m", "flow", "run", "--in-process", "-q", "told", "Pid"]

    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert out.split() == ["pid", str(process.pid), "1"]


def test_priority_of_what_becomes_ready_beats_what_was_ready_before() -> None:
    order: list[int] = []

    class Chained(Remembers):
        prio = flow.IntParameter()

        @property
        def priority(self) -> int:  # type: ignore[override]
            return int(self.prio)

        def requires(self) -> Any:
            return Chained(prio=self.prio - 10) if self.prio > 10 else []

        def run(self) -> None:
            order.append(self.prio)
            super().run()

    assert testing.run(*[Chained(prio=prio) for prio in (24, 14, 4, 25, 15, 5)])
    assert order == [5, 15, 25, 4, 14, 24]


@pytest.mark.parametrize("place", ["complete", "requires"])
def test_ctrl_c_while_tasks_are_looked_at_is_the_programs_as_well(place: str) -> None:
    class InlineInterrupted(flow.Task):
        pass

    def press(task: flow.Task) -> None:
        raise KeyboardInterrupt

    setattr(InlineInterrupted, place, press)
    with pytest.raises(KeyboardInterrupt):
        testing.run(InlineInterrupted())


def test_attribute_that_is_no_number_is_an_error_of_planning() -> None:
    class InlineOdd(Remembers):
        priority = float("nan")

    result = testing.run(InlineOdd())
    assert result.exit_code is ExitCode.SCHEDULING_ERROR
    assert "nan is no number" in result.failures[0].error


def test_what_is_no_list_of_tasks_is_refused_before_anything_runs() -> None:
    class InlineUnready(flow.Task):
        def __init__(self) -> None:
            pass

    wrong: list[Any] = [InlineLeaf, InlineLeaf(n=1), 5, [InlineLeaf], [InlineLeaf(n=1), "x"]]
    for tasks in wrong:
        with pytest.raises(TypeError, match=r"takes a list of tasks, as \[MyTask\(\)\], not"):
            flow.build(tasks, in_process=True)
    with pytest.raises(UsageError, match="forget super"):
        testing.run(InlineUnready())


def test_generator_that_yields_years_of_days_one_by_one_comes_to_its_end() -> None:
    class InlineYears(Remembers):
        def run(self) -> Any:
            for n in range(2000):
                yield InlineLeaf(n=n)
            self.ran_in = threading.current_thread()

    assert testing.run(InlineYears())


class Numbered(flow.Task):
    n = flow.IntParameter()

    def output(self) -> Any:
        return MockTarget(f"numbered-{self.n}")

    def run(self) -> Any:
        with self.output().open("w") as out:
            out.write(str(self.n))


def test_build_of_more_roots_than_a_question_has_runs_all() -> None:
    result = flow.build([Numbered(n=n) for n in range(1_234)], in_process=True, quiet=True)
    assert result and result.summary is not None
    assert result.summary.scheduled == 1_234
    assert all(Numbered(n=n).complete() for n in range(1_234))


def test_build_of_too_many_roots_says_so_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flow.wire.messages.client.ROOTS_MAX", 3)
    result = flow.build([Numbered(n=n) for n in range(4)])
    assert not result and result.exit_code == ExitCode.USAGE
    told = capsys.readouterr().err
    assert told.startswith("error: a run has at most 3 root tasks, these are 4: ")
    assert "WrapperTask" in told and "Traceback" not in told
