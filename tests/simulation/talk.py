"""What simulated attempts say and hear, who writes to them, and what must be true of it (S12).

Nothing here asks a core: what an attempt heard is noted where its queue would be, what was promised
where a command gets its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flow.errors import ExitCode
from flow.wire.messages.client import (
    AttemptFound,
    Failed,
    FindAttempt,
    LetterSent,
    Reply,
    SendLetter,
)
from flow.wire.messages.codec import decode_at_client, encode
from flow.wire.messages.speech import Fate, Letter, Words
from flow.wire.messages.worker import Message
from flow_worker import channel
from tests.simulation.kernel import Violation

if TYPE_CHECKING:
    from tests.simulation.graph import Node
    from tests.simulation.processes import Attempt, Runner
    from tests.simulation.world import World

#: How often an attempt that talks says something more, at most.
SAYINGS_MAX = 6
#: Share of letters that find their queue full, and that are replied to.
FULL_SHARE = 0.1
REPLY_SHARE = 0.6
#: A sender asks again, and connects anew, after this much silence (seconds).
ASK_AGAIN_S = 2.0
RECONNECT_S = 20.0
#: Somebody writes to some task this often while the world is broken.
WRITE_EVERY_S = 6.0


class Talk:
    """The mouth and the ears of one attempt in its runner."""

    def __init__(self, runner: Runner, attempt: Attempt) -> None:
        self.runner = runner
        self.attempt = attempt
        self.world = runner.host.world
        self.number = 0
        self.given: dict[str, float] = {}
        #: what a batch says is what its first task would; the lease is in its name
        self.node = node = attempt.nodes[0]
        if node.talks:
            rng = runner.host.kernel.rng
            for _ in range(rng.randrange(2, SAYINGS_MAX)):
                runner.host.after(rng.random() * max(node.seconds, 0.01), self.say)

    @property
    def over(self) -> bool:
        """Whether its ``run()`` has ended, or its process."""
        runner, attempt = self.runner, self.attempt
        here = runner.current is attempt or runner.parked.get(attempt.grant.token) is attempt
        return not here or not runner.alive or runner.dying

    def say(self, letter: str = "", text: str = "") -> None:
        """Say how far it is, give something back at the second time, answer a letter."""
        if self.over:
            return
        self.number += 1
        if self.number > 1 and not self.given and self.node.given_back:
            self.given = dict(self.node.given_back)
            self.world.truth.gave_back(self.attempt.executions[0], self.given)
        words = Words(
            self.attempt.grant.token, self.number, f"said {self.number}", -1.0, "", self.given
        )
        self.world.kernel.counts["probe: words"] += 1
        self.runner.say(channel.Says(words, [(letter, text)] if letter else []))

    def hear(self, letter: Letter) -> None:
        """Get a letter into the queue, or find it full."""
        rng = self.runner.host.kernel.rng
        if not self.over and rng.random() < FULL_SHARE:
            self.runner.say(channel.Taken(letter.token, letter.id, Fate.FULL))
            return
        self.world.talk.heard(letter, self.attempt.grant.token)
        self.runner.say(channel.Taken(letter.token, letter.id, Fate.TAKEN))
        if rng.random() < REPLY_SHARE:
            self.runner.host.after(rng.random(), self.say, letter.id, f"re {letter.content}")


class TalkJudge:
    """Every letter that was ever heard, and every promise about one."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.heard_by: dict[str, str] = {}
        self.refused: set[str] = set()
        #: newest words of each token that the coordinator said it has, durably
        self.acked: dict[str, int] = {}
        self.writers: list[Writer] = []
        self._write()

    def _write(self) -> None:
        """Have somebody write to a task, while the world is broken."""
        world = self.world
        if not world.broken:
            return
        rng = world.kernel.rng
        running = [
            copy.node
            for copies in world.truth.running.values()
            for copy in copies
            if copy.node.policy.accepts_messages
        ]
        if running:
            self.writers.append(Writer(world, len(self.writers), rng.choice(running)))
        world.kernel.after(rng.expovariate(1 / WRITE_EVERY_S), self._write)

    def heard(self, letter: Letter, token: str) -> None:
        """A letter went into an attempt's queue: into one, and once."""
        if letter.id in self.heard_by:
            raise Violation("S12", f"{letter.id} reached {self.heard_by[letter.id]}, then {token}")
        if letter.id in self.refused:
            raise Violation("S12", f"{letter.id} reached {token} after its sender was refused")
        self.heard_by[letter.id] = token
        self.world.kernel.counts["probe: letter heard"] += 1

    def check_end(self) -> None:
        """Everybody who wrote was told something."""
        waiting = [writer.name for writer in self.writers if not writer.answered]
        if waiting:
            raise Violation("S12", f"nobody told {waiting} what became of their letters")


class Writer:
    """One ``flow message``: finds the attempt, writes, asks again until it is answered."""

    def __init__(self, world: World, number: int, node: Node) -> None:
        self.world = world
        self.kernel = world.kernel
        self.name = f"writer-{number}"
        self.node = node
        self.answered = False
        self._wait_s = world.kernel.rng.choice((0.0, 5.0, 60.0))
        self._request: Message = FindAttempt(1, node.typed)
        self._heard_at = world.kernel.now
        self.link = world.network.connect(self.name, self._arrived)
        self._ask()

    def _ask(self) -> None:
        if self.answered:
            self.world.network.disconnect(self.link)
            return
        if self.kernel.now - self._heard_at > RECONNECT_S:
            self.world.network.disconnect(self.link)
            self.link = self.world.network.connect(self.name, self._arrived)
            self._heard_at = self.kernel.now
        self.kernel.note(self.name, "says", self._request)
        self.world.network.send_up(self.link, encode(self._request))
        self.kernel.after(ASK_AGAIN_S * (0.9 + 0.2 * self.kernel.rng.random()), self._ask)

    def _arrived(self, data: bytes) -> None:
        message: Reply = decode_at_client(data)
        self.kernel.note(self.name, "gets", message, data)
        if self.answered or message.request != self._request.request:  # type: ignore[attr-defined]
            return
        self._heard_at = self.kernel.now
        if isinstance(message, AttemptFound):
            self._request = SendLetter(2, message.token, self.name, "hi", {}, self._wait_s)
        elif isinstance(message, LetterSent):
            self._sent(message)
        elif isinstance(message, Failed):
            self._failed(message)

    def _sent(self, message: LetterSent) -> None:
        self.answered = True
        self.kernel.counts["probe: letter replied" if message.replied else "letter sent"] += 1
        if self.name not in self.world.talk.heard_by:
            raise Violation("S12", f"{self.name} was told that its letter arrived")
        if message.replied and message.reply != "re hi":
            raise Violation("S12", f"{self.name} got {message.reply!r}")

    def _failed(self, message: Failed) -> None:
        self.answered = True
        self.kernel.counts[f"letter refused {message.code}"] += 1
        known = self.name in self.world.talk.heard_by
        arrived = any(each in message.error for each in ("attempt got", "in the task's queue"))
        if arrived and not known:
            raise Violation("S12", f"{self.name} was told that its letter arrived")
        if message.code == ExitCode.REFUSED:
            self.world.talk.refused.add(self.name)
            if known:
                raise Violation("S12", f"{self.name} was refused but heard")
