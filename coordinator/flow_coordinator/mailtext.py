"""What a mail about failures says."""

from __future__ import annotations

import html
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from flow.mail import new_message
from flow.visible import printable
from flow.wire.states import FailureKind

if TYPE_CHECKING:
    from email.message import EmailMessage

    from flow.settings.sections import EmailSettings
    from flow.wire.messages.client import Failure

#: Of the last lines that an attempt printed.
TAIL_CHARACTERS_MAX = 2_000

_KINDS = {
    FailureKind.FAILED: "failed",
    FailureKind.TIMEOUT: "took too long and was killed",
    FailureKind.DISABLED: "is disabled: its process died again and again",
    FailureKind.LOST: "was lost with its worker",
    FailureKind.PLANNING: "could not be planned",
    FailureKind.UNMET: "asks for more than there is",
    FailureKind.CODE: "must not run: nobody has its code",
    FailureKind.CRASHED: "died",
}


class Bundle(NamedTuple):
    """What one mail is about: failures of one run, for one address."""

    recipient: str
    run: str
    name: str
    total: int  #: how many failed
    failures: list[Failure]  #: the first of them


def compose(bundle: Bundle, email: EmailSettings, *, hints: bool) -> EmailMessage:
    """Write the mail. ``hints``: there is a coordinator that commands can ask.

    Raises:
        flow.mail.MailRefused: The recipient is no address.
    """
    text, subtype = printable("\n".join(_lines(bundle, email, hints))), "plain"
    if email.format == "html":
        head = html.escape(_headline(bundle))
        text = f"<html><body><h2>{head}</h2><pre>{html.escape(text)}</pre></body></html>"
        subtype = "html"
    subject = f"{email.prefix} {_headline(bundle)}".strip()
    sender = email.sender or f"flow@{socket.gethostname()}"
    message = new_message(subject, sender, [bundle.recipient], text, subtype=subtype)
    message["Auto-Submitted"] = "auto-generated"
    return message


def _headline(bundle: Bundle) -> str:
    run = f"run {bundle.run} {bundle.name}"
    if bundle.total == 1:
        failure = bundle.failures[0]
        return f"{failure.task} {_KINDS[failure.kind]} ({run})"
    return f"{bundle.total:,} tasks failed ({run})"


def _lines(bundle: Bundle, email: EmailSettings, hints: bool) -> Iterable[str]:
    shown = bundle.failures
    yield f"{_headline(bundle)} on {socket.gethostname()}"
    if len(shown) < bundle.total:
        yield f"The first {len(shown)} of {bundle.total:,}:"
    for failure in shown:
        yield ""
        yield f"== {failure.task} {_KINDS[failure.kind]}"
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
