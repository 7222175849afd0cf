"""``flow run``, ``flow.run()`` and ``flow.build()`` with the real engine in child processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.flow_command import InTerminal

TIMEOUT_S = 60.0

PIPELINE = '''
import os, time
from flow.local.embedded import build, run
from flow.parameters.scalar import IntParameter, StrParameter
from flow.task import Task

HERE = os.path.dirname(os.path.abspath(__file__))

def say(text):
    with open(os.path.join(HERE, "said"), "a") as said:
        said.write(text + "\\n")

class Leaf(Task):
    """A leaf."""

    n = IntParameter(description="which one")

    def run(self):
        print("leaf", self.n)
        if self.n == 3:
            raise ValueError("three is bad")

class Top(Task):
    count = IntParameter(default=2)

    def requires(self):
        return [Leaf(n=n) for n in range(self.count)]

class Slow(Task):
    name = StrParameter(default="a")

    def run(self):
        say("begin " + self.name)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not os.path.exists(os.path.join(HERE, "go")):
            time.sleep(0.02)
        say("end " + self.name)

class AfterSlow(Task):
    def requires(self):
        return Slow()

    def run(self):
        say("after")
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a pipeline, a temporary directory, and no settings."""
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.delenv("FLOW_COORDINATOR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(
    *words: str, stdin: str | None = None, timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=timeout_s, input=stdin
    )


def flow(*words: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "flow", *words)


def said(place: Path) -> list[str]:
    path = place / "said"
    return path.read_text().splitlines() if path.exists() else []


