"""``flow submit --code-dir`` against a fake coordinator: what is sent, and what is sent again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.cli import main, uploading
from flow.errors import UsageError
from flow.usercode import shipping
from flow.wire.messages import client as m
from flow.wire.messages.shared import PIECE_BYTES_MAX
from tests.support.fake_coordinator import FakeCoordinator
from tests.support.run_messages import summary, update


class Keeping:
    """What a coordinator keeps of uploads, and how it misbehaves."""

    def __init__(self) -> None:
        self.body = b""
        self.lose_at = -1  #: the piece from there on is lost once
        self.forget_at = -1  #: it restarts once when it has so much

    def answer(self, request: m.Upload) -> list[m.Uploaded]:
        if request.body and request.at_bytes == self.lose_at:
            self.lose_at = -1
            return []
        if request.body and request.at_bytes == self.forget_at:
            self.forget_at = -1
            self.body = b""
        if request.at_bytes == len(self.body):
            self.body += request.body
        have = len(self.body)
        return [m.Uploaded(request.request, have, have == request.size_bytes)]


@pytest.fixture
def keeping() -> Keeping:
    return Keeping()


@pytest.fixture
def fake(keeping: Keeping) -> Iterator[FakeCoordinator]:
    with FakeCoordinator() as coordinator:
        coordinator.answers = {
            m.About: lambda r: [m.AboutShown(r.request, "0.1.0", 1, 90.0, 6, 48)],
            m.Submit: lambda r: [m.Submitted(r.request, "r-1", "amber-otter")],
            m.Watch: lambda r: [update(r.request, summary())],
            m.Upload: keeping.answer,  # type: ignore[dict-item]
        }
        yield coordinator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "code"
    (made / "jobs").mkdir(parents=True)
    (made / "mod.py").write_text("X = 1\n")
    (made / "jobs" / "daily-load.py").write_text("X = 1\n")
    (made / "data").write_bytes(os.urandom(3 * PIECE_BYTES_MAX))
    return made


def submit(fake: FakeCoordinator, folder: Path, module: str = "mod", *words: str) -> int:
    line = ["submit", "--coordinator", fake.address, "--code-dir", str(folder), module, "T"]
    return main([*line, *words])


def submitted(fake: FakeCoordinator) -> m.Submit:
    sent = fake.wait_for(m.Submit)
    assert isinstance(sent, m.Submit)
    return sent


def test_submit_with_code_sends_it_and_names_it(
    fake: FakeCoordinator, keeping: Keeping, folder: Path
) -> None:
    assert submit(fake, folder) == 0
    packed = shipping.pack(str(folder))
    assert keeping.body == packed.body
    assert hashlib.sha256(keeping.body).hexdigest() == submitted(fake).options.package


def test_submit_with_code_that_is_kept_sends_nothing(
    fake: FakeCoordinator, keeping: Keeping, folder: Path
) -> None:
    keeping.body = shipping.pack(str(folder)).body
    assert submit(fake, folder) == 0
    assert not any(isinstance(one, m.Upload) and one.body for one in fake.seen)


def test_submit_without_code_uploads_nothing(fake: FakeCoordinator) -> None:
    assert main(["submit", "--coordinator", fake.address, "mod", "T"]) == 0
    assert submitted(fake).options.package == ""
    assert not any(isinstance(one, m.Upload) for one in fake.seen)


def test_submit_with_code_takes_the_folder_from_settings(
    fake: FakeCoordinator, keeping: Keeping, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOW_CORE__CODE_DIR", str(folder))
    assert main(["submit", "--coordinator", fake.address, "mod", "T"]) == 0
    assert submitted(fake).options.package


def test_upload_of_a_piece_that_is_lost_is_sent_again(
    fake: FakeCoordinator, keeping: Keeping, folder: Path
) -> None:
    keeping.lose_at = PIECE_BYTES_MAX
    assert submit(fake, folder) == 0
    assert keeping.body == shipping.pack(str(folder)).body


def test_upload_over_a_restart_begins_anew(
    fake: FakeCoordinator, keeping: Keeping, folder: Path
) -> None:
    keeping.forget_at = 2 * PIECE_BYTES_MAX
    assert submit(fake, folder) == 0
    assert keeping.body == shipping.pack(str(folder)).body


def test_upload_that_is_refused_starts_no_run(
    fake: FakeCoordinator, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers[m.Upload] = lambda r: [m.Failed(r.request, 61, "it was damaged", "again")]
    assert submit(fake, folder) == 61
    assert "it was damaged" in capsys.readouterr().err
    assert not any(isinstance(one, m.Submit) for one in fake.seen)


def test_upload_that_takes_long_shows_how_far_it_is(
    fake: FakeCoordinator,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(uploading, "QUIET_S", 0.0)
    assert submit(fake, folder) == 0
    out, err = capsys.readouterr()
    assert err.count("Sending code: ") == 1, "this is no terminal"
    assert "Sending" not in out


def test_upload_of_a_small_folder_is_not_worth_a_word(
    fake: FakeCoordinator, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(fake, folder) == 0
    assert "Sending" not in capsys.readouterr().err


def test_code_of_no_file_is_a_usage_error(
    fake: FakeCoordinator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert submit(fake, tmp_path / "empty") == 2
    assert "no file to send" in capsys.readouterr().err
    assert fake.seen == []


def test_script_inside_the_folder_is_named_by_its_path_there(
    fake: FakeCoordinator, folder: Path
) -> None:
    assert submit(fake, folder, str(folder / "jobs" / "daily-load.py")) == 0
    assert submitted(fake).roots[0].module == "file:jobs/daily-load.py"


def test_script_outside_the_folder_is_a_usage_error(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "code-2.py").write_text("")
    with pytest.raises(UsageError, match="is not inside"):
        uploading.inside(f"file:{tmp_path}/code-2.py", str(folder))


def test_script_that_is_not_there_is_a_usage_error(folder: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        uploading.inside(f"file:{folder}/gone.py", str(folder))
