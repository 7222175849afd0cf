"""A bug in the core leaves it with its story, whatever was raised."""

from __future__ import annotations

import pytest

from flow.errors import FlowError, UsageError
from flow.wire.messages.client import About
from flow.wire.moves import IllegalMove
from flow_coordinator.core import state, tally
from flow_coordinator.core.events import Received
from flow_coordinator.core.queries import answers
from flow_coordinator.core.transitions import TaskEvent
from tests.support.core_env import Env, Graph


def broken(env: Env, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> Exception:
    """Return what comes out of a core in which a handler raises."""

    def bug(s: state.State, peer: bytes, message: object) -> None:
        if error is not None:
            raise error
        tally.move(s, s.tasks["default"]["T_a"], TaskEvent.GRANT)

    monkeypatch.setitem(answers._HANDLERS, About, bug)
    with pytest.raises(Exception) as raised:
        env.core.handle(Received(b"peer", About(1)), env.now)
    return raised.value


def granted(env: Env) -> Env:
    """Run what a task requires; it is granted then."""
    env.graph = Graph({"a": ["b"], "b": []})
    worker = env.worker()
    env.submit("a")
    worker.run("b")
    return env


@pytest.mark.unread("Dispatch")
def test_illegal_move_names_the_event_and_the_moves_of_its_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bug = broken(granted(Env()), monkeypatch)
    assert isinstance(bug, IllegalMove) and not isinstance(bug, FlowError)
    (story,) = bug.__notes__
    assert "while handling Received About" in story and "the last moves of T_a:" in story
    assert "T_a UNBLOCK -> READY" in story and story.endswith("T_a GRANT -> LEASED")
    assert "T_b" not in story


@pytest.mark.unread("Dispatch")
def test_any_other_bug_names_the_last_moves_of_any_task(monkeypatch: pytest.MonkeyPatch) -> None:
    (story,) = broken(granted(Env()), monkeypatch, KeyError(3)).__notes__
    assert "the last moves of any task:" in story and "T_b SUCCEED -> DONE" in story


def test_error_for_people_that_leaves_the_core_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    bug = broken(Env(), monkeypatch, UsageError("not here"))
    assert not isinstance(bug, FlowError)
    assert isinstance(bug.__cause__, UsageError)
    (story,) = bug.__cause__.__notes__
    assert "no move of any task is remembered" in story


def test_moves_kept_are_bounded() -> None:
    env = Env()
    assert env.core.state.moves.maxlen == state.MOVES_MAX