def wait_until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def processes_of(place: Path) -> list[str]:
    """Command lines of living processes that name this test's directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                environment = (entry / "environ").read_bytes().decode(errors="replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state != "Z" and f"TMPDIR={place}/tmp" in environment.split("\0"):
                found.append(f"{entry.name} {line}")
    return found


def assert_nothing_left(place: Path, *, directories: bool = True) -> None:
    wait_until(lambda: not processes_of(place), lambda: f"left: {processes_of(place)}")
    if directories:
        assert [each for each in (place / "tmp").rglob("*") if each.is_dir()][1:] == []


def test_run_success_is_0_with_the_summary_on_stdout(place: Path) -> None:
    found = flow("run", "pipeline", "Top")
    assert found.returncode == 0, found.stderr
    assert "* 3 ran successfully:" in found.stdout
    assert "    - 2 Leaf(n=0) and Leaf(n=1)" in found.stdout
    assert "This progress looks :)" in found.stdout
    assert_nothing_left(place)


def test_run_failed_task_is_30_and_shows_its_output(place: Path) -> None:
    found = flow("run", "pipeline.py", "Top", "--count", "4", "--workers", "1")
    assert found.returncode == 30, found.stderr
    assert "✗ Leaf(n=3)  failed on" in found.stderr
    assert "ValueError: three is bad" in found.stderr
    assert "    | leaf 3" in found.stderr
    assert "flow why" not in found.stderr
    assert "1 had failed dependencies:" in found.stdout
    assert_nothing_left(place)


@pytest.mark.parametrize(
    ("words", "code", "piece"),
    [
        (["pipeline", "Tpo"], 2, "Did you mean 'Top'?"),
        (["pipeline", "Top", "--cuont", "3"], 2, "Did you mean 'count'?"),
        (["pipeline", "Top", "--count", "many"], 2, "many"),
        (["pipelime", "Top"], 35, "pipelime"),
    ],
)
def test_run_what_cannot_be_planned_has_its_code(
    place: Path, words: list[str], code: int, piece: str
) -> None:
    found = flow("run", *words)
    assert found.returncode == code, found.stderr
    assert piece in found.stderr


def test_run_json_ends_with_the_result(place: Path) -> None:
    found = flow("run", "pipeline", "Top", "--json")
    events = [json.loads(line) for line in found.stdout.splitlines()]
    assert events[0]["event"] == "submitted"
    assert events[-1]["event"] == "result"
    assert events[-1]["exit_code"] == 0


def test_run_state_dir_is_kept(place: Path) -> None:
    assert flow("run", "pipeline", "Top", "--state-dir", "kept").returncode == 0
    assert any((place / "kept").iterdir())
    assert_nothing_left(place)


def test_run_module_alone_lists_its_tasks(place: Path) -> None:
    found = flow("run", "pipeline")
    assert found.returncode == 0
    assert "  Leaf       A leaf.\n" in found.stdout


def test_run_task_help_shows_parameters(place: Path) -> None:
    found = flow("run", "pipeline", "Leaf", "--help")
    assert found.returncode == 0
    assert "--n  (IntParameter: a whole number)  required\n    which one\n" in found.stdout
    assert "[default: 2]" in flow("run", "pipeline", "Top", "--help").stdout
    (place / "flow.toml").write_text('[task.Leaf]\nn = "7"\n')
    assert "[default: 7, from [task.Leaf]]" in flow("run", "pipeline", "Leaf", "--help").stdout


def test_run_first_ctrl_c_finishes_what_runs(place: Path) -> None:
    with InTerminal("run", "pipeline", "AfterSlow") as terminal:
        wait_until(lambda: said(place) == ["begin a"], lambda: terminal.text)
        terminal.press_ctrl_c()
        terminal.expect("Finishing what runs")
        (place / "go").touch()
        assert terminal.wait() == 130
    assert said(place) == ["begin a", "end a"]
    assert "* 1 ran successfully:" in terminal.text
    assert_nothing_left(place)


def test_run_second_ctrl_c_kills(place: Path) -> None:
    with InTerminal("run", "pipeline", "Slow") as terminal:
        wait_until(lambda: said(place) == ["begin a"], lambda: terminal.text)
        terminal.press_ctrl_c()
        terminal.expect("Finishing what runs")
        terminal.press_ctrl_c()
        assert terminal.wait() == 130
    assert said(place) == ["begin a"]
    assert_nothing_left(place)


def test_run_timeout_is_124_and_kills(place: Path) -> None:
    found = flow("run", "pipeline", "Slow", "--timeout", "2s")
    assert found.returncode == 124
    assert "end a" not in said(place)
    assert_nothing_left(place)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_run_terminated_leaves_nothing(place: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "flow", "run", "-q", "pipeline", "Slow"],
        # whoever runs the tests may have said nohup
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    wait_until(lambda: said(place) == ["begin a"], lambda: "the task to begin")
    process.send_signal(number)
    assert process.wait(TIMEOUT_S) == 130
    assert_nothing_left(place)


def test_run_killed_leaves_no_process_and_the_next_one_cleans_up(place: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "flow", "run", "-q", "pipeline", "Slow"])
    wait_until(lambda: said(place) == ["begin a"], lambda: "the task to begin")
    process.kill()
    process.wait()
    assert_nothing_left(place, directories=False)
    assert flow("run", "pipeline", "Top").returncode == 0
    assert_nothing_left(place)


def test_script_success_goes_on_behind_run(place: Path) -> None:
    (place / "script.py").write_text(
        PIPELINE + "\nif __name__ == '__main__':\n    run()\n    print('behind')\n"
    )
    found = python("script.py", "Top", "--summary", "none")
    assert found.returncode == 0, found.stderr
    assert sorted(found.stdout.splitlines()) == ["behind", "leaf 0", "leaf 1"]
    assert found.stdout.endswith("behind\n")


@pytest.mark.parametrize(
    ("words", "code", "piece"),
    [
        (["Top", "--count", "4"], 30, "three is bad"),
        (["Tpo"], 2, "Did you mean 'Top'?"),
        ([], 2, "Its tasks: AfterSlow, Leaf, Slow, Top"),
        (["Top", "--count", "x"], 2, "count"),
    ],
)
def test_script_failure_is_the_exit_code(
    place: Path, words: list[str], code: int, piece: str
) -> None:
    (place / "script.py").write_text(
        PIPELINE + "\nif __name__ == '__main__':\n    run()\n    print('behind')\n"
    )
    found = python("script.py", *words)
    assert found.returncode == code
    assert piece in found.stderr
    assert "behind" not in found.stdout


def test_script_without_guard_runs_once(place: Path) -> None:
    (place / "script.py").write_text(PIPELINE + "\nsay('imported')\nrun()\n")
    found = python("script.py", "Top")
    assert found.returncode == 0, found.stderr
    assert said(place) == ["imported"]


def test_script_without_guard_that_is_imported_afresh_does_not_start_itself_again(
    place: Path,
) -> None:
    thread = "import threading\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
    (place / "script.py").write_text(f"{PIPELINE}\n{thread}\nrun()\n")
    found = python("script.py", "Top")
    assert found.returncode == 35
    assert '__name__ == "__main__"' in found.stderr


def test_build_returns_a_result_that_tells(place: Path) -> None:
    (place / "program.py").write_text(
        "import pipeline as p\n"
        "if __name__ == '__main__':\n"
        "    good = p.build([p.Top()], workers=2, local_scheduler=True, no_lock=True)\n"
        "    bad = p.build([p.Top(count=4), p.Leaf(n=3)], detailed_summary=True)\n"
        "    print(bool(good), good.status.name, good.scheduling_succeeded, good.failed)\n"
        "    print(bool(bad), bad.status.name, bad.scheduling_succeeded, bad.failed)\n"
        "    print(bad.one_line_summary, '* 1 failed:' in bad.summary_text, int(bad.exit_code))\n"
    )
    found = python("program.py")
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == [
        "True SUCCESS True []",
        "False FAILED True ['Leaf(n=3)']",
        "This progress looks :( because there were failed tasks True 30",
    ]
    assert_nothing_left(place)


def test_build_in_a_program_that_cleared_its_environment_shares_mock_targets(place: Path) -> None:
    (place / "program.py").write_text(
        "import os, flow\n"
        "from flow.targets.mock import MockTarget\n"
        "class Kept(flow.Task):\n"
        "    def output(self):\n"
        "        return MockTarget('kept')\n"
        "    def run(self):\n"
        "        self.output().open('w').close()\n"
        "if __name__ == '__main__':\n"
        "    tmp = os.environ['TMPDIR']\n"
        "    os.environ.clear()\n"
        "    os.environ['TMPDIR'] = tmp\n"
        "    print(bool(flow.build([Kept()], summary='none')), Kept().complete())\n"
    )
    found = python("program.py")
    assert found.stdout == "True True\n", found.stderr
    assert_nothing_left(place)


def test_build_tasks_of_a_shell_run_in_forks_of_it(place: Path) -> None:
    text = PIPELINE.replace("__file__", "'x'").replace(
        'print("leaf", self.n)', 'print("leaf", self.n, os.getpid() == MAIN)'
    )
    text += "\nMAIN = os.getpid()\nresult = build([Top()])\nprint(bool(result))\n"
    found = python("-", stdin=text)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == ["True"]
    assert {"leaf 0 False", "leaf 1 False"} <= set(found.stderr.splitlines())
    assert "one at a time" not in found.stderr
    assert_nothing_left(place)


def test_build_tasks_of_a_shell_with_threads_run_in_the_calling_process(place: Path) -> None:
    text = PIPELINE.replace("__file__", "'x'").replace(
        'print("leaf", self.n)', 'print("leaf", self.n, os.getpid() == MAIN)'
    )
    text += (
        "\nimport threading\nMAIN, end = os.getpid(), threading.Event()\n"
        "threading.Thread(target=end.wait).start()\n"
        "result = build([Top()])\nprint(bool(result))\nend.set()\n"
    )
    found = python("-", stdin=text)
    assert found.returncode == 0, found.stderr
    assert sorted(found.stdout.splitlines()) == ["True", "leaf 0 True", "leaf 1 True"]
    assert "run in it, one at a time" in found.stderr
    assert_nothing_left(place)


def test_build_tasks_of_a_shell_that_fail_are_told(place: Path) -> None:
    text = PIPELINE.replace("__file__", "'x'")
    text += "\nresult = build([Leaf(n=3)])\nprint(bool(result), result.failed)\n"
    found = python("-", stdin=text)
    assert found.stdout.splitlines()[-1] == "False ['Leaf(n=3)']", found.stderr
    assert "ValueError: three is bad" in found.stderr


SHELL = (
    PIPELINE.replace("__file__", "'x'")
    + """
try:
    build([AfterSlow()])
except KeyboardInterrupt:
    say("interrupted")
"""
)


@pytest.mark.parametrize(
    ("presses", "ends"),
    [(1, ["begin a", "end a", "interrupted"]), (2, ["begin a", "interrupted"])],
)
def test_build_in_a_shell_interrupted_raises_in_the_program(
    place: Path, presses: int, ends: list[str]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(SHELL)
        process.stdin.close()
        wait_until(lambda: said(place) == ["begin a"], lambda: f"said {said(place)}")
        process.send_signal(signal.SIGINT)
        while "Finishing what runs" not in process.stderr.readline():
            assert process.poll() is None
        if presses == 2:
            process.send_signal(signal.SIGINT)
        else:
            (place / "go").touch()
        process.stderr.read()
        assert process.wait(TIMEOUT_S) == 0
    assert said(place) == ends
    assert_nothing_left(place)
