"""How a run ended, under the names it has in Luigi."""

from flow.client.summary import StatusCode as LuigiStatusCode
from flow.local.results import RunResult as LuigiRunResult

__all__ = ["LuigiRunResult", "LuigiStatusCode"]
