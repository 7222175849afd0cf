"""What is printed while planning: each line once, bounded, on its way to who follows the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from flow.client.board import printed_lines
from flow.wire.messages import codec
from flow.wire.messages import worker as wire
from flow.wire.messages.client import Printed, RunUpdate, Watch
from flow.wire.messages.shared import PlanChunk, PlanError
from flow_coordinator.core import overheard as at_coordinator
from flow_worker.planner import overheard
from flow_worker.planner.overheard import Overheard
from flow_worker.process.streams import NoOutput
from tests.support.core_env import Env


class Said(NoOutput):
    """Output that was written by nobody."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)

    def take(self) -> str:
        return self.texts.pop(0) if self.texts else ""


def told(*texts: str, known: dict[str, None] | None = None, imported: str = "") -> str:
    return Overheard(Said(*texts), {} if known is None else known, imported).rest()


def test_lines_that_are_equal_are_told_once_by_a_process() -> None:
    known: dict[str, None] = {}
    assert told("a\nb\n\na\n", known=known, imported="b\n") == "b\na"
    assert told("a\nc\n", known=known, imported="b\n") == "c"


def test_a_flood_leaves_its_first_and_its_last_lines() -> None:
    heard = Overheard(Said(*(f"line {n} {'x' * 90}\n" for n in range(1000))), {})
    texts = [heard.more() for _ in range(1000)]
    rest = heard.rest()
    assert texts[0].startswith("line 0 ") and texts[999] == ""
    assert rest.splitlines()[-1].startswith("line 999 ")
    assert "lines left out" in rest.splitlines()[0]
    size = sum(map(len, texts)) + len(rest)
    assert size < overheard.HEAD_CHARS_MAX + overheard.TAIL_CHARS_MAX + 100


def test_what_a_failed_import_printed_is_given_to_one_error() -> None:
    heard = Overheard(Said(), {}, "usage: x --config CONFIG\n")
    assert [heard.of_import(), heard.of_import()] == ["usage: x --config CONFIG", ""]
    assert heard.rest() == "usage: x --config CONFIG"


def answers(env: Env, name: str, printed: str, *, error: PlanError | None = None) -> None:
    """Answer the questions of one worker, which print something."""
    worker = env.workers[name]
    for plan in env.heard(worker.peer, wire.Plan):
        chunk = env.graph.answer(plan, worker.uid)
        errors = [error] if error else chunk.errors
        specs = [] if error else chunk.specs
        chunk = PlanChunk(chunk.stubs, chunk.edges, chunk.policies, specs, errors, "", printed)
        body = codec.encode_chunk(chunk)
        worker.say(wire.Planned(worker.session, plan.request, 0, True, body))


def cluster() -> Env:
    env = Env()
    env.plan_by_hand = True
    env.workers = {"w": env.worker("w", slots=1)}
    return env


def heard_by(env: Env, peer: bytes) -> list[Printed]:
    env.say(peer, Watch(1, "r-1", 0))
    env.wait(1.0)
    return [each for update in env.heard(peer, RunUpdate) for each in update.printed]


@pytest.mark.unread("Dispatch")
def test_who_follows_a_run_is_told_once_and_who_comes_later_too() -> None:
    env = cluster()
    env.submit("a")
    answers(env, "w", "one\ntwo")
    assert heard_by(env, b"client-p") == [Printed("w", "one\ntwo")]
    assert heard_by(env, b"client-q") == [Printed("w", "one\ntwo")]
    env.wait(1.0)
    assert not [each for update in env.heard(b"client-p", RunUpdate) for each in update.printed]
    env.check()


@pytest.mark.unread("Plan")
def test_lines_of_other_planners_that_were_told_are_not_told_again() -> None:
    env = cluster()
    env.submit("a")
    (plan,) = env.core.state.plans.values()
    for text in ("one\ntwo", "two\none", "two\nthree"):
        at_coordinator.heard(env.core.state, plan, text)
    assert [each.text for each in env.run().printed] == ["one\ntwo", "three"]


@pytest.mark.unread("Plan")
def test_a_thousand_planners_do_not_flood_a_run() -> None:
    env = cluster()
    env.submit("a")
    (plan,) = env.core.state.plans.values()
    for n in range(1000):
        at_coordinator.heard(env.core.state, plan, f"{n} {'x' * 100}")
    texts = [each.text for each in env.run().printed]
    assert sum(map(len, texts)) < at_coordinator.CHARS_MAX + 100
    assert "more was printed" in texts[-1]


def test_failure_of_planning_has_the_last_lines() -> None:
    env = cluster()
    env.submit("a")
    answers(env, "w", "", error=PlanError(0, "requires", "ValueError: x", tail="it said this"))
    assert env.ended() == 35
    assert env.run().failures[0].tail == "it said this"


def test_planner_that_dies_leaves_its_last_lines_in_the_failure() -> None:
    env = cluster()
    worker = env.workers["w"]
    env.submit("a")
    died = PlanChunk(errors=[PlanError(0, "died", "exited with code 3", tail="last words")])
    while plans := env.heard(worker.peer, wire.Plan):
        for plan in plans:
            body = codec.encode_chunk(died)
            worker.say(wire.Planned(worker.session, plan.request, 0, True, body, True))
    assert env.run().failures[0].tail == "last words"


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J"], ids=["lines", "control"])
def test_each_line_is_marked_and_cannot_move_the_cursor(text: str) -> None:
    lines = printed_lines(Printed("w1", text)).splitlines()
    assert all(line.startswith("[planning on w1] ") for line in lines)
    assert "\x1b" not in "".join(lines)


def test_output_that_is_taken_is_bounded_and_gone(tmp_path: Path) -> None:
    """In a process of its own: it takes over the descriptors of whoever makes it."""
    import subprocess
    import sys

    code = f"""
import sys
from pathlib import Path
from flow_worker.process.slip import Slip
from flow_worker.process.streams import Output
kept = open({str(tmp_path / "said")!r}, "w")
output = Output(Path({str(tmp_path)!r}), Slip(Path({str(tmp_path)!r})))
print("first"); print("x" * 1_000_000); print("\\x1b[2Jlast", file=sys.stderr)
text = output.take()
kept.write(f"{{len(text) < 50_000}} {{text[:5]}} {{'bytes left out' in text}} "
           f"{{text[-12:]!r}} {{output.take()!r}} {{output.size()}}")
kept.close(); output.close()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert (tmp_path / "said").read_text() == r"True first True '\\x1b[2Jlast\n' '' 0"
