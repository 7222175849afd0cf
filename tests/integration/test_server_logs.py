"""What a real coordinator and a real worker log."""

from __future__ import annotations

from pathlib import Path

from tests.support.cluster import Cluster
from tests.support.log_lines import LINE


def test_coordinator_and_worker_write_lines_of_one_shape(tmp_path: Path) -> None:
    with Cluster(tmp_path / "c") as cluster:
        cluster.start("w1")
        cluster.submit("Fails", "--key", "two words", code=30)
        assert cluster.workers["w1"].stop() == 0
        assert cluster.coordinator is not None
        cluster.coordinator.stop()
        for service in (cluster.workers["w1"], cluster.coordinator):
            lines = service.text().splitlines()
            assert lines, service.name
            assert [line for line in lines if not LINE.fullmatch(line)] == [], service.name
