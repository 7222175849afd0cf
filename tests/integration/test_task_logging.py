"""What becomes of what tasks log: in task processes, and in a script that runs its own tasks."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flow.usercode import tasklogs

TIMEOUT_S = 60.0

PIPELINE = """
import logging, os, sys
import flow

luigis = logging.getLogger("luigi-interface")
own = logging.getLogger("mine.part")

class Says(flow.Task):
    how = flow.Parameter(default="plain")

    def run(self):
        if self.how == "basic":
            logging.basicConfig(format="MY-OWN %(message)s", level="WARNING", stream=sys.stderr)
        if self.how == "closed":
            sys.stderr.close()
        luigis.debug("a debug line")
        luigis.info("an info line")
        own.warning("a warning line")
        own.error("an error line", extra={"city": "Oslo"})
        raise ValueError("to see the output")

class Quiet(flow.Task):
    def run(self):
        luigis.info("a later line")
        raise ValueError("to see the output")

if __name__ == "__main__":
    flow.run()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    monkeypatch.delenv("FLOW_COORDINATOR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, settings: str = "", **env: str) -> str:
    """Run with these settings; return all that was shown."""
    Path("flow.toml").write_text(settings)
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, **env},
    )
    assert done.returncode == 30, done.stderr + done.stdout
    return done.stdout + done.stderr


def flow(*words: str, settings: str = "", **env: str) -> str:
    return run("-m", "flow", "run", "pipeline", *words, settings=settings, **env)


def test_loggers_of_luigi_and_of_the_module_come_out_as_luigi_writes_them(place: Path) -> None:
    out = flow("Says")
    for line in ("INFO: an info line", "WARNING: a warning line", "ERROR: an error line"):
        assert line in out
    assert "debug line" not in out


@pytest.mark.parametrize("level", ["debug", "DEBUG"])
def test_level_debug_shows_more_in_any_case(place: Path, level: str) -> None:
    assert "DEBUG: a debug line" in flow("Says", settings=f'logs.level = "{level}"')


def test_level_error_from_the_environment_shows_less(place: Path) -> None:
    out = flow("Says", FLOW_LOGS__LEVEL="error")
    assert "ERROR: an error line" in out
    assert "warning line" not in out


def test_program_that_sets_up_logging_itself_has_its_way(place: Path) -> None:
    out = flow("Says", "--how", "basic")
    assert "MY-OWN a warning line" in out
    assert "WARNING: a warning line" not in out
    assert "info line" not in out


def test_stderr_closed_by_a_task_does_not_fail_its_logging(place: Path) -> None:
    assert "to see the output" in flow("Says", "--how", "closed")


@pytest.mark.parametrize("form", ["plain", "json"])
def test_log_line_that_cannot_be_built_is_told_and_one_with_odd_fields_is_written(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    class Hostile:
        def __str__(self) -> str:
            raise ValueError("no text")

    circle: dict[str, Any] = {}
    circle["itself"] = circle
    log = logging.Logger("odd")
    log.addHandler(tasklogs.StderrHandler())
    if form == "json":
        log.handlers[0].setFormatter(tasklogs.JsonFormatter())
    log.warning(Hostile())
    assert "no text" in capsys.readouterr().err
    log.warning("%z", 1)
    assert "unsupported format character" in capsys.readouterr().err
    for field in ({(1, 2): 3}, circle, Hostile(), float("nan")):
        log.warning("a line", extra={"field": field})
        (line,) = capsys.readouterr().err.splitlines()
        assert json.loads(line)["field"] == repr(field) if form == "json" else line == "a line"


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_json_in_a_file_has_fields_and_holds_for_everything(place: Path) -> None:
    (place / "logs").mkdir()
    settings = 'logs = {format = "json", file = "logs/tasks.log"}'
    flow("Says", "--how", "basic", settings=settings)
    lines = lines_of((place / "logs/tasks.log").read_text())
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert lines[2]["city"] == "Oslo"
    assert lines[2]["logger"] == "mine.part"
    assert lines[2]["message"] == "an error line"
    assert lines[2]["attempt"] == "1"
    assert lines[2]["token"]


def test_config_of_each_kind_replaces_the_rest(place: Path) -> None:
    ini = """
[loggers]
keys=root
[handlers]
keys=err
[formatters]
keys=f
[logger_root]
level=DEBUG
handlers=err
[handler_err]
class=StreamHandler
args=(sys.stderr,)
formatter=f
[formatter_f]
format=CONFIGURED %(name)s %(message)s
"""
    values = {
        "formatters": {"f": {"format": "CONFIGURED %(name)s %(message)s"}},
        "handlers": {"err": {"class": "logging.StreamHandler", "formatter": "f"}},
        "root": {"level": "DEBUG", "handlers": ["err"]},
    }
    toml = (
        'formatters.f.format = "CONFIGURED %(name)s %(message)s"\n'
        'handlers.err = {class = "logging.StreamHandler", formatter = "f"}\n'
        'root = {level = "DEBUG", handlers = ["err"]}\n'
    )
    for name, text in {"l.ini": ini, "l.json": json.dumps(values), "l.toml": toml}.items():
        (place / name).write_text(text)
        out = flow("Says", settings=f'logs.config = "{name}"')
        assert "CONFIGURED luigi-interface a debug line" in out, name


def test_no_configure_logging_leaves_python_as_it_is(place: Path) -> None:
    out = flow("Says", settings="logs.no_configure_logging = true")
    assert "a warning line" in out
    assert "WARNING: a warning line" not in out
    assert "info line" not in out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('logs.config = "no-such.toml"', "No such file"),
        ('logs.config = "pipeline.py"', "[logs] config"),
        ('logs.file = "no/such/folder/file"', "there is no folder"),
        ('logs.level = "loud"', "[logs] level"),
    ],
)
def test_wrong_setting_stops_the_worker_at_its_start(place: Path, settings: str, said: str) -> None:
    (place / "flow.toml").write_text(settings)
    done = subprocess.run(
        [sys.executable, "-m", "flow_worker", "--coordinator", "tcp://127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 78, done.stderr
    assert said in done.stderr


def test_config_that_python_refuses_is_told_and_tasks_still_run(place: Path) -> None:
    (place / "l.json").write_text('{"handlers": {"x": {"class": "no.such.Handler"}}}')
    out = flow("Says", settings='logs.config = "l.json"')
    assert "to see the output" in out
    assert "an error line" in out


def test_script_that_runs_its_own_tasks_logs_as_task_processes_do(place: Path) -> None:
    for words in (["Says"], ["Says", "--in-process"]):
        out = run("pipeline.py", *words)
        assert "INFO: an info line" in out, words
        assert "WARNING: a warning line" in out, words
