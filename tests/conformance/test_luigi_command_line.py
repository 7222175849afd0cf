"""Luigi's flags behind ``python pipeline.py Task``: obeyed, or explained in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import luigi
import luigi.cmdline
import pytest

from flow.settings import luigi_flags

TIMEOUT_S = 60.0
PIPELINE = """
import flow as luigi


class Count(luigi.Task):
    fail = luigi.BoolParameter()
    email_format = luigi.Parameter(default="none")

    def output(self):
        return luigi.LocalTarget("done")

    def run(self):
        with open("tries", "a") as out:
            out.write(self.email_format + "\\n")
        if self.fail:
            raise ValueError("as asked")
        with self.output().open("w") as out:
            out.write("x")


if __name__ == "__main__":
    luigi.run()
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "command.py").write_text(
        PIPELINE.replace("luigi.run()", "luigi.cmdline.luigi_run()\n    print('not reached')")
    )
    monkeypatch.delenv("FLOW_COORDINATOR", raising=False)

    def run(*words: str, file: str = "pipeline.py") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, file, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=dict(os.environ),
        )

    return run


def tries(folder: Path) -> list[str]:
    return (folder / "tries").read_text().split()


def test_every_flag_of_luigis_own_is_known_with_and_without_a_value() -> None:
    ours = luigi_flags.flags()
    for family, bare, name, param in luigi.task_register.Register.get_all_params():
        if family not in {*luigi_flags.SECTIONS, "core"} or name in ("help", "workers"):
            continue
        flag = ours[name if bare else f"{family}_{name}"]
        assert (flag.metavar == "") is isinstance(param, luigi.BoolParameter), (family, name)
        assert bool(flag.setting) is not bool(flag.why)


def test_flags_that_flow_has_too_are_obeyed(script: Any, tmp_path: Path) -> None:
    done = script(
        *("Count", "--fail", "--local-scheduler", "--no-lock", "--log-level", "WARNING"),
        *("--scheduler-retry-count", "2", "--scheduler-retry-delay=0.1", "--retcode-task-failed=3"),
    )
    assert done.returncode == 3, done.stderr
    assert len(tries(tmp_path)) == 2
    assert "no effect" not in done.stderr


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--retcode-already-running=7", "no lock file is taken"),
        ("--worker-keep-alive", "waits for all its tasks"),
        ("--worker-retry-external-tasks", "--wait-for-external"),
        ("--scheduler-record-task-history", "history_runs_max"),
        ("--scheduler-host=luigid", "flow submit"),
    ],
)
def test_flag_without_effect_says_why_and_the_task_runs(
    script: Any, tmp_path: Path, flag: str, said: str
) -> None:
    done = script(flag, "Count")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "no effect" in line]
    assert line.startswith(flag.partition("=")[0])
    assert said in line
    assert "no effect" not in script(flag, "Count", "--quiet").stderr


@pytest.mark.parametrize(
    "words", [("Count", "--local-sched"), ("--local-sched", "Count"), ("Count", "--log-lev=INFO")]
)
def test_shortened_flag_is_refused_with_the_whole_name(script: Any, words: tuple[str]) -> None:
    done = script(*words)
    assert done.returncode == 2
    assert ("--local-scheduler" if "--local-sched" in words else "--log-level") in done.stderr
    assert "written whole" in done.stderr


@pytest.mark.parametrize(("flag", "said"), [("--dry-run", "flow graph"), ("--force", "flow clean")])
def test_flag_that_nobody_has_tells_what_there_is(script: Any, flag: str, said: str) -> None:
    done = script("Count", flag)
    assert done.returncode == 2
    assert said in done.stderr


def test_flag_with_a_bad_value_is_named(script: Any) -> None:
    done = script("Count", "--scheduler-retry-count", "often")
    assert done.returncode == 2
    assert "--scheduler-retry-count: 'often' is not a number" in done.stderr


def test_parameter_with_the_name_of_a_flag_is_the_tasks(script: Any, tmp_path: Path) -> None:
    assert script("Count", "--email-format", "mine").returncode == 0
    assert tries(tmp_path) == ["mine"]


def test_parameter_without_its_value_is_refused(script: Any) -> None:
    done = script("Count", "--email-format")
    assert done.returncode == 2
    assert "--email-format needs a value" in done.stderr


def test_command_exits_with_the_codes_of_luigis_settings(script: Any, tmp_path: Path) -> None:
    (tmp_path / "luigi.cfg").write_text(
        "[retcode]\ntask_failed=77\n[scheduler]\nretry_count=2\nretry_delay=0.1\n"
    )
    for file in ("pipeline.py", "command.py"):
        assert script("Count", "--fail", file=file).returncode == 77
    assert len(tries(tmp_path)) == 4
    flow_run = [sys.executable, "-m", "flow", "run", "pipeline", "Count", "--fail"]
    assert subprocess.run(flow_run, cwd=tmp_path, capture_output=True).returncode == 77


def test_luigi_run_exits_also_after_success(script: Any, tmp_path: Path) -> None:
    done = script("Count", "--local-scheduler", file="command.py")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "done").exists()
    assert "not reached" not in done.stdout


def test_flag_of_luigi_behind_flow_run_is_explained(script: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flow", "run", "pipeline", "Count", "--local-scheduler"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--local-scheduler is an option of Luigi's command line" in done.stderr


#: A published kind of script: it names its settings file, and runs.
SETTLED = """
import sys, threading, time
import flow as luigi

class Greet(luigi.Task):
    text = luigi.Parameter(default="unset")
    def output(self):
        return luigi.LocalTarget("./output/greeting.txt")
    def run(self):
        if self.text == "fail":
            raise ValueError("as asked")
        with self.output().open("w") as out:
            out.write(self.text)

if __name__ == "__main__":
    luigi.configuration.{parser}.add_config_path("./settings.{ending}")
    {before}
    luigi.run()
"""
#: With a thread, tasks are not forked from the program but import it anew.
THREAD = "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"


@pytest.mark.parametrize("before", ["pass", THREAD], ids=["forked", "anew"])
@pytest.mark.parametrize(
    ("parser", "ending"), [("LuigiConfigParser", "cfg"), ("LuigiTomlParser", "toml")]
)
def test_file_that_a_script_adds_counts_for_its_tasks_and_its_exit_code(
    script: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parser: str,
    ending: str,
    before: str,
) -> None:
    text = SETTLED.format(parser=parser, ending=ending, before=before)
    (tmp_path / "settled.py").write_text(text)
    quote = '"' if ending == "toml" else ""
    settings = f"[Greet]\ntext = {quote}Hi!!{quote}\n[retcode]\ntask_failed = 66\n"
    (tmp_path / f"settings.{ending}").write_text(settings)
    monkeypatch.setenv("LUIGI_CONFIG_PARSER", ending)
    done = script("Greet", "--local-scheduler", file="settled.py")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "output/greeting.txt").read_text() == "Hi!!"
    (tmp_path / "output/greeting.txt").unlink()
    assert script("Greet", "--text", "fail", file="settled.py").returncode == 66
