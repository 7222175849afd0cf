"""How a mail is written, and how it gets to the mail server of ``[smtp]``."""

from __future__ import annotations

import contextlib
import re
import smtplib
import ssl
from collections.abc import Iterator, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flow.addresses import one_line

if TYPE_CHECKING:
    from flow.settings.sections import SmtpSettings

#: What a server says from here on will not change by itself. Source: RFC 5321, section 4.2.1.
PERMANENT_CODE_MIN = 500
#: Of a subject: some servers refuse longer lines.
SUBJECT_CHARACTERS_MAX = 200
_PART: Final = r"[^\s@<>()\[\]\\,;:\"]+"
#: What Python's own parser of addresses is given: others make it raise errors of many kinds.
_ADDRESS: Final = re.compile(
    rf"(?P<name>[^<>]*<)?(?P<local>{_PART})(?:@(?P<domain>{_PART}))?(?(name)>)"
)


class MailRefused(Exception):
    """The server does not want this mail, and will not want it later."""


class Unavailable(Exception):
    """No mail can be sent now."""


def new_message(
    subject: str, sender: str, recipients: Sequence[str], text: str, *, subtype: str = "plain"
) -> EmailMessage:
    """Write a mail, whatever is in the texts.

    Raises:
        Refused: The sender or a recipient is no address.
    """
    message = EmailMessage()
    message["Subject"] = one_line(subject)[:SUBJECT_CHARACTERS_MAX]
    message["From"] = _address(sender)
    message["To"] = [_address(each) for each in recipients]
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid("flow")
    message.set_content(text.encode("utf-8", "backslashreplace").decode(), subtype=subtype)
    return message


def _address(text: str) -> Address:
    found = _ADDRESS.fullmatch(one_line(text).strip())
    if found is None:
        raise MailRefused(f"{text!r} is no mail address")
    name = (found["name"] or "").rstrip("<").strip(' "')
    return Address(name, found["local"], found["domain"] or "")


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
        """Hand over one mail. Raises ``MailRefused`` for one that will never be taken."""
        with _reaching():
            try:
                self._smtp.send_message(message)
            except smtplib.SMTPRecipientsRefused as error:
                code, text = next(iter(error.recipients.values()))
                if code >= PERMANENT_CODE_MIN:
                    raise MailRefused(f"{code} {text.decode(errors='replace')}") from None
                raise
            except smtplib.SMTPResponseException as error:
                if error.smtp_code >= PERMANENT_CODE_MIN:
                    raise MailRefused(f"{error.smtp_code} {error.smtp_error!r}") from None
                raise
            except (ValueError, smtplib.SMTPNotSupportedError) as error:
                raise MailRefused(str(error)) from None  # an address that is none

    def __exit__(self, *_: object) -> None:
        try:
            self._smtp.quit()
        except (OSError, smtplib.SMTPException):
            self._smtp.close()
