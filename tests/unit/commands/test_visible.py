"""Names of tasks whose parameters hold control characters, in every text they get into."""

from __future__ import annotations

import pytest

import flow
from flow.client.board import failure_lines
from flow.usercode.exploring import Node
from flow.visible import escaped, printable
from flow.wire.messages import client
from flow.wire.messages.client import Failure
from flow.wire.messages.shared import shown, shown_with
from flow.wire.params import pack_params
from tests.support.core_env import Env

ODD = "line\nbreak \x1b[2J \x00 é 😀"
SPELLED = r"line\nbreak \x1b[2J \x00 é 😀"


class Odd(flow.Task):
    s = flow.Parameter()


def test_line_has_no_control_characters_and_text_keeps_its_lines() -> None:
    assert escaped(ODD) == SPELLED
    assert printable(ODD + "\t") == SPELLED.replace(r"\n", "\n") + "\t"


def test_task_is_spelled_in_one_line() -> None:
    assert shown("Odd", pack_params({"s": ODD})) == f"Odd(s={SPELLED})"
    assert shown_with("Odd", {"s": ODD}) == f"Odd(s={SPELLED})"
    assert Node(Odd(s=ODD), 0).label == f"Odd(s={SPELLED})"


def test_failure_of_a_task_is_told_without_control_characters() -> None:
    failure = Failure(
        1, f"Odd(s={SPELLED})", "Odd_1", "failed", "w", 1, 1, 0.0, "ValueError: \x1b[2J", "", "\x07"
    )
    text = "\n".join(failure_lines(failure))
    assert "\x1b" not in text and "\x07" not in text and r"\x1b[2J" in text and r"\x07" in text


@pytest.mark.unread("Submitted")
@pytest.mark.parametrize("text", [ODD, "\r\n", "\u202ertl"], ids=["line", "crlf", "direction"])
def test_commands_are_told_names_of_one_line(text: str) -> None:
    env = Env()
    root = client.RootTask("m", "Odd", {"s": text})
    submit = client.Submit(1, "key", "default", [root], client.SubmitOptions())
    env.say(b"client", submit)
    env.wait(1.0)
    row = env.ask(lambda number: client.ListRuns(number), client.Runs).runs[0]
    assert row.root.isprintable() and row.root.startswith("Odd(s=")
