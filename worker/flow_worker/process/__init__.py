"""The processes of a worker: who starts them, what they do, how they surely end.

What lives here: the supervisor, which guards the agent and forks templates (and is told by relays
what those fork); the template, which imports one run's program; the runner that executes, the
planner that expands; what a task changes around itself (surroundings, facets, offspring); the
killing of whole trees, the capture of output; which code is the user's and what it hashes to
(sources, places), where it is kept compiled (compiled), and what was sent along (packages,
requirements, shelf).
Who calls it: the command ``flow-worker`` starts the supervisor, the shell asks for the rest.
What must never enter: leases and decisions about them; sockets to the coordinator.
"""
