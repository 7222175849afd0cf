"""A bug of a server ends it, and tells everything that is needed to find it."""

from __future__ import annotations

from pathlib import Path

from tests.support.cluster import DEADLINE_S, Cluster


def test_coordinator_with_a_bug_tells_traceback_and_moves_of_the_task(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    with Cluster(tmp_path / "c", settings={"PYTHONPATH": str(root)}) as cluster:
        coordinator = cluster.start_coordinator(module="tests.support.broken_coordinator")
        cluster.start_worker("w1")
        cluster.detach("Leaf", "--key", "broken", "--n", "1")
        assert coordinator.popen.wait(DEADLINE_S) == 40
        said = coordinator.text()
        assert "error: internal error: IllegalMove: GRANT in state RUNNING of Leaf_broken_1" in said
        assert "Traceback (most recent call last)" in said
        assert "in confirm_and_grant_again" in said and "tally.py" in said
        assert "while handling Received Started" in said
        story = said[said.index("the last moves of Leaf_broken_1") :]
        steps = ["PLAN_INCOMPLETE -> PENDING", "UNBLOCK -> READY", "GRANT -> LEASED"]
        places = [story.find(step) for step in [*steps, "START -> RUNNING"]]
        assert -1 not in places and places == sorted(places), story
        cluster.start_coordinator()  # what it had acknowledged is there, and goes on
        cluster.wait_ended("r-1")
