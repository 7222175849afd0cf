"""Words with a closed list: all of them are sent by something, and every table has all of them."""

from __future__ import annotations

import ast
from collections.abc import Iterable

import msgspec
import pytest

from flow.client import board, summary
from flow.errors import UsageError
from flow.events import Event
from flow.local import observing
from flow.wire.messages.client import Category, Failure
from flow.wire.messages.shared import PlanError
from flow.wire.states import FailureKind, PlanErrorKind, SummaryCategory
from flow_coordinator import mailtext
from flow_coordinator.core.queries import ended
from flow_worker.process.failure import failure_of
from tests.support.house_rules import SOURCE_FOLDERS, read_all

#: Modules that only say what the words mean to people.
TABLES = ("flow.local.observing", "flow.client.summary", "flow.client.board")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (observing._FAILED, FailureKind),
        (board.KINDS, FailureKind),
        (mailtext._KINDS, FailureKind),
        (ended._SAID, SummaryCategory),
        ({**summary.ENDED, **summary.PENDING}, SummaryCategory),
    ],
    ids=["observing", "board", "mail", "why", "summary"],
)
def test_table_has_every_word_and_no_other(table: Iterable[str], words: Iterable[str]) -> None:
    assert sorted(table) == sorted(words)


@pytest.mark.parametrize("words", [FailureKind, PlanErrorKind, SummaryCategory])
def test_every_word_is_sent_by_something(words: type[FailureKind]) -> None:
    used = {
        node.attr
        for source in read_all(*SOURCE_FOLDERS)
        if source.module not in TABLES
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == words.__name__
    }
    assert {each.name for each in words} - used == set()


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (Failure(1, "A()", "A", FailureKind.UNMET, "", 0, 1, 0.0, ""), "unmet"),
        (PlanError(0, PlanErrorKind.DIED, ""), "died"),
        (Category(SummaryCategory.RAN, 1, []), "ran"),
    ],
    ids=["failure", "planning", "category"],
)
def test_word_travels_as_its_text_and_another_is_refused(value: msgspec.Struct, word: str) -> None:
    sent = msgspec.msgpack.encode(value)
    plain = msgspec.msgpack.decode(sent)
    assert word in plain
    assert msgspec.msgpack.decode(sent, type=type(value)) == value
    wrong = msgspec.msgpack.encode(["strange" if each == word else each for each in plain])
    with pytest.raises(msgspec.ValidationError, match="Invalid enum value"):
        msgspec.msgpack.decode(wrong, type=type(value))


def test_every_event_that_means_failure_is_told_by_some_kind() -> None:
    told = {each.event for each in observing._FAILED.values()}
    assert told == {Event.FAILURE, Event.TIMEOUT, Event.PROCESS_FAILURE, Event.BROKEN_TASK}


def test_attribute_of_a_users_exception_is_no_kind() -> None:
    error = UsageError("as a user says it")
    error.kind = "strange"  # type: ignore[attr-defined]
    assert failure_of(error).kind is None
