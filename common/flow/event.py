"""What can happen to a task, under the name it has in Luigi."""

from flow.events import Event

__all__ = ["Event"]
