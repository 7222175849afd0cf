"""One task leaves nothing behind for the next: no process, no directory, no output."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.wire.messages.shared import Outcome
from flow_worker import channel
from flow_worker.guard import kill
from flow_worker.process import output
from tests.support.disks import small_disk
from tests.support.task_process import TaskProcess, start, wait_until

MODULE = """
import decimal, locale, logging, os, resource, signal, socket, subprocess, sys, time, warnings
from pathlib import Path
import flow.task as ft
from flow.parameters import BoolParameter, IntParameter, Parameter

HERE = Path(__file__).parent

class Noop(ft.Task):
    n = IntParameter()

class Daemon(ft.Task):
    '''Fork twice and leave the session, as daemons do.'''
    fails = BoolParameter()
    def run(self):
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(writer, str(os.getpid()).encode())
                while True:
                    signal.pause()
            os._exit(0)
        os.wait()
        (HERE / "daemon").write_bytes(os.read(reader, 100))
        if self.fails:
            raise ValueError

class Messy(ft.Task):
    def run(self):
        os.chdir("/")
        os.umask(0o777)
        os.environ["LEAK"] = "1"
        del os.environ["PATH"]
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 1000)
        sys.stdout = open(os.devnull, "w")
        os.close(1)
        os.close(2)

class Look(ft.Task):
    def run(self):
        print("still heard")
        print(os.getcwd(), os.umask(0o22) != 0o777, "LEAK" in os.environ, "PATH" in os.environ)
        print(signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)
        print(signal.getsignal(signal.SIGALRM) is signal.SIG_DFL, signal.getitimer(0)[0])
        raise ValueError

def surroundings():
    return [
        time.tzname, locale.setlocale(locale.LC_ALL), socket.getdefaulttimeout(),
        sys.getrecursionlimit(), resource.getrlimit(resource.RLIMIT_NOFILE), sys.path[0],
        sys.argv[-1], logging.root.level, len(logging.root.handlers), logging.root.manager.disable,
        decimal.getcontext().prec, signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        signal.getsignal(signal.SIGWINCH), signal.getitimer(signal.ITIMER_VIRTUAL),
        len(warnings.filters), MADE_AT_IMPORT in sys.path, os.environ["MADE_AT_IMPORT"],
    ]

MADE_AT_IMPORT = "/made/at/import"
sys.path.append(MADE_AT_IMPORT)
os.environ["MADE_AT_IMPORT"] = "1"

class Around(ft.Task):
    n = IntParameter()
    def run(self):
        (HERE / f"around{self.n}").write_text(repr(surroundings()))

class Changes(ft.Task):
    def run(self):
        before = surroundings()
        os.environ["TZ"] = "Asia/Tokyo"
        time.tzset()
        locale.setlocale(locale.LC_ALL, "C")
        socket.setdefaulttimeout(0.001)
        sys.setrecursionlimit(250)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
        sys.path.insert(0, "/nowhere")
        sys.argv[:] = ["tool", "--flag"]
        logging.disable(logging.CRITICAL)
        logging.basicConfig(level=logging.DEBUG)
        decimal.getcontext().prec = 3
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        signal.signal(signal.SIGWINCH, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_VIRTUAL, 100)
        warnings.simplefilter("error")
        os.environ["MADE_AT_IMPORT"] = "by the task"
        assert surroundings() != before

