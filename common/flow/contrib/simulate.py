"""Luigi's ``contrib.simulate``."""

from __future__ import annotations

from flow.targets.anyway import RunAnywayTarget

__all__ = ["RunAnywayTarget"]
