"""From names to task classes and back: modules, scripts, and what other processes find there.

What lives here: importing a program once (loading, scripts), the name by which another process
imports what this one has (places, origins), and what a user's error says (blame).
Who calls it: the registry, parameters that hold tasks, planners and runners, commands.
What must never enter: a message, a socket; a decision about a task.
"""
