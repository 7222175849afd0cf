"""What remote targets do without any store: they cost nothing, and say what they miss."""

import subprocess
import sys

import pytest

from flow.errors import ExitCode, UsageError
from flow.extras import MissingExtra
from flow.format import Nop
from flow.targets import LocalTarget, MockTarget, RemoteTarget, RunAnywayTarget, open_target

#: What each scheme answers where its package is not installed.
NOT_INSTALLED = {
    "s3": ("s3fs", "pip install 'flow-workflows[remote]'"),
    "gs": ("gcsfs", "pip install gcsfs"),
    "az": ("adlfs", "pip install adlfs"),
    "sftp": ("paramiko", "pip install paramiko"),
    "smb": ("smbclient", "pip install smbprotocol"),
    "http": ("aiohttp", "pip install aiohttp"),
    "webhdfs": ("requests", "pip install requests"),
    "memory": ("fsspec", "pip install 'flow-workflows[remote]'"),
}


def test_making_a_target_imports_nothing_and_connects_to_nothing():
    code = (
        "import sys\n"
        "from flow.targets import RemoteTarget, open_target\n"
        "RemoteTarget('s3://bucket/x'); open_target('ftp://no.such.host/x')\n"
        "print([m for m in ('fsspec', 's3fs', 'asyncio', 'ssl', 'gzip') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("scheme", "package", "line"), [(k, *v) for k, v in NOT_INSTALLED.items()])
def test_missing_package_is_answered_with_the_line_that_installs_it(
    monkeypatch, scheme, package, line
):
    for name in [*sys.modules]:
        if name.partition(".")[0] in (package, "fsspec"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra) as caught:
        RemoteTarget(f"{scheme}://host/x").exists()
    assert str(caught.value).endswith(line)
    assert caught.value.exit_code is ExitCode.CONFIG


def test_unknown_scheme_and_plain_path_are_refused():
    with pytest.raises(UsageError, match="nobody knows how to reach gopher://") as caught:
        RemoteTarget("gopher://host/x").exists()
    assert "s3" in caught.value.hint
    with pytest.raises(UsageError, match="is not a URL") as caught:
        RemoteTarget("/data/x")
    assert "LocalTarget" in caught.value.hint


def test_target_for_a_place_is_chosen_by_its_scheme(tmp_path):
    assert type(open_target(tmp_path / "x")) is LocalTarget
    assert open_target(f"file://{tmp_path}/x").path == f"{tmp_path}/x"
    mock = open_target("mock://dir/x", Nop)
    assert isinstance(mock, MockTarget)
    assert (mock.path, mock.format) == ("dir/x", Nop)
    remote = open_target("s3://bucket/x", storage_options={"anon": True})
    assert isinstance(remote, RemoteTarget)
    assert remote.path == "s3://bucket/x"


def test_run_anyway_counts_for_the_attempt_that_is_done(monkeypatch):
    class Task:
        task_id = "Report_1"

    monkeypatch.setenv("FLOW_TOKEN", "17")
    assert not RunAnywayTarget(Task).exists()
    RunAnywayTarget(Task).done()
    assert RunAnywayTarget(Task).exists()
    monkeypatch.setenv("FLOW_TOKEN", "18")
    assert not RunAnywayTarget(Task).exists()


def test_luigis_contrib_names_are_there():
    import flow

    assert flow.contrib.simulate.RunAnywayTarget is RunAnywayTarget
    assert flow.contrib.opener.OpenerTarget is open_target
