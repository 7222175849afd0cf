"""Tasks that run other programs: the same body with both libraries, and what flow adds."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import luigi
import luigi.contrib.external_program
import pytest

import flow

TIMEOUT_S = 30.0


@pytest.fixture(params=[flow, luigi], ids=["flow", "luigi"])
def programs(request: pytest.FixtureRequest) -> ModuleType:
    found: ModuleType = request.param.contrib.external_program
    return found


def task_of(programs: Any, script: str, **extra: Any) -> Any:
    class Program(programs.ExternalProgramTask):  # type: ignore[misc]
        def program_args(self) -> list[Any]:
            return ["sh", "-c", script]

    for name, value in extra.items():
        setattr(Program, name, value)
    return Program


def test_program_success_returns(programs: Any) -> None:
    task_of(programs, "exit 0")().run()


def test_program_failure_has_command_code_and_output(programs: Any) -> None:
    with pytest.raises(programs.ExternalProgramRunError) as caught:
        task_of(programs, "echo said; echo complained >&2; exit 3")().run()
    error = caught.value
    assert error.message == "Program failed with return code=3:"
    assert list(error.args)[:2] == ["sh", "-c"]
    assert (error.out, error.err) == ("said\n", "complained\n")
    assert "COMMAND: sh -c echo said" in str(error)
    assert "STDERR: complained" in str(error)


def test_program_output_not_captured_is_not_in_the_error(programs: Any) -> None:
    with pytest.raises(programs.ExternalProgramRunError) as caught:
        task_of(programs, "exit 1")(capture_output=False).run()
    assert (caught.value.out, caught.value.err) == (None, None)


def test_program_environment_reaches_the_program(programs: Any, tmp_path: Path) -> None:
    environment = {**os.environ, "SAID": "hello"}
    script = f'printf "%s" "$SAID" > {tmp_path}/said'
    task_of(programs, script, program_environment=lambda self: environment)().run()
    assert (tmp_path / "said").read_text() == "hello"


def test_program_parameters_do_not_count_for_identity(programs: Any) -> None:
    cls = task_of(programs, "exit 0")
    names = {name: (p.significant, p.positional) for name, p in cls.get_params()}
    assert names == {
        "capture_output": (False, False),
        "stream_for_searching_tracking_url": (False, False),
        "tracking_url_pattern": (False, False),
    }
    assert cls().task_id == cls(capture_output=False).task_id


def test_python_program_activates_the_environment(
    programs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Python(programs.ExternalPythonProgramTask):  # type: ignore[misc]
        def program_args(self) -> list[str]:
            return ["true"]

    monkeypatch.setenv("PYTHONPATH", "/b")
    monkeypatch.setenv("PATH", "/bin")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    found = Python(virtualenv="/venv", extra_pythonpath="/a").program_environment()
    assert found["PYTHONPATH"] == "/a:/b"
    assert found["PATH"] == "/venv/bin:/bin"
    assert found["VIRTUAL_ENV"] == "/venv"
    assert "PYTHONHOME" not in found


def test_python_path_without_a_path_before_gets_no_empty_entry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Python(flow.ExternalPythonProgramTask):
        pass

    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert Python(extra_pythonpath="/a").program_environment()["PYTHONPATH"] == "/a"


def test_program_error_names_changed_variables_but_not_their_values() -> None:
    environment = {**os.environ, "PASSWORD": "secret"}
    cls = task_of(
        flow.contrib.external_program, "exit 1", program_environment=lambda self: environment
    )
    with pytest.raises(flow.ExternalProgramRunError) as caught:
        cls().run()
    assert "ENVIRONMENT CHANGED: PASSWORD" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.env["PASSWORD"] == "secret"


def test_program_output_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    task_of(flow.contrib.external_program, "printf out; printf err >&2; printf '\\377'")().run()
    found = capsys.readouterr()
    assert found.out == "out\ufffd"
    assert found.err == "err"


@pytest.mark.parametrize(("code", "shown"), [(0, ""), (1, "err")])
def test_program_errors_can_be_held_until_it_fails(
    code: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cls = task_of(
        flow.contrib.external_program, f"printf err >&2; exit {code}", always_log_stderr=False
    )
    if code:
        with pytest.raises(flow.ExternalProgramRunError):
            cls().run()
    else:
        cls().run()
    assert capsys.readouterr().err == shown


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("capture", [True, False])
def test_tracking_url_is_found_while_the_program_runs(
    stream: str, capture: bool, tmp_path: Path
) -> None:
    urls = []

    def found(url: str) -> None:
        urls.append(url)
        (tmp_path / "go").write_text("")

    to = ">&2" if stream == "stderr" else ""
    script = f"echo UI at http://host/1 {to}; while ! test -e {tmp_path}/go; do sleep 0.02; done"
    cls = task_of(
        flow.contrib.external_program, script, build_tracking_url=lambda self, url: url + "/jobs"
    )
    task = cls(
        stream_for_searching_tracking_url=stream,
        tracking_url_pattern="UI at (.*)",
        capture_output=capture,
    )
    task.set_tracking_url = found
    task.run()
    assert urls == ["http://host/1/jobs"]


def test_tracking_url_pattern_without_a_group_gives_all_of_it() -> None:
    urls: list[str] = []
    cls = task_of(flow.contrib.external_program, "echo see http://host/1 now")
    task = cls(stream_for_searching_tracking_url="stdout", tracking_url_pattern=r"http:\S+")
    task.set_tracking_url = urls.append
    task.run()
    assert urls == ["http://host/1"]


def test_tracking_url_outside_the_engine_is_nobodys() -> None:
    cls = task_of(flow.contrib.external_program, "printf 'UI at x'")
    cls(stream_for_searching_tracking_url="stdout", tracking_url_pattern="UI at (.*)").run()


def test_program_with_endless_output_keeps_its_end_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 1"
    with pytest.raises(flow.ExternalProgramRunError) as caught:
        task_of(flow.contrib.external_program, script)().run()
    assert caught.value.out is not None
    assert caught.value.out.endswith("line 19999\n")
    assert len(caught.value.out) == 20_000


ALONE = """
import sys
import flow

