"""The engine's two processes: started, watched, ended, and nothing left of them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flow.errors import FlowError
from flow.local import children as module
from flow.local.children import Children

#: A child that behaves: makes the socket's file, ends when the pipe does.
GOOD = """
import os, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "--bind" in options:
    open(options["--bind"].removeprefix("ipc://"), "w").close()
os.read(int(options["--parent-fd"]), 1)
"""
DYING = "import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)"
STUBBORN = GOOD + "\nimport signal; signal.pause()\n"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short temporary directory for everything the children leave."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def programs(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], None]:
    """Put these in the place of coordinator and worker."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fakes"))

    def write(coordinator: str, worker: str) -> None:
        for name, text in (("flow_coordinator", coordinator), ("flow_worker", worker)):
            package = tmp_path / "fakes" / name
            package.mkdir(parents=True)
            (package / "__init__.py").touch()
            (package / "__main__.py").write_text(text)

    return write


def left_in(temporary: Path) -> list[Path]:
    return list((temporary / f"flow-{os.getuid()}").iterdir())


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_children_end_with_the_block_and_leave_nothing(
    programs: Callable[[str, str], None], temporary: Path
) -> None:
    programs(GOOD, GOOD)
    with Children(slots=1) as children:
        children.wait_ready()
        children.check()
        mode = stat.S_IMODE(os.stat(children.directory).st_mode)
        pids = [children.coordinator.pid, children.worker.pid]
    assert mode == 0o700
    assert left_in(temporary) == []
    assert not any(alive(pid) for pid in pids)


def test_children_one_that_dies_early_is_reported_with_its_last_lines(
    programs: Callable[[str, str], None], temporary: Path
) -> None:
    programs(DYING, GOOD)
    with pytest.raises(FlowError) as raised, Children(slots=1) as children:
        children.wait_ready()
    assert "the coordinator ended with code 3" in str(raised.value)
    assert "one" in raised.value.hint
    assert "two" in raised.value.hint
    assert left_in(temporary) == []


def test_children_worker_that_dies_is_reported_by_check(
    programs: Callable[[str, str], None],
) -> None:
    programs(GOOD, DYING)
    with Children(slots=1) as children:
        children.worker.wait(20)
        with pytest.raises(FlowError, match="the worker ended with code 3"):
            children.check()


def test_children_stubborn_ones_are_killed(
    programs: Callable[[str, str], None], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "END_TIMEOUT_S", 0.2)
    programs(STUBBORN, STUBBORN)
    with Children(slots=1) as children:
        children.wait_ready()
    assert children.coordinator.returncode == -signal.SIGKILL
    assert left_in(temporary) == []


def test_children_end_when_the_parent_is_killed_and_the_next_start_cleans_up(
    programs: Callable[[str, str], None], temporary: Path
) -> None:
    programs(GOOD, GOOD)
    code = (
        f"import tempfile; tempfile.tempdir = {str(temporary)!r}\n"
        "from flow.local.children import Children; c = Children(slots=1); c.wait_ready()\n"
        "print(c.coordinator.pid, c.worker.pid, flush=True); input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids = [int(each) for each in parent.stdout.readline().split()]
    assert len(left_in(temporary)) == 1
    parent.kill()
    with parent:  # closes its pipes
        parent.wait()
    wait_until(lambda: not any(alive(pid) for pid in pids), "the children to end")
    with Children(slots=1) as children:
        assert left_in(temporary) == [Path(children.directory)]
    assert left_in(temporary) == []


def test_children_directories_in_use_are_not_swept(
    programs: Callable[[str, str], None], temporary: Path
) -> None:
    programs(GOOD, GOOD)
    with Children(slots=1) as first, Children(slots=1) as second:
        assert first.directory != second.directory
        assert len(left_in(temporary)) == 2
        first.wait_ready()


def test_children_too_long_temporary_directory_is_not_used(
    programs: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(GOOD, GOOD)
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with Children(slots=1) as children:
        assert len(os.fsencode(children.address.removeprefix("ipc://"))) <= 107
        children.wait_ready()
    assert not os.path.exists(children.directory)


def test_children_directory_of_others_is_not_used(
    programs: Callable[[str, str], None], temporary: Path
) -> None:
    programs(GOOD, GOOD)
    base = temporary / f"flow-{os.getuid()}"
    base.mkdir(mode=0o777)
    base.chmod(0o777)
    with Children(slots=1) as children:
        assert not children.directory.startswith(str(base))
