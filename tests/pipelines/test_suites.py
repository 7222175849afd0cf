"""Tests that come with public packages pass with flow's build in the place of luigi's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.known import REASONS, SUITES
from tests.pipelines.suites import Suite, run

pytestmark = [pytest.mark.pipelines, pytest.mark.timeout(300)]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_suite_passes_with_the_build_of_flow(
    suite: Suite, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    own, here, forks = (run(suite, tmp_path / how, how) for how in ("", "in_process", "forks"))
    reasons = [f"{name}: {REASONS[why]}" for name, why in suite.known.items()]
    ways = (str(own), f"{here} in process", f"{forks} in forks")
    record_property("row", [suite.name, f"{own.total} tests", *ways, "; ".join(reasons)])
    assert own.total > len(own.failed), own.said[-4000:]
    assert here.failed == own.failed, here.said[-4000:]
    assert forks.failed == own.failed | suite.known.keys(), forks.said[-4000:]
