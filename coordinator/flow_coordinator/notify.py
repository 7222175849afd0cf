"""Mail about tasks that failed for good: gathered, then sent by a thread of its own.

The coordinator's loop only hands failures over, which never waits: they are counted, and the first
few kept, by run and address. What is due is sent as one mail each; a mail server that is away is
tried again a bounded number of times, while what fails meanwhile joins the mail that waits. Mail
that was not sent when the coordinator dies is lost.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flow.addresses import addresses
from flow.logs import Log
from flow.settings.sections import EmailSettings, Settings, SmtpSettings
from flow.wire.messages.client import Failure
from flow_coordinator.core.effects import Alert

if TYPE_CHECKING:
    from flow.mail import Postman
    from flow_coordinator.mailtext import Bundle

#: Pairs of run and address with something to send, or sent lately.
BUNDLES_MAX = 1_000
#: A mail waits at most so many intervals for failures to stop coming.
BURST_INTERVALS_MAX = 6
#: Tries of one mail.
TRIES_MAX = 6
#: Wait before the second try; it doubles.
RETRY_S = 5.0
#: How long an ending coordinator waits for what is left.
CLOSE_S = 5.0


class _Pending:
    """What is to be sent, or was, to one address about one run."""

    def __init__(self, run: str, name: str) -> None:
        self.run, self.name = run, name
        self.count = 0
        self.failures: list[Failure] = []
        self.due: float | None = None  #: None: nothing to send
        self.since = 0.0  #: the first of what is to be sent
        self.mails = 0
        self.sent_at = 0.0
        self.tries = 0

    def add(self, failure: Failure, keep: int) -> None:
        self.count += 1
        if len(self.failures) < keep:
            self.failures.append(failure)


class Notifier:
    """Takes failures, sends mail.

    Args:
        hints: Whether there is a coordinator that the readers' commands can ask.
    """

    def __init__(
        self,
        email: EmailSettings,
        smtp: SmtpSettings,
        log: Log,
        *,
        hints: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._email, self._smtp, self._log, self._hints = email, smtp, log, hints
        self._clock = clock
        self._receivers = [email.receiver]
        self._pending: dict[tuple[str, str], _Pending] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._dropped = 0

    def tell(self, alerts: Sequence[Alert]) -> None:
        """Take failures. Never waits for the network."""
        with self._changed:
            for alert in alerts:
                for recipient in addresses((*self._receivers, *alert.owners)):
                    self._add(recipient, alert)
            if self._pending and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="flow-mail", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Send what is left, if that takes no longer than ``CLOSE_S``."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_S)
        left = sum(one.count for one in self._pending.values())
        if left:
            self._log.say("error", "mail lost at the end", failures=left)

    # ------------------------------------------------------------ under the lock

    def _add(self, recipient: str, alert: Alert) -> None:
        key = (recipient, alert.run)
        pending = self._pending.get(key)
        if pending is None:
            if not self._make_room():
                self._dropped += 1
                if self._dropped == 1 or self._dropped % BUNDLES_MAX == 0:
                    self._log.say("error", "mail dropped: too many wait", failures=self._dropped)
                return
            pending = self._pending[key] = _Pending(alert.run, alert.name)
        pending.add(alert.failure, self._email.failures_max)
        now = self._clock()
        if pending.due is None:
            pending.since = now
        if pending.due is None or not pending.tries:
            # Failures come together: a mail waits until no more do, but not for ever.
            interval_s = self._email.interval_s
            quiet = min(now + interval_s, pending.since + BURST_INTERVALS_MAX * interval_s)
            pending.due = max(quiet, pending.sent_at + self._gap_s(pending))

    def _gap_s(self, pending: _Pending) -> float:
        if not pending.mails:
            return 0.0
        doubled = self._email.interval_s * 2.0 ** min(pending.mails, 30)
        return min(doubled, max(self._email.interval_s, self._email.interval_max_s))

    def _make_room(self) -> bool:
        """Forget the oldest that has nothing to send."""
        if len(self._pending) < BUNDLES_MAX:
            return True
        idle = next((key for key, one in self._pending.items() if one.due is None), None)
        if idle is not None:
            del self._pending[idle]
        return idle is not None

    def _wait(self) -> list[tuple[str, _Pending]]:
        """Wait until something is due; nothing means: closing, and nothing is left."""
        with self._changed:
            while True:
                waiting = [(k[0], p) for k, p in self._pending.items() if p.due is not None]
                now = self._clock()
                due = [(to, p) for to, p in waiting if self._closing or (p.due or 0.0) <= now]
                if due or self._closing:
                    return due
                first = min((p.due or 0.0 for _, p in waiting), default=None)
                self._changed.wait(None if first is None else max(0.0, first - now))

    def _take(self, recipient: str, pending: _Pending) -> Bundle:
        from flow_coordinator.mailtext import Bundle  # no start waits for what writes mails

        with self._changed:
            failures, count = pending.failures, pending.count
            pending.failures, pending.count, pending.due = [], 0, None
        return Bundle(recipient, pending.run, pending.name, count, failures)

    def _sent(self, pending: _Pending) -> None:
        with self._changed:
            pending.tries = 0
            pending.mails += 1
            pending.sent_at = self._clock()
            if pending.due is not None:  # failed while this was sent
                pending.due = pending.sent_at + self._gap_s(pending)

    def _keep(self, bundle: Bundle, pending: _Pending, error: Exception) -> None:
        """Try again later, together with what failed meanwhile; not for ever."""
        with self._changed:
            pending.tries += 1
            if pending.tries >= TRIES_MAX or self._closing:
                pending.tries = 0
                self._give_up(bundle, error)
                return
            pending.count += bundle.total
            kept = [*bundle.failures, *pending.failures]
            pending.failures = kept[: self._email.failures_max]
            again_s = RETRY_S * 2.0 ** (pending.tries - 1)
            pending.due = self._clock() + again_s
        where = f"{self._smtp.host}:{self._smtp.port}" if self._smtp.port else self._smtp.host
        self._log.say(
            "warning",
            "mail not sent",
            server=where,
            run=bundle.run,
            again_in_s=again_s,
            error=error,
            hint="check [smtp] host, port, username, no_tls; [email] format = 'none' ends this",
        )

    def _give_up(self, bundle: Bundle, error: Exception) -> None:
        self._log.say(
            "error",
            "mail lost",
            to=bundle.recipient,
            run=bundle.run,
            failures=bundle.total,
            error=error,
            hint="check [smtp] and [email] in the coordinator's settings",
        )

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while due := self._wait():
            self._deliver(due)

    def _deliver(self, due: list[tuple[str, _Pending]]) -> None:
        """Send all that is due in one conversation; what cannot be sent stays."""
        from flow.mail import Postman, Unavailable  # no start waits for these

        waiting = collections.deque(due)
        try:
            with Postman(self._smtp) as postman:
                while waiting:
                    self._deliver_one(postman, *waiting.popleft())
        except Unavailable as error:
            for recipient, pending in waiting:
                self._keep(self._take(recipient, pending), pending, error)

    def _deliver_one(self, postman: Postman, recipient: str, pending: _Pending) -> None:
        from flow.mail import MailRefused, Unavailable
        from flow_coordinator.mailtext import compose

        bundle = self._take(recipient, pending)
        try:
            postman.send(compose(bundle, self._email, hints=self._hints))
        except MailRefused as error:
            self._give_up(bundle, error)
        except Unavailable as error:
            self._keep(bundle, pending, error)
            raise
        else:
            self._log.say("info", "mail sent", to=recipient, run=bundle.run, failures=bundle.total)
        self._sent(pending)


def notifier(settings: Settings, log: Log, *, terminal: bool, hints: bool) -> Notifier | None:
    """Make one, unless settings or a terminal that shows everything speak against it."""
    email = settings.email
    if email.format == "none" or (terminal and not email.force_send):
        return None
    return Notifier(email, settings.smtp, log, hints=hints)
