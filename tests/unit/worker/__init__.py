"""The worker: the agent's core event by event, its shell, and pieces of its processes."""
