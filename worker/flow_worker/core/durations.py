"""How long tasks of a family take, so that small ones travel together."""

from __future__ import annotations

from flow_worker.core.config import BATCH_FILL_S, FAMILIES_MAX, NEWEST_WEIGHT, SMALL_TASK_S


class Durations:
    """A moving mean of run time per family."""

    def __init__(self) -> None:
        self._mean_s: dict[str, float] = {}

    def learn(self, family: str, run_s: float) -> None:
        """Count one task that ran this long. A slow one counts at once, a quick one slowly."""
        mean_s = self._mean_s.get(family)
        if mean_s is None:
            if len(self._mean_s) >= FAMILIES_MAX:
                self._mean_s.clear()
            self._mean_s[family] = run_s
        elif run_s > SMALL_TASK_S:
            self._mean_s[family] = max(mean_s, run_s)
        else:
            self._mean_s[family] = mean_s + NEWEST_WEIGHT * (run_s - mean_s)

    def cost_s(self, family: str) -> float:
        """Return what a task weighs in a batch; a slow or unknown one fills it alone."""
        mean_s = self._mean_s.get(family)
        return BATCH_FILL_S if mean_s is None or mean_s > SMALL_TASK_S else mean_s
