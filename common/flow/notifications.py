"""Mail from a task's own code, as in Luigi's ``notifications``; and a task that tries it out.

Failures need none of this: the coordinator mails them to ``[email] receiver`` and the task's
``owner_email``.
"""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from flow.addresses import addresses
from flow.parameters.defaults import settings
from flow.parameters.scalar import BoolParameter
from flow.task import Task

__all__ = ["TestNotificationsTask", "send_email", "send_error_email"]

_log = logging.getLogger("flow.notifications")


class TestNotificationsTask(Task):
    """Fails, to see whether mail about it arrives.

    ``flow run flow.notifications TestNotificationsTask < /dev/null | cat``: on a terminal there is
    no mail unless ``FLOW_EMAIL__FORCE_SEND=true``.
    """

    __test__ = False

    #: Fail while it is planned, not in ``run()``.
    raise_in_complete = BoolParameter(
        default=False, description="fail in complete() instead of run()"
    )

    def run(self) -> None:
        """Fail."""
        raise ValueError("Testing notifications triggering")

    def complete(self) -> bool:
        """Return False, or fail."""
        if self.raise_in_complete:
            raise ValueError("Testing notifications triggering")
        return False


def send_email(
    subject: str,
    message: str,
    sender: str,
    recipients: Sequence[str],
    image_png: str | None = None,
) -> bool:
    """Send a mail through the server of ``[smtp]``; tell whether it was taken.

    A server that cannot be used is logged, and no error. Nothing is sent with ``[email] format``
    none, and on a terminal only with ``force_send``.

    Args:
        subject: After ``[email] prefix``.
        message: Text, or HTML with ``[email] format`` html.
        sender: An address; empty: ``[email] sender``.
        recipients: Addresses; one text may be several, separated by commas.
        image_png: Path of a picture to attach.
    """
    from flow.mail import MailRefused, Postman, Unavailable, new_message

    email, to = settings().email, addresses(recipients)
    if not to:
        return False
    why_not = "email format is 'none'" if email.format == "none" else ""
    if not why_not and sys.stdout.isatty() and not email.force_send:
        why_not = "running from a tty"
    if why_not:
        _log.info("Not sending email to %r because %s", to, why_not)
        return False
    sender = sender or email.sender or f"flow@{socket.gethostname()}"
    subtype = "html" if email.format == "html" else "plain"
    try:
        letter = new_message(
            f"{email.prefix} {subject}".strip(), sender, to, message, subtype=subtype
        )
        if image_png:
            letter.add_attachment(Path(image_png).read_bytes(), "image", "png")
        with Postman(settings().smtp) as postman:
            postman.send(letter)
    except (MailRefused, Unavailable) as error:
        _log.error("mail not sent to %s: %s; check [smtp] in the settings", ", ".join(to), error)
        return False
    return True


def send_error_email(
    subject: str, message: str, additional_recipients: str | Sequence[str] = ()
) -> bool:
    """Send a mail to ``[email] receiver`` and others; tell whether it was taken."""
    others = additional_recipients or ()
    more = [others] if isinstance(others, str) else list(others)
    return send_email(subject, message, "", [settings().email.receiver, *more])
