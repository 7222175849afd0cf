"""What authors write: tasks, parameters, targets, artifacts, and how they are found and made."""
