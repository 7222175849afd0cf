"""Luigi's ``contrib.opener``, as far as it makes targets; options are keywords, not in the URL."""

from __future__ import annotations

from flow.targets.opening import open_target

#: Luigi's name of it.
OpenerTarget = open_target

__all__ = ["OpenerTarget"]
