"""How a program runs tasks, under the names it has in Luigi."""

from flow.embedded import RunResult as LuigiRunResult
from flow.embedded import build, run

__all__ = ["LuigiRunResult", "build", "run"]
