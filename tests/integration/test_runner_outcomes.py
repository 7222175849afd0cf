"""What a runner makes of the ways in which a task can end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from flow.wire.messages.shared import Outcome, Report
from flow_worker import channel
from flow_worker.process import output, slip
from tests.support.task_process import TaskProcess, start, wait_until

MODULE = """
import ctypes, os, signal, sys
from pathlib import Path
import flow.task as ft
from flow.parameters import IntParameter, Parameter
from flow.targets.local import LocalTarget

HERE = Path(__file__).parent

class Noop(ft.Task):
    n = IntParameter(default=0)
    def run(self):
        if self.n < 0:
            os.kill(os.getpid(), -self.n)

class Raises(ft.Task):
    def run(self):
        print("about to fail")
        raise ValueError("no such region")

class Exits(ft.Task):
    def run(self):
        sys.exit(0)

class Interrupted(ft.Task):
    def run(self):
        raise KeyboardInterrupt

class Hostile(Exception):
    def __str__(self):
        raise SystemExit(3)

class RaisesHostile(ft.Task):
    def run(self):
        raise Hostile()

class RaisesHuge(ft.Task):
    def run(self):
        raise ValueError("x" * 50_000_000)

class Recurses(ft.Task):
    def run(self):
        self.run()

class OsExits(ft.Task):
    def run(self):
        print("last words")
        os._exit(0)

class Segfaults(ft.Task):
    def run(self):
        print("last words")
        ctypes.string_at(0)

class Writes(ft.Task):
    n = IntParameter(default=0)
    def output(self):
        return LocalTarget(str(HERE / f"written{self.n}"))
    def run(self):
        (HERE / "runs").open("a").write("run\\n")
        Path(self.output().path).write_text("done")

class Forgets(ft.Task):
    def output(self):
        return LocalTarget(str(HERE / "forgotten"))

class OwnComplete(ft.Task):
    def complete(self):
        return (HERE / "own").exists()
    def run(self):
        (HERE / "ran_own").open("a").write("run\\n")

class OwnCompleteWithOutput(OwnComplete):
    def output(self):
        return LocalTarget(str(HERE / "own_output"))
    def run(self):
        super().run()
        self.output().open("w").close()

class WrapperThatRuns(ft.WrapperTask):
    def requires(self):
        return Noop(n=1)
    def run(self):
        (HERE / "wrapped").open("a").write("run\\n")

class LeavesOnSelf(ft.Task):
    def requires(self):
        self.parts = [Noop(n=n) for n in range(3)]
        return self.parts
    def run(self):
        (HERE / "parts").write_text(str(len(self.parts)))

class RequiresFails(ft.Task):
    def requires(self):
        raise ValueError("no such part")

class MaybeComplete(ft.Task):
    def complete(self):
        return None

class Identity(ft.Task):
    def run(self):
        (HERE / "identity").write_text(os.environ["FLOW_TOKEN"] + " " + os.environ["FLOW_ATTEMPT"])

class Broken(ft.Task):
    p = Parameter()
    def on_failure(self, exception):
        (HERE / "told").write_text(str(exception))
        raise RuntimeError("on_failure is broken too")
    def run(self):
        raise ValueError(self.p)

class CatchesAll(ft.Task):
    def run(self):
        (HERE / "started").write_text("")
        try:
            signal.pause()
        finally:
            (HERE / "cleaned").write_text("")
