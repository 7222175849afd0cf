"""Public pipelines by their own schedulers and by flow: the same, or other for a known reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pipelines.known import PIPELINES, REASONS, Pipeline
from tests.pipelines.ways import (
    SETTINGS,
    by_its_own,
    differences,
    embedded,
    outcome,
    submitted,
)
from tests.support.cluster import Cluster

pytestmark = [pytest.mark.pipelines, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("pipelines") / "c") as cluster:
        cluster.start_coordinator()
        for name in ("w1", "w2"):
            (cluster.root / name).mkdir()
            (cluster.root / name / "luigi.cfg").write_text(SETTINGS)
            cluster.start_worker(name, folder=cluster.root / name)
        yield cluster


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda pipeline: pipeline.name)
def test_pipeline_comes_to_the_same(
    pipeline: Pipeline,
    cluster: Cluster,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    own = outcome(by_its_own, pipeline, tmp_path / "own")
    assert own.succeeded, f"its own scheduler did nothing:\n{own.said[-4000:]}"
    others = [
        outcome(way, pipeline, tmp_path / name)
        for name, way in (("embedded", embedded), ("workers", submitted(cluster)))
    ]
    found = [differences(own, other) for other in others]
    reasons = [
        f"{', '.join(kind for kind in pipeline.known if pipeline.known[kind] == why)}: {sentence}"
        for why, sentence in REASONS.items()
        if why in pipeline.known.values()
    ]
    row = [pipeline.name, str(len(own.starts)), *map(str, (own, *others)), "; ".join(reasons)]
    record_property("row", row)
    for other, each in zip(others, found, strict=True):
        unknown = each.keys() - pipeline.known.keys()
        assert not unknown, f"differs for no known reason: {each}\n{other.said[-4000:]}"
        gone = pipeline.known.keys() - each.keys()
        assert not gone, f"does not differ any more in {gone}: {each}"
