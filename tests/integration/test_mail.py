"""Mail about failures: from the core's alerts to a real SMTP server."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flow.logs import Log
from flow.settings.sections import EmailSettings, Settings, SmtpSettings
from flow.wire.messages.client import Failure
from flow_coordinator import notify
from flow_coordinator.core.effects import Alert
from tests.support.mailbox import Mailbox, certificate
from tests.support.servers import free_port

TIMEOUT_S = 30.0
PASSWORD = "hush-hush-4712"


def alert(n: int = 1, run: str = "r-7", owners: list[str] | None = None, **fields: Any) -> Alert:
    said = {"error": "ValueError: three is bad", "where": "pipeline.py:17 run()", **fields}
    failure = Failure(n, f"Load(n={n})", f"Load_{n}_abc", "failed", "node-1", 2, 2, 0.5, **said)
    return Alert(run, "amber-elk", failure, owners or [])


class Mailing:
    """A notifier and its log."""

    def __init__(self, port: int, smtp: dict[str, Any] | None = None, **email: Any) -> None:
        self.said = io.StringIO()
        email = {"receiver": "ops@example.com", "interval_s": 0.05, **email}
        server = {"host": "127.0.0.1", "port": port, "timeout_s": 5, **(smtp or {})}
        settings = Settings(email=EmailSettings(**email), smtp=SmtpSettings(**server))
        made = notify.notifier(settings, Log("info", self.said), terminal=False, hints=True)
        assert made is not None
        self.notifier = made
        self.tell = made.tell

    def __enter__(self) -> Mailing:
        return self

    def __exit__(self, *_: object) -> None:
        self.notifier.close()

    def wait(self, phrase: str) -> str:
        deadline = time.monotonic() + TIMEOUT_S
        while phrase not in self.said.getvalue():
            assert time.monotonic() < deadline, self.said.getvalue()
            time.sleep(0.01)
        return self.said.getvalue()


def test_failure_is_mailed_with_what_a_person_needs() -> None:
    with Mailbox() as box, Mailing(box.port, prefix="[etl]", sender="flow@x.org") as mailing:
        mailing.tell([alert(3, trace="Traceback ...\nValueError: three is bad", tail="printed")])
        (mail,) = box.wait(1)
    assert mail["Subject"] == "[etl] Load(n=3) failed (run r-7 amber-elk)"
    assert (mail["From"], mail["To"]) == ("flow@x.org", "ops@example.com")
    body = mail.get_content()
    for piece in (
        *("Load_3_abc", "attempt 2 of 2 on node-1", "ValueError: three is bad"),
        *("pipeline.py:17 run()", "Traceback ...", "printed"),
        *("flow why 'Load_3_abc'", "flow retry r-7"),
    ):
        assert piece in body, body


def test_ten_thousand_failures_are_one_mail_with_the_first_and_the_number() -> None:
    with Mailbox() as box, Mailing(box.port, failures_max=3) as mailing:
        mailing.tell([alert(n) for n in range(10_000)])
        box.wait(1)
        mailing.notifier.close()
        (mail,) = box.mails
    body = mail.get_content()
    assert mail["Subject"] == "10,000 tasks failed (run r-7 amber-elk)"
    assert "The first 3 of 10,000" in body
    assert "Load_2_abc" in body
    assert "Load_3_abc" not in body


def test_each_run_and_each_owner_gets_a_mail_of_its_own() -> None:
    with Mailbox() as box, Mailing(box.port, receiver="a@x.org, b@x.org") as mailing:
        mailing.tell([alert(1), alert(2, "r-8", owners=["c@x.org", "a@x.org"])])
        box.wait(5)
        mailing.notifier.close()
    got = sorted((str(mail["To"]), mail["Subject"].split()[3]) for mail in box.mails)
    a, b, c = "a@x.org", "b@x.org", "c@x.org"
    assert got == [(a, "r-7"), (a, "r-8"), (b, "r-7"), (b, "r-8"), (c, "r-8")]


def test_owner_alone_gets_mail_and_nobody_is_no_error() -> None:
    with Mailbox() as box, Mailing(box.port, receiver="") as mailing:
        mailing.tell([alert(1), alert(2, owners=["me@x.org"])])
        (mail,) = box.wait(1)
    assert mail["To"] == "me@x.org"
    assert mail["Subject"].startswith("Load(n=2) failed")


def test_later_mails_of_a_run_come_in_growing_intervals() -> None:
    now = [1000.0]
    notifier = notify.Notifier(
        EmailSettings(receiver="a@x.org", interval_s=10, interval_max_s=35),
        SmtpSettings(),
        Log("error", io.StringIO()),
        clock=lambda: now[0],
    )
    notifier._run = lambda: None  # type: ignore[method-assign]  # this test is the thread
    gaps = []
    for n in range(5):
        notifier.tell([alert(n)])
        pending = notifier._pending["a@x.org", "r-7"]
        assert pending.due is not None
        gaps.append(pending.due - now[0])
        now[0] = pending.due
        notifier._take("a@x.org", pending)
        notifier._sent(pending)
    assert gaps == [10, 20, 35, 35, 35]


def test_burst_that_takes_longer_than_the_interval_is_one_mail() -> None:
    now = [1000.0]
    email = EmailSettings(receiver="a@x.org", interval_s=10)
    notifier = notify.Notifier(email, SmtpSettings(), Log(), clock=lambda: now[0])
    notifier._run = lambda: None  # type: ignore[method-assign]  # this test is the thread
    dues = []
    for n in range(20):
        notifier.tell([alert(n)])
        due = notifier._pending["a@x.org", "r-7"].due
        assert due is not None
        dues.append(due - 1000)
        now[0] += 5
    assert dues[:4] == [10, 15, 20, 25]
    assert dues[-1] == 60


def test_html_is_escaped_and_headers_stay_one_line() -> None:
    with Mailbox() as box, Mailing(box.port, format="html") as mailing:
        wrong = alert(1, error="<b>bold</b>")
        task = "Load(x=a\r\nBcc: everybody@x.org)"
        failure = Failure(1, task, "Load_1", "failed", "", 0, 1, 0.0, wrong.failure.error)
        mailing.tell([Alert("r-7", "amber-elk", failure, [])])
        (mail,) = box.wait(1)
    assert mail.get_content_type() == "text/html"
    assert "&lt;b&gt;bold" in mail.get_content()
    assert mail["Bcc"] is None
    assert "Bcc: everybody" in mail["Subject"]


def test_encoded_words_in_a_tasks_name_are_not_decoded_into_headers() -> None:
    with Mailbox() as box, Mailing(box.port) as mailing:
        word = "=?utf-8?q?=0ABcc:_everybody=40x.org=0A=0Abody?="
        failure = Failure(1, f"Load({word})", "Load_1", "failed", "", 0, 1, 0.0, word)
        mailing.tell([Alert("r-7", word, failure, [])])
        (mail,) = box.wait(1)
    assert mail["Bcc"] is None
    assert mail["Message-ID"] is not None
    assert "everybody=40x.org" in mail["Subject"]


@pytest.mark.parametrize(
    "wrong", ["a@[b", "a@", "<", ":;)[<?[", '"', "a@b\r\nBcc: c@d", "\udcff\n@"]
)
def test_owner_that_is_no_address_is_told_and_does_not_stop_the_others(wrong: str) -> None:
    with Mailbox() as box, Mailing(box.port) as mailing:
        mailing.tell([alert(1, owners=[wrong, "owner@x.org"])])
        mails = {str(mail["To"]): mail for mail in box.wait(2)}
        said = mailing.wait("is no mail address")
    assert set(mails) == {"ops@example.com", "owner@x.org"}
    assert "mail lost" in said


def test_text_that_is_no_unicode_is_mailed() -> None:
    with Mailbox() as box, Mailing(box.port) as mailing:
        mailing.tell([alert(1, error="bad name \udcff", trace=".\n\x00\n" + "x" * 5_000)])
        (mail,) = box.wait(1)
    assert "bad name \\udcff" in mail.get_content()


def test_long_traceback_is_cut_where_the_error_is_not() -> None:
    with Mailbox() as box, Mailing(box.port, traceback_characters_max=50) as mailing:
        mailing.tell([alert(1, trace="first line\n" + "x" * 500 + "\nthe very end")])
        (mail,) = box.wait(1)
    assert "the very end" in mail.get_content()
    assert "first line" not in mail.get_content()
    assert "(cut)" in mail.get_content()


def test_server_that_is_away_gets_the_mail_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notify, "RETRY_S", 0.1)
    monkeypatch.setattr(notify, "TRIES_MAX", 1000)
    port = free_port()
    with Mailing(port) as mailing:
        mailing.tell([alert(1)])
        said = mailing.wait("mail not sent")
        assert "check [smtp] host" in said
        assert "ConnectionRefusedError" in said
        mailing.tell([alert(2)])
        with Mailbox(port) as box:
            box.wait(1)
            mailing.notifier.close()
    assert sum("2 tasks" in one or "Load" in one for one in box.subjects) == len(box.mails)
    assert "mail lost" not in mailing.said.getvalue()


def test_server_that_stays_away_is_given_up_and_says_what_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notify, "RETRY_S", 0.01)
    with Mailing(free_port()) as mailing:
        mailing.tell([alert(n) for n in range(30)])
        said = mailing.wait("mail lost")
    assert said.count("mail not sent") == notify.TRIES_MAX - 1
    assert "failures=30" in said
    assert "to=ops@example.com" in said


def test_server_that_never_answers_does_not_hold_the_caller() -> None:
    import socket

    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        with Mailing(deaf.getsockname()[1], smtp={"timeout_s": 1}) as mailing:
            for n in range(2_000):
                started = time.monotonic()
                mailing.tell([alert(n)])
                assert time.monotonic() - started < 1
            mailing.wait("mail not sent")


def test_refused_address_is_told_and_does_not_stop_the_others() -> None:
    def refuse(to: str) -> str | None:
        return "550 no such user" if to == "gone@x.org" else None

    with Mailbox(refuse=refuse) as box, Mailing(box.port, receiver="gone@x.org,a@x.org") as mailing:
        mailing.tell([alert(1)])
        (mail,) = box.wait(1)
        said = mailing.wait("mail lost")
    assert mail["To"] == "a@x.org"
    assert "no such user" in said
    assert "not sent" not in said


def test_many_runs_at_once_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "BUNDLES_MAX", 10)
    with Mailbox() as box, Mailing(box.port, interval_s=0.5) as mailing:
        mailing.tell([alert(n, f"r-{n}") for n in range(50)])
        assert "mail dropped" in mailing.said.getvalue()
        box.wait(10)
        mailing.notifier.close()
    assert len(box.mails) == 10


def test_starttls_with_login_is_used_and_the_certificate_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiosmtpd.smtp import AuthResult, LoginPassword

    logins: list[Any] = []

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
        assert isinstance(data, LoginPassword)
        logins.append((data.login, data.password))
        return AuthResult(success=data.password == PASSWORD.encode(), handled=False)

    monkeypatch.setattr(notify, "RETRY_S", 0.01)
    options = {"tls_context": certificate(tmp_path), "authenticator": authenticate}
    (tmp_path / "password").write_text(PASSWORD + "\n")
    smtp = {"username": "flow", "password_file": str(tmp_path / "password")}
    with Mailbox(auth_required=True, **options) as box:
        with Mailing(box.port, smtp) as mailing:
            mailing.tell([alert(1)])
            said = mailing.wait("mail lost")
            assert "CERTIFICATE_VERIFY_FAILED" in said
            assert not logins
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        with Mailing(box.port, smtp) as mailing:
            mailing.tell([alert(1)])
            box.wait(1)
        assert box.encrypted == [True]
        assert logins == [(b"flow", PASSWORD.encode())]
        with Mailing(box.port, {"username": "flow", "password": "wrong" + PASSWORD}) as mailing:
            mailing.tell([alert(1)])
            said = mailing.wait("mail lost")
    assert "535" in said
    assert PASSWORD not in said


def test_starttls_without_login_takes_any_certificate(tmp_path: Path) -> None:
    with Mailbox(tls_context=certificate(tmp_path)) as box:
        with Mailing(box.port) as mailing:
            mailing.tell([alert(1)])
            box.wait(1)
        with Mailing(box.port, {"no_tls": True}) as mailing:
            mailing.tell([alert(1)])
            box.wait(2)
    assert box.encrypted == [True, False]


def test_terminal_and_format_none_send_no_mail_unless_forced() -> None:
    log = Log()

    def made(terminal: bool, **email: Any) -> bool:
        settings = Settings(email=EmailSettings(**email))
        return notify.notifier(settings, log, terminal=terminal, hints=True) is not None

    assert made(False)
    assert not made(True)
    assert made(True, force_send=True)
    assert not made(False, format="none")
    assert not made(True, format="none", force_send=True)


# ------------------------------------------------------------------ the whole way

PIPELINE = """
import flow

