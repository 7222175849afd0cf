"""What holds at the end of every test of a core."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.watched import judge, watching


@pytest.fixture(autouse=True)
def watched_cores(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Check the cores that a test drove: their invariants, and that all they said was read.

    What does not matter for a test is named by ``@pytest.mark.unread("Dispatch")``; a test that
    takes a part of a core by itself is marked ``by_hand``. What a test patched is still patched.
    """
    failed = request.session.testsfailed
    with watching() as cores:
        yield
    by_hand = request.node.get_closest_marker("by_hand") is not None
    if request.session.testsfailed == failed and not by_hand:  # else the test itself tells more
        left = {kind for mark in request.node.iter_markers("unread") for kind in mark.args}
        judge(cores, left)
