"""What a task remembers of the artifacts it was asked for; imports nothing, planners ask always."""

from __future__ import annotations

from typing import Any, Final

#: Key under which a task keeps the names it gave to artifacts.
NAMES: Final = "_flow_artifact_names"
#: Key under which a task keeps that one of them is temporary.
TEMPORARY: Final = "_flow_artifact_temporary"


def has_temporary(task: Any) -> bool:
    """Tell whether a task's ``output()``, which was called before, has a temporary artifact."""
    return TEMPORARY in getattr(task, "__dict__", ())
