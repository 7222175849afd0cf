"""Numbers that are not Python's own, where a task says how it is to be treated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flow
from flow_worker.planner.policies import Policies
from flow_worker.process.failure import Complaint


def test_numbers_of_numpy_are_numbers() -> None:
    class Measured(flow.Task):
        """Computed its policy."""

        priority: Any = np.int64(3)
        resources: Any = {"mem_gb": np.float32(1.5)}
        retry_count: Any = np.int32(2)
        retry_delay: Any = np.float64(0.5)
        disable_hard_timeout: Any = np.int64(60)

    _, policy = Policies().of(Measured())
    assert policy is not None
    assert (policy.priority, policy.resources) == (3, {"mem_gb": 1.5})
    assert (policy.retry_count, policy.retry_delay_s) == (2, 0.5)
    assert policy.disable_hard_timeout_s == 60


@pytest.mark.parametrize("value", ["high", True, [1], None])
def test_what_is_no_number_is_refused_with_the_attribute(value: Any) -> None:
    class Wrong(flow.Task):
        """Has a wrong priority."""

        priority: Any = value

    with pytest.raises(Complaint, match=r"Wrong has a wrong attribute: priority = "):
        Policies().of(Wrong())