"""


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[TaskProcess]:
    (tmp_path / "outcomes.py").write_text(MODULE)
    yield from start(tmp_path)


def test_runner_many_small_tasks_reports_them_in_order_in_few_frames(runner: TaskProcess) -> None:
    runner.run("outcomes", "Noop", n="999")
    grants = [runner.grant("outcomes", "Noop", n=str(n)) for n in range(100)]
    runner.send(channel.Execute(grants))
    reports = runner.reports(100)
    assert [report.token for report in reports] == [grant.token for grant in grants]
    assert {report.outcome for report in reports} == {Outcome.DONE}
    assert not any(report.skipped for report in reports)
    assert list(runner.log_dir.glob("*.log")) == []


def test_runner_task_raises_report_has_error_place_trace_and_output(runner: TaskProcess) -> None:
    report = runner.run("outcomes", "Raises")
    assert report.outcome is Outcome.FAILED
    assert report.error == "ValueError: no such region"
    assert "outcomes.py:" in report.where and "run()" in report.where
    assert "no such region" in report.trace
    assert report.tail == "about to fail"


@pytest.mark.parametrize(
    ("family", "error"),
    [
        ("Exits", "sys.exit(0) was called"),
        ("Interrupted", "KeyboardInterrupt"),
        ("RaisesHostile", "Hostile"),
        ("RaisesHuge", "ValueError: xxxx"),
        ("Recurses", "RecursionError"),
        ("MaybeComplete", "complete() returned None"),
    ],
)
def test_runner_strange_failure_is_one_bounded_report_and_it_lives(
    runner: TaskProcess, family: str, error: str
) -> None:
    report = runner.run("outcomes", family)
    assert report.outcome is Outcome.FAILED
    assert error in report.error
    assert len(report.error) + len(report.trace) + len(report.tail) < 64 << 10
    assert runner.run("outcomes", "Noop", n="1").outcome is Outcome.DONE


@pytest.mark.parametrize(("family", "code"), [("OsExits", 0), ("Segfaults", -signal.SIGSEGV)])
def test_runner_process_dies_agent_sees_eof_and_output_is_kept(
    runner: TaskProcess, family: str, code: int
) -> None:
    runner.send(channel.Execute([runner.grant("outcomes", family)]))
    with pytest.raises(EOFError):
        runner.get()
    assert runner.exit_code() == code
    left = slip.take(runner.log_dir, runner.popen.pid)
    assert (left.began, left.unsent) == (1, [])
    assert output.adopt(runner.log_dir, runner.popen.pid, left.name) == "last words"
    (kept,) = runner.log_dir.iterdir()
    assert kept.name.startswith(family) and kept.name.endswith(".log")


def test_runner_process_dies_reports_not_sent_yet_are_found(runner: TaskProcess) -> None:
    for n in ("1", "2", "3"):  # the family is known to be quick, so its reports may wait
        runner.run("outcomes", "Noop", n=n)
    quick = [runner.grant("outcomes", "Noop", n=str(n)) for n in range(10, 20)]
    fatal = runner.grant("outcomes", "Noop", n="-11")
    runner.send(channel.Execute([*quick, fatal, runner.grant("outcomes", "Noop", n="20")]))
    said: list[Report] = []
    with pytest.raises(EOFError):
        while True:
            said += runner.reports(1)
    runner.popen.wait()
    left = slip.take(runner.log_dir, runner.popen.pid)
    assert [report.token for report in said + left.unsent] == [grant.token for grant in quick]
    assert left.began == int(fatal.token.rpartition(".")[2])


def test_runner_output_exists_already_skips_run(runner: TaskProcess, tmp_path: Path) -> None:
    assert runner.run("outcomes", "Writes", n="0").skipped is False
    report = runner.run("outcomes", "Writes", n="0")
    assert (report.outcome, report.skipped) == (Outcome.DONE, True)
    assert (tmp_path / "runs").read_text() == "run\n"


def test_runner_output_missing_after_run_fails_and_names_it(runner: TaskProcess) -> None:
    report = runner.run("outcomes", "Forgets")
    assert report.outcome is Outcome.FAILED
    assert report.error.startswith("said it ran, but its output is missing: ")
    assert "forgotten" in report.error


def maybe_done(runner: TaskProcess, family: str) -> Report:
    """Run a task of which an earlier attempt may have run to its end unheard."""
    grant = msgspec.structs.replace(runner.grant("outcomes", family), maybe_done=True)
    runner.send(channel.Execute([grant]))
    return runner.reports(1)[0]


def test_runner_custom_complete_counts_only_where_the_work_may_have_been_done(
    runner: TaskProcess, tmp_path: Path
) -> None:
    assert maybe_done(runner, "OwnComplete").skipped is False
    (tmp_path / "own").write_text("")
    assert runner.run("outcomes", "OwnComplete").skipped is False, "as Luigi's worker does"
    assert maybe_done(runner, "OwnComplete").skipped is True
    assert (tmp_path / "ran_own").read_text() == "run\n" * 2


def test_runner_custom_complete_counts_where_all_outputs_exist(
    runner: TaskProcess, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text("")
    assert runner.run("outcomes", "OwnCompleteWithOutput").skipped is False
    assert runner.run("outcomes", "OwnCompleteWithOutput").skipped is True
    assert (tmp_path / "ran_own").read_text() == "run\n"


def test_runner_wrapper_with_a_run_of_its_own_is_never_skipped(
    runner: TaskProcess, tmp_path: Path
) -> None:
    assert runner.run("outcomes", "WrapperThatRuns").skipped is False
    assert maybe_done(runner, "WrapperThatRuns").skipped is False
    assert (tmp_path / "wrapped").read_text() == "run\n" * 2


def test_runner_finds_what_requires_keeps_on_the_instance(
    runner: TaskProcess, tmp_path: Path
) -> None:
    assert runner.run("outcomes", "LeavesOnSelf").outcome is Outcome.DONE
    assert (tmp_path / "parts").read_text() == "3"


def test_runner_requires_that_fails_now_is_a_failure_at_its_line(runner: TaskProcess) -> None:
    report = runner.run("outcomes", "RequiresFails")
    assert (report.outcome, report.error) == (Outcome.FAILED, "ValueError: no such part")
    assert "outcomes.py" in report.where


def test_runner_task_finds_its_token_and_attempt(runner: TaskProcess, tmp_path: Path) -> None:
    report = runner.run("outcomes", "Identity")
    assert (tmp_path / "identity").read_text() == f"{report.token} 1"


def test_runner_on_failure_raises_first_error_is_reported(
    runner: TaskProcess, tmp_path: Path
) -> None:
    report = runner.run("outcomes", "Broken", p="first")
    assert report.error == "ValueError: first"
    assert "on_failure is broken too" in report.trace
    assert (tmp_path / "told").read_text() == "first"


@pytest.mark.parametrize(
    ("module", "family", "outcome", "error"),
    [
        ("no_such_module", "X", Outcome.REFUSED, "no_such_module"),
        ("outcomes", "Nop", Outcome.REFUSED, "Noop"),
        ("outcomes", "Broken", Outcome.FAILED, "p"),
    ],
)
def test_runner_task_cannot_be_made_says_why(
    runner: TaskProcess, module: str, family: str, outcome: Outcome, error: str
) -> None:
    report = runner.run(module, family)
    assert report.outcome is outcome
    assert error in report.error


def test_runner_other_code_makes_another_identity_refuses(runner: TaskProcess) -> None:
    grant = runner.grant("outcomes", "Noop")  # its parameter n has a default: another id
    runner.send(channel.Execute([grant]))
    (report,) = runner.reports(1)
    assert report.outcome is Outcome.REFUSED
    assert "planned as" in report.error


def test_runner_sigterm_unwinds_the_task_and_dies_of_it(
    runner: TaskProcess, tmp_path: Path
) -> None:
    quick, slow = runner.grant("outcomes", "Noop", n="1"), runner.grant("outcomes", "CatchesAll")
    runner.send(channel.Execute([quick, slow]))
    assert runner.reports(1)[0].token == quick.token
    wait_until((tmp_path / "started").exists)
    runner.popen.send_signal(signal.SIGTERM)
    with pytest.raises(EOFError):
        runner.get()
    assert runner.exit_code() == -signal.SIGTERM
    assert (tmp_path / "cleaned").exists()


def test_runner_told_to_leave_ends_with_no_file_left(runner: TaskProcess) -> None:
    runner.send(channel.Execute([runner.grant("outcomes", "Noop", n="1")]), channel.Leave())
    assert runner.reports(1)[0].outcome is Outcome.DONE
    assert runner.exit_code() == 0
    assert list(runner.log_dir.iterdir()) == []


def test_runner_agent_gone_ends(runner: TaskProcess) -> None:
    runner.close()
    assert runner.exit_code() in (0, -signal.SIGKILL)