class Bad(flow.Task):
    n = flow.IntParameter()
    owner_email = "owner@x.org"
    def run(self):
        print("printed by", self.n)
        raise ValueError(f"{self.n} is bad")

class Top(flow.Task):
    count = flow.IntParameter()
    def requires(self):
        return [Bad(n=n) for n in range(self.count)]

class Unplannable(flow.Task):
    def requires(self):
        raise KeyError("no source today")
"""


@pytest.fixture
def run_flow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    monkeypatch.delenv("FLOW_COORDINATOR", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(port: int, *words: str) -> subprocess.CompletedProcess[str]:
        env = {
            "FLOW_EMAIL__RECEIVER": "ops@x.org",
            "FLOW_SMTP__HOST": "127.0.0.1",
            "FLOW_SMTP__PORT": str(port),
        }
        return subprocess.run(
            [sys.executable, "-m", "flow", "run", "pipeline", *words],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S * 2,
            env={**os.environ, **env},
        )

    return run


@pytest.mark.parametrize("how", [(), ("--in-process",)], ids=["processes", "in-process"])
def test_run_whose_tasks_fail_mails_receiver_and_owner_at_its_end(
    run_flow: Any, how: tuple[str, ...]
) -> None:
    with Mailbox() as box:
        done = run_flow(box.port, *how, "Top", "--count", "30")
        assert done.returncode == 30, done.stderr
        box.wait(2)
    assert sorted(str(mail["To"]) for mail in box.mails) == ["ops@x.org", "owner@x.org"]
    for mail in box.mails:
        assert mail["Subject"].startswith("30 tasks failed (run r-1 ")
        body = mail.get_content()
        assert "is bad" in body
        assert how or "printed by" in body  # in this process, nobody caught what it printed
        assert "pipeline.py" in body
        assert "flow retry" not in body


@pytest.mark.parametrize("how", [(), ("--in-process",)], ids=["processes", "in-process"])
def test_run_that_cannot_be_planned_is_mailed(run_flow: Any, how: tuple[str, ...]) -> None:
    with Mailbox() as box:
        done = run_flow(box.port, *how, "Unplannable")
        assert done.returncode == 35, done.stderr
        (mail,) = box.wait(1)
    assert mail["Subject"].startswith("Unplannable() could not be planned (run r-1 ")
    assert "no source today" in mail.get_content()


@pytest.mark.parametrize("how", [(), ("--in-process",)], ids=["processes", "in-process"])
def test_run_with_a_dead_mail_server_says_so_and_ends_as_it_would(
    run_flow: Any, how: tuple[str, ...]
) -> None:
    done = run_flow(free_port(), *how, "Top", "--count", "1")
    assert done.returncode == 30
    assert "mail lost" in done.stderr
    assert "check [smtp]" in done.stderr


def test_run_without_failures_opens_no_connection(run_flow: Any, tmp_path: Path) -> None:
    done = run_flow(free_port(), "Top", "--count", "0")
    assert done.returncode == 0
    assert "mail" not in done.stderr


def test_build_in_process_mails_the_owner_and_leaves_no_thread(tmp_path: Path) -> None:
    program = f"""
