"""Luigi's ``contrib.sqla``."""

from __future__ import annotations

from flow.targets.sql import CopyToTable
from flow.targets.sql import SQLTarget as SQLAlchemyTarget

__all__ = ["CopyToTable", "SQLAlchemyTarget"]
