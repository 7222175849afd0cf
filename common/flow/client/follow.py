"""Watch a run to its end: show it, obey Ctrl-C and ``--timeout``, return the exit code."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple, Protocol

from flow.client.client import LOST_S, SILENT_S, Client
from flow.errors import ExitCode

if TYPE_CHECKING:
    from flow.client.interrupts import Interrupts
    from flow.client.views import View
    from flow.wire.messages.client import Failure, RunSummary, RunUpdate

#: A run without any worker for this long deserves a sentence.
NO_WORKERS_S = 5.0


class Ended(NamedTuple):
    """How following a run ended: by itself (with a summary) or by the person or the clock."""

    code: int
    summary: RunSummary | None
    failures: list[Failure]


class FollowPolicy(Protocol):
    """What to do where ``run`` and ``submit`` differ. A code returned ends the following."""

    def pressed(self, presses: int) -> int | None:
        """Ctrl-C was pressed for the n-th time."""

    def tick(self) -> int | None:
        """A little time has passed. Raises ``FlowError`` where going on is pointless."""

    def heard(self, failures: list[Failure]) -> None:
        """These attempts failed, and were shown with the last lines of their output."""

    def timed_out(self) -> int:
        """``--timeout`` is over."""

    def no_workers(self) -> str:
        """Say what to do about a run that nobody works for; empty: nothing."""


def follow(
    client: Client,
    run: str,
    view: View,
    policy: FollowPolicy,
    interrupts: Interrupts,
    *,
    timeout_s: float | None = None,
) -> Ended:
    """Show a run until it ends, or until the policy or the clock says so."""
    deadline = time.monotonic() + timeout_s if timeout_s is not None else None
    handled = 0
    notices = _Notices(client, view, policy)
    failures: list[Failure] = []
    lost_s = LOST_S if timeout_s is None else max(LOST_S, timeout_s)
    with closing(client.watch(run, lost_s=lost_s)) as updates:
        for update in updates:
            if update is None:
                view.tick()
            else:
                failures += update.failures
                view.update(update)
                policy.heard(update.failures)
                if update.ended:
                    return Ended(update.ended.exit_code, update.ended, failures)
            notices.look(update)
            code = policy.tick()
            if interrupts.presses > handled:
                handled = interrupts.presses
                code = policy.pressed(handled)
            if code is None and deadline is not None and time.monotonic() >= deadline:
                code = _timed_out(client, policy)
            if code is not None:
                return Ended(code, None, failures)
    return Ended(int(ExitCode.INTERNAL), None, failures)


def _timed_out(client: Client, policy: FollowPolicy) -> int:
    """A clock that ran out during silence tells of the connection, not of the run."""
    code = policy.timed_out()
    return int(ExitCode.UNREACHABLE) if client.silent_s > SILENT_S else code


class _Notices:
    """Sentences about what is missing, each said once per occasion."""

    def __init__(self, client: Client, view: View, policy: FollowPolicy) -> None:
        self._client, self._view, self._policy = client, view, policy
        self._lost = False
        self._alone_since: float | None = None
        self._alone_said = False

    def look(self, update: RunUpdate | None) -> None:
        silent = self._client.silent_s
        if not self._lost and silent > SILENT_S:
            self._lost = True
            self._view.say(
                f"No word from {self._client.address} for {silent:.0f} s; asking again …"
            )
        elif self._lost and update is not None:
            self._lost = False
            self._view.say("The coordinator answers again.")
        if update is not None:
            self._count_workers(update)

    def _count_workers(self, update: RunUpdate) -> None:
        if update.workers:
            self._alone_since = None
            self._alone_said = False
            return
        now = time.monotonic()
        self._alone_since = self._alone_since or now
        if now - self._alone_since >= NO_WORKERS_S and not self._alone_said:
            self._alone_said = True
            text = self._policy.no_workers()
            if text:
                self._view.say(text)