import threading
import flow
{PIPELINE}
assert not flow.build([Top(count=2)], in_process=True, quiet=True)
assert threading.active_count() == 1, threading.enumerate()
"""
    (tmp_path / "program.py").write_text(program)
    with Mailbox() as box:
        env = {"FLOW_SMTP__HOST": "127.0.0.1", "FLOW_SMTP__PORT": str(box.port)}
        done = subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={**os.environ, **env},
        )
        assert done.returncode == 0, done.stderr
        (mail,) = box.wait(1)
    assert mail["To"] == "owner@x.org"
    assert mail["Subject"].startswith("2 tasks failed")


# ------------------------------------------------------------------ mail of a task's own

SENDS = """
import sys
from flow.notifications import send_email, send_error_email
with open("p.png", "wb") as out:
    out.write(b"not really")
print(send_email("a subject", "a text", "me@x.org", ["a@x.org, b@x.org"], "p.png"))
print(send_error_email("an error", "what", "c@x.org"))
print(send_email("nobody", "a text", "me@x.org", []))
"""


def test_task_code_sends_mail_as_with_luigi(tmp_path: Path) -> None:
    env = {
        "FLOW_EMAIL__RECEIVER": "ops@x.org",
        "FLOW_EMAIL__PREFIX": "[etl]",
        "FLOW_SMTP__HOST": "127.0.0.1",
    }

    def python(port: int) -> tuple[list[str], str]:
        done = subprocess.run(
            [sys.executable, "-c", SENDS],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=TIMEOUT_S,
            env={**os.environ, **env, "FLOW_SMTP__PORT": str(port)},
        )
        return done.stdout.split(), done.stderr

    with Mailbox(several=True) as box:
        said, _ = python(box.port)
        assert said == ["True", "True", "False"]
        first, second = box.wait(2)
    assert (first["From"], first["To"]) == ("me@x.org", "a@x.org, b@x.org")
    assert first["Subject"] == "[etl] a subject"
    assert [part.get_content_type() for part in first.iter_attachments()] == ["image/png"]
    assert second["To"] == "ops@x.org, c@x.org"
    said, err = python(free_port())
    assert said == ["False"] * 3
    assert "check [smtp]" in err


def test_luigis_task_to_try_notifications_arrives(run_flow: Any) -> None:
    with Mailbox() as box:
        for word, code in ((), 30), (("--raise-in-complete",), 35):
            words = ["flow", "run", "flow.notifications", "TestNotificationsTask", *word]
            done = subprocess.run(
                [sys.executable, "-m", *words],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                env={
                    **os.environ,
                    "FLOW_EMAIL__RECEIVER": "ops@x.org",
                    "FLOW_SMTP__HOST": "127.0.0.1",
                    "FLOW_SMTP__PORT": str(box.port),
                },
            )
            assert done.returncode == code, done.stderr
        box.wait(2)
    assert all("Testing notifications triggering" in mail.get_content() for mail in box.mails)
