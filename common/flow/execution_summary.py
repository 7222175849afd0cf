"""How a run ended, under the names it has in Luigi."""

from flow.results import RunResult as LuigiRunResult
from flow.summary import StatusCode as LuigiStatusCode

__all__ = ["LuigiRunResult", "LuigiStatusCode"]
