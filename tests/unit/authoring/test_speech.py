"""What a task finds on itself during ``run()``, whatever library it is written with."""

from __future__ import annotations

from typing import Any

import pytest

import flow
from flow.errors import ConfigError
from flow.parameters import defaults
from flow.settings.sections import Settings, WorkerSettings
from flow.speech import NAMES, SchedulerMessage, bind, unbind
from flow_worker.process.context import TaskProcess, configured
from flow_worker.process.voice import AttemptVoice, ProcessSpeech


class Plain(flow.Task):
    """A task that remembers what it found."""

    found: dict[str, Any] = {}

    def complete(self) -> bool:
        return bool(self.found)

    def run(self) -> None:
        type(self).found = {name: getattr(self, name) for name in NAMES}
        self.set_status_message("heard by nobody")
        self.set_progress_percentage("50")
        self.decrease_running_resources({"db": 1})


def voice() -> AttemptVoice:
    return AttemptVoice("ab.1.1", ProcessSpeech(lambda frame: None))


def test_task_of_flow_asks_for_its_voice_only_when_it_speaks() -> None:
    task, made = Plain(), []

    def make() -> AttemptVoice:
        made.append(voice())
        return made[-1]

    before = dict(task.__dict__)
    bind(task, make)
    assert made == [] and task.__dict__ == before
    assert task.set_status_message is not None and len(made) == 1
    unbind(task)
    unbind(task)
    assert all(getattr(task, name) is None for name in NAMES)


def test_any_other_object_gets_the_attributes_and_none_afterwards() -> None:
    luigi = pytest.importorskip("luigi")

    class Theirs(luigi.Task):  # type: ignore[misc,name-defined]
        pass

    task, mine = Theirs(), voice()
    bind(task, lambda: mine)
    task.set_status_message("hi")
    task.set_progress_percentage(50)
    assert (mine.status, mine.progress, task.scheduler_messages) == ("hi", 50.0, None)
    unbind(task)
    assert all(getattr(task, name) is None for name in NAMES)


def test_what_a_test_puts_on_a_task_is_what_it_finds() -> None:
    task, said = Plain(), []
    task.set_status_message = said.append
    task.set_status_message("mine")
    assert said == ["mine"]
    with task.no_unpicklable_properties():
        assert task.set_status_message is None
    assert task.set_status_message == said.append
    del task.set_status_message


def test_program_that_runs_tasks_itself_gives_them_a_voice() -> None:
    result = flow.build([Plain()], in_process=True, quiet=True)
    assert result
    assert [name for name in NAMES if Plain.found[name] is None] == ["scheduler_messages"]
    assert all(getattr(Plain(), name) is None for name in NAMES)


def test_message_compares_by_content_and_replies_with_what_json_can_spell() -> None:
    replies: list[str] = []
    message = SchedulerMessage("go", {"n": "1"}, replies.append)
    assert message == "go" and message != "stop" and str(message) == "go"
    assert message == SchedulerMessage("go", {}, replies.append)
    message.respond("text")
    message.respond({"a": [1, None]})
    assert replies == ["text", '{"a": [1, null]}']


class Around:
    """A context that keeps what it was made with."""

    made: list[TaskProcess] = []

    def __init__(self, process: TaskProcess) -> None:
        self.made.append(process)


def with_context(monkeypatch: pytest.MonkeyPatch, dotted: str) -> None:
    settings = Settings(worker=WorkerSettings(task_process_context=dotted))
    monkeypatch.setattr(defaults, "settings", lambda: settings)


def test_context_is_made_with_the_task_and_reports_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with_context(monkeypatch, f"{__name__}.Around")
    around, mine, task = configured(), voice(), Plain()
    assert around is not None
    around(task, mine)
    process = Around.made[-1]
    assert process.task is task
    process.status_reporter.report_task_statistics({"rows": 7, "ratio": 0.5})
    process.status_reporter.update_status_message("hi")
    assert (mine.statistics, mine.status) == ({"rows": "7", "ratio": "0.5"}, "hi")


@pytest.mark.parametrize("dotted", ["no.such.Class", "flow.Nothing", "nodots", "."])
def test_context_that_cannot_be_imported_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, dotted: str
) -> None:
    with_context(monkeypatch, dotted)
    with pytest.raises(ConfigError, match="task_process_context") as caught:
        configured()
    assert repr(dotted) in str(caught.value) and caught.value.hint


def test_no_context_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    with_context(monkeypatch, "")
    assert configured() is None
