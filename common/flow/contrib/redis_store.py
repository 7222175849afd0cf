"""Luigi's ``contrib.redis_store``."""

from __future__ import annotations

from flow.targets.redis import RedisTarget

__all__ = ["RedisTarget"]
