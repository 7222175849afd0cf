"""Output of finished attempts is shown once, whole or with its middle left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from flow.client.attempts import LINES_MAX, Attempts
from flow.client.views import PlainView
from tests.support.task_process import wait_until


class Seen(PlainView):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[str, str]] = []

    def output(self, task_id: str, text: str) -> None:
        self.shown.append((task_id, text))


def test_attempts_finished_are_shown_once_and_current_files_not(tmp_path: Path) -> None:
    attempts, view = Attempts(str(tmp_path)), Seen()
    (tmp_path / "current.12").write_text("half")
    (tmp_path / "Load_1_abc.1.7.log").write_text("ready\n")
    attempts.show(view, all_now=True)
    attempts.show(view, all_now=True)
    (tmp_path / "Load_2_abc.1.8.log").write_text("more\n")
    attempts.show(view, all_now=True)
    assert view.shown == [("Load_1_abc", "ready"), ("Load_2_abc", "more")]


def test_attempts_that_failed_are_left_out_because_their_failure_showed_them(
    tmp_path: Path,
) -> None:
    attempts, view = Attempts(str(tmp_path)), Seen()
    (tmp_path / "Load_1_abc.1.7.log").write_text("boom\n")
    (tmp_path / "Load_1_abc.2.8.log").write_text("good\n")
    attempts.show(view)
    assert view.shown == []  # the news of the failure may be on its way
    attempts.failed.add(("Load_1_abc", 1))
    wait_until(lambda: attempts.show(view) or view.shown, "the second attempt is shown")
    assert view.shown == [("Load_1_abc", "good")]


def test_attempts_long_output_loses_its_middle_with_a_count(tmp_path: Path) -> None:
    attempts, view = Attempts(str(tmp_path)), Seen()
    (tmp_path / "Long_1.1.7.log").write_text("".join(f"{n}\n" for n in range(LINES_MAX + 50)))
    attempts.show(view, all_now=True)
    lines = view.shown[0][1].splitlines()
    assert len(lines) == LINES_MAX + 1
    assert lines[0] == "0" and lines[-1] == str(LINES_MAX + 49)
    assert lines[LINES_MAX // 2] == "... 50 lines not shown ..."


def test_attempts_of_more_tasks_than_are_shown_are_not_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flow.client.attempts.ATTEMPTS_MAX", 2)
    attempts, view = Attempts(str(tmp_path)), Seen()
    for number in range(5):
        (tmp_path / f"Load_{number}.1.{number}.log").write_text("x\n")
    attempts.show(view, all_now=True)
    assert len(view.shown) == 2
    monkeypatch.setattr("os.scandir", None)
    (tmp_path / "Load_9.1.9.log").write_text("x\n")
    attempts.show(view, all_now=True)
    assert len(view.shown) == 2


def test_attempts_without_a_directory_show_nothing(tmp_path: Path) -> None:
    view = Seen()
    Attempts(str(tmp_path / "gone")).show(view, all_now=True)
    assert view.shown == []
