"""``flow run`` of pipelines whose targets are in databases, with loads killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.servers import PASSWORD

TIMEOUT_S = 90.0
ROWS = 500

PIPELINE = """
import os, time
import sqlalchemy as sa
import flow
from flow.targets.redis import RedisTarget
from flow.targets.sql import CopyToTable

HERE = os.path.dirname(os.path.abspath(__file__))

def say(name, text=""):
    with open(os.path.join(HERE, name + ".part"), "w") as out:
        out.write(text)
    os.replace(os.path.join(HERE, name + ".part"), os.path.join(HERE, name))

def hold(where):
    "Tell the test who is in mid-load, until it says go."
    say(where, str(os.getpid()))
    until = time.monotonic() + 60
    while not os.path.exists(os.path.join(HERE, "go")) and time.monotonic() < until:
        time.sleep(0.01)

class Source(flow.Task):
    def output(self):
        return flow.LocalTarget(os.path.join(HERE, "source.tsv"))

    def run(self):
        with self.output().open("w") as out:
            for n in range(500):
                print(n, "city", sep="\\t", file=out)

class Load(CopyToTable):
    connection_string = os.environ["TEST_DATABASE"]
    table = "cities"
    columns = [(["id", sa.Integer], {}), (["city", sa.String(64)], {})]
    chunk_size = 100

    def requires(self):
        return Source()

    def rows(self):
        for n, (number, city) in enumerate(super().rows()):
            if n == 250:
                hold("loading")
            yield int(number), city

class Counted(flow.Task):
    "Counts the rows, marked in Redis."

    def requires(self):
        return Load()

    def output(self):
        port = int(os.environ["TEST_REDIS"])
        return RedisTarget("localhost", port, 0, self.task_id, os.environ["TEST_PASSWORD"])

    def run(self):
        with self.input().engine.connect() as connection:
            count = connection.execute(sa.text("SELECT count(*) FROM cities")).scalar()
        hold("counting")
        self.output().redis_client.set("count", count)
        self.output().touch()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with the pipeline; whatever a killed ``flow run`` left there is waited for."""
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("TEST_PASSWORD", PASSWORD)
    monkeypatch.delenv("FLOW_COORDINATOR", raising=False)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    (tmp_path / "go").touch()


def start(family: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "flow", "run", "pipeline", family, "--workers", "2"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, out


def wait_until(condition: Callable[[], Any], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def somebody_in(file: Path, process: subprocess.Popen[str]) -> int:
    """Wait until a task holds there; return its pid."""
    wait_until(
        lambda: file.exists() or process.poll() is not None, lambda: sorted(file.parent.iterdir())
    )
    assert file.exists(), finish(process)
    return int(file.read_text())


def query(url: str, text: str) -> Any:
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            return connection.execute(sa.text(text)).scalar()
    finally:
        engine.dispose()


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def assert_one_copy(url: str) -> None:
    counts = (
        query(url, "SELECT count(*) FROM cities"),
        query(url, "SELECT count(DISTINCT id) FROM cities"),
    )
    assert counts == (ROWS, ROWS)
    assert query(url, "SELECT count(*) FROM table_updates") == 1


def test_load_killed_in_the_middle_runs_again_and_leaves_one_copy(
    place: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_DATABASE", database_url)
    process = start("Load")
    pid = somebody_in(place / "loading", process)
    (place / "loading").unlink()
    os.kill(pid, signal.SIGKILL)
    (place / "go").touch()
    code, out = finish(process)
    assert code == 0, out
    assert int((place / "loading").read_text()) != pid
    assert_one_copy(database_url)
    code, out = finish(start("Load"))
    assert code == 0, out
    assert "complete" in out
    assert_one_copy(database_url)


def test_whole_run_killed_in_mid_load_leaves_nothing_and_the_next_one_copy(
    place: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_DATABASE", database_url)
    process = start("Load")
    pid = somebody_in(place / "loading", process)
    process.kill()
    finish(process)
    wait_until(lambda: gone(pid), lambda: f"{pid} still loads")
    wait_until(
        lambda: (
            query(database_url, "SELECT count(*) FROM table_updates") == 0
            and query(database_url, "SELECT count(*) FROM cities") == 0
        ),
        lambda: "rows of a killed load are visible",
    )
    (place / "go").touch()
    code, out = finish(start("Load"))
    assert code == 0, out
    assert_one_copy(database_url)


def test_redis_mark_of_a_task_killed_before_it_is_made_again(
    place: Path, database_url: str, redis_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    monkeypatch.setenv("TEST_DATABASE", database_url)
    monkeypatch.setenv("TEST_REDIS", str(redis_port))
    client = redis.Redis(port=redis_port, password=PASSWORD)
    process = start("Counted")
    somebody_in(place / "loading", process)
    (place / "go").touch()
    code, out = finish(process)
    assert (code, client.get("count")) == (0, str(ROWS).encode()), out
    client.flushall()
    (place / "go").unlink()
    (place / "counting").unlink()
    process = start("Counted")
    pid = somebody_in(place / "counting", process)
    os.kill(pid, signal.SIGKILL)
    assert not client.keys("luigi:*")
    (place / "go").touch()
    code, out = finish(process)
    assert code == 0, out
    assert len(client.keys("luigi:Counted_*")) == 1
    assert_one_copy(database_url)
    assert PASSWORD not in out