class Program(flow.ExternalProgramTask):
    def program_args(self):
        return ["sh", "-c", "echo $$ > pid; exec sleep 1000"]

Program().run()
"""


def test_program_ends_when_its_process_is_terminated(tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text(ALONE)
    with subprocess.Popen([sys.executable, "alone.py"], cwd=tmp_path) as process:
        pid = wait_for_pid(tmp_path / "pid")
        process.terminate()
        assert process.wait(TIMEOUT_S) == 128 + 15
    wait_until_gone(pid)


PIPELINE = textwrap.dedent(
    """
    import flow

    class Program(flow.ExternalProgramTask):
        kind = flow.StrParameter()
        worker_timeout = 1

        def program_args(self):
            deaf = "trap '' TERM;" if self.kind == "deaf" else ""
            script = f"{deaf} echo started; echo $$ > {self.kind}; sleep 1000; sleep 999"
            return ["sh", "-c", script]
    """
)


@pytest.mark.parametrize("name", ["polite", "deaf"])
def test_program_ends_with_its_attempt(name: str, tmp_path: Path) -> None:
    (tmp_path / "programs.py").write_text(PIPELINE)
    found = subprocess.run(
        [sys.executable, "-m", "flow", "run", "programs", "Program", "--kind", name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert found.returncode == 30, found.stderr
    assert "timed out" in found.stderr or "timeout" in found.stderr
    assert "| started" in found.stderr
    wait_until_gone(wait_for_pid(tmp_path / name))


def wait_for_pid(path: Path) -> int:
    deadline = time.monotonic() + TIMEOUT_S
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < deadline, "the program did not start"
        time.sleep(0.01)
    return int(path.read_text())


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline, f"{pid} still runs"
        time.sleep(0.01)
