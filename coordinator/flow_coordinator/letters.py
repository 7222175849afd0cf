"""What a mail about failures says, and how it gets to a mail server."""

from __future__ import annotations

import contextlib
import html
import smtplib
import socket
import ssl
from collections.abc import Iterable, Iterator
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flow.settings import EmailSettings, SmtpSettings
    from flow_coordinator.notify import Bundle

#: Of a subject: some servers refuse longer lines.
SUBJECT_CHARACTERS_MAX = 200
#: Of the last lines that an attempt printed.
TAIL_CHARACTERS_MAX = 2_000
#: What a server says from here on will not change by itself. Source: RFC 5321, section 4.2.1.
PERMANENT_CODE_MIN = 500

_KINDS = {
    "failed": "failed",
    "timeout": "took too long and was killed",
    "disabled": "is disabled: its process died again and again",
    "lost": "was lost with its worker",
    "planning": "could not be planned",
    "unmet": "asks for more than there is",
}


def letter(bundle: Bundle, email: EmailSettings, *, hints: bool) -> EmailMessage:
    """Write the mail. ``hints``: there is a coordinator that commands can ask."""
    text = "\n".join(_lines(bundle, email, hints))
    message = EmailMessage()
    subject = _one_line(f"{email.prefix} {_headline(bundle)}".strip())
    message["Subject"] = subject[:SUBJECT_CHARACTERS_MAX]
    message["From"] = email.sender or f"flow@{socket.gethostname()}"
    message["To"] = _one_line(bundle.recipient)
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid("flow")
    message["Auto-Submitted"] = "auto-generated"
    if email.format == "html":
        head = html.escape(_headline(bundle))
        body = f"<html><body><h2>{head}</h2><pre>{html.escape(text)}</pre></body></html>"
        message.set_content(body, subtype="html")
    else:
        message.set_content(text)
    return message


def _headline(bundle: Bundle) -> str:
    run = f"run {bundle.run} {bundle.name}"
    if bundle.total == 1:
        failure = bundle.failures[0]
        return f"{failure.task} {_KINDS.get(failure.kind, 'failed')} ({run})"
    return f"{bundle.total:,} tasks failed ({run})"


def _lines(bundle: Bundle, email: EmailSettings, hints: bool) -> Iterable[str]:
    shown = bundle.failures
    yield f"{_headline(bundle)} on {socket.gethostname()}"
    if len(shown) < bundle.total:
        yield f"The first {len(shown)} of {bundle.total:,}:"
    for failure in shown:
        yield ""
        yield f"== {failure.task} {_KINDS.get(failure.kind, 'failed')}"
        yield f"   {failure.task_id}"
        if failure.attempt:
            on = f" on {failure.worker}" if failure.worker else ""
            yield f"   attempt {failure.attempt} of {failure.attempts_max}{on}"
        yield f"   {failure.error}"
        if failure.where:
            yield f"   {failure.where}"
        if failure.trace:
            yield ""
            yield _end_of(failure.trace, email.traceback_characters_max)
        if failure.tail:
            yield ""
            yield "Last output:"
            yield _end_of(failure.tail, TAIL_CHARACTERS_MAX)
    if hints:
        yield ""
        yield f"flow why '{shown[0].task_id}'    says more"
        yield f"flow retry {bundle.run}    runs what failed again"


def _end_of(text: str, characters_max: int) -> str:
    """Cut at the front: the error is at the end of a traceback."""
    if len(text) <= characters_max:
        return text
    return "... (cut)\n" + (text[-characters_max:] if characters_max else "")


def _one_line(text: str) -> str:
    """Keep a header a header, whatever a task's parameter contains."""
    return "".join(c if c.isprintable() else " " for c in text)


class Refused(Exception):
    """The server does not want this mail, and will not want it later."""


class Unavailable(Exception):
    """No mail can be sent now."""


@contextlib.contextmanager
def _reaching() -> Iterator[None]:
    """Give every way in which a server cannot be used one name."""
    try:
        yield
    except (OSError, ValueError, smtplib.SMTPException) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error


class Postman:
    """One conversation with the mail server. Use as a context manager.

    Raises:
        Unavailable: It cannot be reached, or does not let us in.
    """

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings

    def __enter__(self) -> Postman:
        with _reaching():
            self._smtp = self._connect()
            try:
                self._greet()
            except BaseException:
                self._smtp.close()
                raise
        return self

    def _connect(self) -> smtplib.SMTP:
        s = self._settings
        name, wait_s = s.local_hostname or None, s.timeout_s
        if s.ssl:
            context = self._context()
            return smtplib.SMTP_SSL(s.host, s.port, name, timeout=wait_s, context=context)
        return smtplib.SMTP(s.host, s.port, name, timeout=wait_s)

    def _greet(self) -> None:
        s = self._settings
        self._smtp.ehlo_or_helo_if_needed()
        if not s.ssl and not s.no_tls and self._smtp.has_extn("starttls"):
            self._smtp.starttls(context=self._context())
        password = s.password
        if s.password_file:
            password = Path(s.password_file).read_text("utf-8").rstrip("\r\n")
        if s.username and password:
            self._smtp.login(s.username, password)

    def _context(self) -> ssl.SSLContext:
        s = self._settings
        context = ssl.create_default_context()
        if not (bool(s.username) if s.verify is None else s.verify):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def send(self, message: EmailMessage) -> None:
        """Hand over one mail. Raises ``Refused`` for one that will never be taken."""
        with _reaching():
            try:
                self._smtp.send_message(message)
            except smtplib.SMTPRecipientsRefused as error:
                code, text = next(iter(error.recipients.values()))
                if code >= PERMANENT_CODE_MIN:
                    raise Refused(f"{code} {text.decode(errors='replace')}") from None
                raise
            except smtplib.SMTPResponseException as error:
                if error.smtp_code >= PERMANENT_CODE_MIN:
                    raise Refused(f"{error.smtp_code} {error.smtp_error!r}") from None
                raise
            except (ValueError, smtplib.SMTPNotSupportedError) as error:
                raise Refused(str(error)) from None  # an address that is none

    def __exit__(self, *_: object) -> None:
        try:
            self._smtp.quit()
        except (OSError, smtplib.SMTPException):
            self._smtp.close()
