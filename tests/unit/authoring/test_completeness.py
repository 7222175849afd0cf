"""Asking many tasks whether they are complete: what is asked in threads, and what counts there."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

import flow
from flow.usercode.completeness import Checker, ask

ASKED: Counter[tuple[str, bool]] = Counter()


def here() -> bool:
    """Whether this is the main thread, which is noted."""
    return threading.current_thread() is threading.main_thread()


class Thorough(flow.Task):
    """Takes long enough for threads."""

    n = flow.IntParameter()

    def complete(self) -> bool:
        time.sleep(0.002)
        ASKED[type(self).__name__, here()] += 1
        return self.n % 2 == 0


class OnlyHere(Thorough):
    """Answers in the main thread only."""

    def complete(self) -> bool:
        answer = super().complete()
        if not here():
            raise RuntimeError("made in another thread")
        return answer


class Broken(Thorough):
    """Answers nowhere."""

    def complete(self) -> bool:
        super().complete()
        raise ValueError("no table")


@pytest.fixture(autouse=True)
def forget() -> None:
    ASKED.clear()


def test_slow_checks_are_made_in_threads() -> None:
    assert Checker().level([Thorough(n=n) for n in range(30)]) == [n % 2 == 0 for n in range(30)]
    assert ASKED["Thorough", False] > 0


def test_check_that_raises_in_a_thread_is_asked_again_where_it_was_called() -> None:
    assert Checker().level([OnlyHere(n=n) for n in range(30)]) == [n % 2 == 0 for n in range(30)]
    assert ASKED["OnlyHere", False] > 0
    ASKED.clear()
    assert Checker().level([OnlyHere(n=n) for n in range(30, 60)])[0] is True
    assert ASKED == {("OnlyHere", True): 30}, "its family is asked here only, from then on"


def test_check_that_raises_everywhere_tells_what_it_raised() -> None:
    answers = Checker().level([Broken(n=n) for n in range(30)])
    assert {repr(one) for one in answers} == {"ValueError('no table')"}


@pytest.mark.parametrize("method", ["create_marker_table", "connect"])
def test_check_that_lost_the_creation_of_its_markers_is_asked_once_more(method: str) -> None:
    luigi = pytest.importorskip("luigi")
    asked = []

    class Marked(luigi.Target):  # type: ignore[misc]
        def exists(self) -> bool:
            getattr(self, method)()
            return True

        def create_marker_table(self) -> None:
            asked.append(method)
            if len(asked) == 1:
                raise RuntimeError("another process was first")

        def connect(self) -> None:
            asked.append(method)
            raise RuntimeError("no such host")

    class Load(luigi.Task):  # type: ignore[misc]
        def output(self) -> Marked:
            return Marked()

    if method == "connect":
        with pytest.raises(RuntimeError, match="no such host"):
            ask(Load())
        assert len(asked) == 1
    else:
        assert ask(Load())
        assert len(asked) == 2