class Forks(ft.Task):
    how = Parameter()
    def run(self):
        child = os.fork()
        if child == 0:
            if self.how == "raises":
                raise ValueError("said by the child")
            if self.how == "exits":
                sys.exit(7)
            return
        (HERE / "status").write_text(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
        if self.how == "raises":
            raise ValueError("said by the parent")

class Pools(ft.Task):
    def run(self):
        from multiprocessing import get_context
        for _ in range(5):
            with get_context("fork").Pool(2) as pool:
                pool.map(abs, [-1, -2])

class Fat(ft.Task):
    def run(self):
        assert "data" not in self.__dict__
        self.data = bytearray(1000)

class Fds(ft.Task):
    n = IntParameter()
    def run(self):
        os.system("echo from a child; echo to stderr >&2")
        (HERE / "fds").write_text(" ".join(os.listdir("/proc/self/fd")))

class Prints(ft.Task):
    n = IntParameter()
    def run(self):
        print("x" * 100)
        print("x" * (1 << 20))
        print("x" * (1 << 20))
        subprocess.run(["echo", "of a program"], check=True)

class PrintsAndFails(ft.Task):
    def run(self):
        print("x" * (1 << 20))
        raise ValueError("of the task")

class Says(ft.Task):
    def run(self):
        print("a line")
        raise ValueError("of the task")

class PrintsToItsOwn(ft.Task):
    def run(self):
        own = os.open(HERE / "own" / "file", os.O_CREAT | os.O_WRONLY)
        os.dup2(own, 1)
        print("x" * (1 << 20))

class Flood(ft.Task):
    def run(self):
        (HERE / "flooding").write_text("")
        print("the first line")
        block = b"x" * (1 << 20)
        for _ in range(64):
            os.write(1, block)
        while not (HERE / "enough").exists():
            time.sleep(0.01)
        print("\\nthe last line \\x1b[31m")
        raise ValueError("flooded")
"""


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[TaskProcess]:
    (tmp_path / "isolation.py").write_text(MODULE)
    yield from start(tmp_path)


def test_runner_daemon_left_by_a_failure_is_killed_before_its_report(
    runner: TaskProcess, tmp_path: Path
) -> None:
    report = runner.run("isolation", "Daemon", fails="True")
    assert report.outcome is Outcome.FAILED
    daemon = int((tmp_path / "daemon").read_text())
    assert kill.entry(daemon) is None
    assert kill.descendants(runner.popen.pid) == []


def test_runner_daemon_left_by_a_success_stays_and_ends_with_its_runner(
    runner: TaskProcess, tmp_path: Path
) -> None:
    assert runner.run("isolation", "Daemon", fails="False").outcome is Outcome.DONE
    daemon = int((tmp_path / "daemon").read_text())
    assert runner.run("isolation", "Look").outcome is Outcome.FAILED
    assert [one.pid for one in kill.descendants(runner.popen.pid)] == [daemon]
    runner.send(channel.Leave())
    assert runner.exit_code() == 0
    wait_until(lambda: (one := kill.entry(daemon)) is None or not one.runs)


def test_runner_task_changes_much_the_next_finds_what_the_import_made(
    runner: TaskProcess, tmp_path: Path
) -> None:
    for family, n in (("Around", {"n": "1"}), ("Changes", {}), ("Around", {"n": "2"})):
        report = runner.run("isolation", family, **n)
        assert report.outcome is Outcome.DONE, report.trace
    first = (tmp_path / "around1").read_text()
    assert first == (tmp_path / "around2").read_text()
    assert first.endswith("True, '1']")


def test_runner_messy_task_does_not_change_the_next(runner: TaskProcess) -> None:
    assert runner.run("isolation", "Messy").outcome is Outcome.DONE
    report = runner.run("isolation", "Look")
    assert report.tail.splitlines() == [
        "still heard",
        f"{os.getcwd()} True False True",
        "False",
        "True 0.0",
    ]


def test_runner_what_a_task_keeps_on_itself_is_dropped(runner: TaskProcess) -> None:
    assert runner.run("isolation", "Fat").outcome is Outcome.DONE
    assert runner.run("isolation", "Fat").outcome is Outcome.DONE


def test_runner_many_tasks_leak_no_descriptor(runner: TaskProcess, tmp_path: Path) -> None:
    seen = set()
    for n in range(5):
        runner.run("isolation", "Fds", n=str(n))
        seen.add(len((tmp_path / "fds").read_text().split()))
    assert len(seen) == 1, (tmp_path / "fds").read_text()
    logs = sorted(runner.log_dir.glob("Fds*.log"))
    assert len(logs) == 5
    assert logs[0].read_text() == "from a child\nto stderr\n"


def test_runner_flood_of_output_is_cut_in_the_middle(runner: TaskProcess, tmp_path: Path) -> None:
    current = output.current_path(runner.log_dir, runner.popen.pid)
    largest = 0
    done = threading.Event()

    def watch() -> None:  # what the agent does on its ticks
        nonlocal largest
        while not done.wait(0.02):
            output.trim(current)
            largest = max(largest, os.stat(current).st_blocks * 512)

    runner.send(channel.Execute([runner.grant("isolation", "Flood")]))
    wait_until((tmp_path / "flooding").exists)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        wait_until(lambda: os.stat(current).st_size > 64 << 20, "the flood")
        output.trim(current)
        held = os.stat(current).st_blocks * 512
    finally:
        done.set()
        watcher.join()
    (tmp_path / "enough").write_text("")
    (report,) = runner.reports(1)
    assert held < output.FILE_BYTES_MAX + (1 << 20)
    (log,) = runner.log_dir.glob("Flood*.log")
    text = log.read_text()
    assert len(text) < output.FILE_BYTES_MAX + 100
    assert text.startswith("the first line\n") and "bytes cut here" in text
    assert report.tail.endswith("the last line \\x1b[31m")
    assert len(report.tail) <= output.TAIL_BYTES_MAX


@pytest.mark.parametrize("full_at_start", [True, False])
def test_runner_disk_of_logs_full_tasks_go_on(tmp_path: Path, full_at_start: bool) -> None:
    (tmp_path / "isolation.py").write_text(MODULE)
    with small_disk(tmp_path / "logs", "size=128k") as logs:
        if full_at_start:
            (logs / "filler").write_bytes(b"x" * (124 << 10))
        process = TaskProcess(tmp_path, logs)
        try:
            for n in range(3):
                assert process.run("isolation", "Prints", n=str(n)).outcome is Outcome.DONE
            for n in range(3):
                assert process.run("isolation", "Noop", n=str(n)).outcome is Outcome.DONE
            report = process.run("isolation", "PrintsAndFails")
            assert report.error == "ValueError: of the task"
            assert report.tail == f"[no room in {logs}: what else was printed is not kept]"
            for each in (*logs.glob("*.log"), *logs.glob("filler")):
                each.unlink()
            report = process.run("isolation", "Says")
            assert (report.error, report.tail) == ("ValueError: of the task", "a line")
        finally:
            process.close()


def test_runner_disk_of_logs_that_is_away_tasks_go_on(tmp_path: Path) -> None:
    (tmp_path / "isolation.py").write_text(MODULE)
    process = TaskProcess(tmp_path, tmp_path / "logs")
    try:
        assert process.run("isolation", "Noop", n="1").outcome is Outcome.DONE
        shutil.rmtree(tmp_path / "logs")
        for n in range(3):
            assert process.run("isolation", "Prints", n=str(n)).outcome is Outcome.DONE
        report = process.run("isolation", "PrintsAndFails")
        assert report.error == "ValueError: of the task"
        assert report.tail.endswith("what else was printed is not kept]")
    finally:
        process.close()


def test_runner_write_error_of_its_own_file_stays_an_error(tmp_path: Path) -> None:
    """A task that has put a file of its own behind stdout hears of its full disk."""
    (tmp_path / "isolation.py").write_text(MODULE)
    with small_disk(tmp_path / "own", "size=64k"):
        process = TaskProcess(tmp_path, tmp_path / "logs")
        try:
            report = process.run("isolation", "PrintsToItsOwn")
            assert report.error == "OSError: [Errno 28] No space left on device"
        finally:
            process.close()


def test_output_directory_over_its_bounds_loses_the_oldest_files(tmp_path: Path) -> None:
    for n in range(10):
        path = tmp_path / f"T.{n}.log"
        path.write_bytes(b"x" * 4096)
        os.utime(path, (n, n))
    (tmp_path / "current.1").write_text("")
    surplus = output.surplus(tmp_path, bytes_max=1 << 20, files_max=4)
    assert len(surplus) == 6
    output.remove(surplus, 0.0)
    assert [os.path.basename(path) for path in surplus] == [f"T.{n}.log" for n in range(5, 0, -1)]
    output.remove(surplus, 60.0)
    assert not surplus
    assert len(output.surplus(tmp_path, bytes_max=3 * 4096)) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "T.6.log",
        "T.7.log",
        "T.8.log",
        "T.9.log",
        "current.1",
    ]


@pytest.mark.parametrize(
    ("how", "outcome", "status"),
    [
        ("returns", Outcome.DONE, "0"),
        ("exits", Outcome.DONE, "7"),
        ("raises", Outcome.FAILED, "1"),
    ],
)
def test_runner_child_that_comes_back_from_run_ends_and_reports_nothing(
    runner: TaskProcess, tmp_path: Path, how: str, outcome: Outcome, status: str
) -> None:
    report = runner.run("isolation", "Forks", how=how)
    assert report.outcome is outcome
    assert (tmp_path / "status").read_text() == status
    if how == "raises":
        assert report.error == "ValueError: said by the parent"
        assert "said by the child" in report.tail
    assert runner.run("isolation", "Noop", n="1").outcome is Outcome.DONE


def test_runner_pool_of_processes_ends_without_a_trace_in_the_output(
    runner: TaskProcess, tmp_path: Path
) -> None:
    assert runner.run("isolation", "Pools").outcome is Outcome.DONE
    assert not [each.name for each in runner.log_dir.glob("Pools*.log")]
