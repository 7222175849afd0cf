"""Whole runs on an S3 server, and writers that are killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import flow
from flow.targets import RemoteTarget
from tests.support import half_writer, remote_tasks
from tests.support.flow_command import run_flow
from tests.support.remote_servers import BUCKET, REPOSITORY, ftp_server, s3_server

TASKS = "tests.support.remote_tasks"
FORMATS = sorted(half_writer.FORMATS)


@pytest.fixture(scope="module")
def s3():
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    with s3_server() as server:
        yield server


def kill_in_the_middle(url: str, form: str, environment: dict[str, str]) -> None:
    """Have a process write half of a target, and kill it."""
    process = subprocess.Popen(
        [sys.executable, "-m", half_writer.__name__, url, form],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == b"half\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.mark.parametrize("form", FORMATS)
def test_local_target_whose_writer_is_killed_does_not_exist(tmp_path, form):
    target = flow.LocalTarget(tmp_path / "out")
    kill_in_the_middle(target.path, form, {})
    assert not target.exists()
    assert all("-flow-tmp-" in each.name for each in tmp_path.iterdir())


@pytest.mark.parametrize("form", FORMATS)
def test_file_url_whose_writer_is_killed_does_not_exist(tmp_path, form):
    (tmp_path / "out").write_text("old")
    kill_in_the_middle(f"file://{tmp_path}/out", form, {})
    assert (tmp_path / "out").read_text() == "old"


@pytest.mark.parametrize("form", FORMATS)
def test_s3_object_whose_writer_is_killed_does_not_exist(s3, form):
    key = f"killed/{form}"
    kill_in_the_middle(f"s3://{BUCKET}/{key}", form, s3.environment)
    seen = [each for each in s3.visible() if "-flow-tmp-" not in each]
    assert key not in seen
    if form in ("Nop", "Gzip", "Bzip2"):
        assert key in s3.unfinished(), "the kill was to hit an upload under way"


@pytest.mark.parametrize("form", ["Nop", "Text>>Gzip"])
def test_ftp_file_whose_writer_is_killed_does_not_exist(tmp_path, form):
    pytest.importorskip("pyftpdlib")
    with ftp_server(tmp_path) as url:
        kill_in_the_middle(f"{url}/out", form, {})
        assert not RemoteTarget(f"{url}/out").exists()
    assert all("-flow-tmp-" in each.name for each in tmp_path.iterdir())


def test_pipeline_on_s3_runs_once_and_is_then_complete(s3):
    root = f"s3://{BUCKET}/pipeline"
    words = ("run", TASKS, "Word", "--root", root, "--workers", "2")
    first = run_flow(*words, env=s3.environment)
    assert first.returncode == 0, first.stdout + first.stderr
    options = s3.options
    with RemoteTarget(f"{root}/word.txt", storage_options=options).open() as source:
        assert source.read() == "abcdefghijklz"
    assert "14 ran successfully" in first.stdout, first.stdout
    assert [each for each in s3.visible() if "-flow-tmp-" in each and "pipeline" in each] == []
    again = run_flow(*words, env=s3.environment)
    assert again.returncode == 0
    assert "ran successfully" not in again.stdout, again.stdout
    s3.client().delete_object(Bucket=BUCKET, Key="pipeline/word.txt")
    partly = run_flow(*words, env=s3.environment)
    assert "1 ran successfully" in partly.stdout, partly.stdout


def test_build_in_a_program_that_already_used_the_store_works(s3, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import flow\n"
        "from tests.support.remote_tasks import Word\n"
        f"word = Word(root='s3://{BUCKET}/built', count=3)\n"
        "if __name__ == '__main__':\n"
        "    assert not word.complete()\n"
        "    assert flow.build([word], workers=2)\n"
        "    assert word.complete()\n"
        "    assert flow.build([Word(root=word.root + '2', count=2)], in_process=True)\n"
        "    print(word.output().open().read())\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        env={**os.environ, **s3.environment, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("abcz")


def test_mock_targets_are_shared_by_the_processes_of_a_run(tmp_path):
    environment = {"FLOW_MOCK_DIR": ""}
    path = tmp_path / "out"
    ended = run_flow("run", TASKS, "ReadsMocked", "--path", str(path), env=environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert path.read_text() == "0123"


@pytest.mark.parametrize("options", [{"workers": 2}, {"in_process": True}], ids=str)
def test_mock_targets_are_shared_with_the_program_that_builds(options):
    flow.mock.MockFileSystem().clear()
    assert flow.build([remote_tasks.Mocked(number=7)], quiet=True, **options)
    assert flow.mock.MockTarget.fs.get_data("mocked-7") == b"7"


def test_run_anyway_task_runs_in_every_run_and_once(tmp_path):
    log = tmp_path / "log"
    for expected in (1, 2):
        ended = run_flow("run", TASKS, "AfterAnyway", "--log", str(log))
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert Path(log).read_text().count("ran") == expected
