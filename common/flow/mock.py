"""Targets for tests under the name they have in Luigi: ``flow.mock.MockTarget``."""

from flow.targets.mock import MockFileSystem, MockTarget

__all__ = ["MockFileSystem", "MockTarget"]
