"""The small commands: what they ask, what they print, how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from flow.cli import main
from flow.wire.messages import client as m
from tests.support.fake_coordinator import FakeCoordinator
from tests.support.flow_command import InTerminal, run_flow
from tests.support.run_messages import category, failure, summary


@pytest.fixture
def fake() -> Iterator[FakeCoordinator]:
    with FakeCoordinator() as coordinator:
        coordinator.answers = {
            m.ListRuns: lambda r: [m.Runs(r.request, [RUN], 6, 48, 13, ["db is full"])],
            m.ShowRun: lambda r: [m.RunShown(r.request, SUMMARY, FAMILIES, [failure()])],
            m.ListTasks: lambda r: [m.Tasks(r.request, [TASK], 3)],
            m.ListWorkers: lambda r: [m.Workers(r.request, [WORKER])],
            m.Why: lambda r: [m.WhyShown(r.request, WHY)],
            m.Cancel: lambda r: [m.Changed(r.request, f"{r.target} is cancelled", 1)],
            m.Retry: lambda r: [m.Changed(r.request, f"{r.target} runs again", 2)],
            m.ListResources: lambda r: [m.Resources(r.request, RESOURCES)],
            m.SetResource: lambda r: [m.Changed(r.request, f"{r.name} is {r.limit:g} now")],
            m.WorkerCommand: lambda r: [m.Changed(r.request, f"{r.worker}: {r.command}")],
        }
        yield coordinator


RUN = m.RunRow("r-7", "amber-otter", "Top(n=1)", "running", 41, 93, 2, 13, 168.0, "ana@lap")
SUMMARY = summary(category("ran", Load=1), state="running")
FAMILIES = [m.FamilyCounts("Load", {"done": 4, "running": 1, "complete": 2})]
TASK = m.TaskRow("Load_1", "Load(n=1)", "running", "node-1", 1, 61.0, "")
CAPACITY = {"cpu": (0.0, 8.0), "gpu": (1.0, 2.0), "memory": (0.0, float(32 << 30))}
WORKER = m.WorkerRow(
    "u1",
    "node-1",
    "10.0.3.4",
    "active",
    8,
    2,
    CAPACITY,
    0.81,
    3 << 30,
    60.0,
    1.0,
    [("Load(n=1)", 61.0)],
)
WHY = m.WhyAnswer(
    "Load_1", "Load(n=1)", "ready", 41.0, [("resource db", "needs 1\n4 of 4 in use")], ["flow x"]
)
RESOURCES = [m.ResourceRow("db", 4, 4, 9, True), m.ResourceRow("gpu", 0.5, 1, 0, False)]


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        (["status"], ["r-7", "amber-otter", "RUNNING", "41/93", "2:48", "13/48 slots", "db is"]),
        (["status", "last"], ["✗ Load(region=EU)", "RUNNING for 1:01", "Load    7"]),
        (["tasks", "--state", "failed"], ["Load(n=1)", "node-1", "1:01", "and 3 more"]),
        (["workers"], ["node-1", "2/8", "81%", "3 GiB / 32 GiB", "gpu 1/2", "Load(n=1) 1:01"]),
        (["worker", "list"], ["node-1"]),
        (["why", "Load"], ["READY for 0:41", "resource db   needs 1", "4 of 4", "flow x"]),
        (["cancel", "r-7", "r-8"], ["r-7 is cancelled", "r-8 is cancelled"]),
        (["retry", "r-7"], ["r-7 runs again"]),
        (
            ["resources"],
            ["db", "not declared: 1 at a time", "memory    0     32 GiB           of 1 worker"],
        ),
        (["resources", "set", "db", "5"], ["db is 5 now"]),
        (["workers", "drain", "node-1"], ["node-1: drain"]),
        (["worker", "declare-dead", "node-1", "--yes"], ["node-1: declare-dead"]),
    ],
)
def test_command_shows_what_the_coordinator_says(
    fake: FakeCoordinator,
    words: list[str],
    pieces: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*words, "--coordinator", fake.address]) == 0
    out, err = capsys.readouterr()
    for piece in pieces:
        assert piece in out
    assert err == ""
    assert main([*words, "--json", "--coordinator", fake.address]) == 0
    for line in capsys.readouterr().out.splitlines():
        json.loads(line)


def test_status_json_has_field_names(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["status", "--json", "--coordinator", fake.address])
    found = json.loads(capsys.readouterr().out)
    assert found["runs"][0]["run"] == "r-7"
    assert found["runs"][0]["elapsed_s"] == 168.0
    assert found["slots"] == 48


def test_command_asks_with_its_arguments(fake: FakeCoordinator) -> None:
    at = ["--coordinator", fake.address]
    main(["cancel", "r-7", "--reason", "why not", "--grace", "30s", *at])
    main(["tasks", "Load", "--run", "r-7", "--state", "failed, running", "--limit", "5", *at])
    main(["why", "Load", "--run", "r-7", *at])
    cancel, tasks, why = fake.seen
    assert cancel == m.Cancel(1, "r-7", "why not", 30.0)
    assert tasks == m.ListTasks(1, "Load", "r-7", ["failed", "running"], 5)
    assert why == m.Why(1, "Load", "r-7")


def test_command_environment_names_the_coordinator(
    fake: FakeCoordinator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOW_COORDINATOR", fake.address)
    assert main(["status"]) == 0
    assert "amber-otter" in capsys.readouterr().out


def test_command_ambiguous_lists_the_matches(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers[m.Why] = lambda r: [
        m.Failed(r.request, 2, "Load is 2 tasks", "name one", ["Load(n=1)", "Load(n=2)"])
    ]
    assert main(["why", "Load", "--coordinator", fake.address]) == 2
    err = capsys.readouterr().err
    assert err.splitlines() == [
        "error: Load is 2 tasks",
        "         Load(n=1)",
        "         Load(n=2)",
        "       name one",
    ]


def test_command_text_of_tasks_cannot_drive_the_terminal(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = m.TaskRow("x", "Load(n=\x1b[2J\x07)", "running", "n\x1b", 1, 1.0)
    fake.answers[m.ListTasks] = lambda r: [m.Tasks(r.request, [bad])]
    main(["tasks", "--coordinator", fake.address])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out


@pytest.mark.parametrize(
    "words",
    [
        ["bogus"],
        ["status", "--bogus"],
        ["why"],
        ["cancel"],
        ["resources", "set", "db"],
        ["resources", "set", "db", "-1"],
        ["workers", "--json", "drain", "x"],
        ["cancel", "x", "--grace", "soon"],
    ],
)
def test_command_wrong_usage_is_2_with_the_next_command(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.rstrip().endswith("--help")


def test_command_wrong_usage_is_json_where_json_was_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["statsu", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 2 and told["error"].endswith("Did you mean status?")


def test_command_nobody_there_is_60_with_hints() -> None:
    found = run_flow("status", env={"FLOW_COORDINATOR": "tcp://127.0.0.1:1"})
    assert found.returncode == 60
    assert found.stdout == ""
    assert found.stderr.splitlines() == [
        "error: no coordinator at tcp://127.0.0.1:1 (waited 5 s; address from"
        " the environment (FLOW_*))",
        "       Start one here:      flow-coordinator & flow-worker &",
        "       Or name yours:       export FLOW_COORDINATOR=tcp://HOST:5570",
    ]


def test_cancel_in_a_terminal_asks_first(fake: FakeCoordinator) -> None:
    with InTerminal("cancel", "r-7", "--coordinator", fake.address) as terminal:
        terminal.expect("cancel r-7? [y/N]")
        terminal.type("n\n")
        assert terminal.wait() == 130
    assert fake.seen == []


def test_internal_error_is_40_and_keeps_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flow.client.address.find", lambda _: 1 / 0)
    assert main(["status"]) == 40
    err = capsys.readouterr().err
    assert "internal error: ZeroDivisionError" in err
    path = err.rstrip().rpartition(" ")[2]
    with open(path) as kept:
        assert "Traceback" in kept.read()


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["submit", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from flow.cli import main; code = main(sys.argv[1:])\n"
        "heavy = {'zmq', 'rich', 'msgspec', 'msgpack', 'psutil', 'asyncio'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr); sys.exit(code)"
    )
    found = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert found.returncode == 0
    assert found.stderr.strip() == "[]"


def test_submit_help_documents_the_exit_codes() -> None:
    found = run_flow("submit", "--help")
    for code in (0, 2, 20, 25, 30, 35, 40, 50, 60, 61, 124, 130):
        assert f"\n{code:>5}  " in found.stdout


def test_workers_of_one_name_are_told_apart(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    two = [msgspec.structs.replace(WORKER, uid=uid) for uid in ("aaaaaaaa01", "bbbbbbbb02")]
    fake.answers[m.ListWorkers] = lambda r: [m.Workers(r.request, two)]
    assert main(["workers", "--coordinator", fake.address]) == 0
    out = capsys.readouterr().out
    assert "node-1 aaaaaa" in out and "node-1 bbbbbb" in out


def test_workers_have_a_line_below_for_each_run_that_gets_nothing_from_them(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    differs = "node-1 has other code than node-2: pipeline.py"
    cannot = "node-1 cannot import reports: ModuleNotFoundError: pandas"
    programs = [
        m.WorkerProgram("r-9", "ab" * 8, 0.4, "ready"),
        m.WorkerProgram("r-8", "cd" * 8, 0.4, "ready", differs, True),
        m.WorkerProgram("r-7", "", 0.4, "failed", cannot),
        m.WorkerProgram("r-6", "ab" * 8, 0.4, "alone", "its import left a thread running"),
    ]
    worker = msgspec.structs.replace(WORKER, uid="aaaaaaaa01", programs=programs)
    fake.answers[m.ListWorkers] = lambda r: [m.Workers(r.request, [worker, WORKER])]
    assert main(["workers", "--coordinator", fake.address]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:4] == [f"  ! r-8: {differs}", f"  ! r-7: {cannot}"] and len(lines) == 5
    assert main(["workers", "--coordinator", fake.address, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [each["state"] for each in shown[0]["programs"]] == ["ready", "ready", "failed", "alone"]
