"""How a program runs tasks, under the names it has in Luigi."""

from flow.local.embedded import build, run
from flow.local.results import RunResult as LuigiRunResult

__all__ = ["LuigiRunResult", "build", "run"]
