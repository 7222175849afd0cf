"""``flow submit`` against a fake coordinator: progress, exit codes, Ctrl-C, time limits."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from flow.cli import main
from flow.errors import ExitCode
from flow.wire.messages import client as m
from flow.wire.messages.shared import PROTOCOL
from flow.wire.names import TAKEN
from tests.support.fake_coordinator import FakeCoordinator
from tests.support.flow_command import InTerminal, run_flow
from tests.support.run_messages import category, failure, summary, update

TASK = ["reports.sales", "SalesReport", "--date", "2026-11-20"]


@pytest.fixture
def fake() -> Iterator[FakeCoordinator]:
    """A coordinator whose run goes on until a test ends it."""
    with FakeCoordinator() as coordinator:
        coordinator.answers = {
            m.About: lambda r: [m.AboutShown(r.request, "0.1.0", 1, 90.0, 6, 48)],
            m.Submit: lambda r: [m.Submitted(r.request, "r-1", "amber-otter")],
            m.Watch: lambda r: [update(r.request)],
        }
        yield coordinator


def end(fake: FakeCoordinator, ended: m.RunSummary, *failures: m.Failure) -> None:
    """Let the run be over as soon as somebody watches."""
    fake.answers[m.Watch] = lambda r: [update(r.request, ended, failures=list(failures))]


def submit(fake: FakeCoordinator, *words: str) -> int:
    return main(["submit", "--coordinator", fake.address, *TASK, *words])


def test_submit_success_prints_the_summary_on_stdout(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    end(fake, summary(category("ran", SalesReport=1)))
    assert submit(fake) == 0
    out, err = capsys.readouterr()
    assert out.startswith("===== Flow Execution Summary =====")
    assert "This progress looks :)" in out
    assert out.rstrip().endswith("See it:   flow status r-1")
    assert f"Coordinator {fake.address} (0.1.0, up 1:30, 6 workers, 48 slots)" in err
    assert "Run r-1  amber-otter" in err


def test_submit_sends_what_was_typed(fake: FakeCoordinator) -> None:
    end(fake, summary())
    words = ["--name", "x", "--retry", "2", "--fail-fast", "--priority", "3", "--project", "etl"]
    submit(fake, *words, "--wait-for-external", "1m")
    sent = fake.wait_for(m.Submit)
    assert isinstance(sent, m.Submit)
    (root,) = sent.roots
    taken = "name retry fail_fast priority project wait_for_external"
    assert (root.module, root.family) == ("reports.sales", "SalesReport")
    assert root.params == {"date": "2026-11-20", TAKEN: taken}
    assert (sent.project, sent.protocol) == ("etl", PROTOCOL)
    options = sent.options
    assert (options.name, options.retry_count, options.fail_fast) == ("x", 2, True)
    assert (options.priority, options.wait_external_s) == (3.0, 60.0)
    assert "@" in options.by


@pytest.mark.parametrize("code", [0, 20, 25, 30, 35, 40, 50])
def test_submit_exit_code_is_that_of_the_run(fake: FakeCoordinator, code: int) -> None:
    end(fake, summary(exit_code=code))
    assert submit(fake, "-q") == code


@pytest.mark.parametrize("code", [2, 25, 35, 61])
def test_submit_refused_has_the_code_of_the_refusal(
    fake: FakeCoordinator, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers[m.Submit] = lambda r: [m.Failed(r.request, code, "cannot", "type this")]
    assert submit(fake) == code
    assert "error: cannot\n       type this\n" in capsys.readouterr().err


def test_submit_failure_is_told_with_its_output(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    told = failure(tail="reading\nparsing\x1b[31m", again_in_s=30.0)
    end(fake, summary(category("failed", Load=1), exit_code=30), told)
    assert submit(fake) == 30
    out, err = capsys.readouterr()
    block = err[err.index("✗") :].splitlines()
    assert block[:5] == [
        "✗ Load(region=EU)  failed on node-3 after 0:12, attempt 1 of 3, again in 0:30",
        "    ValueError: boom     m.py:8  run()",
        "    | reading",
        r"    | parsing\x1b[31m",
        "    flow why 'Load_EU_0123456789'",
    ]
    assert "Again:  flow retry r-1" in out


def test_submit_json_is_one_object_per_event_result_last(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    end(fake, summary(category("failed", Load=1), exit_code=30), failure())
    assert submit(fake, "--json") == 30
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["event"] for each in events] == ["submitted", "failure", "progress", "result"]
    assert events[0]["run"] == "r-1"
    assert events[1]["error"] == "ValueError: boom"
    assert events[2]["families"]["Load"]["done"] == 1
    assert events[3]["exit_code"] == 30
    assert events[3]["categories"][0]["examples"][0]["family"] == "Load"


def test_submit_json_error_is_an_object_too(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers[m.Submit] = lambda r: [m.Failed(r.request, 61, "other version", "update")]
    assert submit(fake, "--json") == 61
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"event": "error", "error": "other version", "hint": "update", "exit_code": 61}


@pytest.mark.parametrize(("size", "empty"), [("none", True), ("short", False), ("full", False)])
def test_submit_summary_size(
    fake: FakeCoordinator, size: str, empty: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    end(fake, summary(category("ran", Load=1)))
    assert submit(fake, "--summary", size) == 0
    assert (capsys.readouterr().out == "") is empty


def test_submit_quiet_success_says_nothing(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    end(fake, summary(category("ran", Load=1)))
    assert submit(fake, "-q") == 0
    assert capsys.readouterr() == ("", "")


def test_submit_detach_returns_with_the_run(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(fake, "-d") == 0
    assert capsys.readouterr().out == "r-1  amber-otter\n"
    assert not any(isinstance(each, m.Watch) for each in fake.seen)


def test_submit_module_is_not_imported(fake: FakeCoordinator) -> None:
    end(fake, summary())
    assert main(["submit", "--coordinator", fake.address, "no.such.module", "T", "-q"]) == 0


@pytest.mark.parametrize("words", [["submit"], ["submit", "m"]])
def test_submit_without_task_is_wrong_usage(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "flow submit MODULE TASK" in capsys.readouterr().err


def test_submit_nobody_there_is_60_with_the_same_task_to_run_here() -> None:
    found = run_flow("submit", *TASK, env={"FLOW_COORDINATOR": "tcp://127.0.0.1:1"})
    assert found.returncode == ExitCode.UNREACHABLE
    assert (
        "Or run without one:  flow run reports.sales SalesReport --date=2026-11-20" in found.stderr
    )


def test_submit_timeout_leaves_the_run(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(fake, "--timeout", "0.3") == 124
    assert "the run goes on" in capsys.readouterr().err
    assert not any(isinstance(each, m.Cancel) for each in fake.seen)


def test_submit_timeout_cancels_if_asked(fake: FakeCoordinator) -> None:
    fake.answers[m.Cancel] = lambda r: [m.Changed(r.request, "r-1 is cancelled")]
    assert submit(fake, "--timeout", "0.3", "--cancel-on-timeout") == 124
    assert fake.wait_for(m.Cancel)


def test_submit_first_ctrl_c_detaches(fake: FakeCoordinator) -> None:
    with InTerminal("submit", "--coordinator", fake.address, *TASK) as terminal:
        terminal.expect("1 of 3 done")
        terminal.press_ctrl_c()
        terminal.expect("Detached: the run goes on.")
        assert terminal.wait() == 130
    assert "flow status -f r-1" in terminal.text
    assert "flow cancel r-1" in terminal.text
    assert not any(isinstance(each, m.Cancel) for each in fake.seen)


def test_submit_second_ctrl_c_asks_and_cancels(fake: FakeCoordinator) -> None:
    def cancel(request: m.Request) -> list[m.Message]:
        fake.push(update(watch.request, summary(state="cancelled", exit_code=50)))
        return [m.Changed(request.request, "r-1 is cancelled")]

    fake.answers[m.Cancel] = cancel
    with InTerminal("submit", "--coordinator", fake.address, *TASK) as terminal:
        watch = fake.wait_for(m.Watch)
        terminal.expect("1 of 3 done")
        terminal.press_ctrl_c()
        terminal.expect("Ctrl-C again")
        terminal.press_ctrl_c()
        terminal.expect("cancel the run? [y/N]")
        terminal.type("y\n")
        assert terminal.wait() == 50
    assert "r-1 is cancelled" in terminal.text
    assert "the run was cancelled" in terminal.text


def test_submit_second_ctrl_c_answered_no_leaves_the_run(fake: FakeCoordinator) -> None:
    with InTerminal("submit", "--coordinator", fake.address, *TASK) as terminal:
        terminal.expect("1 of 3 done")
        terminal.press_ctrl_c()
        terminal.expect("Ctrl-C again")
        terminal.press_ctrl_c()
        terminal.expect("cancel the run? [y/N]")
        terminal.type("\n")
        assert terminal.wait() == 130
    assert not any(isinstance(each, m.Cancel) for each in fake.seen)


def test_submit_in_a_terminal_shows_bars_and_failures(fake: FakeCoordinator) -> None:
    with InTerminal("submit", "--coordinator", fake.address, *TASK) as terminal:
        watch = fake.wait_for(m.Watch)
        terminal.expect("1 of 3 done")
        fake.push(update(watch.request, failures=[failure()]))
        terminal.expect("✗ Load(region=EU)")
        fake.push(update(watch.request, summary(category("ran", Load=3))))
        assert terminal.wait() == 0
    assert "4 tasks: 1 already complete, 3 to run" in terminal.text
    assert "Load" in terminal.text
    assert "█" in terminal.text
    assert "This progress looks :)" in terminal.text


def test_submit_no_workers_says_how_to_start_one(
    fake: FakeCoordinator,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flow.client.follow.NO_WORKERS_S", 0.0)
    fake.answers[m.Watch] = lambda r: [
        update(r.request, workers=0),
        update(r.request, workers=0),
        update(r.request, summary(), workers=1),
    ]
    assert submit(fake) == 0
    said = f"No worker has joined: flow-worker --coordinator {fake.address}"
    assert capsys.readouterr().err.count(said) == 1


def test_submit_typing_mistake_is_one_error_without_a_summary(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    told = failure(kind="planning", task_id="T?1.0", attempt=0, code=2, error="no task 'T'\ntry U")
    end(fake, summary(category("scheduling_error", T=1), exit_code=2), told)
    assert submit(fake) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: no task 'T'\n       try U\n" in err
    assert "flow why" not in err


def test_submit_failure_without_a_known_id_names_no_command_for_it(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    told = failure(kind="planning", task_id="T?1.0", attempt=0, error="no module 'm'")
    end(fake, summary(category("scheduling_error", T=1), exit_code=35), told)
    assert submit(fake) == 35
    assert "flow why" not in capsys.readouterr().err


def test_submit_reason_to_wait_is_told_soon_and_once(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    news = {"families": [m.FamilyCounts("Load", {"ready": 1})], "waiting": ["needs gpu 2"]}
    fake.answers[m.Watch] = lambda r: [update(r.request, **news)]
    assert submit(fake, "--timeout", "3s") == 124
    assert capsys.readouterr().err.count("waiting for: needs gpu 2") == 1


@pytest.mark.parametrize("code", [0, 30])
def test_status_follow_goes_on_where_submit_detached(
    fake: FakeCoordinator, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = summary(category("ran", Load=1), exit_code=code)
    end(fake, ended, *([failure()] if code else []))
    fake.answers[m.ShowRun] = lambda r: [m.RunShown(r.request, ended, [], [])]
    assert main(["status", "-f", "r-1", "--coordinator", fake.address]) == code
    out, err = capsys.readouterr()
    assert out.startswith("===== Flow Execution Summary =====")
    assert "Run r-1  amber-otter" in err
    assert ("✗ Load(region=EU)" in err) == bool(code)
    assert main(["status", "-f", "r-1", "--json", "--coordinator", fake.address]) == code
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["event"] == "result"


NOTE = "node-3 has other code than node-1: pipeline.py"


def test_submit_shows_each_note_once_however_often_it_is_told(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers[m.Watch] = lambda r: [
        update(r.request, notes=[NOTE]),
        update(r.request, notes=[NOTE]),
        update(r.request, summary(notes=[NOTE]), notes=[NOTE]),
    ]
    assert submit(fake, "-q") == 0
    assert capsys.readouterr().err.count(f"! {NOTE}\n") == 1


def test_submit_json_has_an_event_for_each_note(
    fake: FakeCoordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers[m.Watch] = lambda r: [update(r.request, summary(notes=[NOTE]), notes=[NOTE])]
    assert submit(fake, "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one for one in events if one["event"] == "note"] == [
        {"event": "note", "run": "r-1", "text": NOTE}
    ]
    assert events[-1]["notes"] == [NOTE]


@pytest.mark.parametrize(
    ("variable", "words", "strict"),
    [("", [], False), ("", ["--strict-code"], True), ("true", [], True)],
)
def test_submit_is_strict_about_code_where_asked_to(
    fake: FakeCoordinator,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    words: list[str],
    strict: bool,
) -> None:
    monkeypatch.setenv("FLOW_CORE__STRICT_CODE", variable)
    end(fake, summary())
    submit(fake, *words)
    sent = fake.wait_for(m.Submit)
    assert isinstance(sent, m.Submit) and sent.options.strict_code is strict
