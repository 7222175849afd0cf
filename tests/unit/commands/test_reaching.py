"""What is set reaches those who obey it: each value, by its own name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flow.cli import main
from flow.client.options import RUN, SUBMIT, submit_options
from flow.settings.sections import load
from flow.settings.taskline import Option, parse
from flow.wire.messages import client as m
from flow_coordinator.shell.settings import core_config
from flow_worker.cli import _agent_settings
from tests.support.fake_coordinator import FakeCoordinator

#: Setting: another value than its default, and where the core of the coordinator has it.
OF_THE_COORDINATOR: dict[str, tuple[Any, str]] = {
    "retry.count": (7, "retry_count"),
    "retry.delay_s": (7.5, "retry_delay_s"),
    "retry.delay_max_s": (77.5, "retry_delay_max_s"),
    "retry.jitter": (0.75, "retry_jitter"),
    "retry.disable_window_s": (75.0, "disable_window_s"),
    "retry.disable_hard_timeout_s": (76.0, "disable_hard_timeout_s"),
    "retry.crash_max": (8, "crash_max"),
    "retry.timeout_s": (9.5, "timeout_s"),
    "coordinator.external_check_s": (6.5, "external_check_s"),
    "coordinator.extend_s": (66.0, "extend_s"),
    "coordinator.packages_bytes_max": (1234, "packages_bytes_max"),
    "coordinator.heartbeat_s": (4.0, "timing.heartbeat_s"),
    "coordinator.lease_s": (90.0, "timing.lease_s"),
    "coordinator.kill_s": (6.0, "timing.kill_s"),
    "coordinator.margin_s": (3.0, "timing.margin_s"),
    "coordinator.lease_profile": ("hpc", "timing.lease_s"),
    "resources.db": (4.0, "limits.db"),
}
#: The same for a worker's agent.
OF_THE_WORKER: dict[str, tuple[Any, str]] = {
    "core.coordinator": ("tcp://10.0.0.5:5571", "coordinator"),
    "worker.name": ("node-9", "name"),
    "worker.slots": (3, "slots"),
    "worker.planners": (2, "planners"),
    "worker.resources": ({"gpu": 2.0}, "capacity.gpu"),
    "worker.log_dir": ("/somewhere", "log_dir"),
    "worker.drain_grace_s": (5.0, "drain_grace_s"),
    "worker.runner_tasks_max": (11, "runner_tasks_max"),
    "worker.runner_memory_max": (1 << 30, "runner_bytes_max"),
    "worker.import_timeout_s": (12.0, "import_timeout_s"),
    "worker.reuse": ("code", "reuse_code"),
}
#: Words of a command line: the field of SUBMIT, and what it becomes.
OF_A_RUN: list[tuple[tuple[str, ...], str, Any]] = [
    (("--name", "mine"), "name", "mine"),
    (("--priority", "2.5"), "priority", 2.5),
    (("--retry", "4"), "retry_count", 4),
    (("--fail-fast",), "fail_fast", True),
    (("--fail-fast", "--keep-going"), "fail_fast", False),
    (("--wait-for-external", "90s"), "wait_external_s", 90.0),
]


IDS = [each[0][-1] for each in OF_A_RUN]


IDS = [each[0][-1] for each in OF_A_RUN]


IDS = [each[0][-1] for each in OF_A_RUN]


def reached(holder: Any, path: str) -> Any:
    """Follow ``timing.lease_s`` or ``limits.db``."""
    for name in path.split("."):
        holder = holder[name] if isinstance(holder, dict) else getattr(holder, name)
    return holder


@pytest.fixture
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FLOW_COORDINATOR", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("nothing_else")
@pytest.mark.parametrize("setting", OF_THE_COORDINATOR)
def test_setting_reaches_the_core_of_the_coordinator(setting: str) -> None:
    value, path = OF_THE_COORDINATOR[setting]
    expected = 300.0 if setting.endswith("lease_profile") else value
    assert reached(core_config(load({setting: value})), path) == expected
    if not setting.startswith("resources."):
        assert reached(core_config(load()), path) != expected


@pytest.mark.usefixtures("nothing_else")
@pytest.mark.parametrize("setting", OF_THE_WORKER)
def test_setting_reaches_the_agent_of_a_worker(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flow_worker.capacity.cpus", lambda: 1.0)
    value, path = OF_THE_WORKER[setting]
    agent = _agent_settings(load({setting: value}), None, attached=False, inherits=False)
    expected = {"reuse_code": True, "capacity.gpu": 2.0}.get(path, value)
    got = reached(agent, path)
    assert (str(got) if isinstance(got, Path) else got) == expected


@pytest.mark.parametrize("options", [RUN, SUBMIT], ids=["run", "submit"])
@pytest.mark.parametrize(
    ("words", "field", "value"), OF_A_RUN, ids=[each[0][-1] for each in OF_A_RUN]
)
def test_option_reaches_the_run(
    options: tuple[Option, ...], words: tuple[str, ...], field: str, value: Any
) -> None:
    line = parse([*words, "module", "Task"], options)
    assert getattr(submit_options(line.options, {}), field) == value


@pytest.mark.parametrize(
    "words",
    [
        ["workers", "list"],
        ["workers", "drain", "node-1"],
        ["workers", "declare-dead", "node-1", "--yes"],
        ["resources", "list"],
        ["resources", "set", "db", "4"],
    ],
    ids=lambda words: "-".join(words[:2]),
)
def test_options_of_a_command_below_a_command_are_obeyed(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeCoordinator() as fake:
        fake.answers = {
            m.ListWorkers: lambda r: [m.Workers(r.request, [])],
            m.ListResources: lambda r: [m.Resources(r.request, [])],
            m.SetResource: lambda r: [m.Changed(r.request, "set", 1)],
            m.WorkerCommand: lambda r: [m.Changed(r.request, "told", 1)],
        }
        assert main([*words, "--coordinator", fake.address, "--json"]) == 0
        assert fake.seen
    json.loads(capsys.readouterr().out)


def test_status_asks_for_as_many_as_wanted() -> None:
    with FakeCoordinator() as fake:
        fake.answers = {m.ListRuns: lambda r: [m.Runs(r.request, [], 0, 0, 0, [])]}
        assert main(["status", "--limit", "3", "--coordinator", fake.address]) == 0
        assert fake.seen == [m.ListRuns(1, 3)]
