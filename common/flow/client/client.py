"""Ask a coordinator: the request/reply half of every command.

Every request is idempotent, so silence is answered by asking again; a coordinator that restarts in
between is not noticed except as a delay. ``watch`` subscribes again whenever the updates stop.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Generator, Iterator
from typing import TypeVar

import msgspec

from flow.errors import (
    DiskFull,
    ExitCode,
    FlowError,
    ProtocolError,
    Refused,
    SchedulingError,
    Unreachable,
    UsageError,
)
from flow.wire.ids import new_uid
from flow.wire.messages.client import (
    ROOTS_MAX,
    AttemptFound,
    Failed,
    FindAttempt,
    Held,
    LetterSent,
    ListResources,
    ListWorkers,
    Printed,
    Reply,
    Request,
    ResourceRow,
    Resources,
    RootTask,
    RunUpdate,
    SendLetter,
    Submit,
    SubmitTaken,
    Submitted,
    Unwatch,
    Watch,
    WorkerRow,
    Workers,
    check_root_count,
)
from flow.wire.messages.codec import decode_at_client, encode
from flow.wire.transport import Dealer, Poller

#: Until the first answer of a coordinator.
CONNECT_TIMEOUT_S = 5.0
#: For each later answer: longer than a restart of a coordinator with a full store takes.
REPLY_TIMEOUT_S = 60.0
#: Ask again after this much silence.
ASK_AGAIN_S = 1.0
#: Subscribe again after this much silence of a watched run.
WATCH_AGAIN_S = 3.0
#: The connection counts as lost (shown to people) after this much silence.
SILENT_S = 8.0
#: Give up on a watched run after this much silence; the run itself goes on.
LOST_S = 900.0
#: How often ``watch`` hands control back while nothing arrives.
TICK_S = 0.2
#: Roots in one message, and their bytes; the rest of them follows in others.
SUBMIT_ROOTS_MAX = 1_000
SUBMIT_BYTES_MAX = 256 << 10
#: Messages of one submission: all its parts with one root each, and once more.
SUBMITS_MAX = 2 * ROOTS_MAX
#: Messages taken from the socket at once.
BATCH_MAX = 256

R = TypeVar("R", bound=msgspec.Struct)
P = TypeVar("P", Workers, Resources)


class Client:
    """One connection to the coordinator at ``address``. Used by one thread.

    A coordinator whose disk is full says so and keeps its answer back: that is told on stderr, or
    in the updates of a watched run, and waited for, for at most ``held_s_max``.
    """

    def __init__(
        self,
        address: str,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        held_s_max: float = math.inf,
    ) -> None:
        self.address = address
        self.connect_timeout_s = connect_timeout_s
        self.held_s_max = held_s_max
        #: why answers are kept back; empty: they are not
        self._held = ""
        self._held_since = 0.0
        self._dealer = Dealer(address)
        self._poller = Poller()
        self._poller.register(self._dealer, "coordinator")
        self._number = 0
        self._heard_at: float | None = None
        self._garbled = ""
        #: updates of a watched run that arrived while another answer was waited for
        self._aside: list[RunUpdate] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a request on its way is dropped."""
        self._dealer.close()

    @property
    def silent_s(self) -> float:
        """How long the coordinator has said nothing."""
        return time.monotonic() - self._heard_at if self._heard_at is not None else 0.0

    def ask(self, request: Request, kind: type[R], *, timeout_s: float | None = None) -> R:
        """Send ``request`` (its number is set here) and wait for its answer.

        Raises:
            Unreachable: Nobody answered in time.
            DiskFull: The answer was kept back for longer than ``held_s_max``.
            FlowError: The coordinator refused; the error has the exit code it asks for.
        """
        return _expect(self._answer_to(request, timeout_s), kind)

    def submit(self, run: Submit) -> Submitted:
        """Start a run, in as many messages as its roots need; raises as ``ask``.

        A coordinator that restarts in between has forgotten the parts it had: they are sent again.
        """
        check_root_count(len(run.roots))
        at = 0
        for _ in range(SUBMITS_MAX):
            some = _fitting(run.roots, at)
            part = msgspec.structs.replace(run, roots=some, at=at, total=len(run.roots))
            answer = self._answer_to(part)
            if not isinstance(answer, SubmitTaken):
                submitted = _expect(answer, Submitted)
                self._held = ""  # it is stored: nothing is kept back any more
                return submitted
            at = answer.count if 0 <= answer.count < len(run.roots) else 0
        raise SchedulingError(
            f"the coordinator at {self.address} forgets the parts of this run again and again",
            hint="it restarts, or too many large runs are submitted at once: try later",
        )

    def _answer_to(self, request: Request, timeout_s: float | None = None) -> Reply:
        if timeout_s is None:
            timeout_s = self.connect_timeout_s if self._heard_at is None else REPLY_TIMEOUT_S
        number = self._next()
        data = encode(msgspec.structs.replace(request, request=number))
        answer: Reply | None = None
        deadline = time.monotonic() + timeout_s
        while (now := time.monotonic()) < deadline:
            again_at = min(deadline, now + ASK_AGAIN_S)
            self._dealer.send(data, wait_s=again_at - now)
            while (now := time.monotonic()) < again_at:
                for reply in self._receive(again_at - now):
                    if isinstance(reply, RunUpdate):
                        self._aside.append(reply)
                    elif reply.request == number and isinstance(reply, Held):
                        if self._keep_waiting(reply):
                            print(f"! {reply.why}: what must be stored waits", file=sys.stderr)
                        deadline = time.monotonic() + REPLY_TIMEOUT_S
                    elif reply.request == number:
                        answer = reply
                if answer is not None:
                    return answer
                self._check_held()
        raise self._no_answer(timeout_s)

    def workers(self) -> list[WorkerRow]:
        """Ask for all workers. Raises as ``ask``."""
        pages = self._pages(ListWorkers, Workers)
        # one that joined or left meanwhile moves the others
        return list({each.uid: each for page in pages for each in page.workers}.values())

    def resources(self) -> list[ResourceRow]:
        """Ask for all limits and their use. Raises as ``ask``."""
        pages = self._pages(ListResources, Resources)
        return list({each.name: each for page in pages for each in page.resources}.values())

    def _pages(self, question: type[ListWorkers | ListResources], kind: type[P]) -> Iterator[P]:
        """Ask until nothing follows: a list comes in as many answers as it takes."""
        at, more = 0, 1
        while more > 0:
            page = self.ask(question(0, at), kind)
            yield page
            rows = page.workers if isinstance(page, Workers) else page.resources
            at, more = at + len(rows), page.more if rows else 0

    def watch(
        self, run: str, *, seen: int = 0, lost_s: float = LOST_S
    ) -> Generator[RunUpdate | None, None, None]:
        """Yield the updates of a run until it ended, and None at least every ``TICK_S``.

        Survives restarts of the coordinator: it subscribes again, with the number of the last
        failure seen, and what was told before, so that none is shown twice.

        Raises:
            Unreachable: Silence for ``lost_s``.
            DiskFull: News were kept back for longer than ``held_s_max``.
        """
        number = self._next()
        last = RunUpdate(number, run, "", False, 0, [], [], [], 0, 0, 0.0)
        self._heard_at = time.monotonic()
        ask_at = self._heard_at
        ended = False
        told: dict[str | Printed, None] = {}
        try:
            while not ended:
                if time.monotonic() >= ask_at and self._dealer.send(
                    encode(Watch(number, run, seen))
                ):
                    ask_at = time.monotonic() + WATCH_AGAIN_S
                if self.silent_s > lost_s:
                    raise self._no_answer(lost_s)
                aside, self._aside = self._aside, []
                for reply in [*aside, *self._receive(TICK_S if not aside else 0.0)]:
                    if reply.request != number:
                        continue
                    ask_at = time.monotonic() + WATCH_AGAIN_S
                    if isinstance(reply, Held):
                        yield self._held_update(last, reply)
                        continue
                    update = last = self._going_on(_expect(reply, RunUpdate))
                    ended = ended or update.ended is not None
                    fresh = [each for each in update.failures if each.number > seen]
                    seen = max((each.number for each in fresh), default=seen)
                    notes = [each for each in update.notes if each not in told]
                    printed = [each for each in update.printed if each not in told]
                    told.update(dict.fromkeys((*notes, *printed)))
                    yield msgspec.structs.replace(
                        update, failures=fresh, notes=notes, printed=printed
                    )
                self._check_held()
                yield None
        finally:
            if not ended:
                self._dealer.send(encode(Unwatch(self._next(), run)))

    def send_message(
        self,
        task: str,
        content: str,
        *,
        run: str = "",
        payload: dict[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> tuple[AttemptFound, str | None]:
        """Give a message to the running attempt of a task, once; wait for its reply if asked to.

        Args:
            task: Its id, or any unambiguous piece.
            content: What ``SchedulerMessage.content`` is there.
            run: The task as this run sees it.
            payload: Further values for programs.
            wait_s: How long to wait for a reply; 0: not.

        Returns:
            Who got it, and the reply; None where nobody waited for one.

        Raises:
            FlowError: Nobody hears it (25), no such task or it does not accept messages (2), its
                queue is full (61), no reply came in time (124).
        """
        found = self.ask(FindAttempt(0, task, run), AttemptFound)
        letter = SendLetter(0, found.token, new_uid(), content, payload or {}, max(0.0, wait_s))
        sent = self.ask(letter, LetterSent, timeout_s=letter.wait_s + REPLY_TIMEOUT_S)
        return found, sent.reply if sent.replied else None

    def _keep_waiting(self, held: Held) -> bool:
        """Note that an answer is kept back; return whether that is new."""
        new = not self._held
        self._held_since = time.monotonic() if new else self._held_since
        self._held = held.why
        return new

    def _held_update(self, last: RunUpdate, held: Held) -> RunUpdate:
        """Tell of a watched run what it waits for, where there are no news of it."""
        notes = (
            [f"{held.why}: nothing starts until it has room"] if self._keep_waiting(held) else []
        )
        return msgspec.structs.replace(
            last,
            families=[],
            failures=[],
            waiting=[held.why],
            workers=held.workers,
            notes=notes,
            printed=[],
        )

    def _going_on(self, update: RunUpdate) -> RunUpdate:
        """News are stored: nothing is kept back any more."""
        held, self._held = self._held, ""
        notes = [*update.notes, "the coordinator goes on"] if held else update.notes
        return msgspec.structs.replace(update, notes=notes)

    def _check_held(self) -> None:
        if self._held and time.monotonic() - self._held_since > self.held_s_max:
            raise DiskFull(f"{self._held}, for more than {self.held_s_max:.0f} s")

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _receive(self, timeout_s: float) -> list[Reply]:
        """Wait for and read what arrived; garbage is remembered, not raised."""
        replies: list[Reply] = []
        if not self._poller.poll(timeout_s):
            return replies
        for data in self._dealer.recv_batch(BATCH_MAX):
            try:
                replies.append(decode_at_client(data))
            except ProtocolError as e:
                self._garbled = str(e)
        if replies:
            self._heard_at = time.monotonic()
        return replies

    def _no_answer(self, timeout_s: float) -> FlowError:
        if self._garbled:
            return Refused(
                f"what answers at {self.address} does not speak this protocol: {self._garbled}",
                hint="Is it a flow coordinator of the same version?",
            )
        return Unreachable(f"no coordinator at {self.address} (waited {timeout_s:.0f} s)")


def _fitting(roots: list[RootTask], at: int) -> list[RootTask]:
    """Return the roots from one on that fit into one message; at least one."""
    size = 0
    for index in range(at, min(at + SUBMIT_ROOTS_MAX, len(roots))):
        size += len(msgspec.msgpack.encode(roots[index]))
        if size > SUBMIT_BYTES_MAX:
            return roots[at : max(index, at + 1)]
    return roots[at : at + SUBMIT_ROOTS_MAX]


def _expect(reply: Reply, kind: type[R]) -> R:
    """Return the reply if it has the right type; raise what it refuses otherwise."""
    if isinstance(reply, Failed):
        raise refusal(reply)
    if not isinstance(reply, kind):
        raise ProtocolError(f"{type(reply).__name__} answers a question for {kind.__name__}")
    return reply


def refusal(failed: Failed) -> FlowError:
    """Make the error of a refused request, with the exit code the coordinator asks for."""
    kinds: dict[int, type[FlowError]] = {
        ExitCode.USAGE: UsageError,
        ExitCode.SCHEDULING_ERROR: SchedulingError,
        ExitCode.REFUSED: Refused,
        ExitCode.UNREACHABLE: Unreachable,
    }
    matches = [f"  {each}" for each in failed.matches]
    hint = "\n".join([*matches, failed.hint] if failed.hint else matches)
    error = kinds.get(failed.code, FlowError)(failed.error, hint=hint)
    if failed.code in ExitCode.__members__.values():
        error.exit_code = ExitCode(failed.code)
    return error
